"""Running two models over the same batches, and adding what their layers put out to a state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.activations import UNKNOWN_MODULE, with_norms
from homolog.arrays import described
from homolog.engine.result import module_coordinates, sinks_attribute
from homolog.extraction import batches
from homolog.extraction.adapters import source_of
from homolog.extraction.batch_contents import is_items, is_texts, layout_of
from homolog.extraction.batch_output import BatchOutput
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder
from homolog.extraction.session import give_warnings, run_batch
from homolog.extraction.sources import Source
from homolog.extraction.tensors import is_packed, is_tensor, is_torch, loaded_torch
from homolog.extraction.texts import reading_texts
from homolog.progress import progress_bar
from homolog.states.batch_grams import BatchGram, BatchGrams
from homolog.states.compared_layers import ComparedLayers
from homolog.states.minibatch import FEWEST, MinibatchHSIC
from homolog.states.moments import Moments

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class TwoModels:
    """Two models, their data and options; no data for b where both see the same."""

    models: tuple[Any, Any]
    data: tuple[Any, Any]
    options: tuple[Options, Options]
    rng: np.random.Generator

    @property
    def one_forward(self) -> bool:
        """Whether one forward serves both sides."""
        return (
            self.models[0] is self.models[1]
            and self.data[1] is None
            and self.options[0].forward is self.options[1].forward
        )

    @property
    def same(self) -> bool:
        """Whether a model is compared with itself."""
        first, second = self.options
        return self.one_forward and first.layers == second.layers and first.reduce == second.reduce


def run(pair: TwoModels, *, exact: bool, measures: Any, passes: int, level: float) -> xarray.Dataset:
    """Run both models over the data, and return the result of the state."""
    pair = _reading_texts(pair)
    sources = [source_of(model, options) for model, options in zip(pair.models, pair.options, strict=True)]
    settled = [source.settled(options) for source, options in zip(sources, pair.options, strict=True)]
    pair = replace(pair, options=(settled[0], settled[1]))
    state: Moments | MinibatchHSIC = Moments() if exact else MinibatchHSIC()
    state.titles = (sources[0].title, sources[1].title)
    recorders = [_recorder(pair, sources, exact, side) for side in range(1 if pair.same else 2)]
    total = batches.count_examples(pair.data[0], pair.options[0])
    steps = None if total is None else passes * total
    with progress_bar("comparing", steps, pair.options[0].progress, unit="example") as bar, ExitStack() as stack:
        for source in sources:
            stack.enter_context(source.lent(pair.options[0].device))
        for number, recorder in enumerate(recorders):
            stack.enter_context(sources[0 if pair.one_forward else number].attached(recorder))
        runner = Runner(pair, sources, recorders)
        for number in range(passes):
            if number and isinstance(state, MinibatchHSIC):
                state.new_pass()
            _one_pass(runner, state, bar)
    for recorder in recorders:
        give_warnings(recorder)
    chosen = {} if measures is None else {"measures": measures}
    found = state.finalise(**chosen) if isinstance(state, Moments) else state.finalise(**chosen, level=level)
    layers = []
    for side, recorder in zip("ab", [recorders[0], recorders[-1]], strict=True):
        known = with_norms(recorder.modules, recorder.norms)
        made = [known.get(name, UNKNOWN_MODULE) for name in map(str, found[f"layer_{side}"].values)]
        found = found.assign_coords(module_coordinates(side, f"layer_{side}", made))
        layers += [(str(found.attrs[f"model_{side}"]), name, one) for name, one in known.items()]
    return found.assign_attrs(sinks_attribute(list(dict.fromkeys(layers))))


def _reading_texts(pair: TwoModels) -> TwoModels:
    """Return data and options by which models that bring their tokenizers take texts."""
    (model_a, model_b), (data, data_b), (options_a, options_b) = pair.models, pair.data, pair.options
    once = model_a is model_b and data_b is None and options_a.forward is options_b.forward
    data, options_a = reading_texts(model_a, data, options_a)
    if once:
        options_b = replace(options_b, forward=options_a.forward, mask=options_a.mask, ids=options_a.ids)
    elif data_b is None:
        data, options_b = reading_texts(model_b, data, options_b)
    else:
        data_b, options_b = reading_texts(model_b, data_b, options_b)
    return replace(pair, data=(data, data_b), options=(options_a, options_b))


def _recorder(pair: TwoModels, sources: list[Source], exact: bool, side: int) -> Recorder:
    selection = sources[side].selection(pair.options[side].layers)
    if exact:
        return Recorder(selection, pair.options[side])  # which copies to the host

    grams = BatchGrams()

    def gram(name: str, features: Any) -> BatchGram:
        # At once, because what runs later may change the output in place; and nothing of its size is kept.
        return grams.of(features, f"layer {name!r} of {'ab'[side]}")

    return Recorder(selection, pair.options[side], gram)


def _one_pass(runner: Runner, state: Any, bar: Any) -> None:
    examples, limit = 0, runner.pair.options[0].max_examples
    for index, raws in enumerate(_raw_batches(runner.pair)):
        taken = runner.taken(raws, index + 1, examples, None if limit is None else limit - examples)
        _add(state, taken, runner.pair.same)
        count = taken[0].examples
        del taken  # before the next batch puts out as much again
        examples += count
        bar.update(count)
        if examples == limit:
            break
    if not examples:
        raise ValueError(
            "data must hold at least one batch, got none: an iterator may have been consumed before, and several passes need "
            "data that can be read again."
        )


@dataclass(frozen=True)
class Runner:
    """Models where they run, and what records them."""

    pair: TwoModels
    sources: list[Source]
    recorders: list[Recorder]

    def taken(self, raws: tuple[Any, ...], number: int, start: int, remaining: int | None) -> list[BatchOutput]:
        """Run a batch, before which `start` examples of the data were run."""
        sides = 1 if self.pair.one_forward else 2
        prepared = [
            replace(batches.prepare_batch(raw, options, source, digested=False), start=start)
            for raw, options, source in zip((raws * 2)[:sides], self.pair.options, self.sources, strict=False)
        ]
        if prepared[0].size != prepared[-1].size:
            raise ValueError(
                f"data_b must hold the same examples as data, got {prepared[-1].size} in batch {number} for "
                f"{prepared[0].size}: batch both alike."
            )
        if self.pair.one_forward:
            return run_batch(self.sources[0], prepared[0], self.pair.options[0], self.recorders, number, remaining)
        several = zip(self.sources, prepared, self.pair.options, self.recorders, strict=True)
        return [
            run_batch(source, batch, options, [recorder], number, remaining)[0]
            for source, batch, options, recorder in several
        ]


def _add(state: Any, taken: list[BatchOutput], same: bool) -> None:
    a, b = taken[0].features, None if same else taken[1].features
    if state.sides is not None:
        places = state.sides.places_of([a] if b is None else [a, b])
        if len(places) < len(state.sides.keys):  # a layer has shown that its rows are not the examples
            state.keep(places)
    if isinstance(state, Moments):
        state.update(a, b)
        return
    layers = [a] if b is None else [a, b]
    sides = state.sides or ComparedLayers.of([{name: int(x.shape[1]) for name, x in side.items()} for side in layers])
    sizes = sorted({len(x) for side in layers for x in side.values()})
    if len(sizes) > 1:
        raise ValueError(
            f"all layers of both models must have as many rows in a batch, got {sizes}: choose layers or a reduction."
        )
    if sizes[0] < FEWEST:
        raise ValueError(f"a batch must hold at least {FEWEST} rows, got {sizes[0]}: use larger batches.")
    state.add(sides, [x for side in layers for x in side.values()])


def _raw_batches(pair: TwoModels) -> Iterator[tuple[Any, ...]]:
    """Yield the batches of both sides, of arrays in one random order; one of fewer than four examples joins the one before it."""
    held: tuple[Any, ...] | None = None
    for batch in _split(pair):
        size = _length(batch[0])
        if held is not None and size is not None and size < FEWEST:
            batch = tuple(_joined(first, second) for first, second in zip(held, batch, strict=True))
        elif held is not None:
            yield held
        held = batch
    if held is not None:
        yield held


def _length(raw: Any) -> int | None:
    """Return the examples of a batch; None where batches cannot be put together, or nobody can know before it is prepared."""
    layout = layout_of(raw)
    return None if layout is None or layout.kind == "whole" or is_packed(layout.main) else layout.size


def _joined(first: Any, second: Any) -> Any:
    """Put two batches of one kind together."""
    if is_items(first) or (isinstance(first, list) and not any(map(_is_rows, first))):
        return first + second
    if is_torch(first) and first.ndim:
        return loaded_torch().cat([first, second])
    if isinstance(first, np.ndarray) and first.ndim:
        return np.concatenate([first, second])
    if isinstance(first, Mapping):
        return {key: _joined(value, second[key]) for key, value in first.items()}
    if isinstance(first, tuple | list):
        parts = [_joined(*both) for both in zip(first, second, strict=True)]
        return type(first)(parts)
    return first


def _is_rows(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray | list | tuple | Mapping)


def _split(pair: TwoModels) -> Iterator[tuple[Any, ...]]:
    """Yield the batches of both sides as they are given, or cut."""
    data, data_b = pair.data
    if isinstance(data, Mapping) and not batches.size_of(data)[1]:
        yield (data,) if data_b is None else (data, data_b)
        return
    if is_tensor(data) or isinstance(data, np.ndarray | Mapping) or is_texts(data):
        size = batches.count_examples(data, replace(pair.options[0], max_examples=None)) or 0
        order = pair.rng.permutation(size)
        for start in range(0, size, pair.options[0].batch_size):
            part = order[start : start + pair.options[0].batch_size]
            yield tuple(_rows(side, part, size) for side in ((data,) if data_b is None else (data, data_b)))
        return
    if data_b is None:
        # Both see the same batch, in whatever order it comes.
        yield from ((batch,) for batch in _iterable(data))
        return
    for first, second in zip_longest(
        batches.raw_batches(data, pair.options[0]), batches.raw_batches(data_b, pair.options[1])
    ):
        if first is None or second is None:
            raise ValueError(
                "data_b must have as many batches as data, got another number: both must hold the same examples."
            )
        yield first, second


def _iterable(data: Any) -> Any:
    if isinstance(data, str | bytes) or not hasattr(data, "__iter__"):
        raise TypeError(
            f"data must be a tensor, an array, a mapping of tensors, or an iterable of batches, got {described(data)}."
        )
    return data


def _rows(data: Any, part: np.ndarray, size: int) -> Any:
    if isinstance(data, Mapping):
        return {
            key: _rows(value, part, size) if batches.has_rows(value, size) else value for key, value in data.items()
        }
    if not (is_tensor(data) or isinstance(data, np.ndarray | list)) or len(data) != size:
        got = f"{len(data)} rows" if hasattr(data, "__len__") else described(data)
        raise ValueError(f"data_b must hold the same examples as data ({size} rows), got {got}.")
    if isinstance(data, list):
        return [data[int(i)] for i in part]
    return data[loaded_torch().from_numpy(part)] if is_torch(data) else data[part]
