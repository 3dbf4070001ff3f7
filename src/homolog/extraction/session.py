"""One extraction from start to end: the model is borrowed, and given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from homolog.activations import Activations
from homolog.arrays import described
from homolog.cautions import Caution, ExtractionWarning, give, listed
from homolog.extraction import batches
from homolog.extraction.layers import select
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder


def run(model: Any, data: Any, options: Options) -> Activations:
    """Run the model over the data and collect."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {described(model)}.")
    model = unwrapped(model)
    recorder = Recorder(select(model, options.layers), options)
    total = batches.count(data, options)
    ids: list[np.ndarray | None] = []
    digests: list[np.ndarray] = []
    examples = 0
    hidden = None if options.progress is None else not options.progress
    with borrowed(model, options.device) as (device, dtype), attached(recorder):
        bar = tqdm(total=total, desc="extracting", unit="example", delay=1, leave=False, disable=hidden)
        with bar:
            for index, raw in enumerate(batches.read(data, options)):
                taken, batch = _one_batch(model, raw, options, device, dtype, recorder, index, examples)
                ids.append(None if batch.ids is None else batch.ids[:taken])
                digests.append(batch.digests[:taken])
                examples += taken
                bar.update(taken)
                recorder.check_memory(examples, total)
                if examples == options.limit:
                    break  # before the next batch is read
    if not examples:
        raise ValueError("data must hold at least one batch, got none: an iterator may have been consumed before.")
    _tell_skipped(recorder)
    return _assembled(recorder, options, model, examples, ids, np.concatenate(digests))


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside torch.compile, DataParallel and DistributedDataParallel: the same weights, on one device."""
    inner: Any = model
    while True:
        if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = inner.module
        elif hasattr(inner, "_orig_mod"):
            inner = inner._orig_mod
        else:
            return inner


def _one_batch(
    model: nn.Module,
    raw: Any,
    options: Options,
    device: torch.device,
    dtype: torch.dtype | None,
    recorder: Recorder,
    index: int,
    before: int,
) -> tuple[int, batches.Batch]:
    batch = batches.prepare(raw, options, device, dtype)
    recorder.begin(batch)
    try:
        batches.call(model, batch, options)
    except Exception as error:
        error.add_note(
            f"while running the model on batch {index + 1} (first tensor of shape {tuple(batch.main.shape)})"
        )
        raise
    return recorder.end(None if options.limit is None else options.limit - before), batch


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
        reason = (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
        raise ValueError(f"device must be one that PyTorch can use here, got {device!r}: {reason}.") from error


@contextmanager
def attached(recorder: Recorder) -> Iterator[None]:
    """Attach the hooks, and remove them whatever happens."""
    handles = recorder.attach()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tell_skipped(recorder: Recorder) -> None:
    if recorder.skipped:
        told = listed(f"{name} ({why})" for name, why in recorder.skipped.items())
        message = f"left out, because their first axis is not the batch: {told}. Name layers to choose them yourself."
        give([Caution(ExtractionWarning, message)], stacklevel=3)


def _assembled(
    recorder: Recorder, options: Options, model: nn.Module, examples: int, ids: list[Any], digests: np.ndarray
) -> Activations:
    example, position = _rows(recorder)
    identity = _example_ids(options, examples, ids)
    by_position = position is not None
    if identity is None and by_position:
        identity = np.arange(examples)
    arrays = {}
    for name in list(recorder.chunks):
        # Layer by layer, so that no more than one layer exists twice.
        arrays[name] = np.concatenate(recorder.chunks.pop(name))
    return Activations(
        arrays,
        example_ids=None if identity is None else identity[example],
        positions=position,
        digests=digests[example],
        provenance={
            "model": type(model).__name__,
            "reduce": _told(options.reduce),
            "channels": options.channels,
            "torch": torch.__version__,
        },
    )


def _rows(recorder: Recorder) -> tuple[np.ndarray, np.ndarray | None]:
    offsets = np.cumsum([0, *recorder.sizes])
    example = np.concatenate([rows[0] + start for rows, start in zip(recorder.rows, offsets, strict=False)])
    positions = [rows[1] for rows in recorder.rows]
    if any(position is None for position in positions):
        return example, None
    return example, np.concatenate([position for position in positions if position is not None])


def _example_ids(options: Options, examples: int, carried: list[Any]) -> np.ndarray | None:
    if options.example_ids is None:
        return None
    if isinstance(options.example_ids, str) or callable(options.example_ids):
        given = np.concatenate(carried)
    else:
        given = np.asarray(options.example_ids)
    if len(given) < examples or (options.limit is None and len(given) != examples):
        raise ValueError(f"example_ids must give one id per example ({examples}), got {len(given)}.")
    _, counts = np.unique(given[:examples], return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"example_ids must differ, got {int((counts > 1).sum())} of them more than once.")
    return given[:examples]


def _told(reduce: Any) -> str:
    if isinstance(reduce, dict):
        return ", ".join(f"{pattern}: {_told(rule)}" for pattern, rule in reduce.items())
    return reduce if isinstance(reduce, str) else getattr(reduce, "__name__", type(reduce).__name__)
