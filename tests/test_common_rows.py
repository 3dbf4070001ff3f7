"""Rows that several sides have, matched by who they are; and what decides where ids and inputs say different things."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import homolog as hl
from homolog import matching
from homolog.rows import ChosenRows

N, DEBIASED = 60, "cka(estimator=debiased)"
ROWS = np.random.default_rng(0).normal(size=(N, 5))
NAMES = np.array([f"image {i}" for i in range(N)])
DIGESTS = np.random.default_rng(1).integers(2**63, size=N).astype(np.uint64)


def side(order, **kept):
    order = np.asarray(order)
    return hl.Activations({"layer": ROWS[order]}, **{name: values[order] for name, values in kept.items()})


EVEN, LATE, BACKWARDS = range(0, N, 2), range(20, N), range(N)[::-1]


def test_counts_of_what_was_dropped_are_told():
    common = hl.common_rows(side(EVEN, example_ids=NAMES), side(LATE, example_ids=NAMES))
    assert common.dropped == (10, 20)
    assert repr(common) == "<20 common rows; left out: 10 of 30 rows of a, 20 of 40 rows of b>"
    a, b = common
    assert (a.provenance["common_rows"], b.provenance["common_rows"]) == ("20 of 30", "20 of 40")
    result = hl.compare(a, b, measures=DEBIASED)
    assert json.loads(result.attrs["activations_b"])["common_rows"] == "20 of 40"
    assert hl.common_rows(a, b).dropped == (0, 0)


def test_more_than_two_sides_in_the_order_of_the_first():
    orders = (BACKWARDS, EVEN, LATE)
    sides = hl.common_rows(*(side(order, example_ids=NAMES) for order in orders))
    assert sides.dropped == (40, 10, 20)
    expected = [row for row in BACKWARDS if row in EVEN and row in LATE]
    for each in sides:
        assert_array_equal(each["layer"], ROWS[expected])
        assert_array_equal(each.example_ids, NAMES[expected])
    assert len(hl.compare(dict(zip("abc", sides, strict=True)), measures=DEBIASED).a) == 3


def test_tables_and_paths_are_taken(tmp_path):
    hl.save(side(LATE, example_ids=NAMES), tmp_path / "late.npz")
    table = pd.DataFrame(ROWS, index=NAMES).sample(frac=1, random_state=0)
    other = pl.DataFrame({"id": NAMES[::-1], "vectors": ROWS[::-1]})
    a, b, c = hl.common_rows(table, tmp_path / "late.npz", other)
    for each in (a, b, c):
        assert_array_equal(np.asarray(next(iter(each.values()))), table.loc[a.example_ids].to_numpy())
    assert a.n == 40


def test_rows_of_a_store_stay_on_disk_where_memory_is_short(tmp_path, monkeypatch):
    hl.save(side(BACKWARDS, example_ids=NAMES), tmp_path / "a.zarr")
    hl.save(side(LATE, example_ids=NAMES), tmp_path / "b.zarr")
    expected = ROWS[[row for row in BACKWARDS if row in LATE]]
    in_memory = hl.common_rows(tmp_path / "a.zarr", tmp_path / "b.zarr")[0]["layer"]
    assert isinstance(in_memory, np.ndarray)
    monkeypatch.setattr(matching, "whole_memory", lambda: 4 * expected.nbytes - 4)
    a, b = hl.common_rows(tmp_path / "a.zarr", tmp_path / "b.zarr")
    for each in (a, b):
        assert isinstance(each["layer"], ChosenRows)
        assert_array_equal(np.asarray(each["layer"]), expected)
        assert_array_equal(each["layer"][[3, 1]], expected[[3, 1]])
    assert_array_equal(a.take([2, 0])["layer"], expected[[2, 0]])
    assert_allclose(hl.compare(a, b, measures=DEBIASED, memory="1 MiB")[DEBIASED].item(), 1.0)


NUMBERS = np.arange(100, 100 + N)
APART = {
    "digits": (side(range(N), example_ids=NUMBERS), side(range(N), example_ids=NUMBERS.astype(str))),
    "some digits": (
        side(range(N), example_ids=NUMBERS),
        side(range(N), example_ids=np.array([*NUMBERS[:5].astype(str), *NAMES[5:]])),
    ),
}


@pytest.mark.parametrize("case", APART)
def test_integers_are_never_taken_for_text_of_digits(case):
    first, second = APART[case]
    for a, b, numbers, text in ((first, second, "a", "b"), (second, first, "b", "a")):
        words = f"the ids of {numbers} are integers and those of {text} are text, .* example_ids=.str"
        for call in (hl.common_rows, hl.compare):
            with pytest.raises(ValueError, match=words):
                call(a, b)
    converted = hl.Activations({"layer": ROWS}, example_ids=[str(number) for number in NUMBERS])
    assert hl.common_rows(converted, second).dropped[0] in (0, N - 5)


def test_bytes_and_text_are_the_same_ids():
    a, b = side(range(N), example_ids=NAMES.astype("S")), side(BACKWARDS, example_ids=NAMES)
    assert hl.common_rows(a, b).dropped == (0, 0)
    hl.compare(a, side(range(N), example_ids=NAMES), measures=DEBIASED)


def test_without_common_rows_some_ids_of_each_side_are_shown():
    a, b = side(range(N), example_ids=NAMES), side(range(N), example_ids=np.char.add("the ", NAMES))
    words = r"got 0 of 60 and 60 \(a has 'image 0', 'image 1', 'image 2'; b has 'the image 0', .*\): extract both"
    with pytest.raises(ValueError, match=words):
        hl.common_rows(a, b)


REFUSED = {
    "a list": (lambda: hl.common_rows(ROWS.tolist(), side(EVEN)), TypeError, "a must be Activations, .* got a list"),
    "nothing": (lambda: hl.common_rows({}, side(EVEN)), TypeError, "a must be Activations, .* got a dict"),
    "no index": (
        lambda: hl.common_rows(pd.DataFrame(ROWS), pd.DataFrame(ROWS)),
        ValueError,
        r"got none that .* carry \(a: neither; b: neither\)",
    ),
    "third side": (
        lambda: hl.common_rows(*[side(EVEN, example_ids=NAMES)] * 2, side(EVEN)),
        ValueError,
        r"a and b and c .* \(a: example ids; b: example ids; c: neither\)",
    ),
    "twice": (
        lambda: hl.common_rows(side(EVEN, example_ids=NAMES), side(range(N), example_ids=np.array(["x"] * N))),
        ValueError,
        "b must hold every row once to be matched, got 59 example ids again",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_matched_is_said(case):
    call, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        call()


# --- Where ids and inputs say different things


def test_given_ids_decide_where_inputs_have_another_layout():
    """The same images with channels first and last have other digests, but for those that are equal both ways."""
    images = torch.randn(N, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[7] = 0.5
    layouts = images, images.permute(0, 2, 3, 1).contiguous()
    sides = [hl.extract(torch.nn.Flatten(), data, example_ids=NAMES.tolist()) for data in layouts]
    result = hl.compare(*sides, measures=DEBIASED)  # without a warning
    assert result.attrs["row_identity"] == "example ids"
    assert_allclose(result[DEBIASED], 1.0)


def test_given_ids_decide_where_a_few_inputs_look_alike_by_chance():
    """Two tokenizers may give the numbers of one text to another."""
    other = DIGESTS + np.uint64(1)
    other[[3, 9]] = DIGESTS[[9, 3]]
    a, b = side(range(N), example_ids=NAMES, digests=DIGESTS), side(range(N), example_ids=NAMES, digests=other)
    assert hl.compare(a, b, measures=DEBIASED).attrs["row_identity"] == "example ids"
    with pytest.raises(ValueError, match="got the same inputs in another order, or others among them"):
        hl.compare(side(range(N), digests=DIGESTS), side(range(N), digests=other))


def test_ids_do_not_hide_that_one_side_was_shuffled():
    most = DIGESTS.copy()
    most[:40] = np.roll(DIGESTS[:40], 1)
    a = side(range(N), example_ids=NAMES, digests=DIGESTS)
    for digests in (DIGESTS[::-1], most):
        with pytest.raises(ValueError, match="got the same inputs in another order"):
            hl.compare(a, side(range(N), example_ids=NAMES, digests=digests))
