"""What the laws do not ask of the wider family: float32 in `compare`, shared work, ties, nulls, and words for wrong use."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from representation_pairs import ROOTS
from scipy.spatial.distance import pdist
from scipy.stats import rankdata, spearmanr

import homolog as hl
from homolog.measures.evaluation import prepared
from homolog.operands import dissimilarities

SINGLE = (
    "distance_correlation",
    "distance_correlation(estimator=debiased)",
    "deconfounded_cka",
    "rsa",
    "rsa(dissimilarity=euclidean)",
    "rsa(dissimilarity=cosine,comparison=pearson)",
    "rsm_norm_difference",
    "mutual_knn",
    "second_order_cosine",
    "cknna",
)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def outlier(rng, n, p):
    return np.vstack([rng.normal(size=(n - 1, p)), np.full((1, p), 1e5)])


KINDS = {
    "normal": lambda rng, n, p: rng.normal(size=(n, p)),
    "heavy tails": lambda rng, n, p: rng.standard_cauchy((n, p)),
    "outlier": outlier,
    "offset": lambda rng, n, p: rng.normal(size=(n, p)) + 1000,
    "sparse": lambda rng, n, p: np.maximum(rng.normal(size=(n, p)) - 0.5, 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_float32_says_the_same(kind, rng):
    """Of the same float32 numbers, with products in float32 and in float64."""
    x = KINDS[kind](rng, 200, 12)
    y = x[:, :8] + 0.3 * rng.normal(size=(200, 8))
    layers = [{"wide": side.astype("float32"), "narrow": side[:, :5].astype("float32")} for side in (x, y)]
    single = hl.compare(*layers, measures=SINGLE)
    double = hl.compare(*({k: v.astype(float) for k, v in side.items()} for side in layers), measures=SINGLE)
    for name in SINGLE:
        # Where many distances tie, float32 orders some of them by its rounding.
        close = 1e-4 if kind == "sparse" and "rsa" in name else 1e-5
        np.testing.assert_allclose(single[name], double[name], rtol=close, atol=close, err_msg=name)


def test_an_outlier_leaves_the_ranks_of_the_others(rng):
    x = outlier(rng, 100, 5)
    y = x + 0.3 * rng.normal(size=x.shape)
    assert float(hl.rsa(x, y, dissimilarity="euclidean")) == pytest.approx(spearmanr(pdist(x), pdist(y)).statistic)


def test_shared_work_changes_nothing(rng):
    layers = {f"layer {p}": rng.normal(size=(90, p)) for p in (4, 30, 200)}
    together = hl.plan(layers, measures=SINGLE)
    assert "prepared together: distance_correlation, " in str(together)
    size = max(
        sum(group.bytes for group in preparation) for preparation in together.preparations if len(preparation) > 1
    )
    apart = hl.plan(layers, measures=SINGLE, memory=size - 1)
    assert len(apart.preparations) > len(together.preparations)
    found = hl.compare(layers, measures=SINGLE)
    for name in SINGLE:
        np.testing.assert_array_equal(found[name], hl.compare(layers, measures=name)[name])


@pytest.mark.parametrize("form", ["rsa", "rsm_norm_difference", "mutual_knn", "cknna", "linear_predictivity"])
def test_permutation_tests_permute_rows(form, rng):
    x = rng.normal(size=(30, 4))
    found = hl.permutation_test(x, x + 0.1 * rng.normal(size=x.shape), form, n_permutations=99, rng=0)
    assert found.pvalue == 0.01


def test_ranks_by_counting_are_those_of_sorting(rng):
    for spread in (1, 10):  # a few octaves, and more than can be counted
        values = np.exp(spread * rng.normal(size=5000)).astype("float32")
        values[:500] = 0
        on_grid = (dissimilarities.grid_places(values) << dissimilarities.SPARED[4]).view(values.dtype)
        plain = rankdata(on_grid) - (len(values) + 1) / 2
        np.testing.assert_allclose(dissimilarities.ranks(values), plain, rtol=1e-6)
        np.testing.assert_allclose(on_grid, values, rtol=1e-5)


def test_distances_of_distances_near_and_far(rng):
    x = rng.normal(size=(50, 6)).astype("float32")
    layers = {
        "x": x,
        "near": x + np.float32(1e-3),
        "moved": x + 1e-2 * rng.normal(size=x.shape).astype("float32"),
        "far": 5 * x,
    }
    found = hl.compare(layers, measures="rsm_norm_difference").rsm_norm_difference
    for name, layer in layers.items():
        plain = np.sqrt(2) * np.linalg.norm(pdist(x.astype(float)) - pdist(layer.astype(float)))
        assert found.sel(layer_a="x", layer_b=name).item() == pytest.approx(plain, rel=1e-4, abs=1e-3)


def test_rows_without_direction_are_at_a_right_angle_to_all(rng):
    x = np.vstack([np.zeros((2, 4)), rng.normal(size=(20, 4))])
    cosine = np.ones(22 * 21 // 2)
    nonzero = pdist(x[2:], "cosine")
    keep = np.flatnonzero(np.triu_indices(22, 1)[0] >= 2)
    cosine[keep] = nonzero
    y = rng.normal(size=(22, 3))
    expected = spearmanr(cosine, pdist(y, "cosine")).statistic
    assert float(hl.rsa(x, y, dissimilarity="cosine")) == pytest.approx(expected, abs=1e-9)
    assert float(hl.rsa(torch.tensor(x), torch.tensor(y), dissimilarity="cosine")) == pytest.approx(expected, abs=1e-9)
    assert float(hl.second_order_cosine(x, x, k=3)) == pytest.approx(1)


def test_roots_have_the_digits_they_say(rng):
    x = rng.normal(size=(40, 5))
    for name in sorted(ROOTS):
        assert float(hl.measure(name)(x, x)) <= 1e-6


class TestInputs:
    """The option of deconfounded_cka that is an array."""

    def test_of_any_library(self, rng):
        x, y, inputs = (rng.normal(size=(40, p)) for p in (4, 6, 3))
        value = float(hl.deconfounded_cka(x, y, inputs=inputs))
        bound = hl.measure("deconfounded_cka", inputs=torch.tensor(inputs))
        assert str(bound).startswith("deconfounded_cka(inputs=array-")
        assert bound == hl.measure("deconfounded_cka", inputs=inputs)
        assert bound != hl.measure("deconfounded_cka", inputs=2 * inputs)
        found = hl.compare({"x": torch.tensor(x)}, {"y": torch.tensor(y)}, measures=["cka", bound])
        assert found[str(bound)].item() == pytest.approx(value, abs=1e-10)
        assert hl.permutation_test(x, y, bound, n_permutations=9, rng=0).statistic == pytest.approx(value, abs=1e-10)

    def test_parts_of_the_examples_keep_parts_of_the_inputs(self, rng):
        x, y, inputs = (rng.normal(size=(60, p)) for p in (4, 6, 3))
        bound = hl.measure("deconfounded_cka", inputs=inputs)
        found = hl.compare({"x": x}, {"y": y}, measures=bound, interval=True, method="subsample", rng=0)
        assert found[f"{bound}_se"].item() > 0
        part = np.arange(30)
        assert float(bound.of_rows(part)(x[part], y[part])) == pytest.approx(
            float(hl.deconfounded_cka(x[part], y[part], inputs=inputs[part]))
        )
        hl.split_half({"x": x, "z": x**2}, {"y": y}, measures=bound, rng=0)
        assert hl.confidence_interval(x, y, bound).se > 0

    def test_a_layer_that_is_the_inputs_has_nothing_left(self, rng):
        x, y = rng.normal(size=(2, 40, 3))
        bound = hl.measure("deconfounded_cka", inputs=x)
        with pytest.warns(hl.NothingLeftWarning, match=r"^a: input: the inputs explain all"):
            found = hl.compare({"input": x, "next": x**2}, {"y": y}, measures=bound)
        assert np.isnan(found[str(bound)].values).tolist() == [[True], [False]]

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (np.ones((39, 2)), "inputs must have as many rows as x"),
            ("array", "inputs must be an array of shape"),
            (np.full((40, 2), np.nan), "inputs must be finite"),
            (np.ones((40, 2)), "inputs must vary over the examples"),
        ],
    )
    def test_wrong_ones_are_told(self, inputs, message, rng):
        x = rng.normal(size=(40, 3))
        with pytest.raises((TypeError, ValueError), match=message):
            hl.deconfounded_cka(x, x, inputs=inputs)

    def test_none_is_told(self, rng):
        x = rng.normal(size=(40, 3))
        with pytest.warns(hl.MissingInputsWarning, match="was given no inputs: nothing is removed"):
            hl.compare({"x": x}, measures="deconfounded_cka")


def test_transport_without_its_library(monkeypatch, rng):
    for name in [name for name in sys.modules if name.split(".")[0] == "ot"]:
        monkeypatch.delitem(sys.modules, name)

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("homolog.machine.importlib.import_module", missing)
    x = rng.normal(size=(30, 4))
    assert float(hl.soft_matching_distance(x, x[:, ::-1])) < 1e-6
    with pytest.raises(
        ImportError, match=r"layers that differ in width needs ot, .*: pip install \"homolog\[transport\]\""
    ):
        hl.soft_matching_distance(x, x[:, :3])


def test_another_name_is_the_same_measure():
    assert hl.measure("hard_correlation_match") == hl.measure("bipartite_match")


def test_what_does_not_ask_for_the_order_has_no_p_values(rng):
    with pytest.warns(hl.OrderFreeWarning, match="^magnitude_difference is the same whatever the order"):
        found = hl.compare(
            *({"x": side} for side in rng.normal(size=(2, 30, 4))),
            measures=("cka", "magnitude_difference"),
            null="permutation",
            n_permutations=19,
        )
    assert np.isnan(found["magnitude_difference_p"]).all()
    assert not np.isnan(found["cka_p"]).any()


def test_equal_dissimilarities_are_told(rng):
    with pytest.warns(hl.NothingLeftWarning, match="^x: by correlation all pairs of examples are equally far apart"):
        assert np.isnan(hl.rsa(rng.normal(size=(20, 1)), rng.normal(size=(20, 4))))


@pytest.mark.parametrize("form", ["mutual_knn", "rank_similarity", "cknna"])
def test_ties_are_broken_anew_in_every_order(form, rng):
    """Kinds of rows instead of rows: agreement by index is in the value and in its permutations alike."""
    x, y = (np.eye(5)[rng.integers(0, 5, 60)] for _ in range(2))
    measure, order = hl.measure(form), rng.permutation(60)
    first, second = (prepared(measure, side) for side in (x, y))
    assert first.tied == 1
    reordered = second.reordered(order)
    value = measure.value(first, reordered, measure.family.meet(first, reordered))
    assert float(value) == pytest.approx(float(measure(x, y[order])), abs=1e-12)
    with pytest.warns(hl.TiesWarning, match="several others are equally near"):
        measure(x, y)
    assert hl.permutation_test(x, y, form, n_permutations=99, rng=0).pvalue > 0.05
    assert "mutual_knn_null" not in hl.compare({"x": x}, {"y": y}, measures="mutual_knn")


def test_gradients_survive_dead_units_and_zero_rows(rng):
    x = np.column_stack([rng.normal(size=(14, 2)), np.ones(14)])
    y = torch.tensor(rng.normal(size=(14, 5)))
    for form in (
        "bures_similarity",
        "gulp_distance",
        "linear_predictivity",
        "rsa(dissimilarity=mahalanobis,comparison=pearson)",
        "cca",
    ):
        given = torch.tensor(x, requires_grad=True)
        hl.measure(form)(given, y).backward()
        assert torch.isfinite(given.grad).all(), form
    given = torch.tensor(np.vstack([np.zeros((1, 3)), rng.normal(size=(13, 3))]), requires_grad=True)
    for form in ("rsa(dissimilarity=cosine,comparison=pearson)", "concentricity_difference"):
        hl.measure(form)(given, y).backward()
        assert torch.isfinite(given.grad).all(), form


def test_what_rounding_leaves_points_nowhere(rng):
    x, y = rng.normal(size=(2, 40, 4))
    x -= x.mean(axis=0)
    values = [float(hl.concentricity_difference(c * x, y + 1)) for c in (1, 3, 1.7)]
    np.testing.assert_allclose(values, values[0])
    at_mean = np.vstack([x, x.mean(axis=0)])
    other = np.vstack([y, y[:1]])
    values = [float(hl.aligned_cosine(c * at_mean + shift, other)) for c, shift in ((1, 0), (3, 0), (0.1, 7))]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_uniformity_of_far_clusters(rng):
    x = (1e8 * rng.normal(size=(5, 6)))[rng.integers(0, 5, 60)]
    y = rng.normal(size=(60, 6))
    plain = [np.log(np.mean(np.exp(-2 * np.sum((z[:, None] - z[None]) ** 2, axis=2)))) for z in (x, y)]
    assert float(hl.uniformity_difference(x, y)) == pytest.approx(abs(plain[0] - plain[1]), abs=1e-9)


def test_numbers_of_numpy_are_numbers(rng):
    x, y = rng.normal(size=(2, 30, 4))
    assert hl.mutual_knn(x, y, k=np.int64(3)) == hl.mutual_knn(x, y, k=3)
    assert hl.angular_shape_distance(x, y, alpha=np.float64(0.5)) == hl.angular_shape_distance(x, y, alpha=0.5)
    assert float(hl.angular_shape_distance(x, y, alpha=0)) >= 0
    with pytest.raises(
        ValueError, match="alpha of angular_shape_distance must be a number of at least 0 and at most 1, got 2"
    ):
        hl.angular_shape_distance(x, y, alpha=2)


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "many"])
def test_neighbours_are_counted_in_whole_numbers(k, rng):
    x = rng.normal(size=(20, 3))
    with pytest.raises(ValueError, match="k of mutual_knn must be a whole number above 0"):
        hl.mutual_knn(x, x, k=k)


def test_all_neighbours_are_told(rng):
    x = rng.normal(size=(8, 3))
    with pytest.warns(hl.SaturationWarning, match="x, y: k = 10 with 8 examples"):
        assert float(hl.mutual_knn(x, rng.normal(size=(8, 2)))) == 1
