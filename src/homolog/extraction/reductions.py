"""Layer output → rows of features, by declared axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device as device_of

from homolog.activations import matching
from homolog.arrays import namespace
from homolog.extraction.layer_selection import module_of
from homolog.extraction.masks import Masks
from homolog.extraction.objections import axis_remedy
from homolog.extraction.outputs import Output
from homolog.extraction.skipped_tokens import UnknownTokensError
from homolog.extraction.suspected_padding import SuspectedPadding
from homolog.extraction.tensors import (
    is_boolean,
    is_complex,
    is_foreign,
    is_masked_tensor,
    is_tensor,
    is_torch,
    numbers_of,
)
from homolog.sketching import Sketch


class Tokens(NamedTuple):
    """The tokens of a layer before they are reduced."""

    output: Any
    """(examples, positions, features)."""
    padding: np.ndarray | None
    """Which positions are none; None where all count."""
    counted: np.ndarray | bool
    """Which positions the rows hold, all alike."""


class LayerRows(NamedTuple):
    """Rows of one layer for one batch, and the example and position each came from."""

    features: Any
    """(rows, features): a tensor of PyTorch's or an array of NumPy's, or what a recorder keeps of it."""
    example: Any
    """None where row i is example i."""
    position: Any
    length: int | None = None
    """Number of positions where all count and nobody has said so; None where there are none, or a mask tells."""
    stretches: bool = False
    """Whether the features are positions too, of which a longer batch has more."""
    suspected_padding: SuspectedPadding | None = None
    """What looks like padding that counts."""
    tokens: Tokens | None = None
    """What the rows were made of, where these are tokens."""
    skips: bool = False
    """Whether there are tokens, so that some can be left out."""
    sketch: Sketch | None = None
    """What makes the sketches whose columns stand for the features; None where these are the features."""

    @property
    def width(self) -> int:
        """Features of the layer."""
        return int(self.features.shape[1]) if self.sketch is None else self.sketch.width


OVER_POSITIONS = ("mean", "first", "last", "positions")
OF_ALL_TOKENS = ("mean", "positions", "flatten")


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


@dataclass(frozen=True)
class Axes:
    """Where the examples and the channels lie in the output of a layer."""

    examples: int = 0
    channels: str | None = "first"
    """Of maps; None where nobody has said it."""
    flat_channels_first: bool = False
    """Whether flattened maps whose channels are last have their features in the order of those whose channels are first."""


def reduce_output(name: str, found: Output, rule: Any, masks: Masks, axes: Axes) -> LayerRows:
    """Reduce one output of one batch."""
    if callable(rule):
        return _by_function(name, found, rule, masks, axes.examples)
    if found.tensor is None:
        raise UnfitError(
            f"layer {name!r} must put out a floating tensor of at least two axes, got {found.problem}: leave it out of layers, "
            f"or pass reduce=function(output, mask) → (examples, features) for it.",
            found.problem,
        )
    output = _examples_first(name, found.tensor, masks.size, axes.examples)
    _check_kind(name, output, found)
    size = masks.size
    if output.ndim <= 2 or found.kind == "features":
        return LayerRows(output.reshape(size, -1), None, None)
    if output.ndim > 4:
        raise UnfitError(
            f"layer {name!r} must put out (n, features), (n, positions, features) or a map of four axes, got shape "
            f"{tuple(output.shape)}: pass reduce=function(output, mask) → (examples, features) for it.",
            f"{output.ndim} axes, shape {tuple(output.shape)}",
        )
    if output.ndim == 4:
        _check_maps(name, output, rule, masks, axes)
    padding = _mask_for(name, output, found, masks)
    whole = output.ndim == 3 and padding is None and found.mask is None and not masks.has_rule(name)
    kept = masks.without_skipped(name, padding, int(output.shape[1])) if output.ndim == 3 else None
    mask = None if kept is None else _beside(kept, output)

    def reduced(values: Any) -> LayerRows:
        if rule == "flatten":
            return _flattened(name, values, axes, padded=padding is not None, skips=kept is not padding)
        return _over_positions(as_positions(values, axes.channels), mask, rule)

    skips = output.ndim == 3 and masks.can_skip(name)
    rows = reduced(output)._replace(stretches=rule == "flatten", skips=skips)
    if output.ndim == 3:
        counted = rule in OF_ALL_TOKENS and (True if kept is None else kept)
        rows = rows._replace(tokens=Tokens(output, padding, counted))
    if not whole:
        return rows
    return rows._replace(
        length=int(output.shape[1]), suspected_padding=_suspected_padding(name, output, masks, reduced)
    )


def with_features_known(
    name: str, found: Output, rule: Any, features: int | None, channels: str | None
) -> tuple[Output, str | None]:
    """Return an output whose features lie where a reduction over positions looks for them, and where its channels are."""
    if callable(rule) or rule not in OVER_POSITIONS or found.tensor is None or found.tensor.ndim not in (3, 4):
        return found, channels
    if features is None:
        shape = tuple(found.tensor.shape)
        raise UnfitError(
            f'layer {name!r} puts out shape {shape}, and nobody knows which axis holds its features: pass reduce="flatten", or a '
            f"function such as lambda output, mask: output.mean(2), for it.",
            f"shape {shape}, nobody knows which axis holds the features",
        )
    if found.tensor.ndim == 4:
        return found, "first" if features == 1 else "last"
    if features == 1:
        found = found._replace(tensor=namespace(found.tensor).moveaxis(found.tensor, 1, 2))
    return found, channels


_AXES_OF_KIND = {"tokens": (3, "(examples, positions, features)"), "maps": (4, "(examples, channels, height, width)")}


def _check_kind(name: str, output: Any, found: Output) -> None:
    """Raise where an output has not the axes that it was said to have, or none of which its own mask could tell."""
    kind = found.kind
    if found.mask is not None and (output.ndim != 3 or kind == "features"):
        raise ValueError(
            f"layer {name!r} must have three axes, (examples, positions, features), to have a mask of its own, got shape "
            f"{tuple(output.shape)}{' as features' if kind == 'features' else ''}: leave the mask out."
        )
    count, meaning = _AXES_OF_KIND.get(str(kind), (output.ndim, ""))
    if output.ndim != count:
        raise ValueError(
            f"layer {name!r} must have {count} axes as {kind}, {meaning}, got shape {tuple(output.shape)}: change its shape or "
            f"its kind."
        )


def _suspected_padding(
    name: str, output: Any, masks: Masks, reduced: Callable[[Any], LayerRows]
) -> SuspectedPadding | None:
    """Return what looks like padding, where other values there would change the rows."""
    suspected_padding = masks.suspected_padding_of(name, int(output.shape[1]))
    if suspected_padding is None:
        return None
    xp, padding = namespace(output), _beside(~suspected_padding.of(int(output.shape[1])), output)[:, :, None]
    values = (xp.asarray(value, dtype=output.dtype, device=device_of(output)) for value in (0, 1))
    before, after = (reduced(xp.where(padding, value, output)).features for value in values)
    return None if before.shape == after.shape and bool(xp.all(before == after)) else suspected_padding


def _beside(mask: Any, output: Any) -> Any:
    """Return a mask on the device of an output, in its library."""
    return namespace(output).asarray(mask, device=device_of(output))


def _check_maps(name: str, output: Any, rule: str, masks: Masks, axes: Axes) -> None:
    shape = tuple(output.shape)
    if rule in ("first", "last"):
        raise UnfitError(
            f'layer {name!r} puts out maps of shape {shape}, which have no {rule} position: use reduce="mean", "flatten" or '
            f'"positions" for it.',
            f"maps of shape {shape}, which have no {rule} position",
        )
    if axes.channels is None and rule != "flatten":
        raise UnfitError(
            f"layer {name!r} puts out maps of shape {shape}, and nobody has said which axis holds the channels: pass "
            f'channels="first" or channels="last".',
            f"maps of shape {shape}, say where the channels are with channels=",
        )
    masks.check_maps(name)
    if masks.pads(name, shape[1:]):
        raise UnfitError(
            f"layer {name!r} puts out maps of shape {shape}, some of whose places are padding, as of attention between "
            f"positions: pass reduce=function(output, mask) → (examples, features) for it, or mask={{{name!r}: None}} to count "
            f"padding too.",
            f"maps of shape {shape}, with places that are padding",
        )


def _examples_first(name: str, output: Any, size: int, axis: int) -> Any:
    if -output.ndim <= axis < output.ndim and output.shape[axis] == size:
        return output if axis == 0 else namespace(output).moveaxis(output, axis, 0)
    place, shape = "first axis" if axis == 0 else f"axis {axis}", tuple(output.shape)
    other = next((at for at in range(output.ndim) if shape[at] == size and at != axis), None)
    raise UnfitError(
        f"layer {name!r} must put out one entry per example along its {place} ({size}), got shape {shape}: leave it out of "
        f"layers, {axis_remedy(name, other)}or pass reduce=function(output, mask) → (examples, features) for it.",
        f"shape {shape}",
        shape,
    )


def _mask_for(name: str, output: Any, found: Output, masks: Masks) -> np.ndarray | None:
    """Return which positions are no padding; None where all count, or there are none."""
    if output.ndim != 3:
        return None
    length, own = int(output.shape[1]), found.mask  # sequences of unequal lengths bring their own
    said = own is None or masks.has_rule(name)
    return masks.of(name, length) if said else masks.own(name, own, length)


def as_positions(output: Any, channels: str | None) -> Any:
    """View a sequence or a map as (n, positions, features)."""
    if output.ndim == 3:
        return output
    if channels == "first":
        output = namespace(output).permute_dims(output, (0, 2, 3, 1))
    return output.reshape(output.shape[0], -1, output.shape[-1])


def _by_function(name: str, found: Output, rule: Any, masks: Masks, axis: int) -> LayerRows:
    output = found.raw
    plain = found.tensor is not None and is_tensor(output)
    known = int(output.shape[1]) if plain and output.ndim == 3 and axis == 0 else None
    own = found.mask is not None and not masks.has_rule(name)
    padding = masks.checked(name, found.mask) if own else masks.for_function(name, known)
    keep = masks.without_skipped(name, padding, known)
    if keep is None and masks.skipped.asks(name) and (not plain or axis != 0):
        raise UnknownTokensError(
            f"layer {name!r} must put out a tensor whose positions are known to leave tokens out, got "
            f"{_described_output(output)} and no mask: pass mask=, or leave skip_first and skip out for it."
        )
    mask = None if keep is None else _for_rule(keep, output, masks)
    try:
        reduced = _unharmed(name, output, lambda given: rule(given, mask))
    except Exception as error:
        error.add_note(f"while reduce was given the output of layer {name!r}, {_described_output(output)}")
        raise
    features = _checked_rows(name, reduced, masks.size)
    skips = keep is not None and masks.can_skip(name)
    if known is None or padding is not None or len(output) != masks.size:
        return LayerRows(features, None, None, skips=skips)
    suspected_padding = _suspected_padding(
        name, output, masks, lambda changed: LayerRows(rule(changed, mask), None, None)
    )
    return LayerRows(features, None, None, suspected_padding=suspected_padding, skips=skips)


def _unharmed(name: str, output: Any, rule: Callable[[Any], Any]) -> Any:
    """Return what a reduction of one's own makes of an output, which others may still need as it is."""
    if isinstance(output, np.ndarray):
        return rule(output.copy())
    version = output._version if is_torch(output) and not output.is_inference() else None
    reduced = rule(output)
    if version is not None and output._version != version:
        raise ValueError(
            f"reduce must leave the output of layer {name!r} as it is, got it changed in place: work on a copy."
        )
    return reduced


def _for_rule(keep: np.ndarray, output: Any, masks: Masks) -> Any:
    """Return a mask in the library of what a reduction of one's own is given; of an object in that of the batch."""
    near = output if is_tensor(output) else masks.library
    return keep if near is None else _beside(keep, near)


def _described_output(output: Any) -> str:
    whole = is_tensor(output) and not (is_torch(output) and output.is_nested)
    return f"{type(output).__name__}{f' of shape {tuple(output.shape)}' if whole else ''}"


def _checked_rows(name: str, features: Any, size: int) -> Any:
    """Return what a reduction of one's own made, if it is rows of the examples."""
    masked = is_masked_tensor(features) or isinstance(features, np.ma.MaskedArray)
    plain = is_tensor(features) and not masked
    plain = plain and not (is_torch(features) and (features.is_nested or features.is_meta))
    if not plain or features.ndim != 2 or features.shape[0] != size:
        got = f"shape {tuple(features.shape)}" if plain else type(features).__name__
        raise ValueError(f"reduce must return a tensor ({size} examples, features) for layer {name!r}, got {got}.")
    if is_complex(features) or is_boolean(features) or 0 in features.shape:
        got = f"{features.dtype} of shape {tuple(features.shape)}"
        raise ValueError(f"reduce must return real numbers and at least one feature for layer {name!r}, got {got}.")
    return numbers_of(features) if is_foreign(features) else features


def _flattened(name: str, output: Any, axes: Axes, *, padded: bool, skips: bool) -> LayerRows:
    if skips:
        raise ValueError(
            f"layer {name!r} must keep all its tokens to be flattened, got some to leave out: use "
            f'reduce="mean", "first", "last" or "positions" with skip_first and skip.'
        )
    if padded:
        raise ValueError(
            f"layer {name!r} holds padding, which flatten would count as features: use "
            f'reduce="mean", "first", "last" or "positions".'
        )
    if output.ndim == 4 and axes.flat_channels_first and axes.channels == "last":
        output = namespace(output).moveaxis(output, -1, 1)
    return LayerRows(output.reshape(len(output), -1), None, None)


def _over_positions(sequence: Any, mask: Any, rule: str) -> LayerRows:
    n, length, _ = sequence.shape
    xp, device = namespace(sequence), device_of(sequence)
    if rule == "mean":
        if mask is None:
            return LayerRows(xp.mean(_precise(sequence), axis=1), None, None)
        # Padding may hold anything, NaN included: select it away instead of multiplying by 0.
        values = _precise(sequence)
        kept = xp.where(mask[:, :, None], values, xp.asarray(0.0, dtype=values.dtype, device=device))
        count = xp.astype(xp.sum(mask, axis=1, keepdims=True), values.dtype)
        return LayerRows(xp.sum(kept, axis=1) / count, None, None)
    places = xp.broadcast_to(xp.arange(length, device=device)[None], (n, length))
    if rule == "positions":
        kept = xp.ones((n, length), dtype=xp.bool, device=device) if mask is None else mask
        example = xp.broadcast_to(xp.arange(n, device=device)[:, None], (n, length))
        return LayerRows(sequence[kept], example[kept], places[kept])
    if mask is None:
        place = xp.full((n,), 0 if rule == "first" else length - 1, dtype=places.dtype, device=device)
    else:
        beyond = xp.asarray(length if rule == "first" else -1, dtype=places.dtype, device=device)
        kept = xp.where(mask, places, beyond)
        place = xp.min(kept, axis=1) if rule == "first" else xp.max(kept, axis=1)
    return LayerRows(sequence[xp.arange(n, device=device), place], None, None)


def _precise(sequence: Any) -> Any:
    """Return the sequence in a dtype whose sums over positions keep their digits."""
    xp = namespace(sequence)
    wide = sequence.dtype == xp.float64 or (not is_torch(sequence) and sequence.dtype.kind in "iu")
    return xp.astype(sequence, xp.float64 if wide else xp.float32, copy=False)
