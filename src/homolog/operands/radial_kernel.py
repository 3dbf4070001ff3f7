"""Kernels of the distances between rows: RBF, and minus the distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from homolog.arrays import Array, is_numpy, namespace, scalar
from homolog.blocks.scan import Tile
from homolog.linalg import squared_distances

NEAR_ONE = 10
"""Fractions of the median distance above which an RBF kernel is near 1 for most pairs of rows."""
WIDEST = 1e100
"""Fractions beyond this, or below its inverse, are taken as this: what they make of a kernel is the same."""


@final
@dataclass(frozen=True)
class RadialKernel:
    """The RBF kernel, or minus the distance; of an RBF kernel near 1 everywhere what sets it apart from 1, `enlarged` squared."""

    width: Any = None
    """2σ², or None for minus the distance."""
    enlarged: float = 1.0
    """1, or the fraction of the median where the kernel is near 1: float64 would keep few of its digits beside the 1."""
    near: Any = None
    """(n,) estimated means of the rows of the kernel, which its tiles are less."""

    @classmethod
    def of_median(cls, middle: Any, median_fraction: float) -> RadialKernel:
        """Return the RBF kernel with σ² = fraction² · median(d²), the median over all n² distances; 1 for a median of 0."""
        large = 1.0 if median_fraction <= NEAR_ONE else min(median_fraction, WIDEST)
        if scalar(middle) == 0:
            return cls(namespace(middle).ones_like(middle), large)
        return cls(2 * min(max(median_fraction, 1 / WIDEST), WIDEST) ** 2 * middle, large)

    @property
    def peak(self) -> float:
        """The kernel of a row with itself."""
        return 0.0 if self.width is None or self.enlarged > 1 else 1.0

    def of(self, squared: Array, out: np.ndarray | None = None) -> Array:
        """Return the kernel of squared distances; of NumPy's in `out`, which may be they themselves."""
        if is_numpy(squared):
            return self._of_numpy(squared, out)
        xp = namespace(squared)
        if self.width is None:
            # The gradient of sqrt is infinite at 0: equal rows are a corner, not a slope.
            positive = squared > 0
            return -xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), 0 * squared)
        if self.enlarged == 1:
            return xp.exp(-squared / self.width)
        return xp.expm1(-squared / self.width) * self.enlarged**2

    def _of_numpy(self, squared: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        if self.width is None:
            found: np.ndarray = np.sqrt(squared, out=out)
            return np.negative(found, out=found)
        found = np.divide(squared, -squared.dtype.type(self.width), out=out)
        if self.enlarged == 1:
            return np.exp(found, out=found)
        np.expm1(found, out=found)
        return np.multiply(found, self.enlarged**2, out=found)

    def tile(self, x: np.ndarray, y: np.ndarray, at: Tile) -> np.ndarray:
        """Return the kernel between rows, less what the estimated means explain of it."""
        squared = squared_distances(x, y, same=at[0] == at[1])
        found = self.of(squared, out=squared)
        rows, columns = (self.near[part].astype(x.dtype) for part in at)
        found -= (rows - rows.dtype.type(self.near.mean()))[:, None]
        found -= columns[None, :]
        return found
