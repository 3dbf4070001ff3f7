"""What the canonical correlations of two representations say: CCA, SVCCA, PWCCA, and the road from CCA to CKA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from homolog.arrays import Array, carries_gradient, constant_like, count, detached, identity_like, namespace
from homolog.diagnostics import Caution
from homolog.gradients import moved, smooth_unless
from homolog.linalg import at_most_one, squared_norm, unique_directions
from homolog.measures.record import KORNBLITH_2019, when
from homolog.measures.registry import register
from homolog.operands.canonical import CERTAIN, smooth_pwcca
from homolog.operands.family import Invariances
from homolog.operands.leave_one_out import cca_without_each
from homolog.operands.subspace import Overlap, Subspace, shrunk, weighted_square
from homolog.operands.subspaces import SUBSPACE, null_level_of_rank
from homolog.warning_sentences import cut_ties

Statistic = Annotated[Literal["r2", "rho"], '"r2" (mean squared correlation) or "rho" (mean correlation).']


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
    return null_level_of_rank(x, max(x.rank, y.rank))


def _svcca_null(x: Subspace, y: Subspace, overlap: Overlap, *, threshold: float, statistic: Statistic) -> Array | None:
    if statistic != "r2" or 0 in (x.rank, y.rank):
        return None
    return null_level_of_rank(x, max(x.kept(threshold), y.kept(threshold)))


def _svcca_caution(operands: Mapping[str, Subspace], *, threshold: float, statistic: Statistic) -> list[Caution]:
    return cut_ties([label for label, operand in operands.items() if operand.splits_tie(threshold)], threshold)


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
        overlap = SUBSPACE.meet(_leading(x, threshold), _leading(y, threshold))
        reason = "singular values tie, or explain exactly the threshold, where components are left out"
        value = _mean(overlap, statistic)
        return smooth_unless(value, lambda: x.jumps(threshold) or y.jumps(threshold), reason, overlap.matrix)
    return _mean(Overlap(overlap.matrix[: x.kept(threshold), : y.kept(threshold)]), statistic)


def _weighted_by_projections(x: Subspace, overlap: Overlap) -> Array:
    xp = namespace(overlap.matrix)
    left, correlations, _ = overlap.svd
    directions = unique_directions(left, correlations, x.s)
    # α_i = Σ_j |⟨h_i, x_j⟩| with h_i = U_X p_i and x_j the columns of X = U S V^T.
    projections = (directions.T * x.s[None, :]) @ x.v.T
    weights = xp.sum(xp.abs(projections), axis=1)
    return at_most_one(xp.sum(weights * correlations) / xp.sum(weights))


@register(
    SUBSPACE,
    decomposes_first=True,
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


def _shrunk(side: Subspace, regularization: float) -> Array:
    """Squared singular values of Q̃ = U S (S² + κI)^(-1/2), times κ where that is large: neither end of κ underflows."""
    if regularization > 1:
        return shrunk(side.unit_spectrum, side.rank / regularization, 1)
    return shrunk(side.unit_spectrum, 1, regularization / side.rank)


def _log_volume(matrix: Array) -> Array:
    """−½ log det(I − CC^T): the same as a function of C whose correlations may tie."""
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return -0.5 * namespace(matrix).linalg.slogdet(identity_like(matrix) - matrix @ matrix.T)[1]


@register(
    SUBSPACE,
    free_of_rank=True,
    kind="similarity",
    range=(0.0, 1.0),
    formula="‖Q̃_Y^T Q̃_X‖_F² / (‖Q̃_X^T Q̃_X‖_F ‖Q̃_Y^T Q̃_Y‖_F), Q̃ = U S (S² + κI)^(-1/2)",
    reference=KORNBLITH_2019 + ", appendix D.1; Vinod, Journal of Econometrics 1976",
    bounds={"regularization": (0, float("inf"))},
)
def canonical_ridge(
    x: Subspace,
    y: Subspace,
    overlap: Overlap,
    *,
    regularization: Annotated[float, "κ as a fraction of the mean squared singular value, above 0."] = 1.0,
) -> Array:
    """Regularised CCA as a similarity of structures: one family that runs from CCA to linear CKA.

    CKA of the Gram matrices Q̃Q̃^T, with Q̃ = U S (S² + κI)^(-1/2) of centred X = U S V^T and κ = regularization × the mean of
    S². Towards 0 it is R²_CCA · sqrt(r_x / r_y), r_x <= r_y (R²_CCA for equal ranks); towards ∞ it is linear CKA.

    Cost O(n·p·min(n, p)) per side. The smaller the regularization, the more directions of little variance count.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> y = x @ np.diag([9.0, 3.0, 1.0, 1.0, 1.0])
    >>> [round(float(hl.canonical_ridge(x, y, regularization=k)), 2) for k in (1e-9, 1.0, 1e9)]
    [1.0, 0.65, 0.46]
    """
    first, second = (_shrunk(side, regularization) for side in (x, y))
    xp = namespace(overlap.matrix)
    shared = weighted_square(first, overlap.matrix, second)
    return at_most_one(shared / xp.sqrt(squared_norm(first)) / xp.sqrt(squared_norm(second)))


@register(
    SUBSPACE,
    kind="similarity",
    range=(0.0, float("inf")),
    invariances=Invariances(invertible_linear="xy", orthogonal="xy"),
    formula="−½ Σ log(1 − ρ_i²)",
    reference=KORNBLITH_2019 + "; Cover & Thomas, Elements of Information Theory",
    exceptions={"optimum": "infinite at identity", "infinite": "+inf once a canonical correlation is 1"},
)
def gaussian_mutual_information(
    x: Subspace, y: Subspace, overlap: Overlap
) -> Annotated[
    Array, "In nats: +inf once a correlation exceeds 1 − 1e-12, as at identity or where the ranks saturate."
]:
    """Mutual information of two representations in nats, were they jointly Gaussian.

    −½ Σ_i log(1 − ρ_i²) over the canonical correlations ρ_i.

    Cost O(n·p·min(n, p)) per side. Mutual information is unchanged by every invertible map, which is why the paper rejects
    it as a similarity of whole representations.

    >>> x = np.random.default_rng(0).normal(size=(100, 1))
    >>> y = x + np.random.default_rng(1).normal(size=(100, 1))
    >>> rho = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
    >>> bool(np.isclose(hl.gaussian_mutual_information(x, y), -0.5 * np.log(1 - rho**2)))
    True
    """
    xp = namespace(overlap.matrix)
    correlations = (
        Overlap(detached(overlap.matrix)).correlations if carries_gradient(overlap.matrix) else overlap.correlations
    )
    certain = correlations > CERTAIN
    safe = xp.where(certain, xp.zeros_like(correlations), correlations)
    information = -0.5 * xp.sum(xp.log1p(-(safe**2)))
    if carries_gradient(overlap.matrix):
        information = information + moved(_log_volume(overlap.matrix))
        reason = "a canonical correlation is 1, where the information is infinite"
        information = smooth_unless(information, lambda: count(certain) > 0, reason)
    return xp.where(xp.any(certain), float("inf") + 0 * information, information)


def _eigenspace_overlap_null(x: Subspace, y: Subspace, overlap: Overlap) -> Array:
    return constant_like(min(x.rank, y.rank) / (x.n - 1), x.s)


@register(
    SUBSPACE,
    null=_eigenspace_overlap_null,
    kind="similarity",
    range=(0.0, 1.0),
    invariances=Invariances(invertible_linear="xy", orthogonal="xy"),
    formula="‖Q_Y^T Q_X‖_F² / max(r_x, r_y)",
    reference="May, Zhang, Dao & Ré, NeurIPS 2019, arXiv:1909.01264",
)
def eigenspace_overlap(
    x: Subspace, y: Subspace, overlap: Overlap
) -> Annotated[Array, "min(r_x, r_y) / (n − 1) for independent data."]:
    """Overlap of the column spaces, as a share of the larger.

    ‖Q_Y^T Q_X‖_F² / max(r_x, r_y), Q orthonormal bases of the centred column spaces and r their numerical ranks.

    Cost O(n·p·min(n, p)) per side. R²_CCA · min(r_x, r_y) / max(r_x, r_y): 1 only where neither space holds more than the
    other. Saturates like `cca` when features outnumber examples.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.eigenspace_overlap(x, x[:, :2])), 12)
    0.4
    """
    return at_most_one(squared_norm(overlap.matrix) / max(overlap.matrix.shape))
