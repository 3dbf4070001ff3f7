"""Rows that are appended batch by batch to one array: a list of batches, put together at the end, would be there twice."""

from __future__ import annotations

import numpy as np


class GrowingRows:
    """An array of rows that grows in place.

    >>> rows = GrowingRows(np.ones((2, 3)), expected=4)
    >>> rows.append(np.zeros((5, 3)))
    >>> rows.whole().shape
    (7, 3)
    """

    def __init__(self, first: np.ndarray, expected: int = 0) -> None:
        self._count = len(first)
        # Memory that is asked for and not written yet is not taken.
        self._rows = np.empty((max(expected, self._count), *first.shape[1:]), dtype=first.dtype)
        self._rows[: self._count] = first

    def append(self, more: np.ndarray) -> None:
        """Add the rows of a batch."""
        count = self._count + len(more)
        if more.dtype != self._rows.dtype:
            self._rows = self._rows.astype(np.promote_types(more.dtype, self._rows.dtype))
        if count > len(self._rows):
            self._resize(max(count, len(self._rows) + len(self._rows) // 2))
        self._rows[self._count : count] = more
        self._count = count

    def whole(self) -> np.ndarray:
        """Return all rows; nothing can be appended to them afterwards."""
        self._resize(self._count)
        return self._rows

    def _resize(self, rows: int) -> None:
        # Nobody else has seen the array: it may move.
        self._rows.resize((rows, *self._rows.shape[1:]), refcheck=False)
