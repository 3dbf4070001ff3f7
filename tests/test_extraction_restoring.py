"""Trials leave a model as it was, whatever it keeps from batch to batch."""

from __future__ import annotations

import collections
import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


class Counted:
    def __init__(self):
        self.seen = 0


def of_deque(held):
    held.append(held[-1] + 1)
    return held[-1]


def of_object(held):
    held.seen += 1
    return held.seen


def of_mapping(held):
    held["deep"]["seen"] += 1
    return held["deep"]["seen"]


def of_tensors(held):
    held[0] += 1
    return float(held[0])


def of_array(held):
    held += 1
    return float(held[0])


STATES = {
    "deque": (lambda: collections.deque([0]), of_deque),
    "own object": (Counted, of_object),
    "nested mapping": (lambda: {"deep": {"seen": 0}}, of_mapping),
    "list of tensors": (lambda: [torch.zeros(())], of_tensors),
    "array": (lambda: np.zeros(1), of_array),
    "iterator": (lambda: iter(range(1, 100)), next),
    "iterator of itertools": (lambda: itertools.chain([1, 2], range(3, 100)), next),
    "numbers of python": (lambda: None, lambda held: 1 + random.random()),
    "numbers of numpy": (lambda: None, lambda held: 1 + np.random.rand()),
}


class Keeps(nn.Module):
    def __init__(self, make, step):
        super().__init__()
        self.held, self.step, self.first = make(), step, nn.Linear(3, 2)
        self.told = []

    def forward(self, x):
        number = self.step(self.held)
        self.told.append(number)
        return self.first(x) * number


def fresh(name):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    return Keeps(*STATES[name])


@pytest.mark.parametrize("name", STATES)
def test_trials_do_not_count(name):
    batches = list(torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)))
    alone = fresh(name)
    for batch in batches:
        alone(batch)
    tried = fresh(name)
    assert list(hl.extract(tried, batches, layers=["first", "*"])) == ["first"]
    assert tried.told == alone.told


@pytest.mark.parametrize("name", STATES)
def test_what_depends_on_a_state_is_said(name):
    batches = list(torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)))
    with pytest.warns(hl.ExtractionWarning, match=r"0 \(its rows change|0: other values at every run"):
        hl.extract(nn.Sequential(fresh(name)), batches, layers=["0.first", "*"])
