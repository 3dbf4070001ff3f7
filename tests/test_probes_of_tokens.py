"""Probes of rows that belong together: none of a unit is both fitted on and measured on."""

from __future__ import annotations

import numpy as np
import pytest

import homolog as hl
from homolog.analysis.probe_splits import set_aside, splits_of

TEXTS, TOKENS = 60, 8
UNIT = np.repeat(np.arange(TEXTS), TOKENS)


def layers_of(seed=0):
    """Tokens that share most with the others of their text."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(TEXTS, 40))[UNIT] + 0.1 * rng.normal(size=(len(UNIT), 40))
    return {"layer": x}


def tokens(seed=0, first=0):
    positions = np.tile(np.arange(TOKENS), TEXTS)
    return hl.Activations(
        layers_of(seed), example_ids=first + UNIT, positions=positions, provenance={"example_ids": "given"}
    )


def of_texts(seed=0, classes=2):
    return np.random.default_rng(seed).integers(classes, size=TEXTS)[UNIT]


def test_labels_by_chance_are_not_read_from_tokens_of_texts_seen_before():
    labels = of_texts()
    by_rows = hl.probe(layers_of(), labels)
    assert float(by_rows.accuracy[0]) > 0.9  # other tokens of the same texts are recognised
    for found in (hl.probe(tokens(), labels), hl.probe(layers_of(), labels, groups=UNIT)):
        assert float(found.accuracy[0]) < 0.8
        assert float(found.validation[0]) < 0.8
        assert (int(found.attrs["n_units"]), int(found.attrs["n_held_out_units"])) == (45, 15)
    assert "n_units" not in by_rows.attrs


def test_the_error_is_that_of_units():
    labels = of_texts()
    found = hl.probe(tokens(), labels)
    share = float(found.accuracy[0])
    assert float(found.accuracy_se[0]) > 1.5 * np.sqrt(share * (1 - share) / int(found.attrs["n_held_out"]))
    assert float(found.accuracy_se[0]) == pytest.approx(np.sqrt(share * (1 - share) / 14), rel=0.2)


def test_groups_are_wider_than_examples():
    found = hl.probe(tokens(), of_texts(), groups=UNIT // 3)
    assert int(found.attrs["n_units"]) + int(found.attrs["n_held_out_units"]) == 20


def test_held_out_tokens_have_an_error_of_their_examples():
    x, y = tokens(), tokens(1, first=1000)
    found = hl.probe(x, of_texts(), (y.take(slice(0, 160)), of_texts()[:160]))
    assert int(found.attrs["n_held_out_units"]) == 20


def test_the_probe_of_redundancy_splits_by_texts_too():
    x = tokens()
    two = hl.Activations({"in": x["layer"], "out": x["layer"] + 1}, example_ids=x.example_ids, positions=x.positions)
    assert (hl.redundancy(two, labels=of_texts()).accuracy < 0.8).all()


@pytest.mark.parametrize("within", [True, False], ids=["one class a unit", "classes within units"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.1])
def test_splits_keep_units_whole_and_classes_in_proportion(within, share):
    rng = np.random.default_rng(0)
    unit = rng.permutation(UNIT)
    classes = np.arange(TEXTS)[unit] % 3 if within else rng.integers(3, size=len(unit))
    fitted, aside = set_aside(classes, unit, share, np.random.RandomState(0))
    assert not set(unit[fitted]) & set(unit[aside])
    assert len(set(unit[aside])) == pytest.approx(share * TEXTS, abs=1)
    assert np.bincount(classes[aside]) / len(aside) == pytest.approx(np.full(3, 1 / 3), abs=0.13)
    splits = splits_of(classes, unit, 4, np.random.RandomState(0))
    for fitted, measured in splits:
        assert not set(unit[fitted]) & set(unit[measured])
        assert np.bincount(classes[measured]) / len(measured) == pytest.approx(np.full(3, 1 / 3), abs=0.1)
    np.testing.assert_array_equal(np.sort(np.concatenate([measured for _, measured in splits])), np.arange(len(unit)))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"labels": np.where(UNIT == 0, "rare", "common")}, "in at least 3 independent units .* got 1 of 'rare'"),
        ({"groups": UNIT[:5]}, "groups must be one label for each of the 480 examples"),
        ({"groups": np.arange(len(UNIT)) % 7}, "groups must keep the rows of one example together"),
        ({"groups": np.zeros(len(UNIT))}, "in at least 3 independent units"),
        ({"held_out": 0.99}, "held_out=0.99 of 60 independent units must leave some"),
    ],
)
def test_units_that_are_too_few_are_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        hl.probe(**({"activations": tokens(), "labels": of_texts()} | asked))


def test_held_out_tokens_of_the_same_texts_are_refused():
    x, labels = tokens(), of_texts()
    odd = np.arange(len(UNIT)) % 2 == 1
    with pytest.raises(ValueError, match="got tokens of 60 examples on both sides"):
        hl.probe(x.take(~odd), labels[~odd], (x.take(odd), labels[odd]))
