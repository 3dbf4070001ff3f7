"""Standard errors, intervals and the test of a difference against plain definitions, with the numbers of small cases by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import t as student

import homolog as hl
from homolog.inference.intervals import degrees_of_freedom
from homolog.inference.permutations import seed_of
from homolog.inference.scales import scale_of

FORMS = [
    "cka",
    "cka(estimator=debiased)",
    "cca(statistic=rho)",
    "svcca",
    "pwcca",
    "procrustes_distance",
    "bipartite_match",
    "hsic",
    "gulp_distance",
]


@pytest.fixture
def pair(rng):
    x = rng.normal(size=(30, 6)) @ np.diag([3, 2, 1, 1, 0.5, 0.1]) + 5
    return x, x[:, :4] + rng.normal(size=(30, 4))


def without_each(record, *sides):
    """The values without each example, computed anew."""
    return np.array([float(record(*(np.delete(side, i, 0) for side in sides))) for i in range(len(sides[0]))])


def error(values):
    n = len(values)
    return np.sqrt((n - 1) / n * np.sum((values - values.mean()) ** 2))


def satterthwaite(values, share):
    n = len(values)
    squares = (values - values.mean()) ** 2
    freedom = 2 * n * squares.mean() ** 2 / (np.mean(squares**2) - squares.mean() ** 2)
    return np.clip(share * freedom, 1, n - 1)


def pseudo(value, values, share=0.5, halves=None):
    """The value less its bias, half of the 90 % interval of a jackknife, and how much more or less the bias may be.

    With the values on halves, a bias between what they add to the value, of order 1/n, and 2.41 times that, of order 1/√n.
    """
    n = len(values)
    reach = student.ppf(0.95, satterthwaite(values, share)) * error(values)
    if halves is None:
        bias = (n - 1) * (values.mean() - value)
        return value - bias, reach, max(0, abs(bias) - error(values))
    least, most = np.array([1, 1 / (np.sqrt(2) - 1)]) * (np.mean(halves) - value)
    return value - (least + most) / 2, reach, abs(most - least) / 2


def on_halves(record, *sides, rng=0):
    """The values on both halves of ten random splits."""
    n, random = len(sides[0]), np.random.default_rng(seed_of(rng))
    orders = [random.permutation(n) for _ in range(10)]
    rows = [half for order in orders for half in (order[: n // 2], order[n // 2 :])]
    return np.array([float(record(*(side[half] for side in sides))) for half in rows])


def on(measure, value):
    """A value of a measure on the scale of its interval."""
    if measure in ("hsic", "gulp_distance"):
        return value
    return -np.arctanh(1 - np.square(value) / 2) if measure == "procrustes_distance" else np.arctanh(value)


def from_scale(measure, z):
    if measure in ("hsic", "gulp_distance"):
        return z
    return np.sqrt(2 - 2 * np.tanh(-z)) if measure == "procrustes_distance" else np.tanh(z)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("measure", FORMS)
def test_an_interval_is_that_of_the_jackknife(pair, measure):
    """On the scale of the measure, and of biased CKA and HSIC by their debiased forms."""
    found = hl.confidence_interval(*pair, measure, level=0.9)
    record = hl.measure(measure)
    assert (found.value, found.se) == pytest.approx(
        (float(record(*pair)), error(without_each(record, *pair))), rel=1e-6
    )
    source = hl.measure(measure, estimator="debiased") if measure in ("cka", "hsic") else record
    values = on(measure, without_each(source, *pair))
    whole = on(measure, float(source(*pair)))
    # Without bias, the logarithm beyond some standard errors: asinh(z / unit).
    unit = {"cka": 2, "hsic": 0.7}.get(record.name, 0) * error(values)
    to, back_to = (lambda z: np.arcsinh(z / unit), lambda z: np.sinh(z) * unit) if unit else (np.array, np.array)
    halves = None if record.unbiased else on(measure, on_halves(record, *pair))
    centre, reach, slack = pseudo(to(whole), to(values), 0.2 if record.name == "hsic" else 0.5, halves)
    half = reach + slack
    with np.errstate(divide="ignore"):
        centre = np.clip(centre, *to(on(measure, np.array(record.range))))
    ends = min(centre - half, to(whole)), max(centre + half, to(whole))
    expected = np.clip([from_scale(measure, back_to(end)) for end in ends], *record.range)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-5)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("measure", ["cka", "cca(statistic=rho)", "procrustes_distance"])
def test_a_difference_is_tested_on_the_scale_of_the_measure(pair, rng, measure):
    x, y = pair
    z = x[:, 1:3] + rng.normal(size=(30, 2))
    found = hl.paired_test(x, y, z, measure, level=0.9)
    record = hl.measure(measure)
    sign = -1 if record.kind == "distance" else 1
    assert found.difference == pytest.approx(sign * float(record(x, y) - record(x, z)))
    assert found.se == pytest.approx(error(without_each(record, x, y) - without_each(record, x, z)), rel=1e-6)
    source = hl.measure(measure, estimator="debiased") if measure == "cka" else record
    values = [on(measure, without_each(source, x, side)) for side in (y, z)]
    wholes = [on(measure, float(source(x, side))) for side in (y, z)]
    halves = [None if record.unbiased else on(measure, on_halves(record, x, side, rng=seed_of(0))) for side in (y, z)]
    whole, each = wholes[0] - wholes[1], values[0] - values[1]
    centre, _, slack = pseudo(whole, each, halves=None if record.unbiased else halves[0] - halves[1])
    middle = sum(pseudo(*both, halves=half)[0] for *both, half in zip(wholes, values, halves, strict=True)) / 2
    half = student.ppf(0.95, 29) * error(each)
    lowest, highest = min(whole, centre - slack) - half, max(whole, centre + slack) + half
    ends = [from_scale(measure, middle + end / 2) - from_scale(measure, middle - end / 2) for end in (lowest, highest)]
    assert (found.low, found.high) == pytest.approx(tuple(sorted(sign * np.array(ends))), rel=1e-5)
    least = min(abs(whole), max(abs(centre) - slack, 0)) if whole * centre > 0 else 0
    assert found.pvalue == pytest.approx(2 * student.sf(least / error(each), 29), rel=1e-5)
    assert (found.pvalue < 0.1) == (found.low > 0 or found.high < 0)


def mean_product(x, y):
    return float((x * y).mean())


def test_students_t_by_hand():
    """Products 3, 1, 3, 1, 3, 1: mean 2, standard error sqrt(6 / 5 / 6), and equal squares, so 5 degrees of freedom."""
    x, y, none = np.ones((6, 1)), np.array([[3.0], [1], [3], [1], [3], [1]]), np.zeros((6, 1))
    found = hl.paired_test(x, y, none, mean_product)
    assert (found.difference, found.se) == pytest.approx((2, 0.4472136))
    assert found.pvalue == pytest.approx(0.0065663, rel=1e-4)  # of t = 4.472136
    assert (found.low, found.high) == pytest.approx((2 - 2.5705818 * 0.4472136, 2 + 2.5705818 * 0.4472136))
    interval = hl.confidence_interval(x, y, mean_product)
    assert (interval.low, interval.high) == pytest.approx((found.low, found.high))


def test_one_example_that_carries_all_leaves_one_degree_of_freedom():
    """Products 0 … 0, 6: of six squares 1 … 1, 25 the mean is 5, and their mean square 105: 6 · 25 / (105 − 25) = 1.875."""
    assert degrees_of_freedom(np.array([0.0, 0, 0, 0, 0, 6])) == pytest.approx(1.875)
    assert degrees_of_freedom(np.eye(1000)[0]) == pytest.approx(1, abs=0.01)
    assert degrees_of_freedom(np.zeros(6)) == degrees_of_freedom(np.array([1.0, -1, 1, -1, 1, -1])) == 5
    np.testing.assert_allclose(
        degrees_of_freedom(1e-200 * np.array([[0.0, 1], [0, -1], [0, 1], [0, -1], [0, 1], [6, -1]])), [1.875, 5]
    )


@pytest.mark.parametrize("n", [9, 10])
def test_subsamples_are_halves_without_replacement(rng, n):
    """Every value is of half of the rows, each once; their variance times what was kept over what was left out is that of all."""
    ids, seen = np.arange(n, dtype=float)[:, None], []
    y = rng.normal(size=(n, 1))

    def spread(x, other):
        seen.append(x[:, 0].astype(int))
        return float(other.var())

    found = hl.confidence_interval(ids, y, spread, method="subsample")
    halves = [rows for rows in seen if len(rows) < n]
    assert len(halves) == 100
    assert all(len(rows) == n // 2 == len(set(rows)) for rows in halves)
    assert {int(row) for rows in halves for row in rows} == set(range(n))
    assert len({tuple(rows) for rows in halves}) > 50
    values = np.array([y[rows].var() for rows in halves])
    kept, left_out = n // 2, n - n // 2
    assert found.se == pytest.approx(np.sqrt(kept / left_out * values.var()))
    bias = values.mean() - y.var()
    centre, slack = y.var() - 1.70710678 * bias, 0.70710678 * abs(bias)
    reach = student.ppf(0.975, n - 1) * found.se
    assert (found.low, found.high) == pytest.approx((centre - reach - slack, centre + reach + slack))


def test_many_examples_are_left_out_in_parts(rng):
    """Of 120 examples fifty parts of two or three, which together are all of them, each once."""
    ids, y, seen = np.arange(120.0)[:, None], rng.normal(size=(120, 1)), []

    def spread(x, other):
        seen.append(set(x[:, 0].astype(int)))
        return float(other.var())

    found = hl.confidence_interval(ids, y, spread)
    parts = [set(range(120)) - rows for rows in seen if 60 < len(rows) < 120]
    assert [len(rows) for rows in seen].count(60) == 20
    assert sorted(map(len, parts)) == [2] * 30 + [3] * 20
    assert sorted(row for part in parts for row in part) == list(range(120))
    values = np.array([np.delete(y, sorted(part)).var() for part in parts])
    assert found.se == pytest.approx(error(values))
    halves = [y[sorted(rows)].var() for rows in seen if len(rows) == 60]
    centre, *_ = pseudo(y.var(), values, halves=halves)
    assert (found.low + found.high) / 2 == pytest.approx(centre)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("form", [str(form) for record in hl.measures().values() for form in record.forms()])
def test_ends_lie_within_the_range_and_enclose_something(rng, form):
    """Also for few examples, of layers that have nothing in common, are equal, or are nearly so: never NaN, never reversed."""
    record = hl.measure(form)
    for n in (max(5, (record.without_bias or record).minimal_n + 1), 12):
        x, noise = rng.normal(size=(2, n, 3))
        for y in (noise, rng.normal(size=(n, 2 * n)), x + 1e-6 * noise, x.copy()):
            found = hl.confidence_interval(x, y, form)
            if np.isfinite(found.value) and np.isfinite(found.se):
                assert record.range[0] <= found.low <= found.high <= record.range[1], (n, found)
            elif np.isfinite(found.value):
                with pytest.warns(hl.HomologWarning):
                    hl.confidence_interval(x, y, form)


@pytest.mark.parametrize("form", [str(form) for record in hl.measures().values() for form in record.forms()])
def test_a_scale_is_increasing_and_has_its_inverse(form):
    record = hl.measure(form)
    low, high = (np.clip(end, -5.0, 5.0) for end in record.range)
    scale, values = scale_of(record), np.linspace(low, high, 101)
    z = scale.forward(values)
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(scale.inverse(z), values, atol=1e-6)
    assert scale.inverse(z[0]) == pytest.approx(low, abs=1e-12)
    assert scale.inverse(z[-1]) == pytest.approx(high)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_one_shape_has_one_interval(pair):
    """Procrustes' distance and the angle say the same as the nuclear norm, and so do their intervals."""
    angle, chord, norm = (
        hl.confidence_interval(*pair, measure)
        for measure in ("angular_shape_distance", "procrustes_distance", "bures_similarity")
    )
    assert (np.cos(angle.high), np.cos(angle.low)) == pytest.approx((norm.low, norm.high))
    assert (1 - chord.high**2 / 2, 1 - chord.low**2 / 2) == pytest.approx((norm.low, norm.high))


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_distance_correlation_has_the_roots_of_the_interval_of_its_square(pair, rng):
    x, y = pair
    plain, square = (
        hl.confidence_interval(x, y, f"distance_correlation{form}") for form in ("", "(estimator=debiased)")
    )
    assert (plain.low**2, plain.high**2) == pytest.approx((square.low, square.high))
    z = x[:, 1:3] + rng.normal(size=(30, 2))
    one, two = (hl.paired_test(x, y, z, f"distance_correlation{form}") for form in ("", "(estimator=debiased)"))
    assert one.pvalue == two.pvalue
    assert one.low < one.difference < one.high
    far = hl.confidence_interval(x, rng.normal(size=(30, 2)), "distance_correlation")
    assert far.low == 0


def test_estimators_that_share_an_interval_have_the_same_value_on_many_examples(rng):
    """Which is what the interval of the biased one is for."""
    x, inputs = rng.normal(size=(2, 800, 3))
    y = x @ rng.normal(size=(3, 2)) + rng.normal(size=(800, 2))
    known = [form for record in hl.measures().values() for form in record.forms() if form.without_bias is not None]
    assert {form.name for form in known} == {"cka", "hsic", "deconfounded_cka", "distance_correlation"}
    for form in known:
        if form.name == "deconfounded_cka":
            form = form.bind(inputs=inputs)
        if "rbf" not in str(form):
            value = float(form.without_bias(x, y))
            assert float(form(x, y)) == pytest.approx(np.sqrt(value) if form.rooted else value, rel=0.03)
        assert form.without_bias.without_bias is None


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_a_name_of_ones_own_does_not_stand_for_the_debiased_estimator(rng):
    x, noise = rng.normal(size=(2, 30, 4))
    plain = hl.compare(x, x + noise, measures="cka", interval=True)
    named = hl.compare(
        x, x + noise, measures={"cka": "cka", "cka(estimator=debiased)": "bipartite_match"}, interval=True
    )
    beside = hl.compare(x, x + noise, measures=("cka", "cka(estimator=debiased)"), interval=True)
    for other in (named, beside):
        assert (other.cka_low.item(), other.cka_high.item()) == (plain.cka_low.item(), plain.cka_high.item())


def test_intervals_say_what_the_measure_would_say(rng):
    """Saturated CCA is 1 with every example left out: its interval is no news, and a warning says why."""
    x, y = rng.normal(size=(10, 9)), rng.normal(size=(10, 2))
    with pytest.warns(hl.SaturationWarning, match="says? nothing|1 whatever the data|fitted perfectly"):
        found = hl.confidence_interval(x, y, "cca")
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    with pytest.warns(hl.SaturationWarning):
        test = hl.paired_test(x, y, rng.normal(size=(10, 2)), "cca")
    assert test.pvalue == 1
    with pytest.warns(hl.ConstantLayerWarning):
        assert np.isnan(hl.confidence_interval(x, np.ones((10, 1))).low)


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_a_value_without_an_interval_is_told(rng):
    """Where nothing varies without one example, there is no value without it."""
    x, spike = rng.normal(size=(8, 2)), np.zeros((8, 1))
    spike[3] = 1
    with pytest.warns(
        hl.UndefinedValueWarning, match="x and y with some of the examples left out, so that its standard error"
    ):
        found = hl.confidence_interval(x, spike, "cka")
    assert np.isfinite(found.value)
    assert np.isnan([found.se, found.low, found.high]).all()
    with pytest.warns(hl.UndefinedValueWarning, match="a: a and b: b with some of the examples left out"):
        result = hl.compare(x, spike, measures="cka", interval=True)
    assert np.isnan(result.cka_high.item())
    with pytest.warns(hl.UndefinedValueWarning, match="x and y, or x and z"):
        assert np.isnan(hl.paired_test(x, spike, x, "cka").pvalue)


def test_what_is_nearer(rng):
    x, near, far = rng.normal(size=(3, 200, 4))
    for measure in ("cka", "procrustes_distance", "cca"):
        found = hl.paired_test(x, x + 0.5 * near, x + 2 * far, measure)
        assert found.difference > 0
        assert found.pvalue < 0.01
        assert found.low > 0
        other = hl.paired_test(x, x + 2 * far, x + 0.5 * near, measure)
        assert other.difference == pytest.approx(-found.difference)
    same = hl.paired_test(x, near, near)
    assert (same.difference, same.pvalue) == (0, 1)


def test_no_difference_has_no_small_probability(rng):
    x, noise, other = rng.normal(size=(3, 40, 4))
    assert hl.paired_test(x, x + noise, 3 * (x + noise)).pvalue == 1
    spike = np.zeros((40, 1))
    spike[5] = 1
    unknown = hl.paired_test(np.concatenate([x, spike], axis=1), noise, other, "cca")
    assert 0 < unknown.pvalue <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        assert np.isnan(hl.paired_test(x, noise, np.ones((40, 2))).pvalue)
        assert np.isnan(hl.paired_test(x, noise, np.ones((40, 2)), "cca").pvalue)


@pytest.mark.parametrize("measure", ["cca", "linear_regression"])
def test_an_example_that_is_a_direction_of_its_own_can_be_left_out(rng, measure):
    x, y = rng.normal(size=(2, 30, 4))
    y[:, 0] = 0
    y[5, 0] = 1
    found = hl.confidence_interval(x, y, measure)
    without = [float(hl.measure(measure)(np.delete(x, i, 0), np.delete(y, i, 0))) for i in range(30)]
    assert found.se == pytest.approx(np.sqrt(29 / 30 * np.sum((without - np.mean(without)) ** 2)), rel=1e-6)


def test_a_generator_draws_the_same_parts_for_both_values(rng):
    x, noise, other = rng.normal(size=(3, 60, 4))
    drawn = [hl.paired_test(x, x + noise, x + other, method="subsample", rng=r) for r in (0, np.random.default_rng(0))]
    assert drawn[0] == drawn[1]


def test_a_bias_that_outweighs_the_interval_is_told(rng):
    x, y = rng.normal(size=(2, 15, 300))
    with pytest.warns(hl.BiasWarning):
        hl.confidence_interval(x, y, "cka")
    with pytest.warns(hl.BiasWarning, match="x and y"):
        beyond = hl.confidence_interval(x, y, "procrustes_distance")
    assert 0 <= beyond.low <= beyond.value + 1e-12 < beyond.high <= np.sqrt(2)
    with pytest.warns(hl.BiasWarning, match="a: a and b: b"):
        hl.compare(x, y, measures="procrustes_distance", interval=True)
    with pytest.warns(hl.BiasWarning, match="x and y, or x and z"):
        hl.paired_test(x, y, rng.normal(size=(15, 20)), "gulp_distance")


@pytest.mark.parametrize(("method", "n"), [("jackknife", 4), ("subsample", 7)])
def test_too_few_examples_for_an_interval(rng, method, n):
    x, y = rng.normal(size=(2, n, 2))
    with pytest.raises(ValueError, match=f"needs at least .* examples, got {n}"):
        hl.confidence_interval(x, y, method=method)
    with pytest.raises(ValueError, match="use more examples"):
        hl.compare(x, y, interval=True, method=method)


@pytest.mark.parametrize(("form", "n"), [("cca", 6), ("mutual_knn(k=2)", 4), ("procrustes_distance", 6), ("rsa", 6)])
def test_an_interval_holds_the_estimate_that_it_is_of(form, n):
    rng = np.random.default_rng(1)
    for _ in range(5):
        x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            found = hl.confidence_interval(x, y, form)
        assert np.isnan(found.low) or found.low - 1e-9 <= found.value <= found.high + 1e-9


@pytest.mark.parametrize("name", hl.measures())
@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_without_a_value_there_is_no_interval(name):
    x, y = np.ones((20, 3)), np.random.default_rng(0).normal(size=(20, 4))
    for method in ("jackknife", "subsample"):
        found = hl.confidence_interval(x, y, name, method=method)
        assert np.isnan([found.value, found.se, found.low, found.high]).all()
        result = hl.compare({"a": x}, {"b": y}, measures=name, interval=True, method=method)
        assert np.isnan([result[f"{name}{end}"].item() for end in ("", "_se", "_low", "_high")]).all()
    test = hl.paired_test(x, y, y[:, :2], name)
    assert np.isnan([test.difference, test.se, test.low, test.high, test.pvalue]).all()
