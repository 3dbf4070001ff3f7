"""Tokens that outweigh all others of a layer, named for a diagnosis and for a summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from homolog.activations import UNKNOWN_MODULE, Activations
from homolog.analysis.diagnosis_checks import Finding
from homolog.diagnostics import listed
from homolog.names import shown
from homolog.position_norms import Sink, norms_of_rows, runs_of, sinks_of

if TYPE_CHECKING:
    import xarray

SINKS = "attention_sinks"
"""Attribute of a result that lists them: [model, layer, tokens, share, ratio] each; the model is "" where there is but one."""


def sink_findings(
    place: Callable[[str], str], known: Activations, arrays: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    """Find layers of tokens, or of means over tokens, most of whose norm is that of the first; neighbours in one finding."""
    norms = {name: known.modules.get(name, UNKNOWN_MODULE).norms for name in known}
    if not any(norms.values()) and known.positions is not None and known.example_ids is not None:
        norms = {name: norms_of_rows(x, known.example_ids, known.positions).text for name, x in arrays.items()}
    for run, sinks in _alike(list(known), sinks_of(norms)):
        share = max(sink.share for sink in sinks)
        yield Finding(
            "attention sink",
            place(_span(run)),
            _what(sinks),
            _remedy(sinks[0].positions),
            degree=share,
            count=len(run),
        )


def sink_sentence(result: xarray.Dataset, models: Mapping[str, Sequence[str]]) -> str | None:
    """Say in which layers of a result, by model, the first tokens outweigh the rest; None where in none."""
    clauses: dict[str, list[str]] = {}
    most = 0
    for model, layers in models.items():
        found = {
            str(layer): Sink(tuple(positions), share, ratio)
            for title, layer, positions, share, ratio in json.loads(result.attrs.get(SINKS, "[]"))
            if title == model and layer in layers
        }
        for run, sinks in _alike(list(layers), found):
            clauses.setdefault(f"{_holds(sinks)} of {_span(run)}", []).append(model)
            most = max(most, *sinks[0].positions)
    if not clauses:
        return None
    told = listed(
        (f"{clause} of {listed(models, 3)}" if any(models) else clause for clause, models in clauses.items()), 3
    )
    return (
        f"Attention sink: {told}: values over tokens, or means of tokens, say how alike these are, not the rest; "
        f"{_remedy((most,))}."
    )


def _alike(layers: Sequence[str], sinks: Mapping[str, Sink]) -> Iterator[tuple[list[str], list[Sink]]]:
    """Yield neighbouring layers whose sinks are at the same tokens."""
    for positions in dict.fromkeys(sink.positions for sink in sinks.values()):
        own = {layer: sink for layer, sink in sinks.items() if sink.positions == positions}
        for run in runs_of(layers, own):
            yield run, [own[layer] for layer in run]


def _span(run: Sequence[str]) -> str:
    first, last = shown(run[0]), shown(run[-1])
    return first if len(run) == 1 else f"{first} {'to' if len(run) > 2 else 'and'} {last}"


def _holds(sinks: Sequence[Sink]) -> str:
    """Say how much the tokens hold: "position 0 holds 97–99 % of the squared norm"."""
    positions = sinks[0].positions
    ends = sorted({int(100 * bound(sink.share for sink in sinks)) for bound in (min, max)})
    several = len(positions) > 1
    where = f"positions {', '.join(map(str, positions))} hold" if several else f"position {positions[0]} holds"
    return f"{where} {'–'.join(map(str, ends))} % of the squared norm"


def _what(sinks: Sequence[Sink]) -> str:
    ratio = max(sink.ratio for sink in sinks)
    return (
        f"{_holds(sinks)}, with up to {ratio:.0f} times the norm of the others: values over tokens, or means of tokens, say how "
        f"alike these are, not the rest"
    )


def _remedy(positions: Sequence[int]) -> str:
    return f"extract with skip_first={max(positions) + 1}, or reduce='last'"
