"""Representations on disk, block by block: what the columns are like, and the rows less what all of them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from homolog.arrays import beyond_float64, check_finite, is_long, less_row, to_numpy
from homolog.linalg import power_of_two
from homolog.rows import READ_AT_ONCE, Rows

T = TypeVar("T")


class Held(Rows):
    """A representation in memory, to be read like one that is not."""

    def __init__(self, array: Any, where: str) -> None:
        self.array, self.where = array, where
        self.shape, self.dtype = (array.shape[0], array.shape[1]), self.read(0, 1).dtype

    @property
    def found_elsewhere(self) -> bool:
        """It would have to be sent."""
        return False

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from start up to stop."""
        found = to_numpy(self.array[start:stop, :])
        # bfloat16 and its kin are of kind V.
        return found.astype(np.float32) if found.dtype.kind == "V" else found


class LessFirst(Rows):
    """Integers on disk less their first row, in float64, which would round the integers themselves."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._first = rows, rows.read(0, 1)
        self.where, self.shape, self.dtype = rows.where, rows.shape, np.dtype(float)

    @property
    def step(self) -> int:
        """As the rows that are read."""
        return self._rows.step

    @property
    def folder(self) -> str | None:
        """Where their file lies."""
        return self._rows.folder

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows from start up to stop."""
        return less_row(self._rows.read(start, stop), self._first)


def exact_rows(rows: Rows) -> Rows:
    """Return rows whose columns are to be centred so that float64 holds all their digits."""
    return LessFirst(rows) if is_long(rows) and beyond_float64(rows.read(0, 1)) else rows


def stretches(rows: Rows, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (first, last) for blocks of at most some MiB in float64, which begin where chunks begin."""
    stop = rows.shape[0] if stop is None else stop
    step = max(1, READ_AT_ONCE // (8 * rows.shape[1]))
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


@dataclass(frozen=True)
class Columns:
    """What centring needs to know of the columns."""

    n: int
    near: np.ndarray
    """(p,) means of some rows, in the dtype of the features: what goes first, so that an offset cancels unrounded."""
    rest: np.ndarray
    """(p,) means less that, in float64."""
    scale: np.floating[Any]
    """Power of two by which centred features are divided."""
    dead: np.ndarray
    """(p,) bool: columns constant up to rounding."""

    def centred(self, block: np.ndarray) -> np.ndarray:
        """Return rows less the means, divided by the scale; dead columns are 0."""
        dtype = self.near.dtype.type
        found: np.ndarray = block.astype(dtype)
        found -= self.near
        found /= np.where(self.dead, dtype(np.inf), dtype(self.scale))
        found -= np.where(self.dead, 0, self.rest / self.scale).astype(dtype)
        return found


def columns_of(rows: Rows, title: str, dtype: Any) -> Columns:
    """Read a representation once, for features in a dtype; NaN or infinity in it is an error that names the first bad row."""
    n, width = rows.shape
    near: np.ndarray | None = None
    total, low, high = np.zeros(width), np.full(width, np.inf), np.full(width, -np.inf)
    for first, last in stretches(rows):
        block = rows.read(first, last)
        _check(block, first, title)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
        with np.errstate(over="ignore", invalid="ignore"):
            if near is None:
                means = block.mean(axis=0, dtype=float)
                near = np.where(np.isfinite(means), means, low / 2 + high / 2).astype(dtype)
            total += (block.astype(dtype) - near).sum(axis=0, dtype=float)
    assert near is not None  # there is at least one row
    half_range = high / 2 - low / 2
    dead = half_range <= n * np.finfo(float).eps * (np.maximum(np.abs(low), np.abs(high)) / 2)
    rest = total / n
    middle = low / 2 + high / 2 - near
    return Columns(n, near, np.where(np.isfinite(rest), rest, middle), power_of_two(np.max(half_range)), dead)


def _check(block: np.ndarray, first: int, title: str) -> None:
    try:
        check_finite(block, title)
    except ValueError:
        bad = int(np.argmax(~np.isfinite(block).all(axis=1)))
        raise ValueError(
            f"{title} must be finite, got NaN or infinity first in row {first + bad}: leave such examples out on both sides, or "
            f"look for an overflow in the model."
        ) from None
