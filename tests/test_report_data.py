"""The numbers that the explorer gets, against the result they come from; and labels that nobody can mistake."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import homolog as hl
from homolog.names import folded_prefix, labels
from homolog.reporting.explorer_data import explorer_data, rounded
from homolog.reporting.model_similarity_sections import sections_of_many
from homolog.reporting.page_data import data_for_page
from homolog.results import by_chance


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def network(rng, shared, count=4):
    return {f"layer{i}": shared + (i + 0.3) * rng.normal(size=shared.shape) for i in range(count)}


@pytest.fixture
def models(rng):
    shared = rng.normal(size=(50, 5))
    return {name: network(rng, shared) for name in ("one", "two", "three")}


def test_best_matches_are_those_of_correspondence(models):
    first, second = models["one"], dict(list(models["two"].items())[:3])
    for measure in ("cka", "procrustes_distance", "linear_regression"):
        result = hl.compare(first, second, measures=measure)
        found = hl.correspondence(result)
        pair = explorer_data(result)["whole"]["measures"][0]["pairs"][0]
        assert [str(result.layer_b.values[j]) for j in pair["bestB"]] == found.best_b.values.tolist()
        assert [str(result.layer_a.values[i]) for i in pair["bestA"]] == found.best_a.values.tolist()


def test_every_pair_of_models_is_there_both_ways(models):
    result = hl.compare(models, measures=("cka", "linear_regression"))
    data = explorer_data(result)
    assert data["whole"]["rows"]["models"] == list(models)
    for measure in data["whole"]["measures"]:
        pairs = {(pair["a"], pair["b"]): pair for pair in measure["pairs"]}
        assert len(pairs) == 9
        for (a, b), pair in pairs.items():
            part = hl.between(result, list(models)[a], list(models)[b])
            assert pair["same"] == (a == b)
            if a != b:
                found = hl.correspondence(part, measure["name"])
                expected = [4 * b + part.layer_b.values.tolist().index(name) for name in found.best_b.values]
                assert pair["bestB"] == expected
                np.testing.assert_allclose(pair["level"], np.diag(part[measure["name"]].values).mean(), rtol=1e-3)
            else:
                # A layer is never its own match.
                assert all(j != i for i, j in zip(range(4 * a, 4 * a + 4), pair["bestB"], strict=True))
    mean = hl.mean_over_models(result)
    np.testing.assert_allclose(data["mean"]["measures"][0]["values"], mean.cka.values, rtol=1e-4)
    np.testing.assert_allclose(data["mean"]["measures"][0]["companions"]["se"], mean.cka_se.values, rtol=1e-3)


def test_no_mean_where_models_differ_in_their_layers(models):
    models["two"] = {f"other {name}": array for name, array in models["two"].items()}
    data = explorer_data(hl.compare(models, measures="cka"))
    assert data["mean"] is None
    levels = {(pair["a"], pair["b"]): pair["levelOf"] for pair in data["whole"]["measures"][0]["pairs"]}
    assert levels[0, 1] == "best match"
    assert levels[0, 2] == "same name"


def test_a_mean_of_p_values_is_none(models):
    data = explorer_data(hl.compare(models, measures="cka", null="permutation", n_permutations=19))
    measure = data["mean"]["measures"][0]
    assert set(measure["companions"]) == {"null", "se"}
    assert measure["chance"] is None
    assert measure["tested"] is False


def test_calibrated_scores_and_their_threshold_are_there(models):
    data = explorer_data(hl.compare(models, measures="cka", calibrate=True, n_permutations=19))
    assert {"threshold", "calibrated"} <= set(data["whole"]["measures"][0]["companions"])
    assert not {"threshold", "calibrated"} & set(data["mean"]["measures"][0]["companions"])


def test_what_is_no_better_than_chance(rng, models):
    first = models["one"] | {"noise": rng.normal(size=(50, 3))}
    result = hl.compare(first, models["two"], measures="cka", null="permutation", n_permutations=99)
    measure = explorer_data(result)["whole"]["measures"][0]
    crossed = [[cell == "1" for cell in row] for row in measure["chance"]]
    np.testing.assert_array_equal(crossed, by_chance(result, "cka"))
    assert np.any(crossed)
    assert measure["tested"]


def test_types_and_shapes_where_a_result_has_them(models):
    result = hl.compare(models["one"], models["two"], measures="cka")
    bare = result.drop_vars([name for name in ("type_a", "type_b", "shape_a", "shape_b") if name in result.coords])
    assert explorer_data(bare)["whole"]["rows"]["types"] is None
    told = bare.assign_coords(
        type_a=("layer_a", ["Conv2d", "", "", "Linear"]), shape_b=("layer_b", ["64 × 8 × 8", "", "", "5"])
    )
    whole = explorer_data(told)["whole"]
    assert whole["rows"]["types"] == ["Conv2d", "", "", "Linear"]
    assert whole["columns"]["shapes"] == ["64 × 8 × 8", "", "", "5"]
    assert whole["columns"]["types"] is None


def test_a_turned_result_is_turned_back(models):
    first, second = dict(list(models["one"].items())[:3]), models["two"]
    for result in (hl.compare(first, second), hl.compare({"m": first, "n": second})):
        assert data_for_page(result.transpose(), None)["explorer"] == data_for_page(result, None)["explorer"]


def test_numbers_that_json_cannot_hold():
    values = np.array([[np.nan, np.inf, -np.inf, 1.0, 0.123456789, -2e-30]])
    assert rounded(values, 5) == [[None, 1e308, -1e308, 1, 0.12346, -2e-30]]


LONG = [
    *[[f"{'transformer.encoder.block.' * 2}{i}" for i in range(12)], ["a" * 20 + c + "b" * 19 for c in "xyz"]],
    *[["q" * 39 + c for c in "xyz"], ["x" * 300, "x" * 299 + "y", "x" * 150 + "y" + "x" * 149, "short"]],
    ["".join(c * 12 for c in order) for order in ("abcab", "abdab", "acdab", "bcdab")],
]


@pytest.mark.parametrize("names", LONG)
@pytest.mark.parametrize("most", [14, 28])
def test_long_names_stay_apart(names, most):
    short = labels(names, most)
    assert len(set(short)) == len(names)
    assert max(map(len, short)) <= most + 5


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab._…# 1", max_size=24), max_size=8), st.integers(5, 20))
def test_equal_labels_have_equal_names(names, most):
    short = labels(names, most)
    assert len(short) == len(names)
    assert len(set(short)) == len(set(names))


def test_short_names_are_left_alone():
    assert labels(["layer.0", "layer.1"]) == ["layer.0", "layer.1"]
    assert folded_prefix(["encoder.layer.10.mlp", "encoder.layer.11.mlp"]) == "encoder.layer."
    assert folded_prefix(["encoder.", "encoder.layer"]) == ""
    assert folded_prefix(["encoder.layer"]) == folded_prefix([]) == ""


def test_the_page_of_many_models_arranges_them_as_wholes(rng, tmp_path):
    bases = rng.normal(size=(2, 60, 5))
    models = {
        f"{kind}{k}": {"layer": bases[i] + 0.3 * rng.normal(size=(60, 5))} for i, kind in enumerate("ab") for k in "123"
    }
    result = hl.compare(models, measures="cka")
    headings = [section["heading"] for section in data_for_page(result, None)["sections"]]
    assert headings == ["Models by models", "Map", "Tree", "Pairs of models"]
    tested = data_for_page(result, None, None, {name: name[0] for name in models})["sections"]
    assert any("PERMANOVA" in sentence for section in tested for sentence in section["text"])
    two = hl.compare(dict(list(models.items())[:2]), measures="cka")
    assert data_for_page(two, None)["sections"] == []
    with pytest.raises(ValueError, match="groups are of 3 models or more, got them for fewer: leave them out"):
        data_for_page(two, None, None, {"a1": "a", "a2": "a"})


def test_without_matplotlib_the_page_of_many_models_has_their_table(rng, monkeypatch):
    monkeypatch.setitem(sections_of_many.__globals__, "find_spec", lambda name: None)
    result = hl.compare({name: {"layer": rng.normal(size=(30, 3))} for name in "abc"}, measures="cka")
    (section,) = data_for_page(result, None)["sections"]
    assert "pip install" in section["text"][0]
    assert section["picture"] is None
    assert len(json.loads(section["table"])["rows"]) == 3
