"""What a comparison says about how sure it is: probabilities under permutation, standard errors, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from homolog.arrays import format_bytes, is_numpy, on_host, representation, to_numpy
from homolog.diagnostics import Caution, dominated_by_bias, few_permutations, no_interval, order_free
from homolog.inference.checks import check_count, check_level, check_method, check_size
from homolog.inference.intervals import intervals
from homolog.inference.permutations import is_order_free, numbered, orders, permuted_values
from homolog.inference.pvalues import false_discovery, familywise, pvalues
from homolog.inference.resampling import Method, Resampled, resampled_values
from homolog.rows import Rows

if TYPE_CHECKING:
    from homolog.engine.planning import Group, Plan
    from homolog.measures.record import Measure
ALPHA = 0.05
"""Below which pictures and pages take a pair for more alike than by chance."""
MEANINGS = {
    "null": "mean of the measure under random permutations of the examples",
    "p": "probability of a value at least as alike if the two layers were independent, by permutation",
    "p_fwer": "the same for all pairs at once (familywise error rate): by the largest standardised value of each permutation",
    "p_fdr": "the same, adjusted for the share of false discoveries (false discovery rate, Benjamini-Hochberg)",
    "se": "standard error over examples",
    "low": "lower end of the interval for the value on infinitely many examples",
    "high": "upper end of the interval for the value on infinitely many examples",
}


def interval_by_name(interval: Any) -> dict[str, Any] | None:
    """Return what says the same as the `interval=` of earlier versions, which named the method, or None for no interval."""
    if isinstance(interval, str):
        return {"interval": True, "method": interval}
    return {"interval": False} if interval is None else None


@dataclass(frozen=True)
class Requested:
    """Which companions of the values are computed, and how."""

    null: Literal["permutation"] | None = None
    interval: bool = False
    n_permutations: int = 999
    groups: Any = None
    level: float = 0.95
    method: Method = "jackknife"
    rng: int | np.random.Generator = 0

    def check(self, n: int, measures: Mapping[str, Measure]) -> None:
        """Raise for what cannot be asked of n examples."""
        if self.null not in (None, "permutation"):
            raise ValueError(f"null must be 'permutation' or None, got {self.null!r}.")
        if not isinstance(self.interval, bool | np.bool_):
            raise ValueError(f"interval must be True or False, got {self.interval!r}: the method goes into method=.")
        check_count(self.n_permutations)
        check_level(self.level)
        check_method(self.method)
        if self.groups is not None:
            if self.null is None:
                raise ValueError("groups are for permutations, got no null: pass null='permutation'.")
            numbered(self.groups, n)
        if self.interval:
            for record in measures.values():
                check_size(n, record, self.method)

    def refuse_in_parts(self, needed: int, memory: int, *, elsewhere: bool) -> None:
        """Raise where not all can be in memory at once: permutations and parts of the examples need it there."""
        if self.null is not None or self.interval:
            what = "null='permutation'" if self.null is not None else "interval=True"
            if elsewhere:
                raise ValueError(f"{what} is computed in this process, got an executor: leave the executor out.")
            all_of_them = format_bytes(1.06 * needed)
            raise ValueError(
                f"{what} needs all layers in memory, {all_of_them}, got memory={format_bytes(memory)}: raise memory, or take "
                f"fewer examples or layers."
            )

    def steps(self) -> int:
        """Count what a progress bar is told of, for one group of measures."""
        return (self.n_permutations + 1) * (self.null is not None)


@dataclass(frozen=True)
class RowsAndColumns:
    """The layers that stand in rows and in columns, and what of them is computed."""

    rows: np.ndarray
    columns: np.ndarray
    needed: np.ndarray
    """(rows, columns) bool: of layers compared with themselves by symmetric measures the upper half."""
    same: bool

    @classmethod
    def of(cls, plan: Plan, group: Group) -> RowsAndColumns:
        """Return the sides of a group of measures."""
        rows, columns = (side[np.isin(side, plan.used)] for side in (plan.rows, plan.columns))
        needed = plan.needed[np.ix_(rows, columns)]
        halved = plan.same and all(record.symmetric for record in group.measures.values())
        return cls(rows, columns, np.triu(needed | needed.T) if halved else needed, plan.same)

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
        return [f"{names[self.rows[i]]} and {names[self.columns[j]]}" for i, j in np.argwhere(marked)]

    def spread(self, values: np.ndarray, size: int) -> np.ndarray:
        """Return values over all layers, NaN where there are none."""
        found = np.full((size, size), np.nan)
        found[np.ix_(self.rows, self.columns)] = values
        return found


def companions(
    plan: Plan,
    group: Group,
    operands: dict[int, Any],
    each: Any,
    step: Callable[[], Any],
) -> tuple[dict[str, dict[str, np.ndarray]], list[Caution]]:
    """Return measure → companion → (layers, layers) matrix, NaN where not asked, and what a reader should be told of them."""
    sides = RowsAndColumns.of(plan, group)
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in group.measures}
    cautions: list[Caution] = []
    if plan.asked.null:
        for name, kinds in _nulls(plan, group, operands, sides, each, step).items():
            free = bool(kinds.pop("order_free"))
            found[name] |= kinds
            if free:
                cautions.append(order_free(name))
                continue
            together = sides.together(group.measures[name])
            lost = together & (kinds["p"] <= 1 / (1 + plan.asked.n_permutations)) & (kinds["p_fdr"] > ALPHA)
            cautions += few_permutations(name, int(lost.sum()), int(together.sum()), plan.asked.n_permutations, ALPHA)
    if plan.asked.interval:
        for name, kinds in _intervals(plan, group, sides, each).items():
            for flag, caution in (("dubious", dominated_by_bias), ("missing", no_interval)):
                where = sides.labels(plan, kinds.pop(flag) == 1)
                cautions += [caution(name, where)] if where else []
            found[name] |= kinds
    size = len(plan.layers)
    return {name: {key: sides.spread(m, size) for key, m in kinds.items()} for name, kinds in found.items()}, cautions


def _nulls(
    plan: Plan, group: Group, operands: dict[int, Any], sides: RowsAndColumns, each: Any, step: Callable[[], Any]
) -> dict[str, dict[str, np.ndarray]]:
    asked = plan.asked
    taken = {i: operands[i] if _stays(plan, group, i) else _operand(group, i, plan) for i in map(int, plan.used)}
    values = permuted_values(
        group.measures,
        [taken[int(i)] for i in sides.rows],
        [taken[int(j)] for j in sides.columns],
        sides.needed,
        orders(plan.n, asked.rng, asked.groups),
        asked.n_permutations,
        each,
        max(group.memory - group.cost.held, 0),
        step,
    )
    found = {}
    for name, record in group.measures.items():
        p, together = pvalues(values[name], record.kind), sides.together(record)
        adjusted = familywise(values[name], record.kind, together)
        free = is_order_free(values[name])
        if free:
            p, adjusted = np.full_like(p, np.nan), np.full_like(p, np.nan)
        kinds = {
            "null": values[name][1:].mean(axis=0),
            "p": p,
            "p_fwer": adjusted,
            "p_fdr": false_discovery(p, together),
        }
        found[name] = {kind: sides.whole(matrix, record) for kind, matrix in kinds.items()} | {
            "order_free": np.asarray(free)
        }
    return found


def _intervals(plan: Plan, group: Group, sides: RowsAndColumns, each: Any) -> dict[str, dict[str, np.ndarray]]:
    asked = plan.asked
    arrays = {int(i): _array(plan, group, int(i)) for i in plan.used}
    xs = [arrays[int(i)] for i in sides.rows]
    ys = xs if plan.same else [arrays[int(j)] for j in sides.columns]

    def resampled(measures: Mapping[str, Measure]) -> dict[str, Resampled]:
        return resampled_values(measures, xs, ys, sides.needed, asked.method, asked.rng, each, _anew)

    found = {}
    for name, ends in intervals(group.measures, asked.level, resampled).items():
        whole = {kind: np.asarray(matrix, dtype=float) for kind, matrix in ends._asdict().items()}
        found[name] = {kind: sides.whole(matrix, group.measures[name]) for kind, matrix in whole.items()}
    return found


def _stays(plan: Plan, group: Group, index: int) -> bool:
    """Say whether an operand can be reordered as it is: it is NumPy's, or a function's own array."""
    array = plan.layers[index].array
    given = group.family.name == "function" or isinstance(array, Rows)
    return given or is_numpy(on_host(array) if group.family.host else array)


def _array(plan: Plan, group: Group, index: int) -> Any:
    layer = plan.layers[index]
    array = representation(layer.array, layer.title, shifted=group.ignores_offset)
    # A function of the caller's may know its own array library alone.
    return array if group.family.name == "function" else to_numpy(array)


def _operand(group: Group, index: int, plan: Plan) -> Any:
    return _prepared(group, _array(plan, group, index))


def _anew(record: Measure, array: Any) -> Any:
    """Prepare a part of the examples, for which an option may keep a part of its own."""
    return record.family.prepare(array, **record.prepare_options)


def _prepared(group: Group, array: Any) -> Any:
    return group.family.prepare(
        array, **group.options, **({} if group.form is None else {"rebuilt": group.form.rebuilt})
    )
