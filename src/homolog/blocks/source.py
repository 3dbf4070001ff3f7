"""Rows of representations: in memory, less their first, or kept in a cache, read like those on disk."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import numpy as np

from homolog.arrays import beyond_float64, is_long, less_row, on_disk, to_numpy
from homolog.rows import Rows


class ArrayRows(Rows):
    """A representation in memory, to be read like one that is not."""

    in_memory = True

    def __init__(self, array: Any, where: str) -> None:
        self.array, self.where = array, where
        self.shape, self.dtype = (array.shape[0], array.shape[1]), self.read(0, 1).dtype

    @property
    def found_elsewhere(self) -> bool:
        """It would have to be sent."""
        return False

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from start up to stop."""
        found = to_numpy(self.array[start:stop, :])
        # bfloat16 and its kin are of kind V.
        return found.astype(np.float32) if found.dtype.kind == "V" else found


class LessFirst(Rows):
    """Integers on disk less their first row, in float64, which would round the integers themselves."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._first = rows, rows.read(0, 1)
        self.where, self.shape, self.dtype = rows.where, rows.shape, np.dtype(float)

    @property
    def step(self) -> int:
        """As the rows that are read."""
        return self._rows.step

    @property
    def folder(self) -> str | None:
        """Where their file lies."""
        return self._rows.folder

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows from start up to stop."""
        return less_row(self._rows.read(start, stop), self._first)


def exact_rows(rows: Rows) -> Rows:
    """Return rows whose columns are to be centred so that float64 holds all their digits."""
    return LessFirst(rows) if is_long(rows) and beyond_float64(rows.read(0, 1)) else rows


class ArrayCache:
    """Keeps arrays in memory as long as they fit into a budget, and in a folder from there on.

    A cache without a budget may be sent to other processes, which reach the folder too.
    """

    def __init__(self, folder: str, memory: int) -> None:
        self._folder, self._left = folder, memory

    def put(self, array: np.ndarray) -> Rows:
        """Keep an array, and return what reads it."""
        self._left -= array.nbytes
        if self._left >= 0:
            return ArrayRows(array, "an array")
        path = f"{self._folder}/{token_hex(8)}.npy"
        np.save(path, array)
        rows = on_disk(np.load(path, mmap_mode="r"))
        return ArrayRows(array, "an empty array") if rows is None else rows
