"""P-values without permuting: of measures whose moments over all orders of the examples have a closed form."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy

from homolog.arrays import all_to_numpy, converted, namespace, on_disk, on_host, to_numpy
from homolog.engine.companions import RowsAndColumns
from homolog.engine.measure_groups import MeasureGroup, effective_width
from homolog.engine.planning import Layer, Plan
from homolog.inference.pearson import is_lumpy, most_probable, upper_tail
from homolog.inference.pvalues import false_discovery
from homolog.measures.evaluation import prepared
from homolog.measures.record import Measure
from homolog.operands.gram_orders import EXACT_EXAMPLES, order_matrices, order_matrix
from homolog.operands.order_moments import shapes, sums_over_examples, sums_over_examples_of_all
from homolog.sparse import SparseRows

MOST_EXAMPLES, FEWEST_EXAMPLES = 512, 64
"""Examples that skewness and kurtosis are taken from: all of so many, and too few of more for any p-value."""
LISTED = 7
"""Examples of which all orders are listed, 5,040."""
SHARE = 0.04
"""p-values are no smaller than this share of the most that any distribution with the same four moments allows."""
UNLIKE = 2.0
"""Ratio of mean squares from which on some examples are not like all."""
TOGETHER = 32
"""Layers whose matrices are held at a time on a device."""
RUN = 16
"""Neighbouring rows that are taken together: on disk a row alone costs as much as the chunk it lies in."""

Each = Callable[[Callable[[Any], Any], Any], Any]


Formulas = tuple[tuple[str, Any], ...]
"""The options of a formula, which tell estimators apart."""


def moment_pvalues(
    plan: Plan,
    group: MeasureGroup,
    operands: Mapping[int, Any],
    values: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    each: Each,
) -> dict[str, dict[str, np.ndarray]]:
    """Return measure → "p" and "p_fdr" over all layers, of the scores that the values have among all orders."""
    records = {_formula(record): record for record in group.measures.values() if record.order_score is not None}
    places = _places(plan, group)
    if not records or len(places) < min(plan.n, FEWEST_EXAMPLES):
        return {}
    taken: list[Any] = [operands[int(index)] for index in plan.used]
    if not _is_whole(plan, group):
        some = next(iter(records.values())).of_rows(places)
        taken = [partial(_of_some, group, layer, some, places) for layer in plan.used_layers]
    there = bool(group.device) and not group.copied and len(places) > EXACT_EXAMPLES
    there = there and all(record.order_matrix is order_matrix for record in records.values())
    summed = _on_device if there else lambda asked, of: each(partial(_summed_matrices, asked), of)
    matrices = dict(zip(map(int, plan.used), summed(list(records.values()), taken), strict=True))
    sides, found = RowsAndColumns.of(plan, group), {}
    told = ~np.add.outer(*(_untold(operands, part, places, plan.n) for part in (sides.rows, sides.columns)))
    tails = {
        formula: _Tail.of(
            len(places), [[matrices[int(i)][k] for i in part] for part in (sides.rows, sides.columns)], told
        )
        for k, formula in enumerate(records)
    }
    for name, record in group.measures.items():
        if record.order_score is not None:
            at = np.ix_(sides.rows, sides.columns)
            p = np.maximum(tails[_formula(record)].probability(scores[name][at]), least_probability(plan.n))
            p[np.isnan(values[name][at])] = np.nan
            kinds = {"p": p, "p_fdr": false_discovery(p, sides.together(record))}
            found[name] = {kind: sides.spread(sides.whole(p, record), len(plan.layers)) for kind, p in kinds.items()}
    return found


@dataclass(frozen=True)
class _Tail:
    """The probability of a value at least as alike, of all pairs."""

    skewness: np.ndarray
    kurtosis: np.ndarray
    """NaN where the examples that were looked at say nothing of the others."""
    exact: np.ndarray | None
    """The probabilities themselves, of examples so few that all orders can be listed."""

    @classmethod
    def of(cls, n: int, sides: Any, told: np.ndarray) -> _Tail:
        """Look at the matrices of the layers in rows and in columns, or at the sums over their n examples."""
        if isinstance(sides[0][0], np.ndarray):
            return cls(np.full(told.shape, np.nan), np.full(told.shape, np.nan), over_all_orders(*sides))
        skewness, kurtosis = (np.where(told, moment, np.nan) for moment in shapes(n, *sides))
        return cls(skewness, kurtosis, None)

    def probability(self, score: np.ndarray) -> np.ndarray:
        """Return the p-values of scores."""
        if self.exact is not None:
            p = np.where(np.isnan(score), np.nan, self.exact)
        else:
            shape = self.skewness, self.kurtosis
            most = most_probable(score, *shape)
            unknown = np.isnan(self.skewness) | is_lumpy(*shape)
            # The tail of a bounded distribution ends: how far is not known so well that a value beyond could not be.
            least = np.where(unknown, 1.0, SHARE) * most
            p = np.fmax(upper_tail(score, *shape), least)
        # Where no order changes the value, every order is as alike.
        return np.where(np.isposinf(score), 1.0, p)


def over_all_orders(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> np.ndarray:
    """Return the share of all orders in which the examples of y give at least the inner product that they have."""
    n = len(xs[0])
    orders = np.array(list(itertools.permutations(range(n))))
    places = (orders[:, :, None] * n + orders[:, None, :]).reshape(len(orders), -1)
    first = np.stack([x.reshape(-1) for x in xs])
    found = []
    for y in ys:
        inner = first @ y.reshape(-1)[places].T
        found.append(np.mean(inner >= inner[:, :1] - 1e-9, axis=1))
    return np.stack(found, axis=1)


def least_probability(n: int) -> float:
    """Return the probability of one order among all orders of n examples, or the least that is above 0."""
    return float(max(np.exp(-scipy.special.gammaln(n + 1)), np.finfo(float).tiny))


def evenly_in_runs(n: int, count: int, run: int) -> np.ndarray:
    """Return at most so many places, in runs of neighbours that are spread evenly over all."""
    if n <= count:
        return np.arange(n)
    run = min(run, max(1, count // 4))
    starts = np.linspace(0, n - run, max(1, count // run)).astype(int)
    return np.unique((starts[:, None] + np.arange(run)).reshape(-1))


def _formula(record: Measure) -> Formulas:
    return tuple(sorted(record.formula_options.items()))


def _is_whole(plan: Plan, group: MeasureGroup) -> bool:
    """Say whether operands of all examples are at hand, and small."""
    return plan.n <= MOST_EXAMPLES and not group.blocked and not group.batches


def _places(plan: Plan, group: MeasureGroup) -> np.ndarray:
    """Return the examples that skewness and kurtosis are taken from: as many as a quarter of the memory holds."""
    if _is_whole(plan, group):
        return np.arange(plan.n)
    arrays = [layer.array for layer in plan.used_layers]
    run = RUN if any(on_disk(array) is not None for array in arrays) else 1
    room = max(group.memory // 4, 1 << 24)
    # Features as they are given, centred and in float64; the Gram matrix and what is made of it.
    widest = max(effective_width(array) if group.sparse else array.shape[1] for array in arrays)
    return evenly_in_runs(plan.n, min(MOST_EXAMPLES, int((room / 64) ** 0.5), room // (24 * widest)), run)


def _on_device(records: Sequence[Measure], operands: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield for every operand the sums over its matrices, of many layers together: each copy from a device waits for it."""
    for start in range(0, len(operands), TOGETHER):
        some = [operand() if callable(operand) else operand for operand in operands[start : start + TOGETHER]]
        xp = namespace(some[0].diagonal)
        grams = xp.stack([xp.astype(operand.formed(), xp.float32) for operand in some])
        found = [sums_over_examples_of_all(order_matrices(grams, **record.formula_options)) for record in records]
        yield from (list(own) for own in zip(*found, strict=True))


def _summed_matrices(records: Sequence[Measure], operand: Any) -> list[Any]:
    """Return the matrices of every formula, or of more than a few examples the sums over them."""
    x = operand() if callable(operand) else operand
    formed = [record.matrix_of_orders(x) for record in records]
    return [matrix if len(matrix) <= LISTED else sums_over_examples(matrix) for matrix in formed]


def _untold(operands: Mapping[int, Any], layers: np.ndarray, places: np.ndarray, n: int) -> np.ndarray:
    """Say of which layers some examples say nothing of the others: single ones among them are far from the rest."""
    if len(places) == n:
        return np.zeros(len(layers), dtype=bool)
    found = []
    for own in all_to_numpy([operands[int(index)].diagonal for index in layers]).astype(float) ** 2:
        some, every = own[places].mean(), own.mean()
        found.append(every > 0 and not 1 / UNLIKE < some / every < UNLIKE)
    return np.array(found)


def _of_some(group: MeasureGroup, layer: Layer, record: Measure, places: np.ndarray) -> Any:
    """Return the operand of some examples of a layer."""
    if group.sparse and isinstance(layer.array, SparseRows):
        return record.family.prepare(layer.array.take(places), **record.prepare_options)
    rows = on_disk(layer.array)
    some = layer.array[places] if rows is None else rows[places]
    some = to_numpy(some) if group.copied else on_host(some)
    return prepared(record, converted(some, layer.title, shifted=record.ignores_offset))
