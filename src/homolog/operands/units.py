"""Neurons family: units matched to units by the correlation of their activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import scipy

from homolog.arrays import Array, carries_gradient, count, detached, namespace, to_numpy
from homolog.blocks.budget import Cost, Sizes
from homolog.diagnostics import Caution
from homolog.gradients import TIE, moved
from homolog.linalg import squared_norm
from homolog.operands.family import Invariances, Pairs, ProductFamily
from homolog.operands.representation import ArrayRepresentation, Representation
from homolog.warning_sentences import dead_units


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

    units: Any
    """(n, p) columns of mean 0 and norm 1, or what reads them; a unit that never varies is 0."""
    weights: Array
    """(p,) norms of the centred columns, of a representation of unit Frobenius norm."""
    dead: int
    """Number of units that never vary."""
    constant: Array
    """0-d bool: no unit varies."""
    moving: Array | None = None
    """Where a gradient flows, (n, p) centred columns of a representation of unit Frobenius norm."""

    def reordered(self, order: np.ndarray) -> Neurons:
        """Return the units over the same examples in another order."""
        return replace(self, units=self.units[order, :])


def unit_norm(sizes: Array) -> Array:
    """Return numbers, none of them negative, of norm 1, or all 0."""
    xp = namespace(sizes)
    most = xp.max(sizes)
    sizes = sizes / xp.where(most > 0, most, xp.ones_like(most))
    squared = squared_norm(sizes)
    return sizes / xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))


@final
class NeuronFamily(ProductFamily):
    """Measures of the correlations of units with units."""

    name = "neurons"
    record: ClassVar = {"symmetric": True, "differentiable": True, "invariances": Invariances()}
    # Columns, largest magnitudes, and norms.
    passes = 3
    squares = False

    def prepare(self, x: Representation, **_: Any) -> Neurons:
        """Standardise every unit."""
        norms, dead = x.norms, x.centred.dead
        xp = namespace(norms)
        units = x.divided(xp.where(norms > 0, norms, xp.ones_like(norms)))
        return Neurons(units, unit_norm(norms), count(dead), x.constant, _moving(x))

    def rows(self, x: Neurons) -> Any:
        """Return the standardised units."""
        return x.units

    def shared(self, product: Array) -> Array:
        """Return the (p, q) correlations of the units of x with those of y."""
        return product

    def remarks(self, operands: Mapping[str, Neurons], pairs: Pairs) -> list[Caution]:
        """Name the layers with dead units."""
        return dead_units({label: x.dead for label, x in operands.items() if x.dead and not bool(x.constant)})

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Return what correlations take, without the assignments."""
        i, j = sizes.pairs()
        flops, most = float(np.sum(2.0 * sizes.n * sizes.widths[i] * sizes.widths[j])), sizes.widest
        # While units are assigned to each other there are several matrices of pairs of units.
        return Cost(flops, 8 * sizes.n * int(sizes.widths.sum()), 32 * sizes.n * most, 96 * most**2)

    def workspace(self, n: int, width: int) -> int:
        """Return the bytes of a few blocks of rows."""
        return 32 << 20


def _moving(x: Representation) -> Array | None:
    """Return centred columns of unit Frobenius norm, where a gradient flows."""
    if not isinstance(x, ArrayRepresentation) or not carries_gradient(x.array):
        return None
    xp, scaled = namespace(x.array), x.array / x.centred.scale
    moving = scaled - xp.mean(scaled, axis=0, keepdims=True)
    size = squared_norm(moving)
    return moving / xp.sqrt(xp.where(size > 0, size, xp.ones_like(size)))


NEURONS = NeuronFamily()


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
