"""Models that are the same network under different names, and layers that two models share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.diagnosis_checks import Finding
from homolog.diagnostics import Caution, EqualLayersWarning, listed
from homolog.equal_layers import Equality
from homolog.names import shown
from homolog.results import two_models

if TYPE_CHECKING:
    import xarray

MODELS = "pairs of models"
_WHY = "as the input of the models is, or what was not changed between them"
MOST = 3
"""Sets of copies that a summary names."""
NAMED = 8
"""Models of a set that it names."""


def equalities_in(result: xarray.Dataset) -> list[Equality]:
    """Return which models of a result have equal layers; none where an earlier version wrote it, or somebody altered it."""
    try:
        found = [
            Equality(str(a), str(b), tuple(map(str, equal)), int(compared), any(apart))
            for a, b, equal, compared, *apart in json.loads(result.attrs.get("equal_layers", "[]"))
        ]
    except (ValueError, TypeError, RecursionError):
        return []
    models = _models(result)
    return [each for each in found if {each.a, each.b} <= models]


def inputs_in(result: xarray.Dataset) -> dict[str, list[str]]:
    """Return which layers of each model are its input; none where an earlier version wrote the result, or somebody altered it."""
    try:
        content = json.loads(result.attrs.get("input_layers", "{}"))
        named = {str(model): [str(layer) for layer in layers] for model, layers in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    if not named:
        return {}
    models, layers = models_of(result), [result[f"layer_{side}"].values.astype(str) for side in "ab"]
    held = {model: {*layers[0][models[0] == model], *layers[1][models[1] == model]} for model in named}
    return {
        model: [layer for layer in inputs if layer in held[model]]
        for model, inputs in named.items()
        if held[model] & set(inputs) and held[model] - set(inputs)
    }


def models_of(result: xarray.Dataset) -> list[np.ndarray]:
    """Return the model of every layer in rows, and in columns."""
    if "a" in result.dims:
        return [result[f"model_{side}"].values.astype(str) for side in "ab"]
    two_models(result)
    return [np.full(result.sizes[f"layer_{side}"], str(result.attrs[f"model_{side}"])) for side in "ab"]


def _models(result: xarray.Dataset) -> set[str]:
    if "model_a" in result.coords:  # of many models, or one number for each pair of them
        return {str(name) for side in "ab" for name in result[f"model_{side}"].values}
    return {str(result.attrs.get(f"model_{side}")) for side in "ab"}


def told(each: Equality) -> str:
    """Say which layers are equal."""
    if each.apart and len(each.equal) == each.compared:
        are = "the one layer" if each.compared == 1 else f"all {each.compared} layers"
        is_equal = "is equal" if each.compared == 1 else "are equal"
        return f"{are} that both have {is_equal} to rounding ({_named(each)}), and each has layers that the other lacks"
    if each.compared == 1:
        return "the one layer that both have is equal to rounding in every example"
    if each.whole:
        return f"all {each.compared} layers are equal to rounding in every example"
    are = "is" if len(each.equal) == 1 else "are"
    return f"{len(each.equal)} of {each.compared} layers {are} equal to rounding ({_named(each)})"


def _named(each: Equality) -> str:
    return listed(map(shown, each.equal))


def _unchanged(each: Equality) -> str:
    return f"{'it was' if len(each.equal) == 1 else 'they were'} not changed between the two"


def findings(result: xarray.Dataset) -> Iterator[Finding]:
    """Find models that are the same network, and layers that did not change between two models."""
    for each in equalities_in(result):
        where = f"{each.a} and {each.b}"
        if each.whole:
            yield Finding(
                "same network",
                where,
                f"{told(each)}: they are the same network, as far as these layers show",
                "leave one of the two out, or check that the right files were loaded",
                of=MODELS,
            )
        else:
            yield Finding(
                "unchanged layers",
                where,
                f"{told(each)}: {_unchanged(each)}",
                "look at the other layers; values of 1 say nothing new there",
                of=MODELS,
                degree=len(each.equal) / each.compared,
            )


def sentences(result: xarray.Dataset) -> Iterator[str]:
    """Yield what a summary says of models that are the same network, and of layers that two models share."""
    yield from copies(result)
    inputs = inputs_in(result)
    if len(inputs) > 1:
        names = list(dict.fromkeys(itertools.chain(*inputs.values())))
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        yield (
            f"{listed(names)} of {listed(inputs)} {are} the input itself: values there say nothing of the models, and one number "
            f"for each pair of models leaves {them} out."
        )
    rest = [one for one in equalities_in(result) if not one.whole]
    if len(rest) == 1:
        (one,) = rest
        more = "its value says" if len(one.equal) == 1 else "their values say"
        yield f"Of {shown(one.a)} and {shown(one.b)} {told(one)}: {_unchanged(one)}, and {more} so and no more."
    elif rest:
        yield f"{len(rest)} pairs of models have equal layers ({_layers(rest)}): {_WHY}, and their values say so and no more."


def copies(result: xarray.Dataset) -> Iterator[str]:
    """Yield which models are the same network."""
    found = equalities_in(result)
    for names in _copies(found)[:MOST]:
        told_of_all = [told(one) for one in found if one.whole and {one.a, one.b} <= set(names)]
        yield f"{_all_of(names)} are the same network, as far as these layers show: {told_of_all[0]}."


def shared_layers(result: xarray.Dataset) -> list[Caution]:
    """Warn that layers which are equal in different models count in their similarity."""
    rest = [one for one in equalities_in(result) if not one.whole]
    if not rest:
        return []
    pairs = f"{shown(rest[0].a)} and {shown(rest[0].b)}" if len(rest) == 1 else f"{len(rest)} pairs of models"
    message = (
        f"{_layers(rest)}: equal to rounding in {pairs}, {_WHY}, and raises their similarity as wholes: to compare the other "
        f"layers, leave such layers out of the activations, as activations.select(...) does."
    )
    return [Caution(EqualLayersWarning, message)]


def _copies(found: list[Equality]) -> list[list[str]]:
    """Return sets of models that are the same network, each model once."""
    sets: list[list[str]] = []
    for each in [one for one in found if one.whole]:
        near = [names for names in sets if {each.a, each.b} & set(names)]
        apart = [names for names in sets if names not in near]
        sets = [*apart, list(dict.fromkeys([*itertools.chain(*near), each.a, each.b]))]
    return sets


def _all_of(names: list[str]) -> str:
    if len(names) > NAMED:
        return listed(names, NAMED)
    return f"{', '.join(map(shown, names[:-1]))} and {shown(names[-1])}"


def _layers(found: list[Equality]) -> str:
    return listed(dict.fromkeys(layer for each in found for layer in each.equal))
