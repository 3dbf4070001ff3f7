"""What summaries say of chance and of examples where rows belong together, as tokens of texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray

import homolog as hl

TEXTS, TOKENS = 30, 8
UNIT = np.repeat(np.arange(TEXTS), TOKENS)
DEBIASED = "cka(estimator=debiased)"
CHANCE = ("chance gives", "by chance", "independent ones")


def unrelated(seed):
    """Layers of tokens that share one vector in each text: debiased CKA of two is 0.14 on average."""
    rng = np.random.default_rng(seed)
    layers = {f"layer {i}": rng.normal(size=(TEXTS, 5))[UNIT] for i in range(3)}
    return hl.Activations(
        layers,
        example_ids=UNIT,
        positions=np.tile(np.arange(TOKENS), TEXTS),
        provenance={"example_ids": "given"},
    )


A, B, C = map(unrelated, range(3))
RESULTS = {
    "two": lambda: hl.compare(A, B),
    "interval": lambda: hl.compare(A, B, interval=True, measures=DEBIASED),
    "many": lambda: hl.compare({"a": A, "b": B, "c": C}, measures=DEBIASED),
    "one": lambda: hl.compare(A, measures=DEBIASED),
    "one pair": lambda: hl.compare(A.select("layer 0"), B.select("layer 0"), measures=DEBIASED),
    "groups": lambda: hl.compare(dict(A), dict(B), interval=True, groups=UNIT, measures=DEBIASED),
}


@pytest.mark.filterwarnings("ignore::homolog.diagnostics.BiasWarning")
@pytest.mark.parametrize("name", RESULTS)
def test_rows_of_texts_have_no_level_of_chance_that_is_for_independent_rows(name):
    result = RESULTS[name]()
    said = str(hl.summary(result, measure=DEBIASED))
    assert not [words for words in CHANCE if words in said]
    assert "240 rows of 30 independent examples or groups" in said
    assert not [variable for variable in result.data_vars if str(variable).endswith(("_null", "_p"))]


@pytest.mark.filterwarnings("ignore::homolog.diagnostics.NullLevelWarning")
def test_permutations_of_whole_texts_say_what_chance_gives():
    result = hl.compare(A, B, null="permutation", n_permutations=39)
    said = str(hl.summary(result))
    assert 0.1 < float(result[f"{DEBIASED}_null"].mean()) < 0.2
    assert "where chance gives between 0.1" in said
    assert "independent ones" not in said
    assert "about 0 by chance" not in said


def test_independent_rows_are_still_said_to_have_a_level_of_zero():
    said = str(hl.summary(hl.compare(dict(A), dict(B))))
    assert "about 0 on average for independent ones" in said
    assert "where chance gives 0.00 on average" in said


@pytest.mark.filterwarnings("ignore::homolog.diagnostics.NullLevelWarning")
def test_groups_within_which_rows_are_equal_are_told_from_a_measure_without_order():
    x, y = A["layer 0"], B["layer 0"]
    equal = "cka.* is the same whatever the order of the examples within their groups.* their rows may be equal"
    with pytest.warns(hl.diagnostics.OrderFreeWarning, match=equal):
        assert np.isnan(hl.permutation_test(x, y, groups=UNIT, n_permutations=19).pvalue)
    with pytest.warns(hl.diagnostics.OrderFreeWarning, match=equal):
        hl.compare({"x": x}, {"y": y}, groups=UNIT, null="permutation", n_permutations=19)
    # The remedies that the sentence names give a p-value, of thirty texts.
    means = (side[::TOKENS] for side in (x, y))
    assert hl.permutation_test(*means, n_permutations=19).pvalue > 0
    whole = hl.compare(A, B, null="permutation", n_permutations=19)
    assert np.isfinite(whole[f"{DEBIASED}_p"]).all()


def test_a_null_level_of_tables_of_tokens_is_of_whole_texts():
    index = pd.MultiIndex.from_arrays([UNIT, np.tile(np.arange(TOKENS), TEXTS)], names=["example_id", "position"])
    x, y = (pd.DataFrame(side["layer 0"], index=index, columns=list("abcde")) for side in (A, B))
    assert hl.null_level(x, y, n_permutations=99) > 3 * hl.null_level(A["layer 0"], B["layer 0"])


# --- Over how many examples


OF_TEXTS = "240 rows of 30 independent examples or groups"


def test_similarities_of_models_know_of_how_many_texts_their_rows_are(tmp_path):
    similarities = hl.model_similarity(hl.compare({"a": A, "b": B, "c": C}, measures=DEBIASED))
    assert int(similarities.attrs["n_units"]) == TEXTS
    assert f"3 models were compared over {OF_TEXTS} by" in str(hl.summary(similarities))
    similarities.to_netcdf(tmp_path / "a.nc")
    assert xarray.load_dataset(tmp_path / "a.nc").identical(similarities)
    hl.report(similarities, tmp_path / "a.html")
    assert OF_TEXTS in (tmp_path / "a.html").read_text()
    plain = hl.model_similarity(hl.compare({"a": dict(A), "b": dict(B)}, measures=DEBIASED))
    assert "n_units" not in plain.attrs
    assert "over 240 examples by" in str(hl.summary(plain))


def test_pages_of_comparisons_say_of_how_many_texts_their_rows_are(tmp_path):
    hl.report(hl.compare(A, B, measures=DEBIASED), tmp_path / "a.html")
    assert OF_TEXTS in (tmp_path / "a.html").read_text()


def test_few_texts_are_few_examples_however_many_tokens_they_have():
    assert "with only 30 independent examples or groups values may be imprecise" in str(
        hl.summary(hl.compare(A, B, measures=DEBIASED))
    )


def test_trajectories_know_of_how_many_texts_their_rows_are():
    found = hl.compare_checkpoints(
        None, {f"step {step}": side for step, side in enumerate((A, B))}, None, measures=DEBIASED
    )
    assert OF_TEXTS in str(hl.summary(found))
