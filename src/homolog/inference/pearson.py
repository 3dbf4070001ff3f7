"""Tail probabilities of Pearson's distributions: the one of given mean, variance, skewness and kurtosis.

Their density p fulfils p'/p = −(x + c₁) / (c₀ + c₁x + c₂x²) with mean 0 and variance 1 (Pearson 1916; Johnson, Kotz &
Balakrishnan 1994, chapter 12). What the roots of the quadratic are like tells the types apart:

| type | quadratic | distribution |
|---|---|---|
| I | roots on both sides of 0 | beta, bounded on both sides |
| III | no x² | gamma |
| VI | roots on one side | beta prime, bounded on one side |
| IV | no roots | on the whole line, with tails of a power |
"""

from __future__ import annotations

import numpy as np
import scipy

GAMMA = 1e-6
"""Coefficients of x² below this are none: the gamma distribution is the limit."""
NODES = 200
AT_ONCE = 1 << 12
"""Values of which integrals are taken at a time."""
REACH = 40.0
"""Standard deviations, or lengths of decay, beyond which an integrand is less than rounding."""


def upper_tail(score: np.ndarray, skewness: np.ndarray, kurtosis: np.ndarray) -> np.ndarray:
    """Return the probability of a value of at least `score` standard deviations above the mean; NaN where a side is NaN."""
    score, skewness, kurtosis = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (score, skewness, kurtosis)))
    shape, found = score.shape, np.full(score.size, np.nan)
    z, skew, kurt = (x.reshape(-1) for x in (score, skewness, kurtosis))
    turned = skew < 0  # the distribution of −x, of which the lower tail is wanted
    z, skew = np.where(turned, -z, z), np.abs(skew)
    # No distribution has less: at equality it has two values.
    kurt = np.maximum(kurt, (1 + 1e-9) * (1 + skew**2) + 1e-9)
    quadratic = _quadratic(skew, kurt)
    c0, c1, c2 = quadratic
    discriminant = c1**2 - 4 * c0 * c2
    known = ~(np.isnan(z) | np.isnan(skew) | np.isnan(kurt))
    beyond_gamma = 2 * kurt - 3 * skew**2 - 6
    gamma = known & (np.abs(beyond_gamma) < GAMMA * 10)
    # Its roots have different signs; all three coefficients may have changed theirs.
    beta = known & ~gamma & (beyond_gamma < 0)
    whole = known & ~gamma & ~beta & (discriminant < 0)
    prime = known & ~gamma & ~beta & ~whole
    for chosen, tails in ((gamma, _gamma), (beta, _beta), (prime, _beta_prime), (whole, _whole_line)):
        if chosen.any():
            upper, lower = tails(z[chosen], skew[chosen], tuple(c[chosen] for c in quadratic))
            found[chosen] = np.where(turned[chosen], lower, upper)
    return found.reshape(shape)


def is_lumpy(skewness: np.ndarray, kurtosis: np.ndarray) -> np.ndarray:
    """Say which distributions pile up at the upper end of their range, as those of a few values do."""
    turned = np.asarray(skewness) < 0
    skew = np.abs(np.asarray(skewness, dtype=float))
    kurt = np.maximum(np.asarray(kurtosis, dtype=float), (1 + 1e-9) * (1 + skew**2) + 1e-9)
    bounded = 2 * kurt - 3 * skew**2 - 6 < -10 * GAMMA
    safe = tuple(np.where(bounded, c, x) for c, x in zip(_quadratic(skew, kurt), (1.0, 0.0, -1.0), strict=True))
    _, _, first, second = _exponents(safe)
    found: np.ndarray = bounded & (np.where(turned, first, second) < -1e-6)
    return found


def most_probable(score: np.ndarray, skewness: np.ndarray, kurtosis: np.ndarray) -> np.ndarray:
    """Return the largest probability of a value of at least `score` that any distribution with these moments gives.

    Chebyshev's inequality for four moments (Akhiezer 1965, section 2.5); for two moments, where the others are NaN, Cantelli's. 1
    for scores that are not far above the mean.
    """
    z, skew, kurt = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (score, skewness, kurtosis)))
    cantelli = np.where(z > 0, 1 / (1 + z**2), 1.0)
    left = np.maximum(kurt - skew**2 - 1, 1e-12)
    with np.errstate(over="ignore", invalid="ignore"):
        four = 1 / (1 + z**2 + (z**2 - skew * z - 1) ** 2 / left)
        far = z > (skew + np.sqrt(skew**2 + 4)) / 2
    found: np.ndarray = np.where(far & ~np.isnan(four), four, cantelli)
    return np.where(np.isnan(z), np.nan, found)


Coefficients = tuple[np.ndarray, ...]
Tails = tuple[np.ndarray, np.ndarray]
"""Upper and lower."""


def _quadratic(skew: np.ndarray, kurt: np.ndarray) -> Coefficients:
    squared = skew**2
    scale = 10 * kurt - 12 * squared - 18
    # Where it vanishes the quadratic has no finite size; a little beside, the distribution is the same.
    scale = np.where(np.abs(scale) < 1e-9, 1e-9, scale)
    return (4 * kurt - 3 * squared) / scale, skew * (kurt + 3) / scale, (2 * kurt - 3 * squared - 6) / scale


def _gamma(z: np.ndarray, skew: np.ndarray, _: Coefficients) -> Tails:
    normal = skew < 1e-4
    skew = np.where(normal, 1, skew)
    shape = 4 / skew**2
    at = np.maximum(shape + 2 * z / skew, 0)
    upper, lower = scipy.special.gammaincc(shape, at), scipy.special.gammainc(shape, at)
    return np.where(normal, scipy.special.ndtr(-z), upper), np.where(normal, scipy.special.ndtr(z), lower)


def _roots(c0: np.ndarray, c1: np.ndarray, c2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smaller and the larger root, without subtracting what is nearly equal."""
    half = -(c1 + np.copysign(np.sqrt(np.maximum(c1**2 - 4 * c0 * c2, 0)), c1)) / 2
    first, second = half / c2, c0 / half
    return np.minimum(first, second), np.maximum(first, second)


def _exponents(coefficients: Coefficients) -> tuple[np.ndarray, ...]:
    """Return the roots and the powers with which the density goes to 0, or to infinity, at them."""
    _, c1, c2 = coefficients
    low, high = _roots(*coefficients)
    apart = np.maximum(high - low, 1e-12 * np.abs(high))
    return low, high, (low + c1) / (c2 * apart), -(high + c1) / (c2 * apart)


def _beta(z: np.ndarray, _: np.ndarray, coefficients: Coefficients) -> Tails:
    low, high, first, second = _exponents(coefficients)
    a, b = np.maximum(first + 1, 1e-9), np.maximum(second + 1, 1e-9)
    above, below = (np.clip(x / (high - low), 0, 1) for x in (z - low, high - z))
    return scipy.special.betainc(b, a, below), scipy.special.betainc(a, b, above)


def _beta_prime(z: np.ndarray, _: np.ndarray, coefficients: Coefficients) -> Tails:
    low, high, first, second = _exponents(coefficients)
    # Skewness is not negative here, so that both roots lie below and the upper side is open.
    above, apart = np.maximum(z - high, 0), high - low
    a = np.maximum(second + 1, 1e-9)
    b = np.maximum(-first - second - 1, 1e-9)
    with np.errstate(invalid="ignore"):
        passed = np.where(np.isinf(above), 1.0, above / (above + apart))
    return scipy.special.betainc(b, a, apart / (above + apart)), scipy.special.betainc(a, b, passed)


def _whole_line(z: np.ndarray, _: np.ndarray, coefficients: Coefficients) -> Tails:
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(z), AT_ONCE)]
    found = [_of_angle(z[part], *(c[part] for c in coefficients)) for part in parts]
    return np.concatenate([upper for upper, _ in found]), np.concatenate([lower for _, lower in found])


def _of_angle(z: np.ndarray, c0: np.ndarray, c1: np.ndarray, c2: np.ndarray) -> Tails:
    """Integrate the density in the angle θ, x = centre + width·tan θ, where it is cos^power θ · exp(−tilt·θ)."""
    centre, width = -c1 / (2 * c2), np.sqrt(4 * c0 * c2 - c1**2) / (2 * np.abs(c2))
    power = 1 / c2 - 2
    tilt = (c1 + centre) / (c2 * width)
    top = -np.arctan(tilt / np.maximum(power, 1e-12))
    spread = np.cos(top) / np.sqrt(np.maximum(power, 1e-12))
    angle, end = np.arctan((z - centre) / width), np.pi / 2
    height = _logarithm(top[:, None], power, tilt)
    sides = []
    for sign in (1, -1):
        # From the nearer of value and top outwards; further than the integrand reaches there is nothing.
        start, peak = sign * angle, sign * top
        slope = np.abs(power * np.tan(start) + sign * tilt)
        reach = np.where(start > peak, np.minimum(REACH * spread, REACH / np.maximum(slope, 1e-300)), REACH * spread)
        last = np.minimum(end, np.maximum(start, peak) + reach)
        sides.append(_integral(np.maximum(start, peak - REACH * spread), last, sign, power, tilt, height))
    total = sides[0] + sides[1]
    return sides[0] / total, sides[1] / total


def _logarithm(theta: np.ndarray, power: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    return power[:, None] * np.log(np.maximum(np.cos(theta), 1e-300)) - tilt[:, None] * theta


def _integral(
    first: np.ndarray, last: np.ndarray, sign: int, power: np.ndarray, tilt: np.ndarray, height: np.ndarray
) -> np.ndarray:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = np.maximum(last - first, 0) / 2
    theta = first[:, None] + half[:, None] * (1 + nodes)
    values = np.exp(_logarithm(sign * theta, power, tilt) - height)
    found: np.ndarray = half * (values @ weights)
    return found
