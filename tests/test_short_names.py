"""Long names are shortened so that different names stay different."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homolog.short_names import folded, shared_start


def test_names_that_fit_stay_as_they_are():
    names = ["encoder.layer.0", "encoder.layer.1", "encoder.layer.0"]
    assert folded(names, 20) == names
    assert folded([], 20) == []


def test_a_shared_start_is_left_out_of_all_names():
    names = [f"vision_model.encoder.layers.{i}.mlp" for i in (0, 1, 11)]
    assert folded([*names, names[0]], 20) == ["…0.mlp", "…1.mlp", "…11.mlp", "…0.mlp"]
    assert shared_start(names) == "vision_model.encoder.layers."


@pytest.mark.parametrize(
    ("names", "short"),
    [
        # What differs stands at the end, in the middle, in the middle of a word, and in two parts that are far from each other.
        (["x" * 39 + end for end in "abc"], ["…" + "x" * 18 + end for end in "abc"]),
        ([f"enc.{i}.mlp.{'z' * 40}" for i in range(3)], ["…enc.0…", "…enc.1…", "…enc.2…"]),
        ([f"Layer{i}{'Attention' * 4}" for i in (11, 12)], ["…Layer11…", "…Layer12…"]),
        ([f"{'q' * 30}.{i}.{'z' * 30}.{j}" for i in (0, 1) for j in (2, 3)], None),
        (["a" * 40, "a" * 41, "a" * 80], None),
        ([str(10**60 + i) for i in range(3)], None),
    ],
)
def test_names_of_40_letters_stay_different(names, short):
    found = folded(names, 20)
    assert len(set(found)) == len(names)
    assert max(map(len, found)) <= 36
    if short is not None:
        assert found == short


PARTS = st.text("ab.", max_size=50)


@given(st.lists(st.text("ab.1_…", min_size=1, max_size=60), min_size=1, max_size=8), PARTS, PARTS)
def test_different_names_never_look_alike(middles, start, end):
    names = [start + middle + end for middle in middles]
    found = folded(names, 16)
    assert len(set(found)) == len(set(names))
    assert dict(zip(names, found, strict=True)) == {name: found[names.index(name)] for name in names}
    assert max(map(len, found)) <= 34
