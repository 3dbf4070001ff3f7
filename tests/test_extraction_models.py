"""Extraction from the kinds of models people have: transformers, wrappers, mappings, generation."""

from __future__ import annotations

from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def sequences():
    return torch.randn(6, 5, 8)


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def test_transformer_layers_are_seen_although_the_fused_path_hides_them(sequences):
    model = encoder().eval()
    before = torch.backends.mha.get_fastpath_enabled()
    taken = hl.extract(model, sequences, layers=["layers.*", "layers.*.linear2", "output"], reduce="mean", batch_size=4)
    assert torch.backends.mha.get_fastpath_enabled() is before
    names = ["layers.0.linear2", "layers.0", "layers.1.linear2", "layers.1", "output"]
    assert list(taken) == names
    with torch.no_grad():
        expected = model(sequences).mean(dim=1).numpy()
    np.testing.assert_allclose(taken["layers.1"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(taken["layers.1"], taken["output"])


def test_attention_puts_out_a_tuple_whose_first_tensor_is_taken(sequences):
    taken = hl.extract(encoder(), sequences, layers="layers.0.self_attn", reduce="last")
    assert taken["layers.0.self_attn"].shape == (6, 8)


def test_a_convolutional_layer_and_tokens_in_one_model():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 4, stride=4)
            self.encode = encoder()

        def forward(self, images):
            return self.encode(self.embed(images).flatten(2).transpose(1, 2))

    images = torch.randn(3, 3, 8, 8)
    rules = {"embed": "mean", "encode.**": "first"}
    taken = hl.extract(Patches(), images, layers=["embed", "encode.layers.*", "input"], reduce=rules)
    assert {name: array.shape for name, array in taken.items()} == {
        "input": (3, 192),
        "embed": (3, 8),
        "encode.layers.0": (3, 8),
        "encode.layers.1": (3, 8),
    }
    places = hl.extract(Patches(), images, layers=["embed", "encode.layers.*"], reduce="positions")
    assert {array.shape for array in places.values()} == {(12, 8)}
    assert places.example_ids.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_channels_last():
    class Swap(nn.Module):
        def forward(self, images):
            return images.permute(0, 2, 3, 1)

    images = torch.randn(4, 3, 5, 6)
    taken = hl.extract(nn.Sequential(Swap()), images, reduce="mean", channels="last")
    np.testing.assert_allclose(taken["0"], images.mean(dim=(2, 3)).numpy(), atol=1e-6)


Point = namedtuple("Point", ["logits", "states"])


class Mapped(nn.Module):
    """Puts out a mapping from one layer and a named tuple at the end; one layer puts out no examples."""

    def __init__(self):
        super().__init__()
        self.dictionary = self.Inner()
        self.table = self.Table()

    class Inner(nn.Module):
        def forward(self, x):
            return UserDict(scale=torch.tensor(2.0), hidden=2 * x, extra=x)

    class Table(nn.Module):
        def forward(self, x):
            return torch.arange(7.0)[None]

    def forward(self, x):
        hidden = self.dictionary(x)["hidden"]
        return Point(hidden + self.table(x)[0, 1], (hidden,))


def test_mappings_and_named_tuples_give_their_first_tensor_of_the_batch():
    x = torch.randn(5, 3)
    taken = hl.extract(Mapped(), x, layers=["dictionary", "output"])
    np.testing.assert_array_equal(taken["dictionary"], 2 * x)
    np.testing.assert_array_equal(taken["output"], 2 * x + 1)


def test_what_holds_no_examples_is_left_out_with_a_word_or_an_error_when_named():
    x = torch.randn(5, 3)
    with pytest.warns(hl.ExtractionWarning, match=r"table \(shape \(1, 7\)\)"):
        assert list(hl.extract(Mapped(), x)) == ["dictionary"]
    with pytest.raises(
        ValueError, match=r"layer 'table' must put out one entry per example along its first axis \(5\)"
    ):
        hl.extract(Mapped(), x, layers="table")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # PyTorch's own, at its first compilation
def test_wrappers_change_neither_names_nor_values():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2)))
    x = torch.randn(6, 3)
    plain = hl.extract(model, x)
    compiled = torch.compile(model, backend="eager")
    compiled(x)  # a graph made before there were hooks would not run them
    inner = nn.Sequential(torch.compile(model[0], backend="eager"), model[1], model[2])
    inner(x)
    in_place = nn.Sequential(*model)
    in_place.compile(backend="eager")
    in_place(x)
    for wrapped in (nn.DataParallel(model), compiled, nn.DataParallel(compiled), inner, in_place):
        taken = hl.extract(wrapped, x)
        assert list(taken) == list(plain) == ["0", "1", "2.0"]
        for name in plain:
            np.testing.assert_array_equal(taken[name], plain[name])


def test_generation_is_refused_with_a_word():
    class Generates(nn.Module):
        def __init__(self):
            super().__init__()
            self.step = nn.Linear(3, 3)

        def forward(self, x):
            for _ in range(int(x.abs().max())):
                x = self.step(x)
            return x

    batches = [torch.full((2, 3), 2.0), torch.full((2, 3), 3.0)]
    with pytest.raises(ValueError, match=r"'step' must run as often in every batch \(2 times in the first\), got 3"):
        hl.extract(Generates(), batches)


def test_forward_runs_batches_of_any_kind():
    model = nn.Sequential(nn.Linear(3, 4))
    batches = [("label", {"x": torch.ones(2, 3)}), ("label", {"x": torch.zeros(3, 3)})]
    taken = hl.extract(model, batches, forward=lambda model, batch: model(batch[1]["x"]))
    assert taken["0"].shape == (5, 4)
    with pytest.raises(TypeError, match="a batch must be a tensor, a tuple or a mapping that holds one, got texts"):
        hl.extract(model, ["text"])
