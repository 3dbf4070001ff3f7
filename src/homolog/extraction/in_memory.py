"""Rows of layers, kept in memory; who its rows are, and how it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from homolog.activations import NOT_DIGESTED, Activations
from homolog.arrays import described, format_bytes
from homolog.extraction.batches import Batch
from homolog.extraction.options import Options
from homolog.extraction.recorder import BatchOutput
from homolog.names import shown


class ExampleIds:
    """The ids of the examples: given as a list, carried by the batches, or none."""

    def __init__(self, options: Options, total: int | None) -> None:
        given = options.example_ids
        self.carried = isinstance(given, str) or callable(given)
        self.given = None if given is None or self.carried else np.asarray(given)
        self._whole = options.limit is None
        self._known_ids: set[Any] = set()
        self._until = 0
        if self.given is not None:
            _, counts = np.unique(self.given, return_counts=True)
            _refuse_twice(int((counts > 1).sum()))
            if total is not None:
                self.check(total)

    def of(self, batch: Batch, before: int, count: int) -> np.ndarray | None:
        """Return the ids of the examples of a batch."""
        if self.given is not None:
            self.check(before + count, at_least=True)
            return self.given[before : before + count]
        if not self.carried:
            return None
        assert batch.ids is not None  # the batch was read for them
        ids = batch.ids[:count]
        if before >= self._until:
            known, self._until = len(self._known_ids), before + count
            self._known_ids.update(ids.tolist())
            _refuse_twice(known + count - len(self._known_ids))
        return ids

    def check(self, examples: int, *, at_least: bool = False) -> None:
        """Raise unless there are as many ids given as examples; with a limit, or `at_least`, enough of them."""
        if self.given is None:
            return
        enough = at_least or not self._whole
        if len(self.given) < examples or (not enough and len(self.given) != examples):
            raise ValueError(f"example_ids must give one id per example ({examples}), got {len(self.given)}.")


def _refuse_twice(count: int) -> None:
    if count:
        raise ValueError(f"example_ids must differ, got {count} of them more than once.")


class InMemory:
    """Keeps everything, as long as it fits."""

    finished = False
    layers: frozenset[str] | None = None
    """No layers are there already."""

    def __init__(self, model: nn.Module, options: Options, total: int | None) -> None:
        self.options, self.total = options, total
        self._ids = ExampleIds(options, total)
        self._provenance = provenance_of(model, options)
        self._chunks: dict[str, list[np.ndarray]] = {}
        self._sizes: dict[str, int] = {}
        self._identities: dict[str, list[np.ndarray]] = {}
        self._digested = True
        """Whether every batch so far could be digested."""

    def __enter__(self) -> InMemory:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def has(self, batch: Batch, before: int, remaining: int | None) -> bool:
        """Say whether the rows of a batch are there already."""
        return False

    def add(self, output: BatchOutput, batch: Batch, before: int) -> None:
        """Keep the rows of a batch, and drop what is there of layers that it leaves out."""
        for name in set(self._chunks) - set(output.features):
            del self._chunks[name], self._sizes[name]
        for name, features in output.features.items():
            self._chunks.setdefault(name, []).append(features)
            self._sizes[name] = self._sizes.get(name, 0) + features.nbytes
        ids = self._ids.of(batch, before, output.examples)
        self._digested = self._digested and batch.digests is not None
        for name, values in identities_of(output, batch, before, ids).items():
            self._identities.setdefault(name, []).append(values)
        if not self._digested:  # rows of which only some say who they are say nothing
            self._identities.pop("digests", None)
            self._provenance["inputs"] = NOT_DIGESTED
        self._check_memory(before + output.examples)

    @property
    def unknown(self) -> bool:
        """Whether nothing says who the rows are."""
        return not self._digested and self.options.example_ids is None

    def finish(self, examples: int) -> None:
        """Check what can be known at the end."""
        self._ids.check(examples)

    def result(self) -> Activations:
        """Put the batches together."""
        found: dict[str, Any] = {name: np.concatenate(parts) for name, parts in self._identities.items()}
        example = found.pop("example", None)
        # Layer by layer, so that no more than one layer exists twice.
        arrays = {name: np.concatenate(self._chunks.pop(name)) for name in list(self._chunks)}
        found["example_ids"] = found.get("example_ids", example)
        return Activations(arrays, **found, provenance=self._provenance)

    def _check_memory(self, examples: int) -> None:
        """Refuse to go on when all examples will not fit."""
        sizes = self._sizes
        factor = 1.0 if self.total is None else self.total / max(examples, 1)
        expected = sum(sizes.values()) * factor
        if expected <= self.options.memory:
            return
        largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
        largest_layers = ", ".join(f"{shown(name)} {format_bytes(sizes[name] * factor)}" for name in largest)
        raise ValueError(
            f"the activations must fit in memory={format_bytes(self.options.memory)}, got about {format_bytes(expected)} "
            f'for {self.total or examples} examples (largest: {largest_layers}): choose fewer layers, reduce="mean", a limit, '
            f'dtype="float16", a store on disk (out="activations.zarr"), or more memory.'
        )


def identities_of(output: BatchOutput, batch: Batch, before: int, ids: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return who the rows of a batch are."""
    found = {} if batch.digests is None else {"digests": batch.digests[output.example]}
    if ids is not None:
        found["example_ids"] = ids[output.example]
    if output.position is not None:
        found |= {"positions": output.position.astype(np.int64), "example": (output.example + before).astype(np.int64)}
    return found


def provenance_of(model: nn.Module, options: Options) -> dict[str, str]:
    """Say how activations were made."""
    return {
        "model": type(model).__name__,
        "reduce": as_text(options.reduce),
        "channels": options.channels,
        "torch": torch.__version__,
    } | ({} if options.example_ids is None else {"example_ids": "given"})


def as_text(rules: Any, function: Callable[[Any], str] | None = None) -> str:
    """Write layers or reductions as text; functions by their names, or as `function` writes them."""
    if isinstance(rules, Mapping):
        return ", ".join(f"{pattern}: {as_text(rule, function)}" for pattern, rule in rules.items())
    if isinstance(rules, str | int) or rules is None:
        return str(rules)
    if callable(rules):
        return (function or _name_of)(rules)
    return ", ".join(map(str, rules)) if isinstance(rules, Iterable) else described(rules)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
