"""Rows of layers, appended to a store as batches come, after the rows that it holds already."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from homolog.activations import MODULES, NOT_DIGESTED, Activations, Module, modules_of, with_norms
from homolog.diagnostics import Caution, ExtractionWarning, give, listed
from homolog.extraction import batches
from homolog.extraction.batch_output import BatchOutput, PlacedRows
from homolog.extraction.batches import Batch
from homolog.extraction.computation_record import (
    VALUES,
    first_difference,
    incomparable_in,
    with_notes,
    without_changes,
)
from homolog.extraction.in_memory import InMemory
from homolog.extraction.options import Options
from homolog.extraction.provenance import as_text, provenance_of
from homolog.extraction.row_identities import ExampleIds, identities_of
from homolog.extraction.sources import Source
from homolog.extraction.stored_features import is_on_gpu
from homolog.extraction.tensors import numbers_of
from homolog.machine import format_bytes
from homolog.position_norms import PositionNorms, sums_by_layer
from homolog.sketching import read_name, written_name
from homolog.store import Writer, open_store
from homolog.store.reading import identity
from homolog.store.writing import as_stored, id_dtype

FORM = "inputs"
"""Key of the names, types and shapes of the first batch."""
UNRECORDED = {
    **{"code of the model": None, "forward": None, VALUES: None},
    **{"mask": "None", "axis": "None", "skip": "None", "skip_first": "0", "sketch": "None", "rng": "None"},
}
"""What stores of earlier versions do not record, and what it was: None where nobody knows."""


class IntoStore:
    """Appends to a store as batches come, after the rows that it holds already."""

    notes: Sequence[str] = ()
    """Nothing to tell of where rows are."""

    def __init__(self, source: Source, data: Any, options: Options, total: int | None) -> None:
        assert options.out is not None  # sink_for() looked
        self.path, self.total = options.out, total
        self._ids = ExampleIds(options, total)
        self._source, self._options = source, options
        self._provenance = provenance_of(source, options) | {"weights": source.digest()}
        self._request = request_of(source, options)
        self._writer = Writer(
            self.path, self._request, resume=options.resume, unrecorded=UNRECORDED, compared_by_caller=("model", VALUES)
        )
        self._begun = False
        self._batch_size, self._new = 0, slice(0)
        self._modules: dict[str, Module] = {}
        self._norms: dict[str, PositionNorms] = {}
        """What is known of the tokens of the rows that are safe."""
        self._until = 0
        self._waiting: list[tuple[int, dict[str, PositionNorms]]] = []
        """Until which row, and what is known of its tokens, of the batches that are not safe yet."""
        self._digested: bool | None = None
        """Whether the rows have digests; None before the first batch."""
        with ExitStack() as undo:
            undo.callback(self._writer.close)
            self._check_request()
            self._find_rows()
            self.finished = self._is_finished(data, options)
            undo.pop_all()  # nothing went wrong: the writer stays open

    def __enter__(self) -> IntoStore:
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            # The same model may be used again in this process, after an interruption too; what went wrong stays the error.
            with suppress(OSError, ValueError):
                if self._begun:
                    self._note_changes()
        finally:
            self._writer.close()

    @property
    def layers(self) -> frozenset[str] | None:
        """Return the layers of which there are rows already; None where there are none."""
        return frozenset(read_name(name)[0] for name in self._writer.layers) if self._writer.rows else None

    @property
    def unknown(self) -> bool:
        """Whether nothing says who the rows are."""
        return self._digested is False and self._options.example_ids is None

    def _note_changes(self) -> None:
        """Note which values the computation itself changed: they need not be the same when it is continued."""
        self._writer.note(without_changes(self._writer.request, self._source.code(self._options)))

    def _check_request(self) -> None:
        """Refuse to go on with other weights or values, or where nobody can say whether functions are those of the beginning."""
        if self._writer.contents is None:
            return
        begun = self._writer.contents.request
        known = VALUES in begun or not begun
        weights = self._request["model"] if known else f"{self._source.title} of weights {self._source.digest()}"
        if begun and begun.get("model") != weights:
            self._writer.refuse("model", str(begun.get("model")), weights)
        other = first_difference(begun, self._request) if VALUES in begun else None
        if other is not None:
            self._writer.refuse(*other)
        form = {FORM: begun[FORM]} if FORM in begun else {}
        self._writer.request = with_notes(begun, self._request) | form
        self._tell_presumed(begun)

    def _tell_presumed(self, begun: Mapping[str, str]) -> None:
        cautions = []
        if self._writer.presumed:
            message = (
                f"{str(self.path)!r} was begun by a version of homolog that did not record {listed(self._writer.presumed)}: it "
                f"is continued as if these were the same as now; extract again if they are not."
            )
            cautions.append(Caution(ExtractionWarning, message))
        given, others = incomparable_in(self._request)
        for what, text in given.items():
            raise ValueError(
                f"{str(self.path)!r} must be continued with the {what.split(':')[0]} it was begun with, got a function of which "
                f"this cannot be told, {what}: {text}: use a function whose defaults, closure and globals are numbers, text, "
                f"arrays or other functions, or another name."
            )
        if others:
            values = listed(f"{name}, {text}" for name, text in others.items())
            message = (
                f"{str(self.path)!r} is continued as if the model read the same values as when it was begun, although this "
                f"cannot be told of {values}: extract again if it may not."
            )
            cautions.append(Caution(ExtractionWarning, message))
        give(cautions)

    def _find_rows(self) -> None:
        rows = self._writer.rows
        names = ("digests", "example", "example_ids")
        self._digests, example, self._stored_ids = (identity(self.path, name, rows) if rows else None for name in names)
        self._by_position = example is not None
        self._example = np.arange(rows) if example is None else example

    def _is_finished(self, data: Any, options: Options) -> bool:
        """Say whether there is nothing to do, after comparing the data with the rows: digests need no model."""
        contents = self._writer.contents
        if contents is None or not contents.complete or contents.request.get("limit") != str(options.max_examples):
            return False
        stored, examples, more, lone = int(self._example[-1]) + 1, 0, False, False
        for raw in batches.raw_batches(data, options):
            batch = batches.prepare_batch(raw, options, self._source, lone=lone)
            lone = batch.layout.kind == "items"
            remaining = None if options.max_examples is None else options.max_examples - examples
            more = not self.has(batch, examples, remaining)
            examples += batch.wanted(remaining)
            if more or examples == options.max_examples:
                break
        if more or examples != stored:
            found = (
                f"{self.total or f'at least {examples}'}"
                if more
                else f"{examples or 'none, as of an iterator used up'}"
            )
            further = "max_examples to take more of them, " if more else ""
            raise ValueError(
                f"{str(self.path)!r} is complete with {stored} examples, got data of {found}: pass the same data, {further}or "
                f"another name."
            )
        self._ids.check(examples)
        return True

    def has(self, batch: Batch, before: int, remaining: int | None) -> bool:
        """Say whether the rows of a batch are there already, and compare who they are."""
        count = batch.wanted(remaining)
        first, last = np.searchsorted(self._example, [before, before + count])
        if first == last:
            return False
        stored = self._example[first:last] - before
        ids = self._ids.of(batch, before, count)
        if (ids is None) != (self._stored_ids is None):
            with_or_without = ("without", "some") if ids is not None else ("with", "none")
            raise ValueError(
                f"{str(self.path)!r} must be continued as it was begun, {with_or_without[0]} example_ids, got "
                f"{with_or_without[1]}: pass the same example_ids, or choose another name."
            )
        form = self._writer.request.get(FORM, batch.form)
        if before == 0 and form != batch.form:
            self._writer.refuse(FORM, form, batch.form)
        self._check_identified(batch.digests is not None, ids is not None)
        if batch.digests is not None and self._digests is not None:
            self._check_same("inputs", self._digests[first:last], batch.digests[stored], int(first))
        if ids is not None and self._stored_ids is not None:
            self._check_same("example ids", self._stored_ids[first:last], ids[stored], int(first))
        # Of the last example only some positions may be there.
        whole = last < len(self._example) or not self._by_position or self._writer.complete
        return bool(whole and stored[-1] == count - 1)

    def _check_identified(self, digested: bool, identified: bool) -> None:
        """Refuse to go on where nothing says whether the inputs are those of the rows that are there."""
        if (digested and self._digests is not None) or identified:
            return
        raise ValueError(
            f"{str(self.path)!r} must be continued with the inputs it was begun with, got inputs of which this cannot be told, "
            f"since the batches hold something that cannot be digested: pass example_ids= from the beginning, or make the "
            f"batches of tensors, arrays, numbers and text."
        )

    def _check_same(self, what: str, stored: np.ndarray, now: np.ndarray, row: int) -> None:
        if not np.array_equal(stored, now):
            at = row + int(np.argmax(stored != now))
            raise ValueError(
                f"{str(self.path)!r} must be continued with the {what} it was begun with, got others from row {at} on: pass the "
                f"same data in the same order, or choose another name."
            )

    def begin(self, batch: Batch, before: int, remaining: int | None) -> None:
        """Prepare for the rows of a batch."""
        self._batch_size, self._new = batch.size, slice(self._stored_of(before), batch.wanted(remaining))

    def placed(self, name: str, features: Any) -> PlacedRows | None:
        """Write the features of the examples of a batch at once, without a copy; they count when the batch is added.

        None where they have to wait: until the first batch is known, or where they must be converted or come from a GPU.
        """
        if (
            is_on_gpu(features)
            or not self._begun
            or self._by_position
            or self._options.dtype is not None
            or len(features) != self._batch_size
        ):
            return None
        rows = numbers_of(features)
        return PlacedRows(rows.shape, rows.dtype) if self._writer.place(name, rows[self._new]) else None

    def _stored_of(self, before: int) -> int:
        """Return how many rows of a batch are there already."""
        return max(0, len(self._example) - int(np.searchsorted(self._example, before)))

    def add(self, output: BatchOutput, batch: Batch, before: int) -> None:
        """Append the rows of a batch that are not there yet, and drop what is there of layers that it leaves out."""
        if self._begun or self._writer.rows:
            gone = [name for name in self._writer.layers if read_name(name)[0] not in output.features]
            self._writer.leave_out(gone)
        written = {written_name(name, output.sketches.get(name)): rows for name, rows in output.features.items()}
        identities = identities_of(output, batch, before, self._ids.of(batch, before, output.examples))
        if not self._are_digested(batch):
            identities.pop("digests", None)
            self._provenance["inputs"] = NOT_DIGESTED
        kinds = {name: id_dtype(ids) if name == "example_ids" else str(ids.dtype) for name, ids in identities.items()}
        if not self._begun:
            self._check_disk(output)
            shapes = {name: (features.shape[1], features.dtype) for name, features in written.items()}
            self._begun = True
            if before == 0 and not self._writer.rows:
                self._writer.request[FORM] = batch.form
            self._writer.start(shapes, kinds, self._provenance)
            self._begin_norms(output)
            self._note_changes()
        stored = self._stored_of(before)
        features = {name: rows[stored:] for name, rows in written.items() if not isinstance(rows, PlacedRows)}
        self._until += len(output.example) - stored
        self._waiting.append((self._until, output.norms))
        self._writer.append(features, {name: as_stored(ids[stored:], kinds[name]) for name, ids in identities.items()})

    def _begin_norms(self, output: BatchOutput) -> None:
        """Take up what is known of the norms of tokens in the rows that are safe."""
        begun = modules_of(self._writer.provenance.get(MODULES, "{}"))
        known = {name: PositionNorms.read(made.norms) for name, made in begun.items()}
        self._norms = {name: norms for name, norms in known.items() if norms is not None}
        self._modules, self._until = output.modules, len(self._example)
        self._writer.notes_of = self._notes_of

    def _notes_of(self, rows: int) -> dict[str, str]:
        """Say what made each layer, and of what is known of its tokens what is of the rows that are safe."""
        while self._waiting and self._waiting[0][0] <= rows:
            self._norms = sums_by_layer(self._norms, self._waiting.pop(0)[1])
        names = [read_name(name)[0] for name in self._writer.layers]
        made = {name: self._modules[name] for name in names if name in self._modules}
        return {MODULES: json.dumps(with_norms(made, self._norms), ensure_ascii=False)}

    def _are_digested(self, batch: Batch) -> bool:
        """Say whether the rows of the store have digests, as its first batch has; a later one without them is refused."""
        digested = batch.digests is not None
        if self._digested is None:
            self._digested = self._digests is not None if self._writer.rows else digested
        if self._digested and not digested:
            raise ValueError(
                f"{str(self.path)!r} must hold who every row is, got a batch with something that cannot be digested after others "
                f"that could be: make all batches of tensors, arrays, numbers and text."
            )
        return self._digested

    def _check_disk(self, output: BatchOutput) -> None:
        if self.total is None:
            return
        size = sum(rows.nbytes for rows in output.features.values()) / max(output.examples, 1) * self.total
        free = shutil.disk_usage(self.path).free
        left = size * (1 - len(self._example) / max(self.total, len(self._example)))
        if left > free:
            raise ValueError(
                f"the activations need about {format_bytes(size)} for {self.total} examples, and {format_bytes(free)} are free "
                f'in the folder of {str(self.path)!r}: choose fewer layers, reduce="mean", max_examples, or another disk.'
            )

    def finish(self, examples: int) -> None:
        """Call the store complete."""
        if len(self._example) and examples <= self._example[-1]:
            raise ValueError(
                f"{str(self.path)!r} holds rows of {self._example[-1] + 1} examples, got data of {examples}: pass the same "
                f"data, or choose another name."
            )
        self._ids.check(examples)
        if self._begun:
            self._writer.finish()

    def result(self) -> Activations:
        """Open what was written."""
        return open_store(self.path)


def destination_of(source: Source, data: Any, options: Options, total: int | None) -> InMemory | IntoStore:
    """Return where the rows go."""
    return InMemory(source, options, total) if options.out is None else IntoStore(source, data, options, total)


def request_of(source: Source, options: Options) -> dict[str, str]:
    """Say what must be the same for a store to be continued; a larger max_examples adds to it."""
    return {
        "model": f"{source.title} of weights {source.digest_of_parameters()}",
        **source.code(options),
        "axis": as_text(options.axis),
        "skip_first": as_text(options.skip_first),
        "sketch": options.sketches_asked,
        "rng": "None" if options.sketches_asked == "None" else str(options.rng),
        "channels": str(options.channels),
        "dtype": str(options.dtype),
        "limit": str(options.max_examples),
    }
