"""The scales on which intervals are taken: where the spread of a measure depends little on its value.

Near the end of its range a measure can vary to one side only. Fisher's z = atanh r moves the end of a correlation to infinity, so
that an interval of z, put back, lies within the range and is longer on the side where there is room. Away from 0 the spread of z
still grows with z, above all with heavy tails: z is then taken as its logarithm, by asinh(z / unit), which near 0 is z itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from homolog.measures.record import Measure

NEAR_ONE = 1 - 1e-9
"""A share of the range above which a similarity counts as its largest: rounding would decide its z."""
NEAR_ZERO = 1e-7
"""What rounding leaves of a distance between equals, as a share of the range: below it counts as none."""


class ValueScale(NamedTuple):
    """An increasing function of the values of a measure, and its inverse."""

    forward: Callable[[Any], np.ndarray]
    inverse: Callable[[Any], np.ndarray]


PLAIN = ValueScale(np.asarray, np.asarray)


def scale_of(record: Measure) -> ValueScale:
    """Return the scale of a measure: Fisher's where its range has an end."""
    low, high = record.range
    if not np.isfinite(high) or high <= 0:
        return PLAIN
    if record.kind == "distance":
        return _of_distance(high) if low == 0 else PLAIN
    return _of_similarity(high) if low >= -high else PLAIN


def logarithmic(scale: ValueScale, unit: np.ndarray) -> ValueScale:
    """Return a scale that is near a given one where that is within a unit of 0, and near its logarithm far from 0.

    A unit of 0 changes nothing.
    """
    unit = np.where(unit > 0, unit, np.inf)
    plain = np.isinf(unit)

    def forward(value: Any) -> np.ndarray:
        z = scale.forward(value)
        with np.errstate(invalid="ignore"):
            return np.where(plain, z, np.arcsinh(z / unit))

    def inverse(z: Any) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return scale.inverse(np.where(plain, z, np.sinh(z) * unit))

    return ValueScale(forward, inverse)


def _of_similarity(high: float) -> ValueScale:
    """Return Fisher's z of a similarity of at most `high`."""
    end = np.arctanh(NEAR_ONE)

    def forward(value: Any) -> np.ndarray:
        return np.arctanh(np.clip(np.asarray(value, dtype=float) / high, -NEAR_ONE, NEAR_ONE))

    def inverse(z: Any) -> np.ndarray:
        return high * np.where(np.abs(z) < end, np.tanh(z), np.sign(z))

    return ValueScale(forward, inverse)


def _of_distance(high: float) -> ValueScale:
    """Return −z of the similarity 1 − (d / high)², or cos d of an angle: the nuclear norm, where d is one of Procrustes'."""
    angle = np.isclose(high, np.pi / 2)

    def forward(value: Any) -> np.ndarray:
        share = np.clip(np.asarray(value, dtype=float) / high, NEAR_ZERO, 1.0)
        square = 2 * np.sin(share * np.pi / 4) ** 2 if angle else share**2
        return np.log(square / (2 - square)) / 2

    end = forward(0.0)

    def inverse(z: Any) -> np.ndarray:
        square = 2 / (1 + np.exp(-2 * np.maximum(z, end)))
        found = 2 * np.arcsin(np.sqrt(np.minimum(square / 2, 1.0))) if angle else high * np.sqrt(square)
        return np.where(np.asarray(z) <= end, 0.0, found)

    return ValueScale(forward, inverse)
