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

    `layer[100:200]`, `layer[[3, 5]]` and `layer[mask]` read these rows, `numpy.asarray(layer)` all of them. Nothing stays in
    memory but what was asked for.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    ndim = 2
    where: str
    """What errors call it."""

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
    def nbytes(self) -> int:
        """Bytes of the whole representation in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, tuple):
            return self[rows[0]][(slice(None), *rows[1:])] if isinstance(rows[0], slice) else self[rows[0]][rows[1:]]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                return self._between(start, max(start, stop))
        index = np.arange(self.shape[0])[rows]
        return self._gathered(index) if index.ndim else self.read(int(index), int(index) + 1)[0]

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

    def _gathered(self, index: np.ndarray) -> np.ndarray:
        """Read single rows, each stretch of neighbours once."""
        wanted, back = np.unique(index, return_inverse=True)
        parts = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1) if len(wanted) else []
        stretches = [self._between(int(part[0]), int(part[-1]) + 1) for part in parts]
        none = np.empty((0, self.shape[1]), dtype=self.dtype)
        return np.concatenate(stretches)[back] if stretches else none


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


def is_whole_map(x: Any) -> bool:
    """Say whether an array is a file mapped as it is, of which plain reads give the same rows."""
    if not isinstance(x, np.memmap):
        return False
    base: Any = x.base
    # A map in private mode may have been written to, which the file does not know.
    as_it_is = isinstance(base, mmap.mmap) and x.flags.c_contiguous and x.mode in ("r", "r+", "w+")
    return bool(as_it_is and x.filename and len(x.shape) == 2 and x.dtype.kind in "fiu")
