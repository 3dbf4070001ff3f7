"""Gradients of what a decomposition gives, without the derivative of singular vectors, which does not exist where values tie.

A measure never asks for singular vectors, but for column spaces, roots of Gram matrices and polar factors, which are smooth.
Each is written as its value, a constant, plus what the change of the matrix does to it up to second order: the change is
`moved(x)`, a matrix of exact zeros that carries the gradient. Values stay what they are, and no gap between singular values is
divided by, but the one at which directions are left out.

Two things a gradient cannot say here. Inside `jax.jit` values are not known: what looks for corners and jumps looks at values, so
that neither a warning nor a NaN tells of one, and the gradient there is 0 or that of one side (most measures look at values for
other reasons too, and cannot be traced by jit at all). And where directions are left out by the rank rule, what they do to those
that are kept is followed to first order alone: second derivatives are NaN there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from homolog.arrays import Array, carries_gradient, constant_like, detached, identity_like, is_known, namespace, scalar
from homolog.diagnostics import Caution, GradientWarning, give
from homolog.linalg import nuclear_norm, numerical_rank, thin_svd

CORNER = 1e-13
"""What was scaled to about 1 and lies this near to the corner of a root, a modulus or an arc cosine is rounding."""
TIE = 1e-12
"""Of numbers of about 1 that are nearer than this none is the largest."""
EQUAL_ROWS = "two examples are equal, where their distance has a corner"
"""Why what is made of distances has no gradient."""
SAME = "the representations are the same to this distance, which has a corner at 0"
"""Why a distance has no gradient."""
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
    whole: Decomposition | None
    """The decomposition before the cut where a gradient flows, else None."""


@dataclass(frozen=True)
class Decomposition:
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
        return basis, core

    def _exchanged(self, rank: int, change: Array) -> Array:
        """What directions beyond a cut do to those before it, to first order alone: further derivatives are NaN."""
        xp = namespace(change)
        s, t = self.s[:rank], self.s[rank:]
        kept = self.u[:, :rank].T @ change @ self.v[:, rank:]
        left = self.u[:, rank:].T @ change @ self.v[:, :rank]
        gaps = s[None, :] ** 2 - t[:, None] ** 2
        gaps = xp.where(gaps > 0, gaps, xp.ones_like(gaps)) * s[None, :]
        mixing = t[:, None] * (s[None, :] * kept.T + t[:, None] * left) / gaps
        return to_first_order(self.u[:, rank:] @ mixing, change)


def factors(centred: Array) -> Factors:
    """Return the thin SVD of centred features, cut at the numerical rank."""
    if not carries_gradient(centred):
        svd = thin_svd(centred)
        return Factors(*svd, svd.s, None)
    u, s, vt = namespace(centred).linalg.svd(detached(centred), full_matrices=False)
    rank = numerical_rank(s)
    whole = Decomposition(centred, u, s, vt.T)
    basis, core = whole.leading(rank) if rank else (u[:, :0], s[:0])
    if splits(s, rank):
        basis = without_gradient(basis, "singular values tie where the rank rule leaves directions out")
    dropped = s[rank] / s[0] if 0 < rank < s.shape[0] else 0 * s[0]
    return Factors(basis, s[:rank], vt[:rank, :].T, dropped, core, whole)


def splits(s: Array, rank: int) -> bool:
    """Say whether a cut divides directions of one singular value."""
    return 0 < rank < s.shape[0] and scalar(s[rank - 1] - s[rank]) <= SPLIT * scalar(s[0])


def moved(x: Array) -> Array:
    """Return zeros whose derivative is that of x."""
    return x - detached(x)


def to_first_order(x: Array, change: Array) -> Array:
    """Return what follows a change to first order alone: further derivatives are NaN, not wrong."""
    xp = namespace(change)
    # The second derivative of z^1.5 is infinite at 0, and 0 times it is NaN.
    return x + 0 * xp.sum(xp.pow(change, constant_like(1.5, change)))


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
    if x.shape[0] > x.shape[1]:
        return polar_factor(x.T).T
    left, s, right = xp.linalg.svd(detached(x), full_matrices=False)
    s = xp.where(s > 0, s, xp.ones_like(s))
    change = left.T @ moved(x)
    return left @ xp.linalg.solve(gram_root(s, right.T, change), s[:, None] * right + change)


def smooth_unless(value: Array, corner: Callable[[], bool], reason: str, through: Array | None = None) -> Array:
    """Return a value without a gradient if it lies at a corner or a jump.

    That is looked for only where a gradient flows, and not inside jax.jit, where values are not known.
    """
    followed = value if through is None else through
    if not carries_gradient(followed) or not is_known(followed):
        return value
    return without_gradient(value, reason, through) if corner() else value


def without_gradient(value: Array, reason: str, through: Array | None = None) -> Array:
    """Return a value whose gradient is NaN, and say why.

    `through` is what the value was computed of where something on the way, such as a clip, would keep the NaN from the inputs.
    """
    message = f"{reason}: the value has no derivative there and its gradient is NaN; move away from such data."
    give([Caution(GradientWarning, message)])
    # The root of 0 has an infinite derivative, and 0 times it is NaN.
    if through is None:
        return value + 0 * namespace(value).sqrt(moved(value))
    return value + 0 * namespace(value).sqrt(namespace(value).sum(moved(through)))
