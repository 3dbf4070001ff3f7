"""What arrays look like masks of padding, whatever their names and shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from homolog.extraction.tensors import is_complex, is_plain, numbers_of

LARGEST_ADDED = -100
"""What a mask that is added to attention scores holds at most where a position is left out: its exponential is nothing."""


def is_binary(values: np.ndarray) -> bool:
    """Say whether values are true or false, or 0 and 1."""
    return values.dtype == bool or bool(((values == 0) | (values == 1)).all())


def is_added(values: np.ndarray) -> bool:
    """Say whether values are to be added to attention scores: 0 where a position counts, large negative numbers elsewhere."""
    if values.dtype.kind in "cb":
        return False
    left_out = values <= LARGEST_ADDED
    return bool(((values == 0) | left_out).all()) and bool(left_out.any())


def kept_of(mask: np.ndarray, *, true_is_padding: bool) -> np.ndarray:
    """Return where positions count, true there."""
    return mask == 0 if true_is_padding or is_added(mask) else mask != 0


def reach_of(
    values: Any,
    name: str,
    size: int,
    positions: int,
    *,
    of_scores: bool,
    read: Callable[[Any], np.ndarray] = numbers_of,
) -> str | None:
    """Return how a mask is made of what could be one of so many examples and positions; None of what could not.

    `{where}` stands for the tensor; `of_scores` says that by its name it is of pairs of positions. `read` gives its numbers,
    and is asked for them only where the shape fits, because they may be on another device.
    """
    if not is_plain(values) or is_complex(values) or values.ndim < 2:
        return None
    is_mask = name.endswith(("mask", "masks"))
    shape = tuple(values.shape)
    if shape[-2:] == (positions, positions) and values.ndim > 2:
        return _FUNCTION if is_mask and _differs_by_example(read(values), size) else None
    if shape[0] != size or math.prod(shape) != size * positions or positions not in shape[1:]:
        return None
    flat = read(values).reshape(size, positions)
    # A square one may be of pairs of positions after all, such as one that hides what comes later.
    by_name = is_mask and bool((flat != flat.flat[0]).any()) and not (of_scores and size == positions)
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


def _differs_by_example(values: np.ndarray, size: int) -> bool:
    """Say whether masks of pairs of positions are other ones for other examples, and not of the heads alone."""
    if len(values) % size or size < 2:
        return False
    by_example = values.reshape(size, -1)
    return bool((by_example != by_example[:1]).any())


def _is_triangular(values: np.ndarray) -> bool:
    if values.shape[0] != values.shape[1]:
        return False
    kept = values == 0 if is_added(values) else values != 0
    return any(np.array_equal(kept, of(np.ones_like(kept), k)) for of, k in _TRIANGLES)


_TRIANGLES = ((np.tril, 0), (np.triu, 0), (np.tril, -1), (np.triu, 1))


def _looks_like_padding(values: np.ndarray) -> bool:
    """Say whether every row begins or ends with all of one of two values, as masks of padding do."""
    signs = values.dtype != bool and bool((np.abs(values) == 1).all())
    if not is_binary(values) and not is_added(values) and not signs:
        return False
    changes = (values[:, 1:] != values[:, :-1]).sum(axis=1)
    return bool((changes <= 1).all()) and bool((changes == 1).any())
