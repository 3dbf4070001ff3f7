"""Plan → what was found: operands once per layer, meetings once per pair, then the last line of every measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from homolog.arrays import (
    check_finite,
    is_array,
    is_numpy,
    loaded,
    namespace,
    on_disk,
    on_host,
    representation,
    to_numpy,
)
from homolog.blocks.source import ArrayRows, exact_rows
from homolog.blocks.workers import ExecutorWorkers, ThreadWorkers, Workers, at_most, pooled
from homolog.diagnostics import Caution, explain_nan, null_level, undefined
from homolog.engine.finishing import Finished, Finishing, finished
from homolog.engine.planning import Group, Plan
from homolog.inference.uncertainty import companions
from homolog.measures.evaluation import examined
from homolog.operands import blocked

LIGHT = 1 << 12
"""Numbers of an array from which on it is not kept for what a reader is told."""
NULL_LEVEL_TOLD = 0.1
"""Chance levels above this earn a warning."""


@dataclass
class Outcome:
    """What a run found, as (layers, layers) matrices over all layers of the plan."""

    values: dict[str, np.ndarray]
    nulls: dict[str, np.ndarray]
    ranks: np.ndarray | None = None
    """Rank of every layer, −1 where nobody asked."""
    cautions: list[Caution] = field(default_factory=list)
    sureness: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """Measure → companion → matrix, where they were asked for."""


def run(plan: Plan, progress: bool | None) -> Outcome:
    """Compute a plan."""
    outcome = empty(plan)
    hidden = None if progress is None else not progress
    steps = len(plan.groups) * (len(plan.used) + len(unordered(plan.needed)) + plan.asked.steps())
    with tqdm(total=steps, desc="comparing", delay=1, leave=False, disable=hidden, bar_format=_BAR) as bar:
        for preparation in plan.preparations:
            _run_prepared(plan, preparation, outcome, bar)
    return concluded(plan, outcome)


def empty(plan: Plan) -> Outcome:
    """Return an outcome of nothing but NaN."""
    shape = plan.needed.shape
    nulls = {name: np.full(shape, np.nan) for name, record in plan.measures.items() if record.null is not None}
    return Outcome({name: np.full(shape, np.nan) for name in plan.measures}, nulls)


def concluded(plan: Plan, outcome: Outcome) -> Outcome:
    """Add what a reader should be told of the values."""
    outcome.cautions = list(dict.fromkeys(outcome.cautions)) + _undefined(plan, outcome) + _null_levels(plan, outcome)
    outcome.nulls = {name: level for name, level in outcome.nulls.items() if not np.isnan(level).all()}
    return outcome


_BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


def unordered(needed: np.ndarray) -> list[tuple[int, int]]:
    """List every pair of layers once, whichever way round it was asked for."""
    i, j = np.nonzero(needed)
    return sorted({(int(min(pair)), int(max(pair))) for pair in zip(i, j, strict=True)})


def _run_prepared(plan: Plan, preparation: list[Group], outcome: Outcome, bar: tqdm) -> None:
    """Compute groups that are prepared together; often it is one."""
    lead = preparation[0]
    if lead.parts:
        _examine(plan, lead, _run_parts(lead, outcome, bar), outcome)
        return
    preparing = min(group.at_once[0] for group in preparation)
    most = max(preparing, *(group.at_once[1] for group in preparation))
    with pooled(lead.task is not None or most > 1) as each:
        if lead.task is not None:
            workers = ThreadWorkers(each) if plan.executor is None else ExecutorWorkers(plan.executor)
            _examine(plan, lead, _run_on_disk(plan, lead, outcome, workers, bar), outcome)
            return
        prepared = list(at_most(each, preparing)(partial(_prepared, plan, preparation, bar.update), plan.used))
        for place, group in enumerate(preparation):
            operands = {int(i): layer.pop(place) for i, layer in zip(plan.used, prepared, strict=True)}
            _run_group(plan, group, operands, outcome, each, bar)


def _run_parts(group: Group, outcome: Outcome, bar: tqdm) -> dict[int, Any]:
    """Compute a group part by part, and return its operands without what is large in them."""
    held: dict[int, Any] = {}
    light: dict[int, Any] = {}
    for part in group.parts:
        some = part.groups[0]
        for gone in set(held) - set(part.used.tolist()):
            del held[gone]
        missing = [int(i) for i in part.used if int(i) not in held]
        with pooled(max(some.at_once) > 1) as each:
            work = partial(_prepared, part, [some], lambda: None)
            held |= zip(missing, (found[0] for found in at_most(each, some.at_once[0])(work, missing)), strict=True)
            bar.update(len(set(missing) - set(light)))
            _meet(part, some, {int(i): held[int(i)] for i in part.used}, outcome, each, bar)
        light |= {i: lightened(held[i]) for i in missing}
    return dict(sorted(light.items()))


def lightened(operand: Any) -> Any:
    """Return an operand of which arrays that are large keep their shapes alone: enough for what a reader is told of it."""
    if not is_dataclass(operand) or isinstance(operand, type):
        return None
    arrays = {field.name: getattr(operand, field.name) for field in fields(operand)}
    return replace(operand, **{name: _light(array) for name, array in arrays.items() if is_array(array)})


def _light(array: Any) -> Any:
    flags = array.ndim == 1 and str(array.dtype).endswith("bool")  # of the examples, which readers are told of
    if math.prod(array.shape) > LIGHT and not flags:
        return np.broadcast_to(np.zeros((), dtype=np.float32), array.shape)
    # A view, such as a diagonal, would keep all of what it is a part of.
    return namespace(array).asarray(array, copy=True)


def _meet(plan: Plan, group: Group, operands: dict[int, Any], outcome: Outcome, each: Any, bar: tqdm) -> None:
    """Let the pairs of a plan meet, and note what their measures say."""
    pairs = unordered(plan.needed)
    each = at_most(each, group.at_once[1])
    if group.form is None:
        list(each(partial(_meet_one, plan, group, operands, outcome, bar), pairs))
    else:
        _meet_all(plan, group, operands, outcome, each, lambda share: bar.update(share * len(pairs)))


def _run_group(plan: Plan, group: Group, operands: dict[int, Any], outcome: Outcome, each: Any, bar: tqdm) -> None:
    _meet(plan, group, operands, outcome, each, bar)
    each = at_most(each, group.at_once[1])
    found, cautions = companions(plan, group, operands, each, bar.update)
    outcome.sureness |= found
    outcome.cautions += cautions
    if plan.asked.groups is not None:
        # The formulas are for orders of all examples.
        outcome.nulls |= {name: kinds["null"] for name, kinds in found.items()}
    _examine(plan, group, operands, outcome)


def _examine(plan: Plan, group: Group, operands: dict[int, Any], outcome: Outcome) -> None:
    """Note what a reader should know of the operands, and their ranks."""
    pairs = unordered(plan.needed)
    labels = [layer.label for layer in plan.layers]
    named = {labels[i]: operand for i, operand in operands.items()}
    outcome.cautions += examined(
        group.family, named, [(labels[i], labels[j]) for i, j in pairs], group.measures.values()
    )
    if group.family.rank is not None:
        outcome.ranks = np.full(len(labels), -1, dtype=np.int32)
        for i, operand in operands.items():
            outcome.ranks[i] = group.family.rank(operand)


def _run_on_disk(plan: Plan, group: Group, outcome: Outcome, workers: Workers, bar: tqdm) -> dict[int, Any]:
    """Compute a group whose layers stay on disk, and return its operands, which hold nothing of their size."""
    used = plan.used.tolist()
    layers = [plan.layers[i] for i in used]
    rows = [exact_rows(on_disk(layer.array) or ArrayRows(layer.array, layer.title)) for layer in layers]
    titles = [layer.title for layer in layers]
    family, count = group.family.on_disk, len(unordered(plan.needed))
    assert family is not None  # planned so
    if family.meet_all is not None:

        def told(share: float) -> None:
            bar.update(share * count)

        found, meeting = family.meet_all(rows, titles, group.task, group.form, workers, told, **group.options)
        bar.update(len(used))
        _finish_all(plan, group, meeting, outcome)
        return dict(zip(used, found, strict=True))
    assert family.summarise is not None  # one of the two is given
    finish = Finishing(plan.needed, used, group.measures, sent=plan.executor is not None)
    summaries, finished = blocked.pairs(family.summarise, rows, titles, group.form, workers, finish, bar.update)
    for (i, j), values in finished:
        note(outcome, (used[i], used[j]), values)
    return {i: summary.operand for i, summary in zip(used, summaries, strict=True)}


def _prepared(plan: Plan, preparation: list[Group], step: Callable[[], Any], index: int) -> dict[int, Any]:
    """Return the operands of one layer, by the place of the group that asks for each."""
    layer, family = plan.layers[index], preparation[0].family
    array = loaded(layer.array)
    if array is not layer.array:
        check_finite(array, layer.title)  # others were checked when they were given
    array = on_host(array) if family.host else array
    operands = {}
    try:
        shifted = all(group.ignores_offset for group in preparation)
        x = representation(array, layer.title, single=family.single(plan.n), shifted=shifted)
        shared = {} if family.begin is None or not is_numpy(x) else {"shared": family.begin(x)}
        for place, group in enumerate(preparation):
            # A family that meets all pairs at once may be told to hold less.
            rebuilt = {} if group.form is None else {"rebuilt": group.form.rebuilt}
            operands[place] = group.family.prepare(x, **group.options, **rebuilt, **shared)
            step()
    except Exception as error:
        error.add_note(f"while preparing {layer.title}")
        raise
    return operands


def _meet_all(
    plan: Plan, group: Group, operands: dict[int, Any], outcome: Outcome, each: Any, step: Callable[[float], None]
) -> None:
    """Let all pairs meet at once."""
    at = np.ix_(plan.used, plan.used)
    assert group.family.meet_all is not None  # it chose a form
    meeting = group.family.meet_all(list(operands.values()), plan.needed[at], group.form, each, step)
    _finish_all(plan, group, meeting, outcome)


def _finish_all(plan: Plan, group: Group, meeting: Any, outcome: Outcome) -> None:
    """Evaluate the last lines on one meeting that stands for all pairs."""
    at = np.ix_(plan.used, plan.used)
    # Other pairs may have been found by another part of the comparison.
    wanted = (plan.needed | plan.needed.T)[at]
    for name, record in group.measures.items():
        values = to_numpy(record.finish(None, None, meeting, **record.finish_options))
        outcome.values[name][at] = np.where(wanted, values, outcome.values[name][at])
        level = None if record.null is None else record.null(None, None, meeting, **record.finish_options)
        if level is not None:
            outcome.nulls[name][at] = np.where(wanted, to_numpy(level), outcome.nulls[name][at])


def _meet_one(
    plan: Plan, group: Group, operands: dict[int, Any], outcome: Outcome, bar: tqdm, pair: tuple[int, int]
) -> None:
    """Let one pair meet."""
    i, j = pair
    try:
        meeting = group.family.meet(operands[i], operands[j])
        _finish_one(plan, group, outcome, pair, operands[i], operands[j], meeting)
    except Exception as error:
        error.add_note(f"while comparing {plan.layers[i].title} with {plan.layers[j].title}")
        raise
    bar.update()


def _finish_one(
    plan: Plan, group: Group, outcome: Outcome, pair: tuple[int, int], x: Any, y: Any, meeting: Any
) -> None:
    """Evaluate the last lines on one pair, in both directions."""
    i, j = pair
    values = finished(group.measures, x, y, meeting, same=i == j, back=bool(plan.needed[j, i]))
    note(outcome, pair, values)


def note(outcome: Outcome, pair: tuple[int, int], values: dict[str, Finished]) -> None:
    """Put what was found of a pair where it belongs."""
    i, j = pair
    for name, found in values.items():
        outcome.values[name][i, j] = found.value
        if not math.isnan(found.back):
            outcome.values[name][j, i] = found.back
        if name in outcome.nulls:
            outcome.nulls[name][i, j], outcome.nulls[name][j, i] = found.null, found.null_back


def _undefined(plan: Plan, outcome: Outcome) -> list[Caution]:
    if explain_nan(outcome.cautions):
        return []
    found = []
    for name, values in outcome.values.items():
        missing = np.argwhere(np.isnan(values) & plan.needed)
        found += undefined(name, _told(plan, missing))
    return found


def _told(plan: Plan, pairs: Iterable[Any]) -> list[str]:
    return [f"{plan.layers[i].label} and {plan.layers[j].label}" for i, j in pairs]


def _null_levels(plan: Plan, outcome: Outcome) -> list[Caution]:
    high = {}
    for name, level in outcome.nulls.items():
        asked = np.where(plan.needed, level, np.nan)
        if np.isnan(asked).all():
            continue
        i, j = np.unravel_index(np.nanargmax(asked), asked.shape)
        if asked[i, j] > NULL_LEVEL_TOLD:
            high[name] = (float(asked[i, j]), _told(plan, [(i, j)])[0])
    return null_level(high, grouped=plan.asked.groups is not None)
