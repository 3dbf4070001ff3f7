"""How many rows, layers and pairs fit into a memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from homolog.blocks.scan import COLUMNS, ROWS, Slabs


class TooLittleError(Exception):
    """A plan does not fit into the memory; whoever asked for it finds out what would."""


class WholeError(ValueError):
    """An option takes whole representations, which cannot be read block by block."""


IndexPair = tuple[int, int]
MOST_ROWS, FEWEST_ROWS = 1024, 64


@dataclass(frozen=True)
class Round:
    """Pairs whose products are summed in one pass over their layers."""

    pairs: tuple[IndexPair, ...]
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

    def pair(self, pair: IndexPair) -> int:
        """The sum in float64, and the product that is added to it."""
        first, second = (self.widths[index] for index in pair)
        return first * second * (8 + self.item)


def rounds(pairs: Sequence[IndexPair], sizes: Sizes, memory: int) -> list[Round]:
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
    current: list[IndexPair] = []
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


def _alone(pair: IndexPair, sizes: Sizes, rows: int) -> int:
    return sizes.pair(pair) + sum(sizes.layer(index, rows) for index in set(pair))


def _side(pairs: Sequence[IndexPair], sizes: Sizes, rows: int, memory: int) -> int:
    """Return how many layers of each side fit at a time, if all are as the average is."""
    of_pair = float(np.mean([sizes.pair(pair) for pair in pairs]))
    of_layer = float(np.mean([sizes.layer(index, rows) for pair in pairs for index in pair]))
    return max(1, int((-of_layer + np.sqrt(of_layer**2 + of_pair * memory)) / of_pair))


FEWEST = 16


def slabs_for(n: int, bytes_of_row: int, layers: int, item: int, memory: int, workers: int, largest: int) -> Slabs:
    """Divide a memory between the slab that stays, two that pass by (one is read while one is used), and the tiles."""
    rows, columns = min(ROWS, n), min(COLUMNS, n)
    while True:
        workspace = (layers + 1) * rows * columns * item * workers
        fitting = (memory - workspace) // bytes_of_row
        if fitting >= 3 * FEWEST or columns <= 2 * FEWEST:
            break
        rows, columns = max(rows // 2, FEWEST), columns // 2
    if fitting < 3 * FEWEST:
        raise TooLittleError
    if fitting >= n and largest >= n:
        return Slabs(n, n, rows, columns)
    passing = min(max(fitting // 8, FEWEST), columns)
    return Slabs(min(fitting - 2 * passing, largest), passing, rows, columns)
