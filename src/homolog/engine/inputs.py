"""What a comparison is given: models, measures and pairs, in any of the accepted forms, checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from os import PathLike
from typing import Any

import numpy as np

from homolog import files
from homolog.activations import Activations, unknown_among, unknown_layer
from homolog.arrays import array_remedy, check_finite, described, enough_rows, same_library, surely_finite
from homolog.as_activations import activations_of
from homolog.conversion import is_table
from homolog.devices import is_elsewhere
from homolog.inference.uncertainty import MEANINGS
from homolog.measures.record import Measure
from homolog.measures.registry import measure
from homolog.names import layer_of, quoted, writable
from homolog.pairing import check_pairing
from homolog.results import FORMER
from homolog.rows import Rows
from homolog.sketching import kept_of

Source = Any
RESERVED = (
    "a",
    "b",
    *(f"{what}_{side}" for what in ("model", "layer", "type", "shape", "features", "sketch", "rank") for side in "ab"),
)
"""Names of the coordinates of a result."""
COMPANIONS = tuple(f"_{kind}" for kind in ("reversed", *MEANINGS, *FORMER.values()))
"""Endings of the variables that stand beside a measure, also in results of earlier versions."""

Measures = str | Measure | Callable[..., Any] | Sequence[str | Measure | Callable[..., Any]] | Mapping[str, Any]
Pairs = str | Sequence[tuple[Any, Any]]


def models_of(
    a: Source, b: Source | None, *, apart: bool = False, called: str = "a"
) -> tuple[dict[str, Activations], bool]:
    """Return name → activations of one, two or many models, checked against each other; and whether they are many.

    One model given twice is one, unless it is to be taken `apart`; `called` is how errors name a.
    """
    many = _holds_models(a)
    if many:
        if b is not None:
            raise TypeError(
                "b must be left out when a is a mapping of several models, got both: put all models into one mapping."
            )
        for name in a:
            if not isinstance(name, str) or not name.strip():
                raise TypeError(f"a model must be named by text, got {quoted(name)}: rename it in the mapping.")
            if writable(name) != name:
                raise ValueError(f"a model's name must be text that UTF-8 can hold, got {quoted(name)}: rename it.")
        models = {name: activations_of(source, name) for name, source in a.items()}
    else:
        models = {called: activations_of(a, called)}
        if b is not None and (b is not a or apart):
            models["b"] = activations_of(b, "b")
    for (name, x), (other, y) in itertools.pairwise(models.items()):
        check_pairing(x, y, (name, other))
    first_name, first = next(iter(models.items()))
    for name, layers in models.items():
        label = (layer_of(next(iter(first)), first_name), layer_of(next(iter(layers)), name))
        same_library(next(iter(first.values())), next(iter(layers.values())), label)
        _check_layers(layers, name)
    return models, many


def chosen_two(a: Source, b: Source | None, names: Sequence[str] | None) -> tuple[Source, Source | None]:
    """Return two models of a mapping of models that are asked for by their names; anything else as it is."""
    if names is None or b is not None or not _holds_models(a):
        return a, b
    first, second = checked_names(names, 2)
    models: Any = a
    for name in (first, second):
        if name not in models:
            raise KeyError(unknown_among("model", name, list(map(str, models))))
    return models[first], models[second]


def checked_names(names: Sequence[str], count: int) -> list[str]:
    """Return what models are to be called in a result."""
    given = [names] if isinstance(names, str) else list(names) if isinstance(names, Sequence) else []
    fine = [isinstance(name, str) and name.strip() and writable(name) == name for name in given]
    if len(given) != count or not all(fine) or len(set(given)) < count:
        what = "two different texts, one for each model" if count == 2 else "one text for the one model"
        raise ValueError(f"names must be {what}, got {quoted(names)}.")
    return given


def _holds_models(a: Source) -> bool:
    """Say whether a mapping holds models and not layers."""
    if not isinstance(a, Mapping) or isinstance(a, Activations) or not a:
        return False
    models = [isinstance(value, Mapping | str | PathLike) for value in a.values()]
    if any(models):  # a table alone is a layer, and beside models a model
        models = [known or is_table(value) for known, value in zip(models, a.values(), strict=True)]
    if any(models) and not all(models):
        odd = next(name for name, model in zip(a, models, strict=True) if not model)
        raise TypeError(
            f"a mapping must hold either layers (arrays) or models (mappings, Activations, paths), got both: {quoted(odd)} is "
            f"{described(a[odd])}; {array_remedy(a)}."
        )
    return all(models)


def _check_layers(layers: Activations, side: str) -> None:
    first = next(iter(layers))
    there = [array for array in layers.values() if is_elsewhere(array)]
    for name, array in layers.items():
        same_library(layers[first], array, (layer_of(first, side), layer_of(name, side)))
    if len(there) == len(layers) and surely_finite(there):
        return
    for name, array in layers.items():
        kept = kept_of(array)
        if not isinstance(kept, Rows):  # else it is checked when it is read
            check_finite(kept, layer_of(name, side))


def check_examples(models: Mapping[str, Activations], measures: Mapping[str, Measure]) -> None:
    """Raise where a measure needs more examples than there are."""
    array = next(iter(next(iter(models.values())).values()))
    for name, record in measures.items():
        enough_rows(array, record.minimal_n, name)


def check_executor(executor: Any, models: Mapping[str, Activations]) -> None:
    """Raise unless an executor can be given the layers by what finds them elsewhere."""
    if not isinstance(executor, Executor) and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, such as ProcessPoolExecutor() or the get_executor() of a dask "
            f"client, got {described(executor)}."
        )
    for model, layers in models.items():
        for name, array in layers.items():
            if not isinstance(array, Rows) or not array.found_elsewhere:
                raise TypeError(
                    f"with an executor all layers must be on disk, where its workers find them, got {layer_of(name, model)} in "
                    f"memory: write it with homolog.save(activations, 'activations.zarr') and pass the path."
                )


def model_name(source: Source, activations: Activations, side: str) -> str:
    """Return what a model is called in a result."""
    if isinstance(source, Activations):
        return activations.provenance.get("model", side)
    return files.title(source) if isinstance(source, str | PathLike) else side


def resolve_measures(measures: Measures) -> dict[str, Measure]:
    """Return name of the variable → measure, from any of the accepted forms."""
    if not isinstance(measures, str | Measure | Mapping | Sequence) and not callable(measures):
        raise TypeError(
            f"measures must be text such as 'cka', a homolog.measure(...), a function of two arrays, a sequence of these or a "
            f"mapping of names to them, got {described(measures)}."
        )
    if isinstance(measures, Mapping):
        found = [(name, measure(spec)) for name, spec in measures.items()]
    else:
        single = isinstance(measures, str | Measure) or callable(measures)
        forms: Any = [measures] if single else measures
        found = [(str(record), record) for record in map(measure, forms)]
    if not found:
        raise ValueError(
            "measures must name at least one measure, got none: leave measures out for CKA, biased and debiased."
        )
    for name, _ in found:
        if not isinstance(name, str) or not name or "/" in name or name in RESERVED:
            raise ValueError(
                f"a variable of a result must be named by text without '/' that is not {', '.join(RESERVED)}, got "
                f"{quoted(name)}: rename it."
            )
    names = {name for name, _ in found}
    taken = next(
        (name for name, _ in found if any(name == f"{other}{end}" for other in names for end in COMPANIONS)), None
    )
    if taken is not None:
        raise ValueError(
            f"{quoted(taken)} is the name of a companion of another measure in the result: rename the measure."
        )
    resolved = dict(found)
    if len(resolved) < len(found):
        twice = next(name for name in resolved if sum(name == other for other, _ in found) > 1)
        raise ValueError(
            f"measures must have different names, got {quoted(twice)} twice: leave one out, or pass {{name: measure}} in Python."
        )
    return resolved


def wanted_pairs(rows: list[Any], columns: list[Any], pairs: Pairs) -> np.ndarray:
    """Return the (rows, columns) mask of the pairs asked for.

    Rows and columns are layer names, or (model, layer) where there are many models.
    """
    if isinstance(pairs, str):
        if pairs == "all":
            return np.ones((len(rows), len(columns)), dtype=bool)
        if pairs == "same_name":
            mask = np.array([[_layer(first) == _layer(second) for second in columns] for first in rows])
            if not mask.any():
                raise ValueError(
                    "pairs='same_name' needs a layer name that both sides have, got none in common: extract both with the "
                    "same layers=, such as names of modules, rename layers with Activations.rename, or use pairs='all'."
                )
            return mask
        raise ValueError(f"pairs must be 'all', 'same_name' or a list of (layer_a, layer_b), got {quoted(pairs)}.")
    if not isinstance(pairs, Sequence):
        raise TypeError(f"pairs must be 'all', 'same_name' or a list of (layer_a, layer_b), got {described(pairs)}.")
    mask = np.zeros((len(rows), len(columns)), dtype=bool)
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(f"a pair must be (layer_a, layer_b), got {quoted(pair)}: pass a list of such tuples.")
        for given, known in zip(pair, (rows, columns), strict=True):
            side = tuple(given) if isinstance(given, list) else given
            if known and isinstance(known[0], tuple) and not isinstance(side, tuple):
                raise TypeError(
                    f"with many models a pair must be ((model, layer), (model, layer)), got {quoted(pair)}."
                )
            if side not in known:
                raise KeyError(unknown_layer(str(side), [str(name) for name in known]))
        first, second = (tuple(given) if isinstance(given, list) else given for given in pair)
        mask[rows.index(first), columns.index(second)] = True
    if not mask.any():
        raise ValueError("pairs must ask for at least one pair, got an empty list: use 'all'.")
    return mask


def _layer(name: Any) -> str:
    return str(name[1] if isinstance(name, tuple) else name)
