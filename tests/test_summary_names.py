"""What a summary calls the layers of a pair, and why some layers have no value."""

from __future__ import annotations

import numpy as np
import pytest

import homolog as hl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5))
Y = X @ RNG.normal(size=(5, 5))


def sentence_of(start, *models, **options):
    found = hl.summary(hl.compare(*models, measures="debiased_cka", **options))
    return next(each for each in found if each.startswith(start))


def test_arrays_alone_are_called_as_their_models():
    assert sentence_of("tfidf and embedding are more alike than chance allows: ", X, Y, names=("tfidf", "embedding"))
    assert sentence_of("a and b are more alike than chance allows: ", X, Y)
    assert sentence_of("words and embedding are more alike", {"words": X}, Y, names=("tfidf", "embedding"))


def test_layers_of_one_name_are_told_apart_by_their_models():
    assert sentence_of("x of old and x of new are more alike", {"x": X}, {"x": Y}, names=("old", "new"))


@pytest.mark.filterwarnings("ignore::homolog.ConstantLayerWarning")
def test_a_caution_says_why_layers_of_other_names_have_no_value():
    same = {"pairs": "same_name", "names": ("old", "new")}
    old, new = {"x": X, "y": Y, "only": X}, {"x": Y, "y": X, "fused": X, "lone": X}
    told = sentence_of("Caution: ", old, new, **same)
    assert told.startswith(
        "Caution: only of old, fused of new, lone of new have no value, since no layer of the other side has that name; "
    )
    dead = sentence_of("Caution: ", old, {**new, "y": np.ones((300, 2))}, **same)
    assert "has that name; y of old, y of new have no value; " in dead
    assert "has that name" not in sentence_of("Caution: ", old, {**new, "y": np.ones((300, 2))}, names=("old", "new"))
