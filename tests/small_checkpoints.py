"""A small network, and checkpoints of it whose weights go a known way: half of what is left at each step, lower layers faster."""

from __future__ import annotations

import torch
from torch import nn

LAYERS = ("0", "2", "4")


def build() -> nn.Module:
    """Make the network; its weights are random."""
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 5))


def weights(seed: int) -> dict[str, torch.Tensor]:
    """Return the weights of a network of some seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {name: value.clone() for name, value in build().state_dict().items()}


def examples(n: int = 80) -> torch.Tensor:
    """Return examples."""
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(5))


def moments(count: int, *, rate: float = 0.5) -> list[dict[str, torch.Tensor]]:
    """Return weights on a straight way from one network to another, of which the last is reached."""
    first, last = weights(0), weights(1)
    shares = [1 - rate**k for k in range(count - 1)] + [1.0]
    return [{name: first[name] + share * (last[name] - first[name]) for name in first} for share in shares]


def saved(folder, count: int = 5, *, ending: str = ".safetensors", every: int = 100) -> list:
    """Save checkpoints, step_000000 and so on, and return their files."""
    from safetensors.torch import save_file

    paths = []
    for place, state in enumerate(moments(count)):
        paths.append(folder / f"step_{place * every:06d}{ending}")
        save_file(state, paths[-1]) if ending == ".safetensors" else torch.save(state, paths[-1])
    return paths
