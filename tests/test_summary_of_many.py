"""Every rule of a summary of many models, on a result made to show it and on one made not to."""

from __future__ import annotations

import re

import numpy as np
import pytest
from made_results import in_order, made_of_many, names_of, sentence_of

import homolog as hl

SURE, CHANCE = 1e-4, 0.4


def seeds(odd=0.0, count=5):
    names = [f"seed {i}" for i in range(count)]
    return {
        (a, b): in_order(4, 4) - np.diag([0, 0.1, 0.05, 0.2]) * 0.4 - odd * (b == names[-1])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }


def test_many_models_of_one_architecture():
    result = made_of_many(seeds(), names_of(4), p=SURE)
    found = hl.summary(result)
    assert found.sentences[0].startswith("5 models, in 10 pairs, were compared over 500 examples")
    assert found.sentences[1].startswith("80 of 80 best matches of a layer in another model are more alike than chance")
    identified = hl.layer_identification(result)
    assert f"the same name in {float(identified.accuracy[0]):.0%} of 80 cases" in found.sentences[2]
    assert "l0 is the layer most alike to itself (mean 0.90) and l3 the least (0.82)" in found.sentences[3]
    assert not sentence_of(result, "is the odd one")
    assert "mean_over_models" in found.sentences[-1]


def test_the_odd_model_out():
    result = made_of_many(seeds(odd=0.3), names_of(4), p=SURE)
    assert sentence_of(
        result,
        "seed 4 is the odd one: its mean likeness to the other models (over layers of the same name) is 0.57, theirs",
    )
    assert not sentence_of(made_of_many(seeds(odd=0.04), names_of(4), p=SURE), "is the odd one")


def test_no_model_is_odd_for_a_layer_that_it_lacks():
    pairs = seeds()
    for (_, second), values in pairs.items():
        if second == "seed 4":
            values[[0, 1, 2], [0, 1, 2]] = np.nan  # the layers that are most alike
    pairs = {pair: values - np.diag([0, 0, 0, 0.3]) for pair, values in pairs.items()}
    assert not sentence_of(made_of_many(pairs, names_of(4), p=SURE), "is the odd one")


def test_models_of_other_names_are_asked_for_the_order():
    pairs = {("x", "y"): in_order(6, 6), ("x", "z"): in_order(6, 6), ("y", "z"): in_order(6, 6)[::-1]}
    result = made_of_many(pairs, names_of(6), p=SURE)
    for side in "ab":
        result[f"layer_{side}"] = (side, [f"{m} {n}" for m in "xyz" for n in range(6)])
    assert sentence_of(result, "In 2 of 3 pairs of models the layers correspond in order.")


def test_many_models_by_chance():
    pairs = {pair: 0.03 * np.random.default_rng(seed).normal(size=(4, 4)) for seed, pair in enumerate(seeds())}
    found = hl.summary(made_of_many(pairs, names_of(4), p=CHANCE))
    assert found.sentences[1].startswith("No better than chance: no pair of layers of two models")
    assert "diagnose" in found.sentences[-1]


def test_one_model_of_many_is_read_as_compared_with_itself():
    part = made_of_many(seeds(), names_of(4)).isel(a=slice(0, 4), b=slice(0, 4))
    assert hl.summary(part).sentences[0].startswith("4 layers of seed 0 were compared with each other over")
    with pytest.raises(ValueError, match="needs a model on both sides, got a part"):
        hl.summary(part.isel(a=[]))


# --- Calibrated scores, and models as wholes


def some_models(rng, n=60):
    task = [rng.normal(size=(n, 8)) for _ in range(4)]
    return {
        f"m{k}": {
            f"l{i}": (x if k < 2 else rng.normal(size=x.shape)) + rng.normal(size=x.shape) for i, x in enumerate(task)
        }
        for k in range(3)
    }


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_models_as_wholes_and_calibrated_matches_are_told(rng):
    result = hl.compare(some_models(rng), measures="cka", calibrate=True, n_permutations=99)
    told = str(hl.summary(result))
    found = hl.model_similarity(result)
    beyond = int((found.cka_p.values[np.triu_indices(3, 1)] <= 0.05).sum())
    who = f"{beyond} of 3 pairs of models {'is' if beyond == 1 else 'are'} more alike as wholes"
    assert f"{who} (mean of best matches) than 95% of random orders" in told
    assert "by chance fewer than one pair would be; calibrated, these score " in told
    assert "Calibrated, where 0 is what chance reaches and 1 is equal, best matches score between 0.00 and " in told
    without = str(hl.summary(hl.compare(some_models(rng), measures="cka")))
    assert "wholes" not in without
    assert "alibrated" not in without
    # Layers chosen afterwards have no number that was tested.
    assert "wholes" not in str(hl.summary(result.isel(a=result.layer_a != "l0", b=result.layer_b != "l0")))


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_pairs_of_an_asymmetric_measure_are_not_called_twice_as_many_without_a_word(rng):
    result = hl.compare(some_models(rng), measures="linear_regression", null="permutation", n_permutations=39)
    told = str(hl.summary(result))
    assert "3 models, in 3 pairs, were compared" in told
    assert " of 6 pairs of models, each counted both ways round, " in told
    assert "both ways round" not in str(
        hl.summary(hl.compare(some_models(rng), measures="cka", null="permutation", n_permutations=39))
    )


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("alike", [True, False])
def test_two_models_are_told_as_one_pair(rng, alike):
    models = {"m0": some_models(rng)["m0"], "m1": some_models(rng)["m0" if alike else "m2"]}
    if alike:
        models["m1"] = {name: x + 0.1 * rng.normal(size=x.shape) for name, x in models["m0"].items()}
    result = hl.compare(models, measures="cka(estimator=debiased)", calibrate=True, n_permutations=199)
    told = str(hl.summary(result)) + str(hl.summary(hl.model_similarity(result)))
    assert "2 models, in 1 pair, were compared" in told
    assert f"The two models are {'' if alike else 'not '}more alike as wholes" in told
    assert not re.search(r"\b1 pairs|\b1 of 1 |\b0 of them", told)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_calibrated_matches_that_are_all_0_are_said(rng):
    layers = [{f"l{i}": rng.normal(size=(40, 4)) for i in range(2)} for _ in range(2)]
    result = hl.compare(*layers, measures="cka", calibrate=True, n_permutations=9)
    assert "Calibrated, every best match scores 0: none lies beyond what chance reaches." in list(hl.summary(result))
