"""Two ResNet-18 for 32 × 32 images in one pass: python benchmarks/models.py [batches]

The same forwards without hooks, `hl.compare_models`, and pytorch-cka on the same batches and blocks, in random order in
one process; then activations with a mean offset of 1,000 against float64. Prints medians and ratios.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import torch
from cka import compute_cka
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import homolog as hl

BATCH, ROUNDS = 128, 11
BLOCKS = [f"{stage}.{block}" for stage in range(1, 5) for block in range(2)]


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        plain = stride == 1 and before == after
        self.shortcut = nn.Identity() if plain else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        y = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(y)) + self.shortcut(x))


def resnet() -> nn.Module:
    """ResNet-18 for CIFAR: eleven million parameters."""
    stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())]
    before = 64
    for index, width in enumerate((64, 128, 256, 512)):
        stages.append(nn.Sequential(Block(before, width, 1 if index == 0 else 2), Block(width, width, 1)))
        before = width
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).eval()


def forwards(a: nn.Module, b: nn.Module, batches: DataLoader) -> None:
    with torch.no_grad():
        for (x,) in batches:
            a(x)
            b(x)


def ours(a: nn.Module, b: nn.Module, batches: DataLoader) -> np.ndarray:
    result = hl.compare_models(a, b, batches, layers_a=BLOCKS, layers_b=BLOCKS, progress=False)
    return result["cka(estimator=debiased)"].values


def theirs(a: nn.Module, b: nn.Module, batches: DataLoader) -> np.ndarray:
    return np.asarray(compute_cka(a, b, batches, layers=BLOCKS, progress=False)[0])


class Shifted(nn.Module):
    """A network all of whose blocks put out an offset that later ones take off again."""

    def __init__(self, network: nn.Module, offset: float) -> None:
        super().__init__()
        self.network, self.offset = network, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features far from 0."""
        return self.network(x) + self.offset


def offset_error() -> float:
    """Largest error of activations with a mean offset of 1,000 standard deviations, in float32, against the truth in float64."""
    torch.manual_seed(0)
    shared = nn.Linear(40, 64)
    data, worst = torch.randn(2048, 40), 0.0
    models = [nn.Sequential(shared, nn.Tanh(), nn.Linear(64, 100)).eval() for _ in range(2)]
    near = hl.compare_models(
        *(nn.Sequential(Shifted(m.double(), 0)) for m in models), data.double(), layers_a="0", layers_b="0"
    )
    far = hl.compare_models(
        *(nn.Sequential(Shifted(m.float(), 1000.0)) for m in models), data, layers_a="0", layers_b="0"
    )
    for name in near.data_vars:
        worst = max(worst, float(abs(near[name] - far[name]).max()))
    return worst


def main(count: int) -> None:
    torch.manual_seed(0)
    a, b = resnet(), resnet()
    batches = DataLoader(TensorDataset(torch.randn(count * BATCH, 3, 32, 32)), batch_size=BATCH)
    calls = {"forwards": forwards, "homolog": ours, "pytorch-cka": theirs}
    times: dict[str, list[float]] = {name: [] for name in calls}
    values = {}
    order = np.random.default_rng(0)
    for number in range(ROUNDS + 1):
        for name in order.permutation(list(calls)):
            call = calls[name]
            start = time.perf_counter()
            values[name] = call(a, b, batches)
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(some)) for name, some in times.items()}
    for name, seconds in medians.items():
        ratios = np.array(times[name]) / np.array(times["forwards"])
        print(
            f"{name}: {seconds:.2f} s, {np.median(ratios):.3f} × the forwards ({ratios.min():.3f} to {ratios.max():.3f})"
        )
    print(f"pytorch-cka / homolog: {np.median(np.array(times['pytorch-cka']) / np.array(times['homolog'])):.2f}")
    print(f"largest difference of the values: {np.abs(values['homolog'] - values['pytorch-cka']).max():.1e}")
    print(f"error at an offset of 1,000: {offset_error():.1e}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
