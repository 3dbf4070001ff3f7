"""The options of an extraction, checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.extraction.layer_selection import rule_for
from homolog.sketching import SKETCHES, Sketch, check_columns, check_seed

DTYPES = ("float16", "float32", "float64")
KEEPS = ("host", "device")
REDUCTIONS = ("flatten", "mean", "first", "last", "positions")


@dataclass(frozen=True)
class Options:
    """What the caller asked for."""

    layers: Any
    reduce: Any
    channels: str | None
    forward: Callable[[Any, Any], Any] | None
    batch_size: int
    max_examples: int | None
    dtype: str | None
    example_ids: Any
    device: Any
    memory: int
    progress: bool | None
    out: Path | None = None
    resume: bool = False
    mask: Any = None
    axis: Any = None
    skip_first: Any = 0
    skip: Any = None
    ids: Callable[[Any], Any] | None = None
    """Gives the token ids of a batch of texts."""
    sketch: Any = None
    """Columns of each of the two sketches that are kept of a layer, by globs; None where it is kept as it is."""
    rng: int = 0
    """The seed of the sketches."""
    keep: str = "host"
    """Where activations are kept that are kept in memory: on the host, or where the model puts them out."""
    device_memory: int | None = None
    """Bytes that they may take there; None for what is free."""
    flat_channels_first: bool = False
    """Whether flattened maps whose channels are last have their features in the order of those whose channels are first."""

    def __post_init__(self) -> None:
        rules = self.reduce.values() if isinstance(self.reduce, Mapping) else [self.reduce]
        for rule in rules:
            if not callable(rule) and rule not in REDUCTIONS:
                raise ValueError(
                    f"reduce must be one of {', '.join(REDUCTIONS)}, a function f(output, mask), or a mapping glob → "
                    f"reduction, got {rule!r}."
                )
        for name in ("skip_first", "axis", "batch_size", "max_examples", "sketch"):
            object.__setattr__(self, name, _plain(getattr(self, name)))  # the dataclass is frozen
        _check_mask(self.mask)
        _check_axis(self.axis)
        self._check_skips()
        _check_sketch(self.sketch)
        object.__setattr__(self, "rng", check_seed(self.rng))
        if self.channels not in ("first", "last", None):
            raise ValueError(f"channels must be 'first' or 'last', got {self.channels!r}.")
        for name in ("batch_size", "max_examples"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive integer, got {value!r}.")
        self._check_keep()
        if self.dtype not in (None, *DTYPES):
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, as text, got {self.dtype!r}.")
        if self.out is not None and self.out.suffix != ".zarr":
            raise ValueError(f"out must end in .zarr, got {self.out.name!r}: write other files with homolog.save.")
        if self.resume and self.out is None:
            raise ValueError("resume=True goes on with a store, got no out: name it, out='activations.zarr'.")
        if self.forward is not None and not callable(self.forward):
            raise TypeError(f"forward must be a function forward(model, batch), got {described(self.forward)}.")

    def _check_keep(self) -> None:
        if self.keep not in KEEPS:
            raise ValueError(f"keep must be 'host' or 'device', got {self.keep!r}.")
        for name in ("out", "sketch"):
            if self.keep == "device" and getattr(self, name) is not None:
                raise ValueError(
                    f"keep='device' keeps layers as they are in the memory of the device, got {name}= as well: leave one of the "
                    f"two out."
                )

    def _check_skips(self) -> None:
        _check_skip_first(self.skip_first)
        for rule in self.skip.values() if isinstance(self.skip, Mapping) else [self.skip]:
            if rule is not None and not callable(rule):
                raise TypeError(
                    f"skip must be a function of the token ids → (examples, positions), true where one is left out, or a mapping "
                    f"glob → function or None, got {described(rule)}: as lambda ids: ids == 0."
                )
        if self.reduce == "flatten" and (self.skip_first or self.skip is not None):
            asked = "skip" if self.skip is not None else "skip_first"
            raise ValueError(
                f"{asked} leaves tokens out, which flatten cannot, got reduce={self.reduce!r}: use "
                f'reduce="mean", "first", "last" or "positions".'
            )

    def with_channels(self, channels: str | None, *, flat_channels_first: bool = False) -> Options:
        """Return the same options where it is settled where maps have their channels."""
        return replace(self, channels=channels, flat_channels_first=flat_channels_first)

    def sketch_of(self, layer: str, width: int) -> Sketch | None:
        """Return what makes the sketches of a layer of so many features; None where it stays as it is."""
        columns = rule_for(layer, self.sketch, None)
        return None if columns is None or width <= SKETCHES * columns else Sketch(layer, width, columns, self.rng)

    @property
    def sketches_asked(self) -> str:
        """What is asked of sketches as text, the same for rules that mean the same; "None" for none."""
        rules = dict(self.sketch) if isinstance(self.sketch, Mapping) else {"**": self.sketch}
        patterns = list(rules)
        before = patterns[: patterns.index("**")] if "**" in rules else patterns  # the first match counts
        others = rules.get("**")
        while before and rules[before[-1]] == others:
            before.pop()
        if not before:
            return str(others)
        return (
            ", ".join(f"{pattern}: {rules[pattern] or 'none'}" for pattern in before)
            + f", all else: {others or 'none'}"
        )

    def axis_of(self, layer: str) -> int | None:
        """Return where the caller says that the examples of a layer lie; None where nothing is said."""
        axis: int | None = rule_for(layer, self.axis, None)
        return axis


def _plain(given: Any) -> Any:
    """Return whole numbers of NumPy's, and those of a mapping, as Python's; all else as it is."""
    if isinstance(given, Mapping):
        return {pattern: _plain(rule) for pattern, rule in given.items()}
    return int(given) if isinstance(given, np.integer) else given


def _check_skip_first(skip_first: Any) -> None:
    for count in skip_first.values() if isinstance(skip_first, Mapping) else [skip_first]:
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(
                f"skip_first must be a whole number of tokens of at least 0, or a mapping glob → number, got {count!r}."
            )


def _check_mask(mask: Any) -> None:
    for rule in mask.values() if isinstance(mask, Mapping) else [mask]:
        if rule is not None and not isinstance(rule, str) and not callable(rule):
            raise TypeError(
                f"mask must be a key of the batch, a function of the batch, or a mapping glob → key, function or None, got "
                f"{described(rule)}."
            )


def _check_axis(axis: Any) -> None:
    for rule in axis.values() if isinstance(axis, Mapping) else [axis]:
        if rule is not None and (isinstance(rule, bool) or not isinstance(rule, int)):
            raise TypeError(
                f"axis must be the number of the axis of the examples, or a mapping glob → number, got {described(rule)}."
            )


def _check_sketch(sketch: Any) -> None:
    if not isinstance(sketch, Mapping):
        if sketch is not None:
            check_columns(sketch)
        return
    for pattern, columns in sketch.items():
        if columns is not None:
            check_columns(columns, pattern)
