"""More matches of units to units: soft correlation match, and distances by permutation and by transport."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy

from homolog.arrays import Array, from_numpy, namespace, optional, to_numpy
from homolog.families.neurons import (
    ASSIGNMENTS,
    MAXIMA,
    NEURONS,
    Neurons,
    alive,
    assignments_tie,
    maxima_tie,
)
from homolog.families.neurons import REFERENCE as LI_2016
from homolog.families.subspace import root
from homolog.gradients import TIE, smooth_unless
from homolog.linalg import at_most_one
from homolog.registry import register, undefined_where

_DEAD = "a dead unit correlates 0 even with itself, so f(x, x) < 1 for a layer that has one"


def _products(x: Neurons, y: Neurons, correlations: Array) -> Array:
    """X^T Y of centred columns and unit Frobenius norms."""
    return x.weights[:, None] * correlations * y.weights[None, :]


def _plans_tie(x: Neurons, y: Neurons, gain: np.ndarray) -> bool:
    """Say whether several plans are best, of units that vary."""
    if gain.shape[0] == gain.shape[1]:
        return assignments_tie(x, y, gain)
    change = TIE * np.random.default_rng(0).random(gain.shape)
    one, other = (transport(changed)[alive(x)][:, alive(y)] for changed in (gain + change, gain - change))
    return bool(np.any(np.abs(one - other) > TIE))


def transport(gain: np.ndarray) -> np.ndarray:
    """Return the plan T >= 0 of largest Σ T·gain whose rows sum to 1/p and columns to 1/q."""
    p, q = gain.shape
    if p == q:
        # The extreme plans are the permutations.
        rows, columns = scipy.optimize.linear_sum_assignment(gain, maximize=True)
        plan = np.zeros((p, q))
        plan[rows, columns] = 1 / p
        return plan
    exact: np.ndarray = optional("ot.lp", "transport", "soft matching of layers that differ in width").emd(
        np.full(p, 1 / p), np.full(q, 1 / q), gain.max() - gain, numItermax=10_000_000
    )
    return exact


@register(
    NEURONS,
    kind="similarity",
    range=(-1.0, 1.0),
    formula="(mean_i max_j c_ij + mean_j max_i c_ij) / 2",
    reference=LI_2016 + "; Klabunde et al., ICLR 2025, arXiv:2408.00531",
    exceptions={"dead_units": _DEAD},
)
def soft_correlation_match(
    x: Neurons, y: Neurons, correlations: Array
) -> Annotated[Array, "A unit that never varies counts as correlation 0, with a warning."]:
    """Mean over the units of both sides of their best correlation with a unit of the other.

    (mean_i max_j c_ij + mean_j max_i c_ij) / 2, c the signed Pearson correlations: `semi_match` both ways.

    Cost O(n·p·q). The best of many correlations is high by chance: with few examples look at a permutation test.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.soft_correlation_match(x, x[:, ::-1])), 12)
    1.0
    """
    xp = namespace(correlations)
    both = [xp.mean(xp.max(correlations, axis=axis)) for axis in (1, 0)]
    value = smooth_unless(
        at_most_one((both[0] + both[1]) / 2),
        lambda: maxima_tie(x, y, to_numpy(correlations)) or maxima_tie(y, x, to_numpy(correlations).T),
        MAXIMA,
    )
    return undefined_where(x.constant | y.constant, value)


@register(
    NEURONS,
    kind="distance",
    range=(0.0, 2.0),
    metric=True,
    formula="min over permutations P of ‖X/‖X‖_F − (Y/‖Y‖_F) P‖_F",
    reference="Williams, Kunz, Kornblith & Linderman, NeurIPS 2021, arXiv:2110.14739",
)
def permutation_procrustes_distance(x: Neurons, y: Neurons, correlations: Array) -> Array:
    """Distance of two representations after the best reordering of units.

    min_P ‖X − YP‖_F over permutations of units, of centred columns and unit Frobenius norms; the narrower side is padded with
    zeros.

    Cost O(n·p·q) and an assignment. Never below `procrustes_distance`, which may rotate: their difference says how much the
    basis matters. Units that no unit of the narrower side is matched to count whole.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> float(hl.permutation_procrustes_distance(x, 3 * x[:, ::-1]) < 1e-7)
    1.0
    """
    xp = namespace(correlations)
    products = _products(x, y, correlations)
    rows, columns = scipy.optimize.linear_sum_assignment(to_numpy(products), maximize=True)
    flat = from_numpy(rows * products.shape[1] + columns, products)
    matched = xp.sum(xp.take(xp.reshape(products, (-1,)), flat, axis=0))
    matched = smooth_unless(matched, lambda: assignments_tie(x, y, to_numpy(products)), ASSIGNMENTS)
    return undefined_where(x.constant | y.constant, root(2 - 2 * matched))


@register(
    NEURONS,
    kind="distance",
    range=(0.0, 2.0),
    metric=True,
    formula="sqrt(min_T Σ T_ij ‖x_i − y_j‖²), T >= 0 with row sums 1/p and column sums 1/q",
    reference="Khosla & Williams, UniReps 2023, arXiv:2311.09466",
)
def soft_matching_distance(
    x: Neurons, y: Neurons, correlations: Array
) -> Annotated[
    Array,
    "For p = q that of `permutation_procrustes_distance`. Layers that differ in width need the extra `transport` (POT), else "
    "an ImportError.",
]:
    """Distance of two sets of units by optimal transport: units may be matched in parts, whatever the widths.

    sqrt(min_T Σ_ij T_ij ‖x_i − y_j‖²) over T >= 0 with row sums 1/p and column sums 1/q, of centred columns whose mean square
    norm is 1.

    Cost O(n·p·q) and an exact transport plan. Khosla & Williams do not fix the scale; here each side is scaled as in
    `procrustes_distance`. A unit that is copied in equal shares stays matched, where a permutation would leave copies over.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> float(hl.soft_matching_distance(x, np.hstack([x, x])) < 1e-7)  # every unit twice
    1.0
    """
    xp = namespace(correlations)
    products = _products(x, y, correlations)
    plan = from_numpy(transport(to_numpy(products)), products)
    p, q = products.shape
    matched = smooth_unless(xp.sum(plan * products), lambda: _plans_tie(x, y, to_numpy(products)), ASSIGNMENTS)
    return undefined_where(x.constant | y.constant, root(2 - 2 * (p * q) ** 0.5 * matched))
