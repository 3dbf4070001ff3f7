"""Subspace family: everything that is a function of the overlap C = U_X^T U_Y and of S_X, S_Y, V_X, V_Y.

One thin SVD per representation, one small product per pair; CCA, SVCCA, PWCCA, linear regression and the Procrustes
distance are formulas over them (Kornblith et al. 2019, section 3 and appendix C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, final

import numpy as np

from homolog.arrays import Array, constant_like, machine_epsilon, namespace, scalar
from homolog.blocks.budget import Cost, Sizes
from homolog.diagnostics import Caution
from homolog.gradients import CORNER, SAME, smooth_unless
from homolog.operands.family import Family, Invariances, Pairs, ProductFamily
from homolog.operands.representation import Representation
from homolog.operands.subspace import Overlap, Subspace, subspace_of
from homolog.warning_sentences import dropped_directions, saturation


def nan_at_rank_zero(formula: Callable[..., Array]) -> Callable[..., Array]:
    """Give NaN where a side is constant, and has no column space."""

    @wraps(formula)
    def guarded(x: Subspace, y: Subspace, overlap: Overlap, **options: Any) -> Array:
        if 0 in overlap.matrix.shape:
            return constant_like(float("nan"), overlap.matrix)
        return formula(x, y, overlap, **options)

    return guarded


_RECORD = {"symmetric": True, "differentiable": True, "invariances": Invariances(orthogonal="xy")}


@final
class SubspaceFamily(ProductFamily):
    """Measures of two column spaces and of the spectra on them."""

    name = "subspace"
    record: ClassVar = _RECORD
    guard = staticmethod(nan_at_rank_zero)
    shares = "svd"
    float32 = "as given"
    ranked = True
    # Columns, Gram matrix, and whitened rows.
    passes = 3
    squares = True

    def prepare(self, x: Representation, **_: Any) -> Subspace:
        """Decompose a representation, in float64 where the device has it."""
        return subspace_of(x)

    def rows(self, x: Subspace) -> Any:
        """Return the left singular vectors."""
        return x.u

    def shared(self, product: Array) -> Overlap:
        """Return the overlap of two column spaces."""
        return Overlap(product)

    def remarks(self, operands: Mapping[str, Subspace], pairs: Pairs) -> list[Caution]:
        """Name layers that lost directions, and the pairs where correlations of 1 are forced (Theorem 1)."""
        n = next(iter(operands.values())).n
        wholly = [label for label, x in operands.items() if x.rank >= n - 1]
        partly = [
            f"{a} and {b}"
            for a, b in pairs
            if operands[a].rank + operands[b].rank > n - 1
            and a not in wholly
            and b not in wholly
            and operands[a] is not operands[b]
        ]
        return _dropped(operands) + saturation(partly, wholly, n)

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Return what decompositions by QR take, then overlaps and their decompositions."""
        return _cost(sizes)

    def workspace(self, n: int, width: int) -> int:
        """Return the bytes of a Gram matrix and what is decomposed of it, or of a whole representation."""
        return 56 * width * width + (8 << 20) if width < n else 40 * n * width


@final
class PredictionFamily(Family):
    """Measures for which rows are mapped to those of the other side, which are not kept of layers on disk."""

    name = "predictions"
    record: ClassVar = _RECORD
    guard = staticmethod(nan_at_rank_zero)
    shares = "svd"
    float32 = "as given"

    def prepare(self, x: Representation, **_: Any) -> Subspace:
        """Decompose a representation."""
        return subspace_of(x)

    def meet(self, x: Subspace, y: Subspace) -> Overlap:
        """Return the overlap of two column spaces."""
        return Overlap(x.u.T @ y.u)

    def remarks(self, operands: Mapping[str, Subspace], pairs: Pairs) -> list[Caution]:
        """Name layers that lost directions; nothing saturates."""
        return _dropped(operands)

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Return what it takes: as of subspaces, and the rows of both sides where they are mapped to each other."""
        found = _cost(sizes)
        return replace(found, per_pair=found.per_pair + 56 * sizes.n * int(sizes.ranks.max()))


def _dropped(operands: Mapping[str, Subspace]) -> list[Caution]:
    return dropped_directions([label for label, x in operands.items() if x.cut])


def _cost(sizes: Sizes) -> Cost:
    n, p, r = sizes.n, sizes.widths.astype(float), sizes.ranks.astype(float)
    i, j = sizes.pairs()
    overlaps = np.sum(2.0 * n * r[i] * r[j] + 10.0 * r[i] * r[j] * np.minimum(r[i], r[j]))
    held, rank = 8 * int(np.sum((n + p + 1) * r)), int(r.max())
    flops = float(np.sum(4.0 * n * p * r + 22.0 * r**3) + overlaps)
    return Cost(flops, held, 32 * n * sizes.widest + 48 * rank**2, 64 * rank**2)


SUBSPACE, PREDICTIONS = SubspaceFamily(), PredictionFamily()
ROUNDINGS = 32
"""Of a difference of two numbers no more than so many roundings of them stands for nothing."""


def root(squared: Array, size: float = 1.0, roundings: int = ROUNDINGS) -> Array:
    """Return a distance from its square, 0 where that is rounding; `size` is what the square is a difference of."""
    xp = namespace(squared)
    nothing = roundings * machine_epsilon(squared) * size
    positive = ~(squared <= nothing)
    found = xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))
    return smooth_unless(found, lambda: scalar(squared) <= max(CORNER * size, nothing), SAME, squared)


def null_level_of_rank(x: Subspace, rank: int) -> Array:
    """Return the mean R² of independent data of a rank."""
    return constant_like(min(rank / (x.n - 1), 1.0), x.s)
