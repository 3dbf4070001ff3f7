"""Canonical directions through which a gradient flows, and what they make of projection-weighted CCA."""

from __future__ import annotations

from homolog.arrays import Array, count, detached, namespace, scalar
from homolog.gradients import SPLIT, VANISHING, Decomposition, moved, smooth_unless, to_first_order, without_gradient
from homolog.linalg import TIE_TOLERANCE, at_most_one, tied
from homolog.operands.subspace import Overlap, Subspace

CERTAIN = 1 - 1e-12
"""A canonical correlation above this is 1."""


def smooth_pwcca(x: Subspace, overlap: Overlap, value: Array) -> Array:
    """Return the value of PWCCA with its gradient: directions are smooth where correlations differ, or are 1 by force."""
    xp = namespace(overlap.matrix)
    value = value + 0 * xp.sum(overlap.matrix)
    _, correlations, _ = Overlap(detached(overlap.matrix)).svd
    certain = count(correlations > CERTAIN)
    if certain == correlations.shape[0]:
        # A maximum: correlations of 1 fall with the square of any change.
        return value
    forced = max(sum(overlap.matrix.shape) - (x.n - 1), 0)
    if certain != forced or tied(correlations[forced:]) or scalar(correlations[forced]) > 1 - TIE_TOLERANCE:
        return without_gradient(value, "canonical correlations tie or are 0, where canonical directions jump")
    left, correlations, apart = _directions(x, overlap, forced)
    features = x.v.T * x.s[:, None] if x.whole is None else x.u.T @ x.whole.features
    projections = left.T @ features
    weights = xp.sum(xp.abs(projections), axis=1)
    value = at_most_one(value + moved(xp.sum(weights * correlations) / xp.sum(weights)))
    value = smooth_unless(value, lambda: not apart, "principal axes of directions that correlate 1 tie")
    reason = "a feature is at a right angle to a canonical variable, where its weight has a corner"
    return smooth_unless(value, lambda: _right_angle(features, projections), reason)


def _right_angle(features: Array, projections: Array) -> bool:
    xp = namespace(features)
    sizes = xp.max(xp.abs(features), axis=0)
    return count((xp.abs(projections) <= VANISHING * sizes[None, :]) & (sizes > 0)[None, :]) > 0


def _directions(x: Subspace, overlap: Overlap, forced: int) -> tuple[Array, Array, bool]:
    """Return canonical directions and correlations, of which the first few are 1, and whether the axes of these differ.

    Those of correlation 1 span a space that turns against the others', and have X's principal axes within it.
    """
    xp, matrix = namespace(overlap.matrix), overlap.matrix
    left, s, right = xp.linalg.svd(detached(matrix), full_matrices=False)
    basis, _ = Decomposition(matrix, left, s, right.T).leading(s.shape[0])
    sure, rest = basis[:, :forced], basis[:, forced:]
    if forced:
        change = moved(matrix)
        across = moved((basis.T @ matrix) @ (basis.T @ matrix).T)[:forced, forced:]
        turn = to_first_order(across / (1 - s[None, forced:] ** 2), change)
        sure, rest = sure + rest @ turn.T, rest - sure @ turn
    turned, correlations, _ = xp.linalg.svd(rest.T @ matrix, full_matrices=False)
    if not forced:
        return rest @ turned, correlations, True
    weighted = x.s[:, None] * sure if x.core is None else x.core @ sure
    sizes, axes = xp.linalg.eigh(weighted.T @ weighted)
    known = detached(sizes)
    apart = forced == 1 or scalar(xp.min(known[1:] - known[:-1])) > SPLIT * scalar(known[-1])
    directions = xp.concat([sure @ axes, rest @ turned], axis=1)
    return directions, xp.concat([0 * sizes + 1, correlations], axis=0), apart
