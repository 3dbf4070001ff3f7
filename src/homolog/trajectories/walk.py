"""From checkpoint to checkpoint: each is extracted, compared with its references, and let go."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from homolog.activations import Activations, Module, identified
from homolog.diagnostics import Caution, ExtractionWarning, HomologWarning, listed, unknown_pairing
from homolog.engine import compare
from homolog.extraction.digests import hashed, numbers
from homolog.measures.record import Measure
from homolog.measures.registry import OF_THE_CALLER
from homolog.names import shown
from homolog.pairing import check_pairing, row_identity
from homolog.progress import progress_bar
from homolog.trajectories.checkpoints import Checkpoint
from homolog.trajectories.networks import Network
from homolog.trajectories.record import Record
from homolog.trajectories.taking import OnDisk, Taken, Taking, data_digest, sample_of

FIRST, PREVIOUS, LAST = "first", "previous", "last"
REFERENCES = (FIRST, PREVIOUS, LAST)
COMPANIONS = ("null", "reversed")
"""What is kept beside a value."""
Row = dict[str, Any]


@dataclass
class Walk:
    """One pass over the checkpoints. Held at a time: one network, and the activations of three checkpoints at most."""

    checkpoints: Sequence[Checkpoint]
    network: Network
    taking: Taking
    measures: Mapping[str, Measure]
    against: Sequence[str]
    memory: str | int
    record: Record
    layers: list[str] = field(default_factory=list)
    modules: Mapping[str, Module] = field(default_factory=dict)
    n_examples: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)

    def run(self, progress: bool | None) -> list[Row]:
        """Return the row of every checkpoint, in order."""
        total = len(self.checkpoints)
        with ExitStack() as undo, progress_bar("comparing", total, progress, unit="checkpoint") as bar:
            held = self._ends()
            before = ""
            for place in range(total):
                present = self._step(place, held, before)
                before = present.digest
                held.pop(PREVIOUS, None)
                if PREVIOUS in self.against and present.activations is not None:
                    held[PREVIOUS] = present.activations
                if place == 0:
                    self._put_aside(held, present, undo)
                del present
                bar.update(1)
        return [self.record.rows[one.label] for one in self.checkpoints]

    def _ends(self) -> dict[str, Any]:
        """Extract the first checkpoint, and the last where it is asked for; say what is asked for."""
        held: dict[str, Any] = {}
        content = self.network.opened(self.checkpoints[0])
        request = self.taking.request(content)
        self._ends_taken = {0: self.taking.taken(content, self.checkpoints[0].label, self.taking.digest(content))}
        del content
        if LAST in self.against:
            place = len(self.checkpoints) - 1
            content = self.network.opened(self.checkpoints[place])
            digest = self.taking.digest(content)
            self._ends_taken[place] = self.taking.taken(content, self.checkpoints[place].label, digest)
            held[LAST] = self._ends_taken[place].activations
        first = self._ends_taken[0].activations
        if FIRST in self.against:
            held[FIRST] = first
        self._learn(first, held.get(LAST, first))
        self.record.begin(request | self._request(first))
        return held

    def _learn(self, first: Any, last: Any) -> None:
        self.layers = [name for name in first if name in last]
        if not self.layers:
            raise ValueError(
                f"checkpoints must have layers of the same names, got {listed(first)} in the first and {listed(last)} in the "
                f"last: extract all of them with the same layers=."
            )
        self.modules, self.n_examples, self.provenance = first.modules, first.n, first.provenance

    def _request(self, first: Activations) -> dict[str, str]:
        """Say what was asked for beside the extraction, and of which checkpoints."""
        ends = {"first checkpoint": self._ends_taken[0].digest}
        if LAST in self.against:
            ends["last checkpoint"] = self._ends_taken[len(self.checkpoints) - 1].digest
        return {
            "checkpoints": json.dumps([[one.label, one.step] for one in self.checkpoints]),
            "against": ", ".join(self.against),
            "measures": json.dumps({name: self._written(record) for name, record in self.measures.items()}),
            "data": data_digest(first),
            "homolog": version("homolog"),
            **ends,
        }

    def _written(self, record: Measure) -> str:
        """Write a measure so that another one is told from it: functions by their code, arrays by their numbers."""
        arrays = [value for value in record.options.values() if hasattr(value, "shape") and hasattr(value, "dtype")]
        parts = [part for value in arrays for part in numbers(value)]
        if record.reference == OF_THE_CALLER:
            parts += [f"{what} {text}" for what, text in sorted(self.taking.code_of(record.function).items())]
        return f"{record} {hashed(*parts).hex()}" if parts else str(record)

    def _step(self, place: int, held: Mapping[str, Any], before: str) -> Taken:
        """Return a checkpoint, extracted where it is needed, after its row was added."""
        checkpoint, present = self.checkpoints[place], self._ends_taken.pop(place, None)
        content = None if present is not None else self.network.opened(checkpoint)
        digest = self.taking.digest(content) if present is None else present.digest
        digests = {"own": digest, "before": before if PREVIOUS in self.against else ""}
        row = self.record.row(checkpoint.label, digests)
        if present is None and (row is None or self._needed_next(place)):
            present = self.taking.taken(content, checkpoint.label, digest)
        if row is None:
            assert present is not None  # what has no row was extracted
            self.record.add(
                {"checkpoint": checkpoint.label, "digests": digests, **self._compared(checkpoint.label, present.activations, held)}
            )
        return present or Taken(None, digest, made=False)

    def _needed_next(self, place: int) -> bool:
        """Say whether the next checkpoint is to be compared with this one."""
        following = self.checkpoints[place + 1 : place + 2]
        return PREVIOUS in self.against and any(one.label not in self.record.rows for one in following)

    def _put_aside(self, held: dict[str, Any], first: Taken, undo: ExitStack) -> None:
        """Put the first checkpoint on disk where two others are held beside the present one."""
        if first.made and set(self.against) == set(REFERENCES) and len(self.checkpoints) > 3:
            held[FIRST] = OnDisk(first.activations)
            undo.callback(held[FIRST].close)

    def _compared(self, label: str, present: Any, held: Mapping[str, Any]) -> Row:
        """Compare every layer with itself in the references."""
        told = [*self._pairing(label, present, held), *self._missing(label, present)]
        cautions = [[caution.category.__name__, caution.message] for caution in told]
        values: dict[str, dict[str, list[float]]] = {}
        for layer in self.layers:
            found, warned = self._of_layer(layer, label, present, held)
            cautions += warned
            for name, of_reference in found.items():
                for reference, value in of_reference.items():
                    values.setdefault(name, {}).setdefault(reference, []).append(value)
        own = {name: present[name] for name in self.layers if name in present}
        return {
            "values": values,
            "sample": sample_of(own),
            "features": [int(own[name].shape[1]) if name in own else 0 for name in self.layers],
            "warnings": cautions,
        }

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

    def _of_layer(
        self, layer: str, label: str, present: Any, held: Mapping[str, Any]
    ) -> tuple[dict[str, dict[str, float]], list[list[str]]]:
        """Return the values of a layer, by variable and reference, NaN where there is no reference."""
        references = [name for name in REFERENCES if name in held and layer in held[name] and layer in present]
        found = {name: dict.fromkeys(self.against, float("nan")) for name in self._variables()}
        if not references:
            return found, []
        own, names = f"checkpoint {label}", {name: f"the {name} checkpoint" for name in references}
        models = {own: {layer: present[layer]}} | {names[name]: {layer: held[name][layer]} for name in references}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HomologWarning)
            result = compare(
                models,
                measures=dict(self.measures),
                pairs=[((own, layer), (names[name], layer)) for name in references],
                memory=self.memory,
                progress=False,
            )
        for variable in [name for name in found if name in result]:
            row = result[variable].values[0]
            found[variable] |= {name: float(row[1 + place]) for place, name in enumerate(references)}
        return found, json.loads(result.attrs["warnings"])

    def _variables(self) -> list[str]:
        return [f"{name}{end}" for name in self.measures for end in ("", *(f"_{kind}" for kind in COMPANIONS))]


def as_array(rows: Sequence[Row], variable: str, against: Sequence[str], n_layers: int) -> np.ndarray:
    """Return the values of a variable over references, checkpoints and layers."""
    missing = [float("nan")] * n_layers
    return np.array([[row["values"].get(variable, {}).get(reference, missing) for row in rows] for reference in against])
