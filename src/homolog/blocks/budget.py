"""How layers are compared in a memory: the one place where it is decided how many rows, layers and pairs are worked on at a time.

`engine.measure_groups` asks in this order, and takes the first that fits:

| what fits into the memory | how | decided by |
|---|---|---|
| all operands and what one pair takes | all in memory; threads as many as fit | `Cost.at_once` |
| blocks of rows of one pair, where sums over rows are enough | block by block, wherever rows lie | `rounds`, `panels_for` |
| two layers and what a pair takes | a few layers at a time, those that made room being prepared again | `engine.measure_groups` |
| nothing of this | refused with the memory that would do | `engine.measure_groups` |

Block by block, products of mapped rows are summed in rounds over few layers, and structures are formed between panels of rows
that stay and others that pass by. With an executor all of it is in many small parts, each within the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from homolog.blocks.scan import SIDE, Panels
from homolog.machine import format_bytes
from homolog.rows import Rows


class TooLittleError(Exception):
    """A plan does not fit into the memory; whoever asked for it finds out what would."""


class WholeError(ValueError):
    """An option takes whole representations, which cannot be read block by block."""


IndexPair = tuple[int, int]
MOST_ROWS, FEWEST_ROWS, FEWEST = 1024, 64, 16
"""Rows of a block of which products are summed, and fewest rows of a panel that passes by."""
DEVICE_ROWS, DEVICE_COLUMNS = 1024, 8192
"""Shape of a tile on a device: a GPU multiplies in blocks of about 128 × 128, and needs more of them than it has processors."""


@dataclass(frozen=True)
class Sizes:
    """What is asked of some layers, in numbers."""

    n: int
    """Examples."""
    widths: np.ndarray
    """Features of every layer."""
    items: np.ndarray
    """Bytes per number in which each layer is computed."""
    stored: np.ndarray
    """Bytes of each layer on disk, 0 in memory."""
    needed: np.ndarray
    """(layers, layers) bool: the pairs."""
    memory: int = 0
    workers: int = 1
    """Threads that share the memory."""
    spread: bool = False
    """Whether parts of the work go to an executor, which takes many small ones."""
    sparse: bool = False
    """Whether some layers are sparse: `widths` then count their numbers that are not 0."""
    elsewhere: bool = False
    """Whether the layers lie on a device of PyTorch's, where tiles are larger and nothing is held condensed."""
    sketches: tuple[int, ...] = ()
    """The layers that are sketches, whose products with others are needed column by column: `widths` counts both of each."""

    @classmethod
    def of(
        cls, arrays: Sequence[Any], items: Sequence[int], needed: np.ndarray | None = None, memory: int = 0
    ) -> Sizes:
        """Return the sizes of arrays, or of rows that are read."""
        count = len(arrays)
        asked = np.ones((count, count), dtype=bool) if needed is None else needed
        stored = [array.nbytes if isinstance(array, Rows) and not array.in_memory else 0 for array in arrays]
        widths = np.array([array.shape[1] for array in arrays])
        return cls(int(arrays[0].shape[0]), widths, np.array(items), np.array(stored), asked, memory)

    @property
    def widest(self) -> int:
        """Most features of a layer."""
        return int(self.widths.max())

    @property
    def item(self) -> int:
        """Most bytes per number."""
        return int(self.items.max())

    @property
    def ranks(self) -> np.ndarray:
        """Largest rank of every layer."""
        return np.minimum(self.widths, self.n)

    @property
    def largest(self) -> int:
        """Most rows that a panel holds."""
        return -(-self.n // 5) if self.spread else self.n

    @property
    def sketched(self) -> np.ndarray:
        """(layers,) bool: which layers are sketches."""
        return np.isin(np.arange(len(self.widths)), self.sketches)

    @property
    def share(self) -> float:
        """Most of all tiles that are one part."""
        return 1 / 24 if self.spread else 1.0

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Every pair once: its layers."""
        i, j = np.nonzero(np.triu(self.needed | self.needed.T))
        return i, j

    def index_pairs(self) -> list[IndexPair]:
        """The same as pairs of numbers."""
        return [(int(i), int(j)) for i, j in zip(*self.pairs(), strict=True)]

    def read(self, layers: Sequence[int] | slice = slice(None), share: float = 1.0) -> float:
        """Bytes that a pass over some layers reads."""
        return share * float(self.stored[layers].sum())


@dataclass(frozen=True)
class Cost:
    """What a comparison takes, to leading order; bytes are at most what is then used."""

    flops: float = 0.0
    held: int = 0
    """Bytes of the operands of all layers."""
    per_layer: int = 0
    """Most bytes beyond its operand while one layer is prepared."""
    per_pair: int = 0
    """Most bytes while one pair meets and its formulas are evaluated."""
    together: int = 0
    """Bytes that are taken once, however many threads there are, while pairs meet."""
    reordering: int = 0
    """Most bytes beyond its operand while one layer is put in another order."""

    def at_once(self, memory: int, most: int) -> tuple[int, int]:
        """Return how many layers may be prepared at a time, and how many pairs may meet, in a memory; at least one."""
        left = memory - self.held
        counts = left // max(self.per_layer, 1), (left - self.together) // max(self.per_pair, 1)
        return max(1, min(counts[0], most)), max(1, min(counts[1], most))

    def bytes(self, memory: int, most: int) -> int:
        """Return what is used of a memory."""
        per_layer, per_pair = self.at_once(memory, most)
        return self.held + max(per_layer * self.per_layer, per_pair * self.per_pair + self.together)

    @property
    def least(self) -> int:
        """The least memory that will do: one layer, and one pair, after another."""
        return self.bytes(0, 1)


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
class Form:
    """How the pairs of some layers meet, where they do not meet one by one in memory."""

    cost: Cost
    tiled: tuple[int, ...] = ()
    """The layers whose structures are formed, tile by tile; every other pair goes through products of rows."""
    panels: Panels | None = None
    """How many rows of them are held, and the shape of a tile; None where vectors are stacked that are held anyway."""
    rounds: tuple[Round, ...] = ()
    """The pairs whose products are summed block by block."""
    blocked: bool = False
    """Whether layers are read block by block, wherever they lie."""
    read: int = 0
    """Bytes that are read from disk,"""
    passes: float = 0.0
    """and how often each representation is, on average."""
    cache: int = 0
    """Bytes of decompositions that stay in memory; more of them go to a temporary folder."""
    at_once: int = 1
    """Layers that are prepared at a time."""
    share: float = 1.0
    """Most of all tiles that are one part."""
    alone: tuple[Panels, ...] = ()
    """How tiles of every layer are formed while it is prepared,"""
    keep: int = 0
    """and how many numbers may be kept of it meanwhile."""

    def all_tiled(self) -> Form:
        """Return the same for the layers that are tiled, and no other."""
        return replace(self, tiled=tuple(range(len(self.tiled))), rounds=())

    def __str__(self) -> str:
        if self.blocked:
            return self._block_by_block()
        if not self.tiled:
            return "through features"
        if self.panels is None:
            return "stacked vectors"
        return f"{len(self.tiled)} structures in tiles of {self.panels.rows} × {self.panels.columns}"

    def _block_by_block(self) -> str:
        how = []
        if self.panels is not None:
            how.append(
                f"{len(self.tiled)} structures in panels of {self.panels.staying} and {self.panels.passing} rows"
            )
        if self.rounds:
            pairs = sum(len(part.pairs) for part in self.rounds)
            how.append(f"{pairs} products of rows in {len(self.rounds)} rounds")
        if not self.read:
            return f"block by block, {' and '.join(how)}"
        return f"from disk, {' and '.join(how)}; {self.passes:.1f} passes, {format_bytes(self.read)} read"


def blocked(sizes: Sizes, flops: float, read: float, **how: Any) -> Form:
    """Return a form that reads layers block by block."""
    passes = read / max(sizes.read(), 1)
    cost = Cost(flops, together=sizes.memory)
    return Form(cost, blocked=True, read=int(read), passes=passes, share=sizes.share, **how)


def rounds(pairs: Sequence[IndexPair], sizes: Sizes, memory: int, *, squares: bool = False) -> tuple[Round, ...]:
    """Split pairs into rounds that fit into the memory, each over few layers; `squares` where matrices map the rows."""
    if not pairs:
        return ()
    bytes_of = _Bytes(sizes, squares)
    rows, largest = MOST_ROWS, 0
    while (largest := max(bytes_of.alone(pair, rows) for pair in pairs)) > memory and rows > FEWEST_ROWS:
        rows //= 2
    if largest > memory:
        raise TooLittleError
    side = bytes_of.side(pairs, rows, memory)
    found: list[Round] = []
    current: list[IndexPair] = []
    layers: set[int] = set()
    used = 0
    # Square patches of the matrix of pairs: k layers of each side serve k² pairs.
    for pair in sorted(pairs, key=lambda pair: (pair[0] // side, pair[1] // side, pair)):
        more = bytes_of.pair(pair) + sum(bytes_of.layer(index, rows) for index in set(pair) - layers)
        if current and used + more > memory:
            found.append(Round(tuple(current), rows))
            current, layers, used = [], set(), 0
            more = bytes_of.alone(pair, rows)
        current.append(pair)
        layers |= set(pair)
        used += more
    return (*found, Round(tuple(current), rows))


class _Bytes:
    """Bytes that a layer or a pair takes while products are summed."""

    def __init__(self, sizes: Sizes, squares: bool) -> None:
        self._raw, self._squares = sizes.widths.tolist(), squares
        self._widths = sizes.ranks.tolist() if squares else self._raw
        self._item = sizes.item

    def layer(self, index: int, rows: int) -> int:
        """Blocks of rows, one in use and one coming, and the map."""
        raw, width = self._raw[index], self._widths[index]
        return 2 * rows * (raw + width) * self._item + (16 * raw * width if self._squares else 0)

    def pair(self, pair: IndexPair) -> int:
        """The sum in float64, and the product that is added to it."""
        return self._widths[pair[0]] * self._widths[pair[1]] * (8 + self._item)

    def alone(self, pair: IndexPair, rows: int) -> int:
        """A pair with its layers."""
        return self.pair(pair) + sum(self.layer(index, rows) for index in set(pair))

    def side(self, pairs: Sequence[IndexPair], rows: int, memory: int) -> int:
        """Return how many layers of each side fit at a time, if all are as the average is."""
        of_pair = float(np.mean([self.pair(pair) for pair in pairs]))
        of_layer = float(np.mean([self.layer(index, rows) for pair in pairs for index in pair]))
        return max(1, int((-of_layer + np.sqrt(of_layer**2 + of_pair * memory)) / of_pair))


def panels_for(
    sizes: Sizes, bytes_of_row: int, tiles: int, memory: int, shape: tuple[int, int] = (SIDE, SIDE)
) -> Panels:
    """Divide a memory between the panel that stays, two that pass by (one is read while one is used), and so many tiles."""
    n, rows, columns = sizes.n, *_evenly(sizes.n, shape)
    while True:
        workspace = tiles * rows * columns * sizes.item
        fitting = (memory - workspace) // bytes_of_row
        if (workspace <= memory // 4 and fitting >= 3 * FEWEST) or columns <= 2 * FEWEST:
            break
        rows, columns = max(rows // 2, FEWEST), columns // 2
    if fitting < 3 * FEWEST:
        raise TooLittleError
    if fitting >= n and sizes.largest >= n:
        return Panels(n, n, rows, columns)
    passing = min(max(fitting // 8, FEWEST), columns)
    return Panels(min(fitting - 2 * passing, sizes.largest), passing, rows, columns)


def tiles_for(sizes: Sizes, tiles: int, memory: int) -> Panels:
    """Return panels of all rows, for features that are held anyway, in tiles of which so many fit."""
    rows, columns = _evenly(sizes.n, (SIDE, SIDE))
    if sizes.elsewhere:
        rows, columns = min(DEVICE_ROWS, sizes.n), min(DEVICE_COLUMNS, sizes.n)
    while tiles * rows * columns * sizes.item > memory and max(rows, columns) > 16:
        rows, columns = (rows, -(-columns // 2)) if columns >= rows else (-(-rows // 2), columns)
    return Panels(sizes.n, sizes.n, rows, columns)


def _evenly(n: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of equal tiles that are no larger."""
    rows, columns = (-(-n // -(-n // side)) for side in shape)
    return rows, columns


def by_products(sizes: Sizes, *, squares: bool, passes: int, workspace: int) -> Form:
    """Plan a family whose pairs need one product of mapped rows each, block by block."""
    kept = int(np.sum(8 * sizes.widths * sizes.ranks + 8 * sizes.n * sizes.ranks * (sizes.widths >= sizes.n)))
    cache = min(kept, sizes.memory // 4) if squares and not sizes.spread else 0
    left = sizes.memory - cache
    if workspace > left:
        raise TooLittleError
    parts = rounds(sizes.index_pairs(), sizes, left, squares=squares)
    read = sizes.read(share=passes) + sum(sizes.read(part.layers) for part in parts)
    return blocked(sizes, 0.0, read, rounds=parts, cache=cache, at_once=max(1, min(sizes.workers, left // workspace)))
