"""The operand of the neighbors family, lists of nearest rows by cosine similarity, and what two of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np

from homolog.arrays import Array, count, machine_epsilon, to_numpy
from homolog.blocks.budget import Cost, Sizes
from homolog.blocks.workers import computed_once
from homolog.diagnostics import Caution
from homolog.linalg import UNIT_ROUNDINGS, unit_rows
from homolog.operands.condensed import near_units, squared_apart, squared_blocks
from homolog.operands.family import Family, Invariances, Pairs, is_constant
from homolog.operands.near_candidates import MOST_ASKED, Distances32, bytes_taken, candidates
from homolog.operands.representation import ArrayRepresentation
from homolog.warning_sentences import all_neighbors, tied_neighbors, without_direction

BLOCK, SMALL, TALL = 48 << 20, 16 << 20, 128
"""Bytes of similarities, and of what is made of them, that are held at a time; fewer where so many rows are left."""
SHARING = 8 << 20
"""The same of what two lists are compared by."""
BESIDE = 1e-5
"""Squared distances below this share of the squares of two rows: products would leave fewer digits of them than are looked at."""
SCREENED = 512
"""Examples from which on candidates for neighbours are looked for in float32."""
CANDIDATES = 8
"""Candidates for every neighbour that is asked for, beyond which looking at all in float64 costs less."""
MANY = 0.05
"""Share of the rows with ties of which a reader is told."""
SPARED = {4: 4, 8: 20}
"""Last bits of a float, by its size in bytes, in which the distances of equally near rows may differ by rounding."""
TIES = {"ties": "of equally near rows the first by index counts as nearer, whoever they are"}


@dataclass(frozen=True)
class Neighbors:
    """The k nearest other rows of every row."""

    n: int
    asked: int
    """k as it was asked for; there may not be as many other rows."""
    nearest: np.ndarray
    """(n, k) rows, the nearest first; of equally near ones the first."""
    similar: np.ndarray
    """(n, k) their cosine similarities."""
    rows: np.ndarray
    """(n, p) rows of norm 1; zeros stay zeros."""
    tied: float
    """Share of the rows whose neighbours the index decides, because others are equally near."""
    constant: Array
    """0-d bool: nothing varies."""
    absent: int = 0
    """Rows of zeros, which have no direction."""

    @property
    def k(self) -> int:
        """Neighbours of every row."""
        return int(self.nearest.shape[1])

    def reordered(self, order: Array) -> Neighbors:
        """Return the neighbours of the same examples in another order."""
        order = to_numpy(order)
        if self.tied:
            # Whoever comes first now wins the ties: an order of the examples changes that too.
            nearest, similar, _ = nearest_rows(self.rows[order], self.k)
            return replace(self, nearest=nearest, similar=similar, rows=self.rows[order])
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return replace(self, nearest=place[self.nearest[order]], similar=self.similar[order], rows=self.rows[order])


class Shared:
    """What two lists of neighbours have in common."""

    def __init__(self, x: Neighbors, y: Neighbors) -> None:
        self._x, self._y = x, y

    def _equal(self) -> Iterator[np.ndarray]:
        """Yield (rows, k, k) bool: which neighbour is which; as many rows at a time as memory allows."""
        step = max(1, SHARING // (self._x.k * self._y.k))
        for start in range(0, self._x.n, step):
            part = slice(start, start + step)
            yield self._x.nearest[part, :, None] == self._y.nearest[part, None, :]

    @computed_once
    def counts(self) -> np.ndarray:
        """(n,) number of neighbours in both lists."""
        return np.concatenate([np.count_nonzero(equal, axis=(1, 2)) for equal in self._equal()])

    @computed_once
    def ranks(self) -> np.ndarray:
        """(n,) Σ over shared neighbours of 2 / ((1 + |r − s|)(r + s)), r and s their ranks."""
        r, s = np.arange(1.0, self._x.k + 1)[:, None], np.arange(1.0, self._y.k + 1)[None, :]
        weights = 2 / ((1 + np.abs(r - s)) * (r + s))
        return np.concatenate([np.einsum("irs,rs->i", equal, weights) for equal in self._equal()])

    @computed_once
    def common(self) -> np.ndarray:
        """(n, k) bool: which neighbours of x are neighbours of y too."""
        return np.concatenate([equal.any(axis=2) for equal in self._equal()])

    @computed_once
    def places(self) -> np.ndarray:
        """(n, k) where in the list of y those neighbours stand."""
        return np.concatenate([equal.argmax(axis=2) for equal in self._equal()])


def nearest_rows(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the k other rows of largest cosine with every row, the largest first and ties by index, and the cosines.

    And the share of the rows with ties among these, or between the last of them and the next.
    """
    n = len(x)
    units, absent = near_units(x, about_mean=False)
    nearest, similar = np.empty((n, k), dtype=np.int64), np.empty((n, k), dtype=units.dtype)
    # One more than asked for, to see whether it ties with the last.
    few = min(k + 1, n - 1)
    search = _Every(units, absent, few)
    screen = _Screened(units, absent, few) if n >= SCREENED and units.dtype == np.float64 else None
    tied, step = 0, _rows(n, x.dtype.itemsize)
    for rows, found, distances in search.all(step) if screen is None else screen.all(search, step):
        bits = _coarse(distances)
        tied += int(np.count_nonzero((bits[:, 1:] == bits[:, :-1]).any(axis=1)))
        nearest[rows], similar[rows] = found[:, :k], 1 - distances[:, :k] / 2
    return nearest, similar, tied / n


def _coarse(distances: np.ndarray) -> np.ndarray:
    """Return integers that are ordered as some distances are, and equal where only rounding tells them apart."""
    size = distances.dtype.itemsize
    bits = distances.view(np.dtype(f"int{8 * size}")).astype(np.int64)
    # To the nearest, so that values such as that of a right angle stand in the middle, not at an end.
    bits += 1 << (SPARED[size] - 1)
    bits >>= SPARED[size]
    return bits


def _floor(units: np.ndarray) -> float:
    """Return the squared distance below which rows of norm 1 are equal but for rounding."""
    return UNIT_ROUNDINGS * machine_epsilon(units) ** 2


class _Every:
    """The nearest rows by the distances to all."""

    def __init__(self, units: np.ndarray, absent: np.ndarray, few: int) -> None:
        self._units, self._absent, self._few = units, absent, few

    @computed_once
    def _squared(self) -> Callable[[slice, slice], np.ndarray]:
        return squared_blocks(self._units, _floor(self._units), beside=BESIDE)

    def all(self, step: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield some rows after others, their nearest, in order, and their squared distances."""
        for start in range(0, len(self._units), step):
            rows = slice(start, min(start + step, len(self._units)))
            yield rows, *self.of(rows)

    def of(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest of some rows, in order, and their squared distances."""
        n = len(self._units)
        distances = self._squared(rows, slice(0, n))
        # A row without direction is at a right angle to all.
        distances[self._absent[rows], :] = 2
        distances[:, self._absent] = 2
        # One integer per pair, of which no two in a row are equal: the bits of the distance, then the index.
        keys = _coarse(distances)
        keys *= n
        keys += np.arange(n)
        own = np.arange(rows.stop - rows.start)
        keys[own, rows.start + own] = np.iinfo(np.int64).max
        some = np.argpartition(keys, self._few - 1, axis=1)[:, : self._few]
        order = np.argsort(np.take_along_axis(keys, some, axis=1), axis=1)
        found = np.take_along_axis(some, order, axis=1)
        return found, np.take_along_axis(distances, found, axis=1)


class _Screened:
    """The same, by distances in float32 that leave few candidates, whose own are then summed from differences in float64."""

    def __init__(self, units: np.ndarray, absent: np.ndarray, few: int) -> None:
        self._units, self._absent, self._few = units, absent, few
        self._distances = Distances32(units, absent, 2.0 ** (SPARED[8] - 50))

    def all(self, every: _Every, step: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield rows, their nearest, in order, and their squared distances; by `every` where candidates are many."""
        tiled = self._few <= MOST_ASKED
        for rows, i, j in candidates(self._distances, self._few) if tiled else self._candidates(step):
            if i is not None and j is not None:
                yield rows, *self._chosen(rows, i, j)
                continue
            for start in range(rows.start, rows.stop, step):
                part = slice(start, min(start + step, rows.stop))
                yield part, *every.of(part)

    def _chosen(self, rows: slice, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest of some rows among candidates."""
        counts = np.bincount(i, minlength=rows.stop - rows.start)
        squared = squared_apart(self._units, self._distances.norms, rows.start + i, j, _floor(self._units))
        squared[self._absent[rows.start + i] | self._absent[j]] = 2
        order = np.lexsort((j, _coarse(squared), i))
        chosen = order[(np.cumsum(counts) - counts)[:, None] + np.arange(self._few)]
        return j[chosen], squared[chosen]

    def _candidates(self, step: int) -> Iterator[tuple[slice, np.ndarray | None, np.ndarray | None]]:
        """Yield what `near_candidates.candidates` does, of a few rows at a time with all others."""
        n = len(self._units)
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            distances = self._distances.block(rows, slice(0, n))
            last = np.partition(distances, self._few - 1, axis=1)[:, self._few - 1]
            near = distances <= self._distances.most(rows, last)[:, None]
            many = np.count_nonzero(near, axis=1).max() > CANDIDATES * self._few
            yield (rows, None, None) if many else (rows, *np.divmod(np.flatnonzero(near), n))


def _rows(n: int, size: int) -> int:
    """Return how many rows are compared with all others at a time."""
    of_row = n * (2 * size + 16)
    return max(1, min(BLOCK // of_row, max(SMALL // of_row, TALL)))


@final
class NeighborFamily(Family):
    """Measures of which rows are near each other."""

    name = "neighbors"
    options: ClassVar = {"k": 10}
    record: ClassVar = {
        "kind": "similarity",
        "symmetric": True,
        "invariances": Invariances(orthogonal="xy", translation=""),
        "bounds": {"k": (0, float("inf"))},
        "exceptions": TIES,
    }

    def prepare(self, x: ArrayRepresentation, *, k: int = 10, **_: Any) -> Neighbors:
        """Find the nearest rows, a block of rows at a time."""
        given = to_numpy(x.array)
        nearest, similar, tied = nearest_rows(given, min(k, len(given) - 1))
        rows = unit_rows(given, about_mean=False)
        return Neighbors(len(given), k, nearest, similar, rows, tied, x.constant, count(~rows.any(axis=1)))

    def meet(self, x: Neighbors, y: Neighbors) -> Shared:
        """Return what two lists of neighbours have in common."""
        return Shared(x, y)

    def remarks(self, operands: Mapping[str, Neighbors], pairs: Pairs) -> list[Caution]:
        """Say where every row is a neighbour, where ties decide, and which rows have no direction."""
        some = next(iter(operands.values()))
        varying = {label: x for label, x in operands.items() if not is_constant(x)}
        found = all_neighbors(operands, some.asked, some.n) if some.asked >= some.n - 1 else []
        found += tied_neighbors([label for label, x in varying.items() if x.tied > MANY])
        lost = {label: x.absent for label, x in varying.items()}
        return found + without_direction(lost, "are 0 in all features", "their cosine with all others is taken as 0")

    def cost(self, sizes: Sizes, *, k: int = 10, **_: Any) -> Cost:
        """Return what the products of rows take, and lists of neighbours."""
        n, item, most = sizes.n, sizes.item, sizes.widest
        k = min(k, n - 1)
        held = int(np.sum(n * (sizes.widths * sizes.items + k * (sizes.items + 8))))
        # While a layer is prepared: its rows in the two factors of a product, and a block; keys of k + 1 neighbours among it.
        at_a_time = min(n, _rows(n, item)) * (n * (2 * item + 25) + 64 * (k + 1))
        if n >= SCREENED and k < MOST_ASKED:
            at_a_time = max(at_a_time, bytes_taken(n, k + 1))
        per_layer = 5 * n * most * item + at_a_time
        # While lists meet: similarities to neighbours as sparse matrices, and rows of the neighbours of some.
        per_pair = min(3 * SHARING, 8 * n * k * (k + most)) + 100 * n * k + 32 * k * most
        # Neighbours that tie are looked for again.
        return Cost(float(np.sum(2.0 * n * n * sizes.widths)), held, per_layer, per_pair, reordering=per_layer)


NEIGHBORS = NeighborFamily()
