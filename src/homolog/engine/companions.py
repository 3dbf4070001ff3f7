"""What stands beside the values of a comparison where it was asked for: probabilities, null levels, errors and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import converted, is_numpy, on_host, to_numpy
from homolog.diagnostics import Caution
from homolog.engine.measure_groups import MeasureGroup
from homolog.engine.model_statistics import Statistics, add, blocks_of, of_parts, of_permutations
from homolog.engine.planning import Plan
from homolog.engine.sketch_errors import sketch_errors
from homolog.inference.calibrated_scores import best_value, calibrated, is_beyond, thresholds
from homolog.inference.intervals import intervals
from homolog.inference.permutations import count_orders, is_order_free, orders, permuted_values
from homolog.inference.pvalues import false_discovery, familywise, pvalues
from homolog.inference.resampling import Resampled, resampled_values
from homolog.inference.uncertainty import ALPHA
from homolog.inference.units import exchangeable
from homolog.measures.evaluation import prepared
from homolog.measures.record import Measure
from homolog.operands.family import FUNCTION
from homolog.rows import Rows
from homolog.sketching import SketchedRows
from homolog.warning_sentences import (
    dominated_by_bias,
    few_exchanged,
    few_orders,
    few_permutations,
    no_interval,
    no_interval_of_sketches,
    order_free,
)


@dataclass(frozen=True)
class RowsAndColumns:
    """The layers that stand in rows and in columns, and what of them is computed."""

    rows: np.ndarray
    columns: np.ndarray
    needed: np.ndarray
    """(rows, columns) bool: of layers compared with themselves by symmetric measures the upper half."""
    same: bool

    @classmethod
    def of(cls, plan: Plan, group: MeasureGroup) -> RowsAndColumns:
        """Return the sides of a group of measures."""
        rows, columns = (side[np.isin(side, plan.used)] for side in (plan.rows, plan.columns))
        needed = plan.needed[np.ix_(rows, columns)]
        once = plan.same and all(record.symmetric for record in group.measures.values())
        return cls(rows, columns, np.triu(needed | needed.T) if once else needed, plan.same)

    def whole(self, values: np.ndarray, record: Measure) -> np.ndarray:
        """Mirror the upper half of a symmetric measure, along the last two axes: other orders would give other numbers."""
        if not (self.same and record.symmetric):
            return values
        upper = np.triu(np.ones(values.shape[-2:], dtype=bool))
        return np.where(upper, values, np.swapaxes(values, -1, -2))

    def together(self, record: Measure) -> np.ndarray:
        """Return the pairs that are adjusted for each other: each once, and no layer with itself, which is never by chance."""
        if not self.same:
            return self.needed
        return (
            np.triu(self.needed | self.needed.T, 1)
            if record.symmetric
            else self.needed & ~np.eye(len(self.rows), dtype=bool)
        )

    def labels(self, plan: Plan, marked: np.ndarray) -> list[str]:
        """Name the pairs that are marked."""
        names = [layer.label for layer in plan.layers]
        marked = np.triu(marked | marked.T) if self.same else marked  # each pair once
        return [f"{names[self.rows[i]]} and {names[self.columns[j]]}" for i, j in np.argwhere(marked)]

    def sketched(self, plan: Plan) -> np.ndarray:
        """Return of which pairs at least one layer is kept as sketches."""
        kept = np.array([layer.sketch is not None for layer in plan.layers])
        return kept[self.rows][:, None] | kept[self.columns][None, :]

    def spread(self, values: np.ndarray, size: int) -> np.ndarray:
        """Return values over all layers, NaN where there are none."""
        found = np.full((size, size), np.nan)
        found[np.ix_(self.rows, self.columns)] = values
        return found


class Companions(NamedTuple):
    """What stands beside the values of a group of measures."""

    found: dict[str, dict[str, np.ndarray]]
    """Measure → companion → (layers, layers) matrix, NaN where not asked."""
    cautions: list[Caution]
    over_models: dict[str, Statistics]
    """Measure → what the same permutations and parts of the examples say of pairs of models."""


def companions(
    plan: Plan,
    group: MeasureGroup,
    operands: dict[int, Any],
    each: Any,
    step: Callable[..., Any],
    corrections: Mapping[str, np.ndarray] | None = None,
) -> Companions:
    """Return what was asked for beside the values, and what a reader should be told of it.

    `corrections` of values, (layers, layers), are what sketches shift them by on average.
    """
    sides = RowsAndColumns.of(plan, group)
    shifts = {name: matrix[np.ix_(sides.rows, sides.columns)] for name, matrix in (corrections or {}).items()}
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in group.measures}
    cautions: list[Caution] = []
    over_models: dict[str, Statistics] = {name: {} for name in group.measures}
    fixed = _rows_that_stay(plan)
    cautions += few_exchanged(fixed, plan.n)
    if plan.asked.null:
        count = count_orders(plan.n, plan.asked.groups, plan.asked.rows_of)
        cautions += [few_orders(count, plan.n)] if 1 < count < 1 / ALPHA else []
        for name, kinds in _nulls(plan, group, operands, sides, each, step, over_models, shifts).items():
            free = bool(kinds.pop("order_free"))
            found[name] |= kinds
            if free:
                cautions += [order_free(name, grouped=plan.asked.groups is not None)] * (fixed < plan.n)
                continue
            together = sides.together(group.measures[name]) & ~np.isnan(kinds["p"])
            lost = together & (kinds["p"] <= 1 / (1 + plan.asked.n_permutations)) & (kinds["p_fdr"] > ALPHA)
            cautions += few_permutations(name, int(lost.sum()), int(together.sum()), plan.asked.n_permutations, ALPHA)
    if plan.asked.interval:
        for name, kinds in _intervals(plan, group, sides, each, over_models).items():
            dubious, missing, sketched = kinds.pop("dubious") == 1, kinds.pop("missing") == 1, sides.sketched(plan)
            for marked, caution in (
                (dubious, dominated_by_bias),
                (missing & ~sketched, no_interval),
                (missing & sketched, partial(no_interval_of_sketches, method=plan.asked.method)),
            ):
                where = sides.labels(plan, marked)
                cautions += [caution(name, where)] if where else []
            found[name] |= kinds
    size = len(plan.layers)
    spread = {name: {key: sides.spread(m, size) for key, m in kinds.items()} for name, kinds in found.items()}
    return Companions(spread, cautions, over_models)


def _rows_that_stay(plan: Plan) -> int:
    """Count the rows that no permutation moves, since no other example has as many rows as theirs."""
    if plan.asked.null is None or plan.asked.groups is not None or plan.asked.rows_of is None:
        return 0
    return plan.n - sum(rows.size for rows in exchangeable(plan.asked.rows_of))


def _nulls(
    plan: Plan,
    group: MeasureGroup,
    operands: dict[int, Any],
    sides: RowsAndColumns,
    each: Any,
    step: Callable[..., Any],
    over_models: dict[str, Statistics],
    shifts: Mapping[str, np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    asked, some = plan.asked, next(iter(group.measures.values()))
    taken = {
        i: operands[i] if _stays(plan, group, i) else prepared(some, _array(plan, group, i))
        for i in map(int, plan.used)
    }
    values = permuted_values(
        group.measures,
        [taken[int(i)] for i in sides.rows],
        [taken[int(j)] for j in sides.columns],
        sides.needed,
        orders(plan.n, asked.rng, asked.groups, asked.rows_of),
        asked.n_permutations,
        each,
        max(group.memory - group.cost.held, 0),
        partial(step, 1),
    )
    found = {}
    for name, shift in shifts.items():
        if name in values:
            values[name][0] += shift  # the value that is returned is the one that is judged
    for name, record in group.measures.items():
        p, together = pvalues(values[name], record.kind), sides.together(record)
        adjusted = familywise(values[name], record.kind, together)
        free = is_order_free(values[name])
        if free:
            p, adjusted = np.full_like(p, np.nan), np.full_like(p, np.nan)
        level = values[name][1:].mean(axis=0)
        kinds = {
            "null": level if _rows_that_stay(plan) < plan.n else np.full_like(p, np.nan),
            "p": p,
            "p_fwer": adjusted,
            "p_fdr": false_discovery(p, together),
        }
        if asked.calibrate:
            threshold = np.where(np.isnan(p), np.nan, thresholds(values[name], record.kind, asked.level))
            beyond = is_beyond(p, asked.level)
            kinds |= {
                "threshold": threshold,
                "calibrated": calibrated(values[name][0], threshold, beyond, best_value(record)),
            }
        blocks = blocks_of(plan, sides.rows, sides.columns, record)
        add(over_models[name], of_permutations(values[name], record, blocks, asked.level))
        found[name] = {kind: sides.whole(matrix, record) for kind, matrix in kinds.items()} | {
            "order_free": np.asarray(free)
        }
    return found


def _intervals(
    plan: Plan,
    group: MeasureGroup,
    sides: RowsAndColumns,
    each: Any,
    over_models: dict[str, Statistics],
) -> dict[str, dict[str, np.ndarray]]:
    asked, units = plan.asked, plan.asked.units
    arrays = {int(i): _array(plan, group, int(i)) for i in plan.used}
    xs = [arrays[int(i)] for i in sides.rows]
    ys = xs if plan.same else [arrays[int(j)] for j in sides.columns]

    def resampled(measures: Mapping[str, Measure]) -> dict[str, Resampled]:
        parts = resampled_values(measures, xs, ys, sides.needed, asked.method, asked.rng, each, units=units)
        errors = sketch_errors(measures, xs, ys, sides.needed, units, each)
        parts |= {name: error.taken_off(parts[name]) for name, error in errors.items()}
        for name, record in group.measures.items():
            add(over_models[name], of_parts(parts[name], record, blocks_of(plan, sides.rows, sides.columns, record)))
        return parts

    found = {}
    for name, ends in intervals(group.measures, asked.level, resampled).items():
        whole = {kind: np.asarray(matrix, dtype=float) for kind, matrix in ends._asdict().items()}
        found[name] = {kind: sides.whole(matrix, group.measures[name]) for kind, matrix in whole.items()}
    return found


def _stays(plan: Plan, group: MeasureGroup, index: int) -> bool:
    """Say whether an operand can be reordered as it is: it is NumPy's, or a function's own array."""
    array = plan.layers[index].array
    given = group.family is FUNCTION or isinstance(array, Rows)
    return given or is_numpy(on_host(array) if group.family.host else array)


def _array(plan: Plan, group: MeasureGroup, index: int) -> Any:
    layer = plan.layers[index]
    if isinstance(layer.array, SketchedRows):
        return layer.array.loaded()
    array = converted(layer.array, layer.title, shifted=group.ignores_offset)
    # A function of the caller's may know its own array library alone.
    return array if group.family is FUNCTION else to_numpy(array)
