"""Subspace family: everything that is a function of the overlap C = U_X^T U_Y and of S_X, S_Y, V_X, V_Y.

One thin SVD per representation, one small product per pair; CCA, SVCCA, PWCCA, linear regression and the Procrustes
distance are the last line (Kornblith et al. 2019, section 3 and appendix C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Annotated, Any, Literal

import numpy as np

from homolog.arrays import Array, carries_gradient, constant_like, detached, machine_epsilon, namespace, scalar
from homolog.cautions import Caution, constant_layers, cut_ties, dropped_directions, saturation
from homolog.families.blocked import plan_pairs
from homolog.families.canonical import smooth_pwcca
from homolog.families.overlaps import Overlap, Subspace, between, meet, prepare, reorder, times
from homolog.families.summaries import SubspaceRows
from homolog.families.without import cca_without_each, regression_without_each
from homolog.family import Cost, Family, OnDisk
from homolog.gradients import CORNER, SAME, smooth_unless
from homolog.linalg import at_most_one, settle_ties, squared_norm
from homolog.registry import KORNBLITH_2019, Invariances, register, when

Statistic = Annotated[Literal["r2", "rho"], '"r2" (mean squared correlation) or "rho" (mean correlation).']


def examine(operands: Mapping[str, Subspace], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and the pairs where correlations of 1 are forced (Theorem 1)."""
    found = constant_layers([label for label, operand in operands.items() if bool(operand.constant)])
    n = next(iter(operands.values())).n
    wholly = [label for label, operand in operands.items() if operand.rank >= n - 1]
    partly = [
        f"{a} and {b}"
        for a, b in pairs
        if operands[a].rank + operands[b].rank > n - 1
        and a not in wholly
        and b not in wholly
        and operands[a] is not operands[b]
    ]
    cut = [label for label, operand in operands.items() if operand.cut]
    return found + dropped_directions(cut) + saturation(partly, wholly, n)


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return floating-point operations (decompositions by QR, then overlaps and their decompositions) and bytes."""
    n = shapes[0][0]
    ranks = np.array([min(shape) for shape in shapes], dtype=float)
    flops = sum(4.0 * n * p * min(n, p) + 22.0 * min(n, p) ** 3 for _, p in shapes)
    i, j = np.nonzero(np.triu(needed | needed.T))
    overlaps = np.sum(2.0 * n * ranks[i] * ranks[j] + 10.0 * ranks[i] * ranks[j] * np.minimum(ranks[i], ranks[j]))
    held = 8 * int(sum((n + p + 1) * min(n, p) for _, p in shapes))
    width, rank = max(p for _, p in shapes), int(ranks.max())
    return Cost(flops + float(overlaps), held, 32 * n * width + 48 * rank**2, 64 * rank**2)


def nan_at_rank_zero(finish: Callable[..., Array]) -> Callable[..., Array]:
    """Give NaN where a side is constant, and has no column space."""

    @wraps(finish)
    def guarded(x: Subspace, y: Subspace, overlap: Overlap, **options: Any) -> Array:
        if 0 in overlap.matrix.shape:
            return constant_like(float("nan"), overlap.matrix)
        return finish(x, y, overlap, **options)

    return guarded


SUBSPACE = Family(
    "subspace",
    prepare,
    meet,
    Overlap.swapped,
    examine,
    guard=nan_at_rank_zero,
    rank=lambda operand: operand.rank,
    cost=cost,
    host=True,
    reorder=reorder,
    float32="as given",
    on_disk=OnDisk(
        # Columns, Gram matrix, and whitened rows.
        partial(plan_pairs, mapped=True, passes=3, needs=lambda n, p: 56 * p * p + (8 << 20) if p < n else 40 * n * p),
        summarise=SubspaceRows,
        meet=Overlap,
    ),
    record={"symmetric": True, "differentiable": True, "invariances": Invariances(orthogonal="xy")},
)


ROUNDINGS = 32
"""Of a difference of two numbers no more than so many roundings of them stands for nothing."""


def root(squared: Array, size: float = 1.0, roundings: int = ROUNDINGS) -> Array:
    """Return a distance from its square, 0 where that is rounding; `size` is what the square is a difference of."""
    xp = namespace(squared)
    nothing = roundings * machine_epsilon(squared) * size
    positive = ~(squared <= nothing)
    found = xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))
    return smooth_unless(found, lambda: scalar(squared) <= max(CORNER * size, nothing), SAME, squared)


def _mean(overlap: Overlap, statistic: Statistic) -> Array:
    """Mean of the canonical correlations, or of their squares, which need no decomposition."""
    matrix = overlap.matrix
    if statistic == "r2":
        total = squared_norm(matrix)
    elif carries_gradient(matrix):
        total = overlap.nuclear_norm(matrix)
    else:
        total = namespace(matrix).sum(overlap.correlations)
    return at_most_one(total / min(matrix.shape))


def _leading(side: Subspace, threshold: float) -> Subspace:
    """Return the leading components, with the gradient of the space they span."""
    kept = side.kept(threshold)
    return replace(side, u=side.u[:, :kept] if side.whole is None else side.whole.leading(kept)[0])


def _cca_null(x: Subspace, y: Subspace, overlap: Overlap, *, statistic: Statistic) -> Array | None:
    if statistic != "r2":
        return None
    return _null_level(x, max(x.rank, y.rank))


def _svcca_null(x: Subspace, y: Subspace, overlap: Overlap, *, threshold: float, statistic: Statistic) -> Array | None:
    if statistic != "r2" or 0 in (x.rank, y.rank):
        return None
    return _null_level(x, max(x.kept(threshold), y.kept(threshold)))


def _svcca_caution(operands: Mapping[str, Subspace], *, threshold: float, statistic: Statistic) -> list[Caution]:
    return cut_ties([label for label, operand in operands.items() if operand.splits_tie(threshold)], threshold)


def _null_level(x: Subspace, rank: int) -> Array:
    return constant_like(min(rank / (x.n - 1), 1.0), x.s)


def _linear_regression_null(target: Subspace, predictors: Subspace, overlap: Overlap) -> Array:
    return _null_level(predictors, predictors.rank)


@register(
    SUBSPACE,
    null=_cca_null,
    without_each=cca_without_each,
    kind="similarity",
    range=(0.0, 1.0),
    invariances=Invariances(invertible_linear="xy", orthogonal="xy"),
    formula="‖Q_Y^T Q_X‖_F² / min(r_x, r_y)",
    reference="Hotelling, Biometrika 1936; " + KORNBLITH_2019,
    variants=(when("statistic", "rho", formula="‖Q_Y^T Q_X‖_* / min(r_x, r_y)"),),
)
def cca(x: Subspace, y: Subspace, overlap: Overlap, *, statistic: Statistic = "r2") -> Array:
    """Canonical correlation analysis: the mean squared (or mean) canonical correlation.

    "r2": ‖Q_Y^T Q_X‖_F² / min(r_x, r_y); "rho": ‖Q_Y^T Q_X‖_* / min(r_x, r_y), with Q orthonormal bases of the centred
    column spaces and r their numerical ranks.

    Cost O(n·p·min(n, p)) per side. Invariant to every invertible linear map of either side, hence always 1 once a rank
    reaches n − 1: a SaturationWarning says where correlations of 1 are forced. Directions with less than 1e-6 of the
    largest singular value are left out, with a RankWarning where they are more than rounding.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> mixing = np.random.default_rng(1).normal(size=(5, 5))
    >>> round(float(hl.cca(x, x @ mixing)), 12)
    1.0
    """
    return _mean(overlap, statistic)


@register(
    SUBSPACE,
    null=_svcca_null,
    caution=_svcca_caution,
    kind="similarity",
    range=(0.0, 1.0),
    formula="‖(U_Y T_Y)^T U_X T_X‖_F² / min(‖T_X‖_F², ‖T_Y‖_F²)",
    reference="Raghu, Gilmer, Yosinski & Sohl-Dickstein, NeurIPS 2017; " + KORNBLITH_2019,
    bounds={"threshold": (0.0, 1.0)},
    variants=(when("statistic", "rho", formula="‖(U_Y T_Y)^T U_X T_X‖_* / min(‖T_X‖_F², ‖T_Y‖_F²)"),),
)
def svcca(
    x: Subspace,
    y: Subspace,
    overlap: Overlap,
    *,
    threshold: Annotated[float, "fraction of the variance to keep, above 0 and at most 1."] = 0.99,
    statistic: Statistic = "r2",
) -> Array:
    """Singular vector CCA: CCA of the leading principal components of each side.

    ‖(U_Y T_Y)^T U_X T_X‖_F² / min(‖T_X‖_F², ‖T_Y‖_F²) for "r2", the nuclear norm on top for "rho"; T keeps the leading
    components that explain `threshold` of the variance.

    Cost O(n·p·min(n, p)) per side. Invariant to an invertible linear map only if it keeps the same leading subspace. Where the
    threshold keeps some of several components of equal variance, the order of the features decides which: a TiesWarning says so.
    There, and where components explain exactly the threshold, the value jumps and has no gradient.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.svcca(x, -2 * x)), 12)
    1.0
    """
    if carries_gradient(overlap.matrix):
        overlap = meet(_leading(x, threshold), _leading(y, threshold))
        reason = "singular values tie, or explain exactly the threshold, where components are left out"
        value = _mean(overlap, statistic)
        return smooth_unless(value, lambda: x.jumps(threshold) or y.jumps(threshold), reason, overlap.matrix)
    return _mean(Overlap(overlap.matrix[: x.kept(threshold), : y.kept(threshold)]), statistic)


def _weighted_by_projections(x: Subspace, overlap: Overlap) -> Array:
    xp = namespace(overlap.matrix)
    left, correlations, _ = overlap.svd
    directions = settle_ties(left, correlations, x.s)
    # α_i = Σ_j |⟨h_i, x_j⟩| with h_i = U_X p_i and x_j the columns of X = U S V^T.
    projections = (directions.T * x.s[None, :]) @ x.v.T
    weights = xp.sum(xp.abs(projections), axis=1)
    return at_most_one(xp.sum(weights * correlations) / xp.sum(weights))


@register(
    SUBSPACE,
    leads=True,
    kind="similarity",
    range=(0.0, 1.0),
    symmetric=False,
    invariances=Invariances(invertible_linear="y", orthogonal="y"),
    formula="Σ α_i ρ_i / Σ α_i, α_i = Σ_j |⟨h_i, x_j⟩|",
    reference="Morcos, Raghu & Bengio, NeurIPS 2018; " + KORNBLITH_2019,
)
def pwcca(
    x: Annotated[Subspace, "the side whose canonical variables and features give the weights."],
    y: Subspace,
    overlap: Overlap,
) -> Array:
    """Projection-weighted CCA: canonical correlations weighted by how much of x they account for.

    Σ α_i ρ_i / Σ α_i with α_i = Σ_j |⟨h_i, x_j⟩|, h_i the canonical variables of x, over the min(r_x, r_y) canonical
    directions. **Weighted by x**: the two sides are not alike.

    Cost O(n·p·min(n, p)) per side. Where correlations tie, canonical variables are not unique; the ones along x's
    principal axes are taken, so that the value is a function of x and y; there it has no gradient (NaN, with a
    GradientWarning), unless the correlations are 1 because the two ranks exceed n − 1.
    Rotating x changes the value; no invertible map of y does.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.pwcca(x, x + 5)), 12)
    1.0
    """
    if carries_gradient(overlap.matrix):
        return smooth_pwcca(x, overlap, _weighted_by_projections(x, Overlap(detached(overlap.matrix))))
    return _weighted_by_projections(x, overlap)


@register(
    SUBSPACE,
    null=_linear_regression_null,
    without_each=regression_without_each,
    kind="similarity",
    range=(0.0, 1.0),
    symmetric=False,
    invariances=Invariances(invertible_linear="y", orthogonal="xy"),
    formula="‖Q_Y^T X‖_F² / ‖X‖_F²",
    reference=KORNBLITH_2019,
)
def linear_regression(
    target: Annotated[Subspace, "the features that are fitted."], predictors: Subspace, overlap: Overlap
) -> Array:
    """Share of the target's variance that a linear fit from the predictors explains (R²).

    ‖Q_Y^T X‖_F² / ‖X‖_F², X the centred target and Q_Y an orthonormal basis of the centred predictors.

    Cost O(n·p·min(n, p)) per side. In-sample: 1 for any data once the predictors' rank reaches n − 1. Directions of
    the predictors with less than 1e-6 of the largest singular value are left out, with a RankWarning.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.linear_regression(x[:, :2], x)), 12)
    1.0
    """
    xp = namespace(overlap.matrix)
    if target.core is not None:
        return at_most_one(squared_norm(times(target.unit_spectrum, overlap.matrix)))
    explained = xp.sum(overlap.matrix**2, axis=1)
    return at_most_one(xp.sum(target.weights**2 * explained))


@register(
    SUBSPACE,
    free_of_rank=True,
    kind="distance",
    range=(0.0, 2.0**0.5),
    formula="sqrt(2 − 2‖X^T Y‖_*), ‖X‖_F = ‖Y‖_F = 1",
    reference="Schönemann, Psychometrika 1966; Williams, Kunz, Kornblith & Linderman, NeurIPS 2021",
    metric=True,
)
def procrustes_distance(
    x: Subspace, y: Subspace, overlap: Overlap
) -> Annotated[Array, "0 is identical up to rotation, scale and translation."]:
    """Orthogonal Procrustes distance: what remains of y − x after the best rotation and scale.

    min_Q ‖Y − XQ‖_F = sqrt(2 − 2‖X^T Y‖_*) for centred X, Y of unit Frobenius norm, Q orthogonal (the narrower side
    padded with zero columns).

    Cost O(n·p·min(n, p)) per side. A square root of a difference from 2, so values below about 1e-7 are rounding, and there
    the gradient is NaN, with a GradientWarning: a distance has a corner at 0.

    >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> y = np.array([[1.0], [-1.0], [0.0], [0.0]])
    >>> round(float(hl.procrustes_distance(x, y)) ** 2, 12) == round(2 - 2 * 0.5**0.5, 12)
    True
    """
    return root(2 - 2 * overlap.nuclear_norm(between(x.unit_spectrum, overlap.matrix, y.unit_spectrum)))
