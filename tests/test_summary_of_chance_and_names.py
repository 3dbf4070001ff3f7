"""What a summary says where permutations told nothing or too little, and where one name is of layers of different types."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import homolog as hl
from homolog.analysis.summarising import summarised
from homolog.cli.summary_output import for_a_file

FEW = "ignore::homolog.FewPermutationsWarning"
LENGTHS = np.arange(4, 11)
UNIT = np.repeat(np.arange(len(LENGTHS)), LENGTHS)


def texts_of_unequal_lengths(seed):
    """Layers whose rows are tokens of texts of which none is as long as another, so that no order can be drawn."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(len(UNIT), 4))
    layers = {f"layer {i}": shared + 0.01 * rng.normal(size=shared.shape) for i in range(4)}
    positions = np.concatenate([np.arange(length) for length in LENGTHS])
    return hl.Activations(layers, example_ids=UNIT, positions=positions, provenance={"example_ids": "given"})


@pytest.mark.filterwarnings(FEW)
def test_without_a_level_of_chance_no_layers_are_counted_from_it():
    told = str(hl.summary(hl.compare(texts_of_unequal_lengths(0), measures="cka", null="permutation")))
    assert "nearly equal" not in told
    assert "level of chance" not in told
    assert "nothing in this result says what chance would give" in told
    assert "The largest change between neighbours" in told


@pytest.mark.filterwarnings(FEW)
def test_permutations_that_told_nothing_are_not_advised_again():
    a, b = texts_of_unequal_lengths(0), texts_of_unequal_lengths(1)
    told = hl.summary(hl.compare(a, b, measures="cka", null="permutation")).sentences
    assert "nearly equal" not in " ".join(told)
    assert told[-1].startswith("Next, to look at every pair")


def test_a_warning_of_few_permutations_counts_pairs_that_have_a_value():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(30, 3))
    layers = {f"layer {i}": shared @ rng.normal(size=(3, 4)) for i in range(2)}
    with pytest.warns(hl.HomologWarning) as given:
        hl.compare(layers | {"dead": np.ones((30, 3))}, layers, measures="cka", null="permutation", n_permutations=9)
    (told,) = [str(each.message) for each in given if each.category is hl.FewPermutationsWarning]
    assert re.search(r"cka: 4 of 4 pairs .*: 79 would tell", told)


@pytest.mark.filterwarnings(FEW)
def test_the_next_step_asks_for_permutations_that_suffice_and_for_calibrated_scores_again():
    rng = np.random.default_rng(0)
    a, b = ({f"layer {i}": rng.normal(size=(40, 3)) for i in range(12)} for _ in range(2))
    for calibrate in (True, False):
        asked = {"calibrate": True} if calibrate else {"null": "permutation"}
        with pytest.warns(hl.FewPermutationsWarning) as given:
            found = hl.compare(a, b, measures="cka", n_permutations=3, **asked)
        step = hl.summary(found).sentences[-1]
        asked_for = int(re.search(r"n_permutations=(\d+)", step)[1])
        warned = [int(n) for each in given for n in re.findall(r"(\d+) (?:or more )?would tell", str(each.message))]
        assert asked_for >= max(warned)
        assert ("calibrate=True" in step) == calibrate
        assert ("--calibrate" in summarised(found, None, for_a_file(Path("found.nc"))).sentences[-1]) == calibrate


def networks():
    """Two architectures whose modules are named by their numbers alone, on the same examples."""
    import torch

    torch.manual_seed(0)
    nn = torch.nn
    conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU())
    dense = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh())
    images = torch.randn(60, 1, 6, 6)
    return {"conv": hl.extract(conv, images), "dense": hl.extract(dense, images)}


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_names_of_other_architectures_are_mentioned_and_not_used(tmp_path):
    models = networks()
    for given in ((models,), tuple(models.values())):
        found = hl.compare(*given, measures="cka")
        told = str(hl.summary(found))
        assert "Names are no guide to which layers correspond: 4 of 5 pairs of layers of the same name" in told
        assert "(0 is Conv2d in " in told
        assert "Flatten in " in told
        assert not re.search("best match.* has the same name|most alike to itself|Of 5 layers of the same name", told)
        hl.report(found, tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text()
        assert "Names are no guide" in page
        assert "Is the most alike layer the one of the same name?" not in page


def test_one_other_type_among_many_is_mentioned_and_names_are_used():
    rng = np.random.default_rng(0)
    shared = [rng.normal(size=(60, 3)) for _ in range(5)]
    a, b = ({f"{i}": x + 0.1 * rng.normal(size=x.shape) for i, x in enumerate(shared)} for _ in range(2))
    found = hl.compare(a, b, measures="cka(estimator=debiased)")
    kinds = ["Linear", "GELU", "Linear", "", "Linear"]
    found = found.assign_coords(
        type_a=("layer_a", kinds), type_b=("layer_b", ["Linear", "ReLU", "Linear", "Linear", "Linear"])
    )
    told = str(hl.summary(found))
    assert "1 of 5 pairs of layers of the same name has different types (1 is GELU in a and ReLU in b)." in told
    assert "Names are no guide" not in told
    assert "the best match has the same name for 5 of 5 layers" in told
