"""Two more readings of the overlap of the subspace family: the road from CCA to CKA, and Gaussian mutual information."""

from __future__ import annotations

from typing import Annotated

from homolog.arrays import Array, carries_gradient, count, detached, identity_like, namespace
from homolog.families.canonical import CERTAIN
from homolog.families.overlaps import Overlap, Subspace, shrunk, weighted_square
from homolog.families.subspace import SUBSPACE
from homolog.gradients import moved, smooth_unless
from homolog.linalg import at_most_one, squared_norm
from homolog.registry import KORNBLITH_2019, Invariances, register


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
