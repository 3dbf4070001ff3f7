"""The walk of the structure family over representations on disk.

As in `walk`, the same tile of every layer's structure is formed, and tiles are stacked as rows T for T T^T. Here the rows that
make the tiles come in slabs: one slab of many rows of every layer stays while the slabs after it pass by, and then the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from homolog.families.columns import ahead
from homolog.families.summaries import TooLittleError
from homolog.families.walk import COLUMNS, ROWS, tiles

FEWEST = 16


@dataclass(frozen=True)
class Part:
    """The rows of one slab that stays, with themselves where `inside`, and with those that pass by."""

    start: int
    stop: int
    inside: bool
    first: int
    last: int

    def share(self, n: int) -> float:
        """Share of the whole walk."""
        size = self.stop - self.start
        return (self.inside * size**2 + 2 * size * (self.last - self.first)) / n**2


@dataclass(frozen=True)
class Slabs:
    """How many rows of all walked layers stay, and how many pass by at a time."""

    staying: int
    passing: int
    rows: int
    columns: int
    """Shape of a tile."""

    def parts(self, n: int, most: float = 1.0) -> list[Part]:
        """Split the walk into parts of at most a share, where one slab with itself is not more."""
        found = []
        for start in range(0, n, self.staying):
            stop = min(start + self.staying, n)
            # Whole slabs that pass by, so that every split gives the same tiles.
            step = max(1, int(most * n**2 / (2 * (stop - start) * self.passing))) * self.passing
            firsts = list(range(stop, n, step)) or [n]
            found += [Part(start, stop, first == stop, first, min(first + step, n)) for first in firsts]
            if firsts == [n]:
                found[-1] = Part(start, stop, True, n, n)
        return found

    def rows_read(self, n: int, most: float = 1.0) -> int:
        """Rows of every layer that are read in all."""
        return sum(part.stop - part.start + part.last - part.first for part in self.parts(n, most))


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


Tile = tuple[slice, slice]
"""Examples of the rows and of the columns of a tile."""
One = Callable[[list[np.ndarray], list[np.ndarray], Tile], Any]
"""one(rows of every layer, columns of every layer, their examples) → what is wanted of one tile."""


def over_tiles(layers: Sequence[Any], n: int, slabs: Slabs, dtype: Any, one: One, each: Any) -> Iterator[Any]:
    """Yield what is wanted of every tile on the diagonal and above it, in order."""
    for part in slabs.parts(n):
        yield from over_part(part, layers, slabs, dtype, one, each)


def over_part(part: Part, layers: Sequence[Any], slabs: Slabs, dtype: Any, one: One, each: Any) -> Iterator[Any]:
    """Yield what is wanted of the tiles of one part."""
    size = part.stop - part.start
    staying = list(each(partial(_slab, start=part.start, stop=part.stop, dtype=dtype), layers))
    if part.inside:
        among = partial(_at, staying, part.start, staying, part.start, one)
        yield from each(among, tiles(size, slabs.rows, slabs.columns))
    firsts = range(part.first, part.last, slabs.passing)
    passes = [(first, min(first + slabs.passing, part.last)) for first in firsts]
    with ahead(lambda rows: [_slab(layer, *rows, dtype) for layer in layers], passes) as coming:
        for (first, last), passing in coming:
            tops = range(0, size, slabs.rows)
            across = [(slice(top, min(top + slabs.rows, size)), slice(0, last - first)) for top in tops]
            yield from each(partial(_at, staying, part.start, passing, first, one), across)
            del passing


def _slab(layer: Any, start: int, stop: int, dtype: Any) -> np.ndarray:
    """Fill a slab stretch by stretch, so that nothing of its size exists twice."""
    found = np.empty((stop - start, layer.width), dtype=dtype)
    for first, last in layer.stretches(start, stop):
        found[first - start : last - start] = layer.features(first, last)
    return found


def _at(staying: list[np.ndarray], start: int, passing: list[np.ndarray], first: int, one: One, tile: Tile) -> Any:
    rows, columns = tile
    at = slice(start + rows.start, start + rows.stop), slice(first + columns.start, first + columns.stop)
    return one([slab[rows] for slab in staying], [slab[columns] for slab in passing], at)


def linear_part(part: Part, each: Any, *, layers: Sequence[Any], slabs: Slabs, dtype: Any) -> np.ndarray:
    """Add up the products of the tiles of one part, in order, so that the sum is the same on every run."""
    start = np.zeros((len(layers), len(layers)))
    return sum(over_part(part, layers, slabs, dtype, linear_tile, each), start)


def linear_tile(xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> np.ndarray:
    """Return Σ K_ij L_ij over a tile, i ≠ j, for all pairs of linear structures; twice above the diagonal."""
    stacked = np.empty((len(xs), len(xs[0]), len(ys[0])), dtype=xs[0].dtype)
    for x, y, structure in zip(xs, ys, stacked, strict=True):
        np.matmul(x, y.T, out=structure)
    return products_of(stacked, at)


def products_of(stacked: np.ndarray, at: Tile) -> np.ndarray:
    """Return the products of stacked tiles, without the diagonal, twice for a tile above it."""
    on_diagonal = at[0] == at[1]
    if on_diagonal:
        places = np.arange(stacked.shape[1])
        stacked[:, places, places] = 0
    flat = stacked.reshape(len(stacked), -1)
    return (1.0 if on_diagonal else 2.0) * (flat @ flat.T).astype(float)
