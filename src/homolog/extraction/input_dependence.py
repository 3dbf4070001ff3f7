"""On which inputs of a batch each layer depends: those that change it when they are exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from homolog.extraction import batches
from homolog.extraction.batches import Batch
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder
from homolog.extraction.samples import differences
from homolog.extraction.sequences import InputSequence
from homolog.extraction.tensors import like, numbers_of
from homolog.extraction.trial_examples import tried_examples
from homolog.extraction.trial_runs import outputs_of_layers


def sequences_of_layers(
    source: Any, batch: Batch, options: Options, recorders: Sequence[Recorder], sequences: Sequence[InputSequence]
) -> list[dict[str, frozenset[int]]]:
    """Say of every layer on which inputs it depends: those that change it when they are exchanged. Empty where that fails."""
    unknown: list[dict[str, frozenset[int]]] = [{} for _ in recorders]
    if len(sequences) < 2 or batch.layout.kind != "rows" or not isinstance(batch.content, Mapping):
        return unknown
    tried = batches.part_of_batch(batch, tried_examples(batch.size))
    plain, repeated = (outputs_of_layers(source, tried, options, recorders) for _ in range(2))
    if plain is None or repeated is None:
        return unknown
    found: list[dict[str, set[int]]] = [{name: set() for name in layers} for layers in plain]
    for number, sequence in enumerate(sequences):
        other = {key: _exchanged(tried.content[key]) for key in sequence.inputs}
        changed = None
        if any(not np.array_equal(numbers_of(value), numbers_of(tried.content[key])) for key, value in other.items()):
            content = {**tried.content, **other}
            changed = outputs_of_layers(source, replace(tried, content=content), options, recorders)
        if changed is None:
            return unknown
        for layers, before, after in zip(found, plain, changed, strict=True):
            for name, depends_on in layers.items():
                if name in after and not _is_equal(before[name], after[name]):
                    depends_on.add(number)
    return [
        {name: frozenset(depends_on) for name, depends_on in layers.items() if _is_equal(before[name], after.get(name))}
        for layers, before, after in zip(found, plain, repeated, strict=True)
    ]


def _exchanged(values: Any) -> Any:
    """Return other values of the same kind: those of another example, at another place."""
    return like(values, np.roll(numbers_of(values)[::-1], 1, axis=1))


def _is_equal(first: np.ndarray, second: np.ndarray | None) -> bool:
    return second is not None and first.shape == second.shape and not bool(differences(first, second).any())
