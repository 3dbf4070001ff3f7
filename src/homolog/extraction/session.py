"""One extraction from start to end: the model is borrowed, and given back as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from homolog.activations import Activations
from homolog.arrays import described
from homolog.diagnostics import Caution, ExtractionWarning, give, listed
from homolog.extraction import batches
from homolog.extraction.in_memory import InMemory
from homolog.extraction.input_checks import odd_kind
from homolog.extraction.input_dependence import sequences_of_layers
from homolog.extraction.into_store import IntoStore, destination_of
from homolog.extraction.layer_selection import select
from homolog.extraction.masked_positions import foreign_masks_of
from homolog.extraction.masks import input_sequences
from homolog.extraction.options import Options
from homolog.extraction.proof import prove
from homolog.extraction.recorder import BatchOutput, Recorder
from homolog.extraction.reductions import UnfitError
from homolog.extraction.suspected_padding import unmasked_padding_sentence
from homolog.extraction.texts import reading_texts
from homolog.extraction.wrappers import unwrapped
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
    model = unwrapped(model)
    check_model(model)
    recorder = Recorder(select(model, options.layers), options)
    total = batches.count_examples(data, options)
    with destination_of(model, data, options, total) as sink:
        if not sink.finished:
            recorder.stored = sink.layers
            with borrowed(model, options.device) as (device, dtype), recorder.attached():
                _run_batches(model, data, options, recorder, sink, total, (device, dtype))
            give_warnings(recorder, unknown=sink.unknown)
        return sink.result()


def check_model(model: Any) -> None:
    """Raise unless a model is one of PyTorch's that can be heard."""
    if isinstance(model, torch.export.ExportedProgram):
        raise TypeError(
            "model must be a torch.nn.Module, got an exported program: pass torch.export.unflatten(program), whose layers run as "
            "modules, or the model it was exported from."
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {described(model)}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"model must be run by Python, got a {type(model).__name__}, and TorchScript runs no hooks: pass the model that it "
            f"was scripted or traced from."
        )


def _check_weights(tensors: list[torch.Tensor]) -> None:
    missing = sum(tensor.is_meta for tensor in tensors)
    if missing:
        raise ValueError(
            f"model must have its weights in memory, got {missing} of {len(tensors)} tensors on the meta device, as of a model "
            f"that was offloaded or not loaded: load it whole on one device, for instance without device_map or offload_folder."
        )


def _run_batches(
    model: nn.Module,
    data: Any,
    options: Options,
    recorder: Recorder,
    sink: InMemory | IntoStore,
    total: int | None,
    where: tuple[torch.device, torch.dtype | None],
) -> None:
    examples, lone = 0, False
    with progress_bar("extracting", total, options.progress, unit="example") as bar:
        for index, raw in enumerate(batches.raw_batches(data, options)):
            batch = batches.prepare_batch(raw, options, *where, lone=lone)
            lone = batch.layout.kind == "items"
            remaining = None if options.max_examples is None else options.max_examples - examples
            if sink.has(batch, examples, remaining):
                count = batch.wanted(remaining)
            else:
                (found,) = run_batch(model, batch, options, [recorder], index + 1, remaining)
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
    model: nn.Module,
    batch: batches.Batch,
    options: Options,
    recorders: Sequence[Recorder],
    number: int,
    remaining: int | None,
) -> list[BatchOutput]:
    """Run the model on a batch, and return what the recorders took of at most `remaining` examples."""
    first = recorders[0].n_batches == 0
    if first:
        _learn_masks(model, batch, options, recorders)
    for recorder in recorders:
        recorder.start_batch(batch)
    try:
        # A copy, since a model may change its input in place, and the data are the caller's.
        batches.call_model(model, batches.copied(batch), options)
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
        prove(model, batch, options, recorders, recorders[0].before)
    for recorder in recorders:
        recorder.drop_contradicted()
    return [recorder.finish_batch(remaining, number) for recorder in recorders]


def _learn_masks(model: nn.Module, batch: batches.Batch, options: Options, recorders: Sequence[Recorder]) -> None:
    """Find out which mask belongs to which layer, where a batch has several inputs."""
    sequences = input_sequences(batch.content, batch.size)
    one_rule = options.mask is not None and not isinstance(options.mask, Mapping)
    several = len(sequences) > 1 and not one_rule
    depends_on = (
        sequences_of_layers(model, batch, options, recorders, sequences) if several else [{} for _ in recorders]
    )
    foreign_masks = foreign_masks_of(model, batch, options, recorders, () if one_rule else sequences)
    for recorder, known, (masks, free) in zip(recorders, depends_on, foreign_masks, strict=True):
        recorder.learn(sequences, {name: frozenset() for name in free} | known, masks)


@contextmanager
def borrowed(model: nn.Module, device: Any) -> Iterator[tuple[torch.device, torch.dtype | None]]:
    """Put the model in evaluation mode without gradients, on a device; restore everything whatever happens."""
    flags = [(module, module.training) for module in model.modules()]
    tensors = [*model.parameters(), *model.buffers()]
    homes = {tensor.device for tensor in tensors}
    home = tensors[0].device if tensors else torch.device("cpu")
    target = home if device is None else _device(device)
    floating = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    if target != home and len(homes) > 1:
        raise ValueError(f"device must be left out for a model on several devices, got {target}.")
    _check_weights(tensors)
    try:
        model.eval()
        if target != home:
            model.to(target)
        # The fused path of transformer layers calls no submodule, hence no hook.
        torch.backends.mha.set_fastpath_enabled(False)
        # A compiled graph knows no hooks that came after it.
        eager = getattr(torch.compiler, "set_stance", nullcontext)  # new in PyTorch 2.6
        with torch.no_grad(), eager("force_eager"):
            yield target, floating.pop() if len(floating) == 1 else None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        if target != home:
            model.to(home)
        for module, flag in flags:
            module.training = flag


def _device(device: Any) -> torch.device:
    """Return a device after putting one number on it."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device must be one that PyTorch can use here, got {device!r}: {first_line(error)}."
        ) from error


def give_warnings(recorder: Recorder, *, unknown: bool = False) -> None:
    """Say which layers nobody named were left out, and what could not be known of those taken, or of who the rows are."""
    messages = ([_UNDIGESTED] if unknown else []) + list(_notes_on(recorder))
    give([Caution(ExtractionWarning, message) for message in messages])


def _notes_on(recorder: Recorder) -> Iterator[str]:
    if recorder.skipped:
        omitted = listed(f"{name} ({why})" for name, why in recorder.skipped.items())
        yield (
            f"left out, because nobody named them and they cannot be taken as they are: {omitted}. Name layers to choose them "
            f"yourself, say where the examples lie with axis=, or pass reduce=function(output, mask)"
            f"{f'; {recorder.hint}' if recorder.hint else ''}."
        )
    if unproved := recorder.unproved():
        yield (
            f"{listed(unproved)}: it could not be tried whether the first axis is that of the examples, and another has the same "
            f"size: give batches of different sizes, or say so, axis=0."
        )
    if mixing := [name for name in recorder.mixing if name not in recorder.skipped]:
        yield (
            f"{listed(mixing)}: values depend on the other examples of the batch, since quantised layers round by its largest "
            f"value: compare models with the same batches, and look for outliers."
        )
    if unmasked := {name: padding for name, padding in recorder.unmasked.items() if name not in recorder.skipped}:
        yield unmasked_padding_sentence(unmasked)
    if recorder.random:
        yield (
            f"{listed(recorder.random)}: other values at every run, as by sampling or dropout that is always on: seed the model, "
            f"or compare layers before it."
        )
