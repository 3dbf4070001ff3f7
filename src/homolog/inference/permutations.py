"""Random orders of the examples, and values of measures under them: operands are prepared once, and only reordered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from homolog.inference.units import exchangeable, labels_of
from homolog.measures.evaluation import value_matrices, values_of_all
from homolog.measures.record import Measure
from homolog.operands.family import TogetherFamily, reordered

Orders = Callable[[int], np.ndarray]
MANY = 20
"""Examples that have more orders than anybody draws."""


def random_of(rng: Any) -> np.random.Generator:
    """Return the generator that a seed, or a generator, stands for."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise TypeError(
            f"rng must be a seed, a whole number of at least 0, or a NumPy generator, got {rng!r}."
        ) from None


def seed_of(rng: int | np.random.Generator) -> int:
    """Return the number from which everything random follows."""
    return int(random_of(rng).integers(2**63))


def orders(n: int, rng: int | np.random.Generator, groups: Any = None, units: np.ndarray | None = None) -> Orders:
    """Return k → the k-th order of n examples, within groups where they are given; the 0-th leaves all where they are.

    Without groups, the rows of one of the `units` stay together, and change places with those of another of as many rows.
    """
    seed = seed_of(rng)
    blocks = None if groups is not None or units is None else exchangeable(units)
    places = None if groups is None else numbered(groups, n)
    by_group = None if places is None else np.argsort(places, kind="stable")

    def order(k: int) -> np.ndarray:
        found = np.arange(n)
        if k == 0:
            return found
        random = np.random.default_rng((seed, k))
        if blocks is not None:
            for rows in blocks:
                found[rows] = random.permutation(rows)
            return found
        if places is None:
            return random.permutation(n)
        # Sorted by group and by chance within it, the rows go where the rows of their group are.
        found[by_group] = np.lexsort((random.random(n), places))
        return found

    return order


def numbered(groups: Any, n: int) -> np.ndarray:
    """Return the number of the group of every example."""
    labels = labels_of(groups, n)
    _, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        raise ValueError(
            "groups must hold at least two examples somewhere, got every example in a group of its own: nothing can be permuted."
        )
    return places


def count_orders(n: int, groups: Any = None, units: np.ndarray | None = None) -> int:
    """Return how many different orders there are, or that there are very many.

    >>> count_orders(8, [0, 0, 1, 1, 2, 2, 3, 3]), count_orders(4)
    (16, 24)
    """
    if groups is not None:
        sizes = np.bincount(numbered(groups, n)).tolist()
    else:
        sizes = [n] if units is None else [len(rows) for rows in exchangeable(units)]
    moved = [size for size in sizes if size > 1]
    return math.prod(math.factorial(min(size, MANY)) for size in moved[:MANY])


Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def permuted_values(
    measures: Mapping[str, Measure],
    xs: Sequence[Any],
    ys: Sequence[Any],
    needed: np.ndarray,
    order: Orders,
    n_permutations: int,
    each: Each,
    memory: int,
    step: Callable[[], Any] = lambda: None,
) -> dict[str, np.ndarray]:
    """Return name → (1 + n_permutations, x, y) values, the first of them with the examples where they are.

    Parameters
    ----------
    measures
        of one family, which share their operands.
    xs, ys
        operands of the two sides.
    needed
        (x, y) bool, the pairs asked for.
    order
        k → order of the examples of y; the same for all pairs.
    each
        a map, perhaps of a pool of threads.
    """
    family = next(iter(measures.values())).family
    together = family.permuted(xs, ys, needed, memory) if isinstance(family, TogetherFamily) else None

    def one(k: int) -> np.ndarray:
        rows = order(k)
        if together is not None:
            found = values_of_all(measures, together(rows), needed.shape)
        else:
            found = value_matrices(measures, xs, [reordered(y, rows) for y in ys], needed)
        step()
        return found

    values = np.array(list(each(one, range(1 + n_permutations))))
    return {name: np.where(needed, values[:, i], np.nan) for i, name in enumerate(measures)}


def is_order_free(values: np.ndarray) -> bool:
    """Say whether no order of the examples changes any value, along the first axis, of those that are defined."""
    undefined = np.isnan(values)
    return bool(np.all((values == values[:1]) | undefined) and not undefined.all())
