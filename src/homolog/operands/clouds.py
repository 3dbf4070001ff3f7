"""Statistics family: one number per representation, and how far two of them lie apart, whatever the order of the examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from homolog.arrays import Array, machine_epsilon, namespace, scalar
from homolog.blocks.budget import Cost, Sizes
from homolog.blocks.scan import tiles
from homolog.blocks.workers import computed_once
from homolog.diagnostics import Caution
from homolog.gradients import CORNER, smooth_unless
from homolog.linalg import centre, power_of_two, squared_distances, unit_rows
from homolog.operands.family import Family, Pairs
from homolog.operands.representation import ArrayRepresentation

ROWS, COLUMNS = 512, 2048
"""Rows and columns whose distances are held at a time."""
DIRECT, FINE = 1 << 20, 1e-10
"""Differences that are held at a time where products will not do, and the error of a squared distance that will."""
SHARPNESS = 2.0
"""t of exp(−t·d²)."""


@dataclass(frozen=True)
class Cloud:
    """A representation as a cloud of points."""

    points: Array
    """(n, p)"""
    constant: Array
    """0-d bool: nothing varies."""

    def reordered(self, order: np.ndarray) -> Cloud:
        """Return the same: nothing depends on the order of the examples."""
        return self

    @computed_once
    def magnitude(self) -> Array:
        """0-d: norm of the mean."""
        xp = namespace(self.points)
        scale = power_of_two(xp.max(xp.abs(self.points)))
        mean = xp.mean(self.points / scale, axis=0)
        squared = mean @ mean
        positive = squared > 0
        root = xp.sqrt(xp.where(positive, squared, xp.ones_like(squared)))
        norm = scale * xp.where(positive, root, xp.zeros_like(root))
        return smooth_unless(norm, lambda: not _points_somewhere(mean, self.points.shape[0]), _NO_MEAN, mean)

    @computed_once
    def uniformity(self) -> Array:
        """0-d: logarithm of the mean of exp(−2·d²) over all pairs, a row with itself included."""
        xp, n = namespace(self.points), self.points.shape[0]
        centred = centre(self.points)
        points, scale = centred.features, centred.scale
        norms = xp.linalg.vecdot(points, points)
        with np.errstate(over="ignore", invalid="ignore"):
            # Products of rows lose the differences of rows that are far from the mean and near each other.
            far = scalar(xp.max(norms) * scale) * scalar(scale) * machine_epsilon(points) > FINE
            side = max(1, int((DIRECT / points.shape[1]) ** 0.5))
            total = xp.zeros_like(points[0, 0])
            for rows, columns in tiles(n, *((side, side) if far else (ROWS, COLUMNS))):
                squared = (_from_differences if far else squared_distances)(
                    points[rows, :], points[columns, :], same=rows == columns
                )
                weight = 1 if rows == columns else 2
                total = total + weight * xp.sum(xp.exp(-SHARPNESS * (squared * scale) * scale))
        return xp.log(total / n**2)

    @computed_once
    def concentricity(self) -> Array:
        """0-d: mean cosine of the rows with their mean."""
        xp = namespace(self.points)
        mean = xp.mean(self.points / power_of_two(xp.max(xp.abs(self.points))), axis=0)
        # What centring leaves of a mean is rounding, which points nowhere.
        left = xp.max(xp.abs(mean)) > self.points.shape[0] * machine_epsilon(mean)
        mean = xp.where(left, mean, xp.zeros_like(mean))
        found = xp.mean(unit_rows(self.points, about_mean=False) @ unit_rows(mean[None, :], about_mean=False)[0, :])
        return smooth_unless(found, lambda: not _points_somewhere(mean, self.points.shape[0]), _NO_MEAN)


_NO_MEAN = "the mean is 0, where its norm has a corner and its direction jumps"


def _points_somewhere(mean: Array, n: int) -> bool:
    """Say whether a mean of rows of magnitude about 1 is more than rounding, of the mean and of whoever centred them."""
    return scalar(namespace(mean).max(namespace(mean).abs(mean))) > max(n * machine_epsilon(mean), CORNER)


def _from_differences(x: Array, y: Array, *, same: bool) -> Array:
    """Return squared distances from differences."""
    return namespace(x).sum((x[:, None, :] - y[None, :, :]) ** 2, axis=2)


@final
class StatisticsFamily(Family):
    """Measures that compare one number of each representation."""

    name = "statistics"
    as_given = True
    record: ClassVar = {"kind": "distance", "symmetric": True, "metric": True, "differentiable": True}

    def prepare(self, x: ArrayRepresentation, **_: Any) -> Cloud:
        """Return the points."""
        return Cloud(x.array, x.constant)

    def meet(self, x: Cloud, y: Cloud) -> None:
        """Share nothing."""

    def remarks(self, operands: Mapping[str, Cloud], pairs: Pairs) -> list[Caution]:
        """Know nothing."""
        return []

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Return what uniformity takes, if it is asked for."""
        n, most = sizes.n, sizes.widest
        # Rows of a layer that is wider than all of them fit are compared one by one.
        tile = max(56 * min(n, ROWS) * min(n, COLUMNS), 24 * min(max(DIRECT, most), n * n * most))
        return Cost(float(np.sum(1.0 * n * n * sizes.widths)), 0, 16 * n * most, 32 * n * most + tile)


STATISTICS = StatisticsFamily()
