"""P-values without permuting: against all orders of few examples, against known distributions, against permutations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy

import homolog as hl
from homolog.engine.moment_pvalues import evenly_in_runs, least_probability
from homolog.inference.pearson import is_lumpy, most_probable, upper_tail
from homolog.operands.gram_orders import order_matrix, order_score
from homolog.operands.gram_statistics import STRUCTURE
from homolog.operands.order_moments import moment, shapes, sums_over_examples, variance_weights
from homolog.operands.representation import ArrayRepresentation

pytestmark = pytest.mark.filterwarnings(
    "ignore::homolog.NullLevelWarning", "ignore::homolog.SaturationWarning", "ignore::homolog.FewPermutationsWarning"
)
BOTH = ["biased", "debiased"]


def kinds(rng, n):
    x, y = rng.normal(size=(2, n, 3))
    outlier = y.copy()
    outlier[0] = 40.0
    return {
        "random": (x, y),
        "wide": tuple(rng.normal(size=(2, n, 50))),
        "very wide": tuple(rng.normal(size=(2, n, 4000))),
        "rank one": (x[:, :1] @ x[:1], y),
        "heavy": (rng.standard_t(2, size=(n, 2)), outlier),
        "shifted and scaled": (1e3 + 1e-5 * x, 1e4 * y - 1e6),
        "tied": (np.sign(x), np.round(y)),
        "alike": (x, x @ rng.normal(size=(3, 3))),
    }


KINDS = list(kinds(np.random.default_rng(0), 5))


def gram(x, **options):
    return STRUCTURE.prepare(ArrayRepresentation(np.asarray(x, dtype=float)), **options)


def inner_products(x, y, estimator):
    """Values of ⟨K, L⟩ under every order, by definition, less their mean."""
    found = []
    for order in itertools.permutations(range(len(x))):
        pair = hl.hsic(x, y[list(order)], estimator=estimator)
        found.append(float(pair))
    return np.array(found) - np.mean(found)


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_score_and_shape_are_those_of_all_orders(kind, estimator):
    for n in (4, 5, 6):
        x, y = kinds(np.random.default_rng(n), n)[kind]
        first, second = gram(x), gram(y)
        values = inner_products(x, y, estimator)
        spread = np.sqrt(np.mean(values**2))
        if spread < 1e-9 * max(abs(float(hl.hsic(x, x))), 1e-300):
            continue
        score = float(order_score(STRUCTURE.meet(first, second), estimator=estimator))
        np.testing.assert_allclose(score, values[0] / spread, rtol=1e-6, atol=1e-6)
        sides = [[sums_over_examples(order_matrix(side, estimator))] for side in (first, second)]
        shape = shapes(n, *sides)
        np.testing.assert_allclose(shape.skewness[0, 0], np.mean(values**3) / spread**3, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(shape.kurtosis[0, 0], np.mean(values**4) / spread**4, rtol=1e-6)


def test_variance_is_that_of_kazi_aoual(rng):
    """As published, with traces: Computational Statistics & Data Analysis 20 (1995)."""
    for n in (5, 9, 50):
        sides = [gram(rng.normal(size=(n, width))).gram for width in (3, 20)]
        (t, t2, s), (u, u2, v) = ((np.trace(k), np.sum(k * k), np.sum(np.diag(k) ** 2)) for k in sides)
        expected = 2 * ((n - 1) * t2 - t**2) * ((n - 1) * u2 - u**2) / ((n - 1) ** 2 * (n + 1) * (n - 2))
        expected += (
            (n * (n + 1) * s - (n - 1) * (t**2 + 2 * t2))
            * (n * (n + 1) * v - (n - 1) * (u**2 + 2 * u2))
            / ((n + 1) * n * (n - 1) * (n - 2) * (n - 3))
        )
        reduced = [np.array([a - b**2 / n, c - b**2 / (n - 1)]) for b, c, a in ((t, t2, s), (u, u2, v))]
        np.testing.assert_allclose(reduced[0] @ variance_weights(n) @ reduced[1], expected, rtol=1e-10)


def test_moments_of_more_examples_than_orders_can_be_listed(rng):
    n = 40
    x, y = rng.normal(size=(2, n, 2))
    first, second = gram(x), gram(y)
    sides = [[sums_over_examples(order_matrix(side, "debiased"))] for side in (first, second)]
    orders = [rng.permutation(n) for _ in range(40_000)]
    u = [_u_centred(side) for side in (x, y)]
    values = np.array([np.vdot(u[0], u[1][np.ix_(o, o)]) for o in orders]) / math.prod(map(np.linalg.norm, u))
    for order in (2, 3, 4):
        powers = values**order
        error = powers.std() / len(orders) ** 0.5
        assert abs(moment(n, *sides, order)[0, 0] - powers.mean()) < 4 * error


def _u_centred(x):
    k = x @ x.T
    np.fill_diagonal(k, 0)
    n, rows = len(k), k.sum(axis=0)
    k = k - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(k, 0)
    return k


DISTRIBUTIONS = {
    "normal": scipy.stats.norm(),
    "gamma": scipy.stats.gamma(3),
    "nearly normal gamma": scipy.stats.gamma(1e5),
    "t": scipy.stats.t(9),
    "uniform": scipy.stats.uniform(),
    "beta": scipy.stats.beta(2, 5),
    "beta of one edge": scipy.stats.beta(0.6, 3),
    "beta turned around": scipy.stats.beta(5, 2),
    "beta prime": scipy.stats.betaprime(4, 12),
    "inverse gamma": scipy.stats.invgamma(9),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_tails_of_distributions_of_pearsons_family(name):
    known = DISTRIBUTIONS[name]
    mean, variance, skewness, excess = (float(m) for m in known.stats("mvsk"))
    for p in (0.999, 0.9, 0.5, 0.05, 1e-3, 1e-6):
        z = (known.isf(p) - mean) / math.sqrt(variance)
        np.testing.assert_allclose(float(upper_tail(z, skewness, 3 + excess)), p, rtol=2e-3)
        np.testing.assert_allclose(float(upper_tail(-z, -skewness, 3 + excess)), 1 - p, rtol=2e-3)


@pytest.mark.parametrize(("skewness", "kurtosis"), [(0.5, 4.0), (1.0, 6.5), (0.05, 5.0), (-0.6, 4.4)])
def test_tails_without_bounds_have_the_moments_asked_for(skewness, kurtosis):
    z = np.sinh(np.linspace(-6, 6, 20_001))
    density = -np.gradient(upper_tail(z, skewness, kurtosis), z)
    moments = [np.trapezoid(density * z**k, z) for k in range(5)]
    np.testing.assert_allclose(moments, [1, 0, 1, skewness, kurtosis], atol=0.02)


def test_tails_of_missing_and_impossible_shapes():
    assert np.isnan(upper_tail(np.nan, 0, 3))
    assert np.isnan(upper_tail(1.0, np.nan, 3))
    assert 0 <= float(upper_tail(2.0, 3.0, 1.0)) <= 1  # less kurtosis than any distribution has: of rounding
    z = np.linspace(-3, 60, 500)
    for shape in ((0.9, 4.3), (0.9, 4.2), (-0.5, 4), (0, 2), (2, 9), (1e-5, 3), (0.3, 3.135)):
        tail = upper_tail(z, *shape)
        assert np.all(np.diff(tail) <= 1e-12)
        assert np.all((tail >= 0) & (tail <= 1))


@pytest.mark.parametrize("measure", ["cka(estimator=debiased)", "hsic", "cka(kernel=rbf)", "distance_correlation"])
@pytest.mark.parametrize("heavy", [False, True])
def test_agrees_with_permutations(measure, heavy):
    rng = np.random.default_rng(3)
    draw = (lambda size: rng.standard_t(3, size=size)) if heavy else (lambda size: rng.normal(size=size))
    a = {f"{k}": draw((24, 3)) for k in range(4)}
    b = {k: (0.5 if k in "02" else 0.0) * x + draw((24, 3)) for k, x in a.items()}
    ours = hl.compare(a, b, measures=measure)
    theirs = hl.compare(a, b, measures=measure, null="permutation", n_permutations=4999)
    assert ours[f"{measure}_p"].attrs["method"] == "moments"
    assert theirs[f"{measure}_p"].attrs["method"] == "permutation"
    p, expected = ours[f"{measure}_p"].values, theirs[f"{measure}_p"].values
    error = np.sqrt(expected / 4999)
    small = expected < 0.2  # where it decides
    assert small.sum() >= 2
    assert np.all((np.abs(p - expected) < 4 * error + 0.12 * expected)[small])
    assert np.all(p[~small] > 0.1)


def test_where_no_order_changes_the_value_p_is_one():
    found = hl.compare(np.eye(8), np.random.default_rng(0).normal(size=(8, 2)), measures="cka")
    assert found.cka_p.item() == 1.0
    assert found.cka_p_fdr.item() == 1.0


def test_what_has_no_value_has_no_p(rng):
    layers = {"constant": np.ones((30, 2)), "x": rng.normal(size=(30, 2))}
    with pytest.warns(hl.ConstantLayerWarning):
        found = hl.compare(layers, {"y": layers["x"]}, measures="cka(estimator=debiased)")
    p = found["cka(estimator=debiased)_p"].values[:, 0]
    assert np.isnan(p[0])
    assert p[1] < 1e-5


def test_p_is_never_below_the_share_of_one_order(rng):
    x = rng.normal(size=(6, 3))
    found = hl.compare(x, 2 * x, measures=["cka", "cka(estimator=debiased)"])
    assert found.cka_p.item() >= 1 / math.factorial(6)
    assert least_probability(6) == pytest.approx(1 / math.factorial(6))
    assert least_probability(5000) > 0


@pytest.mark.parametrize("memory", ["2GiB", "600KiB"])
def test_layers_on_disk_and_in_batches_have_the_same_p(rng, tmp_path, memory):
    x = rng.normal(size=(400, 5))
    layers = {f"{k}": np.hstack([x, rng.normal(size=(400, 30))]) @ rng.normal(size=(35, 40)) for k in range(5)}
    expected = hl.compare(layers, measures=["cka(estimator=debiased)", "cka(kernel=rbf)"])
    hl.save(hl.Activations(layers), tmp_path / "a.zarr")
    found = hl.compare(tmp_path / "a.zarr", measures=["cka(estimator=debiased)", "cka(kernel=rbf)"], memory=memory)
    for name in ("cka(estimator=debiased)_p", "cka(kernel=rbf)_p"):
        # Of rare values, of which the logarithm counts; few memory means fewer examples for skewness and kurtosis.
        np.testing.assert_allclose(
            np.log(found[name].values), np.log(expected[name].values), rtol=1e-6 if memory == "2GiB" else 0.5
        )


def test_skewness_and_kurtosis_of_some_examples_are_nearly_those_of_all(rng):
    """Beyond 512 examples the shape is taken from some of them; the score always from all."""
    x = rng.standard_t(4, size=(2000, 3))
    y = 0.03 * x + rng.standard_t(4, size=(2000, 3))
    p = hl.compare(x, y, measures="cka(estimator=debiased)")["cka(estimator=debiased)_p"].item()
    sides = [[sums_over_examples(order_matrix(gram(side), "debiased"))] for side in (x, y)]
    score = order_score(STRUCTURE.meet(gram(x), gram(y)), estimator="debiased")
    whole = float(upper_tail(score, *shapes(2000, *sides))[0, 0])
    assert abs(math.log10(p / whole)) < 0.1


def test_inputs_that_are_bound_follow_the_examples(rng):
    inputs = rng.normal(size=(700, 3))
    x, y = (np.hstack([inputs, rng.normal(size=(700, 2))]) for _ in range(2))
    bound = hl.measure("deconfounded_cka", inputs=inputs)
    found = hl.compare({"x": x}, {"y": y, "x": x}, measures={"d": bound})
    assert found.d_p.sel(layer_b="y").item() > 1e-4
    assert found.d_p.sel(layer_b="x").item() < 1e-9


def test_permutations_and_groups_take_its_place(rng):
    x, y = rng.normal(size=(2, 40, 3))
    found = hl.compare(x, y, measures="cka", null="permutation", n_permutations=19, groups=[0, 1] * 20)
    assert found.cka_p.attrs["method"] == "permutation"
    assert "cka_p_fwer" in found


def test_measures_without_a_formula_have_no_p(rng):
    found = hl.compare(*rng.normal(size=(2, 40, 3)), measures=["procrustes_distance", "cca", "rsa"])
    assert not [name for name in found.data_vars if str(name).endswith("_p")]


def test_rows_in_runs():
    places = evenly_in_runs(10_000, 512, 16)
    assert len(places) == 512
    assert places[0] == 0
    assert places[-1] == 9999
    assert len(evenly_in_runs(1000, 512, 1)) == 512
    assert evenly_in_runs(30, 512, 16).tolist() == list(range(30))


def test_unrelated_layers_are_not_supported(rng):
    """Two networks of four layers that have nothing in common, 60 examples × 200 features."""
    wrong = 0
    for _ in range(40):
        a, b = ({f"{k}": rng.normal(size=(60, 200)) for k in range(4)} for _ in range(2))
        found = hl.correspondence(hl.compare(a, b))
        assert found.attrs["measure"] == "cka(estimator=debiased)"
        wrong += bool(found.supported_b.any() or found.supported_a.any())
    assert wrong <= 2


def test_support_of_what_was_not_tested(rng):
    x = rng.normal(size=(50, 3))
    found = hl.correspondence(hl.compare({"x": x}, {"x": x}, measures="procrustes_distance"))
    assert not found.supported_b.item()
    assert "compare with null='permutation'" in found.attrs["support"]
    biased = hl.compare(*rng.normal(size=(2, 30, 100)), measures="svcca")
    found = hl.correspondence(biased)
    assert found.attrs["support"].startswith("nothing: svcca has no p-value here")
    assert not found.supported_b.any()


def test_no_tail_is_larger_than_its_moments_allow():
    """Cantelli's and Chebyshev's inequalities for four moments hold for every distribution, so for Pearson's too."""
    rng = np.random.default_rng(0)
    skewness = 1.5 * rng.normal(size=5000)
    kurtosis = 1 + skewness**2 + rng.exponential(2, size=5000)
    z = np.abs(3 * rng.normal(size=5000))
    tail = upper_tail(z, skewness, kurtosis)
    assert np.all(tail <= 1 / (1 + z**2) + 1e-9)
    assert np.all(tail <= most_probable(z, skewness, kurtosis) * (1 + 1e-6))


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.3, 0.4), (0.05, 1.5)])
def test_tails_of_distributions_that_pile_up_at_an_end(a, b):
    known = scipy.stats.beta(a, b)
    mean, variance, skewness, excess = (float(m) for m in known.stats("mvsk"))
    for p in (0.1, 0.01, 1e-3):
        z = (known.isf(p) - mean) / math.sqrt(variance)
        np.testing.assert_allclose(float(upper_tail(z, skewness, 3 + excess)), p, rtol=2e-3)
    assert is_lumpy(skewness, 3 + excess) == (b < 1)


@pytest.mark.filterwarnings("ignore::homolog.UndefinedValueWarning")
@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_few_examples_have_the_share_of_all_orders(rng, n):
    for x, y in (
        rng.normal(size=(2, n, 3)),
        (np.eye(n)[:, :2], rng.normal(size=(n, 2))),
        (np.arange(n)[:, None] % 2,) * 2,
    ):
        found = hl.compare(x, y, measures=["cka", "cka(estimator=debiased)", "distance_correlation"])
        for measure in ("cka", "cka(estimator=debiased)", "distance_correlation"):
            values = [float(hl.measure(measure)(x, y[list(o)])) for o in itertools.permutations(range(n))]
            if not np.isnan(values[0]):
                expected = np.mean(np.array(values) >= values[0] - 1e-9)
                assert found[f"{measure}_p"].item() == pytest.approx(expected, rel=1e-9)


def test_two_far_examples_are_no_evidence_and_hide_none():
    """The inner product has two values then, or nearly: Pearson's distribution has a shape like a U."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 20))
    x[[7, 30]] += np.array([[25], [-25]])
    found = hl.compare({"x": x}, {"same": x + 0.01 * rng.normal(size=x.shape)})
    assert found["cka(estimator=debiased)_p"].item() < 1e-3
    assert hl.check({"x": x}, {"x": x.astype(np.float16)}, at_least="cka(estimator=debiased)=0.98")
    wrong = 0
    for _ in range(30):
        labels, far = np.eye(5)[rng.integers(5, size=60)], rng.normal(size=(60, 6))
        far[rng.choice(60, 2, replace=False)] += 100 * rng.normal(size=(2, 6))
        wrong += hl.compare(labels, far)["cka(estimator=debiased)_p"].item() <= 0.01
    assert wrong <= 2


def test_examples_that_tell_nothing_of_the_others(rng):
    """Of more than 512 examples some are looked at; here what varies stands in others."""
    x = np.zeros((1500, 1))
    x[[333, 777, 1200]] = 1
    found = hl.compare(x, rng.normal(size=(1500, 3)) + 5 * x, measures="cka(estimator=debiased)")
    assert 0 < found["cka(estimator=debiased)_p"].item() < 0.01
    heavy = [hl.compare(*rng.standard_cauchy(size=(2, 700, 3)), measures="cka") for _ in range(20)]
    assert sum(result.cka_p.item() <= 0.01 for result in heavy) <= 2


def test_smallest_p_of_permutations_supports_nothing_by_itself(rng):
    a, b = ({f"{k}": rng.normal(size=(60, 5)) for k in range(8)} for _ in range(2))
    result = hl.compare(a, b, null="permutation", n_permutations=19)
    assert not hl.correspondence(result).supported_b.any()


def test_a_value_that_is_not_defined_has_no_p_and_adjusts_none(rng):
    one = np.zeros((30, 1))
    one[3] = 1
    y = rng.normal(size=(30, 2))
    measure = "cka(estimator=debiased)"
    with pytest.warns(hl.UndefinedValueWarning):
        found = hl.compare({"one": one, "y": y}, {"y": y + rng.normal(size=y.shape)}, measures=measure)
    alone = hl.compare({"y": y}, {"y": y}, measures=measure)
    assert np.isnan(found[f"{measure}_p"].sel(layer_a="one").item())
    assert found[f"{measure}_p_fdr"].sel(layer_a="y").item() == found[f"{measure}_p"].sel(layer_a="y").item()
    assert alone[f"{measure}_p"].item() < 1e-4


def test_a_turned_result_is_read_the_right_way(rng):
    a, b = ({f"{k}": rng.normal(size=(40, 3)) for k in names} for names in ("uv", "wxy"))
    b["x"] = a["u"]
    result = hl.compare(a, b, measures="linear_regression", null="permutation", n_permutations=99)
    turned = result.transpose("layer_b", "layer_a")
    assert hl.table(turned).equals(hl.table(result))
    assert hl.correspondence(turned).identical(hl.correspondence(result))
    assert str(hl.summary(turned)) == str(hl.summary(result))
    assert hl.log_dict(turned) == hl.log_dict(result)
    image = hl.plot.heatmap(turned).images[0].get_array()
    np.testing.assert_array_equal(image, result.linear_regression.values)


@pytest.mark.parametrize(
    "wrong", ["debiased_cka(estimator=biased)", "rbf_cka(kernel=linear)", "linear_cka(kernel=rbf)"]
)
def test_short_names_with_options_that_contradict_them(wrong):
    with pytest.raises(ValueError, match="stands for cka"):
        hl.measure(wrong)
