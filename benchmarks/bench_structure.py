"""All pairs of debiased linear CKA, ours beside the peers and the floor, in one process."""

from __future__ import annotations

import numpy as np
import pytest
import repsim
import torch
from cka.cka import cka_from_features
from ckatorch.core import cka_base
from conftest import WIDTHS, N
from torch_cka import CKA

import homolog as hl

FORM = "cka(estimator=debiased)"
pytestmark = pytest.mark.benchmark(group="debiased linear CKA, 12 x 12 layers")
FLOOR = N**2 * 2 * sum(WIDTHS)
"""Floating-point operations of the least form: the upper half of every structure, once."""


def named(model):
    return {f"layer {i}": layer for i, layer in enumerate(model)}


@pytest.fixture(scope="session")
def expected(layers):
    """A corner of the answer in float64, by the function of one pair."""
    a, b = layers
    pairs = ((x.astype(float), y.astype(float)) for x in a[:2] for y in b[:2])
    return np.array([float(hl.cka(x, y, estimator="debiased")) for x, y in pairs]).reshape(2, 2)


def remember(benchmark, values, expected):
    benchmark.extra_info["error"] = float(np.nanmax(np.abs(np.asarray(values)[:2, :2] - expected)))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_floor(benchmark, layers, tensors, library):
    x, y = (side[3] for side in (layers if library == "numpy" else tensors))
    benchmark.pedantic(lambda: x @ y.T, rounds=9, warmup_rounds=2)
    rate = 2 * N * N * WIDTHS[3] / benchmark.stats.stats.median
    benchmark.extra_info |= {"seconds": FLOOR / rate, "rate": rate}


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_homolog(benchmark, layers, tensors, expected, library):
    a, b = map(named, layers if library == "numpy" else tensors)
    result = benchmark.pedantic(lambda: hl.compare(a, b, measures=FORM), rounds=7, warmup_rounds=1)
    remember(benchmark, result[FORM].values, expected)


def test_pytorch_cka(benchmark, tensors, expected):
    remember(benchmark, benchmark.pedantic(lambda: cka_from_features(*tensors), rounds=5, warmup_rounds=1), expected)


def test_ckatorch(benchmark, tensors, expected):
    a, b = tensors

    def every_pair():
        return np.array([[float(cka_base(x, y, unbiased=True)) for y in b] for x in a])

    remember(benchmark, benchmark.pedantic(every_pair, rounds=1), expected)


class Features(torch.nn.Module):
    """A model whose layers put out given features: torch-cka takes models alone."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.layers = torch.nn.ModuleList([torch.nn.Identity() for _ in features])

    def forward(self, x):
        for layer, features in zip(self.layers, self.features, strict=True):
            layer(features)
        return x


def test_torch_cka(benchmark, tensors, expected):
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(N, 1)), batch_size=N)
    names = [f"layers.{i}" for i in range(len(WIDTHS))]

    def one_batch():
        peer = CKA(*map(Features, tensors), model1_layers=names, model2_layers=names)
        peer.compare(data)
        return peer.export()["CKA"].numpy()

    remember(benchmark, benchmark.pedantic(one_batch, rounds=1), expected)


def test_repsim(benchmark, layers, expected):
    """It compares all 24 layers with each other."""
    both = [layer.astype(float) for model in layers for layer in model]
    values = benchmark.pedantic(lambda: repsim.cka(both, "linear", "song"), rounds=1)
    remember(benchmark, values[:12, 12:], expected)
