"""Second moments of a stream of batches, exact for linear structures, and what fourth-order sums the debiased estimator needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import check_finite, constant_like, described, detached, namespace, precise, scalar, to_numpy
from homolog.blocks.budget import IndexPair
from homolog.diagnostics import give
from homolog.engine.inputs import Measures
from homolog.engine.result import dataset
from homolog.inference.checks import check_level
from homolog.linalg import power_of_two
from homolog.measures.record import Measure
from homolog.states.compared_layers import TITLES, Batch, ComparedLayers, check_magnitude, chosen_titles
from homolog.states.distributed import of_all, reduced
from homolog.states.folds import Units, companions_of, digests_of, rows_of
from homolog.states.summed import SummedRepresentation, outcome_of

if TYPE_CHECKING:
    import xarray
LARGEST = 1e70
"""Sums of fourth powers end at 1e308."""


@dataclass
class LayerMoments:
    """Sums over the rows x̃ = (x − shift) / scale of one layer; a = ‖x̃‖²."""

    shift: Any
    scale: float
    total: Any
    """(p,) Σ x̃"""
    norms: Any
    """0-d: Σ a"""
    low: Any
    """(p,) smallest and largest x, which say what never varied."""
    high: Any


@dataclass
class CrossMoments:
    """Sums over the rows x̃, ỹ of a pair of layers; a = ‖x̃‖², b = ‖ỹ‖²."""

    product: Any
    """(p, q) Σ x̃ ỹ^T"""
    x_norms: Any
    """(p,) Σ b x̃"""
    y_norms: Any
    """(q,) Σ a ỹ"""
    norms: Any
    """0-d: Σ a b"""


class Moments:
    """Sums over a stream of batches from which all linear indexes follow exactly.

    A state: empty at first; `update` adds a batch, `merge` another state, in any order and cut anyhow; `finalise` gives the
    result. Per pair of layers it holds Σ x y^T, Σ ‖y‖² x, Σ ‖x‖² y and Σ ‖x‖²‖y‖² about a shift, the means of the first batch,
    in float64.

    Notes
    -----
    Memory O(p·q) per pair of layers whatever the number of rows; cost 2·p·q per row and pair. The structure family (linear
    kernel) is exact. The subspace family comes from eigenvectors of second moments, which lose the square of the condition
    number: about 1e-16 · condition², against the condition number alone in `compare`. No row is kept, hence no permutations.

    References
    ----------
    Chan, Golub & LeVeque, The American Statistician 1983 (merging); Székely & Rizzo, Annals of Statistics 2014 (debiased).

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(300, 4)), rng.normal(size=(300, 5))
    >>> first, second = hl.Moments(), hl.Moments()
    >>> first.update(x[:100], y[:100])
    >>> second.update(x[100:], y[100:])
    >>> first.merge(second)
    >>> bool(abs(first.finalise("cka").cka.item() - hl.cka(x, y)) < 1e-12)
    True
    """

    def __init__(self) -> None:
        self.n = 0
        self.sides: ComparedLayers | None = None
        self.titles = TITLES
        self.layers: list[LayerMoments] = []
        self.crosses: dict[IndexPair, CrossMoments] = {}
        self.folds: dict[int, Moments] = {}
        """The same for parts of the independent units, where batches say which these are."""
        self.units = Units()

    def update(self, a: Batch, b: Batch | None = None, *, groups: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        a, b
            array (n, p), or mapping of layer names to arrays, of any array library; b left out compares a with itself.
        groups
            a label of the independent unit of every row, such as the text of a token: `finalise` then gives standard errors and
            intervals by leaving out parts of the units. Rows of a unit may come in several batches.

        Raises
        ------
        ValueError, TypeError
            For groups that some batches have and some not; for layers that differ from those of the first batch, unequal rows,
            NaN or infinity.
        """
        sides = self.sides or ComparedLayers(a, b)
        arrays = sides.arrays(a, b)
        for x, title in zip(arrays, sides.names, strict=True):
            check_finite(x, title)
            check_magnitude(x, title, LARGEST)
        arrays = [precise(detached(x)) for x in arrays]
        if self.n and bool(self.folds) != (groups is not None):
            raise ValueError("every batch must have groups, or none: some had them and some had not.")
        if self.sides is None:
            self.reset(sides, arrays)
        self._add_to_folds(a, b, groups, int(arrays[0].shape[0]))
        self.n += int(arrays[0].shape[0])
        rows, norms = [], []
        for x, layer in zip(arrays, self.layers, strict=True):
            xp = namespace(x)
            rows.append((x - layer.shift[None, :]) / layer.scale)
            norms.append(xp.linalg.vecdot(rows[-1], rows[-1]))
            layer.total = layer.total + xp.sum(rows[-1], axis=0)
            layer.norms = layer.norms + xp.sum(norms[-1])
            layer.low = xp.minimum(layer.low, xp.min(x, axis=0))
            layer.high = xp.maximum(layer.high, xp.max(x, axis=0))
        for (i, j), cross in self.crosses.items():
            cross.product += rows[i].T @ rows[j]
            cross.x_norms = cross.x_norms + rows[i].T @ norms[j]
            cross.y_norms = cross.y_norms + rows[j].T @ norms[i]
            cross.norms = cross.norms + norms[i] @ norms[j]

    def _add_to_folds(self, a: Batch, b: Batch | None, groups: Any, count: int) -> None:
        """Add the rows of a batch to the parts that their units belong to."""
        if groups is None:
            return
        digests = digests_of(groups, count)
        units = self.units.joined(digests, self.folds)
        if units.bound < self.units.bound:
            self.folds = _regrouped(units, list(self.folds.items()))
        self.units = units
        parts = units.parts(digests)
        for part in np.unique(parts).tolist():
            rows = np.flatnonzero(parts == part)
            self.folds.setdefault(part, Moments()).update(rows_of(a, rows), rows_of(b, rows))

    def keep(self, places: Sequence[int]) -> None:
        """Keep the sums of some of the layers, by their places."""
        assert self.sides is not None  # it has layers
        self.sides = self.sides.part(places)
        self.layers = [self.layers[place] for place in places]
        new = {old: place for place, old in enumerate(places)}
        self.crosses = {(new[i], new[j]): c for (i, j), c in self.crosses.items() if i in new and j in new}
        for fold in self.folds.values():
            fold.keep(places)

    def reset(self, sides: ComparedLayers, arrays: Sequence[Any]) -> None:
        """Set all sums to 0, about the means of some rows of every layer."""
        self.sides = sides
        self.layers = [_empty(x) for x in arrays]
        self.crosses = {(i, j): _zero(arrays[i], arrays[j]) for i, j in sides.pairs()}

    def merge(self, other: Moments) -> None:
        """Add the rows of another state of the same layers."""
        if not isinstance(other, Moments):
            raise TypeError(f"moments can be merged with moments, got {described(other)}.")
        if other.sides is None:
            return
        if self.n and bool(self.folds) != bool(other.folds):
            raise ValueError("both states must have groups, or none: one had them and one had not.")
        units = self.units.joined(other.units.smallest, [*self.folds, *other.folds], other.units.bound)
        folds = _regrouped(units, [*self.folds.items(), *other.folds.items()])
        titles = chosen_titles(self.titles, other.titles)
        if self.sides is None:
            self.__dict__.update(
                other.about(other.shifts(), other.scales()).__dict__
                | {"titles": titles, "folds": folds, "units": units}
            )
            return
        self.folds, self.units = folds, units
        self.sides.check_equal(other.sides)
        self.titles = titles
        moved = other.about(self.shifts(), self.scales())
        self.n += moved.n
        for mine, its in zip(self.layers, moved.layers, strict=True):
            xp = namespace(mine.total)
            mine.total, mine.norms = mine.total + its.total, mine.norms + its.norms
            mine.low, mine.high = xp.minimum(mine.low, its.low), xp.maximum(mine.high, its.high)
        for pair, cross in self.crosses.items():
            for name, value in vars(moved.crosses[pair]).items():
                setattr(cross, name, getattr(cross, name) + value)

    def shifts(self) -> list[Any]:
        """Return what is subtracted from every layer before it is summed."""
        return [layer.shift for layer in self.layers]

    def scales(self) -> list[float]:
        """Return what every layer is divided by."""
        return [layer.scale for layer in self.layers]

    def about(self, shifts: Sequence[Any], scales: Sequence[float]) -> Moments:
        """Return the same sums about other shifts and scales."""
        found = Moments()
        found.n, found.sides, found.titles = self.n, self.sides, self.titles
        ratios = [layer.scale / scale for layer, scale in zip(self.layers, scales, strict=True)]
        moves = [(layer.shift - shift) / scale for layer, shift, scale in zip(self.layers, shifts, scales, strict=True)]
        for layer, ratio, move, shift, scale in zip(self.layers, ratios, moves, shifts, scales, strict=True):
            total = ratio * layer.total
            norms = ratio**2 * layer.norms + 2 * (total @ move) + self.n * (move @ move)
            found.layers.append(LayerMoments(shift, scale, total + self.n * move, norms, layer.low, layer.high))
        for (i, j), cross in self.crosses.items():
            totals = (ratios[i] * self.layers[i].total, ratios[j] * self.layers[j].total)
            norms = (ratios[i] ** 2 * self.layers[i].norms, ratios[j] ** 2 * self.layers[j].norms)
            scaled = _scaled(cross, ratios[i], ratios[j])
            found.crosses[i, j] = _moved(scaled, totals, norms, (moves[i], moves[j]), self.n)
        return found

    def all_reduce(self, group: Any = None) -> None:
        """Add up the states of all processes of `torch.distributed`, each of which then holds the whole.

        The sums of all are moved to the shifts of the first that has any, and added up array by array.
        """
        if self.folds:
            raise ValueError("groups are for states of one process: gather the states, and merge them, for intervals.")
        shifts = [to_numpy(shift) for shift in self.shifts()]
        every = of_all((self.sides and shifts, self.sides, self.scales(), self.titles), group)
        known = next(((shifts, sides, scales) for shifts, sides, scales, _ in every if sides is not None), None)
        if known is None:
            return
        if self.sides is None:
            self.reset(known[1], [np.broadcast_to(shift, (2, len(shift))) for shift in known[0]])
        moved = self.about(known[0], known[2])
        moved.n = int(reduced(np.array([float(moved.n)]), "SUM", group)[0])
        for layer in moved.layers:
            layer.total, layer.norms = (reduced(part, "SUM", group) for part in (layer.total, layer.norms))
            layer.low, layer.high = reduced(layer.low, "MIN", group), reduced(layer.high, "MAX", group)
        for cross in moved.crosses.values():
            for name, value in vars(cross).items():
                setattr(cross, name, reduced(value, "SUM", group))
        titles = reduce(chosen_titles, (its for *_, its in every), self.titles)
        self.__dict__.update(moved.__dict__ | {"titles": titles})

    def centred(self) -> Moments:
        """Return the sums about the means."""
        shifts = [layer.shift + layer.total * (layer.scale / self.n) for layer in self.layers]
        return self.about(shifts, self.scales())

    def finalise(
        self, measures: Measures = ("cka", "cka(estimator=debiased)"), *, level: float = 0.95
    ) -> xarray.Dataset:
        """Return what `compare` returns of all rows.

        Parameters
        ----------
        measures
            as for `compare`, of the structure family with the linear kernel, the subspace and the neurons families.
        level
            of the intervals, where batches had groups: by a jackknife as `confidence_interval` does it, which leaves out every
            unit in turn; of more than 50 units, parts of them, at most 50, to which their labels assign them.

        Returns
        -------
        xarray.Dataset
            Its attribute `n_units` is the number of units, where batches had groups: exact up to 65,536, of more to about
            half a percent.

        Raises
        ------
        ValueError
            If fewer than two rows were added, or a measure is not a function of these sums.
        """
        if self.sides is None or self.n < 2:
            raise ValueError(f"a result needs at least 2 rows, got {self.n}: update the state with batches first.")
        plan = self.sides.plan(self.n, measures, self.titles)
        plan = replace(plan, asked=replace(plan.asked, summed_units=self._summed_units()))
        outcome = outcome_of(plan, self.representations())
        about: dict[str, Any] = {}
        if self.folds:
            check_level(level)
            found, cautions = companions_of(plan, list(self.folds.values()), _values, _merged, level)
            outcome.companions, outcome.cautions = found, [*outcome.cautions, *cautions]
            about = {"interval": "jackknife", "level": level}
        give(outcome.cautions)
        return dataset(plan, outcome).assign_attrs(about)

    def _summed_units(self) -> int | None:
        """Return how many units the rows belong to; None where each is one by itself, or nothing says."""
        return self.units.count if self.folds and self.units.count != self.n else None

    def representations(self) -> list[SummedRepresentation]:
        """Return what stands for the centred rows of every layer."""
        sums = self.centred()
        return [SummedRepresentation(sums.n, index, layer, sums.cross) for index, layer in enumerate(sums.layers)]

    def cross(self, i: int, j: int) -> CrossMoments:
        """Return the sums of a pair of layers; those of (j, i) are the same, transposed."""
        if (i, j) in self.crosses:
            return self.crosses[i, j]
        cross = self.crosses[j, i]
        return CrossMoments(cross.product.T, cross.y_norms, cross.x_norms, cross.norms)


def _merged(states: Sequence[Moments]) -> Moments:
    """Return the sums of several states together, which stay as they are."""
    found = Moments()
    for state in states:
        found.merge(state)
    return found


def _regrouped(units: Units, folds: Sequence[tuple[int, Moments]]) -> dict[int, Moments]:
    """Return the sums of the parts that units have now; those given stay as they are."""
    numbers = units.parts(np.array([number for number, _ in folds], dtype=np.uint64)).tolist()
    together: dict[int, list[Moments]] = {}
    for number, (_, fold) in zip(numbers, folds, strict=True):
        together.setdefault(number, []).append(fold)
    return {number: _merged(states) for number, states in together.items()}


def _values(state: Moments, measures: Mapping[str, Measure]) -> dict[str, np.ndarray]:
    """Return the values of measures of all pairs of layers."""
    assert state.sides is not None  # it has rows
    return outcome_of(state.sides.plan(state.n, measures, state.titles), state.representations()).values


def _empty(x: Any) -> LayerMoments:
    """Begin a layer, about the means of its first batch."""
    xp = namespace(x)
    shift = xp.mean(x, axis=0)
    shift = xp.where(xp.isfinite(shift), shift, x[0, :])
    scale = scalar(power_of_two(xp.max(xp.abs(x - shift[None, :]))))
    infinite = xp.full_like(shift, float("inf"))
    return LayerMoments(shift, scale, xp.zeros_like(shift), constant_like(0.0, shift), infinite, -infinite)


def _zero(x: Any, y: Any) -> CrossMoments:
    xp = namespace(x)
    first, second = xp.zeros_like(x[0, :]), xp.zeros_like(y[0, :])
    return CrossMoments(first[:, None] * second[None, :], first, second, constant_like(0.0, first))


def _scaled(cross: CrossMoments, first: float, second: float) -> CrossMoments:
    return CrossMoments(
        first * second * cross.product,
        first * second**2 * cross.x_norms,
        first**2 * second * cross.y_norms,
        (first * second) ** 2 * cross.norms,
    )


def _moved(cross: CrossMoments, totals: Any, norms: Any, moves: Any, n: int) -> CrossMoments:
    """Return the sums over x̃ + δ, ỹ + ε: every product of shifted terms multiplied out."""
    (x, y), (a, b), (d, e) = totals, norms, moves
    dd, ee, xd, ye = d @ d, e @ e, x @ d, y @ e
    b_moved, a_moved = b + 2 * ye + n * ee, a + 2 * xd + n * dd
    product_e, product_d = cross.product @ e, cross.product.T @ d
    whole = (
        cross.norms
        + 2 * (cross.x_norms @ d + cross.y_norms @ e)
        + 4 * (d @ product_e)
        + ee * (a + 2 * xd)
        + dd * b_moved
    )
    return CrossMoments(
        cross.product + x[:, None] * e[None, :] + d[:, None] * (y + n * e)[None, :],
        cross.x_norms + 2 * product_e + ee * x + b_moved * d,
        cross.y_norms + 2 * product_d + dd * y + a_moved * e,
        whole,
    )
