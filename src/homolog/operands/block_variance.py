"""How far estimates from sketches may be off, from what single blocks of columns give.

The columns of each sketch come in `BLOCKS` blocks that are independent and alike. What is estimated of a pair of layers is a
smooth function f of sums over pairs of blocks, T = Σ h(i, j). With tᵢ, the sum of h(i, j) over j less its mean over blocks, the
effect of a block is rᵢ = f′ · tᵢ, that of a pair of blocks beside it zᵢⱼ = f′ · (h(i, j) less the means of its row and its
column) + tᵢ f″ tⱼ, and

    M = Σ rᵢ²,        Q = Σ zᵢⱼ² over i < j,        variance of f ≈ M − Q.

M alone, the jackknife, counts twice what depends on two blocks together (Efron & Stein 1981, Annals of Statistics 9: 586-596):
nearly everything where CKA is near 1, since the effects of single blocks cancel there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from homolog.sketching import BLOCKS

LOST = BLOCKS / (BLOCKS - 1)
"""By how much squares of deviations from a mean over blocks are too small."""
LEAST = 0.7
"""Times Q is the least variance. It is Q at least, but for noise; that floor would make errors too large on average."""
STEP = 1e-5
"""Of numerical derivatives, relative to the terms of a statistic."""
FIELDS = 3
"""Statistics of an inner product: its off-diagonal part, the product of diagonals, that of traces."""


class PairBlocks(NamedTuple):
    """What single blocks of columns give, (3, blocks of x, blocks of y), one block where a side is no sketch."""

    cross: np.ndarray
    x: np.ndarray
    """Of x with itself."""
    y: np.ndarray
    alike: bool
    """Whether both layers have the same random numbers, and so the same blocks."""


class BlockTable(NamedTuple):
    """Statistics of a pair, of ⟨K, L⟩, ⟨K, K⟩ and ⟨L, L⟩, as sums over blocks and over pairs of blocks."""

    double: np.ndarray
    """(9, blocks, blocks), above the diagonal; nothing within one sketch."""
    single: np.ndarray
    """(9, blocks), of products with a layer that is no sketch."""

    @classmethod
    def of(cls, blocks: PairBlocks) -> BlockTable:
        """Put together what blocks give of the pair, and of each layer with itself."""
        cross, x, y, alike = blocks
        sketched_x, sketched_y = (own.shape[1] > 1 for own in (x, y))
        first, second = cross.shape[1] * sketched_x, cross.shape[2] * sketched_y
        starts = 0, 0 if alike else first
        count = max(first, second) if alike else first + second
        double, single = np.zeros((3 * FIELDS, count, count)), np.zeros((3 * FIELDS, count))
        if alike:
            double[:FIELDS] = _folded(cross)
        elif sketched_x and sketched_y:
            double[:FIELDS, :first, first:] = cross
        else:
            single[:FIELDS] = cross.reshape(FIELDS, count)
        for own, start, at in ((x, starts[0], FIELDS), (y, starts[1], 2 * FIELDS)):
            if own.shape[1] > 1:
                inside = slice(start, start + own.shape[1])
                double[at : at + FIELDS, inside, inside] = _folded(own)
        return cls(double, single)

    def effects(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (9, blocks) what single blocks add, and (9, blocks, blocks) what pairs of blocks add beside that."""
        count = self.single.shape[1]
        single = self.double.sum(axis=1) + self.double.sum(axis=2) + self.single
        single = single.reshape(-1, count // BLOCKS, BLOCKS)
        double = self.double.reshape(-1, count // BLOCKS, BLOCKS, count // BLOCKS, BLOCKS)
        double = double - double.mean(axis=2, keepdims=True)
        double = double - double.mean(axis=4, keepdims=True)
        single = single - single.mean(axis=2, keepdims=True)
        return single.reshape(-1, count), double.reshape(-1, count, count)


def _folded(table: np.ndarray) -> np.ndarray:
    """Return (…, blocks, blocks) above the diagonal what a table holds on both sides of it."""
    return np.triu(table + np.swapaxes(table, -1, -2), 1)


def variance(single: np.ndarray, double: np.ndarray) -> float:
    """Return M − Q, from (blocks,) effects of single blocks and (blocks, blocks) of pairs of them, each pair once."""
    jackknife, pairs = LOST * float(np.sum(single**2)), LOST**2 * float(np.sum(double**2))
    return max(jackknife - pairs, LEAST * pairs)


def bias_and_error(table: BlockTable, slope: np.ndarray, curvature: np.ndarray) -> tuple[float, float]:
    """Return how far a function of (9,) statistics is off on average, and its standard error, from f′ (9,) and f″ (9, 9)."""
    single, double = table.effects()
    flat = double.reshape(len(double), -1)
    covariance = LOST * single @ single.T - LOST**2 * flat @ flat.T
    both = np.tensordot(slope, double, 1) + np.triu(single.T @ curvature @ single, 1)
    return float(np.sum(curvature * covariance)) / 2, float(np.sqrt(variance(slope @ single, both)))


def derivatives(value: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return f′ (9,) and f″ (9, 9) of a function of (…, 9) statistics, by differences."""
    parts = np.abs(at.reshape(-1, FIELDS))
    # What an inner product is the sum of may cancel.
    parts[:, :2] = parts[:, :2].sum(axis=1, keepdims=True)
    step = STEP * np.where(parts > 0, parts, 1.0).reshape(-1)
    count, moves = len(at), np.diag(step)
    i, j = np.triu_indices(count)
    found = value(at + np.concatenate([np.zeros((1, count)), moves, -moves, moves[i] + moves[j]]))
    middle, ahead, behind, both = np.split(found, [1, 1 + count, 1 + 2 * count])
    curvature = np.zeros((count, count))
    curvature[i, j] = curvature[j, i] = (both - ahead[i] - ahead[j] + middle) / (step[i] * step[j])
    return (ahead - behind) / (2 * step), curvature
