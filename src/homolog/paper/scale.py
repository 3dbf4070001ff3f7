"""How much of the paper is run: sizes of data, networks and comparisons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Scale:
    """How much of the paper is run."""

    name: str
    image_size: int | None
    """Height and width to which images are averaged down; None leaves them."""
    width: float
    """Factor on the numbers of channels of Tiny-10."""
    deep_width: float
    """The same for the plain networks of figures 3 and 5, which begin with 96 channels."""
    residual_width: float
    """The same for the residual networks of figures 4 and 5, which begin with 16."""
    n_train: int | None
    """Training images, at most."""
    epochs: int
    """Passes over the training images in which Tiny-10 is trained."""
    deep_epochs: int
    """The same for the networks of figures 3 to 6, which cost up to ten times as much a pass."""
    n_examples: int
    """Examples over which layers are compared, at most."""
    seeds: int
    """Networks that differ in their seed alone, where an experiment averages over them."""
    depths: tuple[int, ...]
    """Of the plain networks of figure 3."""
    residual_depth: int
    """Of the residual network of figure 4."""
    widths: tuple[int, ...]
    """Of the networks of figure 6."""
    n_probed: int
    """Training images on which figure 3's probes are fitted, at most."""
    translator_width: int
    """Features of a token in table F.1's Transformers."""
    translator_epochs: int
    """Passes over the sentences in which they are trained."""
    vocabulary: int
    """Tokens of their vocabulary, at most."""
    n_words: int
    """Words of a sentence, at most."""
    n_tokens: int
    """Tokens of held-out sentences over which their layers are compared, at most."""


SCALES = {
    "tiny": Scale(
        "tiny", None, 0.6, 1 / 12, 0.5, 2_000, 150, 150, 2_000, 4, (10, 18), 14, (4, 8, 16), 1_000, 32, 8, 300, 10, 500
    ),
    "small": Scale(
        "small",
        14,
        0.5,
        1 / 6,
        0.5,
        60_000,
        45,
        12,
        10_000,
        10,
        (10, 18, 34, 66),
        62,
        (4, 8, 16, 32, 64),
        2_000,
        64,
        5,
        2_000,
        10,
        2_500,
    ),
    "full": Scale(
        "full",
        None,
        1.0,
        1.0,
        1.0,
        None,
        100,
        100,
        50_000,
        10,
        (10, 18, 34, 66),
        62,
        (4, 16, 64, 256, 1024, 4096),
        50_000,
        512,
        20,
        8_000,
        30,
        10_000,
    ),
}


def scaled(name: str, **changes: Any) -> Scale:
    """Return a scale by name, with what is not None changed."""
    if name not in SCALES:
        raise ValueError(f"the scale must be one of {', '.join(SCALES)}, got {name!r}.")
    return replace(SCALES[name], **{field: value for field, value in changes.items() if value is not None})
