"""A process of its own that extracts sketches of a wide layer, and prints by how many bytes its resident memory grew."""

from __future__ import annotations

import ctypes
import warnings

import numpy as np
import torch
from memory_growth import FORGET, status
from torch import nn

import homolog as hl

WIDTH, EXAMPLES, BATCH = 800_000, 160, 16


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Flatten(), nn.AdaptiveAvgPool1d(4))


def grown() -> int:
    model = network().eval()
    hl.extract(model, torch.randn(32, 1, 20, 20), layers="0", sketch=16, batch_size=8)  # libraries load
    side = (250, WIDTH // 8 // 250)
    images = [torch.randn(BATCH, 1, *side) for _ in range(EXAMPLES // BATCH)]
    with torch.inference_mode():
        model(images[0])  # what the forwards take counts before
    ctypes.CDLL(None).malloc_trim(0)
    FORGET.write_text("5")  # the peak so far
    before = status("VmRSS")
    found = hl.extract(model, images, layers="0", sketch=512)
    assert found["0"].shape == (EXAMPLES, WIDTH)
    assert np.isfinite(found["0"].columns).all()
    return status("VmHWM") - before


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(grown())
