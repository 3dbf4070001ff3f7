"""Results as numbers for tools that draw curves over training."""

from __future__ import annotations

import re

import numpy as np
import pytest

import homolog as hl

pytestmark = pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
KEY = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*(/[_a-zA-Z0-9]+)+")


def layers(seed, *names):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(30, 4)) for name in names}


A, B = layers(0, "encoder.layer.0", "encoder.layer.1", "only in a"), layers(1, "encoder.layer.1", "encoder.layer.0")
MEASURES = ("cka(estimator=debiased)", "procrustes_distance")
RESULT = hl.compare(A, B, measures=MEASURES)


def test_values_of_the_same_names_under_keys_that_both_tools_take():
    logged = hl.log_dict(RESULT)
    assert list(logged) == [
        f"{name}/encoder_layer_{i}" for name in ("cka_estimator_debiased", "procrustes_distance") for i in (0, 1)
    ]
    for i in (0, 1):
        layer = f"encoder.layer.{i}"
        for name, key in zip(MEASURES, ("cka_estimator_debiased", "procrustes_distance"), strict=True):
            value = logged[f"{key}/encoder_layer_{i}"]
            assert type(value) is float
            assert value == RESULT[name].sel(layer_a=layer, layer_b=layer).item()


def test_best_matches_are_the_same_keys_whatever_matches():
    best = hl.log_dict(RESULT, matches="best")
    assert len(best) == 6
    assert best["cka_estimator_debiased/only_in_a"] == RESULT[MEASURES[0]].sel(layer_a="only in a").max().item()
    assert best["procrustes_distance/only_in_a"] == RESULT[MEASURES[1]].sel(layer_a="only in a").min().item()
    other = hl.compare(A, layers(1, "x", "y"), measures=MEASURES)
    assert hl.log_dict(other).keys() == best.keys()
    with pytest.raises(ValueError, match="needs layers of the same name in both models, got none"):
        hl.log_dict(other, matches="same_name")


def test_a_model_with_itself_is_logged_by_the_other_layers():
    logged = hl.log_dict(hl.compare(A, measures="cka"))
    assert len(logged) == 3
    assert max(logged.values()) < 0.9


def test_one_measure_and_a_prefix():
    logged = hl.log_dict(RESULT, "procrustes_distance", prefix="val/")
    assert list(logged) == ["val/procrustes_distance/encoder_layer_0", "val/procrustes_distance/encoder_layer_1"]
    assert hl.log_dict(RESULT, ["procrustes_distance"], prefix="val/") == logged
    with pytest.raises(KeyError, match="unknown measure 'cca' in this result"):
        hl.log_dict(RESULT, ["cca"])
    with pytest.raises(ValueError, match="matches must be 'same_name', 'best' or None, got 'all'"):
        hl.log_dict(RESULT, matches="all")


def test_many_models_are_logged_by_pairs():
    models = {"seed 0": layers(0, "fc"), "seed 1": layers(1, "fc"), "2": layers(2, "fc")}
    result = hl.compare(models, measures="cka")
    assert list(hl.log_dict(result)) == ["cka/seed_0_seed_1/fc", "cka/seed_0_2/fc", "cka/seed_1_2/fc"]
    assert hl.log_dict(result)["cka/seed_0_2/fc"] == hl.between(result, "seed 0", "2").cka.item()


def test_names_that_become_equal_stay_apart_and_any_name_becomes_a_key():
    names = ("a.b", "a_b", "a/b", "<script>", "…", "$", "\N{SNOWMAN}")
    result = hl.compare(layers(0, *names), layers(1, *names), measures="cka")
    logged = hl.log_dict(result)
    assert list(logged) == ["cka/a_b", "cka/a_b_2", "cka/a_b_3", "cka/script", "cka/_", "cka/__2", "cka/__3"]
    assert list(logged.values()) == np.diag(result.cka.values).tolist()
    assert all(KEY.fullmatch(key) for key in [*logged, *hl.log_dict(RESULT)])


def test_what_was_not_compared_is_not_a_number():
    result = hl.compare(A, B, measures="cka", pairs=[("encoder.layer.0", "encoder.layer.0")])
    assert [np.isnan(value) for value in hl.log_dict(result).values()] == [False, True]
