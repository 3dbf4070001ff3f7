"""The scales on which intervals are taken: where the spread of a measure depends little on its value.

Near the end of its range a measure can vary to one side only. Fisher's z = atanh r moves the end of a correlation to infinity, so
that an interval of z, put back, lies within the range and is longer on the side where there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from homolog.registry import Measure

NEAR_ONE = 1 - 1e-9
"""A share of the range above which a similarity counts as its largest: rounding would decide its z."""
NEAR_ZERO = 1e-7
"""What rounding leaves of a distance between equals, as a share of the range: below it counts as none."""


class Scale(NamedTuple):
    """An increasing function of the values of a measure, and its inverse."""

    to: Callable[[Any], np.ndarray]
    back: Callable[[Any], np.ndarray]


PLAIN = Scale(np.asarray, np.asarray)
CUBE_ROOT = Scale(np.cbrt, lambda root: np.asarray(root) ** 3)
"""Of a product of variances, whose distribution has a long tail (Wilson & Hilferty 1931)."""


def scale_of(record: Measure) -> Scale:
    """Return the scale of a measure: Fisher's where its range has an end, else the one that its record declares."""
    low, high = record.range
    if not np.isfinite(high) or high <= 0:
        return CUBE_ROOT if record.cube_root else PLAIN
    if record.kind == "distance":
        return _of_distance(high) if low == 0 else PLAIN
    return _of_similarity(high) if low >= -high else PLAIN


def _of_similarity(high: float) -> Scale:
    """Return Fisher's z of a similarity of at most `high`."""
    end = np.arctanh(NEAR_ONE)

    def to(value: Any) -> np.ndarray:
        return np.arctanh(np.clip(np.asarray(value, dtype=float) / high, -NEAR_ONE, NEAR_ONE))

    def back(z: Any) -> np.ndarray:
        return high * np.where(np.abs(z) < end, np.tanh(z), np.sign(z))

    return Scale(to, back)


def _of_distance(high: float) -> Scale:
    """Return −z of the similarity 1 − (d / high)², which is the nuclear norm where d is Procrustes'."""

    def to(value: Any) -> np.ndarray:
        square = np.clip(np.asarray(value, dtype=float) / high, NEAR_ZERO, 1.0) ** 2
        return np.log(square / (2 - square)) / 2

    end = to(0.0)

    def back(z: Any) -> np.ndarray:
        square = 2 / (1 + np.exp(-2 * np.maximum(z, end)))
        return np.where(np.asarray(z) > end, high * np.sqrt(square), 0.0)

    return Scale(to, back)
