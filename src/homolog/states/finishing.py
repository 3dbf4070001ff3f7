"""Sums over a stream → the operands and meetings that the last lines of the measures are written for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import to_numpy
from homolog.engine.finishing import finished
from homolog.engine.planning import Plan
from homolog.engine.run import Outcome, concluded, empty, note, unordered
from homolog.linalg import numerical_rank
from homolog.measures.evaluation import examined
from homolog.measures.record import Measure
from homolog.operands.gram_statistics import Meeting, Side
from homolog.operands.subspace import Overlap, Subspace
from homolog.operands.units import Neurons, unit_norm

if TYPE_CHECKING:
    from homolog.states.layers import Sides
    from homolog.states.moments import Moments
EPSILON = float(np.finfo(float).eps)


def outcome_of(plan: Plan, centred: Moments, sides: Sides) -> Outcome:
    """Evaluate every measure of a plan on centred moments."""
    outcome = empty(plan)
    layers = [CentredLayer(centred, index) for index in range(len(sides.widths))]
    labels = [layer.label for layer in plan.layers]
    pairs = unordered(plan.needed)
    for measures in _by_family(plan.measures):
        family = next(iter(measures.values())).family
        operand, meet = _FAMILIES[family.name]
        for i, j in pairs:
            # Once for all measures: a meeting keeps what one of them decomposes of it.
            meeting, back = meet(centred, layers[i], layers[j]), bool(plan.needed[j, i])
            found = finished(measures, operand(layers[i]), operand(layers[j]), meeting, same=i == j, back=back)
            note(outcome, (i, j), found)
        operands = {label: operand(layer) for label, layer in zip(labels, layers, strict=True)}
        named = [(labels[i], labels[j]) for i, j in pairs]
        outcome.cautions += examined(family, operands, named, measures.values())
        if family.rank is not None:
            outcome.ranks = np.array([family.rank(operand) for operand in operands.values()], dtype=np.int32)
    return concluded(plan, outcome)


def _by_family(measures: Mapping[str, Measure]) -> list[dict[str, Measure]]:
    """Return the measures in groups that share their meetings, or raise where moments do not hold one."""
    found: dict[str, dict[str, Measure]] = {}
    for name, record in measures.items():
        if record.family.name not in _FAMILIES or record.prepare_options.get("kernel", "linear") != "linear":
            raise ValueError(
                f"moments hold the measures of the structure family with the linear kernel, of the subspace and of the neurons "
                f"family, got {name!r}: use compare for it, on activations in memory or in a store."
            )
        found.setdefault(record.family.name, {})[name] = record
    return list(found.values())


class CentredLayer:
    """One layer, of which only centred sums are known."""

    explained = lacks_inputs = no_width = False

    def __init__(self, centred: Moments, index: int) -> None:
        self.index, self.n = index, centred.n
        layer, own = centred.layers[index], centred.cross(index, index)
        low, high = (to_numpy(side) for side in (layer.low, layer.high))
        largest = np.maximum(np.abs(low), np.abs(high))
        self.alive = high / 2 - low / 2 > self.n * EPSILON * (largest / 2)
        self.scale = layer.scale
        self.trace = float(to_numpy(layer.norms))
        self.gram = alive(own.product, self, self)
        self.diagonals = float(to_numpy(own.norms))

    @property
    def constant(self) -> np.ndarray:
        """Whether nothing varies."""
        return np.asarray(not self.alive.any())

    @cached_property
    def side(self) -> Side:
        """For the structure family."""
        inner = np.asarray(np.vdot(self.gram, self.gram) - self.diagonals)
        trace, scale = np.asarray(self.trace), np.asarray(self.scale)
        return Side(inner, np.asarray(self.diagonals), trace, scale, self.constant, EPSILON)

    @cached_property
    def subspace(self) -> Subspace:
        """For the subspace family."""
        eigenvalues, vectors = np.linalg.eigh(self.gram)
        s = np.sqrt(np.maximum(eigenvalues[::-1], 0))
        rank = min(numerical_rank(s), self.n - 1)
        none = np.empty((0, rank))
        return Subspace(
            self.n, none, s[:rank], vectors[:, ::-1][:, :rank], self.constant, False, np.asarray(self.scale)
        )

    @cached_property
    def neurons(self) -> Neurons:
        """For the neurons family."""
        sizes = np.sqrt(np.maximum(np.diag(self.gram), 0))
        none = np.empty((0, len(self.alive)))
        return Neurons(none, unit_norm(sizes), int((~self.alive).sum()), self.constant)

    @cached_property
    def norms(self) -> np.ndarray:
        """(p,) norms of the centred columns, 1 for those that never vary."""
        squared = np.diag(self.gram)
        return np.sqrt(np.where(squared > 0, squared, 1))


def alive(product: Any, x: CentredLayer, y: CentredLayer) -> np.ndarray:
    """Return a product as NumPy's, 0 where a column never varied and only rounding is left."""
    found: np.ndarray = np.where(x.alive[:, None] & y.alive[None, :], to_numpy(product), 0.0)
    return found


def _product(centred: Moments, x: CentredLayer, y: CentredLayer) -> np.ndarray:
    return alive(centred.cross(x.index, y.index).product, x, y)


def _structures(centred: Moments, x: CentredLayer, y: CentredLayer) -> Meeting:
    product = _product(centred, x, y)
    diagonals = float(to_numpy(centred.cross(x.index, y.index).norms))
    inner = np.asarray(np.vdot(product, product) - diagonals)
    return Meeting(centred.n, inner, np.asarray(diagonals), x.side, y.side)


def _overlap(centred: Moments, x: CentredLayer, y: CentredLayer) -> Overlap:
    first, second = (side.subspace.v / side.subspace.s for side in (x, y))
    return Overlap(first.T @ _product(centred, x, y) @ second)


def _correlations(centred: Moments, x: CentredLayer, y: CentredLayer) -> np.ndarray:
    found: np.ndarray = _product(centred, x, y) / x.norms[:, None] / y.norms[None, :]
    return found


_FAMILIES: dict[str, tuple[Any, Any]] = {
    "structure": (lambda seen: seen, _structures),
    "subspace": (lambda seen: seen.subspace, _overlap),
    "neurons": (lambda seen: seen.neurons, _correlations),
}
