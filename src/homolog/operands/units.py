"""Neurons family: units matched to units by the correlation of their activity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import scipy

from homolog.arrays import Array, carries_gradient, count, detached, namespace, to_numpy
from homolog.blocks.column_statistics import columns_of
from homolog.blocks.scan import stretches
from homolog.blocks.source import ArrayCache, Summary
from homolog.diagnostics import Caution, constant_layers, dead_units
from homolog.gradients import TIE, moved
from homolog.linalg import centre, squared_norm
from homolog.operands.blocked import plan_pairs
from homolog.operands.family import Cost, Family, Invariances, OnDisk
from homolog.rows import Rows


def weighted_correlations(x: Neurons, y: Neurons, correlations: Array) -> Array:
    """X^T Y of centred columns and unit Frobenius norms."""
    found = x.weights[:, None] * correlations * y.weights[None, :]
    if x.moving is None and y.moving is None:
        return found
    # Unlike its correlations, the product with a unit that never varies has a derivative.
    first, second = (side.units * side.weights[None, :] if side.moving is None else side.moving for side in (x, y))
    return detached(found) + moved(first.T @ second)


ASSIGNMENTS = "several assignments are best, where the best has a corner"
MAXIMA = "a unit has several best matches, where the best has a corner"


@dataclass(frozen=True)
class Neurons:
    """Standardised units."""

    units: Array
    """(n, p) columns of mean 0 and norm 1; a unit that never varies is 0."""
    weights: Array
    """(p,) norms of the centred columns, of a representation of unit Frobenius norm."""
    dead: int
    """Number of units that never vary."""
    constant: Array
    """0-d bool: no unit varies."""
    moving: Array | None = None
    """Where a gradient flows, (n, p) centred columns of a representation of unit Frobenius norm."""


def prepare(x: Array) -> Neurons:
    """Standardise every unit."""
    xp = namespace(x)
    centred = centre(x)
    # Each column to its own largest magnitude first: squares of a faint unit beside a strong one would vanish.
    largest = xp.max(xp.abs(centred.features), axis=0, keepdims=True)
    columns = centred.features / xp.where(largest > 0, largest, xp.ones_like(largest))
    squared = xp.sum(columns * columns, axis=0, keepdims=True)
    norms = xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))
    sizes = xp.where(squared > 0, norms * largest, xp.zeros_like(norms))[0, :]
    moving = None
    if carries_gradient(x):
        moving = x / centred.scale - xp.mean(x / centred.scale, axis=0, keepdims=True)
        size = squared_norm(moving)
        moving = moving / xp.sqrt(xp.where(size > 0, size, xp.ones_like(size)))
    return Neurons(columns / norms, unit_norm(sizes), count(centred.dead), xp.all(centred.dead), moving)


def unit_norm(sizes: Array) -> Array:
    """Return numbers, none of them negative, of norm 1, or all 0."""
    xp = namespace(sizes)
    most = xp.max(sizes)
    sizes = sizes / xp.where(most > 0, most, xp.ones_like(most))
    squared = squared_norm(sizes)
    return sizes / xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))


def reorder(x: Neurons, order: Array) -> Neurons:
    """Return the units over the same examples in another order."""
    return replace(x, units=x.units[order, :])


def meet(x: Neurons, y: Neurons) -> Array:
    """(p, q) correlations of the units of x with those of y."""
    return x.units.T @ y.units


def examine(operands: Mapping[str, Neurons], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and the layers with dead units."""
    constant = [label for label, operand in operands.items() if bool(operand.constant)]
    dead = {label: op.dead for label, op in operands.items() if op.dead and label not in constant}
    return constant_layers(constant) + dead_units(dead)


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return floating-point operations (correlations, without the assignments) and bytes."""
    n = shapes[0][0]
    widths = np.array([p for _, p in shapes], dtype=float)
    i, j = np.nonzero(np.triu(needed | needed.T))
    most = int(widths.max())
    # While units are assigned to each other there are several matrices of pairs of units.
    return Cost(float(np.sum(2.0 * n * widths[i] * widths[j])), 8 * n * int(widths.sum()), 32 * n * most, 96 * most**2)


class NeuronRows(Summary):
    """Standardised units."""

    def __init__(self, rows: Rows, title: str, shelf: ArrayCache) -> None:
        self._rows = rows
        self._columns = columns = columns_of(rows, title, np.float64)
        largest = np.zeros(rows.shape[1])
        for first, last in stretches(rows):
            np.maximum(largest, np.abs(columns.centred(rows.read(first, last))).max(axis=0), out=largest)
        # Each column to its own largest magnitude first: squares of a faint unit beside a strong one would vanish.
        self._largest = np.where(largest > 0, largest, 1)
        squared = np.zeros(rows.shape[1])
        for first, last in stretches(rows):
            squared += np.sum((columns.centred(rows.read(first, last)) / self._largest) ** 2, axis=0)
        self._norms = np.sqrt(np.where(squared > 0, squared, 1))
        dead = columns.dead
        self.width = rows.shape[1]
        sizes = np.where(squared > 0, self._norms * self._largest, 0)
        self.operand = Neurons(np.empty((0, self.width)), unit_norm(sizes), int(dead.sum()), np.asarray(dead.all()))

    def features(self, start: int, stop: int) -> np.ndarray:
        """Return standardised rows."""
        found = self._columns.centred(self._rows.read(start, stop))
        found /= self._largest
        found /= self._norms
        return found


NEURONS = Family(
    "neurons",
    prepare,
    meet,
    lambda correlations: correlations.T,
    examine,
    cost=cost,
    host=True,
    reorder=reorder,
    on_disk=OnDisk(
        # Columns, largest magnitudes, and norms.
        partial(plan_pairs, mapped=False, passes=3, needs=lambda n, p: 32 << 20),
        summarise=NeuronRows,
    ),
    record={"symmetric": True, "differentiable": True, "invariances": Invariances()},
)


def alive(side: Neurons) -> np.ndarray:
    """Return which units vary."""
    return to_numpy(side.weights) > 0


def maxima_tie(x: Neurons, y: Neurons, correlations: np.ndarray) -> bool:
    """Say whether a unit of x correlates best with several of y; units that never vary, with 0 each, are one."""
    living = alive(y)
    kept = correlations[alive(x)][:, living]
    kept = kept if living.all() else np.column_stack([kept, np.zeros(len(kept))])
    best = np.sort(kept, axis=1)
    return bool(kept.shape[1] > 1 and np.any(best[:, -1] - best[:, -2] <= TIE))


def assignments_tie(x: Neurons, y: Neurons, gain: np.ndarray) -> bool:
    """Say whether several assignments are best, of units that vary: the least change one way or the other tells."""
    change = TIE * np.random.default_rng(0).random(gain.shape)
    found = []
    for changed in (gain + change, gain - change):
        plan = np.zeros(gain.shape)
        plan[scipy.optimize.linear_sum_assignment(changed, maximize=True)] = 1
        found.append(plan[alive(x)][:, alive(y)])
    return not np.array_equal(*found)
