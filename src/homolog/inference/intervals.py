"""Standard errors, intervals and tests of a difference, from values on parts of the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import scipy

from homolog.inference.resampling import Resampled
from homolog.inference.scales import PLAIN, ValueScale, logarithmic, scale_of
from homolog.measures.record import Measure

ROUNDING = 1e-7
"""What rounding leaves of a distance between equals, for instance; the correction of the bias multiplies it."""
NO_SPREAD = 1e-9
"""A standard error below this, relative to the values, is rounding."""
ORDERS = (1.0, 1 / (np.sqrt(2) - 1))
"""Times what halves of the examples add to a value is its bias: of order 1/n, of smooth measures, or 1/√n, of others."""
SETTLED = (2**0.3 - 1) / 0.3
"""What halves add over the bias that single examples show, where it is of order n^-0.3: below, examples hardly lessen it."""
MUCH = 2.0
"""Standard errors beyond which a bias is looked at, with these limits chosen by the simulations of docs/inference.md."""


class Tails(NamedTuple):
    """How an interval makes up for heavy tails, chosen by the simulations of benchmarks/calibration.py."""

    unit: float
    """Standard errors from 0 within which the scale is not yet logarithmic; infinity for never."""
    share: float
    """Part of the degrees of freedom of Satterthwaite that is taken: fourth moments of few examples are too small."""


BIASED = Tails(np.inf, 0.5)
UNBIASED = Tails(2.0, 0.5)
PRODUCT = Tails(0.7, 0.2)


def tails_of(record: Measure) -> Tails:
    """Return what an interval of a measure needs: a logarithm only without bias, whose correction it would distort."""
    if record.long_tailed:
        return PRODUCT
    return UNBIASED if record.unbiased else BIASED


class Interval(NamedTuple):
    """A standard error and the ends of an interval."""

    se: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dubious: np.ndarray
    """Whether the bias of the value is so large that the value is not to be trusted."""
    missing: np.ndarray
    """Whether there is a value but none without some of the examples, so that error and ends are NaN."""


class Difference(NamedTuple):
    """How much more alike one pair is than another."""

    difference: float
    se: float
    low: float
    high: float
    pvalue: float
    dubious: bool
    missing: bool


class CentredEstimate(NamedTuple):
    """A value, the same less its bias, and what Student's t needs, on some scale."""

    whole: np.ndarray
    value: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    slack: np.ndarray
    """How much larger or smaller the bias may be."""
    dubious: np.ndarray
    """Whether the bias is several standard errors, and nothing says where it ends."""

    def reach(self, level: float) -> np.ndarray:
        """Return half of the interval but for the slack."""
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

    Student's interval on the scale of the measure, around the value less its bias of first order and longer where that is large,
    put back into the range.
    """
    tails, scale = tails_of(record), scale_of(record)
    source = part if unbiased is None else unbiased
    if np.isfinite(tails.unit):
        scale = logarithmic(scale, tails.unit * spread(on_scale(source, scale)))
    ends = (scale.forward(end) for end in record.range)
    unit = np.abs(part.whole) if np.isinf(record.range[1]) else 1.0
    centre = centred(on_scale(source, scale), tails.share, ROUNDING * (1 + part.bias_factor) * unit)
    # An estimate beyond the range is of a value at its end.
    middle, half = np.clip(centre.value, *ends), centre.reach(level) + centre.slack
    # However large the correction of the bias, the estimate itself is among the values that it does not contradict.
    reached = np.minimum(middle - half, centre.whole), np.maximum(middle + half, centre.whole)
    low, high = (np.clip(scale.inverse(end), *record.range) for end in reached)
    if unbiased is not None and record.rooted:
        low, high = np.sqrt(low), np.sqrt(high)
    dubious, error = centre.dubious, spread(part)
    missing = ~np.isnan(part.whole) & np.isnan(half)
    if source.beside is not None and part.beside is not None:
        error = np.hypot(error, part.beside)
        low, high = (np.clip(end, *record.range) for end in widened(source.whole, low, high, source.beside, level))
        dubious = dubious & (np.abs(part.whole - part.values.mean(axis=0)) * part.bias_factor > MUCH * error)
    if unbiased is not None:
        dubious = (part.whole > high + ROUNDING * unit) | (part.whole < low - ROUNDING * unit)
    return Interval(error, low, high, dubious, missing)


def widened(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, error: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of an interval over examples with another error, independent of them: the squares add up."""
    middle, reach = np.clip(value, low, high), scipy.stats.norm.ppf((1 + level) / 2) * error
    return middle - np.hypot(middle - low, reach), middle + np.hypot(high - middle, reach)


def difference(
    record: Measure, level: float, plain: tuple[Resampled, Resampled], unbiased: tuple[Resampled, Resampled] | None
) -> Difference:
    """Compare two values that were taken on the same parts: of a similarity the first less the second, of a distance reversed.

    The difference is tested on the scale of the measure, and its interval put back around the middle of the two values. Values
    without bounds are subtracted as they are. It counts only as far as it is one both as it is and less its bias: the bias of
    sides of one width drops out of it, and the correction adds noise; that of others does not.
    """
    sign = 1 if record.kind == "similarity" else -1
    scale = scale_of(record) if np.isfinite(record.range).all() else PLAIN
    one, other = (on_scale(part, scale) for part in (plain if unbiased is None else unbiased))
    # Tails of differences are alike on both sides, with which Student's t is cautious: it needs no fewer degrees of freedom.
    found = centred(one.less(other), rounding=ROUNDING * (1 + one.bias_factor))
    found = found._replace(freedom=np.asarray(one.freedom or len(one.values) - 1))
    half, slack = found.reach(level), found.slack
    lowest = min(found.whole, found.value - slack) - half
    highest = max(found.whole, found.value + slack) + half
    # The interval of the difference, halved to either side of the middle of both.
    ends = scale.forward(np.asarray(record.range))
    middle = sum(np.clip(centred(side).value, *ends) for side in (one, other)) / 2

    def inverse_of(z: np.ndarray) -> np.ndarray:
        value = scale.inverse(z)
        return np.sqrt(np.maximum(value, 0.0)) if unbiased is not None and record.rooted else value

    low, high = (inverse_of(middle + end / 2) - inverse_of(middle - end / 2) for end in (lowest, highest))
    if sign < 0:
        low, high = -high, -low
    rounding = NO_SPREAD * max(1.0, float(np.max(np.abs(one.values))))
    observed = plain[0].less(plain[1])
    p = probability(found, rounding)
    missing = bool(np.isfinite(observed.whole) and np.isnan(p))
    return Difference(
        sign * float(observed.whole), float(spread(observed)), float(low), float(high), p, bool(found.dubious), missing
    )


def probability(found: CentredEstimate, rounding: float) -> float:
    """Return the two-sided probability of a difference at least as large where there is none: its interval just leaves out 0."""
    if found.error <= rounding and abs(found.whole - found.value) <= rounding:
        # Without spread any difference is certain, and none is none.
        return 1.0 if abs(found.value) <= rounding else 0.0
    both = np.sign(found.whole) == np.sign(found.value)
    least = min(abs(found.whole), max(abs(found.value) - found.slack, 0.0)) if both else 0.0
    if found.error <= rounding:
        return 1.0 if least <= rounding else 0.0
    return float(2 * scipy.stats.t.sf(least / found.error, found.freedom))


def on_scale(part: Resampled, scale: ValueScale) -> Resampled:
    """Return the same values on another scale."""
    return part.on(scale.forward)


def spread(part: Resampled) -> np.ndarray:
    """Return the standard error of the value on all examples; NaN where a value is infinite or missing."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(part.variance_factor * np.mean((part.values - part.values.mean(axis=0)) ** 2, axis=0))


def centred(part: Resampled, share: float = BIASED.share, rounding: np.ndarray | float = 0.0) -> CentredEstimate:
    """Return the value less its bias, its standard error, and the degrees of freedom of that.

    Parts show a bias of order 1/n. Halves, where there are some, show one of any order: what they add to the value is the bias if
    that is of order 1/n, and 0.41 of it if of order 1/√n, as of largest values and of singular values near 0. The middle is taken
    off, and the slack covers both.
    """
    with np.errstate(invalid="ignore"):
        error = spread(part)
        freedom = degrees_of_freedom(part.values, share) if part.freedom is None else np.asarray(part.freedom)
        by_examples = part.bias_factor * (part.values.mean(axis=0) - part.whole)
        by_halves = np.full_like(by_examples, np.nan) if part.halves is None else part.halves.mean(axis=0) - part.whole
        known = np.isfinite(by_halves)
        bias = np.where(known, by_halves, by_examples)
        value = part.whole - np.where(known, sum(ORDERS) / 2, 1.0) * bias
        slack = np.where(known, (ORDERS[1] - ORDERS[0]) / 2 * np.abs(bias), np.maximum(np.abs(bias) - error, 0.0))
        # With a method that has halves alone there is nothing to compare them with.
        doubted = known & (part.freedom is None)
        dubious = np.where(
            doubted, endless(by_examples, by_halves, error, rounding), np.abs(bias) > MUCH * error + rounding
        )
        return CentredEstimate(part.whole, value, error, freedom, slack, dubious)


def endless(
    by_examples: np.ndarray, by_halves: np.ndarray, error: np.ndarray, rounding: np.ndarray | float
) -> np.ndarray:
    """Say whether halves show clearly less of a bias than single examples do, so that more examples do not lessen it."""
    single, half = np.abs(by_examples), np.abs(by_halves)
    slow = (half < SETTLED * single) & (half > MUCH * error + rounding)
    # Far from the order 1/n, less is enough to tell.
    erratic = (half < single / 2) & (half > 0.75 * error + rounding) & (single > MUCH * error + rounding)
    found: np.ndarray = slow | erratic
    return found


def degrees_of_freedom(values: np.ndarray, share: float = BIASED.share) -> np.ndarray:
    """Return the degrees of freedom of a jackknife variance, from 1 to n − 1, along the first axis.

    A variance estimated from n squares with mean m₂ and mean square m₄ varies as if it had 2n m₂² / (m₄ − m₂²) degrees of
    freedom (Satterthwaite 1946): n for normal values, 2 where one example carries it all. A share of that is taken, because m₄ of
    few examples with heavy tails is too small: see the simulations in docs/inference.md.
    """
    n = len(values)
    deviations = values - values.mean(axis=0)
    largest = np.max(np.abs(deviations), axis=0)
    squares = np.divide(deviations, largest, out=np.ones_like(deviations), where=largest > 0) ** 2
    excess = np.mean(squares**2, axis=0) - np.mean(squares, axis=0) ** 2
    top = 2 * share * n * np.mean(squares, axis=0) ** 2
    # Equal squares have all degrees of freedom.
    unlimited = np.full_like(top, np.inf)
    return np.clip(np.divide(top, excess, out=unlimited, where=excess > top / n), 1, n - 1)
