"""Two hundred models from a grammar: every recorded layer has its examples on axis 0, or extraction says that it does not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn
from torch.nn.utils import parametrizations

import homolog as hl

SIZES = st.sampled_from([2, 3, 4, 6])
"""Examples, tokens and features are drawn from the same few numbers, so that they are equal often."""


@dataclass
class Record:
    states: torch.Tensor
    more: torch.Tensor


class Turned(nn.Module):
    """A sequence-first module, given what it asks for."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return first(self.inner(x.transpose(0, 1))).transpose(0, 1)


class Attention(nn.Module):
    def __init__(self, width, batch_first):
        super().__init__()
        self.attend = nn.MultiheadAttention(width, 1, batch_first=batch_first)

    def forward(self, x):
        return self.attend(x, x, x)


class Places(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.table = nn.Embedding(tokens, width)

    def forward(self, x):
        return x + self.table(torch.arange(x.shape[1]))


class Convolved(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convolve = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x):
        return self.convolve(x.transpose(1, 2)).transpose(1, 2)


class Puts(nn.Module):
    """Puts out its tensor inside something, and other tensors beside it."""

    def __init__(self, inner, how):
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x):
        states = first(self.inner(x))
        return {
            "tuple": lambda: (states, states.mean(0)),
            "order": lambda: (torch.arange(len(x)), states),
            "mapping": lambda: {"indices": states.argmax(-1), "scale": states.sum(), "states": states},
            "record": lambda: Record(states, states.sum(0)),
        }[self.how]()


class Aside(nn.Module):
    """Passes its input on, beside a layer that puts out something without examples."""

    def __init__(self, tokens):
        super().__init__()
        self.table = nn.Parameter(torch.randn(tokens, 3))
        self.experts, self.pairs = nn.Identity(), nn.Identity()

    def forward(self, x):
        self.experts(self.table + x.mean())
        self.pairs(x.flatten(1) @ x.flatten(1).T)
        return x


class Odd(nn.Module):
    """Passes its input on, beside layers that do something odd with some batches."""

    def __init__(self, width, how):
        super().__init__()
        self.seen, self.line, self.how = nn.Identity(), nn.Linear(width, width), how

    def forward(self, x):
        tokens = x.flatten(0, 1)
        chosen = tokens[:, 0] > 0
        order = x[:, 0, 0].argsort()
        calls = {
            "sometimes": lambda: [self.line(x)] if x[0, 0, 0] > 0 else [],
            "often": lambda: [self.line(x) for _ in range(1 + int(x[-1, 0, 0] > 0))],
            "routed": lambda: [self.line(tokens[chosen]), self.seen(tokens[~chosen])],
            "sorted": lambda: [self.line(x[order])],
            "centred": lambda: [self.seen(x - x.mean(0)), self.line(x)],
            "cut": lambda: [self.seen(x[:3]), self.line(x[:, :2])],
            "pairs": lambda: [self.seen(x[:, 0] @ x[:, 0].T), self.line(x)],
        }
        calls[self.how]()
        return x


ODD = ["sometimes", "often", "routed", "sorted", "centred", "cut", "pairs"]


def first(output):
    if isinstance(output, tuple):
        return next(item for item in output if item.is_floating_point())
    if isinstance(output, dict):
        return output["states"]
    return output.states if isinstance(output, Record) else output


class Chain(nn.Module):
    def __init__(self, *modules):
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, x):
        for module in self.parts:
            x = first(module(x))
        return x


QUANTISED = torch.ao.nn.quantized.dynamic


def quantised(layer):
    layer.qconfig = torch.ao.quantization.default_dynamic_qconfig
    return QUANTISED.Linear.from_float(layer)


@st.composite
def modules(draw, tokens, width, depth=2, odd=()):
    """A module from (n, tokens, width) to (n, tokens, width)."""
    plain = [
        "linear",
        "normal",
        "rnn",
        "wrong rnn",
        "attention",
        "wrong attention",
        "places",
        "convolved",
        "aside",
        "weights",
    ]
    kind = draw(st.sampled_from([*plain, *odd, "quantised", *(["puts", "turned"] * 2 if depth else [])]))
    recurrent = draw(st.sampled_from([nn.LSTM, nn.GRU]))
    make = {
        "linear": lambda: nn.Linear(width, width),
        "normal": lambda: nn.Sequential(nn.LayerNorm(width), nn.GELU()),
        "rnn": lambda: recurrent(width, width, num_layers=draw(st.integers(1, 2)), batch_first=True),
        "wrong rnn": lambda: recurrent(width, width),
        "attention": lambda: Attention(width, True),
        "wrong attention": lambda: Attention(width, False),
        "places": lambda: Places(tokens, width),
        "convolved": lambda: Convolved(width),
        "aside": lambda: Aside(tokens),
        "weights": lambda: draw(
            st.sampled_from([parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal])
        )(nn.Linear(width, width)),
        "quantised": lambda: quantised(nn.Linear(width, width)),
        "puts": lambda: Puts(
            draw(modules(tokens, width, depth - 1)), draw(st.sampled_from(["tuple", "order", "mapping", "record"]))
        ),
        "turned": lambda: Turned(
            draw(st.sampled_from([nn.Linear(width, width), nn.LSTM(width, width), Attention(width, False)]))
        ),
    }
    return Odd(width, kind) if kind in odd else make[kind]()


@st.composite
def cases(draw):
    tokens, width = draw(SIZES), draw(SIZES)
    torch.manual_seed(draw(st.integers(0, 999)))
    model = Chain(*[draw(modules(tokens, width)) for _ in range(draw(st.integers(1, 3)))]).eval()
    batch = draw(SIZES)
    rows = batch * draw(st.integers(1, 2)) + draw(st.integers(0, 1))
    reduce = draw(st.sampled_from(["flatten", "mean", "first", "last", "positions"]))
    return model, torch.randn(max(rows, 2), tokens, width), batch, reduce


def extracted(model, x, batch, reduce, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hl.extract(model, x, reduce=reduce, batch_size=batch, **options)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_the_rows_follow_the_examples_or_extraction_refuses(case):
    model, x, batch, reduce = case
    try:
        layers = extracted(model, x, batch, reduce)
    except ValueError:
        return
    order = np.random.default_rng(0).permutation(len(x))
    again = extracted(model, x[order], batch, reduce, layers=list(layers), axis={name: 0 for name in layers})
    coarse = any(isinstance(module, QUANTISED.Linear) for module in model.modules())
    for name, rows in layers.items():
        per_example = len(rows) // len(x)
        found, expected = (array.reshape(len(x), per_example, -1) for array in (again[name], rows))
        rounding = 64 * np.finfo(rows.dtype).eps * np.abs(rows).max()
        most = (0.1 if coarse else 2e-3) * np.ptp(rows, axis=0).max() + rounding
        assert np.abs(found - expected[order]).max() <= most, name


@st.composite
def several(draw):
    """A model and several batches, of which the last may be shorter, down to one example."""
    tokens, width = draw(SIZES), draw(SIZES)
    torch.manual_seed(draw(st.integers(0, 999)))
    model = Chain(*[draw(modules(tokens, width, odd=ODD)) for _ in range(draw(st.integers(1, 3)))]).eval()
    batch = draw(st.sampled_from([1, 2, 3, 4, 6]))
    rows = batch * draw(st.integers(1, 5)) + draw(st.integers(0, batch - 1))
    reduce = draw(st.sampled_from(["flatten", "mean", "first", "last", "positions"]))
    return model, torch.randn(max(rows, 2), tokens, width), batch, reduce


REFUSALS = ("no layer puts out rows", "as many rows as layer", "must run as often in every batch")


def with_words(model, x, batch, reduce):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        taken = hl.extract(model, x, reduce=reduce, batch_size=batch)
    return taken, " ".join(str(one.message) for one in caught if issubclass(one.category, hl.ExtractionWarning))


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=several())
def test_several_batches_give_what_one_gives_or_say_what_they_leave_out(case):
    model, x, batch, reduce = case
    try:
        layers, told = with_words(model, x, batch, reduce)
    except ValueError as problem:
        # Nobody named a layer, so that none of them alone is a reason to refuse.
        if not any(words in str(problem) for words in REFUSALS):
            raise
        return
    try:
        whole, _ = with_words(model, x, len(x), reduce)
    except ValueError:
        whole = {}
    for name in set(whole) - set(layers):
        assert name in told or "more" in told, name
    coarse = any(isinstance(module, QUANTISED.Linear) for module in model.modules())
    for name in set(layers) & set(whole):
        rows, expected = layers[name], whole[name]
        rounding = 64 * np.finfo(rows.dtype).eps * np.abs(rows).max()
        most = (0.1 if coarse else 2e-3) * np.ptp(rows, axis=0).max() + rounding
        np.testing.assert_allclose(rows, expected, rtol=0, atol=most, err_msg=name)
