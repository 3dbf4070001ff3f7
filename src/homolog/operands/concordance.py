"""Kendall's τ_b of vectors whose order is found but once, however many others each is compared with.

With the values of x in order, the pairs that y orders otherwise are the inversions of the ranks of y. They are counted as a radix
sort goes, among numbers that agree in their leading bits by the next six, and so on (Knight 1966 counts them as a merge sort
does). All counts are integers, so that nothing is rounded before the last division.

The loops are compiled by numba where it is installed. Without it SciPy's exact τ_b sorts both vectors again for every pair.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import scipy

from homolog.operands.discordant_loops import AHEAD, compiled

FEWEST = 1 << 16
"""Numbers from which on compiled loops are worth their start."""
FEW_TIES = 8
"""Numbers per pair of equal ones from which on these are few: to put each run in order then costs little."""
BYTES = {True: 20, False: 100}
"""Bytes per number that a pair takes, with compiled loops and without."""


class Order(NamedTuple):
    """A vector by its ranks."""

    ranks: np.ndarray
    """(m,) place of each value among the different ones, from 0."""
    tied: int
    """Pairs of equal values."""
    order: np.ndarray | None = None
    """(m,) where the values stand, the smallest first; None where nobody has found it."""
    again: np.ndarray | None = None
    """Places in that order where a value is as the one before; None where they are many, or nobody has found it."""


class Runs(NamedTuple):
    """Equal values in an order."""

    starts: np.ndarray
    """Place of the first of each run."""
    sizes: np.ndarray
    numbers: np.ndarray
    """Number of the run of each value that is as the one before."""


def runs_of(again: np.ndarray) -> Runs:
    """Return the runs of equal values, of the places where a value is as the one before."""
    first = np.ones(len(again), dtype=bool)
    np.greater(again[1:], again[:-1] + 1, out=first[1:])
    numbers = np.cumsum(first) - 1
    return Runs(again[first] - 1, 1 + np.bincount(numbers), numbers)


def order_of(values: np.ndarray) -> Order:
    """Return the order of some integers."""
    size = len(values)
    kind: Any = np.uint32 if size < 1 << 32 else np.uint64
    order = np.argsort(values)
    ordered = values[order]
    order, new = order.astype(kind), np.ones(size, dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    del ordered
    again = np.flatnonzero(~new)
    sizes = runs_of(again).sizes
    tied = int(np.dot(sizes, sizes - 1)) // 2
    ranks = np.empty(size, dtype=kind)
    ranks[order] = np.cumsum(new, dtype=kind)
    ranks -= 1
    return Order(ranks, tied, order, again.astype(kind) if tied <= size // FEW_TIES else None)


def is_compiled(size: int) -> bool:
    """Say whether vectors of so many numbers are compared by compiled loops."""
    return size >= FEWEST and _has_numba()


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def tau_b(x: Order, y: Order) -> float:
    """Return (concordant − discordant) / sqrt((pairs − tied in x)(pairs − tied in y)), where neither factor is 0."""
    size = len(x.ranks)
    if not is_compiled(size):
        return float(scipy.stats.kendalltau(x.ranks, y.ranks, method="asymptotic").statistic)
    if y.order is not None and (x.order is None or (x.again is None and y.again is not None)):
        x, y = y, x  # τ_b is the same, and few ties take less
    elif x.order is None:
        x = order_of(x.ranks)
    pairs = size * (size - 1) // 2
    discordant, equal = _counted(x, y)
    surplus = pairs - x.tied - y.tied + equal - 2 * discordant
    return surplus / math.sqrt(pairs - x.tied) / math.sqrt(pairs - y.tied)


def _counted(x: Order, y: Order) -> tuple[int, int]:
    """Return how many pairs x and y order differently, and how many tie in both."""
    gather, settle, arrange, inversions = compiled()
    numbers = np.empty((2, len(x.ranks)), dtype=x.ranks.dtype)
    # What ties on one side stands in order of the other, and is no inversion.
    if x.again is not None:
        gather(x.order, y.ranks, numbers[0])
        equal, most = settle(numbers[0], x.again), int(y.ranks.max())
    else:
        starts = np.zeros(int(y.ranks.max()) + 2, dtype=x.ranks.dtype)
        equal, most = arrange(x.order, x.ranks, y.ranks, starts, numbers[0]), int(x.ranks.max())
    return int(inversions(numbers, most.bit_length(), AHEAD)), int(equal)
