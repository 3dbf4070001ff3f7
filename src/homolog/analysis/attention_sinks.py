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
from homolog.position_norms import FIRST, Sink, runs_of, sinks_of
from homolog.token_rows import TokenRows, as_extracted, sink_of_rows

if TYPE_CHECKING:
    import xarray

SINKS = "attention_sinks"
"""Attribute of a result that lists them: [model, layer, tokens, share, ratio] each; the model is "" where there is but one."""
MANY = "single tokens at many positions hold"


def sink_findings(
    place: Callable[[str], str], known: Activations, arrays: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    """Find layers of tokens, or of means over tokens, most of whose norm is that of a few; neighbours in one finding."""
    found = sinks_of({name: known.modules.get(name, UNKNOWN_MODULE).norms for name in known})
    rows = TokenRows.of(known)
    if rows is not None:
        counted = {name: sink_of_rows(np.linalg.norm(x, axis=1), rows, name in found) for name, x in arrays.items()}
        found = as_extracted({name: sink for name, sink in counted.items() if sink is not None}, found)
    for run, sinks in _alike(list(known), found):
        share = max(sink.share for sink in sinks)
        yield Finding(
            "attention sink",
            place(_span(run)),
            _what(sinks),
            _remedy([sinks[0].positions]),
            degree=share,
            count=len(run),
        )


def sink_sentence(result: xarray.Dataset, models: Mapping[str, Sequence[str]]) -> str | None:
    """Say in which layers of a result, by model, a few tokens outweigh the rest; None where in none."""
    clauses: dict[str, list[str]] = {}
    places: list[tuple[int, ...]] = []
    for model, layers in models.items():
        found = {
            str(layer): Sink(tuple(positions), share, ratio)
            for title, layer, positions, share, ratio in json.loads(result.attrs.get(SINKS, "[]"))
            if title == model and layer in layers
        }
        for run, sinks in _alike(list(layers), found):
            clauses.setdefault(f"{_holds(sinks)} of {_span(run)}", []).append(model)
            places.append(sinks[0].positions)
    if not clauses:
        return None
    told = listed(
        (f"{clause} of {listed(models, 3)}" if any(models) else clause for clause, models in clauses.items()), 3
    )
    return (
        f"Attention sink: {told}: values over tokens, or means of tokens, say how alike these are, not the rest; "
        f"{_remedy(places)}."
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
    """Say how much the tokens hold: "position 0 holds 97–99 % of the squared norm"; the percentages are rounded down."""
    positions = sinks[0].positions
    ends = sorted({int(100 * bound(sink.share for sink in sinks)) for bound in (min, max)})
    several = len(positions) > 1
    where = (
        f"positions {', '.join(map(str, positions))} hold"
        if several
        else f"position {positions[0]} holds"
        if positions
        else MANY
    )
    return f"{where} {'–'.join(map(str, ends))} % of the squared norm"


def _what(sinks: Sequence[Sink]) -> str:
    ratio = max(sink.ratio for sink in sinks)
    return (
        f"{_holds(sinks)}, with up to {ratio:.0f} times the norm of the others: values over tokens, or means of tokens, say how "
        f"alike these are, not the rest"
    )


def _remedy(places: Sequence[tuple[int, ...]]) -> str:
    """Say how to do without the tokens: the first can be skipped, others only by what they are."""
    first = [max(positions) for positions in places if positions and max(positions) < FIRST]
    told = []
    if first:
        told.append(f"extract with skip_first={max(first) + 1}, or, of a causal language model, reduce='last'")
    if len(first) < len(places):
        told.append("leave other tokens" if first else "leave these tokens")
        told[-1] += " out by skip= of homolog.extract, or their rows by take() of the activations"
    return "; ".join(told)
