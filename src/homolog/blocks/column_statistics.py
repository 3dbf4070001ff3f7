"""Representations on disk, block by block: what the columns are like, and the rows less what all of them have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.arrays import check_finite
from homolog.blocks.scan import stretches
from homolog.linalg import Centred, power_of_two
from homolog.rows import Rows


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
        dtype = self.near.dtype.type
        found: np.ndarray = block.astype(dtype)
        found -= self.near
        found /= np.where(self.dead, dtype(np.inf), dtype(self.scale))
        found -= np.where(self.dead, 0, self.rest / self.scale).astype(dtype)
        return found


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
    half_range = high / 2 - low / 2
    dead = half_range <= n * np.finfo(float).eps * (np.maximum(np.abs(low), np.abs(high)) / 2)
    rest = total / n
    middle = low / 2 + high / 2 - near
    return Columns(n, near, np.where(np.isfinite(rest), rest, middle), power_of_two(np.max(half_range)), dead)


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
