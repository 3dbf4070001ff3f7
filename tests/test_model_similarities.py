"""Similarities of models: against definitions written out, and with a null of the number itself."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import xarray
from scipy.stats import false_discovery_control
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import homolog as hl
from homolog.inference.model_aggregates import WAYS, aggregated
from homolog.inference.permutations import orders

QUIET = ("NullLevelWarning", "FewPermutationsWarning", "SaturationWarning", "BiasWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore::homolog.{name}") for name in QUIET]


def three_models(rng, n=40):
    """Models of 3, 2 and 4 layers that share some names; the first two are alike."""
    task = {name: rng.normal(size=(n, 6)) for name in ("early", "middle", "late")}
    return {
        "one": {name: x + 0.5 * rng.normal(size=x.shape) for name, x in task.items()},
        "two": {name: task[name] + 0.5 * rng.normal(size=(n, 6)) for name in ("late", "early")},
        "other": {name: rng.normal(size=(n, 5)) for name in ("early", "late", "last", "very last")},
    }


def by_definition(values, names_a, names_b, by, kind="similarity"):
    """One number from the values of all pairs of layers, in loops."""
    best = max if kind == "similarity" else min
    rows, columns = values.shape
    if by == "max":
        return best(values.ravel())
    if by == "same_name":
        return np.mean([values[i, j] for i in range(rows) for j in range(columns) if names_a[i] == names_b[j]])
    if by == "best_match":
        return (np.mean([best(row) for row in values]) + np.mean([best(column) for column in values.T])) / 2
    if rows > columns:
        return by_definition(values.T, names_b, names_a, by, kind)
    return best(
        np.mean([values[i, j] for i, j in enumerate(order)]) for order in itertools.permutations(range(columns), rows)
    )


def values_of(measure, a, b, rows=slice(None)):
    return np.array([[measure(x, y[rows]) for y in b.values()] for x in a.values()])


def number(result, name, a, b):
    return float(result[name].sel(model_a=a, model_b=b))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", ["cka", "procrustes_distance", "pwcca"])
def test_values_are_those_of_their_definition(rng, by, name):
    models, measure = three_models(rng), hl.measure(name)
    result = hl.compare(models, measures=name)
    found = hl.model_similarity(result, by=by)
    for a, b in itertools.product(models, repeat=2):
        expected = by_definition(
            values_of(measure, models[a], models[b]), *map(list, (models[a], models[b])), by, measure.kind
        )
        assert number(found, name, a, b) == pytest.approx(expected, abs=1e-7)
        two = hl.model_similarity(hl.between(result, a, b), by=by) if a != b else found
        assert number(two, name, a, b) == pytest.approx(number(found, name, a, b))
    assert found.attrs | {"homolog_version": ""} == {
        "title": "homolog model similarity",
        "homolog_version": "",
        "by": by,
        "n_examples": 40,
        "measures": json.dumps([name]),
        "warnings": "[]",
    }
    assert found[name].attrs["kind"] == measure.kind
    symmetric = np.array_equal(found[name], found[name].T)
    assert symmetric == (int(found[name].attrs["symmetric"]) == 1) == bool(measure.symmetric)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", ["cka", "procrustes_distance", "pwcca"])
def test_chance_is_that_of_the_number_itself(rng, by, name):
    """Each order of the examples is the same for all pairs of layers, and gives one number of the pair of models."""
    models, measure, count = three_models(rng), hl.measure(name), 39
    result = hl.compare(models, measures=name, null="permutation", n_permutations=count)
    found = hl.model_similarity(result, by=by)
    order, sign = orders(40, 0), 1 if measure.kind == "similarity" else -1
    for a, b in (("one", "two"), ("one", "other")):
        names = list(models[a]), list(models[b])
        numbers = [
            sign * by_definition(values_of(measure, models[a], models[b], order(k)), *names, by, measure.kind)
            for k in range(count + 1)
        ]
        threshold = sorted(numbers)[math.ceil(0.95 * (count + 1)) - 1]
        best = measure.range[1] if sign == 1 else 0
        expected = {
            "null": sign * np.mean(numbers[1:]),
            "p": np.mean(np.array(numbers) >= numbers[0] - 1e-9),
            "threshold": sign * threshold,
            "calibrated": max((numbers[0] - threshold) / (best - threshold), 0),
        }
        assert {kind: number(found, f"{name}_{kind}", a, b) for kind in expected} == pytest.approx(expected, abs=1e-7)
    assert number(found, f"{name}_calibrated", "one", "two") > 0 == number(found, f"{name}_calibrated", "one", "other")
    assert np.diag(found[f"{name}_calibrated"]).tolist() == [1, 1, 1]
    assert (int(found.attrs["n_permutations"]), found.attrs["alpha"]) == (count, 0.05)


def test_probabilities_are_adjusted_for_the_pairs_of_different_models(rng):
    result = hl.compare(three_models(rng), measures="cka", null="permutation", n_permutations=39)
    found = hl.model_similarity(result)
    upper = np.triu_indices(3, 1)
    expected = false_discovery_control(found.cka_p.values[upper])
    np.testing.assert_allclose(found.cka_p_fdr.values[upper], expected)
    np.testing.assert_allclose(found.cka_p_fdr.values.T[upper], expected)
    assert np.isnan(np.diag(found.cka_p_fdr)).all()


@pytest.mark.parametrize("by", WAYS)
def test_standard_errors_leave_out_every_example_in_turn(rng, by):
    models, n = three_models(rng, n=24), 24
    found = hl.model_similarity(hl.compare(models, measures="cka", interval=True), by=by)
    names = list(models["one"]), list(models["two"])
    without = []
    for left_out in range(n):
        kept = np.arange(n) != left_out
        part = {model: {name: x[kept] for name, x in layers.items()} for model, layers in models.items()}
        without.append(by_definition(values_of(hl.measure("cka"), part["one"], part["two"]), *names, by))
    expected = np.sqrt((n - 1) * np.var(without))
    assert number(found, "cka_se", "one", "two") == pytest.approx(expected)
    assert number(found, "cka_se", "two", "one") == number(found, "cka_se", "one", "two")
    assert "cka_p" not in found


@pytest.mark.parametrize("method", ["jackknife", "subsample"])
def test_standard_errors_say_by_which_method_they_are(rng, method):
    found = hl.model_similarity(hl.compare(three_models(rng), measures="cka", interval=True, method=method))
    assert found.cka_se.attrs["method"] == method
    assert "jackknife" not in found.cka_se.attrs["meaning"]


def test_two_models_by_an_asymmetric_measure_have_both_ways_round(rng):
    models = three_models(rng)
    many = hl.model_similarity(hl.compare(models, measures="pwcca"))
    both = hl.compare(
        models["one"], models["other"], measures="pwcca", names=("one", "other"), null="permutation", n_permutations=19
    )
    two = hl.model_similarity(both)
    for a, b in (("one", "other"), ("other", "one")):
        assert number(two, "pwcca", a, b) == pytest.approx(number(many, "pwcca", a, b))
    assert np.isnan(two.pwcca_p.values).tolist() == [[True, False], [True, True]]
    assert np.isnan(np.diag(two.pwcca)).all()
    cka = hl.model_similarity(
        hl.compare(models["one"], models["other"], measures="cka", null="permutation", n_permutations=19)
    )
    assert np.isnan(cka.cka_p.values).tolist() == [[True, False], [False, True]]


def test_pairs_that_were_not_compared_leave_no_number(rng):
    models = three_models(rng)
    named = hl.compare(models, measures="cka", pairs="same_name", null="permutation", n_permutations=19)
    found = hl.model_similarity(named, by="same_name")
    assert np.isfinite([found.cka, found.cka_p]).all()
    whole = hl.model_similarity(
        hl.compare(models, measures="cka", null="permutation", n_permutations=19), by="same_name"
    )
    assert number(found, "cka", "one", "two") == pytest.approx(number(whole, "cka", "one", "two"))
    assert number(found, "cka_threshold", "one", "two") == pytest.approx(number(whole, "cka_threshold", "one", "two"))
    with pytest.raises(
        ValueError, match=r"by='best_match' needs the values of all pairs of layers .*: compare with pairs='all'"
    ):
        hl.model_similarity(named)
    listed = list(
        itertools.product([("one", name) for name in models["one"]], [("two", name) for name in models["two"]])
    )
    some = hl.model_similarity(
        hl.compare(models, measures="cka", pairs=listed, null="permutation", n_permutations=19), by="max"
    )
    assert np.isnan(some.cka.values).tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert np.isnan(some.cka_p.values).tolist() == np.isnan(some.cka.values).tolist()
    apart = {"a": {"x": models["one"]["early"]}, "b": {"y": models["one"]["late"]}}
    with pytest.raises(ValueError, match="by='same_name' needs layers of the same name"):
        hl.model_similarity(hl.compare(apart, measures="cka"), by="same_name")


def test_layers_chosen_afterwards_have_values_and_no_probabilities(rng):
    result = hl.compare(three_models(rng), measures="cka", null="permutation", n_permutations=19, interval=True)
    kept = result.isel(a=result.layer_a != "middle", b=result.layer_b != "middle")
    with pytest.warns(hl.LeftOutWarning, match=r"^one: other layers than were compared, .*: compare these layers"):
        found = hl.model_similarity(kept)
    assert not np.isnan(found.cka).any()
    assert np.isnan(found.cka_p.sel(model_a="one")).all()
    assert number(found, "cka_p", "two", "other") == number(hl.model_similarity(result), "cka_p", "two", "other")
    assert json.loads(found.attrs["warnings"])[0][0] == "LeftOutWarning"
    renamed = result.assign_coords(layer_a=("a", [f"new {name}" for name in result.layer_a.values]))
    with pytest.warns(hl.LeftOutWarning):
        assert list(hl.model_similarity(renamed)) == ["cka"]
    # Another order of the layers, or fewer models, change nothing.
    turned = hl.model_similarity(result.isel(a=slice(None, None, -1)))
    assert number(turned, "cka_p", "one", "two") == number(hl.model_similarity(result), "cka_p", "one", "two")
    fewer = hl.model_similarity(result.isel(a=result.model_a != "other", b=result.model_b != "other"))
    assert fewer.model_a.values.tolist() == ["one", "two"]
    assert number(fewer, "cka_p_fdr", "one", "two") == number(fewer, "cka_p", "one", "two")


def altered(result, change):
    """A result whose values of cka were changed, with all that was said of them before."""
    return result.assign(cka=change(result.cka).assign_attrs(result.cka.attrs))


def renamed_in(result, model, one, other):
    def names(side):
        swapped = {one: other, other: one}
        both = zip(result[f"model_{side}"].values, result[f"layer_{side}"].values, strict=True)
        return [swapped.get(str(layer), str(layer)) if str(title) == model else str(layer) for title, layer in both]

    return result.assign_coords(layer_a=("a", names("a")), layer_b=("b", names("b")))


@pytest.mark.parametrize("by", WAYS)
def test_values_changed_afterwards_are_no_longer_tested(rng, by):
    """What permutations said was of other numbers: it must not stand beside these."""
    result = hl.compare(three_models(rng), measures="cka", null="permutation", n_permutations=19, interval=True)
    mask = result.cka_p <= 0.05
    for changed in (
        altered(result, lambda cka: cka * 0 + 0.01),
        altered(result, lambda cka: cka * 0.9),
        altered(result, lambda cka: cka.where(mask & (result.layer_a != "early"))),
    ):
        with pytest.warns(hl.HomologWarning) as given:
            found = hl.model_similarity(changed, by=by)
        (told,) = (str(each.message) for each in given if each.category is hl.LeftOutWarning)
        assert "one and two" in told
        assert "other values than were compared" in told
        for kind in ("p", "threshold", "calibrated", "se"):
            assert f"cka_{kind}" not in found or np.isnan(number(found, f"cka_{kind}", "one", "two")), kind
    # Of one pair of models the values were changed: the others are as they were.
    pair = (result.model_a != "other") & (result.model_b != "other") & (result.model_a != result.model_b)
    with pytest.warns(hl.LeftOutWarning, match="^one and two: other values"):
        found = hl.model_similarity(altered(result, lambda cka: cka.where(~pair, 0.99 * cka)), by=by)
    whole = hl.model_similarity(result, by=by)
    assert np.isnan(number(found, "cka_p", "one", "two"))
    assert number(found, "cka_p", "one", "other") == number(whole, "cka_p", "one", "other")
    assert number(found, "cka_p_fdr", "one", "other") <= 2 * number(found, "cka_p", "one", "other")


def test_names_of_layers_exchanged_afterwards_are_other_pairs(rng):
    result = hl.compare(three_models(rng), measures="cka", null="permutation", n_permutations=19)
    turned = renamed_in(result, "one", "early", "late")
    with pytest.warns(hl.LeftOutWarning, match="one and two, .* other values than were compared"):
        found = hl.model_similarity(turned, by="same_name")
    assert np.isnan(found.cka_p.sel(model_a="one", model_b=["two", "other"])).all()
    assert number(found, "cka_p", "two", "other") == number(
        hl.model_similarity(result, by="same_name"), "cka_p", "two", "other"
    )
    assert not np.isnan(hl.model_similarity(turned, by="max").cka_p).any()  # names do not count there


def test_a_model_that_was_not_compared_with_itself_has_nothing_on_the_diagonal(rng):
    result = hl.compare(three_models(rng), measures="cka", null="permutation", n_permutations=39, interval=True)
    found = hl.model_similarity(hl.between(result, "one", "other"))
    for name in found:
        assert np.isnan(np.diag(found[name])).all(), name
    assert number(found, "cka_p", "one", "other") == number(hl.model_similarity(result), "cka_p", "one", "other")


def test_a_layer_without_a_value_in_one_other_model_is_named(rng):
    result = hl.compare(three_models(rng), measures="cka")
    gone = (result.layer_a == "middle") & (result.model_b == "two") | (result.layer_b == "middle") & (
        result.model_a == "two"
    )
    with pytest.warns(hl.UndefinedValueWarning, match="^one: middle: no value of cka with any layer of another model"):
        hl.model_similarity(altered(result, lambda cka: cka.where(~gone)))


def test_layers_without_a_value_count_in_none_and_are_named(rng):
    models = three_models(rng)
    without = hl.model_similarity(hl.compare(models, measures="cka"), by="assignment")
    models["two"] = {**models["two"], "dead": np.zeros((40, 3))}
    with pytest.warns(hl.ConstantLayerWarning):
        result = hl.compare(models, measures=("cka", "cca"), null="permutation", n_permutations=19)
    with pytest.warns(hl.UndefinedValueWarning, match="two: dead: no value of"):
        found = hl.model_similarity(result, "cka", by="assignment")
    np.testing.assert_allclose(found.cka, without.cka)
    assert not np.isnan(found.cka_p).any()
    assert "cca" not in found


def test_other_results_are_refused_in_one_sentence(rng):
    models = three_models(rng)
    result = hl.compare(models, measures="cka")
    with pytest.raises(ValueError, match=r"by must be one of 'best_match', .* got 'mean'"):
        hl.model_similarity(result, by="mean")
    with pytest.raises(ValueError, match="needs two models or more, got a result of 'a' alone"):
        hl.model_similarity(hl.compare(models["one"], measures="cka"))
    with pytest.raises(ValueError, match="needs two models or more, got a result of 'one' alone"):
        hl.model_similarity(hl.between(result, "one", "one"))
    with pytest.raises(
        ValueError, match=r"this needs a result of homolog\.compare, got one of homolog\.model_similarity"
    ):
        hl.model_similarity(hl.model_similarity(result))
    with pytest.raises(KeyError, match="unknown measure"):
        hl.model_similarity(result, "cca")
    tested = hl.compare(models, measures="cka", null="permutation", n_permutations=19)
    for altered in ("", "[]", '{"layers": {}}', tested.cka.attrs["over_models"].replace("[0, 1], ", "", 1)):
        tested.cka.attrs["over_models"] = altered
        with pytest.raises(ValueError, match="got an altered 'over_models' of 'cka': compare again"):
            hl.model_similarity(tested)


def test_a_similarity_of_models_is_read_as_it_was_written(rng, tmp_path):
    names = ("cka", "procrustes_distance", "hsic")
    result = hl.compare(three_models(rng), measures=names, null="permutation", n_permutations=19, interval=True)
    result.to_netcdf(tmp_path / "result.nc")
    read = xarray.load_dataset(tmp_path / "result.nc")
    found = hl.model_similarity(read)
    assert read.identical(result)
    assert found.identical(hl.model_similarity(result))
    found.to_netcdf(tmp_path / "models.nc")
    assert xarray.load_dataset(tmp_path / "models.nc").identical(found)
    assert "procrustes_distance_calibrated" in found
    assert "hsic_calibrated" not in found


def test_too_few_permutations_are_said_of_models_too(rng):
    result = hl.compare(three_models(rng), measures="cka", null="permutation", n_permutations=9)
    with pytest.warns(hl.FewPermutationsWarning, match="with 9 permutations .* 19 or more would tell"):
        found = hl.model_similarity(result)
    assert (found.cka_calibrated == 0).all()


def test_numbers_of_blocks_with_infinite_and_missing_values():
    nothing = np.zeros((2, 2), dtype=bool)
    infinite = np.array([[[np.inf, 1.0], [2.0, 3.0]], [[1.0, 2.0], [5.0, np.inf]]])
    assert aggregated(infinite, "assignment", "similarity", nothing).tolist() == [np.inf, np.inf]
    assert aggregated(infinite, "assignment", "distance", nothing).tolist() == [1.5, 3.5]
    # What is missing in the first block counts in none, what is missing in another leaves no number.
    missing = np.array([[[np.nan, 1.0], [2.0, 3.0]], [[9.0, 1.0], [2.0, 3.0]], [[9.0, 1.0], [np.nan, 3.0]]])
    np.testing.assert_array_equal(aggregated(missing, "assignment", "similarity", nothing), [1.5, 1.5, np.nan])
    np.testing.assert_array_equal(aggregated(missing, "max", "similarity", nothing), [3, 3, np.nan])
    assert np.isnan(aggregated(np.full((2, 2, 2), np.nan), "max", "similarity", nothing)).all()


# --- Independent models are not alike, however many layers are looked at


def random_features(rng, n=120, width=160, layers=6):
    """A random network of its own inputs: its layers depend on each other, and on no other network."""
    x, found = rng.normal(size=(n, 30)), {}
    for k in range(layers):
        x = np.maximum(x @ rng.normal(size=(x.shape[1], width)) / np.sqrt(x.shape[1]), 0)
        found[f"layer {k}"] = x
    return found


def trained(seed, images, labels, shown):
    network = MLPClassifier((64, 64, 64), max_iter=12, random_state=seed, early_stopping=False)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        network.fit(images, labels)
    layers = {}
    for k, (weights, bias) in enumerate(zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True)):
        shown = np.maximum(shown @ weights + bias, 0)
        layers[f"layer {k}"] = shown
    return layers


def test_independent_models_score_0_and_two_seeds_of_one_network_above_them():
    """One draw of ten models: the share of zeros is 95 % on average, and between 89 and 100 % from draw to draw."""
    rng = np.random.default_rng(3)
    images, labels = load_digits(return_X_y=True)
    seeds = {f"seed {seed}": trained(seed, images[:800] / 16, labels[:800], images[-120:] / 16) for seed in (0, 1)}
    models = {f"random {k}": random_features(rng) for k in range(10)}
    result = hl.compare(models | seeds, measures="cka", null="permutation", n_permutations=199, rng=3)
    pairs = np.triu_indices(10, 1)
    for by in WAYS:
        found = hl.model_similarity(result, by=by)
        score = found.cka_calibrated.values
        assert np.mean(score[:10, :10][pairs] == 0) >= 0.93, by
        if by == "max":
            assert found.cka.values[:10, :10][pairs].min() > 0.2
        assert number(found, "cka_calibrated", "seed 0", "seed 1") > max(score[:10, :10][pairs].max(), 0.3), by


def test_the_best_of_many_pairs_of_layers_is_judged_by_the_best_of_as_many():
    """Each pair of layers by its own threshold: the best of 64 lies beyond it far too often."""
    rng = np.random.default_rng(0)
    models = {f"m{k}": {f"l{i}": rng.normal(size=(40, 60)) for i in range(8)} for k in range(6)}
    result = hl.compare(models, measures="cka", calibrate=True, n_permutations=99)
    pairs = list(itertools.combinations(models, 2))
    alone = [bool((hl.between(result, a, b).cka_calibrated > 0).any()) for a, b in pairs]
    whole = [number(hl.model_similarity(result, by="max"), "cka_calibrated", a, b) > 0 for a, b in pairs]
    assert np.mean(alone) > 0.8
    assert np.mean(whole) < 0.2


@pytest.mark.slow
def test_a_twentieth_of_independent_pairs_of_models_lies_beyond_the_threshold():
    """Over many draws: within binomial bounds of 5 %, however the layers become one number."""
    draws, zeros = 400, dict.fromkeys(WAYS, 0)
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        models = {name: random_features(rng, n=50, width=70, layers=4) for name in ("a", "b")}
        result = hl.compare(*models.values(), measures="cka", null="permutation", n_permutations=99, rng=draw)
        for by in WAYS:
            zeros[by] += float(hl.model_similarity(result, by=by).cka_calibrated.values[0, 1]) == 0
    for by, count in zeros.items():
        assert abs(count / draws - 0.95) < 3 * np.sqrt(0.95 * 0.05 / draws), (by, count / draws)
