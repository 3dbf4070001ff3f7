"""A store → activations whose layers stay on disk until their rows are asked for."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.names import first_line, quoted, shown, writable
from homolog.rows import Rows
from homolog.sketching import SKETCHES, read_name
from homolog.store.disk import read_json
from homolog.store.layout import (
    CHECKSUM,
    CODECS,
    DTYPES,
    IDENTITIES,
    LAYERS,
    ROWS,
    SUFFIX,
    Contents,
    contents_of,
    zarr_library,
)

_KEY = re.compile(rf"{LAYERS}/[0-9A-Za-z_-]+")


class StoredRows(Rows):
    """One array of a store. Every chunk that is read is checked against its checksum."""

    def __init__(self, folder: Path, name: str, key: str, rows: int) -> None:
        self.store, self.name, self.key = folder, name, key
        plain, sketch = read_name(name)
        self.where = f"layer {quoted(plain)} of {str(folder)!r}"
        self._array = array = _open_array(folder, key, self.where)
        known = array.dtype.name in DTYPES or key.startswith(f"{ROWS}/")
        fits = len(array.shape) in (1, 2) if sketch is None else array.shape[1:] == (SKETCHES, sketch.columns)
        if not fits or array.shape[0] < rows or array.chunks[1:] != array.shape[1:] or not known:
            raise ValueError(
                f"{self.where} must hold {rows} rows of numbers in chunks of whole rows, got {array.dtype} of shape "
                f"{array.shape} in chunks of {array.chunks}: the store was altered, so extract again."
            )
        self.shape = (rows, math.prod(array.shape[1:]))
        self.dtype = array.dtype

    @property
    def folder(self) -> str:
        """Where the store lies."""
        return str(self.store.resolve().parent)

    def __reduce__(self) -> tuple[Any, ...]:
        # Other processes open the store again.
        return StoredRows, (self.store.resolve(), self.name, self.key, self.shape[0])

    @property
    def written(self) -> int:
        """Rows of the array, committed or not."""
        return int(self._array.shape[0])

    @property
    def step(self) -> int:
        """Rows of a chunk."""
        return int(self._array.chunks[0])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows from start up to stop."""
        step = self.step
        parts = []
        for first in range(start - start % step, stop, step):
            rows = slice(max(start, first), min(stop, first + step))
            parts.append(self._chunk(first // step, rows))
        found = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return found.reshape(len(found), -1) if found.ndim > 2 else found

    def _chunk(self, index: int, rows: slice) -> np.ndarray:
        # A chunk that is not there would read as zeros.
        place = self.store / self.key / self._array.metadata.encode_chunk_key((index, 0, 0)[: len(self._array.shape)])
        try:
            self._check_file(place)
            found: np.ndarray = self._array[rows]
        except Exception as error:
            raise ValueError(
                f"{self.where} must be as it was written, got damage in rows {rows.start} to {rows.stop - 1}: "
                f"{shown(first_line(error))}. Extract again, or leave these rows out with .take."
            ) from error
        return found

    def _check_file(self, place: Path) -> None:
        if not place.is_file():
            raise FileNotFoundError("their file is gone")
        if any(map(os.path.islink, (place, *place.parents[: 1 + len(self._array.shape)]))):
            raise OSError("their file is a link to another place")
        if self.dtype.name in DTYPES:
            whole, size = math.prod(self._array.chunks) * self.dtype.itemsize + CHECKSUM, place.stat().st_size
            if size != whole:
                raise OSError(f"their file holds {size} bytes instead of {whole}")


def _lies_in(store: Path, place: Path) -> bool:
    """Say whether a file of a store lies where its name says, and is no link to another place."""
    return os.path.realpath(place) == os.path.join(os.path.realpath(store), place.relative_to(store))


def _open_array(store: Path, key: str, where: str) -> Any:
    """Open an array after a look at how it is encoded: only what this format uses is ever decoded."""
    folder = store / key
    try:
        if not _lies_in(store, folder / "zarr.json"):
            raise ValueError("a link to another place")
        metadata = read_json(folder / "zarr.json")
        codecs = {codec["name"] for codec in metadata["codecs"]}
        if not codecs <= CODECS:
            raise ValueError(f"the codecs {', '.join(sorted(codecs - CODECS))}, which are not read")
        endian = {(codec.get("configuration") or {}).get("endian", "little") for codec in metadata["codecs"]}
        chunks = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        if endian != {"little"} or min(chunks) < 1 or metadata["zarr_format"] != 3:
            raise ValueError("another byte order, chunks or version of zarr than the format has")
        return zarr_library().open_array(str(folder), mode="r")
    except ImportError:
        raise
    except Exception as error:  # whatever a file that was altered makes zarr stumble over
        raise ValueError(
            f"{where} must be an array of zarr as homolog writes it, got {shown(first_line(error))}."
        ) from error


def open_store(path: Path) -> Activations:
    """Open a store; nothing is read but what it says of itself and who its rows are."""
    zarr_library()
    contents = _checked_contents(path)
    arrays = {name: StoredRows(path, name, key, contents.rows) for name, key in contents.layers.items()}
    longer = next((array for array in arrays.values() if array.written != contents.rows), None)
    if longer is not None:
        raise ValueError(
            f"{longer.where} must have the {contents.rows} rows that the store says it holds, got {longer.written}: the store "
            f"was altered, so extract again."
        )
    identities: dict[str, Any] = {name: identity(path, name, contents.rows) for name in IDENTITIES}
    example = identities.pop("example")
    if identities["example_ids"] is None:
        # Rows of many positions: the example a row came from is who it is.
        identities["example_ids"] = example
    provenance = {"model": writable(path.stem)} | dict(contents.provenance)
    try:
        return Activations(arrays, **identities, provenance=provenance)
    except (ValueError, TypeError) as error:
        raise ValueError(f"in {str(path)!r}, {error}") from error


def identity(path: Path, name: str, rows: int) -> np.ndarray | None:
    """Read one identity of the rows, or None where the store has none."""
    key = f"{ROWS}/{name}"
    if not os.path.lexists(path / key):
        return None
    found = StoredRows(path, name, key, rows).read(0, rows)
    return np.array(found.tolist(), dtype=np.str_) if found.dtype.kind in "OT" else found


def _checked_contents(path: Path) -> Contents:
    contents = contents_of(path)
    if contents is None:
        raise ValueError(
            f"{str(path)!r} must be a store of activations that homolog wrote, got a folder without its attributes: extract "
            f"with out={path.name!r}, or save to a path ending in {SUFFIX}."
        )
    if not contents.complete:
        raise ValueError(
            f"{str(path)!r} must be complete, got a store whose extraction ended after {contents.rows} rows: run the same "
            f"extraction with resume=True."
        )
    odd = next((key for key in contents.layers.values() if not _KEY.fullmatch(key)), None)
    keys = list(contents.layers.values())
    if odd is not None or contents.rows < 2 or not contents.layers or len(set(keys)) < len(keys):
        raise ValueError(
            f"{str(path)!r} must hold layers of at least 2 rows below {LAYERS!r}, got attributes that do not."
        )
    return contents
