"""Inference against plain definitions: permuted rows, left-out rows, and probabilities counted by hand."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from matplotlib import pyplot
from scipy.stats import false_discovery_control

import homolog as hl
from homolog.inference.pvalues import false_discovery, familywise, pvalues
from homolog.measures.evaluation import prepared

SHORTCUTS = [
    "cka",
    "cka(estimator=debiased)",
    "cka(kernel=rbf)",
    "hsic",
    "hsic(estimator=debiased)",
    "cca",
    "linear_regression",
]


@pytest.fixture
def pair(rng):
    x = rng.normal(size=(30, 6)) @ np.diag([3, 2, 1, 1, 0.5, 0.1]) + 5
    return x, x[:, :4] + rng.normal(size=(30, 4))


def forms():
    return [str(form) for record in hl.measures().values() for form in record.forms()]


def orders_seen(x, count, seed, groups=None):
    """The orders that a permutation test puts the examples in, as a function that is given them sees them."""
    seen = {}

    def told(first, second):
        assert first[:, 0].tolist() == list(range(len(x)))
        seen[len(seen)] = second[:, 0].astype(int)
        return float(first[:, 0] @ second[:, 0])

    ids = np.arange(float(len(x)))[:, None]
    null = hl.permutation_test(ids, ids, told, n_permutations=count, rng=seed, groups=groups).null
    by_value = {float(ids[:, 0] @ order): order for order in seen.values()}
    return [by_value[value] for value in null]


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("measure", forms())
def test_a_permutation_reorders_the_rows_of_y(pair, measure):
    """In orders that are the same for every measure: those that a function sees."""
    x, y = pair
    found = hl.permutation_test(x, y, measure, n_permutations=3, rng=7)
    record = hl.measure(measure)
    assert found.statistic == pytest.approx(float(record(x, y)), rel=1e-9)
    orders = orders_seen(x, 3, 7)
    assert len({tuple(order) for order in orders}) == 3
    for order, value in zip(orders, found.null, strict=True):
        assert sorted(order) == list(range(len(y))) != list(order)
        assert value == pytest.approx(float(record(x, y[order])), rel=1e-7, abs=1e-9)
    assert found.null_level == pytest.approx(found.null.mean())


def test_wide_and_narrow_layers_are_permuted_alike(rng):
    x, narrow = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    wide = np.concatenate([narrow, np.zeros((40, 2000))], axis=1)
    for measure in ("cka", "cka(estimator=debiased)"):
        one, other = (hl.permutation_test(x, y, measure, n_permutations=20).null for y in (narrow, wide))
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_function_of_ones_own_is_permuted(pair):
    found = hl.permutation_test(*pair, lambda x, y: abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]), n_permutations=99)
    assert found.pvalue == 0.01


def test_rows_stay_in_their_groups(rng):
    groups = np.repeat(np.arange(10), 5)
    x = groups[:, None] + 0.01 * rng.normal(size=(50, 2))
    y = groups[:, None] + 0.01 * rng.normal(size=(50, 2))
    assert hl.permutation_test(x, y, n_permutations=99).pvalue == 0.01
    within = hl.permutation_test(x, y, n_permutations=99, groups=groups)
    assert within.pvalue > 0.05
    assert within.null.min() > 0.99
    with pytest.raises(ValueError, match="group of its own"):
        hl.permutation_test(x, y, groups=np.arange(50))
    with pytest.raises(ValueError, match="one label for each of the 50 examples"):
        hl.permutation_test(x, y, groups=[1, 2])


def test_a_distance_is_more_extreme_where_it_is_smaller(pair):
    assert hl.permutation_test(*pair, "procrustes_distance", n_permutations=99).pvalue == 0.01


def test_the_same_seed_gives_the_same_answer(pair):
    one, same, other = (hl.permutation_test(*pair, rng=rng, n_permutations=20).null for rng in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("measure", ["cka", "cca", "linear_regression"])
def test_the_null_level_is_the_mean_over_all_orders(rng, measure):
    x, y = rng.normal(size=(2, 6, 2))
    every = [float(hl.measure(measure)(x, y[list(order)])) for order in itertools.permutations(range(6))]
    assert hl.null_level(x, y, measure) == pytest.approx(np.mean(every), abs=1e-12)
    # Without a formula the orders are drawn.
    drawn = hl.null_level(x, y, measure, groups=np.zeros(6), n_permutations=2000)
    assert drawn == pytest.approx(np.mean(every), abs=5 * np.std(every) / np.sqrt(2000))


@pytest.mark.parametrize("measure", ["cka", "cca", "linear_regression"])
def test_the_null_level_of_groups_is_the_mean_over_the_orders_within_them(rng, measure):
    """The groups stay apart, which the formula for all orders does not know."""
    groups = np.array([0, 1, 0, 1, 1, 0])
    x, y = (rng.normal(size=(6, 1)) + 9 * groups[:, None] for _ in range(2))
    within = [np.flatnonzero(groups == g) for g in (0, 1)]
    every = []
    for first, second in itertools.product(*(list(itertools.permutations(rows)) for rows in within)):
        order = np.empty(6, dtype=int)
        order[within[0]], order[within[1]] = first, second
        every.append(float(hl.measure(measure)(x, y[order])))
    found = hl.null_level(x, y, measure, groups=groups, n_permutations=1500)
    assert found == pytest.approx(np.mean(every), abs=5 * np.std(every) / np.sqrt(1500))
    assert found > 0.8 > 0.3 > hl.null_level(x, y, measure)
    for order in orders_seen(x, 9, 0, groups):
        assert (groups[order] == groups).all()


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("shape", ["narrow", "wide", "outlier", "shifted"])
@pytest.mark.parametrize("measure", SHORTCUTS)
def test_leaving_out_has_a_shortcut(rng, measure, shape):
    n = 14
    x, y = rng.normal(size=(n, 4)), rng.normal(size=(n, 3))
    x[:, 1] += y[:, 0]
    if shape == "wide":
        x = rng.normal(size=(n, 40)) if "cka" in measure or "hsic" in measure else x[:, [0, 1, 2, 3, 0]]
    if shape == "outlier":
        x[5] += 30
    if shape == "shifted":
        x, y = x + 1e4, 1e-3 * y
    record = hl.measure(measure)
    operands = [prepared(record, side) for side in (x, y)]
    found = record.values_without_each(*operands, record.family.meet(*operands))
    if "rbf" in measure:
        widths = [1 / np.median(np.square(side[:, None] - side[None]).sum(-1)) / 2 for side in (x, y)]
        kernels = [lambda z, w=w: np.exp(-w * np.square(z[:, None] - z[None]).sum(-1)) for w in widths]
        grams = [kernel(side) for kernel, side in zip(kernels, (x, y), strict=True)]
        expected = [centred_alignment(*(np.delete(np.delete(g, i, 0), i, 1) for g in grams)) for i in range(n)]
    else:
        expected = [float(record(np.delete(x, i, 0), np.delete(y, i, 0))) for i in range(n)]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10)


def centred_alignment(*grams):
    centring = np.eye(len(grams[0])) - 1 / len(grams[0])
    first, second = (centring @ gram @ centring for gram in grams)
    return np.sum(first * second) / np.linalg.norm(first) / np.linalg.norm(second)


def test_probabilities_are_counted():
    values = np.array([3.0, 1.0, 3.0, 4.0])
    assert pvalues(values, "similarity") == pytest.approx(3 / 4)
    assert pvalues(values, "distance") == pytest.approx(3 / 4)
    assert pvalues(np.array([np.nan, 1.0]), "similarity") != pvalues(np.array([np.nan, 1.0]), "similarity")
    assert pvalues(np.ones(10) - np.arange(10) * 1e-15, "similarity") == 1


def test_adjusted_probabilities_by_hand():
    """Westfall and Young: the largest of both columns in every permutation, each less its mean and over its deviation.

    The first column has mean .16 and deviation .12: 2, −.5, −.5, −.5, −.5; the second 7.8 and 11.196: −.25, −.61, −.52, −.61,
    1.98.
    The largest are 2, −.5, −.5, −.5, 1.98: one reaches 2, two reach −.25. Without standardising all five reach 5.
    """
    values = np.array([[0.4, 5], [0.1, 1], [0.1, 2], [0.1, 1], [0.1, 30]])
    both = np.array([True, True])
    assert familywise(values, "similarity", both).tolist() == [0.2, 0.4]
    assert familywise(-values, "distance", both).tolist() == [0.2, 0.4]
    np.testing.assert_allclose(familywise(100 * values - 7, "similarity", both), [0.2, 0.4])
    # Adjusted alone, the first keeps its own: .5 is the largest of five; 9 is reached by 9 and 20.
    alone = np.array([[0.5, 9], [0.1, 1], [0.2, 20], [0.3, 1], [0.1, 2]])
    assert familywise(alone, "similarity", np.array([True, False])).tolist() == [0.2, 0.4]
    assert familywise(alone, "similarity", np.array([False, True])).tolist() == [0.2, 0.4]
    # Together: deviations .15 and 7.3 from means .24 and 6.6; 1.74, −.93, −.27, .40, −.93 and .33, −.76, 1.83, −.76, −.63.
    assert familywise(alone, "similarity", both).tolist() == [0.4, 0.6]


def test_adjusted_probabilities_are_of_all_pairs(rng):
    values = rng.normal(size=(200, 3, 4))
    values[0, 0, 0] = 9
    values[:, 2, 3] = np.nan
    together = np.ones((3, 4), dtype=bool)
    adjusted = familywise(values, "similarity", together)
    raw = pvalues(values, "similarity")
    known = ~np.isnan(raw)
    assert np.isnan(adjusted[2, 3])
    assert (adjusted[known] >= raw[known]).all()
    assert adjusted[0, 0] == 1 / 200
    discovered = false_discovery(raw, together)
    assert (discovered[known] >= raw[known]).all()
    assert discovered[0, 0] == pytest.approx(min(raw[0, 0] * 11, 1))


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda x, y: hl.permutation_test(x, y[:-1]), "as many rows as x"),
        (lambda x, y: hl.permutation_test(x, y, n_permutations=0), "positive whole number, got 0"),
        (lambda x, y: hl.confidence_interval(x, y, level=95), "between 0 and 1, got 95"),
        (lambda x, y: hl.confidence_interval(x, y, method="bootstrap"), "jackknife or subsample, got 'bootstrap'"),
        (lambda x, y: hl.null_level(x, y * np.nan), "finite"),
        (lambda x, y: hl.permutation_test(x, y, "cka(kernel=rbf)", memory="1KiB"), "raise memory"),
    ],
)
def test_what_is_refused(pair, ask, words):
    with pytest.raises(ValueError, match=words):
        ask(*pair)


def test_other_array_libraries_are_taken(pair):
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(side) for side in pair]
    assert hl.permutation_test(*tensors, n_permutations=9) == hl.permutation_test(*tensors, n_permutations=9)
    assert hl.confidence_interval(*tensors) == hl.confidence_interval(*pair)


def layers(rng):
    first = {"early": rng.normal(size=(60, 5)), "late": rng.normal(size=(60, 70))}
    second = {name: x[:, :4] + 0.5 * rng.normal(size=(60, 4)) for name, x in first.items()}
    second["other"] = rng.normal(size=(60, 3))
    return first, second


MANY = ("cka", "cka(estimator=debiased)", "linear_regression", "procrustes_distance")


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_a_comparison_has_the_companions_of_its_pairs(rng):
    first, second = layers(rng)
    result = hl.compare(first, second, measures=MANY, null="permutation", interval=True, n_permutations=49, rng=3)
    for measure in MANY:
        for a, b in itertools.product(first, second):
            at = {"layer_a": a, "layer_b": b}
            test = hl.permutation_test(first[a], second[b], measure, n_permutations=49, rng=3)
            known = hl.confidence_interval(first[a], second[b], measure, rng=3)
            assert float(result[f"{measure}_p"].sel(at)) == pytest.approx(test.pvalue)
            for kind in ("se", "low", "high"):
                found = float(result[f"{measure}_{kind}"].sel(at))
                assert found == pytest.approx(getattr(known, kind), rel=1e-6, abs=1e-9)
            exact = hl.null_level(first[a], second[b], measure, n_permutations=49, rng=3)
            assert float(result[f"{measure}_null"].sel(at)) == pytest.approx(exact, abs=1e-9)
        assert (result[f"{measure}_p_fwer"] >= result[f"{measure}_p"] - 1e-12).all()
    assert result.attrs["n_permutations"] == 49


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_a_comparison_with_itself_is_symmetric(rng):
    first, _ = layers(rng)
    result = hl.compare(first, measures=MANY, null="permutation", interval=True, method="subsample", n_permutations=19)
    for measure in ("cka", "procrustes_distance"):
        for kind in ("p", "se", "low"):
            values = result[f"{measure}_{kind}"].values
            np.testing.assert_allclose(values, values.T, atol=1e-8)
    assert hl.measure("linear_regression").symmetric is False
    assert not np.isnan(result["linear_regression_p"].values).any()


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_pairs_not_asked_for_have_no_companions(rng):
    first, second = layers(rng)
    result = hl.compare(
        first, second, measures="cka", pairs="same_name", null="permutation", interval=True, n_permutations=19
    )
    for kind in ("p", "p_fdr", "se", "high"):
        np.testing.assert_array_equal(np.isnan(result[f"cka_{kind}"].values), np.isnan(result.cka.values))


def test_many_models_have_companions(rng):
    first, second = layers(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare(
            {"one": first, "two": second}, measures=("cka", "cca"), null="permutation", n_permutations=9
        )
    assert not np.isnan(result["cca_p_fwer"].values).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"null": "bootstrap"}, "must be 'permutation' or None"),
        ({"interval": 3}, "must be True or False, got 3"),
        ({"method": "bootstrap"}, "jackknife or subsample, got 'bootstrap'"),
        ({"null": "permutation", "n_permutations": 0}, "positive whole number"),
        ({"interval": True, "level": 2}, "between 0 and 1"),
        ({"groups": [1] * 60}, "pass null='permutation'"),
        ({"null": "permutation", "groups": [1] * 59}, "one label for each of the 60"),
    ],
)
def test_what_a_comparison_refuses(rng, options, words):
    with pytest.raises(ValueError, match=words):
        hl.compare(*layers(rng), measures="cka", **options)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_infinite_and_missing_values_are_no_evidence(rng):
    x, y = rng.normal(size=(2, 40, 3))
    assert hl.permutation_test(x, x, "gaussian_mutual_information", n_permutations=19).pvalue == 0.05
    calls = iter(range(1000))

    def fickle(first, second):
        return float("nan") if next(calls) % 50 == 7 else abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1])

    assert hl.permutation_test(x, y, fickle, n_permutations=99).pvalue >= 0.02
    result = hl.compare(
        {"x": x}, {"x": x}, measures="gaussian_mutual_information", null="permutation", n_permutations=19
    )
    assert result["gaussian_mutual_information_p_fwer"].item() == 0.05


def test_ties_are_seen_in_float32(rng):
    labels = np.repeat([0, 1], 4)
    x, y = np.eye(2)[labels], rng.normal(size=(8, 3)) + 1.3 * labels[:, None]
    double, single = (
        hl.permutation_test(x.astype(d), y.astype(d), n_permutations=499).pvalue for d in (float, np.float32)
    )
    assert single == pytest.approx(double, abs=0.004)


def test_groups_have_a_level_of_their_own(rng):
    labels = np.repeat([0, 1], 20)
    x, y = (rng.normal(size=(40, 3)) + 8 * labels[:, None] for _ in range(2))
    with pytest.warns(hl.NullLevelWarning):
        result = hl.compare({"x": x}, {"y": y}, measures="cka", null="permutation", groups=labels, n_permutations=99)
    assert result.cka_null.item() > 0.9
    named = np.array(["a", 1], dtype=object)[labels]
    assert hl.permutation_test(x, y, groups=named, n_permutations=99).pvalue == pytest.approx(
        result.cka_p.item(), abs=0.2
    )


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_a_constant_layer_changes_no_other_interval(rng):
    x, y = rng.normal(size=(2, 120, 4))
    plain = hl.compare({"l": x}, {"l": x + y}, measures="cca", interval=True)
    beside = hl.compare({"l": x, "dead": np.ones((120, 2))}, {"l": x + y}, measures="cca", interval=True)
    assert beside.cca_se[0, 0].item() == pytest.approx(plain.cca_se.item())
    assert np.isnan(float(beside.cca_se[1, 0]))


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_discoveries_count_every_pair_once_and_no_layer_with_itself(rng):
    layers = {str(i): rng.normal(size=(20, 2)) for i in range(6)}
    result = hl.compare(layers, measures="cka", null="permutation", n_permutations=99)
    above = np.triu_indices(6, 1)
    expected = false_discovery_control(result.cka_p.values[above])
    np.testing.assert_allclose(result.cka_p_fdr.values[above], expected)
    np.testing.assert_array_equal(result.cka_p_fdr.values, result.cka_p_fdr.values.T)


def test_too_few_permutations_are_told(rng):
    x, other = rng.normal(size=(2, 40, 3))
    many = {str(i): rng.normal(size=(40, 2)) for i in range(4)}
    with pytest.warns(hl.FewPermutationsWarning, match="199 would tell"):
        result = hl.compare(
            {"x": x, "o": other}, {"x": x + 0.01, **many}, measures="cka", null="permutation", n_permutations=19
        )
    assert "no more alike than by chance" in hl.plot.heatmaps(result)._supxlabel.get_text()
    # Nobody knows that the one pair is by chance.
    from homolog.results import by_chance

    assert not by_chance(result, "cka")[0, 0]
    assert by_chance(result, "cka")[1].any()
    assert len(hl.diagnose({"l": x}, {"l": x.copy()}, n_permutations=9)) == len(hl.diagnose({"l": x}, {"l": x.copy()}))
    pyplot.close("all")


def test_functions_are_given_the_same_for_value_and_interval(rng):
    counts = rng.integers(-100, 100, size=(40, 1)).astype(np.int8)

    def product(first, second):
        return float((first * second).mean())

    result = hl.compare(counts, counts.copy(), measures=product, interval=True)
    assert result["product_low"].item() < result["product"].item() < result["product_high"].item()


def test_layers_wider_than_memory_are_permuted_pair_by_pair(rng):
    x, y = ({str(i): rng.normal(size=(30, 50)) for i in range(3)} for _ in range(2))
    options = {"measures": "cka(estimator=debiased)", "null": "permutation", "n_permutations": 9, "pairs": "same_name"}
    large, small = (hl.compare(x, y, memory=memory, **options) for memory in ("1GiB", "1KiB"))
    name = "cka(estimator=debiased)_null"
    np.testing.assert_allclose(large[name], small[name], atol=1e-12)
