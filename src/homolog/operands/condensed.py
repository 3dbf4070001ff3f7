"""Structures as halves: one number per pair i < j of rows, row after row, from products that are formed once for all kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from homolog.arrays import machine_epsilon
from homolog.blocks.products import PIECE
from homolog.linalg import ROUNDINGS, UNIT_ROUNDINGS, unit_rows

ROWS = 512
"""Rows of products that are formed at a time."""
DOMINANT = 20
"""Rows whose squared norms have a mean square this many times their squared mean are a few heavy ones among many light ones."""
PLACES = 64
"""Rows of which inner products are looked at, to see what they have in common."""
SAMPLE = 256
"""Rows of which distances are looked at in float64, to see what float32 would make of them."""
NEAR, TIED, SPREAD = 1e-3, 1e-12, 1e-2
"""Squared distances that are small, equal, or too little spread for float32, as shares of their mean."""
FEW = 1e-3
"""Share of the distances that may be small or equal: rounding of so few is not seen."""
BESIDE = 5e-3
"""Squared distances below this share of the squares of two rows are summed from differences, where float64 is at hand."""


def near_units(x: np.ndarray, *, about_mean: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of norm 1 less their mean, and which rows have no direction.

    Half the squared distance of two rows is 1 − cosine. Less their mean its digits are those of the difference, not those of 1,
    however nearly the rows point the same way.
    """
    n, total = len(x), np.zeros(x.shape[1])
    units, absent = np.empty(x.shape, dtype=x.dtype), np.empty(n, dtype=bool)
    # In float64 whatever the dtype, since an offset leaves the directions few digits; a part of the rows at a time.
    parts = [slice(start, start + ROWS) for start in range(0, n, ROWS)]
    for part in parts:
        some = unit_rows(x[part].astype(float), about_mean=about_mean)
        absent[part] = ~some.any(axis=1)
        total += some.sum(axis=0)
    for part in parts:
        units[part] = unit_rows(x[part].astype(float), about_mean=about_mean) - total / n
    if single_suffices(units) and not (x.dtype == np.float32 and few_rows_dominate(squared_rows(units))):
        return units, absent
    return near_units(x.astype(float), about_mean=about_mean)


def single_suffices(points: np.ndarray) -> bool:
    """Say whether products in the dtype of some points tell their distances; of float32, judged by some rows in float64.

    It does not where rows are near each other beside the others, where all are about equally far apart, or where many distances
    tie: what rounding leaves of them would count.
    """
    if points.dtype != np.float32:
        return True
    some = points[:: -(-len(points) // SAMPLE)].astype(float)
    squared = np.sort(condensed_squared_distances(some))
    mean = float(squared.mean())
    near = np.count_nonzero(squared < NEAR * mean)
    tied = np.count_nonzero(np.diff(squared) <= TIED * mean)
    return bool(near <= FEW * len(squared) and tied <= FEW * len(squared) and squared.std() > SPREAD * mean)


def condensed_squared_distances(points: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Return squared distances of every pair of rows; 0 where rounding, or less than the floor, is left of them."""
    return condensed_of_blocks(squared_blocks(points, floor), len(points))


def squared_rows(points: np.ndarray) -> np.ndarray:
    """Return squared norms of rows, in float64 though summed in the dtype of the points."""
    found: np.ndarray = np.linalg.vecdot(points, points).astype(float)
    return found


def few_rows_dominate(squared_norms: np.ndarray) -> bool:
    """Say whether a few rows carry almost everything, so that float32 would round away what sets the others apart."""
    return dominated(len(squared_norms), float(squared_norms.sum()), float(np.vdot(squared_norms, squared_norms)))


def dominated(n: int, total: float, squares: float) -> bool:
    """Say the same of the sum and of the sum of squares of n squared norms."""
    return DOMINANT * total**2 < n * squares


def evenly(n: int, count: int) -> np.ndarray:
    """Return places of at most so many rows, spread evenly over all."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(int))


def nearly_orthogonal(some: np.ndarray, squared_norms: np.ndarray) -> bool:
    """Say whether rows have so little in common, by some of them, that float32 would round it away beside their norms.

    What a debiased estimator looks at lies off the diagonal of the Gram matrix.
    """
    gram = some @ some.T
    between = gram[np.triu_indices(len(gram), 1)].astype(float)
    squares = float(np.vdot(squared_norms, squared_norms))
    return apart(len(squared_norms), float(np.mean(between**2)), squares, machine_epsilon(some))


def apart(n: int, between: float, squares: float, epsilon: float) -> bool:
    """Say the same of the mean square between rows and the sum of squares of all n squared norms, and of a spacing at 1."""
    return n**2 * between < max(0.01, 4 * n * epsilon) * squares


def squared_blocks(points: np.ndarray, floor: float, beside: float = BESIDE) -> Callable[[slice, slice], np.ndarray]:
    """Return a function of two parts of the rows that gives their squared distances, exact to more bits where rows are near."""
    norms = np.einsum("ij,ij->i", points, points)[:, None]
    # (−2x, ‖x‖², 1) · (y, 1, ‖y‖²): one product, and no pass over its entries for the norms.
    left = np.concatenate([-2 * points, norms, np.ones_like(norms)], axis=1)
    right = np.concatenate([points, np.ones_like(norms), norms], axis=1)
    precise, epsilon = points.dtype == np.float64, machine_epsilon(points)
    most = (beside if precise else ROUNDINGS * epsilon) * norms + points.dtype.type(floor) / 2

    def block(rows: slice, columns: slice) -> np.ndarray:
        found: np.ndarray = left[rows] @ right[columns].T
        close = found <= most[rows] + most[columns].T
        if not precise:
            found[close] = 0
            return found
        # Products would leave the order of rows near each other to rounding.
        i, j = np.divmod(np.flatnonzero(close), close.shape[1])
        found[i, j] = squared_apart(points, norms[:, 0], rows.start + i, columns.start + j, floor)
        return found

    return block


def squared_apart(points: np.ndarray, norms: np.ndarray, i: np.ndarray, j: np.ndarray, floor: float) -> np.ndarray:
    """Return squared distances of pairs of rows, summed from differences; 0 where only rounding, or the floor, is left."""
    found, epsilon = np.empty(len(i), dtype=points.dtype), machine_epsilon(points)
    for start in range(0, len(i), step := max(1, PIECE // (1 + points.shape[1]))):
        one, other = i[start : start + step], j[start : start + step]
        apart = points[one] - points[other]
        squared = np.einsum("ij,ij->i", apart, apart)
        equal = squared <= (UNIT_ROUNDINGS * epsilon) ** 2 * (norms[one] + norms[other]) + floor
        found[start : start + step] = np.where(equal, 0, squared)
    return found


def row_starts(n: int) -> np.ndarray:
    """Return where the pairs (i, j > i) of every row i begin, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.arange(n - 1, -1, -1))])


def condensed_of_blocks(block: Callable[[slice, slice], np.ndarray], n: int) -> np.ndarray:
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


def row_sums(condensed: np.ndarray, n: int, diagonal: float) -> np.ndarray:
    """Return the sums of the rows of a symmetric matrix, in float64."""
    sums = np.full(n, diagonal)
    starts = row_starts(n)
    for i in range(n - 1):
        row = condensed[starts[i] : starts[i + 1]]
        sums[i] += row.sum(dtype=float)
        sums[i + 1 :] += row
    return sums


def centre_condensed(condensed: np.ndarray, n: int, diagonal: float, means: np.ndarray) -> np.ndarray:
    """Subtract the means of rows and columns, in place, and return the diagonal of the centred matrix."""
    whole, starts = means.mean(), row_starts(n)
    # Of a kernel near 1 everywhere the means carry what centring takes away.
    columns = (means - whole).astype(condensed.dtype)
    for i in range(n - 1):
        row = condensed[starts[i] : starts[i + 1]]
        row -= columns[i + 1 :]
        row -= condensed.dtype.type(means[i])
    centred: np.ndarray = diagonal - 2 * means + whole
    return centred


def whole(condensed: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix."""
    n = len(diagonal)
    found, starts = np.empty((n, n), dtype=condensed.dtype), row_starts(n)
    for i in range(n):
        found[i, i] = diagonal[i]
        found[i, i + 1 :] = found[i + 1 :, i] = condensed[starts[i] : starts[i + 1]]
    return found
