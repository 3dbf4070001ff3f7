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
from typing import NamedTuple

import numpy as np
import scipy

from homolog.operands.discordant_loops import AHEAD, compiled

FEWEST = 1 << 16
"""Numbers from which on compiled loops are worth their start."""
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


def order_of(values: np.ndarray) -> Order:
    """Return the order of some integers."""
    kind = np.uint32 if len(values) < 1 << 32 else np.uint64
    order = np.argsort(values)
    ordered = values[order]
    order, new = order.astype(kind), np.zeros(len(values), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    del ordered
    ranks = np.empty(len(values), dtype=kind)
    ranks[order] = np.cumsum(new, dtype=kind)
    if new[1:].all():
        return Order(ranks, 0, order)
    sizes = np.diff(np.flatnonzero(new), prepend=0, append=len(values))
    return Order(ranks, int(np.dot(sizes, sizes - 1)) // 2, order)


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
    if x.order is None and y.order is None:
        x = order_of(x.ranks)
    elif x.order is None or (x.tied and y.order is not None and not y.tied):
        x, y = y, x  # both are the same, and without ties it takes less
    pairs = size * (size - 1) // 2
    discordant, equal = _counted(x, y)
    surplus = pairs - x.tied - y.tied + equal - 2 * discordant
    return surplus / math.sqrt(pairs - x.tied) / math.sqrt(pairs - y.tied)


def _counted(x: Order, y: Order) -> tuple[int, int]:
    """Return how many pairs x and y order differently, and how many tie in both."""
    gather, arrange, inversions = compiled()
    numbers, equal = np.empty((2, len(x.ranks)), dtype=x.ranks.dtype), 0
    if x.tied == 0:
        gather(x.order, y.ranks, numbers[0])
        most = int(y.ranks.max())
    else:
        # What ties in y stands in order of x, and is no inversion; what ties in x is none either.
        starts = np.zeros(int(y.ranks.max()) + 2, dtype=x.ranks.dtype)
        equal = int(arrange(x.order, x.ranks, y.ranks, starts, numbers[0]))
        most = int(x.ranks.max())
    return int(inversions(numbers, most.bit_length(), AHEAD)), equal
