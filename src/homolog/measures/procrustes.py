"""Distances that remain after the best rotation or permutation, and the cosines of single examples after it."""

from __future__ import annotations

from typing import Annotated

import scipy

from homolog.arrays import (
    Array,
    carries_gradient,
    constant_like,
    count,
    from_numpy,
    identity_like,
    machine_epsilon,
    namespace,
    scalar,
    to_numpy,
)
from homolog.gradients import CORNER, SAME, polar_factor, smooth_unless
from homolog.linalg import at_most_one, squared_norm
from homolog.measures.record import when
from homolog.measures.registry import register
from homolog.operands.family import Invariances, undefined_where
from homolog.operands.subspace import Overlap, Subspace, columns_times, weighted_matrix
from homolog.operands.subspaces import PREDICTIONS, ROUNDINGS, SUBSPACE, root
from homolog.operands.units import ASSIGNMENTS, NEURONS, Neurons, assignments_tie, weighted_correlations


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
    return root(2 - 2 * overlap.nuclear_norm(weighted_matrix(x.unit_spectrum, overlap.matrix, y.unit_spectrum)))


def _cosine(overlap: Overlap, first: Array, second: Array) -> Array:
    """‖X^T Y‖_* / (‖X‖_F ‖Y‖_F) of X = U_X diag(first), Y = U_Y diag(second)."""
    xp = namespace(overlap.matrix)
    first, second = (side / xp.sqrt(squared_norm(side)) for side in (first, second))
    return at_most_one(overlap.nuclear_norm(weighted_matrix(first, overlap.matrix, second)))


def _whitened(side: Subspace, alpha: float) -> Array:
    """Singular values of the features of mean square 1, partly made equal."""
    xp = namespace(side.s)
    partly = alpha * side.unit_spectrum * xp.sqrt(constant_like(float(side.rank), side.s))
    return partly + (1 - alpha) * (1 if partly.ndim == 1 else identity_like(partly))


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
    products = weighted_correlations(x, y, correlations)
    rows, columns = scipy.optimize.linear_sum_assignment(to_numpy(products), maximize=True)
    flat = from_numpy(rows * products.shape[1] + columns, products)
    matched = xp.sum(xp.take(xp.reshape(products, (-1,)), flat, axis=0))
    matched = smooth_unless(matched, lambda: assignments_tie(x, y, to_numpy(products)), ASSIGNMENTS)
    return undefined_where(x.constant | y.constant, root(2 - 2 * matched))


@register(
    PREDICTIONS,
    kind="similarity",
    range=(-1.0, 1.0),
    formula="mean_i cos(x_i Q, y_i), Q = argmin ‖XQ − Y‖_F over rotations",
    reference="Hamilton, Leskovec & Jurafsky, ACL 2016, arXiv:1605.09096",
)
def aligned_cosine(x: Subspace, y: Subspace, overlap: Overlap) -> Array:
    """Mean cosine of corresponding rows after the best rotation.

    mean_i cos(x_i Q, y_i), with Q the orthogonal matrix that brings centred X nearest to centred Y; the narrower side is padded
    with zeros.

    Cost O(n·p·min(n, p)) per side, O(n·r_x·r_y) per pair. Every example counts alike, however long its row; rows at the mean
    are left out. Rises with the number of features, for independent data too.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    >>> round(float(hl.aligned_cosine(x, x @ rotation)), 12)
    1.0
    """
    xp = namespace(overlap.matrix)
    first, second = (columns_times(side.u, side.spectrum) for side in (x, y))
    norms = [xp.sqrt(xp.sum(side**2, axis=1)) for side in (first, second)]
    # Rows at the mean are rounding.
    least = 8 * x.n * machine_epsilon(x.s)
    defined = (norms[0] > least * xp.max(norms[0])) & (norms[1] > least * xp.max(norms[1]))
    if carries_gradient(overlap.matrix):
        products = xp.sum(
            (first @ polar_factor(weighted_matrix(x.spectrum, overlap.matrix, y.spectrum))) * second, axis=1
        )
    else:
        left, _, right = xp.linalg.svd(x.s[:, None] * overlap.matrix * y.s[None, :], full_matrices=False)
        products = xp.sum((first @ left) * (second @ right.T), axis=1)
    ones = xp.ones_like(products)
    cosines = products / xp.where(defined, norms[0] * norms[1], ones)
    counted = xp.astype(defined, products.dtype)
    value = at_most_one(xp.sum(cosines * counted) / xp.sum(counted))
    value = smooth_unless(value, lambda: count(~defined) > 0, "a row is at the mean, where it has no direction")
    reason = "a canonical correlation is 0, where the best rotation is not unique"
    return smooth_unless(value, lambda: overlap.vanishes, reason)
