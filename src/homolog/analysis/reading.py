"""How a result is read: its measures, its models, and which entry of a row is the most alike."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import described
from homolog.names import quoted

if TYPE_CHECKING:
    import xarray


TIE = 1e-9
"""Scores closer than this fraction are equal up to rounding."""


def measure_names(result: xarray.Dataset) -> list[str]:
    """Return the variables of a result that are measures, without their companions."""
    if type(result).__name__ != "Dataset" or "measures" not in result.attrs:
        raise ValueError(
            f"a result must be the Dataset that homolog.compare returned, got {described(result)}"
            f"{'' if type(result).__name__ != 'Dataset' else ' without its measures attribute'}."
        )
    try:
        names = json.loads(result.attrs["measures"])
    except (ValueError, TypeError, RecursionError):
        names = None
    if not isinstance(names, list):
        raise ValueError("a result must list its measures in an attribute, got an altered one: compare again.")
    return [name for name in names if isinstance(name, str) and name in result]


def chosen_measure(result: xarray.Dataset, measure: str | None) -> str:
    """Return the measure asked for, or the first of the result."""
    names = measure_names(result)
    if measure is None:
        return names[0]
    if str(measure) not in names:
        raise KeyError(f"unknown measure {quoted(str(measure))} in this result, which holds {', '.join(names)}.")
    return str(measure)


def scores(result: xarray.Dataset, measure: str) -> np.ndarray:
    """Return the matrix in which larger is more alike: distances change sign."""
    values = np.asarray(result[measure].values, dtype=float)
    return -values if result[measure].attrs["kind"] == "distance" else values


def best_in_rows(matrix: np.ndarray, preferred: np.ndarray | None = None) -> np.ndarray:
    """Return the column of each row's largest value, −1 for a row of NaN; among equals a preferred one, else the first."""
    missing = np.isnan(matrix)
    ranked = np.where(missing, -np.inf, matrix)
    equal = tied(matrix)
    if preferred is not None:
        equal = np.where((equal & preferred).any(axis=1, keepdims=True), equal & preferred, equal)
        return np.where(missing.all(axis=1), -1, np.argmax(equal, axis=1))
    return np.where(missing.all(axis=1), -1, np.argmax(ranked, axis=1))


def tied(matrix: np.ndarray) -> np.ndarray:
    """Return which entries equal the largest of their row up to rounding."""
    ranked = np.where(np.isnan(matrix), -np.inf, matrix)
    largest = ranked.max(axis=1, keepdims=True)
    near = ranked >= largest - TIE * np.abs(np.where(np.isfinite(largest), largest, 0))
    # An infinite value equals only another one.
    return (ranked > -np.inf) & np.where(np.isinf(largest), ranked == largest, near)


def without_diagonal(result: xarray.Dataset, name: str) -> xarray.Dataset:
    """Return a result without the comparisons of a layer with itself: of one model, readers ask for the other layers."""
    return result.assign({name: result[name].where(result.layer_a != result.layer_b).assign_attrs(result[name].attrs)})


def two_models(result: xarray.Dataset) -> None:
    """Raise unless a result holds the layers of two models in its two dimensions."""
    measure_names(result)
    if "a" in result.dims:
        models = ", ".join(json.loads(result.attrs["models"]))
        raise ValueError(
            f"this needs two models, got a result of many: choose with homolog.between(result, ...) of {models}."
        )
    if not {"layer_a", "layer_b"} <= set(result.dims):
        raise ValueError(
            f"a result must keep its dimensions layer_a and layer_b, got {', '.join(map(str, result.dims)) or 'none'}: select "
            f"with lists, result.sel(layer_a=[name])."
        )


def many_models(result: xarray.Dataset) -> None:
    """Raise unless a result holds many models."""
    measure_names(result)
    if "a" not in result.dims:
        raise ValueError("a result of many models is needed, got one of two models, which needs no choosing.")


def models_in(result: xarray.Dataset) -> list[str]:
    """Return the models that a result of many still holds on both sides."""
    rows, columns = ([str(name) for name in result[f"model_{side}"].values] for side in "ab")
    return [name for name in dict.fromkeys(rows) if name in columns]


def between(result: xarray.Dataset, model_a: str, model_b: str) -> xarray.Dataset:
    """Return the part of a result of many models that compares two of them.

    Parameters
    ----------
    result
        what `homolog.compare` returned for a mapping of models.
    model_a, model_b
        two of its models; one name twice for a model with itself.

    Returns
    -------
    xarray.Dataset
        As `homolog.compare` gives for two models, with the dimensions layer_a and layer_b.

    Raises
    ------
    KeyError
        If the result lacks a model.
    ValueError
        If it is not a result of many models.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> models = {seed: {"layer": np.random.default_rng(int(seed)).normal(size=(99, 3))} for seed in "123"}
    >>> hl.between(hl.compare(models, measures="cka"), "1", "3").sizes["layer_a"]
    1
    """
    many_models(result)
    models = json.loads(result.attrs["models"])
    for name in (model_a, model_b):
        if name not in models_in(result):
            raise KeyError(f"unknown model {name!r} in this result, which holds {', '.join(models_in(result))}.")
    part = result.isel(a=result.model_a.values == model_a, b=result.model_b.values == model_b)
    part = part.swap_dims(a="layer_a", b="layer_b").drop_vars(["model_a", "model_b"])
    attributes = {name: value for name, value in result.attrs.items() if name != "models"}
    attributes |= {"model_a": model_a, "model_b": model_b, "same_model": np.int32(model_a == model_b)}
    attributes |= {f"activations_{side}": json.dumps(models[name]) for side, name in (("a", model_a), ("b", model_b))}
    part.attrs = attributes
    return part


def two_by_two(results: Iterable[xarray.Dataset]) -> Iterator[xarray.Dataset]:
    """Yield results of two models; one of many gives each pair of different models once."""
    for result in results:
        measure_names(result)
        if "a" not in result.dims:
            yield result
            continue
        for model_a, model_b in itertools.combinations(models_in(result), 2):
            yield between(result, model_a, model_b)


def symmetrised(result: xarray.Dataset, measure: str) -> np.ndarray:
    """Return scores, plus those with the roles exchanged for an asymmetric measure."""
    matrix = scores(result, measure)
    companion: Any = result.get(f"{measure}_reversed")
    if companion is None:
        return matrix
    sign = -1 if result[measure].attrs["kind"] == "distance" else 1
    return matrix + sign * companion.values
