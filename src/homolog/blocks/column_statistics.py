"""What the columns of a representation are like, and the rows less what all of them have in common: on disk, or in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import check_finite
from homolog.blocks.scan import stretches
from homolog.linalg import Centred, power_of_two
from homolog.rows import Rows

PIECE, ACROSS = 1 << 17, 4096
"""Numbers of a piece of an array in memory, which stays in cache while it is worked on, and most of its columns."""


@dataclass(frozen=True)
class Columns:
    """What centring needs to know of the columns."""

    n: int
    near: np.ndarray
    """(p,) means of some rows, in the dtype of the features: what goes first, so that an offset cancels unrounded."""
    rest: np.ndarray
    """(p,) means less that, in float64."""
    scale: np.floating[Any]
    """Power of two by which centred features are divided."""
    dead: np.ndarray
    """(p,) bool: columns constant up to rounding."""

    def centred(self, block: np.ndarray) -> np.ndarray:
        """Return rows less the means, divided by the scale; dead columns are 0."""
        found: np.ndarray = block.astype(self.near.dtype)
        self.put(found, found, slice(None))
        return found

    def put(self, block: np.ndarray, out: np.ndarray, columns: slice) -> None:
        """Write some columns of rows less the means, divided by the scale."""
        np.subtract(block, self.near[columns], out=out, dtype=out.dtype)
        self._divide[0](out, self._divide[1][columns], out=out)
        out -= self._left[columns]

    @cached_property
    def _divide(self) -> tuple[np.ufunc, np.ndarray]:
        """Which operation with which numbers (p,) divides by the scale, and makes dead columns 0."""
        dtype = self.near.dtype.type
        with np.errstate(over="ignore", divide="ignore", under="ignore"):
            factor = dtype(1) / dtype(self.scale)
        # Both lose no bit, and products take a fraction of the time; but the inverse must be a normal number.
        if np.finfo(dtype).tiny <= factor < np.inf:
            return np.multiply, np.where(self.dead, dtype(0), factor)
        return np.divide, np.where(self.dead, dtype(np.inf), dtype(self.scale))

    @cached_property
    def _left(self) -> np.ndarray:
        """(p,) what is left of the means, divided by the scale."""
        return np.where(self.dead, 0, self.rest / self.scale).astype(self.near.dtype)


def columns_of(rows: Rows, title: str, dtype: Any) -> Columns:
    """Read a representation once, for features in a dtype; NaN or infinity in it is an error that names the first bad row."""
    n, width = rows.shape
    near: np.ndarray | None = None
    total, low, high = np.zeros(width), np.full(width, np.inf), np.full(width, -np.inf)
    for first, last in stretches(rows):
        block = rows.read(first, last)
        check_block(block, first, title)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
        with np.errstate(over="ignore", invalid="ignore"):
            if near is None:
                means = block.mean(axis=0, dtype=float)
                near = np.where(np.isfinite(means), means, low / 2 + high / 2).astype(dtype)
            total += (block.astype(dtype) - near).sum(axis=0, dtype=float)
    assert near is not None  # there is at least one row
    return _columns(n, near, total, low, high)


def _columns(n: int, near: np.ndarray, total: np.ndarray, low: np.ndarray, high: np.ndarray) -> Columns:
    """Return what centring needs to know, of sums of the columns less `near` and of their range, in float64."""
    half_range = high / 2 - low / 2
    dead = half_range <= n * np.finfo(float).eps * (np.maximum(np.abs(low), np.abs(high)) / 2)
    rest = total / n
    middle = low / 2 + high / 2 - near
    return Columns(n, near, np.where(np.isfinite(rest), rest, middle), power_of_two(np.max(half_range)), dead)


def centred_array(array: np.ndarray, dtype: Any) -> tuple[Centred, np.ndarray]:
    """Centre an array in memory, of finite numbers, as `linalg.centre` does; return it with the (n,) squared norms of its rows.

    Piece by piece, so that the memory is read twice and written once.
    """
    columns, features, squared = _columns_of_array(array, np.dtype(dtype)), np.empty(array.shape, dtype), None
    for rows, some in _pieces(array.shape):
        piece = features[rows, some]
        with np.errstate(over="ignore", invalid="ignore"):
            columns.put(array[rows, some], piece, some)
            norms = np.linalg.vecdot(piece, piece).astype(float)
        if squared is None:
            squared = np.zeros(len(array))
        squared[rows] += norms
    assert squared is not None  # there is at least one row
    return Centred(features, features.dtype.type(columns.scale), columns.dead), squared


def _columns_of_array(array: np.ndarray, dtype: np.dtype) -> Columns:
    """Return what centring needs to know of the columns of an array in memory."""
    n, width = array.shape
    near, total, low, high = (np.empty(width, kind) for kind in (dtype, float, array.dtype, array.dtype))
    less, ones = np.empty(PIECE, dtype), np.ones(min(n, PIECE), dtype)
    for rows, some in _pieces(array.shape):
        piece = array[rows, some]
        least, most = piece.min(axis=0), piece.max(axis=0)
        if rows.start == 0:
            low[some], high[some], total[some] = least, most, 0
            with np.errstate(over="ignore", invalid="ignore"):
                means = piece.mean(axis=0, dtype=float)
            near[some] = np.where(np.isfinite(means), means, least / 2 + most / 2)
        else:
            np.minimum(low[some], least, out=low[some])
            np.maximum(high[some], most, out=high[some])
        with np.errstate(over="ignore", invalid="ignore"):
            # A sum of few rows, which differ by what they vary: one product, and float64 for the sum of such sums.
            apart = np.subtract(piece, near[some], out=less[: piece.size].reshape(piece.shape))
            total[some] += ones[: len(piece)] @ apart
    return _columns(n, near, total, low.astype(float), high.astype(float))


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and the columns of every piece of an array, the rows of some columns after each other."""
    n, width = shape
    step = max(1, PIECE // min(width, ACROSS))
    for left in range(0, width, ACROSS):
        for top in range(0, n, step):
            yield slice(top, min(top + step, n)), slice(left, min(left + ACROSS, width))


class CentredRows(Rows):
    """Centred rows of a representation on disk, whose columns may be divided by their norms, or mapped by a matrix."""

    def __init__(
        self, rows: Rows, columns: Columns, norms: np.ndarray | None = None, by: Any = None, over: Any = None
    ) -> None:
        self.rows, self.columns, self._norms, self._by, self._over = rows, columns, norms, by, over
        self.where, self.dtype = rows.where, columns.near.dtype
        self.shape = rows.shape if by is None else (rows.shape[0], by.shape[1])

    @property
    def step(self) -> int:
        """As the rows that are read."""
        return self.rows.step

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from start up to stop."""
        if isinstance(self._by, Rows):
            return self.opened().read(start, stop)
        found = self.columns.centred(self.rows.read(start, stop))
        if self._norms is not None:
            found /= self._norms
        return found if self._by is None else found @ self._by

    def opened(self) -> CentredRows:
        """Return the same with the matrix, columns over some numbers, in memory."""
        if not isinstance(self._by, Rows):
            return self
        return CentredRows(self.rows, self.columns, by=self._by[:] / self._over)

    def centred(self) -> Centred:
        """Return what `linalg.centre` says of a representation in memory."""
        return Centred(self, self.columns.scale, self.columns.dead)


def check_block(block: np.ndarray, first: int, title: str) -> None:
    """Raise where some rows, the first of which has a number, hold NaN or an infinity."""
    try:
        check_finite(block, title)
    except ValueError:
        bad = int(np.argmax(~np.isfinite(block).all(axis=1)))
        raise ValueError(
            f"{title} must be finite, got NaN or infinity first in row {first + bad}: leave such examples out on both sides, or "
            f"look for an overflow in the model."
        ) from None
