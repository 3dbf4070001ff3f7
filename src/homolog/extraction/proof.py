"""Proof that the rows of a layer are the examples: part of a batch must give the rows of that part."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from homolog.extraction import batches
from homolog.extraction.batches import Batch
from homolog.extraction.masks import Stream
from homolog.extraction.outputs import output_of
from homolog.extraction.reductions import Rows, UnfitError

if TYPE_CHECKING:
    from homolog.extraction.options import Options
    from homolog.extraction.recorder import Recorder

SPREAD_ROWS = 8
"""Rows of a layer whose differences say what is more than rounding."""
FLOAT64, FLOAT32, ACCELERATED, COARSE = 1e-6, 1e-3, 1e-2, 0.1
"""Differences, as parts of the spread of a layer, that another size of the batch may make: in float64, in float32, on a device
that may round products to fewer digits, and with half precision or quantised weights."""


class Sample(NamedTuple):
    """Rows of one layer for the examples that are tried."""

    rows: torch.Tensor
    spread: float
    """Largest difference between rows."""
    largest: float
    coarse: bool


def some_of(size: int) -> list[int]:
    """Return which examples to try: another number of them than the batch holds, with other neighbours.

    In their order, because sequences may have to be sorted by their lengths, and with the first, which is then the longest.
    """
    if size == 1:
        return [0, 0]
    return [0, 1, 1] if size == 2 else [0, size - 1]


def sample_of(rows: Rows, index: Sequence[int]) -> Sample:
    """Keep the rows of some examples; a copy, because what runs later may change the output in place."""
    few = rows.features[:SPREAD_ROWS].detach().double()
    spread = float((few.amax(0) - few.amin(0)).amax()) if few.numel() else 0.0
    largest = float(few.abs().amax()) if few.numel() else 0.0
    return Sample(rows_at(rows, index), spread, largest, rows.features.dtype in (torch.float16, torch.bfloat16))


def rows_at(rows: Rows, index: Sequence[int]) -> torch.Tensor:
    """Copy the rows of some examples."""
    features = rows.features.detach()
    if rows.example is None:
        return features[list(index)].clone()
    return torch.cat([features[rows.example == i] for i in index])


def prove(model: nn.Module, batch: Batch, options: Options, recorders: Sequence[Recorder]) -> None:
    """Try part of a batch on a model, and tell the recorders which layers follow the examples and which do not."""
    if batch.layout.kind == "whole":
        return
    index = some_of(batch.size)
    several = list(range(len(index)))
    found = _try(model, batch, index, several, options, recorders)
    again = None
    if found is None or any(_is_other_shape(r.samples, rows) for r, rows in zip(recorders, found, strict=True)):
        # A model of one size of batch, or sequences as long as the longest of the batch: all examples, the other way round.
        turned = list(range(batch.size))[::-1]
        again = (
            _try(model, batch, turned, [turned.index(i) for i in index], options, recorders) if batch.size > 1 else None
        )
    if found is not None and any(_differs(r, rows, model) for r, rows in zip(recorders, found, strict=True)):
        repeated = _try(model, batch, index, several, options, recorders, seed=1)
    else:
        repeated = None
    for number, recorder in enumerate(recorders):
        first, second, third = (None if tried is None else tried[number] for tried in (found, again, repeated))
        for name, sample in recorder.samples.items():
            _judge(recorder, name, sample, _Tries(first, second, third), model)


Tried = Mapping[str, torch.Tensor | UnfitError | None]
"""Layer → its rows, or how it does not fit; None where its reduction failed."""


class _Tries(NamedTuple):
    part: Tried | None
    turned: Tried | None
    repeated: Tried | None


def _judge(recorder: Recorder, name: str, sample: Sample, tries: _Tries, model: nn.Module) -> None:
    """Say of one layer whether it follows the examples, as far as it could be tried."""
    rows = None if tries.part is None else tries.part.get(name)
    if isinstance(rows, UnfitError):
        recorder.contradicted[name] = f"with {len(sample.rows)} examples it has {rows.reason}"
        return
    asserted = recorder.options.axis_of(name) is not None
    if rows is not None and rows.shape == sample.rows.shape:
        difference = _difference(sample, rows)
        if difference <= _tolerance(sample, recorder, model) or asserted:
            recorder.proved.add(name)
            return
        repeated = None if tries.repeated is None else tries.repeated.get(name)
        if isinstance(repeated, torch.Tensor) and _difference(sample._replace(rows=rows), repeated) > 0:
            recorder.random.append(name)
            recorder.proved.add(name)
            return
        recorder.contradicted[name] = "its rows change with the other examples of the batch"
        return
    turned = None if tries.turned is None else tries.turned.get(name)
    if isinstance(turned, torch.Tensor) and turned.shape == sample.rows.shape:
        if _difference(sample, turned) <= _tolerance(sample, recorder, model):
            recorder.proved.add(name)
        elif not asserted:
            recorder.contradicted[name] = "its rows do not follow the examples"
    elif isinstance(rows, torch.Tensor) and not asserted:
        recorder.contradicted[name] = "its features change with the number of examples"


def _is_other_shape(samples: Mapping[str, Sample], rows: Tried) -> bool:
    """Say whether a layer has other features or positions for part of a batch."""
    shapes = {name: found.shape for name, found in rows.items() if isinstance(found, torch.Tensor)}
    return any(name in shapes and shapes[name] != sample.rows.shape for name, sample in samples.items())


def _differs(recorder: Recorder, rows: Tried, model: nn.Module) -> bool:
    for name, sample in recorder.samples.items():
        found = rows.get(name)
        if not isinstance(found, torch.Tensor) or found.shape != sample.rows.shape:
            continue
        if _difference(sample, found) > _tolerance(sample, recorder, model):
            return True
    return False


def _difference(sample: Sample, rows: torch.Tensor) -> float:
    first, second = sample.rows.double(), rows.double()
    same = (first == second) | (first.isnan() & second.isnan())
    apart = torch.where(same, 0.0, (first - second).abs()).nan_to_num(nan=torch.inf)
    return float(apart.amax()) if apart.numel() else 0.0


def _tolerance(sample: Sample, recorder: Recorder, model: nn.Module) -> float:
    """Return the difference that rounding may make, in batches of another size."""
    dtype = sample.rows.dtype
    if recorder.is_coarse(model):
        part, spacing = COARSE, torch.finfo(torch.bfloat16).eps
    elif dtype == torch.float64:
        part, spacing = FLOAT64, torch.finfo(dtype).eps
    else:
        part = FLOAT32 if sample.rows.device.type == "cpu" else ACCELERATED
        spacing = torch.finfo(torch.float32).eps
    return part * sample.spread + 64 * spacing * sample.largest


def _try(
    model: nn.Module,
    batch: Batch,
    order: Sequence[int],
    places: Sequence[int],
    options: Options,
    recorders: Sequence[Recorder],
    *,
    seed: int = 0,
) -> list[Tried] | None:
    """Run some examples of a batch, and return the rows at some places of them, by layer; None where that fails."""
    tried = batches.part(batch, order)
    found: list[dict[str, Any]] = [{} for _ in recorders]

    def listener(recorder: Recorder, into: dict[str, Any]) -> Callable[[str, Any, nn.Module], None]:
        masks = recorder.masks_of(tried)

        def listen(name: str, output: Any, module: nn.Module) -> None:
            if name not in recorder.samples:
                return
            try:
                into[name] = rows_at(recorder.reduced(name, output, module, masks), places)
            except UnfitError as problem:
                into[name] = problem
            except Exception:
                into[name] = None

        return listen

    listeners = [listener(recorder, into) for recorder, into in zip(recorders, found, strict=True)]
    return list(found) if _run(model, tried, options, recorders, listeners, seed) else None


def _run(
    model: nn.Module,
    batch: Batch,
    options: Options,
    recorders: Sequence[Recorder],
    listeners: Sequence[Callable[..., None]],
    seed: int = 0,
) -> bool:
    """Run a batch for nothing but its shapes and values; say whether the model took it."""
    with ExitStack() as stack:
        for recorder, listen in zip(recorders, listeners, strict=True):
            stack.enter_context(recorder.listening(listen))
        stack.enter_context(_unchanged(model, seed))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        try:
            batches.call(model, batches.fresh(batch), options)
        except Exception:
            return False
    return True


@contextmanager
def _unchanged(model: nn.Module, seed: int) -> Iterator[None]:
    """Put back random generators and buffers after a trial, which draws the random numbers of a seed."""
    kept = [
        (module, name, held) for module in model.modules() for name, held in module._buffers.items() if held is not None
    ]
    copies = [held.clone() for _, _, held in kept]
    cuda = sorted({held.device.index or 0 for held in model.parameters() if held.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            for (module, name, held), copied in zip(kept, copies, strict=True):
                if not held.is_meta and not torch.equal(held, copied):
                    held.copy_(copied)
                module._buffers[name] = held


def owners_of(
    model: nn.Module, batch: Batch, options: Options, recorders: Sequence[Recorder], streams: Sequence[Stream]
) -> list[dict[str, frozenset[int]]]:
    """Say of every layer on which inputs it depends: those that change it when they are exchanged. Empty where that fails."""
    unknown: list[dict[str, frozenset[int]]] = [{} for _ in recorders]
    if len(streams) < 2 or batch.layout.kind != "rows":
        return unknown
    tried = batches.part(batch, some_of(batch.size))
    plain, repeated = (_outputs(model, tried, options, recorders) for _ in range(2))
    if plain is None or repeated is None:
        return unknown
    found: list[dict[str, set[int]]] = [{name: set() for name in layers} for layers in plain]
    for number, stream in enumerate(streams):
        other = {key: _exchanged(tried.content[key]) for key in stream.inputs}
        changed = None
        if any(not torch.equal(value, tried.content[key]) for key, value in other.items()):
            content = {**tried.content, **other}
            changed = _outputs(model, replace(tried, content=content), options, recorders)
        if changed is None:
            return unknown
        for layers, before, after in zip(found, plain, changed, strict=True):
            for name, owners in layers.items():
                if name in after and not _is_equal(before[name], after[name]):
                    owners.add(number)
    return [
        {name: frozenset(owners) for name, owners in layers.items() if _is_equal(before[name], after.get(name))}
        for layers, before, after in zip(found, plain, repeated, strict=True)
    ]


def _exchanged(values: torch.Tensor) -> torch.Tensor:
    """Return other values of the same kind: those of another example, at another place."""
    return values.flip(0).roll(1, dims=1)


def _is_equal(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    if second is None or first.shape != second.shape:
        return False
    return bool(((first == second) | (first.isnan() & second.isnan())).all())


def _outputs(
    model: nn.Module, batch: Batch, options: Options, recorders: Sequence[Recorder]
) -> list[dict[str, torch.Tensor]] | None:
    """Return what the layers put out; None where the model does not take the batch."""
    found: list[dict[str, torch.Tensor]] = [{} for _ in recorders]

    def listener(into: dict[str, torch.Tensor]) -> Callable[[str, Any, nn.Module], None]:
        def listen(name: str, output: Any, module: nn.Module) -> None:
            tensor = output_of(output).tensor
            if tensor is not None:
                into[name] = tensor.detach().clone()

        return listen

    return found if _run(model, batch, options, recorders, [listener(into) for into in found]) else None
