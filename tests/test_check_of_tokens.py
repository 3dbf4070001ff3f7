"""`hl.check`, halves and chance over rows that are tokens: texts are the units, not tokens without a text."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

import homolog as hl
from homolog.analysis import split_halves
from homolog.inference.units import rows_of_others

EQUAL = [40] * 12
UNEQUAL = list(range(30, 42))
"""Tokens of each text; no text is as long as another."""


def tokens(rng, lengths, of_text=1.0, order=None):
    """Return a layer of texts whose tokens have a vector in common, which is a share of each."""
    ids = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.concatenate([np.arange(length) for length in lengths])
    rows = of_text * rng.normal(size=(len(lengths), 8))[ids] + 0.2 * rng.normal(size=(len(ids), 8))
    order = np.arange(len(ids)) if order is None else order
    names = np.array([f"text {number:02}" for number in ids])
    return hl.Activations({"layer": rows[order]}, example_ids=names[order], positions=positions[order])


def changed(layers, rng):
    """Return the layers after a small change."""
    return layers.holding({name: rows + 0.01 * rng.normal(size=rows.shape) for name, rows in layers.items()})


@pytest.mark.parametrize("lengths", [EQUAL, UNEQUAL], ids=["of one length", "of other lengths each"])
@pytest.mark.parametrize("measure", ["cka", "cca", "rsa(dissimilarity=euclidean)", "mutual_knn"])
def test_a_threshold_that_independent_texts_reach_does_not_hold(rng, measure, lengths):
    before = tokens(rng, lengths)
    reached = [float(hl.compare(before, tokens(rng, lengths), measures=measure)[measure].item()) for _ in range(5)]
    # Far above what single tokens in any order reach, and below what independent texts do.
    threshold = 0.4 * float(np.mean(reached))
    found = hl.check(before, changed(before, rng), {measure: threshold})
    assert found.short[0].value > 0.9 * threshold
    assert found.short[0].reason.startswith("independent data would reach")


def test_the_order_of_the_rows_of_texts_does_not_matter(rng):
    before = tokens(rng, EQUAL, order=rng.permutation(sum(EQUAL)))
    assert hl.check(before, changed(before, rng), "cka=0.15").short[0].reason.startswith("independent data would reach")


@pytest.mark.parametrize("lengths", [EQUAL, UNEQUAL], ids=["of one length", "of other lengths each"])
def test_tokens_that_have_nothing_of_their_text_hold_at_a_low_threshold(rng, lengths):
    before = tokens(rng, lengths, of_text=0.0)
    assert hl.check(before, changed(before, rng), "cka=0.15")


def test_texts_on_disk_are_kept_whole_too(rng, tmp_path):
    before = tokens(rng, UNEQUAL)
    after = changed(before, rng)
    hl.save(before, tmp_path / "before.zarr")
    hl.save(after, tmp_path / "after.zarr")
    found = hl.check(tmp_path / "before.zarr", tmp_path / "after.zarr", "cka=0.15")
    assert found.short[0].reason == hl.check(before, after, "cka=0.15").short[0].reason
    assert found.short[0].reason.startswith("independent data would reach")


def test_of_one_text_nobody_knows_what_others_reach(rng):
    before = tokens(rng, [60])
    found = hl.check(before, changed(before, rng), ["cka=0.15", "cca=0.15"])
    assert found
    assert found.notes == ("layer: of one example only, so that it is not known what independent data reach.",)


@pytest.mark.parametrize("lengths", [EQUAL, UNEQUAL, [3, 1, 2], [5, 5], [1, 1, 1, 9]])
def test_every_row_stands_for_one_of_a_whole_other_unit(rng, lengths):
    units = rng.permutation(np.repeat(np.arange(len(lengths)), lengths))
    order = rows_of_others(units, len(units), rng)
    others = [np.unique(units[order[units == unit]]).tolist() for unit in range(len(lengths))]
    assert all(len(other) == 1 and other[0] != unit for unit, other in enumerate(others))
    assert sorted(other[0] for other in others) == list(range(len(lengths)))
    for unit, (other,) in enumerate(others):  # from its first row on, in order
        kept = min(lengths[unit], lengths[other])
        assert order[units == unit][:kept].tolist() == np.flatnonzero(units == other)[:kept].tolist()
    if len(set(lengths)) == 1:
        assert sorted(order) == list(range(len(units)))


def test_units_change_places_with_units_of_nearly_as_many_rows(rng):
    lengths = np.arange(1, 41)
    units = np.repeat(np.arange(40), lengths)
    order = rows_of_others(units, len(units), rng)
    assert np.abs(lengths[units] - lengths[units[order]]).max() == 1


def test_rows_of_their_own_change_places_one_by_one(rng):
    assert sorted(rows_of_others(None, 50, rng)) == list(range(50))


@pytest.mark.parametrize("lengths", [EQUAL, UNEQUAL], ids=["of one length", "of other lengths each"])
def test_halves_of_tokens_are_halves_of_the_texts(rng, monkeypatch, lengths):
    taken = []
    monkeypatch.setattr(
        split_halves, "compare", lambda *sides, **options: taken.append(sides) or hl.compare(*sides, **options)
    )
    before = tokens(rng, lengths)
    layers = before.holding({"a": before["layer"], "b": before["layer"] ** 2})
    found = hl.split_half(layers, measures="cka", n_splits=3)
    assert found.attrs["n_units"] == 12
    for first, second in zip(taken[::2], taken[1::2], strict=True):
        texts = [set(half[0].example_ids) for half in (first, second)]
        assert [len(some) for some in texts] == [6, 6]
        assert not texts[0] & texts[1]


def test_the_level_of_chance_of_a_shared_subspace_is_that_of_whole_texts(rng):
    x, y = tokens(rng, EQUAL), tokens(rng, EQUAL)
    tables = [
        pandas.DataFrame(layers["layer"]).assign(example_id=layers.example_ids, position=layers.positions)
        for layers in (x, y)
    ]
    by_text, by_token = hl.shared_subspace(*tables), hl.shared_subspace(x["layer"], y["layer"])
    assert by_text.attrs["chance"] > 3 * by_token.attrs["chance"]
    assert by_text.attrs["shared_rank"] == 0
    assert by_token.attrs["shared_rank"] > 0  # arrays do not say whose their rows are
    of_one = tables[0].assign(example_id="text 00", position=range(480))
    with pytest.raises(ValueError, match="must be of at least two examples that can change places, got rows of one"):
        hl.shared_subspace(of_one, of_one)
