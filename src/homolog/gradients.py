"""Gradients of what a decomposition gives, without the derivative of singular vectors, which does not exist where values tie.

A measure never asks for singular vectors, but for column spaces, roots of Gram matrices and polar factors, which are smooth.
Each is written as its value, a constant, plus what the change of the matrix does to it up to second order: the change is
`moved(x)`, a matrix of exact zeros that carries the gradient. Values stay what they are, and no gap between singular values is
divided by, but the one at which directions are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from homolog.arrays import Array, carries_gradient, detached, identity_like, namespace, scalar
from homolog.cautions import Caution, GradientWarning, give_caller
from homolog.linalg import nuclear_norm, numerical_rank, thin_svd

CORNER = 1e-13
"""What was scaled to about 1 and lies this near to the corner of a root or of an arc cosine is rounding."""

VANISHING = 1e-12
"""Canonical correlations below this are 0 up to rounding, where a nuclear norm has a corner."""

SPLIT = 1e-11
"""Singular values nearer than this fraction of the largest are one, and no part of their directions can be left out."""


class Factors(NamedTuple):
    """X = U S V^T, cut at the numerical rank, and what carries its gradient."""

    u: Array
    """(n, r) orthonormal columns; a gradient flows through the space they span."""
    s: Array
    """(r,) singular values, constants."""
    v: Array
    """(p, r) orthonormal columns, constants."""
    dropped: Array
    """0-d: largest singular value that was cut, as a fraction of the largest."""
    core: Array
    """s itself or, where a gradient flows, the symmetric (r, r) matrix H of value diag(s) with X X^T = U H² U^T."""
    whole: Whole | None
    """The decomposition before the cut where a gradient flows, else None."""


@dataclass(frozen=True)
class Whole:
    """Features that carry a gradient, and their decomposition, which does not."""

    features: Array
    u: Array
    s: Array
    v: Array

    def leading(self, rank: int) -> tuple[Array, Array]:
        """Return the leading columns U and the core H such that U H² U^T is the leading part of X X^T."""
        u, s, v = self.u[:, :rank], self.s[:rank], self.v[:, :rank]
        change = moved(self.features)
        inside = u.T @ change
        along = inside @ v
        across = (change @ v - u @ along) / s[None, :]
        second = across.T @ across
        basis = u + across - (across @ along) / s[None, :] - u @ second / 2
        core = gram_root(s, v, inside, (second * s[None, :] ** 2 + s[:, None] ** 2 * second) / 2)
        rest = self.s[rank:]
        if rest.shape[0] and scalar(rest[0]) > VANISHING * scalar(self.s[0]):
            basis = basis + self._exchanged(rank, change)
            if self.splits(rank):
                basis = without_gradient(basis, "singular values tie where directions are left out")
        return basis, core

    def splits(self, rank: int) -> bool:
        """Say whether a cut divides directions of one singular value."""
        return 0 < rank < self.s.shape[0] and scalar(self.s[rank - 1] - self.s[rank]) <= SPLIT * scalar(self.s[0])

    def _exchanged(self, rank: int, change: Array) -> Array:
        """What directions beyond a cut do to those before it, to first order alone: further derivatives are NaN."""
        xp = namespace(change)
        s, t = self.s[:rank], self.s[rank:]
        kept = self.u[:, :rank].T @ change @ self.v[:, rank:]
        left = self.u[:, rank:].T @ change @ self.v[:, :rank]
        gaps = s[None, :] ** 2 - t[:, None] ** 2
        gaps = xp.where(gaps > 0, gaps, xp.ones_like(gaps)) * s[None, :]
        mixing = t[:, None] * (s[None, :] * kept.T + t[:, None] * left) / gaps
        return self.u[:, rank:] @ mixing + 0 * xp.sum(
            xp.pow(change, namespace(change).asarray(1.5, dtype=change.dtype))
        )


def factors(centred: Array) -> Factors:
    """Return the thin SVD of centred features, cut at the numerical rank."""
    if not carries_gradient(centred):
        svd = thin_svd(centred)
        return Factors(*svd, svd.s, None)
    u, s, vt = namespace(centred).linalg.svd(detached(centred), full_matrices=False)
    rank = numerical_rank(s)
    whole = Whole(centred, u, s, vt.T)
    basis, core = whole.leading(rank) if rank else (u[:, :0], s[:0])
    dropped = s[rank] / s[0] if 0 < rank < s.shape[0] else 0 * s[0]
    return Factors(basis, s[:rank], vt[:rank, :].T, dropped, core, whole)


def moved(x: Array) -> Array:
    """Return zeros whose derivative is that of x."""
    return x - detached(x)


def gram_root(s: Array, v: Array, change: Array, further: Array | None = None) -> Array:
    """Return the root of (S V^T + change)(S V^T + change)^T + further, for changes whose value is 0.

    The Sylvester equation S P + P S = E has the solution E_ij / (s_i + s_j); its second step takes what P² leaves.
    """
    xp = namespace(s)
    along = change @ v
    excess = s[:, None] * along.T + along * s[None, :] + change @ change.T
    excess = excess if further is None else excess + further
    sums = s[:, None] + s[None, :]
    sums = xp.where(sums > 0, sums, xp.ones_like(sums))
    first = excess / sums
    return identity_like(first) * s[None, :] + (excess - first @ first) / sums


def smooth_nuclear_norm(x: Array) -> Array:
    """Return the sum of the singular values of a matrix, as the trace of a root where a gradient flows."""
    if not carries_gradient(x):
        return nuclear_norm(x)
    xp = namespace(x)
    x = x if x.shape[0] <= x.shape[1] else x.T
    left, s, right = xp.linalg.svd(detached(x), full_matrices=False)
    root = gram_root(s, right.T, left.T @ moved(x))
    return nuclear_norm(detached(x)) + xp.linalg.trace(moved(root))


def polar_factor(x: Array) -> Array:
    """Return the matrix W with orthonormal rows or columns that is nearest to a matrix: X = U S V^T has W = U V^T."""
    xp = namespace(x)
    if not carries_gradient(x):
        left, _, right = xp.linalg.svd(x, full_matrices=False)
        return left @ right
    if x.shape[0] > x.shape[1]:
        return polar_factor(x.T).T
    left, s, right = xp.linalg.svd(detached(x), full_matrices=False)
    s = xp.where(s > 0, s, xp.ones_like(s))
    change = left.T @ moved(x)
    return left @ xp.linalg.solve(gram_root(s, right.T, change), s[:, None] * right + change)


def without_gradient(value: Array, reason: str) -> Array:
    """Return a value whose gradient is NaN, and say why; the value as it is where nobody asks for a gradient."""
    if not carries_gradient(value):
        return value
    give_caller(
        Caution(
            GradientWarning,
            f"{reason}: the value has no derivative there and its gradient is NaN; move away from such data.",
        )
    )
    # The root of 0 has an infinite derivative, and 0 times it is NaN.
    return value + 0 * namespace(value).sqrt(moved(value))
