"""Functions and models are told apart by their code and by what it reaches, and made again they are the same."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest
import torch
from small_extractions import network, options
from torch import nn

from homolog.extraction.computation_record import FUNCTIONS, incomparable_in, record_of, values_of
from homolog.extraction.module_source import digest_of_model

SCALE = 2.0


def helped(x):
    return x * SCALE


def first_half(model, batch):
    return model(helped(batch))


def scaled(by):
    return lambda model, batch: model(batch * by)


def with_default(by):
    def forward(model, batch, by=by):
        return model(batch * by)

    return forward


def with_keyword(by):
    def forward(model, batch, *, by=by):
        return model(batch * by)

    return forward


class Scaled:
    def __init__(self, by):
        self.by = by

    def __call__(self, model, batch):
        return model(batch * self.by)

    def run(self, model, batch):
        return model(batch + self.by)


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by):
        self.by = by

    def __call__(self, model, batch):
        return model(batch * self.by)


def partial_of(by):
    return functools.partial(lambda model, batch, by: model(batch * by), by=by)


def nested(by):
    return lambda model, batch: model(next(value * by for value in [batch]))


def recorded_function(function):
    """Return what is recorded of a function, and what of it cannot be compared."""
    record = record_of(nn.Identity(), options(forward=function))
    values = {name: text for name, text in values_of(record).items() if name.split(":")[0] in FUNCTIONS}
    return (record["forward"], values), incomparable_in(record)[0]


def recorded_model(model):
    """Return what is recorded of a model beside its parameters."""
    record = record_of(model, options())
    return record["code of the model"], str(values_of(record))


PAIRS = {
    "closures": (scaled(1.0), scaled(2.0)),
    "arrays in closures": (scaled(np.ones(6, "float32")), scaled(np.full(6, 2, "float32"))),
    "tensors in closures": (scaled(torch.ones(6)), scaled(torch.zeros(6))),
    "defaults": (with_default(1.0), with_default(2.0)),
    "keyword defaults": (with_keyword(1.0), with_keyword(2.0)),
    "arguments of partial": (partial_of(1), partial_of(2)),
    "objects that are called": (Scaled(1), Scaled(2)),
    "slots": (Slotted(1), Slotted(2)),
    "owners of methods": (Scaled(1).run, Scaled(2).run),
    "names in the body": (lambda m, b: m(b.abs()), lambda m, b: m(b.relu())),
    "constants in the body": (lambda m, b: m(b * 2), lambda m, b: m(b * 3)),
    "functions inside": (nested(1), nested(2)),
    "operators": (operator.itemgetter(0), operator.itemgetter(1)),
    "functions of a library": (torch.nn.functional.relu, torch.nn.functional.gelu),
    "built-in functions": (torch.mean, torch.amax),
    "modules with weights": (nn.Linear(6, 6), nn.Linear(6, 6)),
    "a number and its text": (scaled(1), scaled("1")),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_functions_are_told_apart_by_what_they_reach(pair):
    (first, unknown), (second, unknown_too) = map(recorded_function, PAIRS[pair])
    assert not unknown
    assert not unknown_too
    assert first != second
    assert first == recorded_function(PAIRS[pair][0])[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: scaled(2.0),
        lambda: Scaled(2),
        lambda: Slotted({1: {"a", "b"}}),
        lambda: partial_of([1, 2]),
        lambda: Scaled(2).run,
        lambda: scaled(torch.ones(3)),
        lambda: with_default(np.float64(3)),
        lambda: scaled(torch.float16),
    ],
)
def test_the_same_function_made_again_is_the_same(make):
    assert recorded_function(make()) == recorded_function(make())


def test_globals_and_what_they_read_count(monkeypatch):
    (code, before), _ = recorded_function(first_half)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert before["forward: SCALE of helped"] == "2.0"
    assert recorded_function(first_half)[0] == (code, {**before, "forward: SCALE of helped": "3.0"})


def test_what_cannot_be_compared_says_why():
    _, unknown = recorded_function(scaled(iter("ab")))
    assert not unknown
    _, unknown = recorded_function(scaled(value for value in "ab"))
    ((name, text),) = unknown.items()
    assert name == "forward: by of scaled.<lambda>"
    assert "cannot be compared because it holds an object of type generator" in text


def test_objects_that_reach_themselves_end():
    loop = Scaled([1])
    loop.by.append(loop)
    assert not recorded_function(loop)[1]


class Doubling(nn.Module):
    def __init__(self, by=2.0, how=torch.tanh):
        super().__init__()
        self.inner, self.by, self.how = network(), by, how

    def forward(self, x):
        return self.how(self.inner(x) * self.by)


class Tripling(Doubling):
    __qualname__ = "Doubling"

    def forward(self, x):
        return self.how(self.inner(x) * self.by + 1)


def buffered(value):
    module = network()
    module.register_buffer("scale", torch.full((3,), value), persistent=False)
    return module


def test_models_of_the_same_weights_are_told_apart():
    encoder = functools.partial(nn.TransformerEncoderLayer, 8, dropout=0.0)
    models = [Doubling(), Doubling(3.0), Doubling(how=torch.relu), Tripling(), nn.MultiheadAttention(8, 2)]
    models += [Doubling(torch.tensor(2.0)), Doubling(torch.tensor(3.0)), buffered(1.0), buffered(2.0)]
    models += [nn.MultiheadAttention(8, 4), encoder(2), encoder(2, activation="gelu"), network()]
    codes = list(map(recorded_model, models))
    assert len(set(codes)) == len(models)
    assert recorded_model(Doubling()) == codes[0]


def test_the_weights_are_digested_with_the_architecture():
    models = [nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh()), nn.Sequential(nn.Tanh(), nn.Tanh())]
    assert len(set(map(digest_of_model, models))) == 3
    assert digest_of_model(network()) == digest_of_model(network())
