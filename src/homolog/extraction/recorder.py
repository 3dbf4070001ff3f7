"""Hooks that take what layers put out, the moment they put it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from homolog.activations import unknown_layer
from homolog.extraction import reductions
from homolog.extraction.batches import Batch
from homolog.extraction.layers import INPUT, Selection
from homolog.extraction.options import Options

CHANNELS_THEN_POSITIONS = (
    nn.Conv1d,
    nn.ConvTranspose1d,
    nn.BatchNorm1d,
    nn.InstanceNorm1d,
    nn.MaxPool1d,
    nn.AvgPool1d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
)
"""Modules whose three-axis output is (n, channels, positions), unlike that of every sequence model."""


class Taken(NamedTuple):
    """What the layers put out for one batch."""

    features: dict[str, Any]
    """Layer → (rows, features), in order of execution."""
    example: np.ndarray
    """(rows,) the example of the batch each row came from."""
    position: np.ndarray | None
    examples: int


class Recorder:
    """Takes reduced outputs, batch by batch, in order of execution; `take(layer, tensor)` makes what is to be kept of it."""

    def __init__(
        self, selection: Selection, options: Options, take: Callable[[str, torch.Tensor], Any] | None = None
    ) -> None:
        self.selection = selection
        self.options = options
        self.skipped: dict[str, str] = {}
        self._keep = take or self._stored
        self._batch: Batch | None = None
        self._calls: dict[str, int] = {}
        self._taken: dict[str, reductions.Rows] = {}
        self._expected: dict[str, int] | None = None
        self._widths: dict[str, int] = {}
        self._index = 0

    def attach(self) -> list[Any]:
        """Register a hook on every selected module and return the handles."""
        return [
            module.register_forward_hook(self._hook(name), always_call=False)
            for name, module in self.selection.modules.items()
        ]

    def _hook(self, name: str) -> Any:
        def take(module: nn.Module, arguments: Any, output: Any) -> None:
            if self._batch is None:
                return
            self._calls[name] = calls = self._calls.get(name, 0) + 1
            self._take(name if calls == 1 else f"{name}#{calls}", output, module)

        return take

    def begin(self, batch: Batch) -> None:
        """Open a batch."""
        self._batch, self._calls, self._taken = batch, {}, {}
        if self.selection.with_input:
            self._take(INPUT, batch.main)

    def _take(self, name: str, output: Any, module: nn.Module | None = None) -> None:
        assert self._batch is not None  # begin() came first
        if name in self.skipped or not self.selection.keep(name):
            return
        batch, options = self._batch, self.options
        tensor = reductions.first_tensor(output, batch.size)
        fits = tensor is not None and tensor.ndim > 0 and tensor.shape[0] == batch.size
        if self.selection.lenient and self._index == 0 and not fits:
            self.skipped[name] = "no tensor" if tensor is None else f"shape {tuple(tensor.shape)}"
            return
        if tensor is None:
            raise ValueError(
                f"layer {name!r} must put out a tensor, got {type(output).__name__}: leave it out of layers."
            )
        rule = reductions.rule_for(name, options.reduce)
        if isinstance(module, CHANNELS_THEN_POSITIONS) and tensor.ndim == 3 and rule in reductions.OVER_POSITIONS:
            raise ValueError(
                f"layer {name!r} is a {type(module).__name__}, whose output (n, channels, positions) reduce={rule!r} would read "
                f'as (n, positions, features): pass reduce="flatten" or a function such as lambda output, mask: output.mean(2).'
            )
        rows = reductions.apply(name, tensor.detach(), batch.mask, rule, batch.size, options.channels)
        self._taken[name] = rows._replace(features=self._keep(name, rows.features))

    def _stored(self, name: str, features: torch.Tensor) -> np.ndarray:
        """Copy to the host in the dtype to keep: nothing that runs later can change it."""
        dtype = features.dtype
        if self.options.dtype is not None:
            dtype = getattr(torch, self.options.dtype)
        elif dtype in (torch.bfloat16, torch.float16):
            dtype = torch.float32
        kept: np.ndarray = features.to("cpu", dtype, copy=True).numpy()
        return kept

    def end(self, remaining: int | None, number: int) -> Taken:
        """Close the batch: check it against the first one, and return what was taken of at most `remaining` examples."""
        batch = self._batch
        assert batch is not None  # begin() came first
        self._batch = None
        self._check_calls(number)
        if self._index == 0:
            reductions.check_patterns(self.options.reduce, list(self._taken))
        taken = batch.size if remaining is None else min(batch.size, remaining)
        example, position = self._identity(batch.size, taken)
        features = {}
        for name, rows in self._taken.items():
            self._check_width(name, rows.features, number)
            # Rows come in the order of their examples, so that those to keep come first.
            features[name] = rows.features if len(example) == len(rows.features) else rows.features[: len(example)]
        self._index += 1
        self._taken = {}
        return Taken(features, example, position, taken)

    def _identity(self, size: int, taken: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return example and position of every row, the same for all layers."""
        first: tuple[str, np.ndarray, np.ndarray | None] | None = None
        for name, rows in self._taken.items():
            example = _example_of(rows, size)
            kept = example < taken
            position = None if rows.position is None else rows.position.cpu().numpy()[kept]
            if first is None:
                first = name, example[kept], position
            elif len(first[1]) != int(kept.sum()):
                raise ValueError(
                    f"layer {name!r} must give as many rows as layer {first[0]!r} ({len(first[1])}), got "
                    f'{int(kept.sum())}: choose layers with the same number of positions, or use reduce="mean".'
                )
        if first is None:
            raise ValueError("no selected layer ran: check layers against the modules that the forward calls.")
        return first[1], first[2]

    def _check_calls(self, number: int) -> None:
        missing = [n for n in self.selection.required if n not in self._calls and n not in self._taken]
        if missing:
            ran = list(self._taken) or ["none"]
            raise KeyError(f"layer {missing[0]!r} did not run in the forward; " + unknown_layer(missing[0], ran))
        if self._expected is None:
            self._expected = dict(self._calls)
        for name in self._expected | self._calls:
            first, now = self._expected.get(name, 0), self._calls.get(name, 0)
            if first != now:
                raise ValueError(
                    f"layer {name!r} must run as often in every batch ({first} times in the first), got {now} times in "
                    f"batch {number}: text generation does this, so run one forward per batch, or pass forward."
                )

    def _check_width(self, name: str, features: Any, number: int) -> None:
        width = int(features.shape[1])
        if self._widths.setdefault(name, width) != width:
            raise ValueError(
                f"layer {name!r} must have as many features in every batch ({self._widths[name]} in the first), got "
                f'{width} in batch {number}: pad all batches to one length, or use reduce="mean".'
            )


def _example_of(rows: reductions.Rows, size: int) -> np.ndarray:
    return np.arange(size) if rows.example is None else rows.example.cpu().numpy()
