"""Loops over rows: stretches in order, one block ahead, and tiles of pairs of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from homolog.rows import READ_AT_ONCE, Rows

T = TypeVar("T")


def stretches(rows: Rows, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (first, last) for blocks of at most some MiB in float64, which begin where chunks begin."""
    stop = rows.shape[0] if stop is None else stop
    step = max(1, READ_AT_ONCE // (8 * max(1, rows.shape[1])))
    if step > rows.step:
        step -= step % rows.step
    while start < stop:
        last = min(start - start % step + step, stop)
        yield start, last
        start = last


@contextmanager
def ahead(make: Callable[[T], Any], items: Iterable[T]) -> Iterator[Iterator[tuple[T, Any]]]:
    """Yield (item, what `make` makes of it), the next one made by another thread while this one is used."""
    with ThreadPoolExecutor(1) as reader:

        def made() -> Iterator[tuple[T, Any]]:
            coming: list[tuple[T, Any]] = []
            for item in items:
                coming.append((item, reader.submit(make, item)))
                if len(coming) > 1:
                    first, future = coming.pop(0)
                    yield first, future.result()
                    del future
            for item, future in coming:
                yield item, future.result()

        yield made()


ROWS, COLUMNS = 256, 1024
"""Shape of a tile of one layer: tall enough for fast products, small enough that few entries below the diagonal are formed
in vain."""
SIDE = 512
"""Rows and columns of a tile of many layers: the larger, the nearer products come to the rate of the processor, but stacks of
more than about 32 MB are memory that the system clears anew for every comparison."""


def tiles(n: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles that cover the diagonal and what lies above it."""
    for top in range(0, n, rows):
        bottom = min(top + rows, n)
        yield slice(top, bottom), slice(top, bottom)
        for left in range(bottom, n, columns):
            yield slice(top, bottom), slice(left, min(left + columns, n))


@dataclass(frozen=True)
class Part:
    """The rows of one panel that stays, with themselves where `inside`, and with those that pass by."""

    start: int
    stop: int
    inside: bool
    first: int
    last: int

    def share(self, n: int) -> float:
        """Share of all tiles."""
        size = self.stop - self.start
        return (self.inside * size**2 + 2 * size * (self.last - self.first)) / n**2


@dataclass(frozen=True)
class Panels:
    """How many rows of all tiled layers stay, and how many pass by at a time."""

    staying: int
    passing: int
    rows: int
    columns: int
    """Shape of a tile."""

    def parts(self, n: int, most: float = 1.0) -> list[Part]:
        """Split all tiles into parts of at most a share, where one panel with itself is not more."""
        found = []
        for start in range(0, n, self.staying):
            stop = min(start + self.staying, n)
            # Whole panels that pass by, so that every split gives the same tiles.
            step = max(1, int(most * n**2 / (2 * (stop - start) * self.passing))) * self.passing
            firsts = list(range(stop, n, step)) or [n]
            found += [Part(start, stop, first == stop, first, min(first + step, n)) for first in firsts]
            if firsts == [n]:
                found[-1] = Part(start, stop, True, n, n)
        return found

    def rows_read(self, n: int, most: float = 1.0) -> int:
        """Rows of every layer that are read in all."""
        return sum(part.stop - part.start + part.last - part.first for part in self.parts(n, most))


Tile = tuple[slice, slice]
"""Examples of the rows and of the columns of a tile."""
One = Callable[[list[Any], list[Any], Tile], Any]
"""one(rows of every layer, columns of every layer, their examples) → what is wanted of one tile."""


def over_tiles(layers: Sequence[Any], panels: Panels, one: One, each: Any) -> Iterator[Any]:
    """Yield what is wanted of every tile on the diagonal and above it, in order."""
    for part in panels.parts(layers[0].shape[0]):
        yield from over_part(part, layers, panels, one, each)


def over_part(
    part: Part, layers: Sequence[Any], panels: Panels, one: One, each: Any, *, in_turn: bool = False
) -> Iterator[Any]:
    """Yield what is wanted of the tiles of one part, with `in_turn` one after another; layers are arrays or rows to be read."""
    size = part.stop - part.start
    staying = list(each(partial(panel, start=part.start, stop=part.stop), layers))
    if in_turn:
        each = map
    if part.inside:
        among = partial(_at, staying, part.start, staying, part.start, one)
        yield from each(among, tiles(size, panels.rows, panels.columns))
    firsts = range(part.first, part.last, panels.passing)
    passes = [(first, min(first + panels.passing, part.last)) for first in firsts]
    with ahead(lambda rows: [panel(layer, *rows) for layer in layers], passes) as coming:
        for (first, last), passing in coming:
            tops = range(0, size, panels.rows)
            across = [(slice(top, min(top + panels.rows, size)), slice(0, last - first)) for top in tops]
            yield from each(partial(_at, staying, part.start, passing, first, one), across)
            del passing


def panel(layer: Any, start: int, stop: int) -> Any:
    """Return rows of an array, or read them stretch by stretch, so that nothing of their size exists twice."""
    if not isinstance(layer, Rows):
        return layer[start:stop, :]
    found = np.empty((stop - start, layer.shape[1]), dtype=layer.dtype)
    for first, last in stretches(layer, start, stop):
        found[first - start : last - start] = layer.read(first, last)
    return found


def _at(staying: list[Any], start: int, passing: list[Any], first: int, one: One, tile: Tile) -> Any:
    rows, columns = tile
    at = slice(start + rows.start, start + rows.stop), slice(first + columns.start, first + columns.stop)
    return one([layer[rows, :] for layer in staying], [layer[columns, :] for layer in passing], at)
