"""Random orders of the examples, each drawn from its own number, so that no schedule of threads changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Orders = Callable[[int], np.ndarray]


def seed_of(rng: int | np.random.Generator) -> int:
    """Return the number from which everything random follows."""
    return int(np.random.default_rng(rng).integers(2**63))


def orders(n: int, rng: int | np.random.Generator, groups: Any = None) -> Orders:
    """Return k → the k-th order of n examples, within groups where they are given; the 0-th leaves all where they are."""
    seed = seed_of(rng)
    places = None if groups is None else numbered(groups, n)
    by_group = None if places is None else np.argsort(places, kind="stable")

    def order(k: int) -> np.ndarray:
        found = np.arange(n)
        if k == 0:
            return found
        random = np.random.default_rng((seed, k))
        if places is None:
            return random.permutation(n)
        # Sorted by group and by chance within it, the rows go where the rows of their group are.
        found[by_group] = np.lexsort((random.random(n), places))
        return found

    return order


def numbered(groups: Any, n: int) -> np.ndarray:
    """Return the number of the group of every example."""
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must be one label for each of the {n} examples, got shape {labels.shape}.")
    if labels.dtype == object:
        labels = np.array([repr(label) for label in labels])
    _, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        raise ValueError(
            "groups must hold at least two examples somewhere, got every example in a group of its own: nothing can be permuted."
        )
    return places
