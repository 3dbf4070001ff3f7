"""How well one representation predicts another, or both predict the same targets."""

from __future__ import annotations

from typing import Annotated

from homolog.arrays import Array, namespace, scalar
from homolog.linalg import at_most_one, squared_norm
from homolog.measures.record import KORNBLITH_2019
from homolog.measures.registry import register
from homolog.operands.family import Invariances
from homolog.operands.leave_one_out import regression_without_each
from homolog.operands.subspace import Overlap, Subspace, columns_times, shrunk, times, weighted_matrix, weighted_square
from homolog.operands.subspaces import PREDICTIONS, SUBSPACE, null_level_of_rank, root


def _linear_regression_null(target: Subspace, predictors: Subspace, overlap: Overlap) -> Array:
    return null_level_of_rank(predictors, predictors.rank)


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


def _leverages(u: Array, kept: Array) -> Array:
    """Diagonal of U · diag(kept) · U^T, or of U · kept · U^T."""
    xp = namespace(u)
    return xp.sum(u**2 * kept[None, :] if kept.ndim == 1 else (u @ kept) * u, axis=1)


@register(
    PREDICTIONS,
    kind="similarity",
    range=(float("-inf"), 1.0),
    symmetric=False,
    minimal_n=3,
    formula="1 − Σ_i ‖x_i − x̂_i‖² / Σ_i ‖x_i − x̄_i‖², x̂_i, x̄_i the ridge fit and the mean without example i",
    reference="Hoerl & Kennard, Technometrics 1970; Allen, Technometrics 1974 (leaving one out)",
    bounds={"regularization": (0, float("inf"))},
    exceptions={"optimum": "below 1 at identity: a ridge fit shrinks, and is judged on examples it has not seen"},
)
def linear_predictivity(
    target: Annotated[Subspace, "whose features are predicted."],
    predictors: Subspace,
    overlap: Overlap,
    *,
    regularization: Annotated[
        float, "of the ridge fit, against the mean squared singular value of the predictors."
    ] = 0.01,
) -> Annotated[Array, "0 for a fit no better than the mean, below 0 for a worse one."]:
    """Held-out R² of the target's features, predicted linearly from the predictors by ridge regression.

    1 − Σ_i ‖x_i − x̂_i‖² / Σ_i ‖x_i − x̄_i‖², where x̂_i is the ridge fit and x̄_i the mean of all examples but i: every
    example is left out once. **From predictors to target**: the two sides are not alike.

    Cost O(n·p·min(n, p)) per side, and O(n·r_x·r_y) per pair: all n fits follow from one decomposition. The honest counterpart
    of `linear_regression`, whose R² is that of the sample and rises with the number of predictors. Features are weighed by
    their variance.

    >>> x, y = np.random.default_rng(0).normal(size=(2, 60, 20))
    >>> round(float(hl.linear_regression(x, y)), 1), bool(hl.linear_predictivity(x, y) < 0)  # independent
    (0.3, True)
    """
    xp, n = namespace(overlap.matrix), target.n
    rows = columns_times(target.u, target.unit_spectrum)
    kept = shrunk(predictors.unit_spectrum, 1, regularization / predictors.rank)
    fitted = predictors.u @ weighted_matrix(kept, overlap.matrix.T, target.unit_spectrum)
    # What a fit without an example misses of it (Allen's PRESS); the mean is fitted too.
    leverage = _leverages(predictors.u, kept) + 1 / n
    missed = xp.sum((rows - fitted) ** 2, axis=1) / (1 - leverage) ** 2
    spread = xp.sum(rows**2, axis=1) / (1 - 1 / n) ** 2
    return 1 - xp.sum(missed) / xp.sum(spread)


@register(
    SUBSPACE,
    free_of_rank=True,
    kind="distance",
    range=(0.0, float("inf")),
    metric=True,
    formula="sqrt(tr (Σ_x Σ_xλ⁻¹)² + tr (Σ_y Σ_yλ⁻¹)² − 2 tr Σ_xλ⁻¹ Σ_xy Σ_yλ⁻¹ Σ_yx), Σ_λ = Σ + λI, tr Σ = 1",
    reference="Boix-Adserà, Lawrence, Stepaniants & Rigollet, NeurIPS 2022, arXiv:2210.06545",
    bounds={"regularization": (0, float("inf"))},
)
def gulp_distance(
    x: Subspace,
    y: Subspace,
    overlap: Overlap,
    *,
    regularization: Annotated[
        float, "λ > 0, against a total variance of 1. Towards 0 only the column spaces count: sqrt(r_x + r_y − 2 Σρ²)."
    ] = 0.01,
) -> Annotated[Array, "Below sqrt(r_x + r_y)."]:
    """How differently ridge regression predicts from two representations, on average over targets.

    sqrt(tr (Σ_x Σ_xλ⁻¹)² + tr (Σ_y Σ_yλ⁻¹)² − 2 tr Σ_xλ⁻¹ Σ_xy Σ_yλ⁻¹ Σ_yx): the expected squared difference of the two ridge
    fits to a random target. Σ are covariances, Σ_λ = Σ + λI, and each representation is scaled to tr Σ = 1.

    Cost O(n·p·min(n, p)) per side. Grows with the number of directions that λ leaves: compare values of one λ, and of layers
    alike in width.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.gulp_distance(x, x[:, :4], regularization=1e-9)), 6)  # one direction too many
    1.0
    """
    # Of a ridge fit each direction keeps this share.
    first, second = (shrunk(side.unit_spectrum, 1, regularization) for side in (x, y))
    shared = weighted_square(first, overlap.matrix, second)
    size = squared_norm(first) + squared_norm(second)
    return root(size - 2 * shared, scalar(size))
