"""Standard errors, intervals and tests of a difference, from values on parts of the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import scipy

from homolog.inference.resampling import Resampled
from homolog.inference.scales import PLAIN, Scale, scale_of
from homolog.registry import Measure

ROUNDING = 1e-7
"""What rounding leaves of a distance between equals, for instance; the correction of the bias multiplies it."""
NO_SPREAD = 1e-9
"""A standard error below this, relative to the values, is rounding."""


class Interval(NamedTuple):
    """A standard error and the ends of an interval."""

    se: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dubious: np.ndarray
    """Whether the bias of the value is larger than half of the interval."""
    missing: np.ndarray
    """Whether there is a value but none without some of the examples, so that error and ends are NaN."""


class Difference(NamedTuple):
    """How much more alike one pair is than another."""

    difference: float
    se: float
    low: float
    high: float
    pvalue: float
    missing: bool


class Centred(NamedTuple):
    """A value less its bias, with what Student's t needs, on some scale."""

    value: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def reach(self, level: float) -> np.ndarray:
        """Return half of the interval."""
        half: np.ndarray = scipy.stats.t.ppf((1 + level) / 2, self.freedom) * self.error
        return half


def intervals(
    measures: Mapping[str, Measure], level: float, resampled: Callable[[Mapping[str, Measure]], dict[str, Resampled]]
) -> dict[str, Interval]:
    """Return name → interval; `resampled` gives the values of measures on parts of the examples.

    An estimator that has a bias takes its interval from the one that has none, where there is such a one: both have the same
    value on infinitely many examples, which is what the interval is for.
    """
    wanted = dict(measures)
    sources: dict[str, str] = {}
    for name, record in measures.items():
        without_bias = record.without_bias
        if without_bias is not None:
            known = next((other for other, asked in measures.items() if asked == without_bias), f"{name} without bias")
            wanted[known] = without_bias
            sources[name] = known
    parts = resampled(wanted)
    return {
        name: interval(record, level, parts[name], parts.get(sources.get(name, "")))
        for name, record in measures.items()
    }


def interval(record: Measure, level: float, part: Resampled, unbiased: Resampled | None = None) -> Interval:
    """Return the standard error of a value, and an interval for the value on infinitely many examples.

    Student's interval on the scale of the measure, around the value less its bias of first order, put back into the range.
    """
    scale = scale_of(record)
    ends = scale.to(np.asarray(record.range))
    source = on_scale(part if unbiased is None else unbiased, scale)
    centre = centred(source)
    # An estimate beyond the range is of a value at its end.
    middle, half = np.clip(centre.value, *ends), centre.reach(level)
    # However large the correction of the bias, the estimate itself is among the values that it does not contradict.
    ends_of_it = np.minimum(middle - half, source.whole), np.maximum(middle + half, source.whole)
    low, high = (np.clip(scale.back(end), *record.range) for end in ends_of_it)
    unit = np.abs(part.whole) if np.isinf(record.range[1]) else 1.0
    if unbiased is None:
        dubious = np.abs(centre.value - source.whole) > half + ROUNDING * (1 + part.bias_factor) * unit
    else:
        dubious = (part.whole > high + ROUNDING * unit) | (part.whole < low - ROUNDING * unit)
    missing = ~np.isnan(part.whole) & np.isnan(half)
    return Interval(spread(part), low, high, dubious, missing)


def difference(
    record: Measure, level: float, plain: tuple[Resampled, Resampled], unbiased: tuple[Resampled, Resampled] | None
) -> Difference:
    """Compare two values that were taken on the same parts: of a similarity the first less the second, of a distance reversed.

    The difference is tested on the scale of the measure, and its interval put back around the middle of the two values. Values
    without bounds are subtracted as they are.
    """
    sign = 1 if record.kind == "similarity" else -1
    scale = scale_of(record) if np.isfinite(record.range).all() else PLAIN
    one, other = (on_scale(part, scale) for part in (plain if unbiased is None else unbiased))
    found = centred(one.less(other))
    # The interval of the difference, halved to either side of the middle of both.
    ends = scale.to(np.asarray(record.range))
    middle = sum(np.clip(centred(side).value, *ends) for side in (one, other)) / 2
    half = found.reach(level)
    low, high = (
        scale.back(middle + end / 2) - scale.back(middle - end / 2) for end in (found.value - half, found.value + half)
    )
    if sign < 0:
        low, high = -high, -low
    observed = plain[0].less(plain[1])
    rounding = NO_SPREAD * max(1.0, float(np.max(np.abs(one.values))))
    if found.error <= rounding:
        # Without spread any difference is certain, and none is none.
        p = 1.0 if abs(found.value) <= rounding else 0.0
    else:
        p = float(2 * scipy.stats.t.sf(abs(found.value / found.error), found.freedom))
    missing = bool(np.isfinite(observed.whole) and np.isnan(p))
    return Difference(sign * float(observed.whole), float(spread(observed)), float(low), float(high), p, missing)


def on_scale(part: Resampled, scale: Scale) -> Resampled:
    """Return the same values on another scale."""
    return part._replace(whole=scale.to(part.whole), values=scale.to(part.values))


def spread(part: Resampled) -> np.ndarray:
    """Return the standard error of the value on all examples; NaN where a value is infinite or missing."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(part.variance_factor * np.mean((part.values - part.values.mean(axis=0)) ** 2, axis=0))


def centred(part: Resampled) -> Centred:
    """Return the value less its bias of first order, its standard error, and the degrees of freedom of that."""
    with np.errstate(invalid="ignore"):
        bias = part.bias_factor * (part.values.mean(axis=0) - part.whole)
        freedom = degrees_of_freedom(part.values) if part.freedom is None else np.asarray(part.freedom)
        return Centred(part.whole - bias, spread(part), freedom)


def degrees_of_freedom(values: np.ndarray) -> np.ndarray:
    """Return the degrees of freedom of a jackknife variance, from 1 to n − 1, along the first axis.

    A variance estimated from n squares with mean m₂ and mean square m₄ varies as if it had 2n m₂² / (m₄ − m₂²) degrees of
    freedom (Satterthwaite 1946): n for normal values, 2 where one example carries it all. Half of that is taken, because m₄ of
    few examples with heavy tails is too small: see the simulations in docs/inference.md.
    """
    n = len(values)
    deviations = values - values.mean(axis=0)
    largest = np.max(np.abs(deviations), axis=0)
    squares = np.divide(deviations, largest, out=np.ones_like(deviations), where=largest > 0) ** 2
    excess = np.mean(squares**2, axis=0) - np.mean(squares, axis=0) ** 2
    top = n * np.mean(squares, axis=0) ** 2
    # Equal squares have all degrees of freedom.
    unlimited = np.full_like(top, np.inf)
    return np.clip(np.divide(top, excess, out=unlimited, where=excess > top / n), 1, n - 1)
