"""The layers of a checkpoint compared with the same layers of a reference, a few of them at once."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homolog.diagnostics import HomologWarning
from homolog.engine import compare
from homolog.equal_layers import are_equal
from homolog.measures.record import Measure

COMPANIONS = ("null", "reversed")
"""What is kept beside a value."""
_TOGETHER = 4 << 20
"""Bytes of layers that are read and compared at once: a comparison of small ones costs more than their values do."""


@dataclass
class Found:
    """What comparing the layers of one checkpoint gave."""

    layers: Sequence[str]
    measures: Mapping[str, Measure]
    against: Sequence[str]
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Variable → reference → the value of each layer, NaN where there is none."""
    equal: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Reference → layer → whether all numbers are equal to rounding."""
    warnings: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.measures:
            for variable in (name, *(f"{name}_{kind}" for kind in COMPANIONS)):
                self.values[variable] = {each: [float("nan")] * len(self.layers) for each in self.against}

    def add(self, label: str, present: Any, reference: str, other: Any, *, leave: set[str], memory: str | int) -> None:
        """Compare the layers that two checkpoints share, but those that hold no finite numbers."""
        shared = [name for name in self.layers if name in present and name in other]
        for group in _groups(shared, present):
            one, two = {name: present[name] for name in group}, {name: other[name] for name in group}
            equal = {name: are_equal(one[name], two[name]) for name in group}
            self.equal.setdefault(reference, {}).update(equal)
            one, two = ({name: each[name] for name in group if name not in leave} for each in (one, two))
            if one:
                self._compare(label, reference, one, two, memory)

    def _compare(self, label: str, reference: str, one: dict[str, Any], two: dict[str, Any], memory: str | int) -> None:
        names = f"checkpoint {label}", f"the {reference} checkpoint"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HomologWarning)
            result = compare(
                {names[0]: one, names[1]: two},
                measures=dict(self.measures),
                pairs=[((names[0], layer), (names[1], layer)) for layer in one],
                memory=memory,
                progress=False,
            )
        for variable in (name for name in self.values if name in result):
            found = result[variable].values
            for place, layer in enumerate(one):
                self.values[variable][reference][self.layers.index(layer)] = float(found[place, len(one) + place])
        self.warnings += json.loads(result.attrs["warnings"])


def _groups(names: Sequence[str], layers: Any) -> Iterator[list[str]]:
    """Yield names of layers that are small enough together, one of a larger layer alone."""
    group: list[str] = []
    size = 0
    for name in names:
        rows, columns = map(int, layers[name].shape)
        if group and size + 8 * rows * columns > _TOGETHER:
            yield group
            group, size = [], 0
        group.append(name)
        size += 8 * rows * columns
    if group:
        yield group
