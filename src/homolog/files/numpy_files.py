"""Arrays in NumPy's own files, and large arrays of any file that are mapped instead of read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import to_numpy
from homolog.files.contents import IDENTITIES, RESERVED, Contents, Entry, entry_of, kept_open, members
from homolog.names import writable
from homolog.sketching import as_written, axes_of_row

MAPPED_FROM = 64 << 20
"""Bytes from which on an array stays in its file, where the file holds its numbers as they are."""


def is_large(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Say whether an array should stay in its file, if it can."""
    return int(np.prod(shape, dtype=object)) * dtype.itemsize >= MAPPED_FROM


def mapped(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """Map a large array whose numbers lie one after the other in a file; None where it should rather be read."""
    if not is_large(shape, dtype) or dtype.kind not in "fiu":
        return None
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def read_npy(path: Path) -> Contents:
    """Read one array, which is called after its file."""
    return Contents({writable(path.stem): Entry("layer", lambda: read_array(path))})


def read_array(path: Path) -> np.ndarray:
    """Read an array; a large one is mapped."""
    large = path.stat().st_size >= MAPPED_FROM
    return np.load(path, allow_pickle=False, mmap_mode="r" if large else None)


def entry_in(path: Path) -> Entry:
    """Say what the array in a file may be by its header, and read it when it is asked for."""
    with path.open("rb") as file:
        return entry_of(path.stem, *_header(file), lambda: read_array(path))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    newer = np.lib.format.read_magic(file) != (1, 0)
    read = np.lib.format.read_array_header_2_0 if newer else np.lib.format.read_array_header_1_0
    shape, _, dtype = read(file)
    return shape, dtype


def read_npz(path: Path) -> Contents:
    """Say which arrays there are; never mapped, since only reading them to the end compares them with their checksums."""
    if not zipfile.is_zipfile(path):
        raise ValueError("no complete zip archive; it may be truncated")
    # numpy.load takes the layers "a" and "a.npy" for one.
    with kept_open(zipfile.ZipFile(path)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(set(names)) < len(names):
            raise ValueError("two arrays of one name")
        if any(parts <= set(names) for parts in _SPARSE):
            archive.close()
            return Contents({writable(path.stem): Entry("layer", lambda: _sparse(path))})
        found = members(
            {name: _member(archive, name, full) for name, full in zip(names, archive.namelist(), strict=True)}
        )
    found.close = archive.close
    if "provenance" in found.notes:
        found.notes["provenance"] = str(found.notes["provenance"])
    return found


_SPARSE = [
    {"format", "shape", "data", *parts} for parts in (("indices", "indptr"), ("row", "col"), ("coords",), ("offsets",))
]
"""What scipy.sparse.save_npz writes of a matrix of any format."""


def _sparse(path: Path) -> Any:
    """Read a sparse matrix of SciPy's, whose parts must fit one another."""
    import scipy.sparse

    matrix = scipy.sparse.load_npz(path)  # without pickle
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
    return matrix


def _member(archive: zipfile.ZipFile, name: str, full: str) -> Entry:
    def read() -> np.ndarray:
        with archive.open(full) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    with archive.open(full) as member:
        return entry_of(name, *_header(member), read)


def write_npz(layers: Activations, path: str) -> None:
    """Write arrays by name, with the identity of the rows beside them."""
    notes = {f"{RESERVED}provenance": np.array(json.dumps(layers.notes, ensure_ascii=False))}
    for name in IDENTITIES:
        if getattr(layers, name) is not None:
            notes[f"{RESERVED}{name}"] = getattr(layers, name)
    # savez would take an array called "file" for its own argument.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in (arrays_of(layers) | notes).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def arrays_of(layers: Activations) -> dict[str, np.ndarray]:
    """Return all layers in memory by the names they are written under, as NumPy's arrays whose numbers lie row after row."""
    arrays = {name: np.ascontiguousarray(to_numpy(array)) for name, array in as_written(layers).items()}
    return {name: array.reshape(len(array), *axes_of_row(name, array.shape[1])) for name, array in arrays.items()}
