"""Sums over a stream → representations of which only sums are known, and the values of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, final

import numpy as np

from homolog.arrays import to_numpy
from homolog.engine.planning import Plan
from homolog.engine.run import Outcome, unordered
from homolog.gradients import Factors
from homolog.linalg import Centred, numerical_rank
from homolog.measures.evaluation import values_of_pair
from homolog.measures.record import Measure
from homolog.operands.family import ProductFamily
from homolog.operands.gram_products import GramProducts, GramSums
from homolog.operands.gram_statistics import STRUCTURE
from homolog.operands.representation import Representation

EPSILON = float(np.finfo(float).eps)


class SummedRows:
    """Centred rows that were not kept, times a matrix or over numbers; the sum of their products with others is known."""

    def __init__(self, layer: SummedRepresentation, by: np.ndarray | None = None) -> None:
        self.layer, self.by = layer, by

    @property
    def T(self) -> SummedRows:
        """The same: nothing but the product of a transpose with other rows is known."""
        return self

    def __matmul__(self, other: SummedRows) -> np.ndarray:
        return other.times(self.times(self.layer.product(other.layer)).T).T

    def times(self, product: np.ndarray) -> np.ndarray:
        """Map the rows of a product with the features as these rows are mapped."""
        if self.by is None:
            return product
        return product / self.by[:, None] if self.by.ndim == 1 else self.by.T @ product


@final
class SummedRepresentation(Representation):
    """One layer of a stream; also its operand where structures are compared, of which nothing is left to explain."""

    left, lacks_inputs = "", False

    def __init__(self, n: int, index: int, layer: Any, cross: Callable[[int, int], Any]) -> None:
        self.n, self.index, self._cross = n, index, cross
        low, high = (to_numpy(side) for side in (layer.low, layer.high))
        largest = np.maximum(np.abs(low), np.abs(high))
        self._dead = ~(high / 2 - low / 2 > self.n * EPSILON * (largest / 2))
        self._scale, self.trace = layer.scale, float(to_numpy(layer.norms))

    @property
    def epsilon(self) -> float:
        """Spacing at 1 of the floats of sums."""
        return EPSILON

    @property
    def exact(self) -> SummedRepresentation:
        """The same."""
        return self

    @property
    def centred(self) -> Centred:
        """What stands for the centred features."""
        return Centred(SummedRows(self), np.asarray(self._scale), self._dead)

    @cached_property
    def gram(self) -> np.ndarray:
        """(p, p) products of the features with each other."""
        return self.product(self)

    @cached_property
    def norms(self) -> np.ndarray:
        """(p,) norms of the centred features."""
        return np.sqrt(np.maximum(np.diag(self.gram), 0))

    def divided(self, norms: np.ndarray) -> SummedRows:
        """Return what stands for the centred features divided by numbers (p,)."""
        return SummedRows(self, norms)

    @cached_property
    def svd(self) -> Factors:
        """The thin SVD, up to the rounding of second moments."""
        eigenvalues, vectors = np.linalg.eigh(self.gram)
        s = np.sqrt(np.maximum(eigenvalues[::-1], 0))
        rank = min(numerical_rank(s), self.n - 1)
        s, v = s[:rank], vectors[:, ::-1][:, :rank]
        return Factors(SummedRows(self, v / s), s, v, np.asarray(0.0), s, None)

    def product(self, other: SummedRepresentation) -> np.ndarray:
        """Return Σ x y^T of the features of two layers, 0 where one never varies and only rounding is left."""
        found: np.ndarray = to_numpy(self._cross(self.index, other.index).product)
        return np.where(self._dead[:, None] | other._dead[None, :], 0.0, found)

    def products(self, other: SummedRepresentation) -> tuple[float, float]:
        """Return the off-diagonal part of ⟨K, L⟩, and k·l."""
        product, diagonals = self.product(other), self._cross(self.index, other.index).norms
        return float(np.vdot(product, product)) - float(to_numpy(diagonals)), float(to_numpy(diagonals))


def outcome_of(plan: Plan, layers: list[SummedRepresentation]) -> Outcome:
    """Evaluate every measure of a plan on layers of which centred sums are known."""
    outcome = Outcome.empty(plan)
    for measures in _by_family(plan.measures):
        family: Any = next(iter(measures.values())).family
        operands = layers if family is STRUCTURE else [family.prepare(layer) for layer in layers]
        if family is STRUCTURE:
            everything = np.arange(len(layers))
            outcome.note_all(measures, _structures(layers, plan.needed), everything, plan.needed)
        for i, j in [] if family is STRUCTURE else unordered(plan.needed):
            x, y, both = operands[i], operands[j], bool(plan.needed[j, i])
            outcome.note((i, j), values_of_pair(measures, x, y, family.meet(x, y), same=i == j, both=both))
        outcome.examine(plan, measures, dict(enumerate(operands)))
    return outcome.concluded(plan)


def _structures(layers: list[SummedRepresentation], needed: np.ndarray) -> GramProducts:
    """Return what all pairs share for the structure family; NaN where not needed."""
    found = np.full((2, len(layers), len(layers)), np.nan)
    for i, j in unordered(needed | np.eye(len(layers), dtype=bool)):
        found[:, i, j] = found[:, j, i] = layers[i].products(layers[j])
    sums = [GramSums(0.0, 0.0, x.trace, 0.0, np.asarray(x.centred.scale), x.constant, EPSILON) for x in layers]
    return GramProducts.of_all(layers[0].n, found, sums)


def _by_family(measures: Mapping[str, Measure]) -> list[dict[str, Measure]]:
    """Return the measures in groups that share what pairs share, or raise where moments do not hold it."""
    found: dict[str, dict[str, Measure]] = {}
    for name, record in measures.items():
        linear = record.family is STRUCTURE and record.prepare_options.get("kernel") == "linear"
        if not (linear or isinstance(record.family, ProductFamily)):
            raise ValueError(
                f"moments hold the measures of the structure family with the linear kernel, of the subspace and of the neurons "
                f"family, got {name!r}: use compare for it, on activations in memory or in a store."
            )
        found.setdefault(record.family.name, {})[name] = record
    return list(found.values())
