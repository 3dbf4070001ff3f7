"""Statistics family: one number per representation, and how far two of them lie apart, whatever the order of the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import Array, machine_epsilon, namespace, scalar
from homolog.blocks.scan import tiles
from homolog.diagnostics import Caution, constant_layers
from homolog.gradients import CORNER, smooth_unless
from homolog.linalg import centre, power_of_two, unit_rows
from homolog.operands.family import Cost, Family
from homolog.operands.gram import squared_distances

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

    @cached_property
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

    @cached_property
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
                squared = (_direct if far else squared_distances)(points, rows, columns)
                weight = 1 if rows == columns else 2
                total = total + weight * xp.sum(xp.exp(-SHARPNESS * (squared * scale) * scale))
        return xp.log(total / n**2)

    @cached_property
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


def _direct(points: Array, rows: slice, columns: slice) -> Array:
    """Return squared distances from differences."""
    differences = points[rows, None, :] - points[None, columns, :]
    return namespace(points).sum(differences**2, axis=2)


def examine(operands: Mapping[str, Cloud], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers."""
    return constant_layers([label for label, operand in operands.items() if bool(operand.constant)])


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: Any, form: None) -> Cost:
    """Return floating-point operations, of uniformity if it is asked for, and bytes."""
    n, most = shapes[0][0], max(p for _, p in shapes)
    # Rows of a layer that is wider than all of them fit are compared one by one.
    tile = max(56 * min(n, ROWS) * min(n, COLUMNS), 24 * min(max(DIRECT, most), n * n * most))
    return Cost(float(sum(1.0 * n * n * p for _, p in shapes)), 0, 16 * n * most, 32 * n * most + tile)


STATISTICS = Family(
    "statistics",
    lambda x: Cloud(x, namespace(x).all(centre(x).dead)),
    lambda x, y: None,
    lambda meeting: meeting,
    examine,
    cost=cost,
    host=True,
    # Nothing depends on the order of the examples.
    reorder=lambda cloud, order: cloud,
    record={"kind": "distance", "symmetric": True, "metric": True, "differentiable": True},
)
