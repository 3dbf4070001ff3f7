"""Values without each example, from what the value itself was computed of: nothing is decomposed again."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from homolog.operands.structures import Gram, LinearGram
from homolog.operands.subspace import Overlap, Subspace

CERTAIN = 1e-10
"""An example that leaves less than this of a column space or of a norm takes all of it: there is no value without it."""


def inner_without_each(x: Gram, y: Gram) -> tuple[np.ndarray, np.ndarray]:
    """Return, without each example, the off-diagonal part of ⟨K, L⟩ and k·h, the diagonals, of Gram matrices centred again.

    Rows of a centred K sum to 0, so that without row and column i row j sums to −K_ji and the whole to K_ii. The bandwidth of an
    RBF kernel stays as it is.
    """
    k, h = np.asarray(x.diagonal), np.asarray(y.diagonal)
    shared, k_of_h, h_of_k = _row_products(x, y)
    totals = RowTotals(*(np.asarray(part.sum()) for part in (shared, k * h, k, h)))
    whole, diagonals = without_rows(k, h, shared, k_of_h, h_of_k, totals, x.n - 1)
    if y is x:
        whole = np.where(whole > CERTAIN * shared.sum(), whole, np.nan)
    return whole - diagonals, diagonals


class RowTotals(NamedTuple):
    """Sums over all examples."""

    shared: np.ndarray
    """⟨K, L⟩"""
    both: np.ndarray
    """k·h"""
    k: np.ndarray
    h: np.ndarray


def without_rows(
    k: np.ndarray,
    h: np.ndarray,
    shared: np.ndarray,
    k_of_h: np.ndarray,
    h_of_k: np.ndarray,
    totals: RowTotals,
    m: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ⟨K, L⟩ and k·h without each example, of which m are left, from the row sums of K∘L, K h and L k."""
    both = k * h
    beside = shared - both  # Σ over j ≠ i of K_ij L_ij
    whole = totals.shared - 2 * shared + both - 2 / m * beside + both / m**2
    diagonals = (
        (totals.both - both)
        + 2 / m * (k_of_h + h_of_k - 2 * both)
        + 4 / m**2 * beside
        + (h * (totals.k - k) + k * (totals.h - h)) / m**2
        - 3 * both / m**3
    )
    return whole, diagonals


def trace_without_each(x: Gram) -> np.ndarray:
    """Return tr K without each example, of the Gram matrix centred again."""
    k = np.asarray(x.diagonal)
    trace: np.ndarray = k.sum() - k * x.n / (x.n - 1)
    return trace


def _row_products(x: Gram, y: Gram) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row sums of K∘L, K h and L k: through features where they are narrow, else through Gram matrices."""
    k, h = np.asarray(x.diagonal), np.asarray(y.diagonal)
    features = [np.asarray(side.features, dtype=float) for side in (x, y) if isinstance(side, LinearGram)]
    if len(features) == 2 and max(side.shape[1] for side in features) <= x.n:
        first, second = features
        shared = np.sum((first @ (first.T @ second)) * second, axis=1)
        return shared, first @ (first.T @ h), second @ (second.T @ k)
    grams = [np.asarray(side.gram, dtype=float) for side in (x, y)]
    return np.einsum("ij,ij->i", *grams), grams[0] @ h, grams[1] @ k


def cca_without_each(x: Subspace, y: Subspace, overlap: Overlap, *, statistic: str) -> np.ndarray | None:
    """Return R²_CCA without each example.

    Without its row w_i the Gram matrix of W = [1/√n, U] is I − w_i w_i^T, whose inverse is I + w_i w_i^T / (1 − ‖w_i‖²).
    """
    if statistic != "r2":
        return None
    n = x.n
    if 0 in overlap.matrix.shape:
        return np.full(n, np.nan)
    if max(x.rank, y.rank) >= n - 1:
        return np.ones(n)  # saturated, and so it stays
    u, v, c = (np.asarray(part, dtype=float) for part in (x.u, y.u, overlap.matrix))
    u_c, v_c = u @ c, v @ c.T
    leverage_x, leverage_y = (1 / n + np.sum(side**2, axis=1) for side in (u, v))
    across = 1 / n + np.sum(u_c * v, axis=1)
    from_x, from_y = (1 / n + np.sum(side**2, axis=1) for side in (u_c, v_c))
    rest_x, rest_y = _rest(leverage_x), _rest(leverage_y)
    shared = (
        (1 + np.sum(c**2) - 2 * across + leverage_x * leverage_y)
        + (from_x - 2 * leverage_x * across + leverage_x**2 * leverage_y) / rest_x
        + (from_y - 2 * leverage_y * across + leverage_y**2 * leverage_x) / rest_y
        + (across - leverage_x * leverage_y) ** 2 / (rest_x * rest_y)
    )
    return np.minimum((shared - 1) / min(c.shape), 1.0)


def regression_without_each(target: Subspace, predictors: Subspace, overlap: Overlap) -> np.ndarray:
    """Return R² of linear regression without each example, by the same inverse."""
    if 0 in overlap.matrix.shape:
        return np.full(target.n, np.nan)
    if predictors.rank >= target.n - 1:
        return np.ones(target.n)
    u, v, c, weights = (np.asarray(p, dtype=float) for p in (target.u, predictors.u, overlap.matrix, target.weights))
    rows = u * weights
    fitted = v @ (weights[:, None] * c).T
    leverage = 1 / target.n + np.sum(v**2, axis=1)
    own, across = np.sum(rows**2, axis=1), np.sum(fitted * rows, axis=1)
    explained = np.sum((weights[:, None] * c) ** 2) - 2 * across + leverage * own
    explained += (np.sum(fitted**2, axis=1) - 2 * leverage * across + leverage**2 * own) / _rest(leverage)
    mean = own / (target.n - 1)
    whole = 1 - own - mean
    return np.minimum((explained - mean) / np.where(whole > CERTAIN, whole, np.nan), 1.0)


def _rest(leverage: np.ndarray) -> np.ndarray:
    rest: Any = 1 - leverage
    return np.where(rest > CERTAIN, rest, np.nan)
