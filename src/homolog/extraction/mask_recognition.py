"""What tensors look like masks of padding, whatever their names and shapes."""

from __future__ import annotations

import torch

LARGEST_ADDED = -100
"""What a mask that is added to attention scores holds at most where a position is left out: its exponential is nothing."""


def is_binary(values: torch.Tensor) -> bool:
    """Say whether values are true or false, or 0 and 1."""
    return values.dtype == torch.bool or bool(((values == 0) | (values == 1)).all())


def is_added(values: torch.Tensor) -> bool:
    """Say whether values are to be added to attention scores: 0 where a position counts, large negative numbers elsewhere."""
    if values.is_complex() or values.dtype == torch.bool:
        return False
    left_out = values <= LARGEST_ADDED
    return bool(((values == 0) | left_out).all()) and bool(left_out.any())


def kept_of(mask: torch.Tensor, *, true_is_padding: bool) -> torch.Tensor:
    """Return where positions count, true there."""
    return mask == 0 if true_is_padding or is_added(mask) else mask != 0


def reach_of(values: torch.Tensor, name: str, size: int, positions: int, *, of_scores: bool) -> str | None:
    """Return how a mask is made of what could be one of so many examples and positions; None of what could not.

    `{where}` stands for the tensor; `of_scores` says that by its name it is of pairs of positions.
    """
    if values.is_nested or values.layout != torch.strided or values.is_complex() or values.ndim < 2:
        return None
    is_mask = name.endswith(("mask", "masks"))
    if tuple(values.shape[-2:]) == (positions, positions) and values.ndim > 2:
        return _FUNCTION if is_mask and _differs_by_example(values, size) else None
    if len(values) != size or values.numel() != size * positions or positions not in values.shape[1:]:
        return None
    flat = values.reshape(size, positions)
    # A square one may be of pairs of positions after all, such as one that hides what comes later.
    by_name = is_mask and bool((flat != flat.flatten()[0]).any()) and not (of_scores and size == positions)
    hides_later = of_scores and values.ndim == 2 and _is_triangular(flat)
    if hides_later or not (by_name or _looks_like_padding(flat)):
        return None
    if not is_binary(flat) and not is_added(flat):
        return _FUNCTION
    made = "{where}" if values.ndim == 2 else "{where}.reshape(len({where}), -1)"
    if is_added(flat):
        return f"mask=lambda batch: {made} == 0 if it is added to attention scores"
    return f"mask=lambda batch: {made} != 0 if it is 0 at padding, mask=lambda batch: {made} == 0 if it is not"


_FUNCTION = "mask=function(batch) → (examples, positions), true where a position counts"


def _differs_by_example(values: torch.Tensor, size: int) -> bool:
    """Say whether masks of pairs of positions are other ones for other examples, and not of the heads alone."""
    if len(values) % size or size < 2:
        return False
    by_example = values.reshape(size, -1)
    return bool((by_example != by_example[:1]).any())


def _is_triangular(values: torch.Tensor) -> bool:
    if values.shape[0] != values.shape[1]:
        return False
    kept = values == 0 if is_added(values) else values != 0
    whole = torch.ones_like(kept)
    return any(torch.equal(kept, shape) for shape in (whole.tril(), whole.triu(), whole.tril(-1), whole.triu(1)))


def _looks_like_padding(values: torch.Tensor) -> bool:
    """Say whether every row begins or ends with all of one of two values, as masks of padding do."""
    signs = values.dtype != torch.bool and bool((values.abs() == 1).all())
    if not is_binary(values) and not is_added(values) and not signs:
        return False
    changes = (values[:, 1:] != values[:, :-1]).sum(dim=1)
    return bool((changes <= 1).all()) and bool((changes == 1).any())
