"""Which axis of the output of a module known to everybody holds its features, and whether a reduction takes another for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from homolog.extraction.reductions import OVER_POSITIONS, UnfitError

CHANNELS_THEN_POSITIONS = (
    nn.Conv1d,
    nn.ConvTranspose1d,
    nn.BatchNorm1d,
    nn.InstanceNorm1d,
    nn.MaxPool1d,
    nn.AvgPool1d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
)
"""Modules whose three-axis output is (n, channels, positions), unlike that of every sequence model."""
CHANNELS_SECOND = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.InstanceNorm2d,
    nn.GroupNorm,
    nn.MaxPool2d,
    nn.AvgPool2d,
)
"""Modules whose maps are (n, channels, height, width)."""
FEATURES_LAST = (nn.Linear, nn.Embedding)
"""Modules whose maps are (n, height, width, features)."""
WIDTHS = ("out_features", "embedding_dim", "out_channels", "num_features", "num_channels", "normalized_shape")


ELEMENTWISE = ("torch.nn.modules.activation", "torch.nn.modules.dropout", "transformers.activations")
"""Where modules are defined that put out the axes they were given, as `Identity` does."""


def check_channels(
    module: nn.Module,
    name: str,
    output: torch.Tensor | None,
    rule: Any,
    channels: str,
    known: dict[tuple[int, ...], str],
) -> None:
    """Raise where the axis that a reduction averages over, or takes for positions, is that of the features.

    `known` says where the features of some shape lay last: activations and dropout have them there too.
    """
    if output is None or output.ndim not in (3, 4):
        return
    kind, shape = type(module).__name__, tuple(output.shape)
    found = note_layout(module, shape, known)
    if callable(rule) or rule not in OVER_POSITIONS:
        return
    if output.ndim == 3:
        if found != "first":
            return
        raise UnfitError(
            f"layer {name!r} is a {kind}, whose output (n, channels, positions) reduce={rule!r} would read "
            f'as (n, positions, features): pass reduce="flatten" or a function such as lambda output, mask: output.mean(2).',
            f"a {kind}, which puts its channels before the positions",
        )
    if rule in ("first", "last") or found is None or found == channels:
        return
    axes = "(1, 2)" if found == "last" else "(2, 3)"
    place = "last" if found == "last" else "second"
    raise UnfitError(
        f"layer {name!r} is a {kind}, which puts its channels {place}, shape {shape}, and channels={channels!r} would read "
        f'others: pass channels="{found}", or a function for it, reduce={{{name!r}: lambda output, mask: output.mean({axes})}}.',
        f"a {kind}, which puts its channels {place}, not {channels}",
    )


def settles_layout(module: nn.Module) -> bool:
    """Say whether the kind of a module tells where its features are, for activations that follow it."""
    return isinstance(module, CHANNELS_THEN_POSITIONS + CHANNELS_SECOND + FEATURES_LAST) or type(module) is nn.LayerNorm


def note_layout(module: nn.Module, shape: tuple[int, ...], known: dict[tuple[int, ...], str]) -> str | None:
    """Return where a module puts its features, "first" or "last", and note it for what follows; None where nothing tells."""
    passes_on = type(module).__module__ in ELEMENTWISE or isinstance(module, nn.Identity)
    if passes_on:
        return known.get(shape)
    found = _channels_of(module, shape) if len(shape) == 4 else _features_of(module)
    if found is not None:
        known[shape] = found
    return found


def _features_of(module: nn.Module) -> str | None:
    """Return where a module puts its features in a sequence; None where nothing tells."""
    if isinstance(module, CHANNELS_THEN_POSITIONS):
        return "first"
    return "last" if isinstance(module, FEATURES_LAST) or type(module) is nn.LayerNorm else None


def _channels_of(module: nn.Module, shape: tuple[int, ...]) -> str | None:
    """Return where a module puts its channels in a map, by its kind or its width; None where nothing tells."""
    if isinstance(module, FEATURES_LAST) or type(module) is nn.LayerNorm:
        return "last"
    if isinstance(module, CHANNELS_SECOND):
        return "first"
    widths = [getattr(module, width, None) for width in WIDTHS]
    width = next((w[-1] if isinstance(w, tuple) else w for w in widths if isinstance(w, int | tuple) and w), None)
    if width is None or (shape[1] == width) == (shape[-1] == width):
        return None
    return "first" if shape[1] == width else "last"
