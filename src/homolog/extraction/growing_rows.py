"""Rows that are appended batch by batch to one array: a list of batches, put together at the end, would be there twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.extraction.tensors import is_torch, loaded_torch

Growing = Any
"""GrowingRows, or GrowingTensor."""


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


class GrowingTensor:
    """The same of a tensor of PyTorch's, on its device. Memory that is asked for there is taken: `expected` should be right."""

    def __init__(self, first: Any, expected: int = 0) -> None:
        self._count = len(first)
        self._rows = first.new_empty((max(expected, self._count), *first.shape[1:]))
        self._rows[: self._count] = first

    def append(self, more: Any) -> None:
        """Add the rows of a batch."""
        count = self._count + len(more)
        if more.dtype != self._rows.dtype:
            self._rows = self._rows.to(loaded_torch().promote_types(more.dtype, self._rows.dtype))
        if count > len(self._rows):
            self._resize(max(count, len(self._rows) + len(self._rows) // 2))
        self._rows[self._count : count] = more
        self._count = count

    def whole(self) -> Any:
        """Return all rows; nothing can be appended to them afterwards."""
        if self._count < len(self._rows):
            self._resize(self._count)
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes that are taken."""
        return int(self._rows.nbytes)

    def on_host(self) -> GrowingRows:
        """Return the same rows on the host."""
        return GrowingRows(self._rows[: self._count].cpu().numpy(), len(self._rows))

    def _resize(self, rows: int) -> None:
        larger = self._rows.new_empty((rows, *self._rows.shape[1:]))
        kept = min(self._count, rows)
        larger[:kept] = self._rows[:kept]
        self._rows = larger


def growing(first: Any, expected: int = 0) -> Growing:
    """Return rows that grow where the first of them are."""
    return GrowingTensor(first, expected) if is_torch(first) else GrowingRows(first, expected)
