"""What a diagnosis says of single rows: one that makes a value alone, and tokens that occur twice."""

from __future__ import annotations

import numpy as np
import planted_networks as planted
import pytest

import homolog as hl
from homolog.analysis.attention_sinks import sink_findings
from homolog.token_rows import TokenRows, sink_of_rows

TEXTS, LENGTH = 30, 10
IDS = np.repeat([f"text {i}" for i in range(TEXTS)], LENGTH)
POSITIONS = np.tile(np.arange(LENGTH), TEXTS)


def of_kind(kind, *given):
    return [one for one in hl.diagnose(*given, n_permutations=19) if one.kind == kind]


def grown(row=17, first=4):
    """A stream in which one example is thousands of times as long as the others from a layer on."""
    layers = {name: x[:96].copy() for name, x in planted.stream().items()}
    for name in list(layers)[first:]:
        layers[name][row] *= 3000
    return layers


@pytest.mark.parametrize("ids", [None, [f"word {i}" for i in range(96)]])
def test_one_example_that_makes_a_direction_alone_is_named(ids):
    found = of_kind("dominant direction", hl.Activations(grown(), example_ids=ids))
    assert {one.where for one in found} == {f"block.{i}" for i in range(3, 10)}
    name = "example 17" if ids is None else "example 17 (id 'word 17')"
    assert all(f"and {name} alone makes" in one.message for one in found)
    assert all("one direction holds over 99.9 % of the variance" in one.message for one in found)


def test_one_example_that_breaks_the_cka_of_neighbours_is_an_outlier():
    layers = grown()
    broken = hl.compare(layers, measures="cka(estimator=debiased)")["cka(estimator=debiased)"].values[3, 4]
    assert abs(broken) < 0.2
    found = {one.where: one.message for one in of_kind("outlier", layers)}
    assert "without example 17 CKA is 1.00 instead of 0.05" in found["block.2 and block.3"]


def test_many_examples_that_make_a_direction_are_not_named():
    rng = np.random.default_rng(0)
    layers = {"x": rng.normal(size=(80, 1)) * 50 + rng.normal(size=(80, 12))}
    (found,) = of_kind("dominant direction", layers)
    assert "alone makes" not in found.message
    assert "explain_cka" in found.remedy


def test_a_row_that_is_a_token_is_named_by_its_text_and_position():
    layers = planted.stream()
    for name in list(layers)[4:]:
        layers[name][71] *= 3000  # the second token of the eighth text
    found = of_kind("dominant direction", hl.Activations(layers, example_ids=IDS, positions=POSITIONS))
    assert "row 71 (position 1 of example 'text 7') alone makes" in found[0].message
    assert "skip= of homolog.extract" in found[0].remedy


# --- Rows that occur twice


def tokens(whole=0):
    """Texts of which half begin alike, as a causal model gives them; the last ones are copies of the first."""
    layers = {name: x.copy() for name, x in planted.stream().items()}
    for x in layers.values():
        texts = x.reshape(TEXTS, LENGTH, -1)
        texts[:15, :2] = texts[0, :2]
        if whole:
            texts[-whole:] = texts[:whole]
    return hl.Activations(layers, example_ids=IDS, positions=POSITIONS)


def test_tokens_after_equal_beginnings_are_no_duplicate_examples():
    assert not of_kind("duplicate examples", tokens())
    (found,) = of_kind("repeated tokens", tokens())
    assert found.message.startswith(
        "28 of 300 rows, which are tokens, are equal to others in every layer: a causal model"
    )
    assert "drop the copies" not in found.remedy


def test_tokens_that_are_equal_within_their_text_have_another_cause_than_equal_beginnings():
    layers = {name: x.copy() for name, x in planted.stream().items()}
    for x in layers.values():
        x.reshape(TEXTS, LENGTH, -1)[:] = x.reshape(TEXTS, LENGTH, -1)[:, :1]
    (found,) = of_kind("repeated tokens", hl.Activations(layers, example_ids=IDS, positions=POSITIONS))
    assert found.message.startswith(
        "270 of 300 rows, which are tokens, are equal to others in every layer: 270 of them to"
    )
    assert "their own text" in found.message
    assert "equal beginnings" not in found.message
    assert "skip_first" not in found.remedy


def test_texts_that_occur_twice_are_counted_as_texts():
    (found,) = of_kind("duplicate examples", tokens(whole=3))
    assert found.message.startswith("3 of 30 examples repeat others")
    (rest,) = of_kind("repeated tokens", tokens(whole=3))
    assert rest.message.startswith("28 of 270 rows")


def test_repeated_tokens_are_less_serious_than_a_sink():
    given = tokens()
    layers = {name: np.where(POSITIONS[:, None] == 0, 50 * x, x) for name, x in given.items()}
    kinds = [one.kind for one in hl.diagnose(given.holding(layers), n_permutations=19)]
    assert kinds.index("attention sink") < kinds.index("repeated tokens")


# --- What is counted


def test_ranges_of_layers_are_counted_as_layers_and_one_model_is_not_named():
    layers = planted.stream()
    names = list(layers)
    first = POSITIONS[:, None] == 0
    sunk = {
        name: np.where(first, 50 * x, x) if i in (1, 2, 3, 6, 7) else x for i, (name, x) in enumerate(layers.items())
    }
    found = hl.diagnose(hl.Activations(sunk, example_ids=IDS, positions=POSITIONS), n_permutations=19)
    line = next(line for line in str(found).splitlines() if line.startswith("attention sink"))
    assert line.startswith(f"attention sink | 5 layers: {names[1]} to {names[3]}, {names[6]} and {names[7]}; ")
    given = hl.Activations(sunk, example_ids=IDS, positions=POSITIONS)
    assert sink_of_rows(np.linalg.norm(sunk[names[1]], axis=1), TokenRows.of(given))
    assert [one.count for one in sink_findings(str, given, sunk)] == [3, 2]
