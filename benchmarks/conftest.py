"""The problem of the benchmarks: two models of twelve layers, 2,048 examples, widths 256 to 2,048, float32."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

WIDTHS = [256, 512, 1024, 2048] * 3
N = 2048


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="session")
def layers() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return tuple([rng.normal(size=(N, width)).astype(np.float32) for width in WIDTHS] for _ in range(2))


@pytest.fixture(scope="session")
def tensors(layers) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return tuple([torch.from_numpy(layer) for layer in model] for model in layers)
