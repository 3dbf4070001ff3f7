"""Rows that are long in all features are outlying rows, and make no feature massive, whatever the features look like."""

from __future__ import annotations

import json

import numpy as np
import pytest

import homolog as hl
from homolog.analysis.redundant.feature_sums import FeatureSums

KINDS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy tails": lambda rng, size: rng.standard_t(3, size=size),
    "around another mean": lambda rng, size: 2 + rng.normal(size=size),
    "mostly zeros": lambda rng, size: (
        np.maximum(rng.normal(size=size) - 0.5, 0) + 1e-3 * rng.random(size) * (rng.random(size) > 0.7)
    ),
}


def stream(kind, p, times, rows=(7,)):
    rng = np.random.default_rng(0)
    layers = [KINDS[kind](rng, (400, p))]
    for _ in range(5):
        layers.append(layers[-1] + 0.3 * KINDS[kind](rng, (400, p)))
    for layer in layers[2:]:
        layer[list(rows)] *= times
    return dict(zip(["embed", *(f"h.{i}" for i in range(5))], layers, strict=True))


def named(found):
    return [each["feature"] for each in json.loads(found.attrs["massive_features"])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [30, 1e4])
@pytest.mark.parametrize("p", [16, 288])
def test_a_long_row_is_the_finding_and_no_feature_of_it(kind, p, times):
    layers = stream(kind, p, times)
    found = hl.redundancy(layers)
    assert named(found) == []
    rows = json.loads(found.attrs["outlying_rows"])
    assert (rows["count"], rows["longest"][0]["row"]) == (1, 7)
    assert "(the longest in row 7" in str(hl.summary(found))
    for layer in list(layers.values())[2:]:
        layer[:, 5] += 400
    found = hl.redundancy(layers)
    assert named(found) == [5]
    (told,) = json.loads(found.attrs["massive_features"])
    assert told["row"] != 7 or told["largest"] == abs(layers[told["layer"]][7, 5])


@pytest.mark.parametrize("rows", [range(15), range(0, 400, 3)])
def test_several_long_rows_make_no_feature_massive(rows):
    assert named(hl.redundancy(stream("heavy tails", 288, 300, rows))) == []


def test_a_feature_that_stands_out_in_long_rows_alone_is_massive():
    layers = stream("normal", 64, 30)
    for layer in list(layers.values())[2:]:
        layer[7, 5] = 30 * 2000
    assert named(hl.redundancy(layers)) == [5]


def test_a_row_that_holds_one_number_has_nothing_to_stand_out_among():
    layers = stream("normal", 64, 1)
    for layer in list(layers.values())[2:]:
        layer[7] = 0
        layer[7, 5] = 5000
    assert named(hl.redundancy(layers)) == [5]


def test_what_is_told_of_a_feature_is_of_rows_it_stands_out_in():
    layers = stream("normal", 64, 1e4)
    for layer in list(layers.values())[2:]:
        layer[3, 5] = 3000
    found = hl.redundancy(layers)
    (told,) = json.loads(found.attrs["massive_features"])
    assert (told["feature"], told["row"], told["largest"]) == (5, 3, 3000)
    said = next(line for line in hl.summary(found) if line.startswith("Massive feature 5"))
    assert "rows that are long as a whole apart" in said


def test_sums_do_not_depend_on_the_blocks_they_are_read_in():
    x = np.abs(stream("mostly zeros", 16, 300)["h.4"])
    whole, parts = FeatureSums(16), FeatureSums(16)
    whole.add(x, 0)
    for first in range(0, 400, 37):
        parts.add(x[first : first + 37], first)
    np.testing.assert_allclose(whole.squares(), np.square(x).sum(axis=0))
    np.testing.assert_array_equal(whole.largest(), x.max(axis=0))
    for one, other in ((whole.levelled(1.0), parts.levelled(1.0)),):
        np.testing.assert_allclose(one.squares, other.squares)
        np.testing.assert_array_equal(one.row, other.row)
        np.testing.assert_array_equal(one.level, other.level)
    np.testing.assert_allclose(whole.levelled(0.0).squares, whole.squares())
