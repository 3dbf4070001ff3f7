"""Rows of layers, kept in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.activations import NOT_DIGESTED, Activations, Module, with_norms
from homolog.devices import free_memory, out_of_memory
from homolog.extraction.batch_output import BatchOutput
from homolog.extraction.batches import Batch
from homolog.extraction.growing_rows import Growing, GrowingTensor, growing
from homolog.extraction.options import Options
from homolog.extraction.provenance import provenance_of
from homolog.extraction.row_identities import ExampleIds, identities_of
from homolog.extraction.sources import Source
from homolog.extraction.tensors import is_torch, numbers_of
from homolog.machine import format_bytes
from homolog.names import quoted, shown
from homolog.position_norms import PositionNorms, sums_by_layer
from homolog.sketching import Sketch, SketchedRows

GROWING = 2.5
"""Times the rows so far that rows of an unknown number may take while they grow: what is there, and half as much again."""


class InMemory:
    """Keeps everything, as long as it fits."""

    finished = False
    layers: frozenset[str] | None = None
    """No layers are there already."""

    def __init__(self, source: Source, options: Options, total: int | None) -> None:
        self.options, self.total = options, total
        self._ids = ExampleIds(options, total)
        self._provenance = provenance_of(source, options)
        self._modules: dict[str, Module] = {}
        self._sketches: dict[str, Sketch] = {}
        self._norms: dict[str, PositionNorms] = {}
        self._rows: dict[str, Growing] = {}
        self._on_device = options.keep == "device"
        self.notes: list[str] = []
        """What a reader should be told."""
        self._sizes: dict[str, int] = {}
        self._identities: dict[str, list[np.ndarray]] = {}
        self._digested = True
        """Whether every batch so far could be digested."""

    def __enter__(self) -> InMemory:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def has(self, batch: Batch, before: int, remaining: int | None) -> bool:
        """Say whether the rows of a batch are there already."""
        return False

    def begin(self, batch: Batch, before: int, remaining: int | None) -> None:
        """Prepare for the rows of a batch."""

    def placed(self, name: str, features: Any) -> None:
        """Take no rows before the batch has run: they may grow only when all of them are known."""

    def add(self, output: BatchOutput, batch: Batch, before: int) -> None:
        """Keep the rows of a batch, and drop what is there of layers that it leaves out."""
        for name in set(self._rows) - set(output.features):
            del self._rows[name], self._sizes[name]
        self._modules, self._sketches = self._modules or output.modules, self._sketches or output.sketches
        self._norms = sums_by_layer(self._norms, output.norms)
        for name, features in output.features.items():
            self._sizes[name] = self._sizes.get(name, 0) + features.nbytes
        if self._on_device:
            self._check_device(next(iter(output.features.values())), before + output.examples)
        for name, features in output.features.items():
            self._append(name, features, output.examples)
        ids = self._ids.of(batch, before, output.examples)
        self._digested = self._digested and batch.digests is not None
        for name, values in identities_of(output, batch, before, ids).items():
            self._identities.setdefault(name, []).append(values)
        if not self._digested:  # rows of which only some say who they are say nothing
            self._identities.pop("digests", None)
            self._provenance["inputs"] = NOT_DIGESTED
        self._check_memory(before + output.examples)

    @property
    def unknown(self) -> bool:
        """Whether nothing says who the rows are."""
        return not self._digested and self.options.example_ids is None

    def finish(self, examples: int) -> None:
        """Check what can be known at the end."""
        self._ids.check(examples)

    def result(self) -> Activations:
        """Put the batches together."""
        found: dict[str, Any] = {name: np.concatenate(parts) for name, parts in self._identities.items()}
        example = found.pop("example", None)
        arrays = {name: self._kept(name, self._rows.pop(name).whole()) for name in list(self._rows)}
        found["example_ids"] = found.get("example_ids", example)
        return Activations(arrays, **found, provenance=self._provenance, modules=with_norms(self._modules, self._norms))

    def _kept(self, name: str, rows: np.ndarray) -> Any:
        sketch = self._sketches.get(name)
        return rows if sketch is None else SketchedRows(rows, sketch, f"layer {quoted(name)}")

    def _append(self, name: str, features: Any, examples: int) -> None:
        """Add the rows of a layer, which come to the host where the device has no memory left."""
        try:
            rows = features if self._on_device or not is_torch(features) else numbers_of(features)
            if name in self._rows:
                self._rows[name].append(rows)
            else:
                expected = 0 if self.total is None else -(-len(rows) * self.total // max(examples, 1))
                self._rows[name] = growing(rows, expected)
        except out_of_memory():
            if not self._on_device:
                raise
            self._go_to_host(f"the memory of {features.device} was used up")
            self._append(name, features, examples)

    def _check_device(self, features: Any, examples: int) -> None:
        """Go on on the host where all examples will not fit on the device."""
        if not is_torch(features) or (self._rows and self.total is not None):
            return  # rows of a known number have their memory from the first batch on
        room = self.options.device_memory
        if room is None and (free := free_memory(features.device)) is not None:
            room = free + sum(rows.nbytes for rows in self._rows.values() if isinstance(rows, GrowingTensor))
        expected = sum(self._sizes.values()) * (GROWING if self.total is None else self.total / max(examples, 1))
        if room is not None and expected > room:
            self._go_to_host(
                f"about {format_bytes(expected)} do not fit into the {format_bytes(room)} for them on {features.device}"
            )

    def _go_to_host(self, why: str) -> None:
        self._on_device = False
        self.notes.append(
            f'activations are kept on the host, since {why}: choose fewer layers, reduce="mean", dtype="float16" or more memory= '
            f"to keep them on the device."
        )
        for name, rows in self._rows.items():
            if isinstance(rows, GrowingTensor):
                self._rows[name] = rows.on_host()

    def _check_memory(self, examples: int) -> None:
        """Refuse to go on when all examples will not fit."""
        if self._on_device:
            return
        sizes = self._sizes
        factor = 1.0 if self.total is None else self.total / max(examples, 1)
        expected = sum(sizes.values()) * factor
        if expected <= self.options.memory:
            return
        largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
        largest_layers = ", ".join(f"{shown(name)} {format_bytes(sizes[name] * factor)}" for name in largest)
        raise ValueError(
            f"the activations must fit in memory={format_bytes(self.options.memory)}, got about {format_bytes(expected)} "
            f'for {self.total or examples} examples (largest: {largest_layers}): choose fewer layers, reduce="mean", '
            f'max_examples, dtype="float16", a store on disk (out="activations.zarr"), or more memory.'
        )
