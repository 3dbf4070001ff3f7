"""Plan → what was found: operands once per layer, what pairs share once per pair, then the formula of every measure.

One road for every family, wherever the rows lie:

    prepare   operands of the layers, of arrays or of rows that are read (`_prepared`)
    meet      what pairs share, all at once, round by round or pair by pair (`_meet`)
    evaluate  the formulas, both ways round (`measures.evaluation`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from math import isnan, prod
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from homolog.arrays import check_finite, converted, is_array, loaded, namespace, on_disk, on_host, to_numpy
from homolog.blocks.budget import Form, IndexPair
from homolog.blocks.products import cross_products
from homolog.blocks.source import ArrayCache, ArrayRows, exact_rows
from homolog.blocks.workers import ExecutorWorkers, ThreadWorkers, Workers, at_most, pooled
from homolog.devices import exact_products, explained_shortage
from homolog.diagnostics import Caution, explain_nan, listed
from homolog.engine.companions import Companions, companions
from homolog.engine.measure_groups import MeasureGroup, PairBatch
from homolog.engine.model_statistics import Statistics
from homolog.engine.moment_pvalues import moment_pvalues
from homolog.engine.planning import Layer, Plan
from homolog.measures.evaluation import (
    PairValues,
    examined,
    null_levels_of_all,
    order_scores_of_all,
    values_of_all,
    values_of_pair,
)
from homolog.measures.record import Measure
from homolog.measures.registry import measure
from homolog.operands.family import Family, ProductFamily, TogetherFamily
from homolog.operands.representation import ArrayRepresentation, StoredRepresentation
from homolog.operands.sketched_gram import sketched_gram
from homolog.operands.sketched_products import off_by
from homolog.progress import progress_bar
from homolog.rows import Rows
from homolog.sketching import Sketch
from homolog.sparse import SparseRows, made_dense
from homolog.warning_sentences import high_null_level, undefined

Step = Callable[[float], Any]
"""Told how many steps of a progress bar were made."""
SMALL = 1 << 12
"""Numbers of an array from which on it is not kept for what a reader is told."""
HIGH_LEVEL = 0.1
"""Chance levels above this earn a warning."""
_BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


@dataclass
class Outcome:
    """What a run found, as (layers, layers) matrices over all layers of the plan, NaN where not asked."""

    values: dict[str, np.ndarray]
    nulls: dict[str, np.ndarray]
    ranks: np.ndarray | None = None
    """Rank of every layer, −1 where nobody asked."""
    cautions: list[Caution] = field(default_factory=list)
    companions: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """Measure → companion → matrix, where they were asked for."""
    over_models: dict[str, Statistics] = field(default_factory=dict)
    """Measure → what permutations and parts of the examples say of pairs of models."""
    corrections: dict[str, np.ndarray] = field(default_factory=dict)
    """Measure → what was taken off its values as the bias of sketches, (layers, layers)."""
    order_scores: dict[str, np.ndarray] = field(default_factory=dict)
    """Where values lie among those of all orders of the examples, in standard deviations from the mean."""

    @classmethod
    def empty(cls, plan: Plan) -> Outcome:
        """Return an outcome of nothing."""
        # Formulas of null levels are for rows that are independent.
        known = plan.asked.independent_rows
        nulls = [name for name, record in plan.measures.items() if known and record.null is not None]
        shape = plan.needed.shape
        return cls({name: np.full(shape, np.nan) for name in plan.measures}, {n: np.full(shape, np.nan) for n in nulls})

    def note(self, pair: IndexPair, found: Mapping[str, PairValues]) -> None:
        """Put what was found of a pair where it belongs."""
        i, j = pair
        for name, values in found.items():
            self.values[name][i, j] = values.value
            if not isnan(values.reversed):
                self.values[name][j, i] = values.reversed
            if name in self.nulls:
                self.nulls[name][i, j], self.nulls[name][j, i] = values.null, values.null_reversed

    def note_all(self, measures: Mapping[str, Measure], shared: Any, used: np.ndarray, needed: np.ndarray) -> None:
        """Evaluate the measures on what all pairs share, and put the values that are needed where they belong."""
        at, wanted = np.ix_(used, used), needed | needed.T
        levels, blocks = null_levels_of_all(measures, shared), getattr(shared, "blocks", None)
        # What lies among all orders of the examples is known of structures, not of estimates of them.
        for name, score in order_scores_of_all(measures, shared).items() if blocks is None else ():
            kept = self.order_scores.setdefault(name, np.full_like(self.values[name], np.nan))
            kept[at] = np.where(wanted, score, kept[at])
        for name, values in zip(measures, values_of_all(measures, shared, needed.shape), strict=True):
            if blocks is not None:
                shift, error = off_by(partial(measures[name].value, None, None), shared)
                values = values - shift
                kept = self.corrections.setdefault(name, np.zeros_like(self.values[name]))
                kept[at] = np.where(wanted, -shift, kept[at])
                beside = self.companions.setdefault(name, {})
                errors = beside.setdefault("se_sketch", np.full_like(self.values[name], np.nan))
                errors[at] = np.where(wanted, error, errors[at])
            self.values[name][at] = np.where(wanted, values, self.values[name][at])
            if name in levels and name in self.nulls:
                self.nulls[name][at] = np.where(wanted, levels[name], self.nulls[name][at])

    def add_companions(self, added: Companions, *, grouped: bool) -> None:
        """Add companions; the formulas of null levels are for orders of all examples, not for those within groups."""
        for name, kinds in added.found.items():
            self.companions[name] = self.companions.get(name, {}) | kinds
        self.cautions += added.cautions
        self.over_models |= added.over_models
        if grouped:
            self.nulls |= {name: kinds["null"] for name, kinds in added.found.items()}

    def add_pvalues(self, found: Mapping[str, dict[str, np.ndarray]]) -> None:
        """Add p-values to what stands beside the values already."""
        for name, kinds in found.items():
            self.companions[name] = kinds | self.companions.get(name, {})

    def examine(self, plan: Plan, measures: Mapping[str, Measure], operands: Mapping[int, Any]) -> None:
        """Note what a reader should know of the operands of a family, and their ranks."""
        family, labels = next(iter(measures.values())).family, [layer.label for layer in plan.layers]
        named = {labels[i]: operand for i, operand in operands.items()}
        pairs = [(labels[i], labels[j]) for i, j in unordered(plan.needed)]
        self.cautions += examined(family, named, pairs, measures.values())
        if family.ranked:
            self.ranks = np.full(len(labels), -1, dtype=np.int32)
            for i, operand in operands.items():
                self.ranks[i] = operand.rank

    def concluded(self, plan: Plan) -> Outcome:
        """Add what a reader should be told of the values."""
        self.cautions = list(dict.fromkeys(self.cautions)) + self._undefined(plan) + self._null_levels(plan)
        self.nulls = {name: level for name, level in self.nulls.items() if not np.isnan(level).all()}
        return self

    def _undefined(self, plan: Plan) -> list[Caution]:
        if explain_nan(self.cautions):
            return []
        found = []
        for name, values in self.values.items():
            found += undefined(name, _labels(plan, np.argwhere(np.isnan(values) & plan.needed)))
        return found

    def _null_levels(self, plan: Plan) -> list[Caution]:
        high = {}
        for name, level in self.nulls.items():
            asked = np.where(plan.needed, level, np.nan)
            if np.isnan(asked).all():
                continue
            i, j = np.unravel_index(np.nanargmax(asked), asked.shape)
            if asked[i, j] > HIGH_LEVEL:
                high[name] = (float(asked[i, j]), _labels(plan, [(i, j)])[0])
        told = plan.asked
        return high_null_level(high, grouped=told.groups is not None, several_rows=told.rows_of is not None)


def unordered(needed: np.ndarray) -> list[IndexPair]:
    """List every pair of layers once, whichever way round it was asked for."""
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(needed | needed.T)), strict=True)]


def _labels(plan: Plan, pairs: Iterable[Any]) -> list[str]:
    return [f"{plan.layers[i].label} and {plan.layers[j].label}" for i, j in pairs]


def run(plan: Plan, progress: bool | None) -> Outcome:
    """Compute a plan."""
    outcome = Outcome.empty(plan)
    steps = len(plan.measure_groups) * (len(plan.used) + len(unordered(plan.needed)) + plan.asked.steps())
    with progress_bar("comparing", steps, progress, bar_format=_BAR) as shown, exact_products():
        for groups in plan.preparations:
            with explained_shortage():
                _run_together(plan, groups, outcome, shown.update)
    outcome.cautions += plan.asked.cautions() + _made_dense(plan)
    return outcome.concluded(plan)


def _made_dense(plan: Plan) -> list[Caution]:
    """Say which sparse layers were filled with their zeros, and for what."""
    sparse = {layer.label: layer.array for layer in plan.used_layers if isinstance(layer.array, SparseRows)}
    groups = [group for group in plan.measure_groups if not group.sparse and not group.blocked]
    return made_dense(sparse, listed(name for group in groups for name in group.measures)) if groups else []


def _run_together(plan: Plan, groups: Sequence[MeasureGroup], outcome: Outcome, step: Step) -> None:
    """Compute groups whose layers are prepared together; often it is one."""
    lead, most = groups[0], max(max(group.at_once) for group in groups)
    with pooled(lead.blocked or most > 1) as each, _cache(plan, lead) as cache:
        held: list[dict[int, Any]] = [{} for _ in groups]
        light: dict[int, Any] = {}
        everything = PairBatch(plan.needed[np.ix_(plan.used, plan.used)], lead.form)
        for batch in lead.batches or (everything,):
            places = np.flatnonzero(batch.needed.any(axis=0) | batch.needed.any(axis=1)).tolist()
            missing = [place for place in places if place not in held[0]]
            for operands in held:
                for gone in set(operands) - set(places):
                    del operands[gone]
            for place, found in zip(missing, _prepared(plan, groups, missing, each, cache, step), strict=True):
                for operands, operand in zip(held, found, strict=True):
                    operands[place] = operand
                if lead.batches:
                    light[place] = lightened(found[0])
            for group, operands in zip(groups, held, strict=True):
                form = batch.form if group is lead else group.form
                _meet(plan, group, form, batch.needed, operands, _workers(plan, group, each), outcome, step)
        for group, operands in zip(groups, held, strict=True):
            known = {int(plan.used[place]): (light or operands)[place] for place in sorted(light or operands)}
            if plan.asked.any:
                beside = companions(plan, group, known, at_most(each, group.at_once[1]), step, outcome.corrections)
                outcome.add_companions(beside, grouped=plan.asked.keeps_together)
            if (
                plan.asked.independent_rows
                and plan.asked.null is None
                and outcome.order_scores.keys() & group.measures.keys()
            ):
                outcome.add_pvalues(
                    moment_pvalues(
                        plan, group, known, outcome.values, outcome.order_scores, at_most(each, group.at_once[0])
                    )
                )
            outcome.examine(plan, group.measures, known)
            operands.clear()


def _workers(plan: Plan, group: MeasureGroup, each: Any) -> Workers:
    if group.blocked:
        return ThreadWorkers(each) if plan.executor is None else ExecutorWorkers(plan.executor)
    return ThreadWorkers(at_most(each, group.at_once[1]))


@contextmanager
def _cache(plan: Plan, group: MeasureGroup) -> Iterator[ArrayCache | None]:
    """Give room for what is large of layers on disk; tasks of other processes leave it in a folder beside the first file."""
    if not group.blocked or group.form is None:
        yield None
        return
    folders = [] if group.form.cache else [rows.folder for rows in map(_rows_of, plan.used_layers) if rows.folder]
    with TemporaryDirectory(prefix=".homolog-", dir=next(iter(folders), None)) as folder:
        yield ArrayCache(folder, group.form.cache)


def _prepared(
    plan: Plan, groups: Sequence[MeasureGroup], places: Sequence[int], each: Any, cache: ArrayCache | None, step: Step
) -> Iterator[list[Any]]:
    """Yield the operands of some layers, one for each group."""
    lead, layers = groups[0], [plan.used_layers[place] for place in places]
    if cache is None or lead.form is None:
        at_once = min(group.at_once[0] for group in groups)
        found = ThreadWorkers(each).items(partial(_of_array, groups, plan.n, step), layers, at_once)
        yield from found
        return
    form, workers = lead.form, _workers(plan, lead, each)
    dtypes = [np.float32 if lead.items[place] == 4 else np.float64 for place in places]
    panels = form.alone or [None] * len(layers)
    titled = [(_rows_of(layer), layer.title, layer.sketch) for layer in layers]
    work = partial(_of_rows, family=lead.family, options=lead.options, cache=cache, keep=form.keep)
    stored = list(zip(titled, dtypes, panels, strict=True))
    # Layers whose own tiles are formed are prepared one after another, each by all threads.
    for operand in workers.parts(work, stored) if form.alone else workers.items(work, stored, form.at_once):
        step(1)
        yield [operand]


def _rows_of(layer: Layer) -> Rows:
    return exact_rows(on_disk(layer.kept) or ArrayRows(layer.kept, layer.title))


def _of_rows(stored: Any, each: Any = map, *, family: Family, options: Any, cache: ArrayCache, keep: int) -> Any:
    """Return the operand of a layer whose rows are read."""
    (rows, title, sketch), dtype, panels = stored
    return _of_columns(
        family.prepare(StoredRepresentation(rows, title, dtype, cache, panels, keep, each), **options), sketch
    )


def _of_columns(operand: Any, sketch: Sketch | None) -> Any:
    """Return the operand of a layer of which what was prepared is all, or the columns of its sketches."""
    return operand if sketch is None else sketched_gram(operand, sketch)


def _of_array(groups: Sequence[MeasureGroup], n: int, step: Step, layer: Layer) -> list[Any]:
    """Return the operands of one layer in memory, one for each group."""
    family, operands, x = groups[0].family, [], None
    try:
        shifted = all(group.ignores_offset for group in groups)
        for group in groups:
            if group.sparse and isinstance(layer.array, SparseRows):
                operands.append(group.family.prepare(layer.array, **group.options))
            else:
                if x is None:
                    x = _representation(groups[0], layer, single=family.single(n), shifted=shifted)
                operands.append(_of_columns(group.family.prepare(x, **group.options), layer.sketch))
            step(1)
    except Exception as error:
        error.add_note(f"while preparing {layer.title}")
        raise
    return operands


def _representation(group: MeasureGroup, layer: Layer, *, single: bool, shifted: bool) -> ArrayRepresentation:
    """Return a layer in memory."""
    array = loaded(layer.kept)
    if array is not layer.kept:
        check_finite(array, layer.title)  # others were checked when they were given
    if group.copied:
        array = to_numpy(array)
    array = on_host(array) if group.family.host else array
    return ArrayRepresentation(converted(array, layer.title, single=single, shifted=shifted))


def lightened(operand: Any) -> Any:
    """Return an operand of which arrays that are large keep their shapes alone: enough for what a reader is told of it."""
    if not is_dataclass(operand) or isinstance(operand, type):
        return None
    arrays = {field.name: getattr(operand, field.name) for field in fields(operand)}
    return replace(operand, **{name: _light(array) for name, array in arrays.items() if is_array(array)})


def _light(array: Any) -> Any:
    flags = array.ndim == 1 and str(array.dtype).endswith("bool")  # of the examples, which readers are told of
    if prod(array.shape) > SMALL and not flags:
        return np.broadcast_to(np.zeros((), dtype=np.float32), array.shape)
    # A view, such as a diagonal, would keep all of what it is a part of.
    return namespace(array).asarray(array, copy=True)


def _meet(
    plan: Plan,
    group: MeasureGroup,
    form: Form | None,
    needed: np.ndarray,
    operands: Mapping[int, Any],
    workers: Workers,
    outcome: Outcome,
    step: Step,
) -> None:
    """Let pairs meet, and note what their measures say."""
    places = sorted(operands)
    family, some, layers = group.family, [operands[place] for place in places], plan.used[places]
    needed = needed[np.ix_(places, places)]
    pairs = unordered(needed)
    if isinstance(family, TogetherFamily) and form is not None:
        shared = family.meet_all(some, needed, form, workers, lambda share: step(share * len(pairs)))
        outcome.note_all(group.measures, shared, layers, needed)
        return
    if isinstance(family, ProductFamily) and form is not None:
        measures = {name: record if workers.here else str(record) for name, record in group.measures.items()}
        formulas = partial(_of_product, measures=measures, needed=needed)
        found = cross_products(some, family.rows, pairs, form.rounds, workers, formulas)
    else:
        titles = [plan.layers[index].title for index in layers]
        found = zip(pairs, workers.items(partial(_of_pair, group, some, titles, needed), pairs), strict=True)
    for (i, j), values in found:
        outcome.note((int(layers[i]), int(layers[j])), values)
        step(1)


def _of_pair(
    group: MeasureGroup, operands: Sequence[Any], titles: Sequence[str], needed: np.ndarray, pair: IndexPair
) -> dict[str, PairValues]:
    """Return what every measure says of a pair of operands."""
    i, j = pair
    try:
        x, y = operands[i], operands[j]
        shared = group.family.meet(x, y)
        return values_of_pair(group.measures, x, y, shared, same=i == j, both=bool(needed[j, i]))
    except Exception as error:
        error.add_note(f"while comparing {titles[i]} with {titles[j]}")
        raise


def _of_product(
    pair: IndexPair, x: Any, y: Any, product: Any, *, measures: Mapping[str, Any], needed: np.ndarray
) -> dict[str, PairValues]:
    """Return the same from the product of mapped rows; measures travel to other processes as text."""
    i, j = pair
    records = {name: measure(record) for name, record in measures.items()}
    family: Any = next(iter(records.values())).family
    return values_of_pair(records, x, y, family.shared(product), same=i == j, both=bool(needed[j, i]))
