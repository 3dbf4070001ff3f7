"""Which rows may be among the nearest of each, by distances in float32, every one of them formed once for both of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

TILE = 1024
"""Most rows of a tile."""
MOST_ASKED = 64
"""Neighbours up to which tiles pay: within a tile of so many rows a bound must leave few."""
FULL, MANY = 4, 2
"""Candidates per neighbour at which bounds are tightened, and beyond which afterwards float64 costs less for all rows."""


class Distances32:
    """Squared distances of rows of norm 1, less their mean, in float32, and what is wrong with them."""

    def __init__(self, units: np.ndarray, absent: np.ndarray, spared: float) -> None:
        self._absent, self._any_absent = absent, bool(absent.any())
        n, p = units.shape
        self.norms = norms = np.einsum("ij,ij->i", units, units)
        self._left, self._right = np.empty((2, n, p + 2), dtype=np.float32)
        # (−2x, ‖x‖², 1) · (y, 1, ‖y‖²), as in `squared_blocks`.
        for side, factor, place in ((self._left, -2, p), (self._right, 1, p + 1)):
            np.multiply(units, factor, out=side[:, :p], casting="same_kind")
            side[:, p:] = 1
            side[:, place] = norms
        # What float32 can get wrong in sums of so many terms, whatever their order (Higham 2002, section 3.1).
        self._wrong = (p + 8) * float(np.finfo(np.float32).eps) * (norms + norms.max())
        self._spared = spared

    def block(self, rows: slice, columns: slice) -> np.ndarray:
        """Return distances, a row's own being infinite."""
        found: np.ndarray = self._left[rows] @ self._right[columns].T
        if self._any_absent:
            # A row without direction is at a right angle to all.
            found[self._absent[rows], :] = 2
            found[:, self._absent[columns]] = 2
        own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        found[own - rows.start, own - columns.start] = np.inf
        return found

    def most(self, rows: slice, last: np.ndarray) -> np.ndarray:
        """Return the largest distance that a neighbour may seem to have, where as many others as are asked for seem nearer."""
        # Of distances that only rounding tells apart, the index decides.
        most = (last + 2 * self._wrong[rows]) * (1 + self._spared)
        found = np.nextafter(most.astype(np.float32), np.float32(np.inf))
        return np.minimum(found, np.finfo(np.float32).max)  # below the distance of a row to itself


@dataclass
class _Block:
    """Candidates of some rows."""

    rows: slice
    most: np.ndarray
    """(rows,) largest distance of a candidate, so far."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    """Rows, from the first of the block, others, and their distances."""
    count: int = 0
    many: bool = False
    """Whether bounds leave so many that it has none."""

    def add(self, own: np.ndarray, others: np.ndarray, distances: np.ndarray) -> None:
        """Add those that are within the bounds."""
        within = distances <= self.most[own]
        self.found.append((own[within].astype(np.int32), others[within].astype(np.int32), distances[within]))
        self.count += len(self.found[-1][0])

    def tighten(self, few: int, by: Distances32) -> None:
        """Lower the bounds to what so many candidates of each row leave, and drop those beyond."""
        own, others, distances = (np.concatenate(part) for part in zip(*self.found, strict=True))
        # The bits of floats that are not negative are in the order of the floats.
        bits = (np.maximum(distances, 0) + np.float32(0)).view(np.uint32)
        order = np.argsort((own.astype(np.uint64) << np.uint64(32)) | bits)
        own, others, distances = own[order], others[order], distances[order]
        counts = np.bincount(own, minlength=len(self.most))
        last = np.full(len(counts), np.inf, dtype=np.float32)
        enough = counts >= few
        last[enough] = distances[(np.cumsum(counts) - counts)[enough] + few - 1]
        self.most = np.minimum(self.most, by.most(self.rows, last))
        self.found, self.count = [], 0
        self.add(own, others, distances)
        self.many = self.count > MANY * few * len(counts)
        if self.many:
            self.found, self.count = [], 0
            self.most = np.full_like(self.most, -np.inf)


def bytes_taken(n: int, few: int) -> int:
    """Return what tiles and candidates take at most."""
    rows = min(n, TILE)
    return 12 * rows * rows + FULL * few * (12 * n + 64 * rows)


def candidates(by: Distances32, few: int) -> Iterator[tuple[slice, np.ndarray | None, np.ndarray | None]]:
    """Yield rows, and pairs of each of them with others which may be among its nearest, in order; None for too many.

    A tile of distances serves its rows and its columns. Bounds come from the tiles on the diagonal, and are tightened as more is
    known.
    """
    n = len(by.norms)
    edges = np.linspace(0, n, -(-n // TILE) + 1).astype(int)
    blocks = [_diagonal(by, slice(int(start), int(stop)), few) for start, stop in pairwise(edges)]
    for place, block in enumerate(blocks):
        _tightened(block, few, by)
        for other in blocks[place + 1 :]:
            if not (block.many and other.many):
                _meet(block, other, by, few)
        _tightened(block, few, by)
        yield (block.rows, None, None) if block.many else (block.rows, *block.found[0][:2])
        block.found = []


def _diagonal(by: Distances32, rows: slice, few: int) -> _Block:
    """Return a block with the candidates among its own rows."""
    distances = by.block(rows, rows)
    place = min(few, len(distances)) - 1
    last = np.partition(distances, place, axis=1)[:, place]
    block = _Block(rows, by.most(rows, last))
    i, j = np.divmod(np.flatnonzero(distances <= block.most[:, None]), distances.shape[1])
    block.add(i, rows.start + j, distances[i, j])
    return block


def _meet(block: _Block, other: _Block, by: Distances32, few: int) -> None:
    """Add to two blocks what the tile between them has for each."""
    distances = by.block(block.rows, other.rows)
    near = distances <= block.most[:, None]
    near |= distances <= other.most[None, :]
    i, j = np.divmod(np.flatnonzero(near), distances.shape[1])
    between = distances[i, j]
    for one, own, others in ((block, i, other.rows.start + j), (other, j, block.rows.start + i)):
        one.add(own, others, between)
        if one.count > FULL * few * len(one.most):
            one.tighten(few, by)


def _tightened(block: _Block, few: int, by: Distances32) -> None:
    if not block.many:
        block.tighten(few, by)
