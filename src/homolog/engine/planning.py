"""What will be computed: the layers, the measures under their variable names, the pairs asked for, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from homolog.activations import UNKNOWN_MODULE, Activations, Module
from homolog.conversion import check_labels
from homolog.devices import free_memory, is_elsewhere
from homolog.diagnostics import listed
from homolog.engine.inputs import (
    Measures,
    Pairs,
    Source,
    check_examples,
    check_executor,
    checked_names,
    chosen_two,
    model_name,
    models_of,
    resolve_measures,
    wanted_pairs,
)
from homolog.engine.measure_groups import MeasureGroup, Request
from homolog.equal_layers import input_layers
from homolog.inference.uncertainty import Requested
from homolog.inference.units import units_of
from homolog.machine import format_bytes, parse_bytes
from homolog.markup import paragraphs, table, title
from homolog.measures.record import Measure
from homolog.names import layer_of, printable, shown
from homolog.sketching import Sketch, SketchedRows, kept_of, sketches_refused

DEFAULT_MEMORY = "2GiB"


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
    made: Module = UNKNOWN_MODULE
    """What made it."""

    @property
    def sketch(self) -> Sketch | None:
        """What makes the sketches that are kept of it; None of a layer that is kept as it is."""
        return self.array.sketch if isinstance(self.array, SketchedRows) else None

    @property
    def kept(self) -> Any:
        """What is kept of it: its features, or the columns of its sketches."""
        return kept_of(self.array)


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
    """Bytes that may be taken where the layers are: on the host, or on their device."""
    asked: Requested = field(default_factory=Requested)
    executor: Executor | None = None
    """Who computes what is computed of layers on disk."""
    host_memory: int = parse_bytes(DEFAULT_MEMORY)
    """The same on the host, for layers that are copied there since they are too large for their device."""

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
                made = activations.modules.get(name, UNKNOWN_MODULE)
                found.append(Layer(model, name, array, label, layer_of(name, model), made))
        return found

    @cached_property
    def counted(self) -> np.ndarray:
        """(layers,) bool: what counts in models as wholes, all but the input itself; of a model of nothing else that."""
        inputs = {model: input_layers(layers) for model, layers in self.models.items()}
        alone = [model for model, layers in self.models.items() if len(inputs[model]) == len(layers)]
        return np.array([layer.model in alone or layer.name not in inputs[layer.model] for layer in self.layers])

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

    @property
    def used_layers(self) -> list[Layer]:
        """The same as layers."""
        return [self.layers[index] for index in self.used]

    @cached_property
    def measure_groups(self) -> list[MeasureGroup]:
        """The measures in groups that share operands, one family and equal options each, and how they are computed."""
        found: list[dict[str, Measure]] = []
        for name, record in self.measures.items():
            for members in found:
                first = next(iter(members.values()))
                if first.family is record.family and first.prepare_options == record.prepare_options:
                    members[name] = record
                    break
            else:
                found.append({name: record})
        arrays = [layer.array for layer in self.used_layers]
        needed = self.needed[np.ix_(self.used, self.used)]
        asked = self.memory, self.asked, self.executor, self.host_memory
        return [Request(members, arrays, needed, *asked).group() for members in found]

    @cached_property
    def preparations(self) -> list[list[MeasureGroup]]:
        """The groups that are prepared together: they share what they begin with, and their operands fit side by side."""
        found: list[list[MeasureGroup]] = []
        for group in self.measure_groups:
            shares = "" if group.blocked or group.batches else group.family.shares
            for preparation in found if shares else []:
                size, lead = group.bytes + sum(other.bytes for other in preparation), preparation[0]
                alone = lead.blocked or lead.batches
                room = self.host_memory if group.copied else self.memory
                together = lead.family.shares == shares and lead.copied == group.copied
                if not alone and together and size <= room:
                    preparation.append(group)
                    break
            else:
                found.append([group])
        return found

    @property
    def flops(self) -> float:
        """Floating-point operations, to leading order."""
        return sum(group.flops for group in self.measure_groups)

    @property
    def bytes(self) -> int:
        """Most memory beyond the arrays given; what is not prepared together runs one after another."""
        return max(sum(group.bytes for group in preparation) for preparation in self.preparations)

    @property
    def _subject(self) -> str:
        models = ", ".join(f"{shown(name)} ({len(layers)} layers)" for name, layers in self.models.items())
        return f"{int(self.wanted.sum())} pairs of layers of {models}, n = {self.n}"

    @property
    def _sketched(self) -> list[str]:
        """Which layers are kept as sketches, in words."""
        by_columns: dict[int, list[str]] = {}
        for layer in self.used_layers:
            if layer.sketch is not None:
                by_columns.setdefault(layer.sketch.columns, []).append(shown(layer.label))
        return [f"kept as two sketches of {k} columns: {listed(labels)}" for k, labels in by_columns.items()]

    def __str__(self) -> str:
        lines = [self._subject]
        for preparation in self.preparations:
            lines += [f"  {group}" for group in preparation]
            if len(preparation) > 1:
                lines.append(
                    f"  prepared together: {', '.join(name for group in preparation for name in group.measures)}"
                )
        lines += [f"  {sentence}" for sentence in self._sketched]
        lines.append(f"in all {self.flops:.2g} floating-point operations, at most {format_bytes(self.bytes)} at a time")
        return printable("\n".join(lines), lines=True)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows: list[tuple[str, ...]] = []
        for preparation in self.preparations:
            for group in preparation:
                others = [name for other in preparation if other is not group for name in other.measures]
                names, cost = ", ".join(group.measures), (f"{group.flops:.2g}", format_bytes(group.bytes))
                rows.append((names, group.family.name, group.how, ", ".join(others), *cost))
        rows.append(("in all", "", "", "", f"{self.flops:.2g}", f"{format_bytes(self.bytes)} at a time"))
        heads = ("measures", "family", "how the pairs meet", "prepared with", "operations", "memory")
        return title(self._subject) + table(heads, {"": rows}) + paragraphs(self._sketched)


def rows_of_examples(models: Iterable[Activations]) -> np.ndarray | None:
    """Return the number of the example of every row, where ids say that examples have several; None where each row is one."""
    # An index of pandas repeats where tables were put together.
    known = (units_of(x.example_ids) for x in models if x.positions is not None or not x.index)
    return next((units for units in known if units is not None), None)


def make_plan(
    a: Source,
    b: Source | None,
    measures: Measures,
    pairs: Pairs,
    memory: str | int | None,
    asked: Requested | None = None,
    executor: Executor | None = None,
    names: Sequence[str] | None = None,
) -> Plan:
    """Resolve and validate everything that can be known before computing."""
    resolved = resolve_measures(measures)
    a, b = chosen_two(a, b, names)
    # A layer with itself is the same layer, and no pair, unless nothing else is asked for.
    models, many = models_of(a, b, apart=pairs == "same_name")
    check_examples(models, resolved)
    if many:
        everything = [(model, layer) for model, layers in models.items() for layer in layers]
        wanted = wanted_pairs(everything, everything, pairs)
        wanted |= wanted.T  # both are known once one is
        titles = list(models)
    else:
        sides = list(models.values())
        wanted = wanted_pairs(list(sides[0]), list(sides[-1]), pairs)
        titles = [model_name(source, models[side], side) for side, source in (("a", a), ("b", b)) if side in models]
        if names is not None:
            titles = checked_names(names, 1 if b is None else 2)
        elif len(titles) == 2 and titles[0] == titles[1]:
            titles = [f"{title} ({side})" for title, side in zip(titles, "ab", strict=True)]
    asked = replace(asked or Requested(), rows_of=rows_of_examples(models.values()))
    here = parse_bytes(DEFAULT_MEMORY if memory is None else memory)
    there = _free(next(iter(models.values()))) if memory is None else None
    planned = Plan(models, titles, many, resolved, wanted, here if there is None else there, asked, executor, here)
    if executor is not None:
        check_executor(executor, models)
    planned.asked.check(planned.n, resolved)
    _check_sketched(planned)
    check_labels(planned.asked.groups, "groups", next(iter(models.values())), next(iter(models)))
    return planned


def _free(layers: Activations) -> int | None:
    """Return the bytes that are free on the device of layers; None of those on the host, and where nobody can tell."""
    first = next(iter(layers.values()))
    return free_memory(first.device) if is_elsewhere(first) else None


def _check_sketched(planned: Plan) -> None:
    """Refuse measures of layers of which only sketches are kept, but those that sketches tell."""
    sketched = next((layer for layer in planned.used_layers if layer.sketch is not None), None)
    if sketched is None:
        return
    for name, record in planned.measures.items():
        if not record.family.takes_sketches(record.prepare_options):
            raise ValueError(sketches_refused(sketched.title, name))
