"""From checkpoint to checkpoint: each is extracted, compared with its references, and let go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from homolog.activations import Module, identified
from homolog.diagnostics import Caution, ExtractionWarning, give, listed
from homolog.engine.planning import rows_of_examples
from homolog.extraction.digests import hashed, numbers
from homolog.inference.units import count_of
from homolog.machine import give_back
from homolog.measures.record import Measure
from homolog.measures.registry import OF_THE_CALLER
from homolog.names import shown
from homolog.pairing import check_pairing, row_identity
from homolog.progress import progress_bar
from homolog.trajectories.checkpoints import Checkpoint
from homolog.trajectories.comparing import Found
from homolog.trajectories.networks import Network
from homolog.trajectories.record import Record
from homolog.trajectories.taking import OnDisk, Taken, Taking, data_digest, is_finite, print_of
from homolog.warning_sentences import unknown_pairing

FIRST, PREVIOUS, LAST = "first", "previous", "last"
REFERENCES = (FIRST, PREVIOUS, LAST)
Row = dict[str, Any]


@dataclass
class Walk:
    """One pass over the checkpoints. In memory at a time: one network, and the activations of two checkpoints."""

    checkpoints: Sequence[Checkpoint]
    network: Network
    taking: Taking
    measures: Mapping[str, Measure]
    against: Sequence[str]
    memory: str | int
    record: Record
    layers: list[str] = field(default_factory=list)
    broken: dict[str, set[str]] = field(default_factory=dict)
    """Label of a checkpoint → its layers that hold NaN or infinity."""
    modules: Mapping[str, Module] = field(default_factory=dict)
    n_examples: int = 0
    n_units: int = 0
    """Examples whose rows are several; 0 where each row is one."""
    provenance: Mapping[str, str] = field(default_factory=dict)

    def run(self, progress: bool | None) -> list[Row]:
        """Return the row of every checkpoint, in order."""
        total = len(self.checkpoints)
        with ExitStack() as undo, progress_bar("comparing", total, progress, unit="checkpoint") as bar:
            ends = self._begin(undo)
            places = {FIRST: 0, LAST: total - 1}
            held = {name: ends[places[name]].activations for name in self.against if name in places}
            before = ""
            for place in range(total):
                present = self._step(place, ends.get(place), held, before)
                before = present.digest
                held.pop(PREVIOUS, None)
                give_back()
                if PREVIOUS in self.against and present.activations is not None:
                    held[PREVIOUS] = present.activations
                del present
                bar.update(1)
        return [self.record.rows[one.label] for one in self.checkpoints]

    def _begin(self, undo: ExitStack) -> dict[int, Taken]:
        """Extract the first checkpoint, and the last where it is asked for; say what is asked for."""
        content = self.network.opened(self.checkpoints[0])
        request = self.taking.request(content)
        ends = {0: self._end(0, content, undo)}
        del content
        if LAST in self.against:
            place = len(self.checkpoints) - 1
            ends[place] = self._end(place, self.network.opened(self.checkpoints[place]), undo)
        self._learn([taken.activations for taken in ends.values()])
        undo.callback(self.record.close)
        self.record.begin(request | self._request(ends))
        return ends

    def _end(self, place: int, content: Any, undo: ExitStack) -> Taken:
        """Extract a checkpoint that all others are compared with, and put it on disk: two in memory are enough."""
        taken = self.taking.taken(content, self.checkpoints[place].label, self.taking.digest(content))
        if not taken.made:
            return taken
        kept = OnDisk(taken.activations)
        undo.callback(kept.close)
        return Taken(kept, taken.digest, made=False, rounded=taken.rounded)

    def _learn(self, ends: Sequence[Any]) -> None:
        """Take from the first checkpoint, and the last, what is the same for all."""
        first, last = ends[0], ends[-1]
        self.layers = [name for name in first if name in last]
        left_out = [name for name in (*first, *last) if name not in self.layers]
        if left_out and self.layers:
            message = f"layers that only one of the first and the last checkpoint has are left out: {listed(left_out)}."
            with self.taking.noted():
                give([Caution(ExtractionWarning, message)])
        if not self.layers:
            raise ValueError(
                f"checkpoints must have layers of the same names, got {listed(first)} in the first and {listed(last)} in the "
                f"last: extract all of them with the same layers=."
            )
        self.modules, self.n_examples, self.provenance = first.modules, first.n, first.provenance
        units = rows_of_examples([first])
        self.n_units = 0 if units is None else count_of(units)

    def _request(self, ends: Mapping[int, Taken]) -> dict[str, str]:
        """Say what was asked for beside the extraction, and of which checkpoints."""
        return {
            "checkpoints": json.dumps([[one.label, one.step] for one in self.checkpoints]),
            "against": ", ".join(self.against),
            "measures": json.dumps({name: self._written(record) for name, record in self.measures.items()}),
            "data": data_digest(ends[0].activations),
            "homolog": version("homolog"),
            **{f"{'last' if place else 'first'} checkpoint": taken.digest for place, taken in ends.items()},
        }

    def _written(self, record: Measure) -> str:
        """Write a measure so that another one is told from it: functions by their code, arrays by their numbers."""
        arrays = [value for value in record.options.values() if hasattr(value, "shape") and hasattr(value, "dtype")]
        parts = [part for value in arrays for part in numbers(value)]
        if record.reference == OF_THE_CALLER:
            parts += [f"{what} {text}" for what, text in sorted(self.taking.code_of(record.function).items())]
        return f"{record} {hashed(*parts).hex()}" if parts else str(record)

    def _step(self, place: int, end: Taken | None, held: Mapping[str, Any], before: str) -> Taken:
        """Return a checkpoint, extracted where it is needed, after its row was added."""
        label = self.checkpoints[place].label
        content = self.network.opened(self.checkpoints[place]) if end is None else None
        digest = self.taking.digest(content) if end is None else end.digest
        digests = {"own": digest, "before": before if PREVIOUS in self.against else ""}
        row = self.record.row(label, digests)
        present = end
        if end is None and (row is None or self._needed_next(place)):
            present = self.taking.taken(content, label, digest)
        if row is None:
            assert present is not None  # what has no row was extracted
            compared = self._compared(label, present.activations, held)
            self.record.add({"checkpoint": label, "digests": digests, "rounded": present.rounded, **compared})
        return present or Taken(None, digest, made=False)

    def _needed_next(self, place: int) -> bool:
        """Say whether the next checkpoint is to be compared with this one."""
        following = self.checkpoints[place + 1 : place + 2]
        return PREVIOUS in self.against and any(one.label not in self.record.rows for one in following)

    def _compared(self, label: str, present: Any, held: Mapping[str, Any]) -> Row:
        """Compare every layer with itself in the references."""
        told = [*self._pairing(label, present, held), *self._missing(label, present)]
        broken = self._not_finite(label, present)
        found = Found(self.layers, self.measures, self.against)
        # One reference after the other: the layers of all of them together would be more in memory.
        for reference in (name for name in REFERENCES if name in held):
            other = held[reference]
            leave = broken | self._not_finite(self._label_of(reference, label), other)
            found.add(label, present, reference, other, leave=leave, memory=self.memory)
        own = {name: present[name] for name in self.layers if name in present}
        return {
            "values": found.values,
            "equal": found.equal,
            "print": print_of(own),
            "features": [int(own[name].shape[1]) if name in own else 0 for name in self.layers],
            "not finite": [name for name in self.layers if name in broken],
            "warnings": [*([caution.category.__name__, caution.message] for caution in told), *found.warnings],
        }

    def _label_of(self, reference: str, label: str) -> str:
        labels = [one.label for one in self.checkpoints]
        return labels[{FIRST: 0, PREVIOUS: labels.index(label) - 1, LAST: -1}[reference]]

    def _not_finite(self, label: str, layers: Any) -> set[str]:
        """Return the layers that hold NaN or infinity in a checkpoint, looked for once."""
        if label not in self.broken:
            held = (name for name in self.layers if name in layers)
            self.broken[label] = {name for name in held if not is_finite(layers[name])}
        return self.broken[label]

    def _pairing(self, label: str, present: Any, held: Mapping[str, Any]) -> list[Caution]:
        """Check that rows are the same examples, and say where nothing shows it."""
        unknown = []
        for reference, layers in held.items():
            names = (f"checkpoint {label}", f"the {reference} one")
            check_pairing(present, layers, names)
            if row_identity([present, layers]) == "unknown" and identified(present) and identified(layers):
                unknown.append(names[0])
        return unknown_pairing(unknown[:1])

    def _missing(self, label: str, present: Any) -> list[Caution]:
        missing = [name for name in self.layers if name not in present]
        if not missing:
            return []
        message = f"checkpoint {shown(label)} has no layer {listed(missing)}, of which its values are NaN."
        return [Caution(ExtractionWarning, message)]


def as_array(rows: Sequence[Row], variable: str, against: Sequence[str], n_layers: int) -> np.ndarray:
    """Return the values of a variable over references, checkpoints and layers."""
    missing = [float("nan")] * n_layers
    return np.array(
        [[row["values"].get(variable, {}).get(reference, missing) for row in rows] for reference in against]
    )
