"""What the sentences of extraction tell to do, done: each remedy works."""

from __future__ import annotations

import re

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
    hl.extract(model, x[:12], out=out, limit=limit)
    with pytest.raises(ValueError, match=r"with 12 examples, got data of 20: .*, a limit to take more of them, or"):
        hl.extract(model, x, out=out, limit=limit, resume=True)
    with pytest.raises(ValueError, match="with 12 examples, got data of 7: pass the same data, or another name"):
        hl.extract(model, x[:7], out=out, limit=limit, resume=True)
    taken = hl.extract(model, x, out=out, limit=19, resume=True)
    np.testing.assert_allclose(np.asarray(taken["0"]), hl.extract(model, x[:19])["0"], atol=1e-6)
