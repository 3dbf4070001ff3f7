"""What will be computed: the layers, the measures under their variable names, the pairs asked for, and in which form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import format_bytes, parse_bytes
from homolog.blocks.budget import TooLittleError, WholeError
from homolog.engine.budget import Asking
from homolog.engine.inputs import (
    Measures,
    Pairs,
    Source,
    check_examples,
    check_executor,
    model_name,
    models_of,
    resolve_measures,
    wanted_pairs,
)
from homolog.inference.uncertainty import Requested
from homolog.machine import usable_cores
from homolog.measures.record import Measure
from homolog.names import layer_of, printable, shown
from homolog.operands.blocked import Task
from homolog.operands.family import Cost, Family
from homolog.rows import Rows


@dataclass(frozen=True)
class Layer:
    """One layer of one model."""

    model: str
    name: str
    array: Any
    label: str
    """How warnings call it."""
    title: str
    """How errors call it."""


@dataclass(frozen=True)
class Group:
    """Measures that share operands: one family, and equal options of its `prepare`."""

    family: Family
    options: dict[str, Any]
    measures: Mapping[str, Measure]
    form: Any
    """How the family meets all pairs at once, or None where pairs meet one by one."""
    flops: float
    bytes: int
    cost: Cost
    """What it takes with all layers in memory at once."""
    memory: int
    """Bytes that may be used."""
    at_once: tuple[int, int]
    """Layers that are prepared at a time, and pairs that meet."""
    task: Any = None
    """What a family that reads layers block by block is asked for; None where their operands are held in memory."""
    parts: tuple[Plan, ...] = ()
    """Plans of some of the pairs each, where not all layers fit into the memory at once."""

    @property
    def ignores_offset(self) -> bool:
        """Whether no measure depends on what is added to all examples."""
        return all(record.ignores_offset for record in self.measures.values())

    def __str__(self) -> str:
        how = "pair by pair" if self.form is None else str(self.form)
        cost = f"{self.flops:.2g} floating-point operations, {format_bytes(self.bytes)}"
        return f"{', '.join(self.measures)}: {self.family.name} family, {how}; {cost}"


@dataclass(frozen=True)
class Batches:
    """A few layers at a time."""

    layers: int
    of: int

    def __str__(self) -> str:
        return f"{self.layers} of {self.of} layers at a time"


@dataclass(frozen=True)
class Plan:
    """An inert description of a comparison; `print` it to see what would be computed."""

    models: Mapping[str, Activations]
    """Models by the name of their side; one alone is compared with itself."""
    titles: list[str]
    """What the models are called in the result."""
    many: bool
    """The models were given as a mapping of mappings: the result has the dimensions a and b."""
    measures: Mapping[str, Measure]
    """Name of the variable → measure."""
    wanted: np.ndarray
    """(layers of a, layers of b) bool."""
    memory: int
    asked: Requested = field(default_factory=Requested)
    executor: Executor | None = None
    """Who computes what is computed of layers on disk."""

    @property
    def n(self) -> int:
        """Number of examples."""
        return next(iter(self.models.values())).n

    @property
    def same(self) -> bool:
        """Whether one set of layers is compared with itself."""
        return self.many or len(self.models) == 1

    @cached_property
    def layers(self) -> list[Layer]:
        """Every layer once, model by model."""
        found = []
        for model, activations in self.models.items():
            for name, array in activations.items():
                label = name if len(self.models) == 1 else f"{model}: {name}"
                found.append(Layer(model, name, array, label, layer_of(name, model)))
        return found

    @property
    def rows(self) -> np.ndarray:
        """Which layers stand in the rows of the result."""
        return np.arange(len(self.layers) if self.same else len(next(iter(self.models.values()))))

    @property
    def columns(self) -> np.ndarray:
        """Which layers stand in the columns of the result."""
        return self.rows if self.same else np.arange(len(self.rows), len(self.layers))

    @cached_property
    def needed(self) -> np.ndarray:
        """(layers, layers) bool: the pairs asked for, of all layers."""
        needed = np.zeros((len(self.layers), len(self.layers)), dtype=bool)
        needed[np.ix_(self.rows, self.columns)] = self.wanted
        return needed

    @cached_property
    def used(self) -> np.ndarray:
        """The layers that stand in any pair."""
        return np.flatnonzero(self.needed.any(axis=0) | self.needed.any(axis=1))

    @cached_property
    def groups(self) -> list[Group]:
        """The measures in groups that share operands."""
        return list(grouped(self))

    @cached_property
    def preparations(self) -> list[list[Group]]:
        """The groups that are prepared together, since they begin alike and their operands fit into the memory side by side."""
        found: list[list[Group]] = []
        for group in self.groups:
            begin = group.family.begin if group.task is None and not group.parts else None
            for preparation in found if begin is not None else []:
                size = group.bytes + sum(other.bytes for other in preparation)
                alone = preparation[0].task is not None or preparation[0].parts
                if not alone and preparation[0].family.begin is begin and size <= self.memory:
                    preparation.append(group)
                    break
            else:
                found.append([group])
        return found

    @property
    def flops(self) -> float:
        """Floating-point operations, to leading order."""
        return sum(group.flops for group in self.groups)

    @property
    def bytes(self) -> int:
        """Most memory beyond the arrays given; what is not prepared together runs one after another."""
        return max(sum(group.bytes for group in preparation) for preparation in self.preparations)

    def __str__(self) -> str:
        models = ", ".join(f"{shown(name)} ({len(layers)} layers)" for name, layers in self.models.items())
        lines = [f"{int(self.wanted.sum())} pairs of layers of {models}, n = {self.n}"]
        for preparation in self.preparations:
            lines += [f"  {group}" for group in preparation]
            if len(preparation) > 1:
                lines.append(
                    f"  prepared together: {', '.join(name for group in preparation for name in group.measures)}"
                )
        lines.append(f"in all {self.flops:.2g} floating-point operations, at most {format_bytes(self.bytes)} at a time")
        return printable("\n".join(lines), lines=True)

    __repr__ = __str__


def grouped(plan: Plan) -> Iterator[Group]:
    """Group the measures of a plan, and choose the form of each group."""
    found: list[tuple[Family, dict[str, Any], dict[str, Measure]]] = []
    for name, record in plan.measures.items():
        for family, options, members in found:
            if family is record.family and options == record.prepare_options:
                members[name] = record
                break
        else:
            found.append((record.family, record.prepare_options, {name: record}))
    arrays = [plan.layers[i].array for i in plan.used]
    needed = plan.needed[np.ix_(plan.used, plan.used)]
    for family, options, members in found:
        yield _group(plan, Asking(family, options, members, arrays, needed, plan.memory, plan.asked))


def _group(plan: Plan, asking: Asking) -> Group:
    """Choose how measures are computed: all layers at once, block by block, a few layers at a time, or not at all."""
    form, cost = asking.in_memory()
    threads, allowed, elsewhere = asking.threads, asking.allowed, _elsewhere(plan, asking)
    group = Group(
        asking.family,
        asking.options,
        asking.measures,
        form,
        cost.flops,
        cost.bytes(plan.memory, threads),
        cost=cost,
        memory=allowed,
        at_once=cost.at_once(plan.memory, threads),
    )
    if not elsewhere and (cost.least <= allowed or not asking.counted):
        return group
    whole = asking.least()
    plan.asked.refuse_in_parts(whole, plan.memory, elsewhere=elsewhere)
    task = _task(plan, asking)
    blocked = _on_disk(asking, task, elsewhere=elsewhere)
    if blocked is not None:
        return replace(group, form=blocked, bytes=plan.memory, task=task)
    batch, two = (None, whole) if elsewhere else asking.batch()
    if batch is None:
        raise ValueError(_too_little(asking, task, min(two, whole), elsewhere=elsewhere))
    return in_batches(plan, group, batch)


def _elsewhere(plan: Plan, asking: Asking) -> bool:
    return plan.executor is not None and asking.family.on_disk is not None


def _task(plan: Plan, asking: Asking) -> Task:
    stored = [array.nbytes if isinstance(array, Rows) else 0 for array in asking.arrays]
    threads = 1 if plan.executor is not None else usable_cores()
    return Task(
        asking.shapes, asking.sizes, stored, asking.needed, plan.memory, threads, spread=plan.executor is not None
    )


def _on_disk(asking: Asking, task: Task, *, elsewhere: bool) -> Any:
    """Return the form of a group whose layers are read block by block, or None where there is none or memory is too little."""
    if asking.family.on_disk is None or not asking.on_host:
        return None
    try:
        return asking.family.on_disk.plan(task, **asking.options)
    except TooLittleError:
        return None
    except WholeError:
        if elsewhere:
            raise
        return None


def _too_little(asking: Asking, task: Task, whole: int, *, elsewhere: bool) -> str:
    """Say what memory would do."""
    most = max(whole, task.memory) * (64 if elsewhere else 1)
    blocked = _least(asking, task, most, elsewhere=elsewhere)
    least = min([*([] if elsewhere else [whole]), *blocked], default=most)
    return (
        f"{', '.join(asking.measures)} of these layers need a memory of {format_bytes(1.06 * least)}, got "
        f"{format_bytes(task.memory)}: raise memory, take fewer examples or narrower layers, or reduce their features when "
        f"extracting."
    )


def _least(asking: Asking, task: Task, most: int, *, elsewhere: bool) -> Iterator[int]:
    """Yield the least memory, to a few per cent, with which layers may be read block by block."""
    low, high = task.memory, most
    if _on_disk(asking, replace(task, memory=high), elsewhere=elsewhere) is None:
        return
    while high > 1.02 * low:
        middle = (low + high) // 2
        fits = _on_disk(asking, replace(task, memory=middle), elsewhere=elsewhere) is not None
        low, high = (low, middle) if fits else (middle, high)
    yield high


def in_batches(plan: Plan, group: Group, batch: int) -> Group:
    """Return a group that holds so many layers at a time, and prepares those again that have to make room."""
    passing = max(1, batch // 4)
    staying = batch - passing
    parts = []
    for start in range(0, len(plan.used), staying):
        here = plan.used[start : start + staying]
        parts.append(_part(plan, group, here, here))
        for first in range(start + staying, len(plan.used), passing):
            parts.append(_part(plan, group, here, plan.used[first : first + passing]))
    wanted = [part for part in parts if part.wanted.any()]
    several = [part.groups[0] for part in wanted]
    flops, size = sum(part.flops for part in several), max(part.bytes for part in several)
    return replace(group, flops=flops, bytes=size, form=Batches(batch, len(plan.used)), parts=tuple(wanted))


def _part(plan: Plan, group: Group, first: np.ndarray, second: np.ndarray) -> Plan:
    """Return a plan of the pairs of some layers with others."""
    asked = np.zeros(plan.needed.shape, dtype=bool)
    asked[np.ix_(first, second)] = asked[np.ix_(second, first)] = True
    return replace(plan, measures=group.measures, wanted=plan.wanted & asked[np.ix_(plan.rows, plan.columns)])


def make_plan(
    a: Source,
    b: Source | None,
    measures: Measures,
    pairs: Pairs,
    memory: str | int,
    asked: Requested | None = None,
    executor: Executor | None = None,
) -> Plan:
    """Resolve and validate everything that can be known before computing."""
    resolved = resolve_measures(measures)
    models, many = models_of(a, b)
    check_examples(models, resolved)
    if many:
        names = [(model, layer) for model, layers in models.items() for layer in layers]
        wanted = wanted_pairs(names, names, pairs)
        wanted |= wanted.T  # both are known once one is
        titles = list(models)
    else:
        sides = list(models.values())
        wanted = wanted_pairs(list(sides[0]), list(sides[-1]), pairs)
        titles = [model_name(source, models[side], side) for side, source in (("a", a), ("b", b)) if side in models]
        if len(titles) == 2 and titles[0] == titles[1]:
            titles = [f"{title} ({side})" for title, side in zip(titles, "ab", strict=True)]
    planned = Plan(models, titles, many, resolved, wanted, parse_bytes(memory), asked or Requested(), executor)
    if executor is not None:
        check_executor(executor, models)
    planned.asked.check(planned.n, resolved)
    return planned
