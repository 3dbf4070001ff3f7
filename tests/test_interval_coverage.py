"""Whether intervals and the test of a difference hold where they once fell short: few examples, many features, heavy tails."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import homolog as hl


def three(rng, n, strength, shape, distribution):
    """X, and Y and Z that are alike to it in two directions, with entries of t3, or rows scaled to be of t3."""

    def entries(width):
        return rng.standard_t(3, size=(n, width)) if distribution == "t3" else rng.normal(size=(n, width))

    shared = strength * entries(2)
    sides = [entries(width) for width in (shape[0], shape[1], shape[1])]
    for side in sides:
        side[:, :2] += shared
    scale = np.sqrt(3 / rng.chisquare(3, size=(n, 1))) if distribution == "elliptical" else 1.0
    return [side * scale for side in sides]


def truth(measure, strength, shape, distribution):
    """The value on infinitely many examples: that of data whose covariances are those of the population."""
    p, q = shape
    variance = 1.0 if distribution == "normal" else 3.0
    if measure.startswith("hsic"):
        return 2 * (variance * strength**2) ** 2
    whole = np.eye(p + q)
    for pair in ((0, p), (1, p + 1)):
        whole[np.ix_(pair, pair)] += strength**2
    entries = np.random.default_rng(0).normal(size=(400, p + q))
    entries = np.linalg.qr(entries - entries.mean(axis=0))[0] * 20 @ np.linalg.cholesky(variance * whole).T
    return float(hl.measure("cka" if measure.startswith("cka") else measure)(entries[:, :p], entries[:, p:]))


def share_covered(measure, distribution, shape, strength, n, draws):
    """The share of intervals that hold the value of the population, and the share that have a BiasWarning."""
    rng, value, covered, told = np.random.default_rng(11), truth(measure, strength, shape, distribution), 0, 0
    for _ in range(draws):
        x, y, _ = three(rng, n, strength, shape, distribution)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", hl.HomologWarning)
            found = hl.confidence_interval(x, y, measure)
        covered += found.low - 1e-7 <= value <= found.high + 1e-7
        told += any(issubclass(warning.category, hl.BiasWarning) for warning in caught)
    return covered / draws, told / draws


@pytest.mark.parametrize(
    ("measure", "distribution", "shape", "strength", "n", "draws"),
    [
        ("hsic(estimator=debiased)", "elliptical", (4, 3), 2.0, 20, 40),
        ("hsic(estimator=debiased)", "normal", (30, 30), 0.5, 60, 40),
        ("cka(estimator=debiased)", "t3", (30, 30), 2.0, 60, 80),
        ("procrustes_distance", "normal", (3, 30), 0.5, 20, 8),
        ("soft_correlation_match", "normal", (3, 30), 2.0, 60, 12),
        pytest.param("hsic(estimator=debiased)", "elliptical", (3, 30), 2.0, 60, 400, marks=pytest.mark.slow),
        pytest.param("cka(estimator=debiased)", "t3", (3, 30), 2.0, 20, 400, marks=pytest.mark.slow),
        pytest.param("procrustes_distance", "elliptical", (30, 30), 0.5, 60, 60, marks=pytest.mark.slow),
        pytest.param("angular_shape_distance", "normal", (30, 30), 1.0, 60, 40, marks=pytest.mark.slow),
        pytest.param("svcca", "elliptical", (3, 30), 0.5, 60, 40, marks=pytest.mark.slow),
        pytest.param("pwcca", "normal", (4, 3), 2.0, 60, 60, marks=pytest.mark.slow),
        pytest.param("bipartite_match", "t3", (30, 30), 1.0, 60, 40, marks=pytest.mark.slow),
    ],
)
def test_intervals_hold_the_value_of_the_population(measure, distribution, shape, strength, n, draws):
    assert share_covered(measure, distribution, shape, strength, n, draws)[0] >= 0.9


@pytest.mark.parametrize("measure", ["procrustes_distance", "gulp_distance", "size_and_shape_distance"])
def test_a_bias_without_an_end_is_told_and_others_are_not(measure):
    """With as many directions as examples on both sides nothing says where the bias ends; with few it does."""
    assert share_covered(measure, "normal", (30, 30), 1.0, 20, 5)[1] >= 0.6
    if measure != "size_and_shape_distance":  # which grows with the number of examples
        assert share_covered(measure, "normal", (3, 30), 1.0, 20, 5)[1] <= 0.2
        assert share_covered(measure, "normal", (4, 3), 1.0, 20, 5)[1] == 0


@pytest.mark.parametrize(
    ("measure", "distribution", "shape"),
    [
        ("svcca", "elliptical", (30, 30)),
        ("cka", "elliptical", (4, 3)),
        pytest.param("gulp_distance", "normal", (3, 30), marks=pytest.mark.slow),
        pytest.param("hsic", "elliptical", (2, 2), marks=pytest.mark.slow),
    ],
)
def test_no_difference_is_found_where_there_is_none(measure, distribution, shape):
    """The noise of a correction of the bias is none: differences less their bias alone were found in half of these draws."""
    rng, found = np.random.default_rng(12), 0
    for _ in range(12):
        sides = three(rng, 20, 2.0, shape, distribution)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            found += hl.paired_test(*sides, measure).pvalue <= 0.05
    assert found <= 2


def test_a_difference_of_widths_alone_is_none():
    """Wider layers are more alike to all by their bias, which then does not drop out of the difference."""
    rng, found = np.random.default_rng(13), 0
    for _ in range(8):
        x, y, z = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), rng.normal(size=(30, 20))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            found += hl.paired_test(x, y, z, "linear_regression").pvalue <= 0.05
    assert found <= 2


def of_size(function):
    """A measure that depends on the number of examples alone."""

    def measure(x, y):
        return function(len(x))

    return measure


@pytest.mark.parametrize("order", [0.5, 0.75, 1.0])
def test_the_interval_reaches_as_far_as_a_bias_of_any_order(rng, order):
    """Of order 1/√n it is 1 / (√2 − 1) times what halves add to the value, of order 1/n once: 1 is between, or the end."""
    x, y = rng.normal(size=(2, 40, 2))
    found = hl.confidence_interval(x, y, of_size(lambda n: 1 + n**-order))
    assert found.value == pytest.approx(1 + 40**-order)
    assert found.low <= 1 + 1e-9
    assert found.high == pytest.approx(found.value)
    if order == 0.5:
        assert found.low == pytest.approx(1)
    opposite = hl.confidence_interval(x, y, of_size(lambda n: 1 - n**-order))
    assert (opposite.low, opposite.high) == pytest.approx((2 - found.high, 2 - found.low))


@pytest.mark.parametrize("growing", [np.log, np.sqrt, float], ids=["log", "root", "linear"])
@pytest.mark.parametrize("n", [40, 41])
def test_a_value_that_grows_with_the_number_of_examples_is_told(rng, growing, n):
    x, y = rng.normal(size=(2, n, 2))
    with pytest.warns(hl.BiasWarning, match="bias moves the value further than chance does for x and y"):
        found = hl.confidence_interval(x, y, of_size(lambda size: float(growing(size))))
    assert found.low <= found.value <= found.high
    with pytest.warns(hl.BiasWarning, match="for a: a and b: b"):
        hl.compare(x, y, measures=hl.measure(of_size(lambda size: float(growing(size)))), interval=True)


def test_few_examples_show_no_bias_by_halves(rng):
    """Of seven, a half would be three: the interval then allows for what single examples show, less one error."""
    x, y = rng.normal(size=(2, 7, 2))
    with pytest.warns(hl.BiasWarning):
        found = hl.confidence_interval(x, y, of_size(lambda n: 1 + 1 / n))
    bias = 6 * (1 / 6 - 1 / 7)
    assert (found.low, found.high) == pytest.approx((1 + 1 / 7 - 2 * bias, 1 + 1 / 7))
