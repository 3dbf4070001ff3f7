"""Orders of a few things within blocks: all of them where they are few, random ones where they are many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np


def count_arrangements(labels: np.ndarray, blocks: np.ndarray) -> int:
    """Count the ways in which labels can stand when those of a block may change places.

    >>> count_arrangements(np.array([0, 0, 1, 1]), np.zeros(4))
    6
    """
    count = 1
    for block in np.unique(blocks):
        sizes = np.unique(labels[blocks == block], return_counts=True)[1]
        count *= math.factorial(int(sizes.sum())) // math.prod(math.factorial(int(size)) for size in sizes)
    return count


def count_namings(labels: np.ndarray, blocks: np.ndarray) -> int:
    """Count the arrangements that make the same groups as the first, under other names.

    >>> count_namings(np.array([0, 0, 1, 1]), np.zeros(4)), count_namings(np.array([0, 0, 1]), np.zeros(3))
    (2, 1)
    """
    table = [tuple(int(np.sum((labels == g) & (blocks == b))) for b in np.unique(blocks)) for g in np.unique(labels)]
    return math.prod(math.factorial(table.count(sizes)) for sizes in set(table))


def arrangements(
    labels: np.ndarray, blocks: np.ndarray, most: int, random: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Return (1 + k, n) arrangements of labels, the given one first, and whether these are all there are.

    All of them, each once, where there are at most 1 + `most`; otherwise `most` random ones beside the first.
    """
    if count_arrangements(labels, blocks) <= 1 + most:
        found = np.array(list(_all(labels, blocks)))
        # The given one comes first, and once.
        return np.concatenate([labels[None], found[(found != labels).any(axis=1)]]), True
    found = np.tile(labels, (1 + most, 1))
    for block in np.unique(blocks):
        places = np.flatnonzero(blocks == block)
        found[1:, places] = random.permuted(found[1:, places], axis=1)
    return found, False


def _all(labels: np.ndarray, blocks: np.ndarray) -> Iterator[np.ndarray]:
    """Yield every arrangement once."""
    places = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    for parts in itertools.product(*(list(_distinct(sorted(labels[block].tolist()))) for block in places)):
        found = labels.copy()
        for block, part in zip(places, parts, strict=True):
            found[block] = part
        yield found


def _distinct(values: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the different orders of sorted values."""
    if not values:
        yield ()
        return
    for value in dict.fromkeys(values):
        rest = list(values)
        rest.remove(value)
        for order in _distinct(rest):
            yield (value, *order)
