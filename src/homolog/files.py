"""Activations in files: .npy, .npz, .safetensors, .pt and .zarr, read without ever running code from them."""

from __future__ import annotations

import errno
import json
import os
import re
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import Array, described, to_numpy, widened
from homolog.machine import optional
from homolog.names import first_line, quoted, shortened, shown, writable
from homolog.store import open_store, save_store
from homolog.store.disk import check_file, check_path, check_target, recover, write_whole
from homolog.store.layout import LOCK, SUFFIX

_IDENTITIES = ("example_ids", "positions", "digests")
_RESERVED = "homolog:"


def open(path: str | PathLike[str]) -> Activations:
    """Read activations from a file.

    Parameters
    ----------
    path
        `.npy` (one layer, named after the file), `.npz`, `.safetensors`, `.pt`/`.pth` (a tensor or a mapping of
        tensors, read with `weights_only=True`), or the folder `.zarr` of a store.

    Returns
    -------
    Activations
        The layers in the order of the file, as arrays of NumPy's (bfloat16 and float8 in float32, which holds them without loss),
        with row identity where `homolog.save` wrote it. The layers of a store stay on
        disk: slices, lists of rows and masks read what they ask for, `numpy.asarray` a whole layer.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not of a known kind, is damaged, or holds anything but arrays (n, p).

    Notes
    -----
    Nothing in a file is executed: pickled objects are refused.

    Examples
    --------
    >>> import numpy as np, homolog as hl, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "layers.npz"
    >>> hl.save({"early": np.eye(3), "late": np.ones((3, 2))}, path)
    >>> hl.open(path)
    <Activations of 2 layers over 3 rows: early: 3, late: 2>
    """
    path = _path(path)
    if path.suffix not in (*_READERS, SUFFIX):
        raise ValueError(
            f"activations must be in a file ending in {', '.join(_READERS)} or {SUFFIX} (lower case), got {path.name!r}: write "
            f"them with homolog.save, numpy.savez or safetensors."
        )
    if path.suffix == SUFFIX:
        recover(path, LOCK)
    if path.suffix == SUFFIX and path.is_dir():
        return open_store(path)
    if path.is_dir():
        raise IsADirectoryError(f"activations must be in a file, got the folder {str(path)!r}.")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check the name and the folder.")
    check_file(path)
    if path.suffix == SUFFIX:
        raise NotADirectoryError(f"a store must be a folder, got the file {str(path)!r}: unpack it.")
    try:
        arrays, notes = _READERS[path.suffix](path)
        arrays = {name: widened(array) for name, array in arrays.items()}
        provenance = {"model": writable(path.stem)} | _provenance(str(notes.get("provenance", "{}")))
    except (ImportError, PermissionError):
        raise
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} must be a readable {path.suffix} file of plain arrays, got: {_what_is_wrong(error)} Write it "
            f"again, for instance with homolog.save."
        ) from error
    identities = {name: notes.get(name) for name in _IDENTITIES}
    try:
        return Activations(arrays, **identities, provenance=provenance)
    except (ValueError, TypeError) as error:
        raise type(error)(f"in {str(path)!r}, {error}") from error


def _provenance(text: str) -> dict[str, str]:
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("a provenance that is no text")
    return found


def _what_is_wrong(error: Exception) -> str:
    line = shown(first_line(error).split(". ")[0])
    if line.isdigit():  # pickle's own errors may be a single opcode
        line = "something that is no such file"
    if "pickle" in str(error).lower() or "weights_only" in str(error).lower().replace(" ", "_"):
        return "pickled Python objects, which are not read because reading them can run code."
    return f"{line}."


def _read_npy(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    return {writable(path.stem): np.load(path, allow_pickle=False)}, {}


def _read_npz(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no complete zip archive; it may be truncated")
    # numpy.load takes the layers "a" and "a.npy" for one.
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(set(names)) < len(names):
            raise ValueError("two arrays of one name")
        return _layers_and_notes(
            {name: _read_member(archive, full) for name, full in zip(names, archive.namelist(), strict=True)}
        )


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _layers_and_notes(members: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    layers = {name: array for name, array in members.items() if not name.startswith(_RESERVED)}
    notes = {name.removeprefix(_RESERVED): a for name, a in members.items() if name.startswith(_RESERVED)}
    return layers, notes


def _read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    safetensors = optional("safetensors", "files", "reading .safetensors")
    optional("ml_dtypes", "files", "reading .safetensors")
    with safetensors.safe_open(path, framework="numpy") as file:
        small = {name: file.get_slice(name).get_dtype() for name in file.offset_keys()}
        members = {
            name: _small_tensor(path, name, _SMALL[small[name]]) if small[name] in _SMALL else file.get_tensor(name)
            for name in file.offset_keys()
        }
        about = file.metadata() or {}
    layers, notes = _layers_and_notes(members)
    order = json.loads(about.get("homolog:layers", "[]"))
    notes |= {"provenance": about.get("homolog:provenance", "{}")}
    if "homolog:example_ids" in about:
        notes["example_ids"] = json.loads(about["homolog:example_ids"])
    return {name: layers[name] for name in order} or layers, notes


_SMALL = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""Types of which safetensors makes no arrays of NumPy's."""


def _small_tensor(path: Path, name: str, dtype: str) -> np.ndarray:
    """Read a tensor whose place the library has checked: a length of 8 bytes, a header of JSON, then the numbers."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(length))[name]
        start, stop = about["data_offsets"]
        file.seek(8 + length + start)
        numbers = np.frombuffer(file.read(stop - start), getattr(optional("ml_dtypes", "files", "float8"), dtype))
    return numbers.reshape(about["shape"])


def _read_torch(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    torch = optional("torch", "torch", f"reading {path.suffix}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, torch.Tensor):
        content = {writable(path.stem): content}
    if not isinstance(content, Mapping):
        raise ValueError(f"{described(content)} instead of a tensor or a mapping of tensors")
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{described(value)} under {quoted(name)} instead of a tensor")
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(f"{quoted(name)} of layout {value.layout} on {value.device} instead of a dense tensor")
    # Arrays of files are NumPy's, so that files of every kind can be compared.
    return {name: to_numpy(value) for name, value in content.items()}, {}


_READERS = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
}


def save(activations: Activations | Mapping[str, Array], path: str | PathLike[str]) -> None:
    """Write activations with their row identity to a `.npz` or `.safetensors` file, or to a `.zarr` store.

    Parameters
    ----------
    activations
        Activations, or a mapping layer name → array (n, p).
    path
        where to write; an existing file is replaced only when the new one is complete.

    Raises
    ------
    ValueError
        If the path ends in anything else.

    Notes
    -----
    Only a store is written block by block: the other files need all layers in memory.

    Examples
    --------
    >>> import numpy as np, homolog as hl, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "layers.npz"
    >>> hl.save(hl.Activations({"late": np.eye(2)}, example_ids=["cat", "dog"]), path)
    >>> hl.open(path).example_ids
    array(['cat', 'dog'], dtype='<U3')
    """
    path = _path(path)
    layers = activations if isinstance(activations, Activations) else Activations(activations)
    if path.suffix not in (*_WRITERS, SUFFIX):
        raise ValueError(
            f"activations must be saved to a file ending in {', '.join(_WRITERS)} or {SUFFIX}, got {path.name!r}: change its "
            f"name."
        )
    if path.suffix == SUFFIX:
        save_store(layers, path)
        return
    check_target(path)
    odd = next((name for name in layers if "\0" in name), None)
    if odd is not None:
        raise ValueError(f"a layer name must not hold the character NUL in a file, got {quoted(odd)}: rename it.")
    reserved = next((name for name in layers if name.startswith(_RESERVED)), None)
    if reserved is not None:
        raise ValueError(
            f"a layer name must not start with {_RESERVED!r} in a file, got {quoted(reserved)}: rename it."
        )
    write_whole(path, lambda unfinished: _WRITERS[path.suffix](layers, unfinished))


def _path(path: Any) -> Path:
    if not isinstance(path, str | PathLike):
        raise TypeError(f"a path must be text or a pathlib.Path, got {described(path)}.")
    path = Path(path)
    check_path(path)
    try:
        path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise OSError(f"a name must not be longer than its folder allows, got {shortened(path.name)!r}.") from None
    return path


def _arrays_of(layers: Activations) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(to_numpy(array)) for name, array in layers.items()}


def _write_npz(layers: Activations, path: str) -> None:
    notes = {f"{_RESERVED}provenance": np.array(json.dumps(layers.notes, ensure_ascii=False))}
    for name in _IDENTITIES:
        if getattr(layers, name) is not None:
            notes[f"{_RESERVED}{name}"] = getattr(layers, name)
    # savez would take an array called "file" for its own argument.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in (_arrays_of(layers) | notes).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_safetensors(layers: Activations, path: str) -> None:
    numpy_door = optional("safetensors.numpy", "files", "writing .safetensors")
    about = {
        "homolog:layers": json.dumps(list(layers), ensure_ascii=False),
        "homolog:provenance": json.dumps(layers.notes, ensure_ascii=False),
    }
    tensors = _arrays_of(layers)
    for name in ("positions", "digests"):
        if getattr(layers, name) is not None:
            tensors[f"{_RESERVED}{name}"] = getattr(layers, name)
    if layers.example_ids is not None:
        about["homolog:example_ids"] = json.dumps(layers.example_ids.tolist(), ensure_ascii=False)
    try:
        numpy_door.save_file(tensors, path, metadata=about)
    except Exception as error:
        # The library has no OSError: the number stands in its sentence.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
