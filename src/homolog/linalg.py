"""Linear algebra under the measures: scaling, centring, thin SVD, numerical rank."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import scipy

from homolog.arrays import (
    Array,
    carries_gradient,
    constant_like,
    count,
    detached,
    identity_like,
    is_numpy,
    machine_epsilon,
    namespace,
    precise,
    scalar,
    to_numpy,
    working_dtype,
)
from homolog.devices import is_elsewhere

RANK_TOLERANCE = 1e-6
"""The one rank rule: singular values above this fraction of the largest are kept."""
FEWEST, MOST, LEAST_GAP = 32, 128, 2e-7
"""Ranks for which eigenvectors pay, since more of one size have correlations near 0; and the least square, and difference of
squares, of canonical correlations that they tell apart."""
ORTHONORMAL, NEARLY = 1e-13, 1e-9
"""Norms of QᵀQ − I below which columns are orthonormal but for rounding, and below which only its first power counts."""
TIE_TOLERANCE = 1e-8
"""Singular values of an overlap closer than this are one, whose directions are any basis of one subspace."""


class Centred(NamedTuple):
    """A representation with centred columns, divided by a power of two so that products cannot overflow."""

    features: Array
    """(n, p), magnitudes at most about 4, or all zero; columns that never vary are exactly 0."""
    scale: Array
    """0-d: features · scale are the centred columns in the units of the input."""
    dead: Array
    """(p,) bool: columns constant up to rounding."""


class ThinSVD(NamedTuple):
    """X = U S V^T, cut at the numerical rank r: u (n, r), s (r,), v (p, r)."""

    u: Array
    s: Array
    v: Array
    dropped: Array
    """0-d: largest singular value that was cut, as a fraction of the largest; 0 if none was."""


def power_of_two(largest: Array) -> Array:
    """Return the largest power of two not above a magnitude, as a 0-d array; 1 for 0."""
    xp = namespace(largest)
    exponent = xp.floor(xp.log2(xp.where(largest > 0, largest, xp.ones_like(largest))))
    return xp.pow(constant_like(2.0, largest), exponent)


def centre(x: Array) -> Centred:
    """Centre the columns of a representation of any floating dtype.

    The mean, summed in float64 where the device has it, goes first, and what its rounding left goes second. Dividing by a power
    of two loses no bit and keeps every later product in range; it is a constant to gradients. A column whose range is at most
    n·eps·max|column| never varied: what is left of it is rounding, and is set to 0.
    """
    xp = namespace(x)
    given = detached(x)
    if is_elsewhere(given):  # one pass
        low, high = sys.modules["torch"].aminmax(given, dim=0)
    else:
        low, high = xp.min(given, axis=0), xp.max(given, axis=0)
    half_range = high / 2 - low / 2
    magnitude = xp.maximum(xp.abs(low), xp.abs(high))
    dead = half_range <= x.shape[0] * machine_epsilon(precise(low)) * (magnitude / 2)
    scale = power_of_two(xp.max(half_range))
    with np.errstate(over="ignore", invalid="ignore"):
        means = column_means(x)
    # Sums of numbers near the end of the range of float64 overflow: the middle of the range does not.
    centred = x - xp.where(xp.isfinite(detached(means)), means, (low / 2 + high / 2)[None, :])
    # In place from here on, where the library can: each pass over the features costs as much as reading them.
    centred /= xp.where(dead, xp.full_like(low, float("inf")), scale)[None, :]
    centred -= column_means(centred)
    return Centred(centred, scale, dead)


def unit_rows(x: Array, *, about_mean: bool) -> Array:
    """Return rows of norm 1, with `about_mean` less the mean of each over its features; rows without any size stay 0."""
    xp = namespace(x)
    largest = xp.max(xp.abs(detached(x)), axis=1, keepdims=True)
    rows = x / xp.where(largest > 0, largest, xp.ones_like(largest))
    if about_mean:
        # Twice, because the first mean is rounded.
        for _ in range(2):
            rows = rows - xp.astype(xp.mean(precise(rows), axis=1, keepdims=True), rows.dtype, copy=False)
        left = xp.max(xp.abs(detached(rows)), axis=1, keepdims=True)
        rows = rows * xp.astype(left > x.shape[1] * machine_epsilon(x), rows.dtype)
    squared = xp.sum(rows * rows, axis=1, keepdims=True)
    # The gradient of sqrt is infinite at 0.
    return rows / xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))


def column_means(x: Array) -> Array:
    """Return the (1, p) means of the columns, summed in float64 where the device has it, in the dtype of x."""
    xp = namespace(x)
    total = xp.sum(x, axis=0, keepdims=True, dtype=working_dtype(x))
    return xp.astype(total / x.shape[0], x.dtype, copy=False)


def double_centred(gram: Array) -> Array:
    """Return HKH; twice, because the first means are rounded: one entry may be much larger than what centring leaves."""
    for _ in range(2):
        gram = gram - column_means(gram)
        gram = gram - column_means(gram.T).T
    return gram


def thin_svd(centred: Array) -> ThinSVD:
    """Return the thin SVD of centred features, cut where S <= RANK_TOLERANCE · S_max."""
    xp = namespace(centred)
    factors = orthonormal_columns(centred) if is_numpy(centred) and centred.shape[0] >= 2 * centred.shape[1] else None
    if factors is None:
        u, s, vt = xp.linalg.svd(centred, full_matrices=False)
    else:
        u, s, vt = xp.linalg.svd(factors[1])
        u = factors[0] @ u
    rank = numerical_rank(s)
    cut = s[rank] / s[0] if 0 < rank < s.shape[0] else constant_like(0.0, s)
    return ThinSVD(u[:, :rank], s[:rank], vt[:rank, :].T, cut)


def overlap_svd(x: Array) -> tuple[Array, Array, Array]:
    """Return U, S and V^T of the overlap of two column spaces, whose singular values are at most 1.

    Eigenvectors of its products take two thirds of the time of an SVD. They know a direction up to eps over the gap between its
    square and the next, and up to eps over the square: they are taken where no gap and no square is small.
    """
    fewer, more = min(x.shape), max(x.shape)
    if not is_numpy(x) or fewer < FEWEST or (fewer > MOST and more < 1.25 * fewer):
        u, s, vt = namespace(x).linalg.svd(x, full_matrices=False)
        return u, s, vt
    if x.shape[0] < x.shape[1]:
        u, s, vt = overlap_svd(x.T)
        return vt.T, s, u.T
    squares, v = np.linalg.eigh(x.T @ x)
    if squares[0] < LEAST_GAP or np.diff(squares).min() < LEAST_GAP:
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        return u, s, vt
    s, v = np.sqrt(squares[::-1]), v[:, ::-1]
    return x @ (v / s), s, v.T


def orthonormal_columns(x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return X = QT with orthonormal columns Q by two rounds of Cholesky, or None where X is too ill-conditioned for it.

    Products of matrices instead of reflections: a third less time. After one round Q deviates from orthonormal by about
    eps · cond(X)²; if that is little, the second round leaves rounding (Yamamoto et al., ETNA 2015).
    """
    try:
        first = np.linalg.cholesky(x.T @ x)
        q = scipy.linalg.solve_triangular(first, x.T, lower=True, check_finite=False).T
        gram = q.T @ q
        if not np.max(np.abs(gram - np.eye(len(gram)))) < 1e-2:
            return None
        second = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    return scipy.linalg.solve_triangular(second, q.T, lower=True, check_finite=False).T, (first @ second).T


def column_space(x: np.ndarray) -> np.ndarray:
    """Return orthonormal columns that span what the rank rule keeps of centred features; which basis it is, nobody asks.

    Where no singular value can be below the rule, two rounds of Cholesky do: nothing has to be decomposed.
    """
    varying = x.any(axis=0)
    some = x if varying.all() else x[:, varying]
    found = _whitened(some) if 0 < some.shape[1] < len(x) else None
    return thin_svd(x).u if found is None else found


def _whitened(x: np.ndarray) -> np.ndarray | None:
    """Return X T⁻¹ with orthonormal columns, T triangular, or None where the rank may be less than there are columns."""
    inverse = inverse_root(x.T @ x)
    if inverse is None:
        return None
    q = x @ inverse.T
    gram = q.T @ q
    off = gram - np.eye(len(gram))
    size = float(np.linalg.norm(off))
    if size < ORTHONORMAL:
        return q
    if size < NEARLY:
        # (I + E)^(−1/2) is I − E/2 to the last bit, and float32 has as many of it as are seen.
        q -= q.astype(np.float32) @ (off / 2).astype(np.float32)
        return q
    inverse = inverse_root(gram) if size < 1e-2 else None
    return None if inverse is None else q @ inverse.T


def inverse_root(gram: np.ndarray) -> np.ndarray | None:
    """Return L⁻¹ of G = L Lᵀ, or None where an eigenvalue of G may be below the square of the rank rule, relatively.

    The norms of L and L⁻¹ bound its singular values from outside; half of the rule is for what rounding did to G.
    """
    try:
        root = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    inverse, failed = scipy.linalg.lapack.dtrtri(root, lower=1)
    if failed or not np.linalg.norm(root) * np.linalg.norm(inverse) < 0.5 / RANK_TOLERANCE:
        return None
    return np.asarray(inverse)


def numerical_rank(singular_values: Array) -> int:
    """Count the singular values (descending) above the rank tolerance; 0 for a zero matrix."""
    return count(singular_values > RANK_TOLERANCE * singular_values[0])


def nuclear_norm(x: Array) -> Array:
    """Return the sum of the singular values of a matrix."""
    xp = namespace(x)
    return xp.sum(xp.linalg.svdvals(x))


def squared_norm(x: Array) -> Array:
    """Return the sum of squares of all entries."""
    return namespace(x).sum(x * x)


def squared_norms(x: Array) -> Array:
    """Return the squared norms of rows, in float64 where the device has it."""
    if is_elsewhere(x) and not carries_gradient(x):  # one pass, with sums in float64
        return sys.modules["torch"].linalg.vector_norm(x, dim=1, dtype=working_dtype(x)) ** 2
    return precise(namespace(x).linalg.vecdot(x, x))


def at_most_one(value: Array) -> Array:
    """Clip what only rounding can lift above 1."""
    xp = namespace(value)
    return xp.where(value > 1, xp.ones_like(value), value)


def unique_directions(left: Array, correlations: Array, s: Array) -> Array:
    """Return canonical directions (r_x, m) that are functions of X and Y also where correlations tie.

    The directions of one correlation are any basis of one subspace: take X's principal axes within it. Directions of
    correlation 0 share it with those X has beyond m, so that block is X's whole complement, of which the m lead.

    Parameters
    ----------
    left : (r_x, m) left singular vectors of the overlap.
    correlations : (m,) its singular values, descending.
    s : (r_x,) singular values of X.
    """
    if not tied(correlations):
        return left
    blocks = []
    for start, stop in _tied_blocks(correlations):
        block = left[:, start:stop]
        if scalar(correlations[stop - 1]) <= TIE_TOLERANCE and left.shape[0] > left.shape[1]:
            projector = identity_like(left) - left[:, :start] @ left[:, :start].T
            _, axes = namespace(left).linalg.eigh((projector * (s**2)[None, :]) @ projector)
            block = axes[:, left.shape[0] - (stop - start) :]
        elif stop - start > 1:
            _, axes = namespace(left).linalg.eigh(block.T @ ((s**2)[:, None] * block))
            block = block @ axes
        blocks.append(block)
    return namespace(left).concat(blocks, axis=1)


def tied(correlations: Array) -> bool:
    """Say whether some correlations, descending, are one up to rounding, or 0."""
    return len(_tied_blocks(correlations)) < correlations.shape[0] or scalar(correlations[-1]) <= TIE_TOLERANCE


def _tied_blocks(correlations: Array) -> list[tuple[int, int]]:
    """Split descending correlations where neighbours differ by more than the tolerance."""
    values = to_numpy(correlations)
    cuts = (np.flatnonzero(-np.diff(values) > TIE_TOLERANCE) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(values)], strict=True))


ROUNDINGS, UNIT_ROUNDINGS = 8, 64
"""What may be left of the squared distance of two equal rows: so many roundings of their squares, and of units squared."""


def squared_distances(x: Array, y: Array, *, same: bool) -> Array:
    """Return squared Euclidean distances between two blocks of centred rows, which are one block or have no row in common.

    0 where rounding is left; those of a row to itself are exactly 0.
    """
    if not is_numpy(x):
        return _squared_distances(x, y, same=same)
    found: np.ndarray = x @ y.T
    found *= -2
    together = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)[None, :]
    found += together
    together *= ROUNDINGS * machine_epsilon(x)
    found[found <= together] = 0
    if same:
        np.fill_diagonal(found, 0)
    return found


def _squared_distances(x: Array, y: Array, *, same: bool) -> Array:
    """Return the same with gradients, in any library."""
    xp = namespace(x)
    together = xp.linalg.vecdot(x, x)[:, None] + xp.linalg.vecdot(y, y)[None, :]
    squared = together - 2 * (x @ y.T)
    left = squared > ROUNDINGS * machine_epsilon(x) * detached(together)
    positive = xp.where(left, squared, xp.zeros_like(squared))
    return positive * (1 - identity_like(x)) if same else positive
