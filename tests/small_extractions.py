"""A small network, its inputs, the options of an extraction from it, and the files of the store that it makes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from homolog.extraction.options import Options
from homolog.store import layout


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2))


def inputs(n: int = 100) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def files_of(store: Path) -> dict[str, bytes]:
    """Everything in a store but the lock."""
    found = sorted(path for path in store.rglob("*") if path.is_file() and path.name != layout.LOCK)
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def options(**chosen):
    names = ("layers", "forward", "max_examples", "dtype", "example_ids", "device", "progress")
    return Options(
        **{"reduce": "flatten", "channels": "first", "batch_size": 1, "memory": 2**30, **dict.fromkeys(names), **chosen}
    )
