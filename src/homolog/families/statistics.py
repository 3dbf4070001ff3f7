"""Statistics family: one number per representation, and how far two of them lie apart, whatever the order of the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from homolog.arrays import Array, count, machine_epsilon, namespace, scalar
from homolog.cautions import Caution, constant_layers, without_direction
from homolog.families.grams import squared_distances
from homolog.families.walk import tiles
from homolog.family import Cost, Family
from homolog.gradients import CORNER, SAME, smooth_unless
from homolog.linalg import centre, power_of_two, unit_rows
from homolog.registry import Invariances, register, undefined_where

KLABUNDE_2025 = "Klabunde et al., ICLR 2025, arXiv:2408.00531"
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
        return smooth_unless(norm, lambda: not _points_somewhere(mean, self.points.shape[0]), _NO_MEAN)

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
    """Say whether a mean of rows of magnitude about 1 is more than rounding."""
    return scalar(namespace(mean).max(namespace(mean).abs(mean))) > n * machine_epsilon(mean)


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


def _no_direction(operands: Mapping[str, Cloud]) -> list[Caution]:
    """Say where the mean counts rows that have no cosine."""
    lost = {
        label: count(~namespace(cloud.points).any(cloud.points != 0, axis=1))
        for label, cloud in operands.items()
        if not bool(cloud.constant)
    }
    return without_direction(lost, "are 0 in all features", "their cosine with the mean is taken as 0")


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


def _between(x: Cloud, y: Cloud, name: str) -> Array:
    first, second = getattr(x, name), getattr(y, name)
    apart = smooth_unless(namespace(first).abs(first - second), lambda: _alike(first, second), SAME)
    return undefined_where(x.constant | y.constant, apart)


def _alike(first: Array, second: Array) -> bool:
    """Say whether two numbers differ by no more than rounding."""
    values = scalar(first), scalar(second)
    return abs(values[0] - values[1]) <= CORNER * max(abs(value) for value in values)


@register(
    STATISTICS,
    range=(0.0, float("inf")),
    invariances=Invariances(orthogonal="xy", isotropic_scaling="", translation=""),
    formula="| ‖mean_i x_i‖ − ‖mean_i y_i‖ |",
    reference="Wang, Rao, Guo, Wang, Liu & Guan, IEEE TKDE 2022; " + KLABUNDE_2025,
)
def magnitude_difference(
    x: Cloud, y: Annotated[Cloud, "the same examples; their order does not matter."], shared: None
) -> Annotated[Array, "In the units of the features."]:
    """Difference of the norms of the mean rows.

    | ‖mean_i x_i‖ − ‖mean_i y_i‖ |

    Cost O(n(p + q)). Says how large activations are on average, nothing of what they represent; 0 says little.

    >>> x = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> round(float(hl.magnitude_difference(x, 3 * x)), 6)  # 2·sqrt(1² + 2²)
    4.472136
    """
    return _between(x, y, "magnitude")


@register(
    STATISTICS,
    range=(0.0, float("inf")),
    invariances=Invariances(orthogonal="xy", isotropic_scaling=""),
    formula="|u(x) − u(y)|, u(x) = log mean_ij exp(−2‖x_i − x_j‖²)",
    reference="Wang & Isola, ICML 2020, arXiv:2005.10242; " + KLABUNDE_2025,
)
def uniformity_difference(
    x: Cloud, y: Annotated[Cloud, "the same examples; their order does not matter."], shared: None
) -> Annotated[Array, "At most log n."]:
    """Difference in how evenly the examples fill the space.

    |u(x) − u(y)| with u(x) = log mean_ij exp(−2‖x_i − x_j‖²), over all n² pairs.

    Cost O(n²(p + q)) in bounded memory. The width of the Gaussian is fixed: u is −log n for every representation whose rows are
    farther apart than about 3, so bring features to a common scale first (Wang & Isola take rows of norm 1).

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.uniformity_difference(x, 1000 * x)), 2), round(float(hl.uniformity_difference(10 * x, 1000 * x)), 2)
    (0.32, 0.0)
    """
    return _between(x, y, "uniformity")


@register(
    STATISTICS,
    caution=_no_direction,
    range=(0.0, 2.0),
    invariances=Invariances(orthogonal="xy", translation=""),
    formula="|c(x) − c(y)|, c(x) = mean_i cos(x_i, mean_j x_j)",
    reference="Wang, Rao, Guo, Wang, Liu & Guan, IEEE TKDE 2022; " + KLABUNDE_2025,
)
def concentricity_difference(
    x: Cloud, y: Annotated[Cloud, "the same examples; their order does not matter."], shared: None
) -> Array:
    """Difference in how far the examples point the same way.

    |c(x) − c(y)| with c(x) = mean_i cos(x_i, mean_j x_j).

    Cost O(n(p + q)). A mean offset of the features brings c to 1 whatever the rest.

    >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> round(float(hl.concentricity_difference(x, x + [1000.0, 0.0])), 6)  # 1 − cos 45°
    0.292893
    """
    return _between(x, y, "concentricity")
