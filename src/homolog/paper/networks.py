"""The networks of the paper's appendix E: Tiny-10, Plain-(8n+2), Width-n and ResNet-(6n+2), scaled as asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn


@dataclass(frozen=True)
class Architecture:
    """Everything that determines a network but its weights."""

    family: str
    """tiny-10, plain-10, plain-18 …, width-4, width-8 …, resnet-14, resnet-20 …"""
    channels: int
    """Of the image."""
    size: int
    """Height and width of the image."""
    classes: int
    width: float = 1.0
    """Factor on the paper's numbers of channels."""
    batch_norm: bool = True

    def build(self) -> torch.nn.Module:
        """Build the network, He's initial weights in its convolutions, drawn from PyTorch's global generator."""
        kind, number = self._parsed()
        if kind == "resnet":
            return residual(self, (number - 2) // 6)
        return plain(self.channels, self.size, self.classes, self.convolutions(), self.batch_norm)

    def layers(self) -> list[str]:
        """Name the layers that are compared, in order: every convolution after its ReLU, and the pooled features."""
        kind, number = self._parsed()
        if kind != "resnet":
            return [f"conv{i}" for i in range(1, len(self.convolutions()) + 1)] + ["pool"]
        blocks = range(1, (number - 2) // 2 + 1)
        return ["conv1", *(name for i in blocks for name in (f"block{i}.inside", f"block{i}.sum")), "pool"]

    def convolutions(self) -> list[Convolution]:
        """List the convolutions of a network without shortcuts."""
        kind, number = self._parsed()
        first, second, third = (16, 32, 64) if kind == "tiny" else (number,) * 3 if kind == "width" else (96, 192, 192)
        first, second, third = (max(2, round(channels * self.width)) for channels in (first, second, third))
        n = (number - 2) // 8 if kind == "plain" else 1
        return [
            *[Convolution(first)] * (3 * n - 1),
            Convolution(second if kind == "tiny" else first, stride=2),
            *[Convolution(second)] * (3 * n - 1),
            Convolution(third, stride=2),
            *[Convolution(third)] * (n - 1),
            Convolution(third, padded=False),
            *[Convolution(third, kernel=1)] * n,
        ]

    def _parsed(self) -> tuple[str, int]:
        parsed = re.fullmatch(r"(tiny|plain|width|resnet)-(\d+)", self.family)
        kind, number = (parsed[1], int(parsed[2])) if parsed else ("", 0)
        right = {"tiny": number == 10, "plain": number % 8 == 2, "width": number > 0, "resnet": number % 6 == 2}
        if not right.get(kind) or (kind != "width" and number < 8):
            raise ValueError(
                f"an architecture must be tiny-10, plain-(8n+2), width-n or resnet-(6n+2), got {self.family!r}: for instance "
                f"plain-18 or resnet-14."
            )
        return kind, number


class Convolution(NamedTuple):
    """One convolution with batch norm and ReLU."""

    channels: int
    stride: int = 1
    kernel: int = 3
    padded: bool = True


def convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int, padding: int, norm: bool
) -> nn.Sequential:
    """Build a convolution and what follows it, without the ReLU."""
    filters = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=not norm)
    nn.init.kaiming_normal_(filters.weight, nonlinearity="relu")
    return nn.Sequential(filters, nn.BatchNorm2d(channels_out)) if norm else nn.Sequential(filters)


def plain(
    channels: int, size: int, classes: int, convolutions: Sequence[Convolution], norm: bool = True
) -> nn.Sequential:
    """Build a chain of convolutions, pooled features and logits, for images of so many channels and this height and width."""
    model = nn.Sequential()
    for i, layer in enumerate(convolutions, start=1):
        # A map smaller than the kernel, of the smallest images, must be padded where the paper does not.
        padding = layer.kernel // 2 if layer.padded or size < layer.kernel else 0
        size = (size + 2 * padding - layer.kernel) // layer.stride + 1
        body = convolution(channels, layer.channels, layer.kernel, layer.stride, padding, norm)
        model.add_module(f"conv{i}", body.append(nn.ReLU()))
        channels = layer.channels
    return _with_head(model, channels, classes)


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
