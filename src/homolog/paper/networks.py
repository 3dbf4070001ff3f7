"""The networks of the paper's appendix E: Tiny-10, Plain-(8n+2), Width-n and ResNet-(6n+2), scaled as asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import torch

from homolog.paper import modules


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
        """Build the network with PyTorch's initial weights, drawn from its global generator."""
        kind, number = self._parsed()
        if kind == "resnet":
            return modules.residual(self, (number - 2) // 6)
        return modules.plain(self, self.convolutions())

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
