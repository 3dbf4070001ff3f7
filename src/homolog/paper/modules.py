"""The PyTorch modules that the architectures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from homolog.paper.networks import Architecture, Convolution


def convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int, padding: int, norm: bool
) -> nn.Sequential:
    """Build a convolution and what follows it, without the ReLU."""
    filters = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=not norm)
    nn.init.kaiming_normal_(filters.weight, nonlinearity="relu")
    return nn.Sequential(filters, nn.BatchNorm2d(channels_out)) if norm else nn.Sequential(filters)


def plain(architecture: Architecture, convolutions: Sequence[Convolution]) -> nn.Sequential:
    """Build a chain of convolutions, pooled features and logits."""
    model = nn.Sequential()
    channels, size = architecture.channels, architecture.size
    for i, layer in enumerate(convolutions, start=1):
        # A map smaller than the kernel, of the smallest images, must be padded where the paper does not.
        padding = layer.kernel // 2 if layer.padded or size < layer.kernel else 0
        size = (size + 2 * padding - layer.kernel) // layer.stride + 1
        body = convolution(channels, layer.channels, layer.kernel, layer.stride, padding, architecture.batch_norm)
        model.add_module(f"conv{i}", body.append(nn.ReLU()))
        channels = layer.channels
    return _with_head(model, channels, architecture.classes)


def residual(architecture: Architecture, blocks_per_stage: int) -> nn.Sequential:
    """Build a CIFAR ResNet: three stages of blocks of two convolutions, shortcuts without parameters."""
    widths = [max(2, round(channels * architecture.width)) for channels in (16, 32, 64)]
    norm = architecture.batch_norm
    model = nn.Sequential()
    model.add_module("conv1", convolution(architecture.channels, widths[0], 3, 1, 1, norm).append(nn.ReLU()))
    channels, count = widths[0], 0
    for stage, width in enumerate(widths):
        for i in range(blocks_per_stage):
            count += 1
            model.add_module(f"block{count}", Block(channels, width, 2 if stage > 0 and i == 0 else 1, norm))
            channels = width
    return _with_head(model, channels, architecture.classes)


class Block(nn.Module):
    """Two convolutions beside a shortcut, which subsamples and pads with zeros where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.inside = convolution(channels_in, channels_out, 3, stride, 1, norm).append(nn.ReLU())
        self.outside = convolution(channels_out, channels_out, 3, 1, 1, norm)
        self.sum = nn.ReLU()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations after the residual sum."""
        change: torch.Tensor = self.outside(self.inside(x))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        missing = change.shape[1] - shortcut.shape[1]
        padded = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, missing))
        result: torch.Tensor = self.sum(change + padded)
        return result


def _with_head(model: nn.Sequential, channels: int, classes: int) -> nn.Sequential:
    model.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model.add_module("logits", nn.Linear(channels, classes))
    return model
