"""Kernels of distances of representations on disk: the exact median distance, and inner products from one walk each.

Centring removes whatever is added to whole rows and columns of a structure. Means of the rows estimated from a few columns are
subtracted before the products, so that the exact ones, known only at the end, leave little to cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from homolog.families.grams import enlarged, rbf_width_of, squared_distances_of
from homolog.families.slabs import Part, Slabs, Tile, over_part, over_tiles, products_of
from homolog.families.summaries import StructureRows
from homolog.families.walk import ROWS
from homolog.rows import READ_AT_ONCE

SAMPLE = 1000
"""Rows from which the median is guessed, and columns from which means of rows are estimated."""
MARGIN = 0.02
"""How far, in shares of all distances, the median may lie from its guess."""
BINS = 4096
"""Parts into which the distances near the guess are counted where they are too many to keep."""
Bounds = tuple[int, int]
"""Least and largest distance that is counted, as integers in the order of floats."""


@dataclass(frozen=True)
class Bells:
    """A kernel of the distances between the rows of one layer."""

    points: StructureRows
    width: float | None
    """2σ² of the RBF kernel; None for minus the distances themselves."""
    near: np.ndarray
    """(n,) estimated means of the rows of the kernel."""
    enlarged: float = 1.0
    """As of a `Bell`."""
    no_width: bool = False
    """Whether over half of the distances are 0."""

    @property
    def peak(self) -> float:
        """The kernel of a row with itself."""
        return 0.0 if self.width is None or self.enlarged > 1 else 1.0

    def of(self, squared: np.ndarray) -> np.ndarray:
        """Return the kernel of squared distances, in place."""
        if self.width is None:
            return np.negative(np.sqrt(squared, out=squared), out=squared)
        squared /= -squared.dtype.type(self.width)
        if self.enlarged == 1:
            return np.exp(squared, out=squared)
        np.expm1(squared, out=squared)
        squared *= self.enlarged**2
        return squared

    def tile(self, x: np.ndarray, y: np.ndarray, at: Tile) -> np.ndarray:
        """Return the kernel between rows, less what the estimated means explain of it."""
        found = self.of(squared_distances(x, y, at))
        rows, columns = (self.near[part].astype(x.dtype) for part in at)
        found -= (rows - rows.dtype.type(self.near.mean()))[:, None]
        found -= columns[None, :]
        return found


def squared_distances(x: np.ndarray, y: np.ndarray, at: Tile) -> np.ndarray:
    """Return squared distances of centred rows, 0 where rounding is left, those of a row to itself exactly 0."""
    return squared_distances_of(x, y, same=at[0] == at[1])


def bells_of(layer: tuple[StructureRows, Slabs], each: Any, *, median_fraction: float | None, keep: int) -> Bells:
    """Prepare the kernel of one layer; `keep` is how many distances near the median may be held."""
    points, slabs = layer
    n = points.n
    some = sample(points, n)
    width, middle = None, None
    if median_fraction is not None:
        middle = points.dtype.type(_median(points, some, slabs, keep, each))
        width = float(rbf_width_of(middle, median_fraction))
    no_width = median_fraction is not None and middle == 0
    bells, near = Bells(points, width, np.empty(0), enlarged(median_fraction), no_width), np.empty(n)
    apart = slice(0, 0), slice(1, 1)
    for start, stop in points.stretches(0, n):
        block = points.features(start, stop)
        for first in range(start, stop, ROWS):
            distances = squared_distances(block[first - start : first - start + ROWS], some, apart)
            near[first : first + len(distances)] = bells.of(distances).mean(axis=1)
    return replace(bells, near=near)


def sample(points: StructureRows, n: int) -> np.ndarray:
    """Return rows spread evenly over all, in one pass: a row alone costs as much as the chunk it lies in."""
    count = max(2, min(SAMPLE, n, READ_AT_ONCE // (points.width * points.dtype.itemsize)))
    chosen = np.unique(np.linspace(0, n - 1, count).astype(int))
    parts = []
    for first, last in points.stretches(0, n):
        inside = chosen[(chosen >= first) & (chosen < last)] - first
        parts.append(points.features(first, last)[inside])
    return np.concatenate(parts)


def _median(points: StructureRows, sample: np.ndarray, slabs: Slabs, keep: int, each: Any) -> float:
    """Return the exact median of all n² squared distances, from one walk where the guess is good.

    Sorted, they are n zeros and then every pair of rows twice, which gives the median of all from order statistics of the pairs.
    """
    n = points.n
    places = [(place - n) // 2 for place in ((n * n - 1) // 2, n * n // 2)]
    whole = slice(0, len(sample))
    guess = squared_distances(sample, sample, (whole, whole))[np.triu_indices(len(sample), 1)]
    share = places[0] / (n * (n - 1) / 2)
    margins = np.clip([share - MARGIN, share + MARGIN], 0, 1)
    bounds = patterns(np.quantile(guess, margins).astype(points.dtype))
    walk = partial(_count, points, n, slabs=slabs, keep=keep, each=each)
    wanted = sorted({place for place in places if place >= 0})
    found = _in_order(walk, wanted, (int(bounds[0]), int(bounds[1])), points.dtype)
    # Of two rows, one of the middle distances is one of the zeros.
    return float(np.mean([0.0, *found] if places[0] < 0 else found))


def patterns(values: np.ndarray) -> np.ndarray:
    """Return floats that are not negative as integers in the same order, without a gap between neighbours.

    Bounds that are halved in them find ties, near zero too, in as many walks as a float has bits.
    """
    return (values + values.dtype.type(0)).view(np.dtype(f"uint{8 * values.dtype.itemsize}"))


def _in_order(walk: Callable[[Bounds], Any], places: list[int], bounds: Bounds, dtype: np.dtype) -> list[float]:
    """Return the distances at one place, or two neighbours, of their order: narrow the bounds until few lie between them."""
    highest = int(patterns(np.asarray([np.inf], dtype=dtype))[0])
    while True:
        below, counts, kept = walk(bounds)
        within = [place - below for place in places]
        low, high = bounds
        if within[0] < 0:
            new = 0, (high if within[-1] >= 0 else low - 1)
        elif within[-1] >= counts.sum():
            new = (low if within[0] < counts.sum() else high + 1), highest
        elif kept is not None:
            return [float(value) for value in np.partition(kept, within)[within]]
        elif low == high:
            return [float(np.asarray([low], dtype=f"uint{8 * dtype.itemsize}").view(dtype)[0])] * len(places)
        else:
            new = _narrowed(bounds, counts, within)
        if new == bounds:
            # Two neighbours far apart, with more equal ones beside them than can be kept.
            return [value for place in places for value in _in_order(walk, [place], bounds, dtype)]
        bounds = new


def _width(bounds: Bounds) -> int:
    return (bounds[1] - bounds[0]) // BINS + 1


def _narrowed(bounds: Bounds, counts: np.ndarray, places: list[int]) -> Bounds:
    """Return the bins in which the places lie."""
    ends, width = np.cumsum(counts), _width(bounds)
    first, last = (int(np.searchsorted(ends, place, side="right")) for place in (places[0], places[-1]))
    return bounds[0] + first * width, min(bounds[0] + (last + 1) * width - 1, bounds[1])


def _count(
    points: StructureRows, n: int, bounds: Bounds, *, slabs: Slabs, keep: int, each: Any
) -> tuple[int, np.ndarray, np.ndarray | None]:
    """Return how many pairs lie below the bounds, how many in each part of them, and those if they are few."""
    below, counts, left = 0, np.zeros(BINS, dtype=np.int64), keep
    parts: list[np.ndarray] = []
    for lower, inside in over_tiles([points], n, slabs, points.dtype, partial(_count_tile, bounds), each):
        below += lower
        counts += np.bincount(((patterns(inside) - bounds[0]) // _width(bounds)).astype(np.intp), minlength=BINS)
        left -= len(inside)
        parts = [*parts, inside] if left >= 0 else []
    return below, counts, np.concatenate(parts) if left >= 0 else None


def _count_tile(bounds: Bounds, xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> tuple[int, np.ndarray]:
    distances = squared_distances(xs[0], ys[0], at)
    flat = distances[np.triu_indices(len(distances), 1)] if at[0] == at[1] else distances.reshape(-1)
    order = patterns(flat)
    return int(np.count_nonzero(order < bounds[0])), flat[(order >= bounds[0]) & (order <= bounds[1])]


def bell_part(
    part: Part, each: Any, *, bells: Sequence[Bells], n: int, slabs: Slabs, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the products of the tiles of one part, and the sums (layers, n) of what it holds of each row."""
    total, sums = np.zeros((len(bells), len(bells))), np.zeros((len(bells), n))
    points = [bell.points for bell in bells]
    for at, products, along_rows, along_columns in over_part(
        part, points, slabs, dtype, partial(_bell_tile, bells), each
    ):
        total += products
        sums[:, at[0]] += along_rows
        if at[0] != at[1]:
            sums[:, at[1]] += along_columns
    return total, sums


def centred_products(bells: Sequence[Bells], total: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return off-diagonal inner products of all pairs of centred kernels, and (layers, n) their diagonals."""
    near = np.stack([bell.near for bell in bells])
    peaks = np.array([[bell.peak] for bell in bells])
    own = peaks - 2 * near + near.mean(axis=1, keepdims=True)
    n = near.shape[1]
    means = sums / n
    # ⟨HKH, HLH⟩ = ⟨K, L⟩ − 2/n k·l + Σk Σl / n², k and l the row sums.
    whole = total + own @ own.T - 2 * n * means @ means.T + n * n * np.outer(means.mean(axis=1), means.mean(axis=1))
    diagonals = own - 2 * means + means.mean(axis=1, keepdims=True)
    return whole - diagonals @ diagonals.T, diagonals


def _bell_tile(bells: Sequence[Bells], xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> Any:
    stacked = np.stack([bell.tile(x, y, at) for bell, x, y in zip(bells, xs, ys, strict=True)])
    along_rows, along_columns = (stacked.sum(axis=axis, dtype=float) for axis in (2, 1))
    return at, products_of(stacked, at), along_rows, along_columns
