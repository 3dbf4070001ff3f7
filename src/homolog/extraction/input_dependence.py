"""On which inputs of a batch each layer depends: those that change it when they are exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from homolog.extraction import batches
from homolog.extraction.batches import Batch
from homolog.extraction.masks import InputSequence
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder
from homolog.extraction.samples import differences
from homolog.extraction.trial_examples import tried_examples
from homolog.extraction.trial_runs import outputs_of_layers


def sequences_of_layers(
    model: nn.Module, batch: Batch, options: Options, recorders: Sequence[Recorder], sequences: Sequence[InputSequence]
) -> list[dict[str, frozenset[int]]]:
    """Say of every layer on which inputs it depends: those that change it when they are exchanged. Empty where that fails."""
    unknown: list[dict[str, frozenset[int]]] = [{} for _ in recorders]
    if len(sequences) < 2 or batch.layout.kind != "rows" or not isinstance(batch.content, Mapping):
        return unknown
    tried = batches.part_of_batch(batch, tried_examples(batch.size))
    plain, repeated = (outputs_of_layers(model, tried, options, recorders) for _ in range(2))
    if plain is None or repeated is None:
        return unknown
    found: list[dict[str, set[int]]] = [{name: set() for name in layers} for layers in plain]
    for number, sequence in enumerate(sequences):
        other = {key: _exchanged(tried.content[key]) for key in sequence.inputs}
        changed = None
        if any(not torch.equal(value, tried.content[key]) for key, value in other.items()):
            content = {**tried.content, **other}
            changed = outputs_of_layers(model, replace(tried, content=content), options, recorders)
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


def _exchanged(values: torch.Tensor) -> torch.Tensor:
    """Return other values of the same kind: those of another example, at another place."""
    return values.flip(0).roll(1, dims=1)


def _is_equal(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    return second is not None and first.shape == second.shape and not bool(differences(first, second).any())
