"""What is read from results: against definitions written out, on data whose answer is known."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import homolog as hl
from homolog.analysis.common_subspace import shared_rank
from homolog.analysis.corresponding_layers import assignment, monotone_path


def networks(rng, count=4, noise=1.0, widths=(4, 5, 6)):
    task = [rng.normal(size=(80, p)) for p in widths]
    return {
        f"seed {k}": {f"layer{i}": x + noise * rng.normal(size=x.shape) for i, x in enumerate(task)}
        for k in range(count)
    }


def accuracy_without(result, name, left_out):
    """The share of layers found, counted one by one, without one network."""
    right = []
    models = [m for m in dict.fromkeys(result.model_a.values) if m != left_out]
    for a, b in itertools.permutations(models, 2):
        part = hl.between(result, a, b)
        matrix = part[name].values
        if f"{name}_reversed" in part:
            matrix = matrix + part[f"{name}_reversed"].values
        right += list(np.argmax(matrix, axis=1) == np.arange(len(matrix)))
    return np.mean(right)


def test_identification_has_jackknife_errors_and_a_test_against_the_best(rng):
    result = hl.compare(networks(rng, noise=2.5), measures=("cka", "cca", "linear_regression"))
    found = hl.layer_identification(result)
    models = list(dict.fromkeys(result.model_a.values))
    without = {
        name: np.array([accuracy_without(result, name, model) for model in models]) for name in found.measure.values
    }
    best = str(found.measure.values[np.argmax(found.accuracy.values)])
    for name, parts in without.items():
        row = found.sel(measure=name)
        assert float(row.accuracy) == pytest.approx(accuracy_without(result, name, None))
        n = len(models)
        error = np.sqrt((n - 1) / n * np.sum((parts - parts.mean()) ** 2))
        assert float(row.accuracy_se) == pytest.approx(error)
        apart = parts - without[best]
        spread = np.sqrt((n - 1) / n * np.sum((apart - apart.mean()) ** 2))
        behind = float(row.accuracy - found.accuracy.sel(measure=best))
        expected = behind / spread if spread else 0.0 if behind == 0 else np.nan
        assert float(row.z) == pytest.approx(expected, nan_ok=True)
    assert float(found.p.sel(measure=best)) == 1
    assert set(found.accuracy.values) != {1.0}


def test_identification_is_tested_against_a_measure_of_ones_choice(rng):
    result = hl.compare(networks(rng, 4), measures=("cka", "cca", "linear_regression"))
    found = hl.layer_identification(result, against="cca")
    other = hl.layer_identification(result, against="cka")
    assert found.attrs["against"] == "cca"
    assert float(found.z.sel(measure="cca")) == 0
    assert float(found.z.sel(measure="cka")) == -float(other.z.sel(measure="cca"))
    xarray.testing.assert_equal(found.drop_vars(["z", "p"]), hl.layer_identification(result).drop_vars(["z", "p"]))
    with pytest.raises(ValueError, match=r"against must be one of the measures, cka, got cca"):
        hl.layer_identification(result, ["cka"], against="cca")


def right_and_wrong(count, names=("one", "two", "three")):
    """Results of pairs of networks in which one measure finds every layer and another none."""
    shape = {"layer_a": list(names), "layer_b": list(names)}
    size = len(names)
    tables = {"finds": np.eye(size), "misses": np.roll(np.eye(size), 1, axis=1)}
    for a, b in itertools.combinations(range(count), 2):
        attributes = {"measures": json.dumps(list(tables)), "model_a": f"seed {a}", "model_b": f"seed {b}"}
        variables = {
            name: xarray.DataArray(table, shape, ("layer_a", "layer_b"), attrs={"kind": "similarity"})
            for name, table in tables.items()
        }
        yield xarray.Dataset(variables, attrs=attributes)


@pytest.mark.parametrize(("count", "p"), [(3, 1.0), (4, 0.5), (6, 0.25), (7, 0.25), (10, 0.0625)])
def test_one_hundred_against_none_is_tested_exactly(count, p):
    """No network changes the difference: a sign test over ⌊N/2⌋ pairs that share none, 2 / 2^⌊N/2⌋."""
    found = hl.layer_identification(list(right_and_wrong(count)))
    assert found.accuracy.values.tolist() == [1, 0]
    assert found.accuracy_se.values.tolist() == [0, 0]
    assert found.z.values.tolist() == [0, -np.inf]
    assert found.p.values.tolist() == [1, pytest.approx(p)]
    assert found.attrs["test"].startswith(f"jackknife over {count} networks; where z is infinite")
    other = hl.layer_identification(list(right_and_wrong(count)), against="misses")
    assert other.z.values.tolist() == [np.inf, 0]


def test_a_pair_without_a_common_name_is_left_out_and_told(rng):
    models = networks(rng, 4, noise=2.0)
    expected = hl.layer_identification(hl.compare(models, measures=("cka", "cca")))
    stranger = {f"block{i}": x for i, x in enumerate(models["seed 0"].values())}
    result = hl.compare({**models, "stranger": stranger}, measures=("cka", "cca"))
    with pytest.warns(hl.SkippedPairWarning, match="seed 0 and stranger, .* are left out and 6 are counted") as told:
        found = hl.layer_identification(result)
    assert len(told) == 1
    xarray.testing.assert_equal(found, expected)
    with pytest.raises(ValueError, match="needs layers of the same name on both sides, got none in common"):
        hl.layer_identification(hl.between(result, "seed 0", "stranger"))


def test_two_networks_have_no_standard_error(rng):
    result = hl.compare(networks(rng, 2), measures="cka")
    with pytest.warns(
        hl.FewModelsWarning, match="z and p over networks are NaN: a test over networks needs three, got 2;"
    ):
        found = hl.layer_identification(result)
    assert found.attrs["test"] == "none: a test over networks needs three, got 2"
    assert np.isnan(found.accuracy_se.item())
    assert np.isnan(found.p.item())


def test_models_of_one_name_have_no_standard_error(rng):
    layers = list(networks(rng, 3).values())
    pairs = [hl.compare(a, b, measures="cka") for a, b in itertools.combinations(layers, 2)]
    with pytest.warns(
        hl.FewModelsWarning, match="several comparisons are of models of the same names.* a name of its own"
    ):
        found = hl.layer_identification(pairs)
    assert np.isnan(found.accuracy_se.item())
    assert found.attrs["test"].startswith("none: several comparisons are of models of the same names")


def test_pairs_that_name_their_models_equal_one_result_of_many(rng):
    models = networks(rng, noise=2.0)
    everything = hl.compare(models, measures=("cka", "cca"))
    pairs = [hl.between(everything, a, b) for a, b in itertools.combinations(models, 2)]
    xarray.testing.assert_equal(hl.layer_identification(pairs), hl.layer_identification(everything))


matrices = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6)).map(
    lambda drawn: np.random.default_rng(drawn[2]).normal(size=drawn[:2])
)


@given(matrices)
@settings(deadline=None)
def test_the_path_is_the_best_that_never_goes_back(matrix):
    path = monotone_path(matrix)
    assert (np.diff(path) >= 0).all()
    rows = np.arange(len(matrix))
    best = max(
        matrix[rows, list(columns)].sum()
        for columns in itertools.combinations_with_replacement(range(matrix.shape[1]), len(matrix))
    )
    assert matrix[rows, path].sum() == pytest.approx(best)


@given(matrices)
@settings(deadline=None)
def test_the_assignment_is_the_best_one_to_one(matrix):
    found = assignment(matrix)
    kept = found >= 0
    assert kept.sum() == min(matrix.shape)
    assert len(set(found[kept])) == kept.sum()
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    best = max(
        wide[np.arange(len(wide)), list(columns)].sum()
        for columns in itertools.permutations(range(wide.shape[1]), len(wide))
    )
    assert matrix[kept, found[kept]].sum() == pytest.approx(best)


def test_what_was_not_compared_has_no_partner():
    matrix = np.array([[np.nan, np.nan], [0.2, np.inf]])
    np.testing.assert_array_equal(assignment(matrix), [-1, 1])
    np.testing.assert_array_equal(monotone_path(matrix), [-1, 1])


def test_correspondence_names_partners_and_path(rng):
    a = {f"a{i}": rng.normal(size=(60, 4)) for i in range(3)}
    b = {"b0": a["a0"], "b1": a["a1"] + 0.1, "b2": a["a0"] + 0.3 * rng.normal(size=(60, 4)), "b3": a["a2"]}
    found = hl.correspondence(hl.compare(a, b, measures="procrustes_distance"))
    assert found.assigned_b.values.tolist() == ["b0", "b1", "b3"]
    assert found.assigned_a.values.tolist() == ["a0", "a1", "", "a2"]
    assert found.path_b.values.tolist() == ["b0", "b1", "b3"]
    assert found.best_a.values.tolist() == ["a0", "a1", "a0", "a2"]


def test_mean_over_models_is_the_mean_of_pairs(rng):
    models = networks(rng)
    result = hl.compare(models, measures=("cka", "linear_regression"))
    mean = hl.mean_over_models(result)
    pairs = list(itertools.permutations(models, 2))
    for name in ("cka", "linear_regression"):
        parts = np.stack([hl.compare(models[a], models[b], measures=name)[name].values for a, b in pairs])
        np.testing.assert_allclose(mean[name].values, parts.mean(axis=0), atol=1e-12)
        without = np.stack([parts[[m not in pair for pair in pairs]].mean(axis=0) for m in models])
        error = np.sqrt(3 / 4 * np.sum((without - without.mean(axis=0)) ** 2, axis=0))
        np.testing.assert_allclose(mean[f"{name}_se"].values, error, atol=1e-12)
    assert hl.plot.heatmap(mean, "cka").get_ylabel() == "4 models"


def test_mean_between_two_kinds_resamples_each(rng):
    models = networks(rng, 5)
    result = hl.compare(models, measures="cka")
    sides = ["seed 0", "seed 1", "seed 2"], ["seed 3", "seed 4"]
    mean = hl.mean_over_models(result, *sides)
    pairs = list(itertools.product(*sides))
    parts = np.stack([hl.between(result, *pair).cka.values for pair in pairs])
    squares = 0
    for side in sides:
        without = np.stack([parts[[m not in pair for pair in pairs]].mean(axis=0) for m in side])
        squares = squares + (len(side) - 1) / len(side) * np.sum((without - without.mean(axis=0)) ** 2, axis=0)
    np.testing.assert_allclose(mean.cka_se.values, np.sqrt(squares), atol=1e-12)
    with pytest.raises(ValueError, match="leave them out of one side"):
        hl.mean_over_models(result, ["seed 0", "seed 1"], ["seed 1", "seed 2"])
    with pytest.raises(ValueError, match="two different models"):
        hl.mean_over_models(result, ["seed 0"], ["seed 0"])
    with pytest.raises(ValueError, match="must be of many models"):
        hl.mean_over_models(hl.between(result, "seed 0", "seed 1"))
    with pytest.raises(KeyError, match="seed 9"):
        hl.mean_over_models(result, ["seed 9"])


def test_shared_subspace_is_figure_8(rng):
    x = rng.normal(size=(50, 6)) * np.arange(1, 7)
    y = rng.normal(size=(50, 4)) + x[:, :4]
    shared = hl.shared_subspace(x, y, n_permutations=3)
    grams = []
    for z in (x, y):
        z = z - z.mean(axis=0)
        grams.append(z @ z.T / np.sum(z**2))
    values, vectors = np.linalg.eigh(grams[0])
    for k in range(6):
        u = vectors[:, -1 - k]
        assert shared.x_norm.values[k] == pytest.approx(values[-1 - k])
        assert shared.y_norm.values[k] == pytest.approx(np.linalg.norm(grams[1] @ u))
        assert shared.cosine.values[k] == pytest.approx(u @ grams[1] @ u / np.linalg.norm(grams[1] @ u))
    assert shared.attrs["cka"] == pytest.approx(float(hl.cka(x, y)))
    swapped = hl.shared_subspace(y, x, n_permutations=3)
    np.testing.assert_allclose(shared.covariance, swapped.covariance, atol=1e-12)


@pytest.mark.parametrize("planted", [0, 1, 3, 7])
def test_the_shared_rank_of_planted_subspaces(rng, planted):
    task = rng.normal(size=(600, planted))
    x, y = (
        np.hstack([task @ np.linalg.qr(rng.normal(size=(planted, planted)))[0], rng.normal(size=(600, 30))])
        for _ in "ab"
    )
    assert hl.shared_subspace(x, y).attrs["shared_rank"] == planted


def test_the_shared_rank_counts_what_makes_up_the_threshold():
    assert shared_rank(np.array([3.0, 1.0, 0.1]), 0.0, 0.89) == 1
    assert shared_rank(np.array([3.0, 1.0, 0.1]), 0.0, 0.95) == 2
    assert shared_rank(np.array([3.0, 1.0, 0.1]), 0.5, 1.0) == 2
    assert shared_rank(np.array([3.0, 1.0, 0.1]), 4.0, 1.0) == 0


def test_contributions_and_influences_are_exact(rng):
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 60))
    x[3] *= 8
    explained = hl.explain_cka(x, y)
    value = float(hl.cka(x, y))
    assert float(explained.contribution.sum()) == pytest.approx(value)
    assert (explained.contribution.values >= 0).all()
    for i in range(40):
        rest = np.delete(np.arange(40), i)
        assert float(explained.influence[i]) == pytest.approx(value - float(hl.cka(x[rest], y[rest])), abs=1e-10)


def test_an_example_without_which_nothing_varies(rng):
    x = np.zeros((20, 3))
    x[4] = 1
    influence = hl.explain_cka(x, rng.normal(size=(20, 3))).influence.values
    assert np.isnan(influence[4])
    assert np.isfinite(np.delete(influence, 4)).all()


@pytest.mark.parametrize("analyse", [hl.shared_subspace, hl.explain_cka])
def test_pairs_that_cannot_be_analysed(rng, analyse):
    x = rng.normal(size=(20, 3))
    with pytest.raises(ValueError, match="as many rows as x"):
        analyse(x, x[:10])
    with pytest.raises(ValueError, match="y must vary"):
        analyse(x, np.ones((20, 3)))
    with pytest.raises(ValueError, match="x must have two axes"):
        analyse(x[0], x)


def probing_data(rng, n=300, p=12):
    labels = rng.integers(3, size=n)
    return {"layer": np.eye(p)[labels] + 0.6 * rng.normal(size=(n, p))}, labels


def test_a_probe_is_scikit_learns_logistic_regression(rng):
    layers, labels = probing_data(rng)
    others, other_labels = probing_data(rng)
    probed = hl.probe(layers, labels, (others, other_labels), strengths=[0.01])
    mean = layers["layer"].mean(axis=0)
    scale = np.sqrt(np.mean((layers["layer"] - mean) ** 2))
    model = LogisticRegression(C=1 / (0.01 * 300), max_iter=500).fit((layers["layer"] - mean) / scale, labels)
    assert float(probed.accuracy[0]) == pytest.approx(
        model.score((others["layer"] - mean) / scale, other_labels), abs=0.01
    )
    assert float(probed.strength[0]) == 0.01


def test_a_probe_of_more_features_than_rows_equals_the_one_in_full(rng):
    layers, labels = probing_data(rng, n=60, p=200)
    others, other_labels = probing_data(rng, n=500, p=200)
    probed = hl.probe(layers, labels, (others, other_labels), strengths=[0.1])
    mean = layers["layer"].mean(axis=0)
    scale = np.sqrt(np.mean((layers["layer"] - mean) ** 2))
    model = LogisticRegression(C=1 / (0.1 * 60), max_iter=2000, tol=1e-8).fit((layers["layer"] - mean) / scale, labels)
    assert float(probed.accuracy[0]) == pytest.approx(
        model.score((others["layer"] - mean) / scale, other_labels), abs=0.01
    )


def test_a_probe_regularises_as_validation_asks(rng):
    layers, labels = probing_data(rng, n=90, p=60)
    layers["noise"] = rng.normal(size=(90, 60))
    probed = hl.probe(layers, labels, strengths=[1e-4, 1e-1, 10.0])
    assert float(probed.validation.sel(layer="layer")) > float(probed.validation.sel(layer="noise"))
    assert float(probed.strength.sel(layer="layer")) > 1e-4
    xarray.testing.assert_identical(probed, hl.probe(layers, labels, strengths=[1e-4, 1e-1, 10.0]))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"labels": np.zeros(10)}, ValueError, "one class for each of the 300 rows"),
        ({"labels": np.zeros(300)}, ValueError, "at least two classes"),
        ({"labels": np.arange(300) == 0}, ValueError, "use fewer folds"),
        ({"held_out": 1.5}, ValueError, r"share in \(0, 1\)"),
        ({"held_out": ({"other": np.eye(3)}, [0, 1, 2])}, KeyError, "must have the layer 'layer'"),
        ({"held_out": ({"layer": np.eye(3)}, [0, 1, 2])}, ValueError, "must have 12 features"),
        ({"activations": np.eye(3)}, TypeError, "a mapping of layer names"),
    ],
)
def test_what_a_probe_refuses(rng, change, error, words):
    layers, labels = probing_data(rng)
    with pytest.raises(error, match=words):
        hl.probe(**({"activations": layers, "labels": labels} | change))


def test_grids_of_heatmaps(rng):
    models = networks(rng, 3)
    result = hl.compare(models, measures=("cka", "cca"))
    pairs = {f"{a} and {b}": hl.between(result, a, b) for a, b in itertools.combinations(models, 2)}
    figure = hl.plot.heatmaps(pairs, columns=2, title="$ pairs")
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == list(pairs)
    figure = hl.plot.heatmaps(pairs, ["cka", "cca"])
    assert "seed 0 and seed 1 cca" in [ax.get_title() for ax in figure.axes]
    with pytest.raises(ValueError, match="at least one result"):
        hl.plot.heatmaps({})


def test_lines_have_bands_where_there_are_errors():
    data = xarray.Dataset(
        {"value": (("width", "layer"), np.ones((3, 2))), "value_se": (("width", "layer"), np.ones((3, 2)))},
        {"width": [1, 2, 4], "layer": ["a", "$b"]},
    )
    ax = hl.plot.lines(data, "value", x="width", by="layer")
    assert len(ax.lines) == 2
    assert len(ax.collections) == 2
    assert not hl.plot.lines(data, "value", x="width", by="layer", band=False).collections
    with pytest.raises(KeyError, match="over width and layer"):
        hl.plot.lines(data, "value", x="width")


@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_explained_value_is_cka_whatever_the_shape(n, p, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, 3))
    assert hl.explain_cka(x, y).attrs["cka"] == pytest.approx(float(hl.cka(x, y)), abs=1e-9)
