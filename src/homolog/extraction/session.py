"""One extraction from start to end: the model is borrowed, and given back as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from homolog.activations import Activations
from homolog.diagnostics import Caution, ExtractionWarning, give, listed
from homolog.extraction import batches
from homolog.extraction.adapters import source_of
from homolog.extraction.batch_output import BatchOutput
from homolog.extraction.in_memory import InMemory
from homolog.extraction.input_checks import odd_kind
from homolog.extraction.input_dependence import sequences_of_layers
from homolog.extraction.into_store import IntoStore, destination_of
from homolog.extraction.layer_findings import LayerFindings
from homolog.extraction.masked_positions import foreign_masks_of
from homolog.extraction.options import Options
from homolog.extraction.proof import prove
from homolog.extraction.recorder import Recorder
from homolog.extraction.reductions import UnfitError
from homolog.extraction.sequences import input_sequences
from homolog.extraction.skipped_tokens import tokenless_sentence
from homolog.extraction.sources import Source
from homolog.extraction.stored_features import HostCopies, HostMemory, features_on_device
from homolog.extraction.suspected_padding import unmasked_padding_sentence
from homolog.extraction.texts import reading_texts
from homolog.names import first_line
from homolog.progress import progress_bar

_ARGUMENTS = re.compile(r"unexpected keyword argument|missing \d+ required|takes \d+ positional|takes from \d+")
"""What Python says where a batch does not fit the arguments of a forward."""

_UNDIGESTED = (
    "it cannot be told which example made each row, since the batches hold something that cannot be digested: nothing will show "
    "that rows are shuffled; pass example_ids=, or make the batches of tensors, arrays, numbers, text and plain objects."
)


def run_extraction(model: Any, data: Any, options: Options) -> Activations:
    """Run the model over the data and collect."""
    data, options = reading_texts(model, data, options)
    source = source_of(model, options)
    options = source.settled(options)
    on_device, on_host = partial(features_on_device, dtype=options.dtype), HostCopies(options.dtype, HostMemory())
    recorder = Recorder(source.selection(options.layers), options, on_device if options.keep == "device" else on_host)
    total = batches.count_examples(data, options)
    with destination_of(source, data, options, total) as sink:
        if not sink.finished:
            recorder.found.stored, recorder.placed = sink.layers, sink.placed
            with source.lent(options.device), source.attached(recorder):
                _run_batches(source, data, options, recorder, sink, total)
            give_warnings(recorder, unknown=sink.unknown, notes=sink.notes)
        return sink.result()


def _run_batches(
    source: Source, data: Any, options: Options, recorder: Recorder, sink: InMemory | IntoStore, total: int | None
) -> None:
    examples, lone = 0, False
    with progress_bar("extracting", total, options.progress, unit="example") as bar:
        for index, raw in enumerate(batches.raw_batches(data, options)):
            batch = batches.prepare_batch(raw, options, source, lone=lone)
            lone = batch.layout.kind == "items"
            remaining = None if options.max_examples is None else options.max_examples - examples
            if sink.has(batch, examples, remaining):
                count = batch.wanted(remaining)
            else:
                batch = replace(batch, start=examples)
                sink.begin(batch, examples, remaining)
                (found,) = run_batch(source, batch, options, [recorder], index + 1, remaining)
                sink.add(found, batch, examples)
                count = found.examples
            examples += count
            bar.update(count)
            if examples == options.max_examples:
                break  # before the next batch is read
    if not examples:
        raise ValueError("data must hold at least one batch, got none: an iterator may have been consumed before.")
    sink.finish(examples)


def run_batch(
    source: Source,
    batch: batches.Batch,
    options: Options,
    recorders: Sequence[Recorder],
    number: int,
    remaining: int | None,
) -> list[BatchOutput]:
    """Run the model on a batch, and return what the recorders took of at most `remaining` examples."""
    first = recorders[0].n_batches == 0
    if first:
        _learn_masks(source, batch, options, recorders)
    for recorder in recorders:
        recorder.start_batch(batch)
    try:
        # A copy, since a model may change its input in place, and the data are the caller's.
        source.run(batches.copied(batch).content, options)
    except Exception as error:
        odd = None if isinstance(error, UnfitError) else odd_kind(batch.content)  # what is unfit is said already
        if odd is not None:
            raise TypeError(
                f"batch {number} must be what the model takes, got {odd[0]} ({first_line(error)}): pass {odd[1]}."
            ) from error
        error.add_note(f"while running the model on batch {number} ({batches.describe(batch)})")
        if isinstance(error, TypeError) and options.forward is None and _ARGUMENTS.search(str(error)):
            error.add_note(
                "the batch must hold what the model's forward takes: say how it is given to the model, as in forward=lambda "
                "model, batch: model(batch['x']) of a mapping, or model(*batch) of a tuple"
            )
        raise
    if recorders[0].proves:
        prove(source, batch, options, recorders, recorders[0].before)
    for recorder in recorders:
        recorder.drop_contradicted()
    return [recorder.finish_batch(remaining, number) for recorder in recorders]


def _learn_masks(source: Source, batch: batches.Batch, options: Options, recorders: Sequence[Recorder]) -> None:
    """Find out which mask belongs to which layer, where a batch has several inputs."""
    sequences = input_sequences(batch.content, batch.size)
    one_rule = options.mask is not None and not isinstance(options.mask, Mapping)
    several = len(sequences) > 1 and not one_rule
    depends_on = (
        sequences_of_layers(source, batch, options, recorders, sequences) if several else [{} for _ in recorders]
    )
    foreign_masks = foreign_masks_of(source, batch, options, recorders, () if one_rule else sequences)
    for recorder, known, (masks, free) in zip(recorders, depends_on, foreign_masks, strict=True):
        recorder.masks.learn(sequences, {name: frozenset() for name in free} | known, masks)


def give_warnings(recorder: Recorder, *, unknown: bool = False, notes: Sequence[str] = ()) -> None:
    """Say which layers nobody named were left out, and what could not be known of those taken, or of who the rows are."""
    messages = [*notes, *([_UNDIGESTED] if unknown else []), *_notes_on(recorder.found)]
    if digits := recorder.sketched.too_few_digits(recorder.found.skipped):
        messages.append(digits)
    give([Caution(ExtractionWarning, message) for message in messages])


def _notes_on(found: LayerFindings) -> Iterator[str]:
    if found.skipped:
        omitted = listed(f"{name} ({why})" for name, why in found.skipped.items())
        yield (
            f"left out, because nobody named them and they cannot be taken as they are: {omitted}. Name layers to choose them "
            f"yourself, say where the examples lie with axis=, or pass reduce=function(output, mask)"
            f"{f'; {found.hint}' if found.hint else ''}."
        )
    if unproved := found.unproved():
        yield (
            f"{listed(unproved)}: it could not be tried whether the first axis is that of the examples, and another has the same "
            f"size: give batches of different sizes, or say so, axis=0."
        )
    if mixing := [name for name in found.mixing if name not in found.skipped]:
        yield (
            f"{listed(mixing)}: values depend on the other examples of the batch, since quantised layers round by its largest "
            f"value: compare models with the same batches, and look for outliers."
        )
    if unmasked := {name: padding for name, padding in found.unmasked.items() if name not in found.skipped}:
        yield unmasked_padding_sentence(unmasked)
    if tokenless := {name: said for name, said in found.tokenless.items() if name not in found.skipped}:
        yield tokenless_sentence(tokenless)
    if random := found.random:
        yield (
            f"{listed(random)}: other values at every run, as by sampling or dropout that is always on: seed the model, or "
            f"compare layers before it."
        )
