"""Which layers are a residual stream, in what order, and what is refused or told in one sentence."""

from __future__ import annotations

import json
import warnings

import numpy as np
import planted_networks as planted
import pytest
import scipy.sparse
import torch
from torch import nn

import homolog as hl

DEBIASED = "cka(estimator=debiased)"


def walk(names, n=50, p=8, seed=0):
    """Layers of which each is the one before and a step."""
    steps = np.random.default_rng(seed).normal(size=(len(names), n, p))
    return dict(zip(names, np.cumsum(steps, axis=0), strict=True))


def notes(result):
    return " ".join(json.loads(result.attrs["notes"]))


# --- Order and choice


def test_numbers_in_names_order_the_layers():
    names = ["embed", *(f"h.{i}" for i in range(12))]
    layers = walk(names)
    found = hl.redundancy({name: layers[name] for name in sorted(names)})
    assert found.layer.values.tolist() == names
    assert "order of the numbers in their names" in notes(found)
    assert "order of the numbers" in str(hl.summary(found))
    np.testing.assert_array_equal(found.influence, hl.redundancy(layers).influence)
    assert notes(hl.redundancy(layers)) == ""


def test_blocks_are_chosen_in_the_order_asked_for():
    layers = walk(["head", "h.1", "h.0", "embed"])
    found = hl.redundancy(layers, blocks=["embed", "h.*"])
    assert found.layer.values.tolist() == ["embed", "h.0", "h.1"]
    found = hl.redundancy(layers, blocks=["h.1", "h.0"])  # names as they are listed
    assert found.layer.values.tolist() == ["h.1", "h.0"]


def test_layers_within_a_block_are_refused():
    for names in (["in", "h.0.attn", "h.0.mlp", "h.1.attn"], ["in", "h.0", "h.0.mlp"], ["in", "h", "h.0"]):
        with pytest.raises(
            ValueError, match=r"outputs of blocks that follow one another, got 'h.*lie in one block: choose"
        ):
            hl.redundancy(walk(names))


def test_the_input_of_the_first_block_may_be_called_after_it():
    names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    found = hl.redundancy(walk(names))
    assert found.sizes["block"] == 2
    assert "'hook_resid_post' of a block" in notes(found)


def test_a_first_layer_that_may_be_a_block_is_told():
    found = hl.redundancy(walk(["h.0", "h.1", "h.2"]))
    assert "h.0 counts as the input of the first block, and is not looked at itself" in notes(found)
    assert notes(hl.redundancy(walk(["embed", "h.0", "h.1", "h.2"]))) == ""


def test_a_layer_norm_behind_the_blocks_is_told():
    names = ["embed", *(f"h.{i}" for i in range(4)), "norm"]
    assert "called otherwise than the other blocks, and counted as a block: norm;" in notes(hl.redundancy(walk(names)))
    assert notes(hl.redundancy(walk(names), blocks=["embed", "h.*"])) == ""


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("place", [1, -1])
def test_an_embedding_that_does_not_come_first_is_told(count, place):
    names = [f"model.layers.{i}" for i in range(count)]
    names.insert(place if place > 0 else count, "model.embed_tokens")
    said = notes(hl.redundancy(walk(names)))
    assert "counted as a block: model.embed_tokens; if that is wrong" in said
    assert "what goes into the first block first, such as an embedding" in said


def test_layers_of_another_width_are_left_out_with_a_word():
    layers = walk(["a", "b", "c"]) | {"head": np.ones((50, 3)) + np.arange(50)[:, None]}
    with pytest.warns(hl.LeftOutWarning, match=r"left out, since their width is not 8 .*: head \(3\)"):
        found = hl.redundancy(layers)
    assert found.layer.values.tolist() == ["a", "b", "c"]
    assert "head (3)" in notes(found)
    with pytest.raises(ValueError, match=r"must have one width, got a \(8\), b \(8\), c \(8\), head \(3\)"):
        hl.redundancy(layers, blocks=["*"])


def test_layers_of_one_width_that_do_not_follow_one_another_are_no_stream():
    ends = walk(["a", "b", "y", "z"])
    narrow = walk(["c"], p=3)
    layers = {"a": ends["a"], "b": ends["b"], "c": narrow["c"], "y": ends["y"], "z": ends["z"]}
    with pytest.raises(ValueError, match="must have one width"):
        hl.redundancy(layers)


# --- What is given


def test_several_models_and_results_are_refused():
    layers = walk(["a", "b"])
    with pytest.raises(ValueError, match=r"asked of one model, got 2 \(x, y\): call it once"):
        hl.redundancy({"x": layers, "y": layers})
    with pytest.raises(
        TypeError, match=r"needs the activations of one model, got a comparison: pass what was compared"
    ):
        hl.redundancy(hl.compare(layers, measures=DEBIASED))
    with pytest.raises(TypeError, match="activations must hold layers, got the result of a redundancy: pass what was"):
        hl.compare(hl.redundancy(layers))
    with pytest.raises(ValueError, match="at least two layers of equal width"):
        hl.redundancy({"a": layers["a"]})
    with pytest.raises(ValueError, match="got a alone: choose"):
        hl.redundancy({"a": layers["a"]})
    with pytest.raises(KeyError, match="unknown layer 'c'"):
        hl.redundancy(layers, blocks=["a", "c"])
    with pytest.raises(TypeError, match=r"blocks must be names or globs of layers, got an? int"):
        hl.redundancy(layers, blocks=3)
    with pytest.raises(TypeError, match=r"loss must be a function of a tuple of names of blocks, got an? int"):
        hl.redundancy(layers, loss=3)
    with pytest.raises(ValueError, match="blocks must name at least two layers, got an empty list"):
        hl.redundancy(layers, blocks=[])


def test_one_block():
    layers = walk(["in", "out"])
    found = hl.redundancy(layers, loss=len)
    assert (found.span.values.tolist(), found.best_start.values.tolist()) == ([1], ["out"])
    assert str(hl.summary(found)).startswith("One block was looked at (out, fed by in; 8 features)")


def test_rows_that_are_zero_are_left_out_of_the_means():
    layers = walk(["a", "b", "c"])
    layers["b"][:5] = 0
    with pytest.warns(hl.NoDirectionWarning, match=r"some examples are 0.*b \(5\); they are left out of the means"):
        found = hl.redundancy(layers)
    expected = hl.redundancy({name: x[5:] for name, x in layers.items()})
    np.testing.assert_allclose(found.influence, expected.influence)
    assert found.angular_distance.values[0, 0] == pytest.approx(expected.angular_distance.values[0, 0])


def test_a_layer_of_zeros_has_no_influence_and_a_constant_one_no_rank():
    layers = walk(["a", "b", "c", "d"])
    layers["b"][:] = 0
    layers["d"][:] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        found = hl.redundancy(layers)
    assert np.isnan(found.influence.values[:2]).all()
    assert np.isfinite(found.influence.values[2])
    assert np.isnan(found.effective_rank.values).tolist() == [False, True, False, True]
    assert np.isnan(found.cka.values[0, 1])
    assert found.best_start.sel(span=1).item() == "d"
    assert "ConstantLayerWarning" in found.attrs["warnings"]
    lines = str(hl.summary(found))
    assert "nan" not in lines
    hl.plot.redundancy(found)


def test_not_finite_and_too_large_numbers_are_refused(tmp_path):
    layers = walk(["a", "b"])
    large = layers | {"b": layers["b"] * 1e150}
    with pytest.raises(ValueError, match="layer 'b' must hold numbers whose squares float64 holds"):
        hl.redundancy(large)
    layers["b"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"'b'.* must be finite, got NaN or infinity first in row 3"):
        hl.redundancy(layers)
    with pytest.raises(ValueError, match=r"needs? a memory of at least"):
        hl.redundancy(walk(["a", "b"]), memory=1000)


@pytest.mark.parametrize(
    ("remove", "sentence"),
    [
        ([8], "from 0 to 7, got 8"),
        ([-1], "from 0 to 7, got -1"),
        (range(8), "must leave some features"),
        ([0.5], "numbers of features, got float64"),
        ("largest", "must be 'massive', numbers of features, or None, got 'largest'"),
        (3, r"or None, got an int: give a list, such as \[3\]"),
        (np.array(3), "give a list"),
        ([True, False], "numbers of features, got bool"),
        ([[1, 2]], "numbers of features"),
    ],
)
def test_features_that_cannot_be_left_out(remove, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        hl.redundancy(walk(["a", "b"]), remove_features=remove)


@pytest.mark.parametrize("missing", [[None] * 50, [0.0, np.nan] * 25, np.ma.masked_equal([0, 1] * 25, 1)])
def test_labels_that_are_missing(missing):
    with pytest.raises(ValueError, match=r"labels must hold a class for every row, got none in \d+ of 50 rows"):
        hl.redundancy(walk(["a", "b"]), labels=missing)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize(("removed", "told"), [((), "for the whole network"), (("h.1",), "without h.1")])
def test_a_loss_that_is_no_finite_number_is_told(odd, removed, told):
    layers = walk(["embed", *(f"h.{i}" for i in range(4))])
    found = hl.redundancy(layers, loss=lambda gone: odd if gone == removed else 1.0 + len(gone))
    kind = "NaN" if np.isnan(odd) else "an infinite number"
    assert f"your loss function returned {kind} {told}" in notes(found)
    assert f"Note: your loss function returned {kind} {told}." in list(hl.summary(found))
    assert "unknown" not in str(hl.summary(found))
    assert notes(hl.redundancy(layers, loss=len)) == ""


def test_massive_features_that_differ_by_layer_are_not_all_left_out():
    layers = walk(["embed", *(f"h.{i}" for i in range(8))])
    for place, x in enumerate(layers.values()):
        x[:, place % 8] *= 50
    found = hl.redundancy(layers)
    assert "influence_without" not in found
    assert "together 8 of 8, more than one in 8: there are no numbers without them" in notes(found)
    assert "No feature is massive" not in str(hl.summary(found))
    named = hl.redundancy(layers, remove_features=[0, 1])
    np.testing.assert_allclose(
        named.influence_without, hl.redundancy(planted.less_columns(layers, [0, 1])).influence, atol=1e-12
    )
    wide = walk(["a", "b", "c"], p=32)
    for place, x in enumerate(wide.values()):
        x[:, place] *= 200
    told = json.loads(hl.redundancy(wide).attrs["massive_features"])
    assert {each["feature"] for each in told if each["removed"]} == {0, 1, 2}  # 3 of 32 are few


@pytest.mark.parametrize("unit", [0.1, 0.8, 1.0, 10.0, 1000.0])
def test_a_layer_of_many_zeros_has_no_massive_features_for_that(unit):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(300, 64)) * 30 - 15, 0)
    layers = {"embed": unit * x}
    for place in range(4):
        x = np.maximum(x + 5 * rng.normal(size=x.shape) - 3, 0)
        layers[f"h.{place}"] = unit * x
    assert np.mean(x == 0) > 0.5
    assert json.loads(hl.redundancy(layers).attrs["massive_features"]) == []


@pytest.mark.parametrize("made", [torch.tensor, np.float32, scipy.sparse.csr_array, lambda x: (100 * x).astype(int)])
def test_arrays_of_every_kind(made):
    layers = walk(["a", "b", "c"])
    found = hl.redundancy({name: made(x) for name, x in layers.items()})
    np.testing.assert_allclose(found.influence, hl.redundancy(layers).influence, atol=5e-3)


def test_a_measure_called_as_a_variable_is_refused():
    with pytest.raises(ValueError, match="'norm' is a variable of the result already"):
        hl.redundancy(walk(["a", "b"]), measure=norm)


def norm(x: object, y: object) -> float:
    """Say nothing."""
    return 0.0


# --- Networks


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.inner(x)


def test_a_sequence_of_residual_blocks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), *(Block() for _ in range(3)), nn.Linear(8, 2))
    with torch.no_grad():
        model[2].inner.weight.zero_()
        model[2].inner.bias.zero_()
    found = hl.redundancy(hl.extract(model, torch.randn(40, 5), layers=["0", "1", "2", "3"]))
    assert found.best_start.sel(span=1).item() == "2"
    assert found.influence.sel(block="2").item() == 0


def test_models_of_hugging_face_by_the_names_of_the_docstring():
    import tiny_models

    tokens = {"input_ids": torch.randint(1, 20, (12, 7), generator=torch.Generator().manual_seed(0))}
    for model, blocks in (
        (tiny_models.llama(), ["model.embed_tokens", "model.layers.*"]),
        (tiny_models.gpt2(), ["transformer.drop", "transformer.h.*"]),
    ):
        activations = hl.extract(model, tokens, layers=blocks, reduce="positions")
        found = hl.redundancy(activations)
        with torch.no_grad():
            states = model(**tokens, output_hidden_states=True).hidden_states[:2]
        first, second = (state.reshape(-1, 16).double().numpy() for state in states)
        cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
        assert found.influence.values[0] == pytest.approx(1 - cosines.mean(), abs=1e-6)
        assert found.sizes["block"] == 2
        with pytest.raises(ValueError, match="lie in one block: choose the input of the first block"):
            hl.redundancy(hl.extract(model, tokens, layers=[blocks[0], "**.0.**"], reduce="mean"))


def test_a_result_of_another_kind():
    found = hl.redundancy(walk(["a", "b", "c"]))
    with pytest.raises(KeyError, match="procrustes"):
        hl.summary(found, "procrustes_distance")
    with pytest.raises(KeyError, match="unknown variable 'influenc', did you mean influence"):
        hl.table(found, "influenc")
    with pytest.raises(ValueError, match=r"needs a result of homolog.redundancy, got one of homolog.compare"):
        hl.plot.redundancy(hl.compare(planted.stream(n=40), measures=DEBIASED))
