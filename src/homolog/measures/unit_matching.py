"""Units matched to units, by correlation, by span, or by the information they share."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy

from homolog.arrays import Array, constant_like, from_numpy, namespace, to_numpy
from homolog.gradients import TIE, smooth_unless
from homolog.linalg import at_most_one, thin_svd
from homolog.machine import optional
from homolog.measures.record import KORNBLITH_2019
from homolog.measures.registry import register
from homolog.operands.family import Invariances, undefined_where
from homolog.operands.histograms import HISTOGRAMS, Histograms
from homolog.operands.subspaces import root
from homolog.operands.unit_vectors import UNIT_VECTORS, UnitVectors
from homolog.operands.units import (
    ASSIGNMENTS,
    MAXIMA,
    NEURONS,
    Neurons,
    alive,
    assignments_tie,
    maxima_tie,
    weighted_correlations,
)

REFERENCE = "Li, Yosinski, Clune, Lipson & Hopcroft, ICLR 2016, arXiv:1511.07543"


@register(
    NEURONS,
    aliases=("hard_correlation_match",),
    kind="similarity",
    range=(-1.0, 1.0),
    formula="max over one-to-one assignments of the mean of c_ij",
    reference=REFERENCE,
    exceptions={"dead_units": "a dead unit correlates 0 even with itself, so f(x, x) < 1 for a layer that has one"},
)
def bipartite_match(
    x: Neurons, y: Neurons, correlations: Array
) -> Annotated[Array, "A unit that never varies counts as correlation 0, with a warning."]:
    """Mean correlation of units matched one to one.

    max_σ mean_i c_{iσ(i)} over one-to-one assignments of min(p, q) units, c the signed Pearson correlations.

    Cost O(n·p·q) and an assignment of O(min(p, q)²·max(p, q)). Invariant to permuting units and to a positive scale and
    shift of each unit; not to rotation. For a convolution the units are channels: extract with reduce="mean".

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.bipartite_match(x, x[:, ::-1])), 12)
    1.0
    """
    xp = namespace(correlations)
    rows, columns = scipy.optimize.linear_sum_assignment(to_numpy(correlations), maximize=True)
    flat = from_numpy(rows * correlations.shape[1] + columns, correlations)
    matched = xp.mean(xp.take(xp.reshape(correlations, (-1,)), flat, axis=0))
    matched = smooth_unless(matched, lambda: assignments_tie(x, y, to_numpy(correlations)), ASSIGNMENTS)
    return undefined_where(x.constant | y.constant, matched)


@register(
    NEURONS,
    kind="similarity",
    range=(-1.0, 1.0),
    symmetric=False,
    formula="mean_i max_j c_ij",
    reference=REFERENCE,
    exceptions={"dead_units": "a dead unit correlates 0 even with itself, so f(x, x) < 1 for a layer that has one"},
)
def semi_match(
    x: Annotated[Neurons, "every unit of which seeks its best match."], y: Neurons, correlations: Array
) -> Annotated[Array, "A unit that never varies counts as correlation 0, with a warning."]:
    """Mean over the units of x of their best correlation with a unit of y; a unit of y may serve many.

    mean_i max_j c_ij, c the signed Pearson correlations. **From x to y**: the two sides are not alike.

    Cost O(n·p·q). For a convolution the units are channels: extract with reduce="mean".

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.semi_match(x[:, :2], x)), 12)
    1.0
    """
    xp = namespace(correlations)
    best = xp.mean(xp.max(correlations, axis=1))
    best = smooth_unless(best, lambda: maxima_tie(x, y, to_numpy(correlations)), MAXIMA)
    return undefined_where(x.constant | y.constant, best)


_DEAD = "a dead unit correlates 0 even with itself, so f(x, x) < 1 for a layer that has one"


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
    reference=REFERENCE + "; Klabunde et al., ICLR 2025, arXiv:2408.00531",
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
    products = weighted_correlations(x, y, correlations)
    plan = from_numpy(transport(to_numpy(products)), products)
    p, q = products.shape
    matched = smooth_unless(xp.sum(plan * products), lambda: _plans_tie(x, y, to_numpy(products)), ASSIGNMENTS)
    return undefined_where(x.constant | y.constant, root(2 - 2 * (p * q) ** 0.5 * matched))


def _near(units: Array, others: Array, epsilon: float) -> np.ndarray:
    """Say which unit vectors lie within epsilon of the span of others."""
    xp = namespace(units)
    if 0 in (units.shape[1], others.shape[1]):
        return np.zeros(units.shape[1], dtype=bool)
    basis = thin_svd(others).u
    residual = units - basis @ (basis.T @ units)
    distance = xp.sqrt(xp.sum(residual**2, axis=0))
    # UnitVectors inside the span are within any epsilon, rounding or not.
    return to_numpy(distance <= epsilon + 1e-9)


def _columns(units: Array, flags: np.ndarray) -> Array:
    xp = namespace(units)
    kept = [units[:, int(i)] for i in np.flatnonzero(flags)]
    return xp.stack(kept, axis=1) if kept else units[:, :0]


@register(
    UNIT_VECTORS,
    kind="similarity",
    range=(0.0, 1.0),
    symmetric=True,
    invariances=Invariances(translation=""),
    formula="(|X*| + |Y*|) / (|X| + |Y|), X*, Y* the largest sets of units within ε of each other's span",
    reference="Wang, Hu, Gu, Hu, Wu, He & Hopcroft, NeurIPS 2018, arXiv:1810.11750",
    bounds={"epsilon": (0, 1)},
)
def maximum_match(
    x: UnitVectors,
    y: UnitVectors,
    shared: None,
    *,
    epsilon: Annotated[float, "largest relative residual of a matched unit, in (0, 1]."] = 0.3,
) -> Array:
    """Share of units in the largest ε-match: sets X*, Y* each unit of which lies within ε of the span of the other set.

    (|X*| + |Y*|) / (|X| + |Y|). A unit is its vector over the examples; its distance from a span is the relative residual
    ‖x − QQ^T x‖ / ‖x‖.

    The maximum match is unique: units outside ε are dropped from both sides until none is left outside. Nothing is centred, so
    that adding a constant to a unit changes the value. Cost O(n·(p + q)²) per round. Not differentiable.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> noise = np.random.default_rng(1).normal(size=(100, 5))
    >>> float(hl.maximum_match(x, np.hstack([x[:, :3] @ np.ones((3, 3)) + x[:, :3], noise])))  # 3 of 5 and 3 of 8
    0.46153846153846156
    """
    sides = [x.units, y.units]
    total = sum(units.shape[1] for units in sides)
    while True:
        # Both sides lose their unmatched units in the same round: the fixed point is the same, and neither side comes first.
        near = [_near(sides[k], sides[1 - k], epsilon) for k in (0, 1)]
        if all(flags.all() for flags in near):
            break
        sides = [_columns(units, flags) for units, flags in zip(sides, near, strict=True)]
    value = sum(units.shape[1] for units in sides) / max(total, 1)
    return undefined_where(x.constant | y.constant, constant_like(value, x.units))


@register(
    HISTOGRAMS,
    kind="similarity",
    range=(float("-inf"), float("inf")),
    symmetric=True,
    invariances=Invariances(),
    formula="max over one-to-one assignments of the mean of I(x_i; y_j) − (|X|−1)(|Y|−1)/(2n)",
    reference="Li, Yosinski, Clune, Lipson & Hopcroft, ICLR 2016; " + KORNBLITH_2019,
    exceptions={"optimum": "at identity it is the mean entropy of the binned units, at most log 10, less a bias"},
)
def neuron_mutual_information(
    x: Histograms, y: Histograms, information: np.ndarray
) -> Annotated[
    Array,
    "At most log 10 = 2.3; below 0 by chance for independent units. A unit that never varies shares no information.",
]:
    """Mean mutual information in nats of units matched one to one.

    max_σ mean_i I(x_i; y_σ(i)) over one-to-one assignments of min(p, q) units. I is the mutual information of units binned into
    10 bins of equal mass by rank, less the Miller-Madow bias (|X|−1)(|Y|−1)/(2n), |X| the number of occupied bins.

    Cost O(100·n·p·q). Equal values are never split between bins: a unit that is mostly 0 has one heavy bin. Unchanged by every
    increasing map of a unit. Not differentiable; computed on the host.

    >>> x = np.random.default_rng(0).normal(size=(1000, 3))
    >>> round(float(hl.neuron_mutual_information(x, np.exp(x[:, ::-1]))), 2)  # log 10 less the bias
    2.26
    """
    rows, columns = scipy.optimize.linear_sum_assignment(information, maximize=True)
    like = namespace(x.constant).astype(x.constant, namespace(x.constant).float64)
    return undefined_where(x.constant | y.constant, constant_like(float(information[rows, columns].mean()), like))
