"""Rows are paired by who they are: a contradiction is refused, what nobody can know is said, and common rows are found."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn

import homolog as hl
from homolog.cli.output import spoken
from homolog.pairing import check_pairing

N = 60
ROWS = np.random.default_rng(0).normal(size=(N, 5)).astype("float32")


def side(order=range(N), *, ids=None, digests=None, positions=None) -> hl.Activations:
    order = np.asarray(order)
    kept = {"example_ids": ids, "digests": digests, "positions": positions}
    return hl.Activations(
        {"layer": ROWS[order]}, **{k: None if v is None else np.asarray(v)[order] for k, v in kept.items()}
    )


DIGESTS = np.random.default_rng(1).integers(2**63, size=N).astype(np.uint64) * 2
OTHERS = DIGESTS + 1
NAMES = [f"image {i}" for i in range(N)]
SHIFTED = [*range(1, N), 0]


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def test_different_preprocessing_is_said_and_ids_settle_it():
    data = torch.tensor(ROWS)
    first, second = (hl.extract(model(0), data), hl.extract(model(1), data / 2))
    with pytest.warns(
        hl.UnknownPairingWarning, match="nothing shows that the rows of a, b .* pass example_ids to homolog.extract"
    ):
        result = hl.compare(first, second, measures="procrustes_distance")
    assert result.attrs["row_identity"] == "unknown"
    assert json.loads(result.attrs["warnings"])[0][0] == "UnknownPairingWarning"
    findings = {finding.kind: finding for finding in hl.diagnose(first, second)}
    assert "pass example_ids to homolog.extract" in findings["row identity"].remedy
    named = [hl.extract(model(i), data / (i + 1), example_ids=NAMES) for i in range(2)]
    assert hl.compare(*named, measures="procrustes_distance").attrs["row_identity"] == "example ids"
    assert "row identity" not in {finding.kind for finding in hl.diagnose(*named)}
    with pytest.raises(ValueError, match=r"got example ids that differ first in row 0 .*homolog\.common_rows"):
        hl.compare(named[0], named[1].take(np.arange(N)[::-1]))


KNOWN = {
    "plain arrays": (side(), side(), "unknown"),
    "one side": (side(digests=DIGESTS), side(), "unknown"),
    "digests": (side(digests=DIGESTS), side(digests=DIGESTS), "digests of inputs"),
    "ids": (side(ids=NAMES, digests=DIGESTS), side(ids=NAMES, digests=OTHERS), "example ids"),
    "digests beside ids": (side(ids=NAMES, digests=DIGESTS), side(digests=DIGESTS), "digests of inputs"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_what_is_known_of_rows_is_recorded_without_a_warning(case, tmp_path):
    first, second, known = KNOWN[case]
    result = hl.compare(first, second, measures="procrustes_distance")
    assert result.attrs["row_identity"] == known
    page = hl.report(result, tmp_path / "page.html").read_text(encoding="utf-8")
    told = {
        "unknown": "unknown: nothing shows",
        "example ids": "the same example ids",
        "digests of inputs": "the same inputs on",
    }
    assert told[known] in page
    assert hl.compare(first, measures="procrustes_distance").attrs["row_identity"] == "one model"


UNKNOWN = {
    "digests": (side(digests=DIGESTS), side(digests=OTHERS)),
    "ids against digests": (side(ids=NAMES), side(digests=DIGESTS)),
    "numbers of positions": (
        side(ids=np.arange(N) // 4, positions=np.arange(N) % 4, digests=DIGESTS),
        side(ids=np.arange(N) // 4, positions=np.arange(N) % 4, digests=OTHERS),
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_nobody_can_know_is_said(case):
    first, second = UNKNOWN[case]
    with pytest.warns(hl.UnknownPairingWarning):
        assert hl.compare(first, second, measures="procrustes_distance").attrs["row_identity"] == "unknown"
    with pytest.warns(hl.UnknownPairingWarning, match="the rows of x, y, z are"):
        hl.compare({"x": first, "y": second, "z": second}, measures="procrustes_distance")


REFUSED = {
    "another order": (side(digests=DIGESTS), side(SHIFTED, digests=DIGESTS)),
    "some others": (side(digests=DIGESTS), side(SHIFTED, digests=np.append(np.uint64(7), DIGESTS[1:]))),
    "duplicates in another order": (side(digests=DIGESTS // 2**60), side(SHIFTED, digests=DIGESTS // 2**60)),
    "ids that are only numbers": (side(ids=range(N), digests=DIGESTS), side(ids=range(N), digests=DIGESTS[SHIFTED])),
    "positions": (
        side(ids=np.arange(N) // 4, positions=np.arange(N) % 4, digests=np.repeat(DIGESTS[:15], 4)),
        side(ids=np.arange(N) // 4, positions=np.arange(N) % 4, digests=np.repeat(DIGESTS[:15][::-1], 4)),
    ),
    "positions, some others": (
        side(ids=np.arange(N) // 4, positions=np.arange(N) % 4, digests=np.repeat(DIGESTS[:15], 4)),
        side(
            ids=np.arange(N) // 4,
            positions=np.arange(N) % 4,
            digests=np.repeat(np.append(DIGESTS[1:15], np.uint64(7)), 4),
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_same_inputs_in_other_rows_are_refused(case):
    for pair in (REFUSED[case], REFUSED[case][::-1]):
        with pytest.raises(ValueError, match="got the same inputs in another order, or others among them"):
            hl.compare(*pair)


def test_images_shuffled_before_positions_are_refused():
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    first, second = (hl.extract(nn.Conv2d(3, 2, 1), data, reduce="positions") for data in (images, images.flip(0)))
    with pytest.raises(ValueError, match="got the same inputs in another order"):
        hl.compare(first, second)


def test_inputs_that_coincide_by_chance_are_no_contradiction():
    blank = DIGESTS.copy()
    blank[[3, 7]] = 5  # two inputs that one preprocessing makes equal, and the other leaves apart
    other = OTHERS.copy()
    other[3] = 5
    with pytest.warns(hl.UnknownPairingWarning):
        hl.compare(side(digests=blank), side(digests=other), measures="procrustes_distance")


SUBSETS = [
    (list(range(0, N, 2)), list(range(N))[::-1]),
    (SHIFTED, list(range(10, 40))),
    ([5, 3, 9, 1], [9, 5, 1, 8, 2]),
]
WHO = {
    "text": {"ids": NAMES},
    "numbers": {"ids": np.arange(N) * 3},
    "digests": {"digests": DIGESTS},
    "positions": {"ids": np.array(NAMES)[np.arange(N) // 4], "positions": np.arange(N) % 4},
    "digests with positions": {
        "ids": np.arange(N) // 4,
        "positions": np.arange(N) % 4,
        "digests": np.repeat(DIGESTS[:15], 4),
    },
}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("stored", [False, True])
def test_common_rows_are_those_of_both_in_the_order_of_a(who, stored, tmp_path):
    for first, second in SUBSETS:
        a, b = side(first, **WHO[who]), side(second, **WHO[who])
        if stored:
            for name, layers in (("a", a), ("b", b)):
                hl.save(layers, tmp_path / f"{name}.zarr")
            a, b = hl.open(tmp_path / "a.zarr"), hl.open(tmp_path / "b.zarr")
        left, right = hl.common_rows(a, b)
        expected = [row for row in first if row in second]
        for found in (left, right):
            assert_array_equal(found["layer"], ROWS[expected])
        for name in ("example_ids", "positions", "digests"):
            assert_array_equal(getattr(left, name), getattr(right, name))
        hl.plan(left, right, measures="cka")  # checks that they are paired


def test_errors_lead_to_common_rows():
    a, b = side(ids=NAMES), side(ids=NAMES).take(slice(10, 50))
    for pair in ((a, b), (b, a)):
        with pytest.raises(
            ValueError, match=r"must have as many rows .*; homolog\.common_rows\(a, b\) keeps the rows of both"
        ):
            hl.compare(*pair)
    assert hl.common_rows(a, b)[0].n == 40
    for names in (
        ("checkpoint 0", "the last one"),
        ("runs/a", "runs/b"),
        ("a", "layer 'x'"),
    ):  # no code could be made of them
        with pytest.raises(ValueError, match=r"; homolog\.common_rows keeps the rows of both\.$") as told:
            check_pairing(a, b, names)
        assert spoken(str(told.value)).endswith("; --common-rows keeps the rows of both.")
    with pytest.raises(ValueError, match=r"first in row 0 \('image 0' and 'other 0'\): extract both from the same"):
        hl.compare(a, side(ids=[f"other {i}" for i in range(N)]))
    with pytest.raises(ValueError, match="in the same order; extract both alike"):
        hl.compare(side(), side(range(9)))


def test_examples_in_columns_are_told_by_their_number():
    recording, x = np.ones((40, N)), np.ones((N, 3))
    for pair, name in (((recording, x), "a"), ((x, recording), "b")):
        layers = [hl.Activations({"layer": array}) for array in pair]
        words = rf"in the same order; {name} has {N} columns: if these are the examples, turn its arrays with \.T\.$"
        with pytest.raises(ValueError, match=words):
            hl.compare(*layers)


NOT_MATCHED = {
    "arrays": (lambda: hl.common_rows(ROWS, side(ids=NAMES)), TypeError, "a must be Activations, .* got a ndarray"),
    "nobody": (
        lambda: hl.common_rows(side(), side()),
        ValueError,
        "got none that both carry .a: neither; b: neither.: pass ex",
    ),
    "one side": (lambda: hl.common_rows(side(ids=NAMES), side()), ValueError, r"\(a: example ids; b: neither\)"),
    "other kinds": (
        lambda: hl.common_rows(side(ids=NAMES), side(digests=DIGESTS)),
        ValueError,
        r"got none that both carry \(a: example ids; b: digests\)",
    ),
    "twice": (
        lambda: hl.common_rows(side(ids=NAMES), side(ids=["x"] * N)),
        ValueError,
        "b must hold every row once to be matched, got 59 example ids again",
    ),
    "inputs twice": (
        lambda: hl.common_rows(side(digests=DIGESTS // 2**60), side(digests=DIGESTS)),
        ValueError,
        "a must hold every row once to be matched, got .* inputs again",
    ),
    "nothing": (
        lambda: hl.common_rows(side(ids=NAMES), side(ids=range(N))),
        ValueError,
        "at least 2 rows in common, got 0 of 60 and 60",
    ),
}


@pytest.mark.parametrize("case", NOT_MATCHED)
def test_what_cannot_be_matched_says_why(case):
    call, kind, message = NOT_MATCHED[case]
    with pytest.raises(kind, match=message):
        call()


def test_pairs_of_subsets_agree_whatever_the_order():
    rng = np.random.default_rng(2)
    for first, second in itertools.product([rng.permutation(N)[:k] for k in (2, 30, N)], repeat=2):
        a, b = side(first, ids=NAMES), side(second, ids=NAMES)
        if len(np.intersect1d(first, second)) < 2:
            continue
        (left, right), (back_right, back_left) = hl.common_rows(a, b), hl.common_rows(b, a)
        assert (
            set(left.example_ids) == set(back_left.example_ids) == set(NAMES[i] for i in np.intersect1d(first, second))
        )
        assert_array_equal(right["layer"], left["layer"])
        assert_array_equal(back_right["layer"], back_left["layer"])
