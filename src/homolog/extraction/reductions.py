"""Layer output → rows of features, by declared axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from homolog.activations import glob_expression, matching


class Rows(NamedTuple):
    """Rows of one layer for one batch, and the example and position each came from."""

    features: Any
    """(rows, features): a tensor, or what a recorder keeps of it."""
    example: torch.Tensor | None
    """None where row i is example i."""
    position: torch.Tensor | None


OVER_POSITIONS = ("mean", "first", "last", "positions")


def check_patterns(reduce: Any, names: list[str]) -> None:
    """Raise for a glob of `reduce` that matches no layer: a typo would flatten."""
    if isinstance(reduce, Mapping):
        matching([*names, *(name.split("#")[0] for name in names)], list(reduce))


def rule_for(name: str, reduce: Any) -> Any:
    """Return the reduction of a layer: the first matching glob of a mapping, "flatten" where none matches."""
    if not isinstance(reduce, Mapping):
        return reduce
    base = name.split("#")[0]
    for pattern, rule in reduce.items():
        expression = glob_expression(pattern)
        if expression.fullmatch(name) or expression.fullmatch(base):
            return rule
    return "flatten"


def first_tensor(output: Any, size: int) -> torch.Tensor | None:
    """Return the first tensor of an output whose leading axis is the batch; else its first tensor; else None."""
    tensors = list(_tensors(output))
    return next((t for t in tensors if t.ndim and t.shape[0] == size), tensors[0] if tensors else None)


def _tensors(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _tensors(item)


def apply(name: str, output: torch.Tensor, mask: torch.Tensor | None, rule: Any, size: int, channels: str) -> Rows:
    """Reduce one output of one batch."""
    if output.ndim == 0 or output.shape[0] != size:
        raise ValueError(
            f"layer {name!r} must put out one entry per example along its first axis ({size}), got shape "
            f"{tuple(output.shape)}: leave it out of layers, or make the examples its first axis."
        )
    if callable(rule):
        return _called(name, output, mask, rule, size)
    if output.ndim <= 2:
        return Rows(output.reshape(size, -1), None, None)
    if output.ndim > 4:
        raise ValueError(
            f"layer {name!r} must put out (n, features), (n, positions, features) or a map of four axes, got shape "
            f"{tuple(output.shape)}: pass reduce=function(output, mask) → (examples, features) for it."
        )
    if rule == "flatten":
        return _flattened(name, output, mask, size)
    if output.ndim == 4 and rule in ("first", "last"):
        raise ValueError(
            f"layer {name!r} puts out maps of shape {tuple(output.shape)}, which have no {rule} position: use "
            f'reduce="mean", "flatten" or "positions" for it.'
        )
    sequence = as_positions(output, channels)
    return _over_positions(name, sequence, _fitting(name, sequence, mask, output.ndim), rule)


def as_positions(output: torch.Tensor, channels: str) -> torch.Tensor:
    """View a sequence or a map as (n, positions, features)."""
    if output.ndim == 3:
        return output
    if channels == "first":
        output = output.permute(0, 2, 3, 1)
    return output.reshape(output.shape[0], -1, output.shape[-1])


def _called(name: str, output: torch.Tensor, mask: torch.Tensor | None, rule: Any, size: int) -> Rows:
    features = rule(output, mask)
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or features.shape[0] != size:
        got = f"shape {tuple(features.shape)}" if isinstance(features, torch.Tensor) else type(features).__name__
        raise ValueError(f"reduce must return a tensor ({size} examples, features) for layer {name!r}, got {got}.")
    return Rows(features, None, None)


def _flattened(name: str, output: torch.Tensor, mask: torch.Tensor | None, size: int) -> Rows:
    if output.ndim == 3 and mask is not None and not bool((mask != 0).all()):
        raise ValueError(
            f"layer {name!r} holds padding, which flatten would count as features: use "
            f'reduce="mean", "first", "last" or "positions".'
        )
    return Rows(output.reshape(size, -1), None, None)


def _fitting(name: str, sequence: torch.Tensor, mask: torch.Tensor | None, ndim: int) -> torch.Tensor | None:
    if mask is None or ndim != 3:
        return None
    if tuple(mask.shape) != tuple(sequence.shape[:2]):
        raise ValueError(
            f"layer {name!r} has {sequence.shape[1]} positions, but attention_mask has shape {tuple(mask.shape)}: pass "
            f"reduce=function(output, mask) for it, or leave it out of layers."
        )
    mask = mask != 0
    empty = ~mask.any(dim=1)
    if bool(empty.any()):
        raise ValueError(
            f"attention_mask must keep a position of every example, got none in row {int(empty.int().argmax())}."
        )
    return mask


def _over_positions(name: str, sequence: torch.Tensor, mask: torch.Tensor | None, rule: str) -> Rows:
    n, length, _ = sequence.shape
    if rule == "mean":
        if mask is None:
            return Rows(_precise(sequence).mean(dim=1), None, None)
        # Padding may hold anything, NaN included: select it away instead of multiplying by 0.
        kept = torch.where(mask[:, :, None], _precise(sequence), 0.0)
        return Rows(kept.sum(dim=1) / mask.sum(dim=1, keepdim=True), None, None)
    places = torch.arange(length, device=sequence.device).expand(n, length)
    if rule == "positions":
        kept = torch.ones(n, length, dtype=torch.bool, device=sequence.device) if mask is None else mask
        example = torch.arange(n, device=sequence.device)[:, None].expand(n, length)
        return Rows(sequence[kept], example[kept], places[kept])
    if mask is None:
        place = torch.full((n,), 0 if rule == "first" else length - 1, device=sequence.device)
    elif rule == "first":
        place = torch.where(mask, places, length).amin(dim=1)
    else:
        place = torch.where(mask, places, -1).amax(dim=1)
    return Rows(sequence[torch.arange(n, device=sequence.device), place], None, None)


def _precise(sequence: torch.Tensor) -> torch.Tensor:
    """Return the sequence in a dtype whose sums over positions keep their digits."""
    return sequence if sequence.dtype == torch.float64 else sequence.float()
