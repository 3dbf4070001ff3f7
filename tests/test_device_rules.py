"""On a device NumPy reads no tensor, and tensors of the host do not meet those of the device: nowhere does homolog ask for it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from device_waits import OwnDevice, on_a_device
from torch import nn

import homolog as hl

pytestmark = pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
N = 60


@pytest.fixture
def device():
    with on_a_device(), OwnDevice():
        yield


def layers(seed: int, n: int = N) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {f"{p}": torch.randn(n, p, generator=made) + torch.randn(n, 1, generator=made) for p in (4, 20, 70)}


A, B = layers(0), layers(1)
MANY = layers(0, 1030), layers(1, 1030)
IMAGES = torch.randn(24, 3, 9, 9, generator=torch.Generator().manual_seed(2))
TOKENS = torch.randn(24, 7, 8, generator=torch.Generator().manual_seed(3))
PADDING = torch.arange(7)[None] >= 7 - torch.arange(24)[:, None] % 3


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(294, 4))


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


CONVOLUTIONS, ENCODER = convolutions(), encoder()
"""Made before the rules hold, and so on the device."""


def test_the_rules_hold(device):
    x = torch.ones(3, device=torch.device("cpu"))
    for broken in (
        lambda: np.asarray(x),
        lambda: x.numpy(),
        lambda: x + torch.ones(3),
        lambda: x * torch.tensor([1.0] * 3),
    ):
        with pytest.raises((TypeError, RuntimeError), match="device"):
            broken()
    np.testing.assert_array_equal((2 * x).cpu().numpy(), 2)
    assert (x + torch.ones(3).to(torch.device("cpu"))).sum().item() == 6


@pytest.mark.parametrize("measure", [*hl.measures(), "cka(estimator=debiased)", "cka(kernel=rbf)"])
def test_every_measure_compares_tensors_of_a_device(device, measure):
    hl.compare(A, B, measures=measure, progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"interval": True},
        {"null": "permutation", "n_permutations": 19},
        {"interval": True, "groups": np.arange(N) // 2},
        {"memory": "250kB"},
    ],
    ids=str,
)
def test_what_stands_beside_values(device, options):
    hl.compare(A, B, progress=False, **options)


def test_float32_in_tiles_with_p_values(device):
    # So many examples stay float32, and p-values are taken from some of them.
    hl.compare(*MANY, progress=False)


def test_other_doors(device):
    hl.cka(A["4"], B["20"])
    hl.diagnose(A, B)
    hl.confidence_interval(A["4"], B["20"], measure="cka")
    state = hl.MinibatchHSIC()
    state.update(A, B)
    state.finalise()


@pytest.mark.parametrize("keep", ["device", "host"])
@pytest.mark.parametrize("reduce", ["mean", "first", "last", "positions"])
def test_extraction_of_tokens(device, reduce, keep):
    data = {"src": TOKENS, "src_key_padding_mask": PADDING}
    hl.extract(ENCODER, data, reduce=reduce, batch_size=8, keep=keep, progress=False)


@pytest.mark.parametrize("keep", ["device", "host"])
@pytest.mark.parametrize("reduce", ["flatten", "mean"])
def test_extraction_of_maps(device, reduce, keep):
    layers = None if reduce == "flatten" else ["0", "1", "2"]
    hl.extract(CONVOLUTIONS, IMAGES, layers=layers, reduce=reduce, batch_size=8, keep=keep, progress=False)


@pytest.mark.parametrize("exact", [False, True])
def test_two_models(device, exact):
    hl.compare_models(CONVOLUTIONS, copy.deepcopy(CONVOLUTIONS), IMAGES.split(8), exact=exact, progress=False)
