"""Kernels of distances of representations on disk: the exact median distance, and inner products from one walk each.

Centring removes whatever is added to whole rows and columns of a structure. Means of the rows estimated from a few columns are
subtracted before the products, so that the exact ones, known only at the end, leave little to cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from homolog.blocks.median import median, sample, squared_distances
from homolog.blocks.products import products_of
from homolog.blocks.scan import ROWS, Part, Slabs, Tile, over_part
from homolog.operands.gram import enlarged, rbf_width_of
from homolog.operands.summaries import StructureRows


@dataclass(frozen=True)
class Bells:
    """A kernel of the distances between the rows of one layer."""

    points: StructureRows
    width: float | None
    """2σ² of the RBF kernel; None for minus the distances themselves."""
    near: np.ndarray
    """(n,) estimated means of the rows of the kernel."""
    enlarged: float = 1.0
    """As of a `Bell`."""
    no_width: bool = False
    """Whether over half of the distances are 0."""

    @property
    def peak(self) -> float:
        """The kernel of a row with itself."""
        return 0.0 if self.width is None or self.enlarged > 1 else 1.0

    def of(self, squared: np.ndarray) -> np.ndarray:
        """Return the kernel of squared distances, in place."""
        if self.width is None:
            return np.negative(np.sqrt(squared, out=squared), out=squared)
        squared /= -squared.dtype.type(self.width)
        if self.enlarged == 1:
            return np.exp(squared, out=squared)
        np.expm1(squared, out=squared)
        squared *= self.enlarged**2
        return squared

    def tile(self, x: np.ndarray, y: np.ndarray, at: Tile) -> np.ndarray:
        """Return the kernel between rows, less what the estimated means explain of it."""
        found = self.of(squared_distances(x, y, at))
        rows, columns = (self.near[part].astype(x.dtype) for part in at)
        found -= (rows - rows.dtype.type(self.near.mean()))[:, None]
        found -= columns[None, :]
        return found


def bells_of(layer: tuple[StructureRows, Slabs], each: Any, *, median_fraction: float | None, keep: int) -> Bells:
    """Prepare the kernel of one layer; `keep` is how many distances near the median may be held."""
    points, slabs = layer
    n = points.n
    some = sample(points, n)
    width, middle = None, None
    if median_fraction is not None:
        middle = points.dtype.type(median(points, some, slabs, keep, each))
        width = float(rbf_width_of(middle, median_fraction))
    no_width = median_fraction is not None and middle == 0
    bells, near = Bells(points, width, np.empty(0), enlarged(median_fraction), no_width), np.empty(n)
    apart = slice(0, 0), slice(1, 1)
    for start, stop in points.stretches(0, n):
        block = points.features(start, stop)
        for first in range(start, stop, ROWS):
            distances = squared_distances(block[first - start : first - start + ROWS], some, apart)
            near[first : first + len(distances)] = bells.of(distances).mean(axis=1)
    return replace(bells, near=near)


def bell_part(
    part: Part, each: Any, *, bells: Sequence[Bells], n: int, slabs: Slabs, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the products of the tiles of one part, and the sums (layers, n) of what it holds of each row."""
    total, sums = np.zeros((len(bells), len(bells))), np.zeros((len(bells), n))
    points = [bell.points for bell in bells]
    for at, products, along_rows, along_columns in over_part(
        part, points, slabs, dtype, partial(_bell_tile, bells), each
    ):
        total += products
        sums[:, at[0]] += along_rows
        if at[0] != at[1]:
            sums[:, at[1]] += along_columns
    return total, sums


def centred_products(bells: Sequence[Bells], total: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return off-diagonal inner products of all pairs of centred kernels, and (layers, n) their diagonals."""
    near = np.stack([bell.near for bell in bells])
    peaks = np.array([[bell.peak] for bell in bells])
    own = peaks - 2 * near + near.mean(axis=1, keepdims=True)
    n = near.shape[1]
    means = sums / n
    # ⟨HKH, HLH⟩ = ⟨K, L⟩ − 2/n k·l + Σk Σl / n², k and l the row sums.
    whole = total + own @ own.T - 2 * n * means @ means.T + n * n * np.outer(means.mean(axis=1), means.mean(axis=1))
    diagonals = own - 2 * means + means.mean(axis=1, keepdims=True)
    return whole - diagonals @ diagonals.T, diagonals


def _bell_tile(bells: Sequence[Bells], xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> Any:
    stacked = np.stack([bell.tile(x, y, at) for bell, x, y in zip(bells, xs, ys, strict=True)])
    along_rows, along_columns = (stacked.sum(axis=axis, dtype=float) for axis in (2, 1))
    return at, products_of(stacked, at), along_rows, along_columns
