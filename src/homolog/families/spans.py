"""Spans family: units as vectors over the examples, matched where they lie in the span of the other side's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from homolog.arrays import Array, constant_like, namespace, to_numpy
from homolog.cautions import Caution, SaturationWarning, constant_layers, listed
from homolog.family import Cost, Family
from homolog.linalg import centre, thin_svd
from homolog.registry import Invariances, register, undefined_where


@dataclass(frozen=True)
class Vectors:
    """Units as unit vectors over the examples; nothing is centred, and vectors of zeros are left out."""

    units: Array
    """(n, p') columns of norm 1."""
    constant: Array
    """0-d bool: no unit varies."""


def prepare(x: Array) -> Vectors:
    """Scale every unit to norm 1."""
    xp = namespace(x)
    largest = xp.max(xp.abs(x), axis=0)
    alive = np.flatnonzero(to_numpy(largest > 0))
    kept = xp.stack([x[:, int(i)] / largest[int(i)] for i in alive], axis=1) if len(alive) else x[:, :0]
    return Vectors(kept / xp.sqrt(xp.sum(kept**2, axis=0))[None, :], xp.all(centre(x).dead))


def reorder(x: Vectors, order: np.ndarray) -> Vectors:
    """Return the units over the same examples in another order."""
    return replace(x, units=x.units[order, :])


def meet(x: Vectors, y: Vectors) -> None:
    """Nothing is shared by all thresholds."""


def examine(operands: Mapping[str, Vectors], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and those whose units span everything."""
    constant = [label for label, operand in operands.items() if bool(operand.constant)]
    full = [
        label
        for label, operand in operands.items()
        if operand.units.shape[1] >= operand.units.shape[0] and label not in constant
    ]
    found = constant_layers(constant)
    if full:
        message = (
            f"{listed(full)}: as many units as examples, which may span everything, so that every unit is matched: use more "
            f"examples or fewer units."
        )
        found.append(Caution(SaturationWarning, message))
    return found


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return floating-point operations of one round of projections, and bytes."""
    n = shapes[0][0]
    widths = np.array([p for _, p in shapes], dtype=float)
    i, j = np.nonzero(np.triu(needed | needed.T))
    rounds = 4.0 * n * widths[i] * widths[j] + 4.0 * n * (widths[i] ** 2 + widths[j] ** 2)
    most = int(widths.max())
    return Cost(float(np.sum(rounds)), 8 * n * int(widths.sum()), 32 * n * most, 80 * n * most + 48 * min(n, most) ** 2)


SPANS = Family("spans", prepare, meet, lambda meeting: meeting, examine, cost=cost, host=True, reorder=reorder)


def _near(units: Array, others: Array, epsilon: float) -> np.ndarray:
    """Say which unit vectors lie within epsilon of the span of others."""
    xp = namespace(units)
    if 0 in (units.shape[1], others.shape[1]):
        return np.zeros(units.shape[1], dtype=bool)
    basis = thin_svd(others).u
    residual = units - basis @ (basis.T @ units)
    distance = xp.sqrt(xp.sum(residual**2, axis=0))
    # Vectors inside the span are within any epsilon, rounding or not.
    return to_numpy(distance <= epsilon + 1e-9)


def _columns(units: Array, flags: np.ndarray) -> Array:
    xp = namespace(units)
    kept = [units[:, int(i)] for i in np.flatnonzero(flags)]
    return xp.stack(kept, axis=1) if kept else units[:, :0]


@register(
    SPANS,
    kind="similarity",
    range=(0.0, 1.0),
    symmetric=True,
    invariances=Invariances(translation=""),
    formula="(|X*| + |Y*|) / (|X| + |Y|), X*, Y* the largest sets of units within ε of each other's span",
    reference="Wang, Hu, Gu, Hu, Wu, He & Hopcroft, NeurIPS 2018, arXiv:1810.11750",
    bounds={"epsilon": (0, 1)},
)
def maximum_match(
    x: Vectors,
    y: Vectors,
    meeting: None,
    *,
    epsilon: Annotated[float, "largest relative residual of a matched unit, in (0, 1]."] = 0.3,
) -> Array:
    """Share of units in the largest ε-match: sets X*, Y* each unit of which lies within ε of the span of the other set.

    (|X*| + |Y*|) / (|X| + |Y|). A unit is its vector over the examples; its distance from a span is the relative residual
    ‖x − QQ^T x‖ / ‖x‖.

    The maximum match is unique: units outside ε are dropped from both sides until none is left outside. Nothing is centred, so
    that adding a constant to a unit changes the value. Cost O(n·(p + q)²) per round. Not differentiable.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> noise = np.random.default_rng(1).normal(size=(100, 5))
    >>> float(hl.maximum_match(x, np.hstack([x[:, :3] @ np.ones((3, 3)) + x[:, :3], noise])))  # 3 of 5 and 3 of 8
    0.46153846153846156
    """
    sides = [x.units, y.units]
    total = sum(units.shape[1] for units in sides)
    while True:
        # Both sides lose their unmatched units in the same round: the fixed point is the same, and neither side comes first.
        near = [_near(sides[k], sides[1 - k], epsilon) for k in (0, 1)]
        if all(flags.all() for flags in near):
            break
        sides = [_columns(units, flags) for units, flags in zip(sides, near, strict=True)]
    value = sum(units.shape[1] for units in sides) / max(total, 1)
    return undefined_where(x.constant | y.constant, constant_like(value, x.units))
