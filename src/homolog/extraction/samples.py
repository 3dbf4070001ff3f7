"""Rows of the examples that are tried, and how far they may differ between runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import from_numpy, namespace
from homolog.extraction.reductions import LayerRows
from homolog.extraction.sources import Source
from homolog.extraction.tensors import is_torch, numbers_of

MOST_FEATURES = 4096
"""Features that are looked at of a layer of which only sketches are kept: looking at all takes longer than sketching them."""
SPREAD_ROWS = 8
"""Rows of a layer whose differences say what is more than rounding."""
FLOAT64, FLOAT32, ROUNDED, HALF = 1e-6, 1e-3, 1e-2, 0.1
"""Differences, as parts of the spread of a layer, that another size of the batch may make: in float64, in float32, on a device
that may round products to fewer digits or with quantised weights, and in half precision."""
HALF_TYPES = {"float16", "bfloat16"}
SPACING_OF_HALF = 2.0**-7
"""Of bfloat16 at 1."""


class Sample(NamedTuple):
    """Rows of one layer for the examples that are tried."""

    rows: np.ndarray
    """All features of them, or some."""
    width: int
    """Features of the layer."""
    whole: bool
    """Whether all features are looked at."""
    spread: np.ndarray
    """(features,) largest difference between rows, of no feature less than a hundredth of that of another."""
    largest: float
    dtype: str
    """The type in which they were computed."""
    on_host: bool
    """Whether they were computed by the processor, which rounds no products."""


def sample_of(rows: LayerRows, index: Sequence[int], *, whole: bool = True) -> Sample:
    """Keep the rows of some examples; a copy, because what runs later may change the output in place."""
    width = rows.width
    rows = rows if whole else _some_features(rows)
    kept = rows_at(rows, index)
    dtype = str(rows.features.dtype).removeprefix("torch.")
    on_host = not is_torch(rows.features) or rows.features.device.type == "cpu"
    parts = [part for part in (numbers_of(rows.features[:SPREAD_ROWS]), kept) if len(part)]
    if not parts:
        return Sample(kept, width, whole, np.zeros(kept.shape[1]), 0.0, dtype, on_host)
    with np.errstate(all="ignore"):
        # In their own type, which loses nothing: layers may have millions of features.
        highest = np.maximum.reduce([part.max(0) for part in parts]).astype(np.float64)
        lowest = np.minimum.reduce([part.min(0) for part in parts]).astype(np.float64)
        spread = highest - lowest
        largest = float(np.maximum(highest.max(), -lowest.min()))
        return Sample(kept, width, whole, np.maximum(spread, spread.max() / 100), largest, dtype, on_host)


def _some_features(rows: LayerRows) -> LayerRows:
    """Return rows of some features, the same of all layers of one width: both ends, and others at random."""
    if rows.width <= MOST_FEATURES:
        return rows
    places = np.random.default_rng(0).integers(rows.width, size=MOST_FEATURES)
    places[:2] = 0, rows.width - 1
    features = rows.features
    return rows._replace(features=namespace(features).take(features, from_numpy(np.sort(places), features), axis=1))


def tried_rows(sample: Sample, rows: LayerRows, index: Sequence[int]) -> np.ndarray:
    """Copy the rows of some examples of another run, with the features that were sampled; all of a layer of another width."""
    return rows_at(rows if sample.whole or rows.width != sample.width else _some_features(rows), index)


def rows_at(rows: LayerRows, index: Sequence[int]) -> np.ndarray:
    """Copy the rows of some examples to the host."""
    if rows.example is None:
        return np.array(numbers_of(rows.features[list(index)]))
    example = numbers_of(rows.example)
    places = np.concatenate([np.flatnonzero(example == i) for i in index])
    return np.array(numbers_of(rows.features[places.tolist()]))


def differences(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return by how much values differ: NaN from itself not at all, from a number without end."""
    first, second = before.astype(np.float64), after.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(all="ignore"):
        apart = np.abs(first - second)
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def are_within(before: np.ndarray, after: np.ndarray, allowed: np.ndarray) -> bool:
    """Say whether values differ by no more than is allowed of each feature."""
    if before.dtype == after.dtype == np.float32:
        with np.errstate(all="ignore"):
            nearly = (allowed * (1 - 1e-6)).astype(np.float32)  # rounded down: what float32 finds to be within is so
            if all(bool((np.abs(one - other) <= nearly).all()) for one, other in zip(before, after, strict=True)):
                return True
    return not bool((differences(before, after) > allowed).any())


def tolerance_of(source: Source, samples: Iterable[Sample]) -> tuple[float, float]:
    """Return the differences that rounding may make in batches of another size: of the spread, and of the largest value."""
    samples = list(samples)
    dtypes = source.dtypes | {sample.dtype for sample in samples}
    if dtypes & HALF_TYPES:
        return HALF, SPACING_OF_HALF
    if dtypes == {"float64"}:
        return FLOAT64, 64 * float(np.finfo(np.float64).eps)
    exact = source.on_host and all(sample.on_host for sample in samples) and not source.quantised
    return FLOAT32 if exact else ROUNDED, 64 * float(np.finfo(np.float32).eps)


def as_numbers(value: Any) -> np.ndarray:
    """Copy a tensor to the host, where nothing that runs later changes it."""
    return np.array(numbers_of(value))
