"""Takes what layers put out, the moment they put it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homolog.activations import Module
from homolog.extraction import reductions
from homolog.extraction.axis_sizes import shape_of, shape_of_example, shapes_of, sizes_beside, sizes_of
from homolog.extraction.batch_output import BatchOutput, PlacedRows, identity_of
from homolog.extraction.batches import Batch
from homolog.extraction.known_masks import KnownMasks
from homolog.extraction.layer_calls import LayerCalls
from homolog.extraction.layer_findings import LayerFindings
from homolog.extraction.layer_selection import INPUT, Selection, rule_for
from homolog.extraction.masks import Masks
from homolog.extraction.objections import no_layer_left, not_classes, not_of_nodes, not_whole, padded_by_model
from homolog.extraction.options import Options
from homolog.extraction.outputs import is_count, is_transformed, output_of
from homolog.extraction.samples import Sample, sample_of
from homolog.extraction.sketched_rows import SketchedLayers
from homolog.extraction.sources import Maker
from homolog.extraction.stored_features import HostCopies, OnTheWay
from homolog.extraction.tensors import is_torch, loaded_torch
from homolog.extraction.token_norms import UnreadNorms, norms_of_output, norms_read
from homolog.extraction.trial_examples import tried_examples
from homolog.position_norms import PositionNorms, sums_by_layer


class Recorder:
    """Takes reduced outputs, batch by batch, in order of execution; `convert(layer, tensor)` makes what is to be kept of it."""

    def __init__(
        self, selection: Selection, options: Options, convert: Callable[[str, Any], Any] | None = None
    ) -> None:
        self.selection = selection
        self.options = options
        self.found = LayerFindings(selection, options, dict(selection.silent))
        self.calls = LayerCalls(selection)
        self.masks = KnownMasks(options)
        self.sketched = SketchedLayers(options)
        self.samples: dict[str, Sample] = {}
        """Rows of the first batch, to be proved."""
        self.modules: dict[str, Module] = {}
        """Layer → what made it."""
        self.norms: dict[str, PositionNorms] = {}
        """Layer → how long the vectors of its tokens are, over all batches."""
        self.layouts: dict[tuple[int, ...], str] = {}
        self.n_batches = 0
        """Batches so far."""
        self.before: Batch | None = None
        """The last batch, if it held one example."""
        self._convert = convert or HostCopies(options.dtype)
        self.placed: Callable[[str, Any], PlacedRows | None] = lambda name, features: None
        """Takes the features of the examples of a batch where they go at once, without a copy; None where that has to wait."""
        self._widths: dict[str, int] = {}
        self._batch: Batch | None = None
        self._masks: Masks | None = None
        self._rows: dict[str, reductions.LayerRows] = {}
        self._norms: dict[str, UnreadNorms | PositionNorms] = {}

    def heard(self, name: str, output: Any, maker: Maker) -> None:
        """Take the output of a layer, or give it to whoever listens instead."""
        if self._batch is None and self.calls.listener is None:
            return
        call = self.calls.next_of(name)
        if self.calls.listener is not None:
            self.calls.listener(call, output, maker)
        else:
            self._record(call, output, maker)

    @property
    def proves(self) -> bool:
        """Whether this batch is tried in part: the first, the second, the fourth, the eighth and so on."""
        return self.n_batches & (self.n_batches + 1) == 0

    def start_batch(self, batch: Batch) -> None:
        """Open a batch."""
        self.samples, self.layouts, self._norms = {}, {}, {}
        self._batch, self.calls.counted, self._rows = batch, {}, {}
        self.masks.forget_others(batch)
        self._masks = self.masks.of(batch)
        if self.selection.with_input:
            self._record(INPUT, batch.main)

    def _record(self, name: str, output: Any, maker: Maker | None = None) -> None:
        """Take the rows of an output, unless it is not wanted or cannot be taken."""
        assert self._batch is not None  # start_batch() came first
        assert self._masks is not None
        if not self._wants(name):
            return
        try:
            rows = self.reduced(name, output, maker, self._masks)
        except reductions.UnfitError as problem:
            if not self.found.is_named(name):
                self._leave_out({name: problem.reason})
                return
            if self._batch.layout.kind == "whole":
                raise ValueError(not_of_nodes(name, self._batch.size, problem.reason)) from None
            raise
        self._note_what(name, output, maker, rows)
        if rows.length is not None and self.found.is_padded(name, rows.length, shapes_of(self._batch)):
            if self.found.is_named(name):
                raise ValueError(padded_by_model(name))
            return  # left out when the batch is judged
        self.found.note_tokens(name, rows, self._masks.skipped)
        if rows.tokens is not None:
            self._norms[name] = norms_of_output(rows.tokens, self._masks.skipped)
        rows = self.sketched.of(name, rows)
        placed = self.placed(name, rows.features) if rows.example is None and rows.sketch is None else None
        kept = self._convert(name, rows.features) if placed is None else placed
        self._rows[name] = rows._replace(features=kept, tokens=None)

    def _wants(self, name: str) -> bool:
        """Say whether a layer is to be taken; one of which the batches before hold no rows is left out."""
        if name in self.found.skipped or not self.selection.keep(name):
            return False
        if not self.found.is_named(name):
            self.found.leave_out_late(name, bool(self.n_batches) and name not in self._widths)
        return name not in self.found.skipped

    def _note_what(self, name: str, output: Any, maker: Maker | None, rows: reductions.LayerRows) -> None:
        """Take note of what a layer is, and of what is needed to try it."""
        assert self._batch is not None  # an output has just been heard
        axis = self.options.axis_of(name) or 0
        if rows.suspected_padding is not None:
            self.found.unmasked.setdefault(name, rows.suspected_padding)
        if name not in self.modules:
            self.modules[name] = Module("" if maker is None else maker.type, shape_of_example(output, axis=axis))
        if self.proves and maker is not None:
            whole = self.options.sketch_of(name, rows.width) is None
            self.samples[name] = sample_of(rows, tried_examples(self._batch.size), whole=whole)
            self.found.sizes[name] = maker.sizes() | sizes_beside(output, axis)
            self.found.shapes[name] = shape_of(output)

    def _leave_out(self, reasons: dict[str, str]) -> None:
        """Leave out layers, also their rows of this batch."""
        self.found.skipped |= reasons
        self._rows = {name: rows for name, rows in self._rows.items() if name not in self.found.skipped}

    def reduced(self, name: str, output: Any, maker: Maker | None, masks: Masks) -> reductions.LayerRows:
        """Return the rows of an output."""
        if loaded_torch() is not None and is_transformed(output):
            raise reductions.UnfitError(
                not_whole(name), "it runs inside torch.func or torch.vmap, on one example at a time"
            )
        found = output_of(output, numbers=maker is None or maker.whole_numbers)
        if maker is not None and maker.whole_numbers and is_count(found.tensor):
            raise reductions.UnfitError(not_classes(name), "whole numbers of one axis, as of classes")
        rule, channels = rule_for(name, self.options.reduce, "flatten"), self.options.channels
        axis = None if maker is None else self.options.axis_of(name)  # the examples come first in the data
        if maker is not None and maker.check_channels is not None:
            maker.check_channels(name, found.tensor, rule, channels, self.layouts)
        if is_torch(found.tensor):
            found = found._replace(tensor=found.tensor.detach())
        if maker is not None and maker.features != "as usual":
            found, channels = reductions.with_features_known(name, found, rule, maker.features, channels)
        axes = reductions.Axes(axis or 0, channels, self.options.flat_channels_first)
        return reductions.reduce_output(name, found, rule, masks, axes)

    def drop_contradicted(self) -> None:
        """Leave out, or refuse, the layers that do not follow the examples."""
        assert self._batch is not None  # it has just been run
        self.found.drop_contradicted(self._batch.main)
        self._leave_out({})

    def finish_batch(self, remaining: int | None, number: int) -> BatchOutput:
        """Close the batch: check it against the first one, and return what was taken of at most `remaining` examples."""
        batch = self._batch
        assert batch is not None  # start_batch() came first
        self._batch = self._masks = None
        known = [name for name in self._widths if name not in self.found.skipped]
        self._leave_out(self.calls.check(self._rows, known, number))
        if self.n_batches == 0:
            self._check_first(batch)
        elif batch.size != self.found.first:
            self.found.proved |= set(self._rows)  # their first axis has changed with the batch, and nothing else
        count = batch.wanted(remaining)
        for name, rows in list(self._rows.items()):
            self._check_width(name, rows, number)
        if not self._rows:
            raise ValueError(no_layer_left(self.found.skipped, self.found.hint))
        example, position = identity_of(self._rows, batch.size, count)
        # Rows come in the order of their examples, so that those to keep come first; layers in the order of the first batch.
        taken = {name: self._rows[name].features for name in self._widths if name in self._rows}
        taken = {name: kept.read() if isinstance(kept, OnTheWay) else kept for name, kept in taken.items()}
        features = {
            name: kept if isinstance(kept, PlacedRows) or len(example) == len(kept) else kept[: len(example)]
            for name, kept in taken.items()
        }
        for name, kept in taken.items():
            if self._rows[name].sketch is not None:
                self.sketched.note(name, kept)
        self.n_batches += 1
        self.before = batch if batch.size == 1 else None
        sketches = {name: sketch for name in taken if (sketch := self._rows[name].sketch) is not None}
        self._rows = {}
        norms = norms_read(self._norms)
        self.norms = sums_by_layer(self.norms, norms)
        made = {name: self.modules[name] for name in features}
        return BatchOutput(features, example, position, count, made, norms, sketches)

    def _check_first(self, batch: Batch) -> None:
        """Check what was asked for against the first batch, and take note of its sizes."""
        self.found.skipped |= self.calls.unused()
        reductions.check_patterns(self.options.reduce, [*self._rows, *self.found.skipped])
        given = self.options
        for rules in (given.mask, given.axis, given.skip_first, given.skip, given.sketch):
            reductions.check_patterns(rules, [*self._rows, *self.found.skipped, *self.selection.modules])
        self.found.check_tokens(self._rows)
        self.found.first = batch.size
        self.found.sizes_of_inputs = sizes_of(batch)

    def _check_width(self, name: str, rows: reductions.LayerRows, number: int) -> None:
        first, width = self._widths.setdefault(name, rows.width), rows.width
        if width == first:
            return
        if not rows.stretches and not self.found.is_named(name):
            self._leave_out({name: f"{first} features before, {width} in batch {number}"})
            return
        remedy = 'or use reduce="mean"' if rows.stretches else "or leave it out of layers"
        raise ValueError(
            f"layer {name!r} must have as many features in every batch ({first} in the first), got "
            f"{width} in batch {number}: pad all batches to one length, {remedy}."
        )
