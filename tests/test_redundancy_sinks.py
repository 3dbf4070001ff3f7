"""Blocks whose first tokens outweigh all others: named, and left out, whatever their share of the rows."""

from __future__ import annotations

import json

import numpy as np
import planted_networks as planted
import pytest

import homolog as hl
from homolog.activations import Module
from homolog.analysis.redundant.telling import number
from homolog.position_norms import norms_of_ranked


def tokens(length, longer=60.0, left_padded=False):
    """A stream of tokens, the first of which are much longer from the fourth layer on."""
    texts = 300 // length
    n = texts * length
    first = np.arange(n) % length == 0
    layers = {name: x[:n].copy() for name, x in planted.stream().items()}
    for name in list(layers)[3:]:
        layers[name][first] *= longer
    ids = np.repeat([f"text {i}" for i in range(texts)], length)
    shift = np.repeat(np.arange(texts) % 3, length) if left_padded else 0
    return layers, first, hl.Activations(layers, example_ids=ids, positions=np.arange(n) % length + shift)


@pytest.mark.parametrize("length", [2, 5, 10, 30])
@pytest.mark.parametrize("left_padded", [False, True])
def test_first_tokens_are_left_out_whatever_their_share_of_the_rows(length, left_padded):
    layers, first, activations = tokens(length, left_padded=left_padded)
    found = hl.redundancy(activations)
    expected = hl.redundancy(planted.less_rows(layers, first))
    for name in ("influence", "cka", "effective_rank", "norm"):
        np.testing.assert_allclose(found[f"{name}_without_rows"], expected[name], rtol=1e-9, atol=1e-9)
    assert {layer for _, layer, *_ in json.loads(found.attrs["attention_sinks"])} == set(list(layers)[3:])
    lines = list(hl.summary(found))
    sink = next(line for line in lines if line.startswith("Attention sink: position 0 holds"))
    assert "of block.2 to block.9: values" in sink
    assert sink.endswith("extract with skip_first=1, or, of a causal language model, reduce='last'.")
    assert any(f"{first.sum()} of the rows" in line and "tokens of the attention sink" in line for line in lines)


@pytest.mark.parametrize(("longer", "told"), [(60.0, True), (1.0, False)])
def test_means_over_tokens_are_told_of_what_extraction_noted(longer, told):
    layers, _, activations = tokens(10, longer)
    noted = {
        name: Module("Block", "24", norms_of_ranked(np.linalg.norm(x, axis=1), 1 + activations.positions, 30).text)
        for name, x in layers.items()
    }
    means = {name: x.reshape(30, 10, -1).mean(axis=1) for name, x in layers.items()}
    found = hl.redundancy(hl.Activations(means, modules=noted))
    said = [line for line in hl.summary(found) if line.startswith("Attention sink")]
    assert len(said) == told
    assert "influence_without_rows" not in found
    assert all("There are no numbers here without it" in line for line in said)


def test_tokens_of_equal_length_are_no_sink():
    _, _, activations = tokens(10, longer=1.0)
    found = hl.redundancy(activations)
    assert "attention_sinks" not in found.attrs
    assert "influence_without_rows" not in found


def test_too_few_rows_are_left_to_leave_any_out():
    _, _, activations = tokens(2)
    few = activations.take(slice(0, 6))
    assert "influence_without_rows" not in hl.redundancy(few)


@pytest.mark.parametrize("value", [0.99951, 0.999999, 1 - 1e-9])
def test_a_number_below_one_is_never_written_as_one(value):
    assert number(value) != "1"
    assert number(1.0) == number(1 - 1e-15) == "1"


def test_features_and_rows_are_named_before_numbers_without_them():
    layers = planted.with_feature(planted.stream(), 5, 400.0, first=3)
    lines = list(hl.summary(hl.redundancy(layers)))
    named = next(i for i, line in enumerate(lines) if line.startswith("Massive feature 5"))
    assert named < min(i for i, line in enumerate(lines) if "without the removed features" in line)
    assert not any("→" in line for line in lines)
    assert any(
        line.startswith("First candidates for removal") and "of 2 in a row block.6 to block.7" in line for line in lines
    )
