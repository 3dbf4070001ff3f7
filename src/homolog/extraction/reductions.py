"""Layer output → rows of features, by declared axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.masked import MaskedTensor

from homolog.activations import matching
from homolog.extraction.layer_selection import module_of
from homolog.extraction.masks import Masks
from homolog.extraction.objections import axis_remedy
from homolog.extraction.outputs import Output
from homolog.extraction.suspected_padding import SuspectedPadding


class LayerRows(NamedTuple):
    """Rows of one layer for one batch, and the example and position each came from."""

    features: Any
    """(rows, features): a tensor, or what a recorder keeps of it."""
    example: torch.Tensor | None
    """None where row i is example i."""
    position: torch.Tensor | None
    length: int | None = None
    """Number of positions where all count and nobody has said so; None where there are none, or a mask tells."""
    stretches: bool = False
    """Whether the features are positions too, of which a longer batch has more."""
    suspected_padding: SuspectedPadding | None = None
    """What looks like padding that counts."""


OVER_POSITIONS = ("mean", "first", "last", "positions")


def check_patterns(reduce: Any, names: list[str]) -> None:
    """Raise for a glob of `reduce` that matches no layer: a typo would flatten."""
    if isinstance(reduce, Mapping):
        matching(list(dict.fromkeys([*names, *map(module_of, names)])), list(reduce))


class UnfitError(ValueError):
    """A layer puts out nothing whose rows are the examples."""

    def __init__(self, message: str, reason: str, shape: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        """The same in a few words."""
        self.shape = shape


def reduce_output(name: str, found: Output, rule: Any, masks: Masks, channels: str, axis: int) -> LayerRows:
    """Reduce one output of one batch; `axis` is where the examples lie in it."""
    if callable(rule):
        return _by_function(name, found, rule, masks, axis)
    if found.tensor is None:
        raise UnfitError(
            f"layer {name!r} must put out a floating tensor of at least two axes, got {found.problem}: leave it out of layers, "
            f"or pass reduce=function(output, mask) → (examples, features) for it.",
            found.problem,
        )
    output = _examples_first(name, found.tensor, masks.size, axis)
    size = masks.size
    if output.ndim <= 2:
        return LayerRows(output.reshape(size, -1), None, None)
    if output.ndim > 4:
        raise UnfitError(
            f"layer {name!r} must put out (n, features), (n, positions, features) or a map of four axes, got shape "
            f"{tuple(output.shape)}: pass reduce=function(output, mask) → (examples, features) for it.",
            f"{output.ndim} axes, shape {tuple(output.shape)}",
        )
    if output.ndim == 4:
        _check_maps(name, output, rule, masks)
    mask = _mask_for(name, output, found, masks)
    whole = output.ndim == 3 and mask is None and found.mask is None and not masks.has_rule(name)

    def reduced(values: torch.Tensor) -> LayerRows:
        if rule == "flatten":
            return _flattened(name, values, mask)
        return _over_positions(as_positions(values, channels), mask, rule)

    rows = reduced(output)._replace(stretches=rule == "flatten")
    if not whole:
        return rows
    return rows._replace(
        length=int(output.shape[1]), suspected_padding=_suspected_padding(name, output, masks, reduced)
    )


def _suspected_padding(
    name: str, output: torch.Tensor, masks: Masks, reduced: Callable[[torch.Tensor], LayerRows]
) -> SuspectedPadding | None:
    """Return what looks like padding, where other values there would change the rows."""
    suspected_padding = masks.suspected_padding_of(name, int(output.shape[1]))
    if suspected_padding is None:
        return None
    padding = torch.from_numpy(~suspected_padding.of(int(output.shape[1])))[:, :, None].to(output.device)
    before, after = (reduced(torch.where(padding, value, output)).features for value in (0.0, 1.0))
    return None if before.shape == after.shape and torch.equal(before, after) else suspected_padding


def _check_maps(name: str, output: torch.Tensor, rule: str, masks: Masks) -> None:
    shape = tuple(output.shape)
    if rule in ("first", "last"):
        raise UnfitError(
            f'layer {name!r} puts out maps of shape {shape}, which have no {rule} position: use reduce="mean", "flatten" or '
            f'"positions" for it.',
            f"maps of shape {shape}, which have no {rule} position",
        )
    masks.check_maps(name)
    if masks.pads(name, shape[1:]):
        raise UnfitError(
            f"layer {name!r} puts out maps of shape {shape}, some of whose places are padding, as of attention between "
            f"positions: pass reduce=function(output, mask) → (examples, features) for it, or mask={{{name!r}: None}} to count "
            f"padding too.",
            f"maps of shape {shape}, with places that are padding",
        )


def _examples_first(name: str, output: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    if -output.ndim <= axis < output.ndim and output.shape[axis] == size:
        return output.movedim(axis, 0)
    place, shape = "first axis" if axis == 0 else f"axis {axis}", tuple(output.shape)
    other = next((at for at in range(output.ndim) if shape[at] == size and at != axis), None)
    raise UnfitError(
        f"layer {name!r} must put out one entry per example along its {place} ({size}), got shape {shape}: leave it out of "
        f"layers, {axis_remedy(name, other)}or pass reduce=function(output, mask) → (examples, features) for it.",
        f"shape {shape}",
        shape,
    )


def _mask_for(name: str, output: torch.Tensor, found: Output, masks: Masks) -> torch.Tensor | None:
    if output.ndim != 3:
        return None
    if found.mask is not None:  # sequences of unequal lengths bring their own
        return None if bool(found.mask.all()) else found.mask
    return _beside(masks.of(name, int(output.shape[1])), output)


def _beside(mask: Any, near: Any) -> torch.Tensor | None:
    """Return a mask as a tensor on the device of another."""
    return None if mask is None else torch.from_numpy(np.array(mask)).to(near.device)


def as_positions(output: torch.Tensor, channels: str) -> torch.Tensor:
    """View a sequence or a map as (n, positions, features)."""
    if output.ndim == 3:
        return output
    if channels == "first":
        output = output.permute(0, 2, 3, 1)
    return output.reshape(output.shape[0], -1, output.shape[-1])


def _by_function(name: str, found: Output, rule: Any, masks: Masks, axis: int) -> LayerRows:
    output = found.raw
    plain = found.tensor is not None and isinstance(output, torch.Tensor)
    known = int(output.shape[1]) if plain and output.ndim == 3 and axis == 0 else None
    near = output if isinstance(output, torch.Tensor) else masks.library
    mask = found.mask if found.mask is not None else _beside(masks.for_function(name, known), near)
    try:
        reduced = rule(output, mask)
    except Exception as error:
        error.add_note(f"while reduce was given the output of layer {name!r}, {_described_output(output)}")
        raise
    features = _checked_rows(name, reduced, masks.size)
    if known is None or mask is not None or len(output) != masks.size:
        return LayerRows(features, None, None)
    suspected_padding = _suspected_padding(
        name, output, masks, lambda changed: LayerRows(rule(changed, None), None, None)
    )
    return LayerRows(features, None, None, suspected_padding=suspected_padding)


def _described_output(output: Any) -> str:
    whole = isinstance(output, torch.Tensor) and not output.is_nested
    return f"{type(output).__name__}{f' of shape {tuple(output.shape)}' if whole else ''}"


def _checked_rows(name: str, features: Any, size: int) -> torch.Tensor:
    """Return what a reduction of one's own made, if it is rows of the examples."""
    plain = isinstance(features, torch.Tensor) and not isinstance(features, MaskedTensor)
    plain = plain and not features.is_nested and not features.is_meta
    if not plain or features.ndim != 2 or features.shape[0] != size:
        got = f"shape {tuple(features.shape)}" if plain else type(features).__name__
        raise ValueError(f"reduce must return a tensor ({size} examples, features) for layer {name!r}, got {got}.")
    if features.is_complex() or features.dtype == torch.bool or not features.numel():
        got = f"{features.dtype} of shape {tuple(features.shape)}"
        raise ValueError(f"reduce must return real numbers and at least one feature for layer {name!r}, got {got}.")
    return features


def _flattened(name: str, output: torch.Tensor, mask: torch.Tensor | None) -> LayerRows:
    if mask is not None:
        raise ValueError(
            f"layer {name!r} holds padding, which flatten would count as features: use "
            f'reduce="mean", "first", "last" or "positions".'
        )
    return LayerRows(output.reshape(len(output), -1), None, None)


def _over_positions(sequence: torch.Tensor, mask: torch.Tensor | None, rule: str) -> LayerRows:
    n, length, _ = sequence.shape
    if rule == "mean":
        if mask is None:
            return LayerRows(_precise(sequence).mean(dim=1), None, None)
        # Padding may hold anything, NaN included: select it away instead of multiplying by 0.
        kept = torch.where(mask[:, :, None], _precise(sequence), 0.0)
        return LayerRows(kept.sum(dim=1) / mask.sum(dim=1, keepdim=True), None, None)
    places = torch.arange(length, device=sequence.device).expand(n, length)
    if rule == "positions":
        kept = torch.ones(n, length, dtype=torch.bool, device=sequence.device) if mask is None else mask
        example = torch.arange(n, device=sequence.device)[:, None].expand(n, length)
        return LayerRows(sequence[kept], example[kept], places[kept])
    if mask is None:
        place = torch.full((n,), 0 if rule == "first" else length - 1, device=sequence.device)
    elif rule == "first":
        place = torch.where(mask, places, length).amin(dim=1)
    else:
        place = torch.where(mask, places, -1).amax(dim=1)
    return LayerRows(sequence[torch.arange(n, device=sequence.device), place], None, None)


def _precise(sequence: torch.Tensor) -> torch.Tensor:
    """Return the sequence in a dtype whose sums over positions keep their digits."""
    return sequence if sequence.dtype == torch.float64 else sequence.float()
