"""What the sentences of extraction tell to do, done: each remedy works."""

from __future__ import annotations

import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("make", [lambda: nn.LSTM(3, 5), lambda: nn.MultiheadAttention(3, 1)])
@pytest.mark.parametrize(("tokens", "examples"), [(9, 9), (9, 4), (4, 9), (2, 5)])
def test_data_that_have_their_examples_on_axis_1(make, tokens, examples):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.mix = nn.Linear(3, 3), make()

        def forward(self, x):
            x = self.line(x)
            return (self.mix(x) if isinstance(self.mix, nn.LSTM) else self.mix(x, x, x))[0]

    model, data = Model(), torch.randn(tokens, examples, 3)
    told = (
        "if the data have their examples on axis 1, pass them with the examples first, data.transpose(0, 1), with "
        "forward=lambda model, batch: model(batch.transpose(0, 1)) and axis=1."
    )
    with pytest.raises(ValueError, match=re.escape(told)):
        hl.extract(model, data, layers="mix", reduce="mean")
    with pytest.warns(hl.ExtractionWarning, match=re.escape(told)):
        hl.extract(model, data, reduce="mean")
    options = {"forward": lambda model, batch: model(batch.transpose(0, 1)), "axis": 1, "reduce": "mean"}
    with torch.no_grad():
        expected = model(data).mean(0).numpy()
    for given in (data.transpose(0, 1), list(data.transpose(0, 1).split(3))):
        taken = hl.extract(model, given, **options)
        assert list(taken) == ["line", "mix"]
        np.testing.assert_allclose(taken["mix"], expected, atol=1e-6)
    loader = torch.utils.data.DataLoader(list(data.transpose(0, 1)), 3)  # which puts the examples first
    np.testing.assert_allclose(hl.extract(model, loader, **options)["mix"], expected, atol=1e-6)


class Inner(nn.Module):
    """An inner layer whose output is made from the input by a function."""

    def __init__(self, make):
        super().__init__()
        self.line, self.inner, self.make = nn.Linear(3, 3), nn.Identity(), make

    def forward(self, x):
        self.inner(self.make(self.line(x)))
        return self.line(x)


ELSEWHERE = {
    "tokens first": (lambda x: x.transpose(0, 1), 1),
    "examples last": (lambda x: x.permute(1, 2, 0), 2),
    "features first": (lambda x: x.mean(1).T, 1),
}


@pytest.mark.parametrize("tokens", [4, 6])
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_the_axis_that_is_told_is_that_of_the_examples(kind, tokens):
    make, axis = ELSEWHERE[kind]
    x = torch.randn(4, tokens, 3)
    with pytest.raises(ValueError, match=re.escape(f"axis={{'inner': {axis}}}")):
        hl.extract(Inner(make), x, layers="inner")
    taken = hl.extract(Inner(make), x, layers="inner", axis={"inner": axis})["inner"]
    assert len(taken) == 4


NOWHERE = {
    "a table": lambda x: torch.arange(12.0).reshape(4, 3),
    "a square table": lambda x: torch.arange(16.0).reshape(4, 4),
    "a table of another length": lambda x: torch.arange(15.0).reshape(5, 3),
    "pairs": lambda x: x.flatten(1) @ x.flatten(1).T,
}


@pytest.mark.parametrize("kind", NOWHERE)
def test_no_axis_is_told_where_none_is_that_of_the_examples(kind):
    model, x = Inner(NOWHERE[kind]), torch.randn(4, 2, 3)
    with pytest.raises(ValueError, match="layer 'inner' must") as caught:
        hl.extract(model, x, layers="inner")
    assert "where the examples lie" not in str(caught.value)
    with pytest.warns(hl.ExtractionWarning, match="left out.*inner"):
        assert list(hl.extract(model, x)) == ["line", "line#2"]


@pytest.mark.parametrize("limit", [None, 20])
def test_a_complete_store_goes_on_with_a_limit_and_says_so_only_where_there_is_more(limit, tmp_path):
    model, x, out = nn.Sequential(nn.Linear(3, 2)), torch.randn(20, 3), tmp_path / "a.zarr"
    hl.extract(model, x[:12], out=out, max_examples=limit)
    with pytest.raises(
        ValueError, match=r"with 12 examples, got data of 20: .*, max_examples to take more of them, or"
    ):
        hl.extract(model, x, out=out, max_examples=limit, resume=True)
    with pytest.raises(ValueError, match="with 12 examples, got data of 7: pass the same data, or another name"):
        hl.extract(model, x[:7], out=out, max_examples=limit, resume=True)
    taken = hl.extract(model, x, out=out, max_examples=19, resume=True)
    np.testing.assert_allclose(np.asarray(taken["0"]), hl.extract(model, x[:19])["0"], atol=1e-6)


class OwnNorm(nn.LayerNorm):
    """A kind of one's own, which tells by its width where its features lie."""


class LastInside(nn.Module):
    """Channels first outside, and last between two linear layers, as in many networks of images."""

    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        self.stem, self.norm, self.wide = nn.Conv2d(3, 4, 3, padding=1), norm(4), nn.Linear(4, 6)
        self.bend, self.narrow, self.pool = nn.GELU(), nn.Linear(6, 4), nn.MaxPool2d(2)

    def forward(self, x):
        x = self.stem(x)
        y = self.narrow(self.bend(self.wide(self.norm(x.permute(0, 2, 3, 1)))))
        return self.pool(x + y.permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [4, 6, 5])  # as many places as channels, too
@pytest.mark.parametrize("channels", ["first", "last"])
def test_channels_are_not_averaged_in_place_of_places(channels, size):
    model, x, inside = LastInside(), torch.randn(5, 3, size, size), ["norm", "wide", "bend", "narrow"]
    other = inside if channels == "first" else ["stem", "pool"]
    told = f"left out.*{other[0]} \\(a .*, which puts its channels {'last' if channels == 'first' else 'second'}"
    with pytest.warns(hl.ExtractionWarning, match=told):
        taken = hl.extract(model, x, reduce="mean", channels=channels)
    assert list(taken) == [name for name in ("stem", *inside, "pool") if name not in other]
    with pytest.raises(ValueError, match=f"layer {other[0]!r} is a .*: pass channels=") as caught:
        hl.extract(model, x, layers=other, reduce="mean", channels=channels)
    remedy = eval(re.search("reduce=({.*})", str(caught.value))[1])
    own = hl.extract(model, x, layers=other[0], reduce=remedy, channels=channels)[other[0]]
    right = "last" if channels == "first" else "first"
    np.testing.assert_allclose(
        own, hl.extract(model, x, layers=other[0], reduce="mean", channels=right)[other[0]], atol=1e-6
    )
    assert own.shape == (5, 4)


@pytest.mark.filterwarnings("ignore:left out:homolog.ExtractionWarning")
def test_channels_are_told_by_the_width_of_a_module_too():
    for size, left_out in ((6, True), (4, False)):  # of 4 by 4 places nothing tells
        taken = hl.extract(LastInside(OwnNorm), torch.randn(5, 3, size, size), reduce="mean")
        assert ("norm" in list(taken)) != left_out


@pytest.mark.parametrize("reduce", ["mean", "positions", "last"])
def test_attention_between_padded_positions_is_left_out(reduce):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.weights = nn.Embedding(30, 4), nn.Dropout(0.1)

        def forward(self, input_ids, attention_mask):
            x = self.words(input_ids)
            scores = (x @ x.transpose(1, 2)).masked_fill(attention_mask[:, None] == 0, -1e9)
            return self.weights(scores.softmax(-1)[:, None]).sum(1) @ x

    model, lengths = Attends(), torch.tensor([6, 3, 5, 2])
    data = {"input_ids": torch.randint(0, 30, (4, 6)), "attention_mask": (torch.arange(6) < lengths[:, None]).long()}
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*weights \(maps of shape \(4, 1, 6, 6\)"):
        assert list(hl.extract(model, [data], reduce=reduce)) == ["words"]
    with pytest.raises(ValueError, match="layer 'weights' puts out maps of shape"):
        hl.extract(model, [data], reduce=reduce, layers="weights")
    if reduce == "mean":
        counted = hl.extract(model, [data], reduce=reduce, layers="weights", mask={"weights": None})
        assert counted["weights"].shape == (4, 1)
    whole = {**data, "attention_mask": torch.ones(4, 6)}
    assert hl.extract(model, [whole], reduce="mean", layers="weights")["weights"].shape == (4, 1)


class TakesLengths(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x, lengths):
        return self.fc(x) * lengths[:, None]


def test_batches_that_do_not_fit_the_forward_name_the_option_that_says_how():
    x, lengths = torch.randn(6, 4), torch.ones(6)
    for batch, how in (
        ({"x": x, "lengths": lengths, "text": x}, lambda m, b: m(b["x"], b["lengths"])),
        ((x, lengths), lambda m, b: m(*b)),
    ):
        with pytest.raises(TypeError) as refused:
            hl.extract(TakesLengths(), [batch])
        assert any("forward=lambda model, batch" in note for note in refused.value.__notes__)
        assert list(hl.extract(TakesLengths(), [batch], forward=how)) == ["fc"]


def test_a_layer_that_only_holds_others_names_them():
    model = nn.Sequential(OrderedDict(blocks=nn.ModuleList([nn.Linear(4, 4)])))
    model.forward = lambda x: model.blocks[0](x)
    with pytest.raises(KeyError, match=r"'blocks' did not run in the forward: it only holds others; .* 'blocks\.\*\*'"):
        hl.extract(model, torch.randn(5, 4), layers="blocks")
    assert list(hl.extract(model, torch.randn(5, 4), layers="blocks.**")) == ["blocks.0"]
