"""A process of its own that follows a six-layer network over training, and prints by how much its resident memory grew.

One line of JSON: the bytes of the network and of the activations of one checkpoint, and the peak beyond what was there before.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from memory_growth import FORGET, status
from safetensors.torch import save_file
from torch import nn

import homolog as hl


def build(width: int) -> nn.Module:
    """Make the network without spending time on its weights."""
    layers = [nn.Linear(width, width, device="meta") for _ in range(6)]
    return nn.Sequential(*layers).to_empty(device="cpu")


def write(folder: Path, count: int, width: int) -> None:
    """Write checkpoints that differ; where there are many, names of the same few files, since only their size matters."""
    kept = []
    for place in range(count):
        path = folder / f"step_{place}.safetensors"
        if place >= 8:
            os.link(kept[place % 8], path)
            continue
        torch.manual_seed(place)
        save_file({f"{i}.{name}": value for i in range(6) for name, value in _layer(width).items()}, path)
        kept.append(path)


def _layer(width: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.randn(width, width) / width**0.5, "bias": torch.zeros(width)}


def grown(count: int, width: int, rows: int) -> dict:
    """Compare, and return what was used."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), count, width)
        data = torch.randn(rows, width, generator=torch.Generator().manual_seed(1))
        few = list(Path(folder).iterdir())[:2]
        hl.compare_checkpoints(lambda: build(width), few, data[:40], progress=False)  # libraries load
        ctypes.CDLL(None).malloc_trim(0)
        FORGET.write_text("5")
        before = status("VmRSS")
        result = hl.compare_checkpoints(lambda: build(width), folder, data, progress=False)
        used = status("VmHWM") - before
    network = 6 * (width * width + width) * 4
    return {"network": network, "activations": 6 * rows * width * 4, "used": used, "steps": result.sizes["step"]}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(grown(*map(int, sys.argv[1:4]))))
