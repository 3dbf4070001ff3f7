"""Products Σ f_i g_i^T of many pairs of representations on disk, as many at a time as fit into the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from homolog.families.columns import ahead
from homolog.families.summaries import Summary, TooLittleError

Pair = tuple[int, int]
MOST_ROWS, FEWEST_ROWS = 1024, 64


@dataclass(frozen=True)
class Round:
    """Pairs whose products are summed in one pass over their layers."""

    pairs: tuple[Pair, ...]
    rows: int
    """Rows of a block."""

    @property
    def layers(self) -> list[int]:
        """The layers that are read."""
        return sorted({index for pair in self.pairs for index in pair})


@dataclass(frozen=True)
class Sizes:
    """Bytes that a layer or a pair takes while products are summed."""

    widths: Sequence[int]
    """Mapped columns per layer."""
    raw: Sequence[int]
    """Columns per layer as it is read."""
    mapped: bool
    """Whether a matrix (raw columns, mapped columns) maps the rows."""
    item: int
    """Bytes of a number in the blocks."""

    def layer(self, index: int, rows: int) -> int:
        """Blocks of rows, one in use and one coming, and the map."""
        block = 2 * rows * (self.raw[index] + self.widths[index]) * self.item
        return block + (2 * self.raw[index] * self.widths[index] * 8 if self.mapped else 0)

    def pair(self, pair: Pair) -> int:
        """The sum in float64, and the product that is added to it."""
        first, second = (self.widths[index] for index in pair)
        return first * second * (8 + self.item)


def rounds(pairs: Sequence[Pair], sizes: Sizes, memory: int) -> list[Round]:
    """Split pairs into rounds that fit into the memory, each over few layers."""
    if not pairs:
        return []
    rows = MOST_ROWS
    largest = max(_alone(pair, sizes, rows) for pair in pairs)
    while largest > memory and rows > FEWEST_ROWS:
        rows //= 2
        largest = max(_alone(pair, sizes, rows) for pair in pairs)
    if largest > memory:
        raise TooLittleError
    side = _side(pairs, sizes, rows, memory)
    found: list[Round] = []
    current: list[Pair] = []
    layers: set[int] = set()
    used = 0
    # Square patches of the matrix of pairs: k layers of each side serve k² pairs.
    for pair in sorted(pairs, key=lambda pair: (pair[0] // side, pair[1] // side, pair)):
        more = sizes.pair(pair) + sum(sizes.layer(index, rows) for index in set(pair) - layers)
        if current and used + more > memory:
            found.append(Round(tuple(current), rows))
            current, layers, used = [], set(), 0
            more = _alone(pair, sizes, rows)
        current.append(pair)
        layers |= set(pair)
        used += more
    return [*found, Round(tuple(current), rows)]


def _alone(pair: Pair, sizes: Sizes, rows: int) -> int:
    return sizes.pair(pair) + sum(sizes.layer(index, rows) for index in set(pair))


def _side(pairs: Sequence[Pair], sizes: Sizes, rows: int, memory: int) -> int:
    """Return how many layers of each side fit at a time, if all are as the average is."""
    of_pair = float(np.mean([sizes.pair(pair) for pair in pairs]))
    of_layer = float(np.mean([sizes.layer(index, rows) for pair in pairs for index in pair]))
    return max(1, int((-of_layer + np.sqrt(of_layer**2 + of_pair * memory)) / of_pair))


def products(
    summaries: Mapping[int, Summary], part: Round, n: int, each: Any
) -> Iterator[tuple[Pair, Any, Any, np.ndarray]]:
    """Yield the pairs of one round with both operands and the product, in float64."""
    opened = {index: summaries[index].begin() for index in part.layers}
    sums = {(i, j): np.zeros((opened[i].width, opened[j].width)) for i, j in part.pairs}
    with ahead(partial(_blocks, opened, part, n), range(0, n, part.rows)) as blocks:
        for _, features in blocks:
            list(each(partial(_add, sums, features), part.pairs))
    while sums:
        (i, j), product = sums.popitem()
        yield (i, j), opened[i].operand, opened[j].operand, product


def _blocks(summaries: Mapping[int, Summary], part: Round, n: int, start: int) -> dict[int, np.ndarray]:
    stop = min(start + part.rows, n)
    return {index: summaries[index].features(start, stop) for index in part.layers}


def _add(sums: dict[Pair, np.ndarray], features: dict[int, np.ndarray], pair: Pair) -> None:
    i, j = pair
    sums[pair] += features[i].T @ features[j]
