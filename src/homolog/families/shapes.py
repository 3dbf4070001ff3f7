"""More readings of the overlap of the subspace family: shape metrics, Bures, GULP, and the overlap of eigenspaces."""

from __future__ import annotations

from typing import Annotated

from homolog.arrays import Array, constant_like, identity_like, machine_epsilon, namespace, scalar
from homolog.families.overlaps import Overlap, Subspace, between, shrunk, weighted_square
from homolog.families.subspace import ROUNDINGS, SUBSPACE, root
from homolog.gradients import CORNER, SAME, smooth_unless
from homolog.linalg import at_most_one, squared_norm
from homolog.registry import Invariances, register, when


def _cosine(overlap: Overlap, first: Array, second: Array) -> Array:
    """‖X^T Y‖_* / (‖X‖_F ‖Y‖_F) of X = U_X diag(first), Y = U_Y diag(second)."""
    xp = namespace(overlap.matrix)
    first, second = (side / xp.sqrt(squared_norm(side)) for side in (first, second))
    return at_most_one(overlap.nuclear_norm(between(first, overlap.matrix, second)))


def _whitened(side: Subspace, alpha: float) -> Array:
    """Singular values of the features of mean square 1, partly made equal."""
    xp = namespace(side.s)
    partly = alpha * side.unit_spectrum * xp.sqrt(constant_like(float(side.rank), side.s))
    return partly + (1 - alpha) * (1 if partly.ndim == 1 else identity_like(partly))


def _eigenspace_overlap_null(x: Subspace, y: Subspace, overlap: Overlap) -> Array:
    return constant_like(min(x.rank, y.rank) / (x.n - 1), x.s)


@register(
    SUBSPACE,
    free_of_rank=True,
    kind="similarity",
    range=(0.0, 1.0),
    formula="‖X^T Y‖_* / (‖X‖_F ‖Y‖_F)",
    reference="Bures, Transactions of the AMS 1969; Tang, Maddox, Dickens, Diethe & Damianou, arXiv:2003.11498",
)
def bures_similarity(x: Subspace, y: Subspace, overlap: Overlap) -> Array:
    """Normalised Bures similarity: the cosine of two representations after the best rotation.

    ‖X^T Y‖_* / (‖X‖_F ‖Y‖_F) of centred columns; the fidelity of the Gram matrices, tr (K^½ L K^½)^½ / sqrt(tr K · tr L).

    Cost O(n·p·min(n, p)) per side. A function of the Procrustes distance: 1 − d²/2. Weighs all directions by their standard
    deviation, where linear CKA weighs by variance; rises with the number of features, for independent data too.

    >>> x, y = np.random.default_rng(0).normal(size=(2, 100, 5))
    >>> round(float(hl.bures_similarity(x, y) + hl.procrustes_distance(x, y) ** 2 / 2), 12)
    1.0
    """
    return _cosine(overlap, x.spectrum, y.spectrum)


@register(
    SUBSPACE,
    free_of_rank=True,
    kind="distance",
    range=(0.0, float("inf")),
    metric=True,
    invariances=Invariances(orthogonal="xy", isotropic_scaling=""),
    formula="sqrt(‖X‖_F² + ‖Y‖_F² − 2‖X^T Y‖_*)",
    reference="Kendall, Bulletin of the LMS 1984; Williams, Kunz, Kornblith & Linderman, NeurIPS 2021, arXiv:2110.14739",
)
def size_and_shape_distance(
    x: Subspace, y: Subspace, overlap: Overlap
) -> Annotated[Array, "In the units of the features, growing with sqrt(n)."]:
    """Orthogonal Procrustes distance that keeps the size: what remains of y − x after the best rotation.

    min_Q ‖Y − XQ‖_F = sqrt(‖X‖_F² + ‖Y‖_F² − 2‖X^T Y‖_*) of centred X, Y, Q orthogonal.

    Cost O(n·p·min(n, p)) per side. `procrustes_distance` of representations of unit norm; here a layer of larger activations is
    far from all others. Below about 1e-7 of the norms it is rounding.

    >>> x = np.array([[1.0], [-1.0], [0.0]])
    >>> round(float(hl.size_and_shape_distance(x, 3 * x)), 12)  # ‖3x − x‖ = 2·sqrt 2
    2.828427124746
    """
    xp = namespace(overlap.matrix)
    sizes = [xp.sqrt(squared_norm(side.spectrum)) * side.scale for side in (x, y)]
    larger = xp.maximum(*sizes)
    first, second = (size / larger for size in sizes)
    apart = 1 - _cosine(overlap, x.spectrum, y.spectrum)
    # As many roundings as there are singular values stand for nothing.
    apart = xp.where(apart > 16 * x.n * machine_epsilon(x.s), apart, xp.zeros_like(apart))
    return larger * root((first - second) ** 2 + 2 * first * second * apart, roundings=0)


@register(
    SUBSPACE,
    free_of_rank=True,
    kind="distance",
    range=(0.0, 1.5707963267948966),
    metric=True,
    formula="arccos(‖X̃^T Ỹ‖_* / (‖X̃‖_F ‖Ỹ‖_F)), X̃ = X (αI + (1−α)(X^T X / r)^(-1/2))",
    reference="Williams, Kunz, Kornblith & Linderman, NeurIPS 2021, arXiv:2110.14739",
    bounds={"alpha": (0.0, 1.0)},
    closed=("alpha",),
    variants=(when("alpha", 0.0, free_of_rank=False),),  # which is CCA
)
def angular_shape_distance(
    x: Subspace,
    y: Subspace,
    overlap: Overlap,
    *,
    alpha: Annotated[float, "1 compares by Procrustes, 0 whitens first and compares by CCA."] = 1.0,
) -> Annotated[Array, "In radians."]:
    """Angle between two representations after the best rotation, with partial whitening.

    arccos(‖X̃^T Ỹ‖_* / (‖X̃‖_F ‖Ỹ‖_F)), X̃ = U (α S + (1−α) I) of centred X = U S V^T whose singular values have mean square 1.

    Cost O(n·p·min(n, p)) per side. A metric for every alpha; with alpha=0 invariant to invertible linear maps too. Singular
    values are brought to mean square 1 before whitening, so that scaling changes nothing for any alpha. An angle
    below about 1e-7 is rounding, and given as 0.

    >>> x, y = np.random.default_rng(0).normal(size=(2, 100, 5))
    >>> bool(np.isclose(np.cos(hl.angular_shape_distance(x, y)), hl.bures_similarity(x, y)))
    True
    """
    xp = namespace(overlap.matrix)
    cosine = _cosine(overlap, _whitened(x, alpha), _whitened(y, alpha))
    # Near 1 a cosine changes by the square of the angle, of which rounding leaves nothing.
    nothing = ROUNDINGS * machine_epsilon(x.s)
    inside = ~(1 - cosine <= nothing)
    angle = xp.where(inside, xp.acos(xp.where(inside, cosine, xp.zeros_like(cosine))), xp.zeros_like(cosine))
    return smooth_unless(angle, lambda: scalar(1 - cosine) <= max(CORNER, nothing), SAME, overlap.matrix)


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
