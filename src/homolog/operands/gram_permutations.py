"""Inner products of structures when the examples of one side are permuted, many times over: nothing is centred again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from homolog.machine import format_bytes
from homolog.operands.structures import Gram, LinearGram

Inner = Callable[[np.ndarray], np.ndarray]
GATHERED = 60
"""Floating-point operations that picking one entry of a Gram matrix costs."""
AT_ONCE = 1 << 15
"""Entries of the upper half that are picked at a time, so that they stay in cache."""


def bytes_of_grams(n: int, first: int, second: int) -> int:
    """Return what it takes to permute through Gram matrices: halves, whole ones, those being copied, and places."""
    halves = n * (n - 1) // 2
    return 8 * (halves * (first + 3) + n * n * (second + 2))


def permuted_inner_products(xs: Sequence[Gram], ys: Sequence[Gram], needed: np.ndarray, memory: int) -> Inner:
    """Return order → (x, y) off-diagonal parts of ⟨K, L⟩ with the examples of y in this order, NaN where not needed.

    Through features, ‖X^T Y‖² for 2·n·p·q operations per pair, or through the upper halves of Gram matrices, n²/2 picked
    entries per layer of y: the cheaper one that fits into the memory. Every order serves all pairs.
    """
    n = xs[0].n
    halves = n * (n - 1) // 2
    diagonals = [np.stack([np.asarray(side.diagonal) for side in part]) for part in (xs, ys)]
    held = bytes_of_grams(n, len(xs), len(ys))
    features = [[side.features for side in part if isinstance(side, LinearGram)] for part in (xs, ys)]
    if len(features[0]) == len(xs) and len(features[1]) == len(ys):
        widths = [np.array([side.shape[1] for side in part]) for part in features]
        through_features = 2.0 * n * widths[0] @ needed @ widths[1]
        if through_features < halves * len(ys) * (2 * len(xs) + GATHERED) or held > memory:
            return _through_features(features, diagonals, needed)
    if held > memory:
        raise ValueError(
            f"permuting needs the Gram matrices of all layers, {format_bytes(held)} for {len(xs)} × {len(ys)} layers and n = "
            f"{n}, got memory for {format_bytes(memory)}: raise memory, or use fewer examples or layers."
        )
    return _through_grams(xs, ys)


def _through_features(
    sides: Sequence[Sequence[np.ndarray]], diagonals: Sequence[np.ndarray], needed: np.ndarray
) -> Inner:
    # In float64, since orders that leave the value as it is must be seen to do so.
    first, second = ([np.asarray(features, dtype=float) for features in part] for part in sides)

    def inner(order: np.ndarray) -> np.ndarray:
        found = np.full(needed.shape, np.nan)
        for j, features in enumerate(second):
            rows = np.flatnonzero(needed[:, j])
            reordered = features[order] if len(rows) else features
            for i in rows:
                product = first[i].T @ reordered
                found[i, j] = np.vdot(product, product)
        return found - diagonals[0] @ diagonals[1][:, order].T

    return inner


def _through_grams(xs: Sequence[Gram], ys: Sequence[Gram]) -> Inner:
    n = xs[0].n
    rows, columns = (places.astype(np.int32) for places in np.triu_indices(n, 1))
    first, second = np.empty((len(xs), len(rows))), np.empty((n * n, len(ys)))
    for half, side in zip(first, xs, strict=True):
        np.multiply(np.asarray(side.formed(), dtype=float)[rows, columns], 2, out=half)
    for j, side in enumerate(ys):
        second[:, j] = np.asarray(side.formed(), dtype=float).reshape(-1)

    def inner(order: np.ndarray) -> np.ndarray:
        total = np.zeros((len(xs), len(ys)))
        for start in range(0, len(rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            places = order[rows[part]] * n + order[columns[part]]
            total += first[:, part] @ second[places]
        return total

    return inner
