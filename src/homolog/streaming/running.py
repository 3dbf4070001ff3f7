"""Running two models over the same batches, and adding what their layers put out to a state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from homolog.arrays import described
from homolog.extraction import batches
from homolog.extraction.layers import select
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder, Taken
from homolog.extraction.session import attached, borrowed, check_model, taken_of, tell_skipped, unwrapped
from homolog.streaming.layers import Sides
from homolog.streaming.minibatch import MinibatchHSIC
from homolog.streaming.moments import Moments

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Pair:
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
        return self.one_forward and self.options[0].layers == self.options[1].layers


def run(pair: Pair, *, exact: bool, measures: Any, passes: int, level: float) -> xarray.Dataset:
    """Run both models over the data, and return the result of the state."""
    for model in pair.models:
        check_model(model)
    models = [unwrapped(model) for model in pair.models]
    state: Moments | MinibatchHSIC = Moments() if exact else MinibatchHSIC()
    state.titles = (type(models[0]).__name__, type(models[1]).__name__)
    recorders = [_recorder(pair, models, state, side) for side in range(1 if pair.same else 2)]
    hidden = None if pair.options[0].progress is None else not pair.options[0].progress
    total = batches.count(pair.data[0], pair.options[0])
    bar = tqdm(
        total=None if total is None else passes * total,
        desc="comparing",
        unit="example",
        delay=1,
        leave=False,
        disable=hidden,
    )
    with bar, ExitStack() as stack:
        homes = [stack.enter_context(borrowed(model, pair.options[0].device)) for model in models]
        for recorder in recorders:
            stack.enter_context(attached(recorder))
        for number in range(passes):
            if number and isinstance(state, MinibatchHSIC):
                state.new_pass()
            _one_pass(pair, models, homes, recorders, state, bar)
    for recorder in recorders:
        tell_skipped(recorder)
    chosen = {} if measures is None else {"measures": measures}
    return state.finalise(**chosen) if isinstance(state, Moments) else state.finalise(**chosen, level=level)


def _recorder(pair: Pair, models: list[nn.Module], state: Moments | MinibatchHSIC, side: int) -> Recorder:
    selection = select(models[side], pair.options[side].layers)
    if isinstance(state, Moments):
        return Recorder(selection, pair.options[side])

    def near(name: str, features: torch.Tensor) -> Any:
        # A copy at once, because what runs later may change the output in place.
        return state.near(("ab"[side], name), features)

    return Recorder(selection, pair.options[side], near)


def _one_pass(
    pair: Pair, models: list[nn.Module], homes: list[Any], recorders: list[Recorder], state: Any, bar: tqdm
) -> None:
    examples = 0
    for index, raws in enumerate(_raw_batches(pair)):
        remaining = None if pair.options[0].limit is None else pair.options[0].limit - examples
        prepared = [
            batches.prepare(raw, options, *home) for raw, options, home in zip(raws, pair.options, homes, strict=False)
        ]
        if len(prepared) == 2 and prepared[0].size != prepared[1].size:
            raise ValueError(
                f"data_b must hold the same examples as data, got {prepared[1].size} in batch {index + 1} for "
                f"{prepared[0].size}: batch both alike."
            )
        _add(state, _taken(pair, models, prepared, recorders, index + 1, remaining), pair.same)
        taken = prepared[0].size if remaining is None else min(prepared[0].size, remaining)
        examples += taken
        bar.update(taken)
        if examples == pair.options[0].limit:
            break
    if not examples:
        raise ValueError(
            "data must hold at least one batch, got none: an iterator may have been consumed before, and several passes need "
            "data that can be read again."
        )


def _taken(
    pair: Pair,
    models: list[nn.Module],
    prepared: list[batches.Batch],
    recorders: list[Recorder],
    number: int,
    remaining: int | None,
) -> list[Taken]:
    if not pair.one_forward:
        return [
            taken_of(model, batch, options, recorder, number, remaining)
            for model, batch, options, recorder in zip(models, _both(prepared), pair.options, recorders, strict=True)
        ]
    for recorder in recorders[1:]:
        recorder.begin(prepared[0])
    first = taken_of(models[0], prepared[0], pair.options[0], recorders[0], number, remaining)
    return [first, *(recorder.end(remaining, number) for recorder in recorders[1:])]


def _both(prepared: list[batches.Batch]) -> list[batches.Batch]:
    return prepared if len(prepared) == 2 else prepared * 2


def _add(state: Any, taken: list[Taken], same: bool) -> None:
    a, b = taken[0].features, None if same else taken[1].features
    if isinstance(state, Moments):
        state.update(a, b)
        return
    sides = state.sides or Sides(a, b)
    state.add(sides, sides.arrays(a, b))


def _raw_batches(pair: Pair) -> Iterator[tuple[Any, ...]]:
    """Yield the batches of both sides, of arrays in one random order."""
    data, data_b = pair.data
    if isinstance(data, torch.Tensor | np.ndarray | Mapping):
        size = batches.count(data, Options(**{**vars(pair.options[0]), "limit": None})) or 0
        order = pair.rng.permutation(size)
        for start in range(0, size, pair.options[0].batch_size):
            part = order[start : start + pair.options[0].batch_size]
            yield tuple(_rows(side, part, size) for side in ((data,) if data_b is None else (data, data_b)))
        return
    if data_b is None:
        # Both see the same batch, in whatever order it comes.
        yield from ((batch,) for batch in _iterable(data))
        return
    for first, second in zip_longest(batches.read(data, pair.options[0]), batches.read(data_b, pair.options[1])):
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
    if not isinstance(data, torch.Tensor | np.ndarray | list) or len(data) != size:
        got = f"{len(data)} rows" if hasattr(data, "__len__") else described(data)
        raise ValueError(f"data_b must hold the same examples as data ({size} rows), got {got}.")
    if isinstance(data, list):
        return [data[int(i)] for i in part]
    return data[torch.from_numpy(part)] if isinstance(data, torch.Tensor) else data[part]
