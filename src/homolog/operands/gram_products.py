"""What the estimators of HSIC and CKA need of pairs of structures: inner products, diagonals and traces.

Every statistic comes from the centred Gram matrix K = HKH: the off-diagonal part of the inner product ⟨K, L⟩, the diagonals
k, l and the traces. U-centring removes what is additive in rows and columns, and so does centring; hence for every kernel

    ⟨K, L⟩ = off + k·l,        ⟨Ã, B̃⟩ = off − 2/(n−2) · k·l + tr K · tr L / ((n−1)(n−2)),

and the biased and the debiased estimators share one operand and one inner product (Székely & Rizzo 2014).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np

from homolog.arrays import Array, all_to_numpy, namespace, precise
from homolog.operands.block_variance import PairBlocks
from homolog.operands.structures import Gram

Estimator = Annotated[Literal["biased", "debiased"], '"biased" or "debiased" (n >= 4).']


class GramSums(NamedTuple):
    """What the estimators need of one side of a pair, or of many: fields broadcast against each other."""

    off_diagonal: Array
    """Off-diagonal part of ⟨K, K⟩."""
    diagonals: Array
    """k·k."""
    trace: Array
    squared_trace: Array
    """(tr K)²."""
    scale: Array
    constant: Array
    epsilon: Array | float
    """Spacing at 1 of the floats in which the Gram matrix was formed."""


class GramProducts(NamedTuple):
    """What the estimators need of a pair (0-d fields), or of all pairs at once (fields over layers of x, layers of y)."""

    n: int
    off_diagonal: Array
    """Off-diagonal part of ⟨K, L⟩."""
    diagonals: Array
    """k·l."""
    traces: Array
    """tr K · tr L."""
    x: GramSums
    y: GramSums
    exact: bool = True
    """Whether these are the statistics themselves, not estimates from sketches."""
    blocks: Mapping[tuple[int, int], PairBlocks] | None = None
    """Of each pair of which some are sketches what single blocks of columns give; of one pair under (0, 0)."""

    @property
    def T(self) -> GramProducts:
        """The same of (y, x), of one pair."""
        return self._replace(x=self.y, y=self.x, blocks=None)

    def at(self, i: int, j: int) -> GramProducts:
        """Return the same of one pair of all."""
        if np.ndim(self.off_diagonal) == 0:
            return self
        x, y = (GramSums(*(np.ravel(field)[k] for field in side)) for side, k in ((self.x, i), (self.y, j)))
        off, diagonals, traces = (np.asarray(part)[i, j] for part in (self.off_diagonal, self.diagonals, self.traces))
        return GramProducts(self.n, off, diagonals, traces, x, y, self.exact)

    @property
    def statistics(self) -> np.ndarray:
        """(9,) the inner products of a pair, and of each side with itself, as their parts."""
        own = [(side.off_diagonal, side.diagonals, side.squared_trace) for side in (self.x, self.y)]
        return np.array([self.off_diagonal, self.diagonals, self.traces, *own[0], *own[1]], dtype=float)

    def with_statistics(self, found: np.ndarray) -> GramProducts:
        """Return the same with other inner products, (…, 9)."""
        parts = np.moveaxis(found, -1, 0)
        x, y = (
            side._replace(off_diagonal=parts[k], diagonals=parts[k + 1], squared_trace=parts[k + 2])
            for side, k in ((self.x, 3), (self.y, 6))
        )
        return GramProducts(self.n, parts[0], parts[1], parts[2], x, y, self.exact)

    @classmethod
    def of_all(cls, n: int, products: Iterable[np.ndarray], sums: Sequence[GramSums]) -> GramProducts:
        """Return what all pairs share: off-diagonal parts of ⟨K, L⟩, k·l, and tr K · tr L where it is not their product.

        Of `sums` all but the inner products count.
        """
        trace, scale, constant, epsilon = (all_to_numpy([own[k] for own in sums]) for k in (2, 4, 5, 6))
        inner, diagonals, traces = (*products, np.outer(trace, trace))[:3]
        own = [np.diagonal(part, axis1=-2, axis2=-1) for part in (inner, diagonals, traces)]
        sides = GramSums(own[0], own[1], trace, own[2], scale, constant, epsilon)
        return cls(n, inner, diagonals, traces, along(sides, 0), along(sides, 1))


def along(own: GramSums, side: int) -> GramSums:
    """Return fields over (…, layers) as those of the rows of pairs, or of their columns."""
    at = (..., slice(None), None) if side == 0 else (..., None, slice(None))
    return GramSums(*(np.asarray(field)[at] for field in own))


def sums(x: Gram, inner: Array, diagonals: Array) -> GramSums:
    """Return what the estimators need of one representation."""
    trace = namespace(x.diagonal).sum(x.diagonal)
    return GramSums(inner, diagonals, trace, trace**2, precise(x.scale), x.constant, x.epsilon)


def inner_product(n: int, off_diagonal: Array, diagonals: Array, traces: Array, estimator: Estimator) -> Array:
    """⟨K, L⟩ (biased) or ⟨Ã, B̃⟩ (debiased), from centred statistics."""
    if estimator == "biased":
        return off_diagonal + diagonals
    return off_diagonal - 2 / (n - 2) * diagonals + traces / ((n - 1) * (n - 2))


def norm(own: GramSums, n: int, estimator: Estimator) -> Array:
    """Norm that CKA divides by: square root of the estimator's self-term."""
    xp = namespace(own.off_diagonal)
    squared = inner_product(n, own.off_diagonal, own.diagonals, own.squared_trace, estimator)
    # U-centring can leave nothing but rounding, for instance of one example that differs from all others.
    # An estimate from sketches may even be negative.
    vanishes = squared <= n * own.epsilon * xp.abs(own.off_diagonal + own.diagonals)
    return xp.sqrt(xp.where(vanishes, xp.full_like(squared, float("nan")), squared))
