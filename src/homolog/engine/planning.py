"""What will be computed: the layers, the measures under their variable names, the pairs asked for, and in which form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import format_bytes, itemsize, parse_bytes
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
from homolog.engine.sureness import Asked
from homolog.families.blocked import Task
from homolog.families.summaries import TooLittleError
from homolog.family import Family
from homolog.names import layer_of, printable, shown
from homolog.registry import Measure
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
    measures: dict[str, Measure]
    form: Any
    """How the family meets all pairs at once, or None where pairs meet one by one."""
    flops: float
    bytes: int
    task: Any = None
    """What a family that works on layers on disk is asked for; None where the layers are held in memory."""

    @property
    def ignores_offset(self) -> bool:
        """Whether no measure depends on what is added to all examples."""
        return all(record.ignores_offset for record in self.measures.values())

    def __str__(self) -> str:
        how = "pair by pair" if self.form is None else str(self.form)
        cost = f"{self.flops:.2g} floating-point operations, {format_bytes(self.bytes)}"
        return f"{', '.join(self.measures)}: {self.family.name} family, {how}; {cost}"


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
    asked: Asked = field(default_factory=Asked)
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
    def bunches(self) -> list[list[Group]]:
        """The groups that are prepared together, since they begin alike and their operands fit into the memory side by side."""
        found: list[list[Group]] = []
        for group in self.groups:
            begin = group.family.begin if group.task is None else None
            for bunch in found if begin is not None else []:
                size = group.bytes + sum(other.bytes for other in bunch)
                if bunch[0].task is None and bunch[0].family.begin is begin and size <= self.memory:
                    bunch.append(group)
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
        return max(sum(group.bytes for group in bunch) for bunch in self.bunches)

    def __str__(self) -> str:
        models = ", ".join(f"{shown(name)} ({len(layers)} layers)" for name, layers in self.models.items())
        lines = [f"{int(self.wanted.sum())} pairs of layers of {models}, n = {self.n}"]
        for bunch in self.bunches:
            lines += [f"  {group}" for group in bunch]
            if len(bunch) > 1:
                lines.append(f"  prepared together: {', '.join(name for group in bunch for name in group.measures)}")
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
    shapes = [tuple(array.shape) for array in arrays]
    needed = plan.needed[np.ix_(plan.used, plan.used)]
    for family, options, members in found:
        single = family.float32 == "all pairs" and family.single(plan.n) and not family.exact(**options)
        sizes = [itemsize(array, single=single) for array in arrays]
        form = None if family.choose is None else family.choose(shapes, sizes, needed, plan.memory, **options)
        flops, size = family.cost(shapes, sizes, needed, form, **options)
        whole = size + _to_load(family, arrays, sizes)
        elsewhere = plan.executor is not None and family.on_disk is not None
        if not elsewhere and (not any(isinstance(array, Rows) for array in arrays) or whole <= plan.memory):
            yield Group(family, options, members, form, flops, size)
            continue
        plan.asked.refuse_on_disk(whole, plan.memory, elsewhere=elsewhere)
        stored = [array.nbytes if isinstance(array, Rows) else 0 for array in arrays]
        threads = 1 if plan.executor is not None else os.cpu_count() or 1
        task = Task(shapes, sizes, stored, needed, plan.memory, threads, plan.executor is not None)
        form = _on_disk(family, options, task)
        if form is None:
            most = max(whole, plan.memory) * (64 if elsewhere else 1)
            least = min([*([] if elsewhere else [whole]), *_least(family, options, task, most)], default=most)
            told = ", ".join(members)
            raise ValueError(
                f"{told} of these layers need a memory of {format_bytes(1.06 * least)}, got {format_bytes(plan.memory)}: raise "
                f"memory, take fewer or narrower layers, or reduce their features when extracting."
            )
        yield Group(family, options, members, form, flops, plan.memory, task)


def _on_disk(family: Family, options: dict[str, Any], task: Task) -> Any:
    """Return the form of a group whose layers stay on disk, or None where the memory does not suffice."""
    try:
        return None if family.on_disk is None else family.on_disk.plan(task, **options)
    except TooLittleError:
        return None


def _least(family: Family, options: dict[str, Any], task: Task, most: int) -> Iterator[int]:
    """Yield the least memory, to a few per cent, with which layers may stay on disk."""
    low, high = task.memory, most
    if family.on_disk is None or _on_disk(family, options, replace(task, memory=high)) is None:
        return
    while high > 1.02 * low:
        middle = (low + high) // 2
        fits = _on_disk(family, options, replace(task, memory=middle)) is not None
        low, high = (low, middle) if fits else (middle, high)
    yield high


def _to_load(family: Family, arrays: list[Any], sizes: list[int]) -> int:
    """Return the bytes it takes to load layers from disk: all of them, or while a few are prepared."""
    on_disk = [array.shape[0] * array.shape[1] * size for array, size in zip(arrays, sizes, strict=True)]
    if family.name == "function":
        return sum(on_disk)
    return 3 * max(on_disk) * (os.cpu_count() or 1)


def make_plan(
    a: Source,
    b: Source | None,
    measures: Measures,
    pairs: Pairs,
    memory: str | int,
    asked: Asked | None = None,
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
    planned = Plan(models, titles, many, resolved, wanted, parse_bytes(memory), asked or Asked(), executor)
    if executor is not None:
        check_executor(executor, models)
    planned.asked.check(planned.n, resolved)
    return planned
