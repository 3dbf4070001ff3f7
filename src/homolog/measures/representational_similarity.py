"""Representational similarity analysis: dissimilarities of all pairs of examples, compared."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from homolog.arrays import Array, carries_gradient, namespace, scalar, to_numpy
from homolog.gradients import EQUAL_ROWS, SAME, TIE, moved, smooth_unless, without_gradient
from homolog.linalg import at_most_one
from homolog.measures.record import when
from homolog.measures.registry import register
from homolog.operands.dissimilarities import DISSIMILARITIES, Compared, Comparison, Dissimilarities, Dissimilarity
from homolog.operands.family import Invariances, undefined_where


def _told_of_corners(x: Dissimilarities, y: Dissimilarities, value: Array) -> Array:
    """Return a value without the gradient of a side of which a distance is 0, a corner that moves the value.

    It does not move it where that distance is 0 on the other side too and no mean is subtracted.
    """
    # One value for all pairs at once has no operands, and no gradient.
    for side, other in ((x, y), (y, x)) if carries_gradient(value) else ():
        if side.equal_rows and (side.comparison == "pearson" or _alone(side, other)):
            value = value + moved(without_gradient(namespace(value).sum(side.values), EQUAL_ROWS))
    return value


def _alone(side: Dissimilarities, other: Dissimilarities) -> bool:
    return bool(np.any((to_numpy(side.values) == 0) & (to_numpy(other.values) != 0)))


_UNDEFINED = "NaN where all pairs of examples are equally far apart"


@register(
    DISSIMILARITIES,
    kind="similarity",
    range=(-1.0, 1.0),
    invariances=Invariances(translation=""),
    minimal_n=3,
    formula="correlation of the dissimilarities d(x_i, x_j) and d(y_i, y_j) over pairs i < j",
    reference="Kriegeskorte, Mur & Bandettini, Frontiers in Systems Neuroscience 2008",
    exceptions={"undefined": _UNDEFINED},
    variants=(
        when("dissimilarity", "euclidean", invariances=Invariances(orthogonal="xy")),
        when("dissimilarity", "cosine", invariances=Invariances(orthogonal="xy", translation="")),
        when("dissimilarity", "mahalanobis", invariances=Invariances(orthogonal="xy", invertible_linear="xy")),
        when("comparison", "pearson", differentiable=True),
        when("comparison", "cosine", differentiable=True, range=(0.0, 1.0)),
    ),
)
def rsa(
    x: Dissimilarities,
    y: Dissimilarities,
    compared: Compared,
    *,
    dissimilarity: Dissimilarity = "correlation",
    comparison: Comparison = "spearman",
) -> Annotated[
    Array,
    'With comparison="cosine" independent data score high. NaN too where all pairs of examples of a side are equally far apart: '
    '"correlation" needs 3 features, and "mahalanobis" a rank below n − 1.',
]:
    """Representational similarity analysis: do the same pairs of examples lie far apart?

    The dissimilarities d(x_i, x_j) of all pairs i < j of rows are correlated with d(y_i, y_j).

    Cost O(n²(p + q)), and for ranks sorting n²/2 numbers per layer; "kendall" then counts per pair of layers, in less time than
    that sort where numba is installed (`pip install "homolog[fast]"`; else SciPy sorts again). Memory n²/2 numbers per layer. An
    example of zeros (for "cosine"), or of equal features (for "correlation"), has no direction: its dissimilarity from all others
    is taken as 1, also from one like it, and a NoDirectionWarning says so. What is invariant depends on the dissimilarity: only
    "euclidean" and "mahalanobis" ignore an offset of the features. Pairs of examples are not independent: use a permutation test
    for a p-value.

    >>> x = np.random.default_rng(0).normal(size=(50, 6))
    >>> round(float(hl.rsa(x, 3 * x + 1)), 12)
    1.0
    """
    return undefined_where(compared.undefined, _told_of_corners(x, y, at_most_one(compared.value)))


@register(
    DISSIMILARITIES,
    fixed={"dissimilarity": "euclidean", "comparison": "difference"},
    kind="distance",
    range=(0.0, float("inf")),
    metric=True,
    invariances=Invariances(orthogonal="xy", isotropic_scaling=""),
    differentiable=True,
    formula="‖D − E‖_F, D, E the Euclidean distances between rows",
    reference="Yin & Shen, NeurIPS 2018, arXiv:1812.04224; Klabunde et al., ICLR 2025, arXiv:2408.00531",
)
def rsm_norm_difference(
    x: Dissimilarities, y: Dissimilarities, compared: Compared
) -> Annotated[Array, "In the units of the features, growing with n."]:
    """Norm of the difference of two matrices of distances between examples.

    ‖D − E‖_F, with D_ij = ‖x_i − x_j‖ and E_ij = ‖y_i − y_j‖.

    Cost O(n²(p + q)); memory n²/2 numbers per layer. Not invariant to scaling: a layer with larger activations is far from all
    others. A metric between configurations of points.

    >>> x = np.array([[0.0], [1.0]])
    >>> round(float(hl.rsm_norm_difference(x, 3 * x)), 12)  # both entries differ by 2
    2.828427124746
    """
    value = _told_of_corners(x, y, compared.value)
    value = smooth_unless(value, lambda: scalar(value) <= TIE * float(to_numpy(x.values).max()), SAME)
    return undefined_where(compared.undefined, value)
