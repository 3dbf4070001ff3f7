"""Plan → xarray.Dataset: operands once per layer, meetings once per pair, then the last line of every measure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from homolog.arrays import representation, scalar
from homolog.cautions import Caution, explain_nan, give, null_level, undefined
from homolog.engine.plan import Measures, Pairs, Plan, Source, make_plan
from homolog.engine.result import dataset
from homolog.registry import Family, Measure

if TYPE_CHECKING:
    import xarray

NULL_LEVEL_TOLD = 0.1
"""Chance levels above this earn a warning."""


def compare(
    a: Source,
    b: Source | None = None,
    *,
    measures: Measures = ("cka", "cka(estimator=debiased)"),
    pairs: Pairs = "all",
    progress: bool | None = None,
) -> xarray.Dataset:
    """Compare every layer of one model with every layer of another, or of itself.

    Parameters
    ----------
    a, b : array (n, p), mapping of layer names to arrays, Activations, or path of a file that `homolog.open` reads. Without
        b, a is compared with itself.
    measures : text forms ("cka(kernel=rbf)"), bound measures, functions of two arrays, a sequence of these, or a mapping
        {name of the variable: any of these}.
    pairs : "all", "same_name", or a list of (layer_a, layer_b).
    progress : show a progress bar; by default when standard error is a terminal.

    Returns
    -------
    xarray.Dataset
        One variable (layer_a, layer_b) per measure, NaN where not asked; `<measure>_null` the level independent data would
        reach, where there is a formula; `<measure>_reversed` the value of (b, a) for asymmetric measures. Attributes carry
        kind, range and formula, the number of examples and the warnings.

    Raises
    ------
    ValueError, TypeError, KeyError
        For input that cannot be compared, in one sentence: expected, got, remedy.

    Warns
    -----
    ConstantLayerWarning, DeadUnitWarning, SaturationWarning, NullLevelWarning, UndefinedValueWarning
        Once per comparison and kind.

    Notes
    -----
    The decomposition of a layer is shared by all pairs, and the product of a pair by all measures of a family. Operands are
    held in float64 together.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> first = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> second = {"early": first["early"] @ np.diag([1, -1, 1, -1]), "late": 2 * first["late"] + 1}
    >>> result = hl.compare(first, second, measures="cka")
    >>> result.cka.sel(layer_a="late", layer_b="late").item()
    1.0
    """
    plan = make_plan(a, b, measures, pairs)
    outcome = run(plan, progress)
    give(outcome.cautions, stacklevel=1)
    return dataset(plan, outcome)


@dataclass
class Outcome:
    """What a run found."""

    values: dict[str, np.ndarray]
    reversed: dict[str, np.ndarray]
    nulls: dict[str, np.ndarray]
    ranks: dict[str, list[int]] = field(default_factory=dict)
    cautions: list[Caution] = field(default_factory=list)


def run(plan: Plan, progress: bool | None) -> Outcome:
    """Compute a plan."""
    outcome = Outcome({}, {}, {})
    for name, record in plan.measures.items():
        outcome.values[name] = np.full(plan.wanted.shape, np.nan)
        if record.symmetric is False:
            outcome.reversed[name] = np.full(plan.wanted.shape, np.nan)
        if record.null is not None:
            outcome.nulls[name] = np.full(plan.wanted.shape, np.nan)
    groups = list(grouped(plan.measures))
    steps = len(groups) * (len(plan.a) + (0 if plan.same else len(plan.b)) + int(plan.wanted.sum()))
    hidden = None if progress is None else not progress
    with tqdm(total=steps, desc="comparing", delay=1, leave=False, disable=hidden) as bar:
        for family, records in groups:
            _run_group(plan, family, records, outcome, bar)
    outcome.cautions = _unique(outcome.cautions) + _undefined(plan, outcome) + _null_levels(plan, outcome)
    outcome.nulls = {name: level for name, level in outcome.nulls.items() if not np.isnan(level).all()}
    return outcome


def grouped(measures: Mapping[str, Measure]) -> Iterator[tuple[Family, dict[str, Measure]]]:
    """Group measures that share operands: one family, and equal options of its `prepare`."""
    groups: list[tuple[Family, dict[str, Any], dict[str, Measure]]] = []
    for name, record in measures.items():
        for family, options, members in groups:
            if family is record.family and options == record.prepare_options:
                members[name] = record
                break
        else:
            groups.append((record.family, record.prepare_options, {name: record}))
    for family, _, members in groups:
        yield family, members


def _run_group(plan: Plan, family: Family, records: dict[str, Measure], outcome: Outcome, bar: tqdm) -> None:
    options = next(iter(records.values())).prepare_options
    layers_a, layers_b = list(plan.a), list(plan.b)
    used_a, used_b = np.any(plan.wanted, axis=1), np.any(plan.wanted, axis=0)
    if plan.same:
        used_a = used_b = used_a | used_b
    operands_a = _prepare_all(family, options, plan.a, "a", used_a, bar)
    operands_b = operands_a if plan.same else _prepare_all(family, options, plan.b, "b", used_b, bar)
    for i, j in zip(*np.nonzero(plan.wanted), strict=True):
        bar.update()
        if plan.same and j < i and plan.wanted[j, i]:
            continue
        x, y = operands_a[layers_a[i]], operands_b[layers_b[j]]
        try:
            _run_pair(records, x, y, (i, j), plan.same and bool(plan.wanted[j, i]), outcome)
        except Exception as error:
            error.add_note(f"while comparing layer {layers_a[i]!r} of a with layer {layers_b[j]!r} of b")
            raise
    _examine(plan, family, operands_a, operands_b, outcome)


def _prepare_all(
    family: Family, options: dict[str, Any], layers: Mapping[str, Any], side: str, used: Any, bar: tqdm
) -> dict[str, Any]:
    operands = {}
    for name, wanted in zip(layers, used, strict=True):
        bar.update()
        if wanted:
            label = f"layer {name!r} of {side}"
            try:
                operands[name] = family.prepare(representation(layers[name], label), **options)
            except Exception as error:
                error.add_note(f"while preparing {label}")
                raise
    return operands


def _run_pair(
    records: dict[str, Measure], x: Any, y: Any, at: tuple[int, int], mirrored: bool, outcome: Outcome
) -> None:
    family = next(iter(records.values())).family
    meeting = family.meet(x, y)
    swapped = family.swap(meeting)
    i, j = at
    for name, record in records.items():
        options = record.finish_options
        value = scalar(record.finish(x, y, meeting, **options))
        outcome.values[name][i, j] = value
        backward = value if record.symmetric else math.nan
        if record.symmetric is False or (record.symmetric is None and mirrored):
            backward = scalar(record.finish(y, x, swapped, **options)) if x is not y else value
        if mirrored:
            outcome.values[name][j, i] = backward
        if name in outcome.reversed:
            outcome.reversed[name][i, j] = backward
            if mirrored:
                outcome.reversed[name][j, i] = value
        if name in outcome.nulls:
            outcome.nulls[name][i, j] = _null(record, x, y)
            if mirrored:
                outcome.nulls[name][j, i] = _null(record, y, x)


def _null(record: Measure, x: Any, y: Any) -> float:
    level = None if record.null is None else record.null(x, y, **record.finish_options)
    return math.nan if level is None else scalar(level)


def _examine(
    plan: Plan, family: Family, operands_a: dict[str, Any], operands_b: dict[str, Any], outcome: Outcome
) -> None:
    labels_a = {name: name if plan.same else f"a: {name}" for name in operands_a}
    labels_b = {name: name if plan.same else f"b: {name}" for name in operands_b}
    operands = {labels_a[name]: operand for name, operand in operands_a.items()}
    operands |= {labels_b[name]: operand for name, operand in operands_b.items()}
    layers_a, layers_b = list(plan.a), list(plan.b)
    pairs = [
        (labels_a[layers_a[i]], labels_b[layers_b[j]])
        for i, j in zip(*np.nonzero(plan.wanted), strict=True)
        if not (plan.same and j < i and plan.wanted[j, i])
    ]
    outcome.cautions += family.examine(operands, pairs)
    if family.rank is not None:
        for side, used, layers in (("a", operands_a, layers_a), ("b", operands_b, layers_b)):
            outcome.ranks[side] = [family.rank(used[name]) if name in used else -1 for name in layers]


def _unique(cautions: list[Caution]) -> list[Caution]:
    return list(dict.fromkeys(cautions))


def _undefined(plan: Plan, outcome: Outcome) -> list[Caution]:
    if explain_nan(outcome.cautions):
        return []
    layers_a, layers_b = list(plan.a), list(plan.b)
    found = []
    for name, values in outcome.values.items():
        missing = np.argwhere(np.isnan(values) & plan.wanted)
        found += undefined(name, [f"{layers_a[i]} and {layers_b[j]}" for i, j in missing])
    return found


def _null_levels(plan: Plan, outcome: Outcome) -> list[Caution]:
    layers_a, layers_b = list(plan.a), list(plan.b)
    high = {}
    for name, level in outcome.nulls.items():
        if np.isnan(level).all():
            continue
        i, j = np.unravel_index(np.nanargmax(level), level.shape)
        if level[i, j] > NULL_LEVEL_TOLD:
            high[name] = (float(level[i, j]), f"{layers_a[i]} and {layers_b[j]}")
    return null_level(high)
