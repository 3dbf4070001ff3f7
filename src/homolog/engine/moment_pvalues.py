"""P-values without permuting: of measures whose moments over all orders of the examples have a closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy

from homolog.arrays import converted, on_disk, on_host
from homolog.engine.companions import RowsAndColumns
from homolog.engine.measure_groups import MeasureGroup
from homolog.engine.planning import Layer, Plan
from homolog.inference.pearson import upper_tail
from homolog.inference.pvalues import false_discovery
from homolog.measures.evaluation import prepared
from homolog.measures.record import Measure
from homolog.operands.order_moments import shapes

MOST_EXAMPLES, FEWEST_EXAMPLES = 512, 64
"""Examples that skewness and kurtosis are taken from: all of so many, and too few of more for any p-value."""
RUN = 16
"""Neighbouring rows that are taken together: on disk a row alone costs as much as the chunk it lies in."""

Each = Callable[[Callable[[Any], Any], Any], Any]


Formulas = tuple[tuple[str, Any], ...]
"""The options of a formula, which tell estimators apart."""


def moment_pvalues(
    plan: Plan, group: MeasureGroup, operands: Mapping[int, Any], scores: Mapping[str, np.ndarray], each: Each
) -> dict[str, dict[str, np.ndarray]]:
    """Return measure → "p" and "p_fdr" over all layers, of the scores that the measures have among all orders."""
    records = {_formula(record): record for record in group.measures.values() if record.order_score is not None}
    places = _places(plan, group)
    if not records or len(places) < min(plan.n, FEWEST_EXAMPLES):
        return {}
    taken: list[Any] = [operands[int(index)] for index in plan.used]
    if not _is_whole(plan, group):
        some = next(iter(records.values())).of_rows(places)
        taken = [partial(_of_some, layer, some, places) for layer in plan.used_layers]
    sums = dict(zip(map(int, plan.used), each(partial(_sums, list(records.values())), taken), strict=True))
    sides, found = RowsAndColumns.of(plan, group), {}
    shape_of = {
        formula: shapes(len(places), [sums[int(i)][k] for i in sides.rows], [sums[int(j)][k] for j in sides.columns])
        for k, formula in enumerate(records)
    }
    for name, record in group.measures.items():
        if record.order_score is not None:
            score = scores[name][np.ix_(sides.rows, sides.columns)]
            p = np.maximum(upper_tail(score, *shape_of[_formula(record)]), least_probability(plan.n))
            # Where no order changes the value, every order is as alike.
            p = np.where(np.isposinf(score), 1.0, p)
            kinds = {"p": p, "p_fdr": false_discovery(p, sides.together(record))}
            found[name] = {kind: sides.spread(sides.whole(p, record), len(plan.layers)) for kind, p in kinds.items()}
    return found


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
    widest = max(array.shape[1] for array in arrays)
    return evenly_in_runs(plan.n, min(MOST_EXAMPLES, int((room / 64) ** 0.5), room // (24 * widest)), run)


def _sums(records: Sequence[Measure], operand: Any) -> list[Any]:
    x = operand() if callable(operand) else operand
    return [record.sums_over_orders(x) for record in records]


def _of_some(layer: Layer, record: Measure, places: np.ndarray) -> Any:
    """Return the operand of some examples of a layer."""
    rows = on_disk(layer.array)
    some = layer.array[places] if rows is None else rows[places]
    return prepared(record, converted(on_host(some), layer.title, shifted=record.ignores_offset))
