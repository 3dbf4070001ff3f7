"""One small convolutional network with fixed weights, which several libraries rebuild: PyTorch's, its weights, and inputs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

LAYERS = ("conv1", "relu1", "conv2", "relu2", "pool", "norm", "fc1", "relu3", "fc2")
"""The layers that are compared, in order of execution; "flatten" stands between "norm" and "fc1"."""


class SmallConvNetwork(nn.Module):
    """Images (n, 3, 16, 16) → 5 scores; convolutions with 3 × 3 weights keep height and width, the pool halves both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(12)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(12 * 8 * 8, 20)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(20, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.relu2(self.conv2(self.relu1(self.conv1(images))))
        return self.fc2(self.relu3(self.fc1(self.flatten(self.norm(self.pool(maps))))))


def network() -> SmallConvNetwork:
    """The network in evaluation mode; its batch norm has running statistics and weights that change every channel."""
    drawn = torch.Generator().manual_seed(19)
    made = SmallConvNetwork().eval()
    with torch.no_grad():
        for weight in made.parameters():
            inputs = weight[0].numel() if weight.ndim > 1 else 25
            weight.copy_(torch.randn(weight.shape, generator=drawn) * inputs**-0.5)
        made.norm.weight.copy_(0.5 + torch.rand(12, generator=drawn))
        made.norm.running_mean.copy_(torch.randn(12, generator=drawn))
        made.norm.running_var.copy_(0.5 + torch.rand(12, generator=drawn))
    return made


def weights() -> dict[str, np.ndarray]:
    """PyTorch's name → array: conv (out, in, height, width), linear (out, in); "norm.running_mean", "norm.running_var".

    "fc1.weight" reads maps that are flattened with the channels first.
    """
    state = network().state_dict()
    return {name: value.numpy() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def images(n: int = 40) -> np.ndarray:
    """Images (n, 3, 16, 16), channels first."""
    return np.random.default_rng(19).standard_normal((n, 3, 16, 16)).astype(np.float32)
