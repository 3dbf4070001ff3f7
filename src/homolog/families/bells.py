"""RBF kernels of representations on disk: the exact median distance, and inner products from one walk each.

Centring removes whatever is added to whole rows and columns of a structure. Means of the rows estimated from a few columns are
subtracted before the products, so that the exact ones, known only at the end, leave little to cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from homolog.families.grams import rbf_width_of
from homolog.families.slabs import Slabs, Tile, over_tiles, products_of
from homolog.families.summaries import StructureRows
from homolog.rows import READ_AT_ONCE

SAMPLE = 1000
"""Rows from which the median is guessed, and columns from which means of rows are estimated."""
MARGIN = 0.02
"""How far, in shares of all distances, the median may lie from its guess."""
BINS = 64
"""Parts into which the distances near the guess are counted where they are too many to keep."""


@dataclass(frozen=True)
class Bells:
    """The RBF kernel of the rows of one layer."""

    points: StructureRows
    width: float
    """2σ²"""
    near: np.ndarray
    """(n,) estimated means of the rows of the kernel."""

    def tile(self, x: np.ndarray, y: np.ndarray, at: Tile) -> np.ndarray:
        """Return the kernel between rows, less what the estimated means explain of it."""
        found = squared_distances(x, y, at)
        found /= -x.dtype.type(self.width)
        np.exp(found, out=found)
        rows, columns = (self.near[part].astype(x.dtype) for part in at)
        found -= (rows - rows.dtype.type(self.near.mean()))[:, None]
        found -= columns[None, :]
        return found


def squared_distances(x: np.ndarray, y: np.ndarray, at: Tile) -> np.ndarray:
    """Return squared distances of centred rows, never negative, those of a row to itself exactly 0."""
    found: np.ndarray = x @ y.T
    found *= -2
    found += np.einsum("ij,ij->i", x, x)[:, None]
    found += np.einsum("ij,ij->i", y, y)[None, :]
    np.maximum(found, 0, out=found)
    if at[0] == at[1]:
        np.fill_diagonal(found, 0)
    return found


def bells_of(points: StructureRows, median_fraction: float, slabs: Slabs, keep: int, each: Any) -> Bells:
    """Prepare the RBF kernel of one layer; `keep` is how many distances near the median may be held."""
    n = len(points.diagonal)
    sample = _sample(points, n)
    width = rbf_width_of(
        points.dtype.type(_median(points, sample, slabs, keep, each)), median_fraction, points.constant
    )
    near = np.empty(n)
    for first, last in points.stretches(0, n):
        block = points.features(first, last)
        apart = slice(0, 0), slice(1, 1)
        near[first:last] = np.exp(squared_distances(block, sample, apart) / -width).mean(axis=1)
    return Bells(points, float(width), near)


def _quiet(share: float) -> None:
    """Nobody is told of the walk for the median."""


def _sample(points: StructureRows, n: int) -> np.ndarray:
    """Return rows spread evenly over all."""
    count = max(2, min(SAMPLE, n, READ_AT_ONCE // (points.width * points.dtype.itemsize)))
    return np.concatenate(
        [points.features(int(i), int(i) + 1) for i in np.unique(np.linspace(0, n - 1, count).astype(int))]
    )


def _median(points: StructureRows, sample: np.ndarray, slabs: Slabs, keep: int, each: Any) -> float:
    """Return the exact median of all n² squared distances, from one walk where the guess is good.

    Sorted, they are n zeros and then every pair of rows twice, which gives the median of all from order statistics of the pairs.
    """
    n = len(points.diagonal)
    places = [(place - n) // 2 for place in ((n * n - 1) // 2, n * n // 2)]
    if places[-1] < 0:
        return 0.0
    places = [max(place, 0) for place in places]
    whole = slice(0, len(sample))
    guess = squared_distances(sample, sample, (whole, whole))[np.triu_indices(len(sample), 1)]
    share = places[0] / (n * (n - 1) / 2)
    bounds = np.quantile(guess, [max(share - MARGIN, 0), min(share + MARGIN, 1)]).astype(points.dtype)
    while True:
        below, counts, kept = _count(points, n, bounds, slabs, keep, each)
        inside = int(counts.sum())
        low, high = bounds
        if places[0] < below:
            bounds = np.array([0, np.nextafter(low, -np.inf, dtype=bounds.dtype)], dtype=bounds.dtype)
        elif places[-1] >= below + inside:
            bounds = np.array([np.nextafter(high, np.inf, dtype=bounds.dtype), np.inf], dtype=bounds.dtype)
        elif low == high:
            return float(low)
        elif kept is not None:
            found = np.partition(kept, [place - below for place in places])
            return (float(found[places[0] - below]) + float(found[places[-1] - below])) / 2
        else:
            bounds = _narrowed(bounds, counts, [place - below for place in places])


def _edges(bounds: np.ndarray) -> np.ndarray:
    low, high = float(bounds[0]), float(bounds[1])
    return np.linspace(low, max(2 * low, 1.0) if np.isinf(high) else high, BINS + 1).astype(bounds.dtype)


def _narrowed(bounds: np.ndarray, counts: np.ndarray, places: list[int]) -> np.ndarray:
    """Return the bins in which the places lie; bins hold their lower edge and not their upper one, the last one both."""
    edges, ends = _edges(bounds), np.cumsum(counts)
    first, last = (int(np.searchsorted(ends, place, side="right")) for place in (places[0], places[-1]))
    high = bounds[1] if last >= BINS - 1 else np.nextafter(edges[last + 1], -np.inf, dtype=bounds.dtype)
    return np.array([edges[first], high], dtype=bounds.dtype)


def _count(
    points: StructureRows, n: int, bounds: np.ndarray, slabs: Slabs, keep: int, each: Any
) -> tuple[int, np.ndarray, np.ndarray | None]:
    """Return how many pairs lie below the bounds, how many in each part of them, and those if they are few."""
    below, counts, left = 0, np.zeros(BINS, dtype=np.int64), keep
    parts: list[np.ndarray] = []
    for lower, inside in over_tiles([points], n, slabs, points.dtype, partial(_count_tile, bounds), each, _quiet):
        below += lower
        counts += _binned(inside, bounds)
        left -= len(inside)
        parts = [*parts, inside] if left >= 0 else []
    return below, counts, np.concatenate(parts) if left >= 0 else None


def _count_tile(bounds: np.ndarray, xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> tuple[int, np.ndarray]:
    distances = squared_distances(xs[0], ys[0], at)
    flat = distances[np.triu_indices(len(distances), 1)] if at[0] == at[1] else distances.reshape(-1)
    return int(np.count_nonzero(flat < bounds[0])), flat[(flat >= bounds[0]) & (flat <= bounds[1])]


def _binned(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    edges = _edges(bounds)
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
    return np.bincount(places, minlength=BINS)


def bell_products(
    bells: Sequence[Bells], n: int, slabs: Slabs, dtype: Any, each: Any, step: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return off-diagonal inner products of all pairs of centred kernels, and (layers, n) their diagonals."""
    count = len(bells)
    total, sums = np.zeros((count, count)), np.zeros((count, n))
    points = [bell.points for bell in bells]
    for at, products, along_rows, along_columns in over_tiles(
        points, n, slabs, dtype, partial(_bell_tile, bells), each, step
    ):
        total += products
        sums[:, at[0]] += along_rows
        if at[0] != at[1]:
            sums[:, at[1]] += along_columns
    near = np.stack([bell.near for bell in bells])
    own = 1 - 2 * near + near.mean(axis=1, keepdims=True)
    means = sums / n
    # ⟨HKH, HLH⟩ = ⟨K, L⟩ − 2/n k·l + Σk Σl / n², k and l the row sums.
    whole = total + own @ own.T - 2 * n * means @ means.T + n * n * np.outer(means.mean(axis=1), means.mean(axis=1))
    diagonals = own - 2 * means + means.mean(axis=1, keepdims=True)
    return whole - diagonals @ diagonals.T, diagonals


def _bell_tile(bells: Sequence[Bells], xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> Any:
    stacked = np.stack([bell.tile(x, y, at) for bell, x, y in zip(bells, xs, ys, strict=True)])
    along_rows, along_columns = (stacked.sum(axis=axis, dtype=float) for axis in (2, 1))
    return at, products_of(stacked, at), along_rows, along_columns
