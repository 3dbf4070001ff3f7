"""Layers over the same rows: what is kept of who the rows are, which rows are refused, which names a glob means."""

from __future__ import annotations

import numpy as np
import pytest

import homolog as hl

IDENTITIES = {
    "example_ids": np.array(["a", "a", "b", "b", "c"]),
    "positions": np.array([0, 1, 0, 1, 0]),
    "digests": np.array([9, 9, 7, 7, 5], dtype=np.uint64),
}


def activations(**changed):
    layers = {"x": np.arange(10.0).reshape(5, 2), "y": np.arange(5.0)[:, None] ** 2}
    return hl.Activations(layers, **(IDENTITIES | changed), provenance={"model": "m"})


ROWS = {
    "indices": [4, 0, 2],
    "slice": slice(None, None, -1),
    "mask": np.array([True, False, True, True, False]),
    "repeated": np.array([1, 1, 3]),
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_taking_rows_takes_everything_that_says_who_they_are(rows):
    whole, taken = activations(), activations().take(rows)
    for name in whole:
        np.testing.assert_array_equal(taken[name], whole[name][rows])
    for name, values in IDENTITIES.items():
        np.testing.assert_array_equal(getattr(taken, name), values[rows])
    assert taken.n == len(whole["x"][rows])
    assert taken.provenance == {"model": "m"}


def test_selecting_and_renaming_keep_who_the_rows_are():
    whole = activations()
    for other in (whole.select("x"), whole.rename({"x": "z"}), whole.described(model="n")):
        for name, values in IDENTITIES.items():
            np.testing.assert_array_equal(getattr(other, name), values)
    assert list(whole.rename({"x": "z"})) == ["z", "y"]
    assert whole.provenance == {"model": "m"}  # `described` is of a copy


REFUSED = {
    "ids": ({"example_ids": np.array(["a", "a", "b", "b", "d"])}, "example ids that differ first in row 4"),
    "positions": ({"positions": np.array([0, 1, 1, 0, 0])}, "positions that differ first in row 2"),
    "digests in another order": (
        {"example_ids": None, "positions": None, "digests": IDENTITIES["digests"][::-1]},
        r"the same inputs in another order, or others among them \(first in row 0\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_are_others_are_refused(case):
    changed, message = REFUSED[case]
    for first, second in ((activations(), activations(**changed)), (activations(**changed), activations())):
        with pytest.raises(ValueError, match=message):
            hl.compare(first, second, measures="semi_match")


def test_rows_of_which_one_side_says_nothing_are_taken_as_they_are():
    nobody = dict.fromkeys(IDENTITIES)
    assert hl.compare(activations(), activations(**nobody), measures="semi_match").sizes["layer_a"] == 2


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.?", ["a.0", "a.b"]),
        ("a?0", ["ax0"]),
        ("?.0", ["a.0"]),
        ("a.*", ["a.0", "a.b", "a.10"]),
        ("a.**", ["a.0", "a.b", "a.10", "a.b.c"]),
        ("*", ["ax0", "c"]),
        ("**", ["a.0", "a.b", "a.10", "a.b.c", "ax0", "c"]),
        ("a.1*", ["a.10"]),
        ("**.c", ["a.b.c"]),
        ("[a].0", []),
        ("a.+", []),
    ],
)
def test_globs_mean_dotted_parts(pattern, found):
    names = ["a.0", "a.b", "a.10", "a.b.c", "ax0", "c"]
    layers = hl.Activations({name: np.eye(3) for name in names})
    if found:
        assert list(layers.select(pattern)) == found
        return
    with pytest.raises(KeyError, match="unknown layer"):
        layers.select(pattern)
    with pytest.raises(KeyError, match=r"; unknown, too, is 'z\.\*'\."):
        layers.select(pattern, "c", "z.*")


def test_layers_are_selected_by_lists_too_and_in_the_order_they_have():
    layers = hl.Activations({name: np.eye(4) for name in ("a.0", "b", "c")})
    for patterns in (["a.*", "c"], ("c", "a.0"), np.array(["a.0", "c"]), {"a.0": 1, "c": 2}):
        assert list(layers.select(patterns)) == ["a.0", "c"]
    assert list(layers.select(["a.*"], "c")) == ["a.0", "c"]
    with pytest.raises(KeyError, match="unknown layer 'd'"):
        layers.select(["a.0", "d"])
    with pytest.raises(TypeError, match="selected by name or glob"):
        layers.select([1])
    with pytest.raises(TypeError, match="selected by name or glob"):
        layers.select(len)


def test_a_glob_that_stops_at_a_dot_says_so():
    layers = hl.Activations({name: np.eye(4) for name in ("hardswish_58.tmp_0", "hardswish_9.tmp_0", "pool")})
    message = (
        r"no layer matches 'hardswish_\*': \* stops at a dot, and \*\* crosses dots; 'hardswish_\*\*' matches hardswish"
    )
    with pytest.raises(KeyError, match=message):
        layers.select("hardswish_*")
    with pytest.raises(KeyError, match=message):
        hl.extract(lambda x: dict(layers), np.eye(4), layers="hardswish_*")
    with pytest.raises(KeyError, match="unknown layer 'relu_"):
        layers.select("relu_*")
