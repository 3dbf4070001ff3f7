"""Predictions family: what is said of single examples, after one representation was mapped to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from homolog.arrays import Array, carries_gradient, count, machine_epsilon, namespace
from homolog.cautions import Caution, constant_layers, dropped_directions
from homolog.families.overlaps import Overlap, Subspace, between, columns_times, shrunk
from homolog.families.subspace import SUBSPACE
from homolog.families.subspace import cost as cost_of_subspaces
from homolog.family import Cost
from homolog.gradients import polar_factor, smooth_unless
from homolog.linalg import at_most_one
from homolog.registry import register


def examine(operands: Mapping[str, Subspace], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and those of which directions were left out; nothing saturates."""
    constant = constant_layers([label for label, operand in operands.items() if bool(operand.constant)])
    return constant + dropped_directions([label for label, operand in operands.items() if operand.cut])


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return what it takes: as of subspaces, and the rows of both sides where they are mapped to each other."""
    found = cost_of_subspaces(shapes, itemsizes, needed, form)
    return replace(found, meeting=found.meeting + 56 * shapes[0][0] * max(min(shape) for shape in shapes))


# Rows are needed, which are not kept of layers on disk.
PREDICTIONS = replace(SUBSPACE, name="predictions", examine=examine, cost=cost, on_disk=None, rank=None)


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
    fitted = predictors.u @ between(kept, overlap.matrix.T, target.unit_spectrum)
    # What a fit without an example misses of it (Allen's PRESS); the mean is fitted too.
    leverage = _leverages(predictors.u, kept) + 1 / n
    missed = xp.sum((rows - fitted) ** 2, axis=1) / (1 - leverage) ** 2
    spread = xp.sum(rows**2, axis=1) / (1 - 1 / n) ** 2
    return 1 - xp.sum(missed) / xp.sum(spread)


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
        products = xp.sum((first @ polar_factor(between(x.spectrum, overlap.matrix, y.spectrum))) * second, axis=1)
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
