"""Spans family: units as vectors over the examples, matched where they lie in the span of the other side's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from homolog.arrays import Array, namespace, to_numpy
from homolog.diagnostics import Caution, SaturationWarning, constant_layers, listed
from homolog.linalg import centre
from homolog.operands.family import Cost, Family


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
