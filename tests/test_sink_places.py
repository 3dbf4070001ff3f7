"""Attention sinks wherever they stand: later positions, some of the texts, packed documents, positions counted otherwise."""

from __future__ import annotations

import json

import numpy as np
import planted_networks as planted
import pytest
import torch
from torch import nn

import homolog as hl
from homolog.token_rows import TokenRows, sink_of_rows

TEXTS, LENGTH = 30, 20
N = TEXTS * LENGTH
TEXT = np.repeat(np.arange(TEXTS), LENGTH)
PLACE = np.tile(np.arange(LENGTH), TEXTS)
GROWN = [f"block.{i}" for i in range(2, 6)]
LATER = 3 + np.arange(TEXTS) % 7
"""Where a second document begins in a row of tokens, and a third 8 tokens later: elsewhere in every row."""


def tokens(long, positions=PLACE, kept=slice(None), times=60.0, **known):
    """A stream in some layers of which some rows are much longer; (activations, layers without these rows)."""
    layers = dict(list(planted.stream(n=N, p=12).items())[:8])
    for name in GROWN:
        layers[name] = np.where(long[:, None], times * layers[name], layers[name])
    ids = np.array([f"text {i}" for i in TEXT])
    given = hl.Activations(layers, example_ids=ids, positions=positions, **known)
    return given.take(kept), {name: x[kept][~long[kept]] for name, x in layers.items()}


TWO = (PLACE == 0) | (LATER[TEXT] == PLACE)
THREE = TWO | (8 + LATER[TEXT] == PLACE)
FIRST_IN_HALF = (PLACE > 0) | (TEXT % 2 == 0)
CASES = {
    "first": ((PLACE == 0,), "position 0 holds", "skip_first=1,"),
    "third": ((PLACE == 2,), "position 2 holds", "skip_first=3,"),
    "eighth": ((PLACE == 7,), "position 7 holds", "leave these tokens out by skip="),
    "first and eighth": (((PLACE == 0) | (PLACE == 7),), "positions 0, 7 hold", "leave these tokens out by skip="),
    "first of two texts in five": (((PLACE == 0) & (TEXT % 5 < 2),), "position 0 holds", "skip_first=1,"),
    "eighth of one text in five": (((PLACE == 7) & (TEXT % 5 == 0),), "position 7 holds", "leave these"),
    "counted from one": ((PLACE == 0, PLACE + 1), "position 0 holds", "skip_first=1,"),
    "unsigned": ((PLACE == 0, PLACE.astype(np.uint64)), "position 0 holds", "skip_first=1,"),
    "behind padding": ((PLACE == 0, PLACE + TEXT % 4), "position 0 holds", "skip_first=1,"),
    "missing in half": ((PLACE == 0, PLACE, FIRST_IN_HALF), "position 0 holds", "skip_first=1,"),
    "missing in most": ((PLACE == 0, PLACE, (PLACE > 0) | (TEXT % 5 == 0)), "position 0 holds", "skip_first=1,"),
    "packed": ((TWO,), "single tokens at many positions hold", "leave these tokens out by skip="),
    "positions begin anew": ((PLACE % 10 == 0, PLACE % 10), "position 0 holds", "skip_first=1,"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sink_is_named_with_its_position_and_left_out(case):
    given, said, remedy = CASES[case]
    activations, without = tokens(*given)
    (found,) = [one for one in hl.diagnose(activations, n_permutations=9) if one.kind == "attention sink"]
    assert found.where == "block.2 to block.5"
    assert found.message.startswith(said)
    assert remedy in found.remedy
    result = hl.redundancy(activations)
    assert [layer for _, layer, *_ in json.loads(result.attrs["attention_sinks"])] == GROWN
    expected = hl.redundancy(without)
    for name in ("influence", "cka", "norm"):
        np.testing.assert_allclose(result[f"{name}_without_rows"], expected[name], rtol=1e-9, atol=1e-9)
    lines = str(hl.summary(result))
    assert f"Attention sink: {said}" in lines
    assert remedy in lines
    assert "are tokens of the attention sink" in lines


def test_what_is_no_sink_is_not_called_one():
    rng = np.random.default_rng(0)
    rows = TokenRows.of(tokens(PLACE == 0)[0])
    one_text, whole_texts = TEXT == 3, TEXT % 7 == 0
    two_tokens = (PLACE == 4) & (TEXT < 2)
    many = rng.random(N) < 0.3
    for long in (one_text, whole_texts, two_tokens, many, np.zeros(N, dtype=bool)):
        norms = np.where(long, 100.0, 1.0) * (1 + 0.1 * rng.random(N))
        assert sink_of_rows(norms, rows) is None
    assert sink_of_rows(np.zeros(N), rows) is None
    assert sink_of_rows(np.exp(rng.normal(size=N)), rows) is None  # some are long, which is not most of the norm


def test_without_names_of_texts_positions_tell_it():
    activations, _ = tokens(PLACE == 7)
    nameless = hl.Activations(dict(activations), positions=PLACE)
    found = [one for one in hl.diagnose(nameless, n_permutations=9) if one.kind == "attention sink"]
    assert found[0].message.startswith("position 7 holds")


def test_positions_that_are_text_are_no_numbers():
    activations, _ = tokens(PLACE == 0, np.array([f"p{i}" for i in PLACE]))
    assert not [one for one in hl.diagnose(activations, n_permutations=9) if one.kind == "attention sink"]
    assert "attention_sinks" not in hl.redundancy(activations).attrs


def test_rows_after_one_that_extraction_left_out_keep_their_positions():
    activations, _ = tokens(PLACE == 1, PLACE, PLACE > 0, provenance={"reduce": "positions", "skip_first": "1"})
    (found,) = [one for one in hl.diagnose(activations, n_permutations=9) if one.kind == "attention sink"]
    assert found.message.startswith("position 1 holds")
    assert "skip_first=2" in found.remedy


class Grows(nn.Module):
    """Three blocks; the second makes the first token of every document a hundred times as long."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.h = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, input_ids, position_ids):
        x = self.words(input_ids)
        for number, block in enumerate(self.h):
            x = x + block(x)
            x = torch.where(position_ids[:, :, None] == 0, 100 * x, x) if number == 1 else x
        return x


def test_documents_of_one_row_are_told_as_extraction_knows_them():
    torch.manual_seed(0)
    places = np.arange(LENGTH)[None] - np.maximum.accumulate(np.where(THREE, PLACE, 0).reshape(TEXTS, -1), axis=1)
    batch = {"input_ids": torch.randint(1, 50, (TEXTS, LENGTH)), "position_ids": torch.tensor(places)}
    taken = hl.extract(Grows(), batch, layers=["words", "h.*"], reduce="positions")
    stream = taken.select("words", "h.0", "h.1", "h.2")
    grown = {
        name: np.where(THREE[:, None], 100 * x, x) if name > "h.0" and name != "words" else x
        for name, x in stream.items()
    }
    stream = stream.holding(grown)
    for said in (
        *(str(one) for one in hl.diagnose(stream, n_permutations=9) if one.kind == "attention sink"),
        next(line for line in hl.summary(hl.redundancy(stream)) if line.startswith("Attention sink")),
    ):
        assert "position 0 holds" in said
        assert "skip_first=1," in said
    rows = json.loads(hl.redundancy(stream).attrs["outlying_rows"])
    assert rows["count"] == THREE.sum()
    left = stream.take(~THREE)  # of which extraction knows no less
    assert not [one for one in hl.diagnose(left, n_permutations=9) if one.kind == "attention sink"]
    assert "attention_sinks" not in hl.redundancy(left).attrs
