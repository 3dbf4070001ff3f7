"""The exact median of all distances between the rows of a representation: of those at hand, or from passes over tiles of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from homolog.blocks.scan import Panels, Tile, over_tiles, stretches
from homolog.linalg import squared_distances
from homolog.rows import READ_AT_ONCE

SAMPLE = 1000
"""Rows from which the median is guessed, and columns from which means of rows are estimated."""
MARGIN, WIDEST = 0.02, 0.06
"""How far, in shares of all distances, the median may lie from its guess; further where there is room to keep as many.

A thousand of many rows guess it to about 0.01, and a pass that misses it costs two or three more."""
BINS = 4096
"""Parts into which the distances near the guess are counted where they are too many to keep."""
Bounds = tuple[int, int]
"""Least and largest distance that is counted, as integers in the order of floats."""


def sample(points: Any) -> np.ndarray:
    """Return rows spread evenly over all, in one pass: a row alone costs as much as the chunk it lies in."""
    n, width = points.shape
    count = max(2, min(SAMPLE, n, READ_AT_ONCE // (width * points.dtype.itemsize)))
    chosen = np.unique(np.linspace(0, n - 1, count).astype(int))
    parts = []
    for first, last in stretches(points):
        inside = chosen[(chosen >= first) & (chosen < last)] - first
        parts.append(points.read(first, last)[inside])
    return np.concatenate(parts)


def places_of_median(n: int) -> list[int]:
    """Return where the middle of all n² distances stands among those of the pairs of rows, in order; below 0 for a distance of 0.

    Sorted, all are n zeros and then every pair of rows twice.
    """
    return [(place - n) // 2 for place in ((n * n - 1) // 2, n * n // 2)]


def median_of_condensed(pairs: np.ndarray, n: int) -> Any:
    """Return the median of all n² squared distances from those of the pairs."""
    middle = [
        np.partition(pairs, max(place, 0))[place] if place >= 0 else 0 for place in dict.fromkeys(places_of_median(n))
    ]
    return pairs.dtype.type((middle[0] + middle[-1]) / 2)


def median_of_rows(points: Any, sample: np.ndarray, panels: Panels, keep: int, each: Any) -> float:
    """Return the same exactly of rows that are read, from one pass over their tiles where the guess from a sample is good."""
    n = points.shape[0]
    places = places_of_median(n)
    guess = squared_distances(sample, sample, same=True)[np.triu_indices(len(sample), 1)]
    pairs = n * (n - 1) / 2
    share, margin = places[0] / pairs, min(max(MARGIN, 0.4 * keep / pairs), WIDEST)
    margins = np.clip([share - margin, share + margin], 0, 1)
    bounds = ordered_bits(np.quantile(guess, margins).astype(points.dtype))
    counted = partial(_count, points, panels=panels, keep=keep, each=each)
    wanted = sorted({place for place in places if place >= 0})
    found = _in_order(counted, wanted, (int(bounds[0]), int(bounds[1])), points.dtype)
    # Of two rows, one of the middle distances is one of the zeros.
    return float(np.mean([0.0, *found] if places[0] < 0 else found))


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """Return floats that are not negative as integers in the same order, without a gap between neighbours.

    Bounds that are halved in them find ties, near zero too, in as many passes as a float has bits.
    """
    return (values + values.dtype.type(0)).view(np.dtype(f"uint{8 * values.dtype.itemsize}"))


def _in_order(counted: Callable[[Bounds], Any], places: list[int], bounds: Bounds, dtype: np.dtype) -> list[float]:
    """Return the distances at one place, or two neighbours, of their order: narrow the bounds until few lie between them."""
    highest = int(ordered_bits(np.asarray([np.inf], dtype=dtype))[0])
    while True:
        below, counts, kept = counted(bounds)
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
            return [value for place in places for value in _in_order(counted, [place], bounds, dtype)]
        bounds = new


def _width(bounds: Bounds) -> int:
    return (bounds[1] - bounds[0]) // BINS + 1


def _narrowed(bounds: Bounds, counts: np.ndarray, places: list[int]) -> Bounds:
    """Return the bins in which the places lie."""
    ends, width = np.cumsum(counts), _width(bounds)
    first, last = (int(np.searchsorted(ends, place, side="right")) for place in (places[0], places[-1]))
    return bounds[0] + first * width, min(bounds[0] + (last + 1) * width - 1, bounds[1])


def _count(
    points: Any, bounds: Bounds, *, panels: Panels, keep: int, each: Any
) -> tuple[int, np.ndarray, np.ndarray | None]:
    """Return how many pairs lie below the bounds, how many in each part of them, and those if they are few."""
    below, counts, left = 0, np.zeros(BINS, dtype=np.int64), keep
    parts: list[np.ndarray] = []
    for lower, inside in over_tiles([points], panels, partial(_count_tile, bounds), each):
        below += lower
        counts += np.bincount(((ordered_bits(inside) - bounds[0]) // _width(bounds)).astype(np.intp), minlength=BINS)
        left -= len(inside)
        parts = [*parts, inside] if left >= 0 else []
    return below, counts, np.concatenate(parts) if left >= 0 else None


def _count_tile(bounds: Bounds, xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> tuple[int, np.ndarray]:
    distances = squared_distances(xs[0], ys[0], same=at[0] == at[1])
    flat = distances[np.triu_indices(len(distances), 1)] if at[0] == at[1] else distances.reshape(-1)
    order = ordered_bits(flat)
    return int(np.count_nonzero(order < bounds[0])), flat[(order >= bounds[0]) & (order <= bounds[1])]
