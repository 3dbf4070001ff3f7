"""Structures as halves: one number per pair i < j of rows, row after row, from products that are formed once for all kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from homolog.linalg import Centred, centre, unit_rows

ROWS = 512
"""Rows of products that are formed at a time."""
PIECE = 1 << 18
"""Pairs of rows that are multiplied at a time: of one layer they stay in cache."""


class Points:
    """A representation, and what is computed of its rows whatever becomes of it."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    @cached_property
    def centred(self) -> Centred:
        """Centred features, scaled."""
        return centre(self.x)

    @cached_property
    def squared(self) -> np.ndarray:
        """(n(n−1)/2,) squared distances between centred rows."""
        return squared_half(self.centred.features)

    @cached_property
    def beside_cosine(self) -> np.ndarray:
        """(n(n−1)/2,) 1 − cosine of rows."""
        return _one_less(unit_rows(self.x, about_mean=False))

    @cached_property
    def beside_correlation(self) -> np.ndarray:
        """(n(n−1)/2,) 1 − correlation of rows over the features."""
        return _one_less(unit_rows(self.x, about_mean=True))


def squared_half(points: np.ndarray) -> np.ndarray:
    """Return squared distances of every pair of rows, never negative."""
    norms = np.einsum("ij,ij->i", points, points)[:, None]
    # (−2x, ‖x‖², 1) · (y, 1, ‖y‖²): one product, and no pass over its entries for the norms.
    left = np.concatenate([-2 * points, norms, np.ones_like(norms)], axis=1)
    right = np.concatenate([points, np.ones_like(norms), norms], axis=1)
    found = halved(lambda rows, columns: left[rows] @ right[columns].T, len(points))
    return np.maximum(found, 0, out=found)


def _one_less(rows: np.ndarray) -> np.ndarray:
    def block(some: slice, others: slice) -> np.ndarray:
        found: np.ndarray = rows[some] @ rows[others].T
        np.subtract(1, found, out=found)
        return np.maximum(found, 0, out=found)

    return halved(block, len(rows))


def row_starts(n: int) -> np.ndarray:
    """Return where the pairs (i, j > i) of every row i begin, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.arange(n - 1, -1, -1))])


def halved(block: Callable[[slice, slice], np.ndarray], n: int) -> np.ndarray:
    """Return what lies above the diagonal of a matrix of which blocks can be formed, row after row."""
    starts, found = row_starts(n), None
    for top in range(0, n, ROWS):
        rows = slice(top, min(top + ROWS, n))
        parts = block(rows, rows), block(rows, slice(rows.stop, n))
        if found is None:
            found = np.empty(starts[-1], dtype=parts[0].dtype)
        for i in range(rows.start, rows.stop):
            inside = parts[0][i - top, i - top + 1 :]
            middle = starts[i] + len(inside)
            found[starts[i] : middle] = inside
            found[middle : starts[i + 1]] = parts[1][i - top]
    assert found is not None  # there are rows
    return found


def row_sums(half: np.ndarray, n: int, diagonal: float) -> np.ndarray:
    """Return the sums of the rows of a symmetric matrix, in float64."""
    sums = np.full(n, diagonal)
    starts = row_starts(n)
    for i in range(n - 1):
        row = half[starts[i] : starts[i + 1]]
        sums[i] += row.sum(dtype=float)
        sums[i + 1 :] += row
    return sums


def centre_half(half: np.ndarray, n: int, diagonal: float, means: np.ndarray) -> np.ndarray:
    """Subtract the means of rows and columns, in place, and return the diagonal of the centred matrix."""
    whole, starts = means.mean(), row_starts(n)
    # Of a kernel near 1 everywhere the means carry what centring takes away.
    columns = (means - whole).astype(half.dtype)
    for i in range(n - 1):
        row = half[starts[i] : starts[i + 1]]
        row -= columns[i + 1 :]
        row -= half.dtype.type(means[i])
    centred: np.ndarray = diagonal - 2 * means + whole
    return centred


def whole(half: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix."""
    n = len(diagonal)
    found, starts = np.empty((n, n), dtype=half.dtype), row_starts(n)
    for i in range(n):
        found[i, i] = diagonal[i]
        found[i, i + 1 :] = found[i + 1 :, i] = half[starts[i] : starts[i + 1]]
    return found


def pieces(halves: Sequence[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the share of the work and the products of all halves with each other, piece by piece."""
    size = len(halves[0])
    for start in range(0, size, PIECE):
        stacked = np.stack([half[start : start + PIECE] for half in halves])
        yield stacked.shape[1] / size, (stacked @ stacked.T).astype(float)
