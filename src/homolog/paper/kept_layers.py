"""What is kept of the layers of networks while these are compared, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

import homolog as hl
from homolog.machine import format_bytes
from homolog.paper.networks import Architecture

BESIDE = 4 << 30
"""Bytes that comparing may take beside the layers, where the machine has them."""
USABLE = 0.9
"""The part of a memory that is planned with; libraries and other programs need the rest."""
NUMBER, PREPARED = 4, 2
"""Bytes of a number, and how many times as much room it may take when it is prepared for comparing."""


@dataclass(frozen=True)
class Sketches:
    """Two random projections of a layer, which are kept instead of its features where it has more than twice as many."""

    columns: int = 512
    """Of each of the two."""
    seed: int = 0
    """Of the first network; that of the next is one more, so that the sketches of two networks are independent."""

    def keeps(self, width: int) -> int:
        """Return the numbers that are kept of an example."""
        return min(width, 2 * self.columns)

    def described(self) -> str:
        """Return what results depend on."""
        return f"{self.columns} columns, seed {self.seed}"


@cache
def layer_widths(architecture: Architecture) -> tuple[int, ...]:
    """Return the features of every layer that is compared."""
    images = torch.zeros(2, architecture.channels, architecture.size, architecture.size)
    layers = hl.extract(architecture.build(), images, layers=architecture.layers(), progress=False)
    return tuple(layer.shape[1] for layer in layers.values())


@dataclass(frozen=True)
class Plan:
    """The layers of networks that will be compared, before these are trained."""

    architectures: Sequence[Architecture]
    """Of every network."""
    examples: int
    sketches: Sketches | None = None
    memory: float = float("inf")
    """Bytes that the machine has,"""
    disk: float = float("inf")
    """and that are free where sketches are written."""

    @property
    def widths(self) -> list[int]:
        """The features of all layers."""
        return [width for architecture in self.architectures for width in layer_widths(architecture)]

    @property
    def whole(self) -> int:
        """Bytes of the features of all layers."""
        return NUMBER * self.examples * sum(self.widths)

    @property
    def written(self) -> int:
        """Bytes of the sketches of all layers, and of the features of those that are narrow."""
        keeps = Sketches().keeps if self.sketches is None else self.sketches.keeps
        return NUMBER * self.examples * sum(map(keeps, self.widths))

    def told(self) -> str:
        """Say what comparing takes."""
        layers = f"{len(self.widths)} layers of {len(self.architectures)} networks over {self.examples} examples"
        alone = f"{format_bytes(self.whole)} of memory, and comparing up to {self._beside(self.whole)} beside it"
        if self.sketches is None:
            return f"{layers} take {alone}."
        columns, wide = self.sketches.columns, sum(self.sketches.keeps(width) < width for width in self.widths)
        kept = f"of {wide} of them two sketches of {columns} columns and of the others all features"
        none = f"none of more than {2 * columns} features, so that all are kept"
        return (
            f"{layers}, {kept if wide else none}, take {format_bytes(self.written)} on disk, and comparing up to "
            f"{self._beside(self.written)} of memory. All features would take {alone}."
        )

    def _beside(self, layers: int) -> str:
        return format_bytes(min(PREPARED * layers, beside(self.memory)))

    def check(self, *, sketchable: bool) -> None:
        """Refuse what does not fit, and say what does; `sketchable` where sketches tell some of the measures."""
        if self.sketches is None:
            also = f", or sketches with --sketch, which take {self._beside(self.written)}" if sketchable else ""
            check_memory(self.whole, len(self.architectures), self.examples, self.memory, also)
        elif self.written > self.disk:
            raise ValueError(
                f"the sketches of {len(self.architectures)} networks over {self.examples} examples need "
                f"{format_bytes(self.written)} on the disk of --out, got {format_bytes(self.disk)} free: make room, or use fewer "
                f"with --examples {int(0.9 * self.examples * self.disk / self.written)} or a smaller --sketch."
            )


def beside(memory: float) -> int:
    """Return the bytes that comparing may take beside the layers, on a machine with such a memory."""
    return int(min(BESIDE, USABLE * memory / 2))


def check_memory(
    layers: int, networks: int, examples: int, memory: float, also: str = "", held: int | None = None
) -> None:
    """Refuse to hold and compare so many bytes of layers in a memory; where `held` of them are known, on their account alone."""
    usable, most, counted = USABLE * memory, beside(memory), layers if held is None else held
    if counted + min(PREPARED * counted, most) > usable:
        fitting = int(examples * (usable - most) / layers)
        needed = format_bytes(layers + min(PREPARED * layers, BESIDE))
        raise ValueError(
            f"comparing {networks} networks over {examples} examples needs about {needed} of memory, got a machine with "
            f"{format_bytes(memory)}: use fewer with --examples {fitting}, or fewer --seeds{also}; trained networks are kept."
        )
