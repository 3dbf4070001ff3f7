"""Of many models a diagnosis says what it says with permutations, and does not pay for them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import homolog as hl
from homolog.analysis import explaining
from homolog.operands import gram_statistics


@pytest.fixture
def models():
    """Five alike, of which one has a layer of chance, one shuffled rows, two an outlier, and one a dead layer."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(200, 6))

    def layers():
        return {name: factors @ rng.normal(size=(6, 24)) + 0.3 * rng.normal(size=(200, 24)) for name in "pqr"}

    found = {name: layers() for name in ("one", "two", "chance", "shuffled", "dead")}
    found["chance"]["q"] = rng.normal(size=(200, 24))
    order = rng.permutation(200)
    found["shuffled"] = {name: x[order] for name, x in found["shuffled"].items()}
    for name in ("one", "two"):
        found[name]["r"][17] += 1000
    found["dead"]["p"][:] = 3
    return found


def told(found):
    return {(finding.kind, finding.where) for finding in found}


def test_p_values_by_formula_find_what_permutations_find(models):
    quick, permuted = hl.diagnose(models), hl.diagnose(models, n_permutations=199)
    assert told(quick) == told(permuted)
    assert {kind for kind, _ in told(quick)} >= {"pairing", "chance", "outlier", "constant"}
    assert "n_permutations" not in quick.result.attrs
    assert "cka(estimator=debiased)_p_fwer" not in quick.result
    assert permuted.result.attrs["n_permutations"] == 199


def test_nothing_is_permuted_and_layers_are_decomposed_once(models, monkeypatch):
    decomposed = []

    def counted(x, _of=explaining.subspace_of):
        decomposed.append(x)
        return _of(x)

    def permuted(*_):
        raise AssertionError("the examples were permuted")

    monkeypatch.setattr(explaining, "subspace_of", counted)
    monkeypatch.setattr(gram_statistics, "permuted_inner_products", permuted)
    found = hl.diagnose(models)
    assert len(decomposed) == 5 * 3 - 1  # a constant layer has no value to look at
    assert ("outlier", "one: r and two: r") in told(found)
    with pytest.raises(AssertionError, match="were permuted"):
        hl.diagnose({name: models[name] for name in ("one", "two")})


def test_rows_that_belong_together_are_permuted_of_many_models_too(models):
    """There is no formula for p-values where rows are tokens."""
    texts = [f"text {i // 4}" for i in range(200)]
    tokens = {name: hl.Activations(models[name], example_ids=texts) for name in ("one", "two", "chance")}
    found = hl.diagnose(tokens)
    assert found.result.attrs["n_permutations"] == 199
    assert json.loads(found.result.attrs["models"]).keys() == tokens.keys()
