"""Representations that are not in memory: their rows are read when they are asked for."""

from __future__ import annotations

import mmap
import os
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

READ_AT_ONCE = 8 << 20
"""Bytes that are read at a time where a whole representation is asked for."""


class Rows(ABC):
    """A representation (n, p) somewhere on disk.

    `layer[100:200]`, `layer[[3, 5]]` and `layer[mask]` read these rows, `numpy.asarray(layer)` all of them; a second index
    chooses columns of what was read, with NumPy's meaning. Nothing stays in memory but what was asked for.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    ndim = 2
    where: str
    """What errors call it."""
    in_memory = False
    """Whether nothing is read from a disk after all."""

    @property
    def step(self) -> int:
        """Rows that are read together: reading part of them costs as much as reading all."""
        return 1

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows from start up to stop, which lie within the representation."""

    @property
    def found_elsewhere(self) -> bool:
        """Whether another process finds the representation: pickling it then takes a path, and no number."""
        return True

    @property
    def folder(self) -> str | None:
        """Where its file lies; None where there is none."""
        return None

    @property
    def like(self) -> Any:
        """An empty array of the library that it counts as."""
        return np.empty(0, dtype=self.dtype)

    def whole(self) -> Any:
        """Read all of it, as an array of this library."""
        return self[:]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole representation in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns = _rows_and_columns(index)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                return self._between(start, max(start, stop))[:, columns]
            block, place = self._gathered(np.arange(start, stop, step))
            return block[place][:, columns]
        wanted = _row_numbers(rows, self.shape[0])
        if not wanted.ndim:
            return self.read(int(wanted), int(wanted) + 1)[0, columns]
        block, place = self._gathered(wanted)
        # Together, since lists on both sides name elements in NumPy.
        return block[place, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self.where} is on disk and cannot be had without a copy: leave copy out.")
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"<{self.where}: {self.shape[0]} × {self.shape[1]} {self.dtype}, on disk>"

    def _between(self, start: int, stop: int) -> np.ndarray:
        found = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        step = max(1, READ_AT_ONCE // max(1, self.shape[1] * self.dtype.itemsize))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            found[first - start : last - start] = self.read(first, last)
        return found

    def _gathered(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read single rows, each stretch of neighbours once; return them, and where in them each row asked for is."""
        wanted, place = np.unique(index, return_inverse=True)
        parts = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1) if len(wanted) else []
        stretches = [self._between(int(part[0]), int(part[-1]) + 1) for part in parts]
        none = np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.concatenate(stretches) if stretches else none, place.reshape(index.shape)


def _rows_and_columns(index: Any) -> tuple[Any, Any]:
    """Take an index of NumPy's for two axes apart; what makes new axes is refused."""
    parts = list(index) if isinstance(index, tuple) else [index]
    whole = [at for at, part in enumerate(parts) if part is Ellipsis]
    if len(whole) == 1:
        parts[whole[0] : whole[0] + 1] = [slice(None)] * (3 - len(parts))
    single = any(part is None or (np.ndim(part) == 0 and isinstance(np.asarray(part)[()], np.bool_)) for part in parts)
    if len(whole) > 1 or len(parts) > 2 or single:
        raise IndexError(
            f"a representation on disk takes an index for its rows and one for its columns (numbers, slices, lists, masks of "
            f"one axis), got {index!r}: read the rows first, then index them as an array."
        )
    parts += [slice(None)] * (2 - len(parts))
    return parts[0], parts[1]


def _row_numbers(rows: Any, n: int) -> np.ndarray:
    """Return the numbers of the rows that an integer, a list or a mask asks for, in its shape."""
    found = np.asarray(rows)
    if found.size == 0 and not isinstance(rows, np.ndarray):
        found = found.astype(np.intp)
    if found.dtype == bool:
        if found.shape != (n,):
            raise IndexError(f"a mask of rows must have one entry per row ({n}), got shape {found.shape}.")
        return np.flatnonzero(found)
    if found.dtype.kind not in "iu":
        raise IndexError(f"rows must be chosen by integers, slices or a mask, got {found.dtype}: convert them.")
    outside = (found >= n) | (found < -n) if found.dtype.kind == "i" else found >= n
    if outside.any():
        raise IndexError(f"rows must be from {-n} to {n - 1}, got {found[outside].flat[0]}: there are {n} rows.")
    return np.where(found < 0, found.astype(np.int64) + n, found).astype(np.intp)


class RowsOfOthers(Rows):
    """Part of another representation on disk: where that one is, this one is."""

    def __init__(self, rows: Rows, shape: tuple[int, int]) -> None:
        self._rows, self.shape = rows, shape
        self.where, self.dtype = rows.where, rows.dtype

    @property
    def found_elsewhere(self) -> bool:
        """As the rows that they are among."""
        return self._rows.found_elsewhere

    @property
    def folder(self) -> str | None:
        """Where their file lies."""
        return self._rows.folder


class ChosenRows(RowsOfOthers):
    """Some rows of a representation on disk, in an order of their own, which are read when they are asked for."""

    def __init__(self, rows: Rows, index: np.ndarray) -> None:
        super().__init__(rows, (len(index), rows.shape[1]))
        self._index = index

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows from start up to stop."""
        return self._rows[self._index[start:stop]]


class Mapped(Rows):
    """A memory-mapped array in C order, read by plain reads: pages of a map count as resident memory, what is read does not."""

    def __init__(self, path: str, offset: int, shape: tuple[int, int], dtype: np.dtype) -> None:
        self.path, self.offset, self.shape, self.dtype = path, offset, shape, dtype
        self.where = f"the memory-mapped {path!r}"

    @classmethod
    def of(cls, array: np.memmap) -> Mapped:
        """Return what reads the file of a map."""
        if array.mode != "r":
            array.flush()
        path = os.path.abspath(str(array.filename))
        return cls(path, int(array.offset), (array.shape[0], array.shape[1]), array.dtype)

    @property
    def folder(self) -> str:
        """Where its file lies."""
        return os.path.dirname(self.path)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows from start up to stop."""
        width = self.shape[1]
        place = self.offset + start * width * self.dtype.itemsize
        found = np.fromfile(self.path, self.dtype, (stop - start) * width, offset=place)
        if len(found) < (stop - start) * width:
            raise ValueError(f"{self.where} must hold rows {start} to {stop}, got a shorter file: it was truncated.")
        return found.reshape(stop - start, width)

    def holds(self, array: np.ndarray) -> bool:
        """Say whether the file still holds what was mapped, by three of its rows: another file may have taken its name.

        A shorter file passes: reading it says so, and touching the map of what is no longer there would end the process.
        """
        try:
            parts = {row: self.read(row, row + 1) for row in (self.shape[0] - 1, self.shape[0] // 2, 0) if row >= 0}
        except ValueError:
            return True
        except OSError:
            return False
        return all(part.tobytes() == array[row : row + 1].tobytes() for row, part in parts.items())


def is_whole_map(x: Any, axes: int = 2) -> bool:
    """Say whether an array is a file mapped as it is, of which plain reads give the same rows."""
    if not isinstance(x, np.memmap):
        return False
    base: Any = x.base
    # A map in private mode may have been written to, which the file does not know.
    as_it_is = isinstance(base, mmap.mmap) and x.flags.c_contiguous and x.mode in ("r", "r+", "w+")
    plain = x.dtype.kind in "fiu" and x.dtype.type.__module__ == "numpy"
    return bool(as_it_is and x.filename and len(x.shape) == axes and plain)
