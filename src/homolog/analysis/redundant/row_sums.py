"""Sums over the rows of a residual stream: lengths of rows, large features and positions, angles between layers.

Two passes over all layers together, a block of rows at a time, in float64; nothing of the size of the rows stays but a flag for
each, and the lengths of at most some rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.blocks.column_statistics import check_block
from homolog.machine import format_bytes
from homolog.names import quoted
from homolog.rows import Rows
from homolog.token_rows import LONG

LARGEST = 1e140
"""Squares end at 1e308."""
MOST_ROWS = 8192
"""Rows of a block."""
SAMPLE = 1000
"""Rows of which the median magnitude is taken."""
LONGEST = 5
"""Longest rows of a layer that are told."""


@dataclass
class Look:
    """What one pass finds out about every layer; the first axis is that of the layers."""

    measured: np.ndarray
    """Flags of the rows whose lengths are kept, for the medians: all, or as many as the memory holds."""
    norms: list[list[np.ndarray]]
    total_norm: np.ndarray
    totals: np.ndarray
    """(layers, p) Σ x"""
    squares: np.ndarray
    """(layers, p) Σ x²"""
    largest: np.ndarray
    """(layers, p) largest magnitude of every feature, and in which row."""
    largest_row: np.ndarray
    magnitudes: list[list[np.ndarray]]
    """Median magnitudes of some rows, of what is not 0 in them: most of a layer behind a ReLU may be 0."""
    by_position: np.ndarray | None
    """(layers, positions) Σ ‖x‖² of the rows at every position."""
    longest: list[tuple[np.ndarray, np.ndarray]]
    """Lengths and numbers of the longest rows."""

    def medians(self) -> np.ndarray:
        """(layers,) median length of the rows."""
        return np.array([np.median(np.concatenate(parts)) for parts in self.norms])

    def typical(self) -> np.ndarray:
        """(layers,) magnitude of the middle feature in the middle one of some rows; 0 where these are all 0."""
        found = [np.concatenate(parts) for parts in self.magnitudes]
        return np.array([np.median(each) if len(each) else 0.0 for each in found])


@dataclass
class Angles:
    """Sums over rows of what lies between two layers: [0] of ordinary rows, [1] of outlying ones."""

    cosines: np.ndarray
    """(2, layers, layers)"""
    angles: np.ndarray
    """(2, layers, layers), in parts of π"""
    counts: np.ndarray
    """(2, layers, layers) rows that have a direction in both."""
    total_norm: np.ndarray
    """(2, layers)"""
    norms: list[list[np.ndarray]]

    @classmethod
    def empty(cls, count: int) -> Angles:
        """Return the sums over no row."""
        cosines, angles, counts = np.zeros((3, 2, count, count))
        return cls(cosines, angles, counts, np.zeros((2, count)), [[] for _ in range(count)])

    def mean(self, sums: np.ndarray, *, ordinary: bool = False) -> np.ndarray:
        """Return the mean over all rows, or over ordinary ones; NaN where no row has a direction."""
        kept = slice(0, 1) if ordinary else slice(0, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[kept].sum(axis=0) / self.counts[kept].sum(axis=0))


def block_rows(layers: int, width: int, memory: int) -> int:
    """Return how many rows are read at a time, or raise where not one fits into the memory."""
    per_row = 8 * (4 * layers * width + 4 * layers * layers)
    rows = min(MOST_ROWS, memory // (2 * per_row))
    if rows < 1:
        raise ValueError(
            f"{layers} layers of {width} features need a memory of at least {format_bytes(2 * per_row)}, got "
            f"{format_bytes(memory)}: raise memory=."
        )
    return int(rows)


def spans_of(n: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of blocks of rows."""
    for first in range(0, n, step):
        yield first, min(first + step, n)


def chosen_rows(n: int, some: int) -> np.ndarray:
    """Flag all of n rows, or about so many of them, by chance: every k-th could be the same token of every text.

    >>> chosen_rows(4, 9).sum(), 80 < chosen_rows(100_000, 100).sum() < 120
    (np.int64(4), np.True_)
    """
    if some >= n:
        return np.ones(n, dtype=bool)
    random = np.random.default_rng(0)
    found = np.concatenate([random.random(last - first) < some / n for first, last in spans_of(n, MOST_ROWS)])
    found[n // 2] |= not found.any()
    return found


def looked_at(rows: list[Rows], names: list[str], codes: np.ndarray | None, memory: int, shown: Any) -> Look:
    """Read every layer once; NaN, infinity and numbers whose squares overflow are errors that name the layer."""
    n, width = rows[0].shape
    count = len(rows)
    some = memory // 4 // (8 * 3 * count)  # lengths of all rows, and of what is left without some features
    positions = None if codes is None else np.zeros((count, int(codes.max()) + 1))
    zeros = np.zeros((count, width))
    look = Look(
        chosen_rows(n, some),
        [[] for _ in rows],
        np.zeros(count),
        zeros,
        zeros.copy(),
        zeros - 1,
        np.zeros((count, width), dtype=np.int64),
        [[] for _ in rows],
        positions,
        [(np.empty(0), np.empty(0, dtype=np.int64)) for _ in rows],
    )
    sampled = chosen_rows(n, SAMPLE)
    for first, last in spans_of(n, block_rows(count, width, memory)):
        inside = sampled[first:last]
        for at, layer in enumerate(rows):
            block = layer.read(first, last)
            check_block(block, first, f"layer {quoted(names[at])}")
            _add(look, at, block.astype(float), first, inside, None if codes is None else codes[first:last])
            shown.update(last - first)
    return _checked(look, names)


def _add(look: Look, at: int, block: np.ndarray, first: int, inside: np.ndarray, codes: np.ndarray | None) -> None:
    """Add a block of rows of one layer."""
    magnitudes = np.abs(block)
    with np.errstate(over="ignore"):
        squared = np.einsum("ij,ij->i", block, block)
        look.squares[at] += np.einsum("ij,ij->j", block, block)
        look.totals[at] += block.sum(axis=0)
    norms = np.sqrt(squared)
    look.total_norm[at] += norms.sum()
    look.norms[at].append(norms[look.measured[first : first + len(norms)]])
    look.magnitudes[at].append(np.array([np.median(row[row > 0]) for row in magnitudes[inside] if row.any()]))
    if look.by_position is not None and codes is not None:
        look.by_position[at] += np.bincount(codes, squared, minlength=look.by_position.shape[1])
    peak = magnitudes.max(axis=0)
    larger = peak > look.largest[at]
    look.largest[at][larger] = peak[larger]
    look.largest_row[at][larger] = first + magnitudes[:, larger].argmax(axis=0)
    known, places = look.longest[at]
    known, places = np.append(known, norms), np.append(places, first + np.arange(len(norms)))
    order = np.argsort(-known, kind="stable")[:LONGEST]
    look.longest[at] = known[order], places[order]


def _checked(look: Look, names: list[str]) -> Look:
    for name, largest in zip(names, look.largest.max(axis=1), strict=True):
        if largest > LARGEST:
            raise ValueError(
                f"layer {quoted(name)} must hold numbers whose squares float64 holds, got {largest:.1e}: divide it by a number."
            )
    return look


def angles_of(
    rows: list[Rows],
    columns: list[np.ndarray | None],
    look: Look,
    memory: int,
    shown: Any,
    add: Callable[[np.ndarray, np.ndarray], None] | None,
    outweighing: np.ndarray,
) -> tuple[list[Angles], np.ndarray, np.ndarray]:
    """Return sums of cosines and angles for each choice of columns; which rows are outlying, and their share of Σ ‖x‖².

    `add`, where it is given, gets every block of rows (n, layers, p) and which of them are outlying; rows that are `outweighing`
    are so, however long they are.
    """
    medians = look.medians()
    n, width = rows[0].shape
    count = len(rows)
    found = [Angles.empty(count) for _ in columns]
    flags, outlying = outweighing.copy(), np.zeros(count)
    for first, last in spans_of(n, block_rows(count, width, memory)):
        stream = np.empty((last - first, count, width))
        for at, layer in enumerate(rows):
            stream[:, at] = layer.read(first, last)
            shown.update(last - first)
        norms = np.sqrt(np.einsum("ijk,ijk->ij", stream, stream))
        flags[first:last] |= ((norms > LONG * medians) & (medians > 0)).any(axis=1)
        outlying += np.square(norms[flags[first:last]]).sum(axis=0)
        if add is not None:
            add(stream, flags[first:last])
        for angles, kept in zip(found, columns, strict=True):
            part = stream if kept is None else stream[:, :, kept]
            _add_angles(angles, part, flags[first:last], look.measured[first:last])
    with np.errstate(invalid="ignore", divide="ignore"):
        return found, flags, outlying / look.squares.sum(axis=1)


def _add_angles(angles: Angles, stream: np.ndarray, flags: np.ndarray, measured: np.ndarray) -> None:
    """Add a block of rows: the Gram matrix of the directions of each row in all layers."""
    # Divided by their largest magnitudes first, so that no square is lost.
    scale = np.abs(stream).max(axis=2, initial=0)
    alive = scale > 0
    directions = stream / np.where(alive, scale, 1)[:, :, None]
    lengths = np.sqrt(np.einsum("ijk,ijk->ij", directions, directions))
    directions /= np.where(alive, lengths, 1)[:, :, None]
    cosines = np.clip(directions @ directions.transpose(0, 2, 1), -1, 1)
    cosines[cosines > 1 - 8 * np.finfo(float).eps] = 1  # what only rounding can tell from equal
    both = alive[:, :, None] & alive[:, None, :]
    parted = np.where(both, np.arccos(cosines) / np.pi, 0)
    cosines[~both] = 0
    norms = scale * lengths
    for kind, chosen in enumerate((~flags, flags)):
        if chosen.any():
            angles.cosines[kind] += cosines[chosen].sum(axis=0)
            angles.angles[kind] += parted[chosen].sum(axis=0)
            angles.counts[kind] += both[chosen].sum(axis=0)
            angles.total_norm[kind] += norms[chosen].sum(axis=0)
    for at in range(stream.shape[1]):
        angles.norms[at].append(norms[measured, at])
