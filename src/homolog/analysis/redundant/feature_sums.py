"""Sums over the rows of a layer, feature by feature, in which rows that are long in all features weigh as the others do.

A massive feature stands out among the features of its row. In a row that is long as a whole every feature is large, and none of
them stands out. How long rows usually are is known at the end of a pass alone; until then rows are kept apart by the power of two
below their own median magnitude, which does not depend on the blocks in which they are read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONG_AS_A_WHOLE = 3
"""Powers of two by which the median magnitude of a row is above that of its layer from which on it is divided by them."""
_NONE = -(2**20)
"""Instead of a power of two where a row has at most one number that is not 0, which has nothing to stand out among."""


def own_sizes(magnitudes: np.ndarray) -> np.ndarray:
    """(rows,) power of two below the median of what is not 0 in each row.

    >>> own_sizes(np.array([[1.0, 3, 5], [0, 0, 9], [0, 40, 40]])).tolist()
    [1, -1048576, 5]
    """
    width = magnitudes.shape[1]
    zeros = np.count_nonzero(magnitudes == 0, axis=1)
    middle = np.partition(magnitudes, width // 2, axis=1)[:, width // 2]
    some = np.flatnonzero(zeros)
    places = np.minimum(zeros[some] + (width - zeros[some]) // 2, width - 1)
    middle[some] = np.sort(magnitudes[some], axis=1)[np.arange(len(some)), places]
    return np.where(zeros < width - 1, np.frexp(middle)[1] - 1, _NONE)


@dataclass
class Sums:
    """Sums over rows of one size."""

    squares: np.ndarray
    """(p,) Σ x²"""
    largest: np.ndarray
    """(p,) largest magnitude of every feature, and in which row."""
    row: np.ndarray


class FeatureSums:
    """Sums over the rows of a layer, apart for every size of rows."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._sums: dict[int, Sums] = {}

    def add(self, magnitudes: np.ndarray, first: int) -> None:
        """Add rows, of which the first has a number."""
        sizes = own_sizes(magnitudes)
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size)
            rows = magnitudes if len(places) == len(sizes) else magnitudes[places]
            zeros = np.zeros(self._width)
            sums = self._sums.setdefault(int(size), Sums(zeros, zeros - 1, zeros.astype(np.int64)))
            with np.errstate(over="ignore"):
                sums.squares = sums.squares + np.einsum("ij,ij->j", rows, rows)
            peak = rows.max(axis=0)
            larger = peak > sums.largest
            sums.largest[larger] = peak[larger]
            sums.row[larger] = first + places[rows[:, larger].argmax(axis=0)]

    def squares(self) -> np.ndarray:
        """(p,) Σ x² over all rows."""
        return np.sum([sums.squares for sums in self._sums.values()], axis=0)

    def largest(self) -> np.ndarray:
        """(p,) largest magnitude in any row."""
        return np.max([sums.largest for sums in self._sums.values()], axis=0)

    def levelled(self, typical: float) -> Levelled:
        """Return the same of rows divided by how many times they are long as a whole, where the layer has a typical magnitude."""
        usual = np.frexp(typical)[1] - 1
        zeros = np.zeros(self._width)
        found = Levelled(zeros, zeros - 1, zeros - 1, zeros.astype(np.int64))
        for size, sums in sorted(self._sums.items()):
            over = int(size - usual) if typical > 0 and size - usual > LONG_AS_A_WHOLE else 0
            found.squares = found.squares + np.ldexp(sums.squares, -2 * over)
            level = np.ldexp(sums.largest, -over)
            larger = level > found.level
            for mine, theirs in ((found.level, level), (found.largest, sums.largest), (found.row, sums.row)):
                mine[larger] = theirs[larger]
        return found


@dataclass
class Levelled(Sums):
    """Sums over rows that are divided by how many times they are long as a whole."""

    squares: np.ndarray
    level: np.ndarray
    """(p,) largest magnitude so divided,"""
    largest: np.ndarray
    """undivided,"""
    row: np.ndarray
    """and in which row."""
