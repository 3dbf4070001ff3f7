"""Subspace family: everything that is a function of the overlap C = U_X^T U_Y and of S_X, S_Y, V_X, V_Y.

One thin SVD per representation, one small product per pair; CCA, SVCCA, PWCCA, linear regression and the Procrustes
distance are the last line (Kornblith et al. 2019, section 3 and appendix C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np

from homolog.arrays import Array, constant_like, machine_epsilon, namespace, scalar
from homolog.diagnostics import Caution, constant_layers, dropped_directions, saturation
from homolog.gradients import CORNER, SAME, smooth_unless
from homolog.operands.blocked import plan_pairs
from homolog.operands.family import Cost, Family, Invariances, OnDisk
from homolog.operands.subspace import Overlap, Subspace, meet, prepare, reorder
from homolog.operands.summaries import SubspaceRows


def examine(operands: Mapping[str, Subspace], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and the pairs where correlations of 1 are forced (Theorem 1)."""
    found = constant_layers([label for label, operand in operands.items() if bool(operand.constant)])
    n = next(iter(operands.values())).n
    wholly = [label for label, operand in operands.items() if operand.rank >= n - 1]
    partly = [
        f"{a} and {b}"
        for a, b in pairs
        if operands[a].rank + operands[b].rank > n - 1
        and a not in wholly
        and b not in wholly
        and operands[a] is not operands[b]
    ]
    cut = [label for label, operand in operands.items() if operand.cut]
    return found + dropped_directions(cut) + saturation(partly, wholly, n)


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return floating-point operations (decompositions by QR, then overlaps and their decompositions) and bytes."""
    n = shapes[0][0]
    ranks = np.array([min(shape) for shape in shapes], dtype=float)
    flops = sum(4.0 * n * p * min(n, p) + 22.0 * min(n, p) ** 3 for _, p in shapes)
    i, j = np.nonzero(np.triu(needed | needed.T))
    overlaps = np.sum(2.0 * n * ranks[i] * ranks[j] + 10.0 * ranks[i] * ranks[j] * np.minimum(ranks[i], ranks[j]))
    held = 8 * int(sum((n + p + 1) * min(n, p) for _, p in shapes))
    width, rank = max(p for _, p in shapes), int(ranks.max())
    return Cost(flops + float(overlaps), held, 32 * n * width + 48 * rank**2, 64 * rank**2)


def nan_at_rank_zero(finish: Callable[..., Array]) -> Callable[..., Array]:
    """Give NaN where a side is constant, and has no column space."""

    @wraps(finish)
    def guarded(x: Subspace, y: Subspace, overlap: Overlap, **options: Any) -> Array:
        if 0 in overlap.matrix.shape:
            return constant_like(float("nan"), overlap.matrix)
        return finish(x, y, overlap, **options)

    return guarded


SUBSPACE = Family(
    "subspace",
    prepare,
    meet,
    Overlap.swapped,
    examine,
    guard=nan_at_rank_zero,
    rank=lambda operand: operand.rank,
    cost=cost,
    host=True,
    reorder=reorder,
    float32="as given",
    on_disk=OnDisk(
        # Columns, Gram matrix, and whitened rows.
        partial(plan_pairs, mapped=True, passes=3, needs=lambda n, p: 56 * p * p + (8 << 20) if p < n else 40 * n * p),
        summarise=SubspaceRows,
        meet=Overlap,
    ),
    record={"symmetric": True, "differentiable": True, "invariances": Invariances(orthogonal="xy")},
)
ROUNDINGS = 32
"""Of a difference of two numbers no more than so many roundings of them stands for nothing."""


def root(squared: Array, size: float = 1.0, roundings: int = ROUNDINGS) -> Array:
    """Return a distance from its square, 0 where that is rounding; `size` is what the square is a difference of."""
    xp = namespace(squared)
    nothing = roundings * machine_epsilon(squared) * size
    positive = ~(squared <= nothing)
    found = xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))
    return smooth_unless(found, lambda: scalar(squared) <= max(CORNER * size, nothing), SAME, squared)


def _null_level(x: Subspace, rank: int) -> Array:
    return constant_like(min(rank / (x.n - 1), 1.0), x.s)


def examine_predictions(operands: Mapping[str, Subspace], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and those of which directions were left out; nothing saturates."""
    constant = constant_layers([label for label, operand in operands.items() if bool(operand.constant)])
    return constant + dropped_directions([label for label, operand in operands.items() if operand.cut])


def cost_of_predictions(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return what it takes: as of subspaces, and the rows of both sides where they are mapped to each other."""
    found = cost(shapes, itemsizes, needed, form)
    return replace(found, meeting=found.meeting + 56 * shapes[0][0] * max(min(shape) for shape in shapes))


# Rows are needed, which are not kept of layers on disk.
PREDICTIONS = replace(
    SUBSPACE, name="predictions", examine=examine_predictions, cost=cost_of_predictions, on_disk=None, rank=None
)
