"""The operand of the subspace family, a thin SVD, and what two of them share: the overlap of their column spaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from homolog.arrays import Array, count, detached, identity_like, namespace, scalar
from homolog.blocks.products import opened
from homolog.blocks.workers import computed_once
from homolog.gradients import VANISHING, Decomposition, smooth_nuclear_norm, smooth_unless, splits
from homolog.linalg import TIE_TOLERANCE, overlap_svd, squared_norm
from homolog.operands.representation import Representation

BORDER = 1e-11
"""Shares of the variance this near to a threshold are at it."""


@dataclass(frozen=True)
class Subspace:
    """Thin SVD of the centred features, cut at the numerical rank."""

    n: int
    u: Any
    """(n, r) orthonormal columns, or what reads them."""
    s: Array
    """(r,) singular values of the features divided by a power of two, descending."""
    v: Any
    """(p, r) orthonormal columns, or what reads them."""
    constant: Array
    """0-d bool: nothing varies, and the rank is 0."""
    cut: bool
    """Whether the rank rule left out directions that are more than rounding of the dtype given."""
    scale: Array
    """0-d power of two by which the features were divided."""
    core: Array | None = None
    """Where a gradient flows, the symmetric (r, r) matrix of value diag(s) that carries that of the singular values."""
    whole: Decomposition | None = None
    """Where a gradient flows, the decomposition before the cut."""

    @property
    def rank(self) -> int:
        """Numerical rank r."""
        return int(self.s.shape[0])

    @property
    def weights(self) -> Array:
        """(r,) singular values of the representation scaled to unit Frobenius norm."""
        return self.s / namespace(self.s).sqrt(squared_norm(self.s))

    @property
    def spectrum(self) -> Array:
        """The singular values (r,), or the matrix (r, r) of them through which a gradient flows."""
        return self.s if self.core is None else self.core

    @property
    def unit_spectrum(self) -> Array:
        """The same of the representation scaled to unit Frobenius norm."""
        spectrum = self.spectrum
        return spectrum / namespace(spectrum).sqrt(squared_norm(spectrum))

    def kept(self, threshold: float) -> int:
        """Count the leading components that explain a fraction of the variance."""
        xp = namespace(self.s)
        explained = xp.cumulative_sum(self.weights**2)
        # A sum of rounded terms may end just below a threshold of 1.
        below = explained < threshold * (1 - 1e-12)
        return min(count(below) + 1, self.rank)

    def reordered(self, order: Array) -> Subspace:
        """Return the decomposition of the same examples in another order."""
        return replace(self, u=self.u[order, :])

    def opened(self) -> Subspace:
        """Return the same with what a cache holds of it in memory."""
        return replace(self, u=opened(self.u), v=self.v[:])

    def jumps(self, threshold: float) -> bool:
        """Say whether the least change may change that count, or which components they are."""
        explained = namespace(self.s).cumulative_sum(self.weights**2)[:-1]
        at_threshold = count(namespace(self.s).abs(explained - threshold) <= BORDER) > 0
        return at_threshold or splits(self.s, self.kept(threshold))

    def splits_tie(self, threshold: float) -> bool:
        """Say whether the leading components are some of several that are equally strong."""
        kept = self.kept(threshold)
        return kept < self.rank and scalar(self.s[kept - 1] - self.s[kept]) <= TIE_TOLERANCE * scalar(self.s[0])


def subspace_of(x: Representation) -> Subspace:
    """Return the decomposition of a representation, in float64 where the device has it."""
    found, precise = x.svd, x.exact
    cut = scalar(found.dropped) > max(x.n, found.v.shape[0]) * x.epsilon
    core, scale = None if found.whole is None else found.core, precise.centred.scale
    return Subspace(x.n, found.u, found.s, found.v, precise.constant, cut, scale, core, found.whole)


def times(first: Array, matrix: Array) -> Array:
    """Return diag(first) · matrix, or first · matrix where that is a matrix through which a gradient flows."""
    return first[:, None] * matrix if first.ndim == 1 else first @ matrix


def columns_times(matrix: Array, second: Array) -> Array:
    """Return matrix · diag(second), or matrix · second."""
    return matrix * second[None, :] if second.ndim == 1 else matrix @ second


def weighted_matrix(first: Array, matrix: Array, second: Array) -> Array:
    """Return diag(first) · matrix · diag(second), or the same of matrices."""
    if first.ndim == second.ndim == 1:
        return first[:, None] * matrix * second[None, :]
    return columns_times(times(first, matrix), second)


def weighted_square(first: Array, matrix: Array, second: Array) -> Array:
    """Return Σ first_i matrix_ij² second_j, of matrices tr(first · matrix · second · matrix^T)."""
    xp = namespace(matrix)
    if first.ndim == second.ndim == 1:
        return xp.sum(first[:, None] * matrix**2 * second[None, :])
    return xp.sum(times(first, matrix) * columns_times(matrix, second))


def shrunk(spectrum: Array, slope: float, offset: float) -> Array:
    """Return s² / (slope · s² + offset) of singular values, or the same function of a symmetric matrix."""
    if spectrum.ndim == 1:
        squared = spectrum**2
        return squared / (squared * slope + offset)
    squared = spectrum @ spectrum
    return namespace(squared).linalg.solve(squared * slope + offset * identity_like(squared), squared)


@dataclass(frozen=True)
class Overlap:
    """C = U_X^T U_Y of a pair; its decomposition, if asked for, serves both directions."""

    matrix: Array
    """(r_x, r_y)"""
    mirror: Overlap | None = None

    @computed_once
    def svd(self) -> tuple[Array, Array, Array]:
        """Canonical directions of x, canonical correlations, canonical directions of y."""
        if self.mirror is not None:
            left, correlations, right = self.mirror.svd
            return right, correlations, left
        left, correlations, right = overlap_svd(self.matrix)
        return left, correlations, right.T

    @computed_once
    def correlations(self) -> Array:
        """Canonical correlations, from the decomposition where there is one already."""
        if "svd" in vars(self):
            return self.svd[1]
        return namespace(self.matrix).linalg.svdvals(self.matrix)

    @computed_once
    def vanishes(self) -> bool:
        """Whether some canonical correlation is 0 up to rounding."""
        return scalar(namespace(self.matrix).linalg.svdvals(detached(self.matrix))[-1]) <= VANISHING

    def nuclear_norm(self, matrix: Array) -> Array:
        """Sum of the singular values of a matrix of the same rank as the overlap: cosines, which all are above 0."""
        reason = "a canonical correlation is 0, where a nuclear norm has a corner"
        return smooth_unless(smooth_nuclear_norm(matrix), lambda: self.vanishes, reason)

    @property
    def T(self) -> Overlap:
        """The overlap of (y, x)."""
        return Overlap(self.matrix.T, self)
