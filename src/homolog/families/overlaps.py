"""The operand of the subspace family, a thin SVD, and what two of them share: the overlap of their column spaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from homolog.arrays import Array, count, machine_epsilon, namespace, precise, scalar
from homolog.linalg import TIE_TOLERANCE, centre, squared_norm, thin_svd


@dataclass(frozen=True)
class Subspace:
    """Thin SVD of the centred features, cut at the numerical rank."""

    n: int
    u: Array
    """(n, r) orthonormal columns."""
    s: Array
    """(r,) singular values of the features divided by a power of two, descending."""
    v: Array
    """(p, r) orthonormal columns."""
    constant: Array
    """0-d bool: nothing varies, and the rank is 0."""
    cut: bool
    """Whether the rank rule left out directions that are more than rounding of the dtype given."""
    scale: Array
    """0-d power of two by which the features were divided."""

    @property
    def rank(self) -> int:
        """Numerical rank r."""
        return int(self.s.shape[0])

    @property
    def weights(self) -> Array:
        """(r,) singular values of the representation scaled to unit Frobenius norm."""
        return self.s / namespace(self.s).sqrt(squared_norm(self.s))

    def kept(self, threshold: float) -> int:
        """Count the leading components that explain a fraction of the variance."""
        xp = namespace(self.s)
        explained = xp.cumulative_sum(self.weights**2)
        # A sum of rounded terms may end just below a threshold of 1.
        below = explained < threshold * (1 - 1e-12)
        return min(count(below) + 1, self.rank)

    def splits_tie(self, threshold: float) -> bool:
        """Say whether the leading components are some of several that are equally strong."""
        kept = self.kept(threshold)
        return kept < self.rank and scalar(self.s[kept - 1] - self.s[kept]) <= TIE_TOLERANCE * scalar(self.s[0])


def prepare(x: Array) -> Subspace:
    """Centre and decompose a representation, in float64 where the device has it."""
    centred = centre(precise(x))
    u, s, v, dropped = thin_svd(centred.features)
    cut = scalar(dropped) > max(x.shape) * machine_epsilon(x)
    return Subspace(x.shape[0], u, s, v, namespace(x).all(centred.dead), cut, centred.scale)


def reorder(x: Subspace, order: Array) -> Subspace:
    """Return the decomposition of the same examples in another order."""
    return replace(x, u=x.u[order, :])


@dataclass(frozen=True)
class Overlap:
    """C = U_X^T U_Y of a pair; its decomposition, if asked for, serves both directions."""

    matrix: Array
    """(r_x, r_y)"""
    mirror: Overlap | None = None

    @cached_property
    def svd(self) -> tuple[Array, Array, Array]:
        """Canonical directions of x, canonical correlations, canonical directions of y."""
        if self.mirror is not None:
            left, correlations, right = self.mirror.svd
            return right, correlations, left
        left, correlations, right = namespace(self.matrix).linalg.svd(self.matrix, full_matrices=False)
        return left, correlations, right.T

    @cached_property
    def correlations(self) -> Array:
        """Canonical correlations, from the decomposition where there is one already."""
        if "svd" in vars(self):
            return self.svd[1]
        return namespace(self.matrix).linalg.svdvals(self.matrix)

    def swapped(self) -> Overlap:
        """The overlap of (y, x)."""
        return Overlap(self.matrix.T, self)


def meet(x: Subspace, y: Subspace) -> Overlap:
    """Return the overlap of two column spaces."""
    return Overlap(x.u.T @ y.u)
