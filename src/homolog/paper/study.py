"""What an experiment is run on: data, scale, seeds and a folder in which nothing is computed twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScaleName = Literal["tiny", "small", "full"]


@dataclass(frozen=True)
class Scale:
    """How much of the paper is run: each number may be replaced on the command line."""

    image_size: int | None
    """Height and width to which images are averaged down; None leaves them."""
    width: float
    """Factor on the numbers of channels of Tiny-10, Plain and ResNet (see `deep_width`)."""
    deep_width: float
    """The same for the networks of figures 3, 4 and 5, which are many times deeper."""
    n_train: int | None
    """Training images, at most."""
    epochs: int
    n_examples: int
    """Examples over which layers are compared, at most."""
    seeds: int
    """Networks that differ in their seed alone, unless asked otherwise."""
    depths: tuple[int, ...]
    """Of the plain networks of figure 3."""
    residual_depth: int
    """Of the residual network of figure 4."""
    widths: tuple[int, ...]
    """Of the networks of figure 6."""


SCALES: dict[str, Scale] = {
    "tiny": Scale(None, 0.6, 0.08, 2_000, 16, 2_000, 4, (10, 18), 14, (4, 8, 16)),
    "small": Scale(14, 0.5, 1 / 6, 60_000, 30, 10_000, 10, (10, 18, 34, 66), 62, (4, 8, 16, 32, 64)),
    "full": Scale(None, 1.0, 1.0, None, 100, 50_000, 10, (10, 18, 34, 66), 62, (4, 16, 64, 256, 1024, 4096)),
}
