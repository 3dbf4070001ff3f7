"""Takes what layers put out, the moment they put it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from homolog.activations import Module, glob_expression, unknown_layer, unknown_layers
from homolog.diagnostics import listed
from homolog.extraction import reductions
from homolog.extraction.axis_sizes import shape_of, shape_of_example, shapes_of, sizes_beside, sizes_of
from homolog.extraction.batch_contents import entries_of
from homolog.extraction.batches import Batch
from homolog.extraction.layer_selection import INPUT, Selection, module_of, rule_for
from homolog.extraction.masks import InputSequence, Masks, input_sequences
from homolog.extraction.objections import (
    Objection,
    hint_for,
    no_layer_left,
    not_classes,
    not_first,
    not_of_nodes,
    not_whole,
    padded_by_model,
)
from homolog.extraction.options import Options
from homolog.extraction.outputs import is_count, is_transformed, output_of
from homolog.extraction.samples import Sample, sample_of
from homolog.extraction.skipped_tokens import SkippedTokens, no_tokens
from homolog.extraction.sources import Maker
from homolog.extraction.suspected_padding import SuspectedPadding
from homolog.extraction.tensors import is_torch, loaded_torch, numbers_of
from homolog.extraction.token_norms import norms_of_output
from homolog.extraction.trial_examples import tried_examples
from homolog.position_norms import PositionNorms, sums_by_layer

_LARGEST = {"float16": "65504", "float32": "3.4e38"}
"""Types to store in that may be too narrow, and where they end."""


class BatchOutput(NamedTuple):
    """What the layers put out for one batch."""

    features: dict[str, Any]
    """Layer → (rows, features), in order of execution."""
    example: np.ndarray
    """(rows,) the example of the batch each row came from."""
    position: np.ndarray | None
    examples: int
    modules: dict[str, Module]
    """Layer → what made it."""
    norms: dict[str, PositionNorms]
    """Layer of tokens → how long the vectors of this batch are."""


class Recorder:
    """Takes reduced outputs, batch by batch, in order of execution; `convert(layer, tensor)` makes what is to be kept of it."""

    def __init__(
        self, selection: Selection, options: Options, convert: Callable[[str, Any], Any] | None = None
    ) -> None:
        self.selection = selection
        self.options = options
        self.skipped: dict[str, str] = dict(selection.silent)
        """Layers that nobody named and that were left out, and why."""
        self.samples: dict[str, Sample] = {}
        """Rows of the first batch, to be proved."""
        self.proved: set[str] = set()
        self.contradicted: dict[str, Objection] = {}
        self.modules: dict[str, Module] = {}
        """Layer → what made it."""
        self.norms: dict[str, PositionNorms] = {}
        """Layer → how long the vectors of its tokens are, over all batches."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Layer → the shape of its output, in the batch that is tried."""
        self.hint = ""
        """What else may help where the data may have their examples on another axis."""
        self.lengths: dict[str, dict[tuple[tuple[int, ...], ...], int]] = {}
        """Layer → shapes of the inputs → number of positions, where all count."""
        self.padded: set[str] = set()
        """Layers that the model pads by itself."""
        self.mixing: list[str] = []
        """Quantised layers, whose values depend on the other examples."""
        self.random: list[str] = []
        """Layers that put out other values every time."""
        self.unmasked: dict[str, SuspectedPadding] = {}
        """Layers in which something that looks like padding counts."""
        self.tokenless: dict[str, str] = {}
        """Layers that have no tokens, and what was to leave some out of them."""
        self.stored: frozenset[str] | None = None
        """The layers of a store that is continued: what nobody named and was left out of it stays left out."""
        self._left_out = False
        """Whether tokens were left out of any layer, as was asked."""
        self._convert = convert or self._stored
        self._batch: Batch | None = None
        self._masks: Masks | None = None
        self._sequences: tuple[InputSequence, ...] | None = None
        self._depends_on: dict[str, frozenset[int]] = {}
        self._foreign_masks: dict[str, frozenset[str]] = {}
        self._listen: Callable[[str, Any, Maker], None] | None = None
        self._calls: dict[str, int] = {}
        self.calls_tried: dict[str, int] = {}
        """Module → how often it ran when outputs were last listened to."""
        self._rows: dict[str, reductions.LayerRows] = {}
        self._expected: dict[str, int] | None = None
        self._widths: dict[str, int] = {}
        self.layouts: dict[tuple[int, ...], str] = {}
        self._sizes: dict[str, set[int]] = {}
        self._input_sizes: set[int] = set()
        self._norms: dict[str, PositionNorms] = {}
        self._first = 0
        self.n_batches = 0
        """Batches so far."""
        self.before: Batch | None = None
        """The last batch, if it held one example."""

    def heard(self, name: str, output: Any, maker: Maker) -> None:
        """Take the output of a layer, or give it to whoever listens instead."""
        if self._batch is None and self._listen is None:
            return
        self._calls[name] = calls = self._calls.get(name, 0) + 1
        call = name if calls == 1 else f"{name}#{calls}"
        if self._listen is not None:
            self._listen(call, output, maker)
        else:
            self._record(call, output, maker)

    @contextmanager
    def listening(self, listen: Callable[[str, Any, Maker], None]) -> Iterator[None]:
        """Give outputs to a function instead of taking them."""
        calls, self._calls, self._listen = self._calls, {}, listen
        try:
            yield
        finally:
            self.calls_tried = self._calls
            self._calls, self._listen = calls, None

    @property
    def calls(self) -> dict[str, int]:
        """Module → how often it ran for the batch."""
        return self._calls

    def masks_of(self, batch: Batch) -> Masks:
        """Return the masks of a batch."""
        sequences = input_sequences(batch.content, batch.size) if self._sequences is None else self._sequences
        depends_on = dict(self._depends_on)
        entries = entries_of(batch.content)
        if entries:
            main = next((key for key, value in entries.items() if value is batch.main), None)
            depends_on[INPUT] = frozenset(i for i, sequence in enumerate(sequences) if main in sequence.inputs)
        asked = self.options
        skipped = SkippedTokens(
            batch.content, batch.size, asked.skip_first, asked.skip, asked.ids, batch.ids, batch.start
        )
        return Masks(batch.content, batch.size, asked.mask, sequences, depends_on, self._foreign_masks, skipped)

    def learn(
        self,
        sequences: tuple[InputSequence, ...],
        depends_on: dict[str, frozenset[int]],
        foreign_masks: dict[str, frozenset[str]],
    ) -> None:
        """Take note of which inputs belong together, which layers depend on them, and which have not their positions."""
        self._sequences, self._depends_on, self._foreign_masks = sequences, depends_on, foreign_masks

    @property
    def proves(self) -> bool:
        """Whether this batch is tried in part: the first, the second, the fourth, the eighth and so on."""
        return self.n_batches & (self.n_batches + 1) == 0

    def start_batch(self, batch: Batch) -> None:
        """Open a batch."""
        self.samples, self.layouts, self._norms = {}, {}, {}
        self._batch, self._calls, self._rows = batch, {}, {}
        if self._sequences is not None and input_sequences(batch.content, batch.size) != self._sequences:
            self._sequences = None  # other inputs than the first batch: nothing is known of them
            self._depends_on, self._foreign_masks = {}, {}
        self._masks = self.masks_of(batch)
        if self.selection.with_input:
            self._record(INPUT, batch.main)

    def _record(self, name: str, output: Any, maker: Maker | None = None) -> None:
        assert self._batch is not None  # start_batch() came first
        assert self._masks is not None
        if name in self.skipped or not self.selection.keep(name):
            return
        if not self._is_named(name) and self._is_late(name):
            return
        try:
            rows = self.reduced(name, output, maker, self._masks)
        except reductions.UnfitError as problem:
            if not self._is_named(name):
                self._leave_out(name, problem.reason)
                return
            if self._batch.layout.kind == "whole":
                raise ValueError(not_of_nodes(name, self._batch.size, problem.reason)) from None
            raise
        if rows.suspected_padding is not None:
            self.unmasked.setdefault(name, rows.suspected_padding)
        if name not in self.modules:
            made = "" if maker is None else maker.type
            self.modules[name] = Module(made, shape_of_example(output, axis=self.options.axis_of(name) or 0))
        if self.proves and maker is not None:
            self.samples[name] = sample_of(rows, tried_examples(self._batch.size))
            self._sizes[name] = maker.sizes() | sizes_beside(output, self.options.axis_of(name) or 0)
            self.shapes[name] = shape_of(output)
        if rows.length is not None and self._is_padded(name, rows.length, shapes_of(self._batch)):
            if self._is_named(name):
                raise ValueError(padded_by_model(name))
            return  # left out when the batch is judged
        if self._masks.skipped.asks(name):
            self._left_out |= rows.skips
            if not rows.skips:
                self.tokenless.setdefault(name, self._masks.skipped.argument(name))
        if rows.tokens is not None:
            self._note_norms(name, rows.tokens)
        self._rows[name] = rows._replace(features=self._convert(name, rows.features), tokens=None)

    def _note_norms(self, name: str, tokens: reductions.Tokens) -> None:
        """Note how long the vectors of the tokens are."""
        assert self._masks is not None
        self._norms[name] = norms_of_output(tokens, self._masks.skipped)

    def _noted(self) -> dict[str, PositionNorms]:
        """Return how long the vectors of this batch are, and add it to what is known of all."""
        self.norms = sums_by_layer(self.norms, self._norms)
        return self._norms

    def _is_late(self, name: str) -> bool:
        """Leave out a layer of which the batches before hold no rows."""
        if self.n_batches and name not in self._widths:
            self._leave_out(name, "ran in a later batch, not in the first")
        elif self.stored is not None and name not in self.stored:
            self._leave_out(name, "left out of the rows that are stored")
        return name in self.skipped

    def _leave_out(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        self._rows.pop(name, None)

    def _is_padded(self, name: str, length: int, shapes: tuple[tuple[int, ...], ...]) -> bool:
        """Say whether inputs of the same shape have given another number of positions: the model pads them itself."""
        if self.lengths.setdefault(name, {}).setdefault(shapes, length) == length:
            return False
        self.padded.add(name)
        return True

    def note_length(self, name: str, rows: reductions.LayerRows, batch: Batch) -> None:
        """Take note of how many positions part of a batch has."""
        if rows.length is not None and name in self.lengths:
            self._is_padded(name, rows.length, shapes_of(batch))

    def _is_named(self, name: str) -> bool:
        """Say whether somebody asked for this very layer, not for many of which some may not fit."""
        return bool({name, module_of(name)} & self.selection.required)

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
        for name in [name for name in self.padded if name not in self.skipped]:
            if self._is_named(name):
                raise ValueError(padded_by_model(name))
            self.contradicted[name] = Objection("padded inside the model, say where with mask=")
        for name, against in self.contradicted.items():
            self.hint = self.hint or hint_for(against, self.shapes.get(name, ()), self._batch.main)
        named = [name for name in self.contradicted if self._is_named(name)]
        if named:
            raise ValueError(not_first(named[0], len(named) - 1, self.contradicted[named[0]], self.hint))
        for name, against in self.contradicted.items():
            self._leave_out(name, against.reason)
        self.contradicted = {}  # said; a later batch has its own

    def _stored(self, name: str, features: Any) -> np.ndarray:
        """Copy to the host in the dtype to keep: nothing that runs later can change it."""
        kept = numbers_of(features)  # bfloat16 as float32
        if self.options.dtype is not None:
            with np.errstate(over="ignore"):
                kept = kept.astype(self.options.dtype, copy=True)
        elif kept.dtype == np.float16:
            kept = kept.astype(np.float32)
        elif not is_torch(features) or features.device.type == "cpu":
            kept = np.array(kept)
        if self.options.dtype in _LARGEST and np.isinf(kept).any() and bool(np.isfinite(numbers_of(features)).all()):
            largest = float(np.abs(numbers_of(features)).max())
            raise ValueError(
                f"layer {name!r} must fit into dtype={self.options.dtype!r}, which ends at {_LARGEST[self.options.dtype]}, got "
                f"{largest:.3g}: keep it in a wider one; left out, dtype is that of the layer."
            )
        return kept

    def finish_batch(self, remaining: int | None, number: int) -> BatchOutput:
        """Close the batch: check it against the first one, and return what was taken of at most `remaining` examples."""
        batch = self._batch
        assert batch is not None  # start_batch() came first
        self._batch = self._masks = None
        self._check_calls(number)
        if self.n_batches == 0:
            self._note_unused()
            reductions.check_patterns(self.options.reduce, [*self._rows, *self.skipped])
            for rules in (self.options.mask, self.options.axis, self.options.skip_first, self.options.skip):
                reductions.check_patterns(rules, [*self._rows, *self.skipped, *self.selection.modules])
            self._check_tokens()
            self._first = batch.size
            self._input_sizes = sizes_of(batch)
        elif batch.size != self._first:
            self.proved |= set(self._rows)  # their first axis has changed with the batch, and nothing else
        count = batch.wanted(remaining)
        for name in list(self._rows):
            self._check_width(name, self._rows[name], number)
        example, position = self._identity(batch.size, count)
        features = {}
        for name in self._widths:  # in the order of the first batch
            if name in self._rows:
                kept = self._rows[name].features
                # Rows come in the order of their examples, so that those to keep come first.
                features[name] = kept if len(example) == len(kept) else kept[: len(example)]
        self.n_batches += 1
        self.before = batch if batch.size == 1 else None
        self._rows = {}
        made = {name: self.modules[name] for name in features}
        return BatchOutput(features, example, position, count, made, self._noted())

    def _check_tokens(self) -> None:
        """Raise where tokens were to be left out, and no layer has any."""
        tokenless = {name: said for name, said in self.tokenless.items() if name in self._rows}
        if tokenless and not self._left_out:
            raise ValueError(no_tokens(tokenless))

    def unproved(self) -> list[str]:
        """Return the layers that could not be tried, and whose first axis could be another: it is as long as one beside it."""
        inputs = self._input_sizes
        return [
            name
            for name in self._sizes
            if name not in self.proved | set(self.skipped)
            and self.options.axis_of(name) is None
            and self._first in self._sizes[name] | inputs
        ]

    def _identity(self, size: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return example and position of every row, the same for all layers."""
        first: tuple[str, np.ndarray, np.ndarray | None] | None = None
        for name, rows in self._rows.items():
            example = _example_of(rows, size)
            kept = example < count
            position = None if rows.position is None else numbers_of(rows.position)[kept]
            if first is None:
                first = name, example[kept], position
            elif len(first[1]) != int(kept.sum()):
                raise ValueError(
                    f"layer {name!r} must give as many rows as layer {first[0]!r} ({len(first[1])}), got "
                    f'{int(kept.sum())}: choose layers with the same number of positions, or use reduce="mean".'
                )
        if first is None:
            raise ValueError(no_layer_left(self.skipped, self.hint))
        return first[1], first[2]

    def _check_calls(self, number: int) -> None:
        """Leave out, or refuse, the layers that do not run as often as in the first batch."""
        self._check_ran()
        if self._expected is None:
            self._expected = dict(self._calls)
        changed = [name for name in self._expected | self._calls if self._expected.get(name) != self._calls.get(name)]
        for module in changed:
            known = [name for name in self._widths if module_of(name) == module and name not in self.skipped]
            first, now = self._expected.get(module, 0), self._calls.get(module, 0)
            named = any(module_of(pattern) == module for pattern in self.selection.required)
            for name in known:
                self._leave_out(name, f"ran {_times(first)} before, {_times(now)} in batch {number}")
            if named or (known and not self._rows):
                raise ValueError(
                    f"layer {module!r} must run as often in every batch ({first} times in the first), got {now} times in "
                    f"batch {number}: text generation does this, so run one forward per batch, or pass forward."
                )

    def _check_ran(self) -> None:
        """Raise for a name, or a glob, none of whose layers ran."""
        ran = list(self._rows if self.selection.modules else self._calls) or ["none"]
        missing = sorted(n for n in self.selection.required if n not in self._calls and n not in self._rows)
        if missing:
            module = self.selection.modules.get(missing[0])
            if module is not None and any(module.children()):
                raise KeyError(
                    f"layer {missing[0]!r} did not run in the forward: it only holds others; ask for those, "
                    f"{missing[0] + '.**'!r}."
                )
            known = f"layer {missing[0]!r} did not run in the forward; " if module is not None else ""
            raise KeyError(known + unknown_layers(missing[:1] if self.selection.modules else missing, ran))
        for pattern, names in self.selection.globs.items() if self.n_batches == 0 else ():
            if any(name in self._calls for name in names):
                continue
            if names:
                raise KeyError(
                    f"{pattern!r} matches only layers that did not run in the forward ({listed(names)}); "
                    + unknown_layer(pattern, ran)
                )
            if not any(glob_expression(pattern).fullmatch(name) for name in self._calls):
                raise KeyError(unknown_layers([pattern], list(self._calls)))

    def _note_unused(self) -> None:
        """Name layers that nobody named, that did not run, and whose weights belong to no layer that did."""
        if not self.selection.default or not self.selection.modules:
            return
        ran = [self.selection.modules[name] for name in self._calls]
        used = {id(weight) for module in ran for weight in module.parameters()}
        for name, module in self.selection.modules.items():
            if name not in self._calls and any(id(weight) not in used for weight in module.parameters()):
                self.skipped[name] = "did not run"

    def _check_width(self, name: str, rows: reductions.LayerRows, number: int) -> None:
        first, width = self._widths.setdefault(name, int(rows.features.shape[1])), int(rows.features.shape[1])
        if width == first:
            return
        if not rows.stretches and not self._is_named(name):
            self._leave_out(name, f"{first} features before, {width} in batch {number}")
            return
        remedy = 'or use reduce="mean"' if rows.stretches else "or leave it out of layers"
        raise ValueError(
            f"layer {name!r} must have as many features in every batch ({first} in the first), got "
            f"{width} in batch {number}: pad all batches to one length, {remedy}."
        )


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"


def _example_of(rows: reductions.LayerRows, size: int) -> np.ndarray:
    return np.arange(size) if rows.example is None else numbers_of(rows.example)
