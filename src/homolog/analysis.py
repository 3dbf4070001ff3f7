"""What a result says: which layer corresponds to which, and how often the right one is found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import described

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
    return [name for name in json.loads(result.attrs["measures"]) if name in result]


def chosen_measure(result: xarray.Dataset, measure: str | None) -> str:
    """Return the measure asked for, or the first of the result."""
    names = measure_names(result)
    if measure is None:
        return names[0]
    if str(measure) not in names:
        raise KeyError(f"unknown measure {str(measure)!r} in this result, which holds {', '.join(names)}.")
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
    measure_names(result)
    if "a" not in result.dims:
        raise ValueError("a result of many models is needed, got one of two models, which needs no choosing.")
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


def correspondence(result: xarray.Dataset, measure: str | None = None) -> xarray.Dataset:
    """Find the most alike layer for every layer, both ways.

    Parameters
    ----------
    result
        what `homolog.compare` returned.
    measure
        which of its measures; the first by default.

    Returns
    -------
    xarray.Dataset
        `best_b` and `value_b` (layer_a): the most alike layer of b and the value; `best_a` and `value_a` (layer_b); `mutual_a`
        and `mutual_b`: whether the two layers are each other's best. A layer without any value has best "" and value NaN.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, or is not one.

    Notes
    -----
    For a distance the most alike layer has the smallest value. Among equals the namesake is taken, else the
    first. A model compared with itself finds every layer itself.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> layers = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> found = hl.correspondence(hl.compare(layers, dict(reversed(layers.items())), measures="cka"))
    >>> found.best_b.sel(layer_a="early").item()
    'early'
    """
    import xarray

    two_models(result)
    name = chosen_measure(result, measure)
    matrix = scores(result, name)
    layers_a, layers_b = result.layer_a.values.astype(str), result.layer_b.values.astype(str)
    namesakes = layers_a[:, None] == layers_b[None, :]
    of_a, of_b = best_in_rows(matrix, namesakes), best_in_rows(matrix.T, namesakes.T)
    mutual_a = np.array([j >= 0 and of_b[j] == i for i, j in enumerate(of_a)], dtype=bool)
    mutual_b = np.array([i >= 0 and of_a[i] == j for j, i in enumerate(of_b)], dtype=bool)
    values = result[name].values
    return xarray.Dataset(
        {
            "best_b": ("layer_a", _named(layers_b, of_a)),
            "value_b": ("layer_a", _picked(values, of_a)),
            "mutual_a": ("layer_a", mutual_a),
            "best_a": ("layer_b", _named(layers_a, of_b)),
            "value_a": ("layer_b", _picked(values.T, of_b)),
            "mutual_b": ("layer_b", mutual_b),
        },
        {"layer_a": layers_a, "layer_b": layers_b},
        {"measure": name, "kind": result[name].attrs["kind"]},
    )


def _named(layers: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.where(index >= 0, layers[index], "")


def _picked(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    picked = values[np.arange(len(index)), index]
    return np.where(index >= 0, picked, np.nan)


def layer_identification(
    results: xarray.Dataset | Sequence[xarray.Dataset], measures: Iterable[str] | None = None
) -> xarray.Dataset:
    """Measure how often the most alike layer of the other network is the one in the same place.

    The sanity check of Kornblith et al. (2019), Table 2: for two networks of one architecture trained from different seeds, the
    most alike layer should be the one of the same name. Both directions count; an asymmetric measure is symmetrised by adding
    the value with the roles exchanged (S + S^T). A layer decides where its namesake and at least one other were compared with it:
    a constant layer, which has no value, does not. Where k layers are equally alike, as dropout and its input, finding the right
    one among them counts 1/k.

    Parameters
    ----------
    results
        one result of `homolog.compare`, or several whose decisions are pooled; of many models all pairs count.
    measures
        which measures; those that all results share by default.

    Returns
    -------
    xarray.Dataset
        Over `measure`: `accuracy` in [0, 1], `chance` (one over the number of candidates) and `decisions`, their number.

    Raises
    ------
    ValueError
        If the layers of the two sides share no name, or a model was compared with itself.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> layers = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> other = {name: x + 0.1 * rng.normal(size=x.shape) for name, x in layers.items()}
    >>> hl.layer_identification(hl.compare(layers, other, measures="cka")).accuracy.item()
    1.0
    """
    import xarray

    if not isinstance(results, xarray.Dataset | Sequence):
        raise TypeError(f"results must be a result of homolog.compare or a list of them, got {described(results)}.")
    pooled = list(two_by_two([results] if isinstance(results, xarray.Dataset) else results))
    if not pooled:
        raise ValueError("layer identification needs at least one result of homolog.compare, got none.")
    for result in pooled:
        _check_identifiable(result)
    shared = [name for name in measure_names(pooled[0]) if all(name in measure_names(r) for r in pooled)]
    if isinstance(measures, str):
        measures = [measures]
    names = shared if measures is None else [chosen_measure(pooled[0], measure) for measure in measures]
    rows = [_identified(pooled, name) for name in names]
    columns = list(zip(*rows, strict=True))
    return xarray.Dataset(
        {
            "accuracy": ("measure", np.array(columns[0])),
            "chance": ("measure", np.array(columns[1])),
            "decisions": ("measure", np.array(columns[2], dtype=np.int32)),
        },
        {"measure": names},
        {"title": "layer identification", "comparisons": np.int32(len(pooled))},
    )


def two_by_two(results: Iterable[xarray.Dataset]) -> Iterator[xarray.Dataset]:
    """Yield results of two models; one of many gives each pair of different models once."""
    for result in results:
        measure_names(result)
        if "a" not in result.dims:
            yield result
            continue
        for model_a, model_b in itertools.combinations(models_in(result), 2):
            yield between(result, model_a, model_b)


def _check_identifiable(result: xarray.Dataset) -> None:
    two_models(result)
    if int(result.attrs.get("same_model", 0)):
        raise ValueError(
            "layer identification needs two networks, got a model compared with itself, which finds every layer: compare "
            "networks trained from different seeds."
        )
    if not set(result.layer_a.values) & set(result.layer_b.values):
        raise ValueError(
            "layer identification needs layers of the same name on both sides, got none in common: rename corresponding "
            "layers with Activations.rename."
        )


def _identified(results: Sequence[xarray.Dataset], measure: str) -> tuple[float, float, int]:
    right, chances = [], []
    for result in results:
        matrix = symmetrised(result, measure)
        layers_a, layers_b = result.layer_a.values.astype(str), result.layer_b.values.astype(str)
        for rows, columns, values in ((layers_a, layers_b, matrix), (layers_b, layers_a, matrix.T)):
            candidates = (~np.isnan(values)).sum(axis=1)
            for name, line, equal, among in zip(rows, values, tied(values), candidates, strict=True):
                if among < 2 or name not in columns or np.isnan(line[columns == name]).all():
                    continue
                found = bool(equal[columns == name].any())
                right.append(found / int(equal.sum()) if found else 0.0)
                chances.append(1 / int(among))
    if not right:
        raise ValueError(
            f"layer identification needs layers compared with their namesake and another, got none for {measure}: compare "
            f"with pairs='all'."
        )
    return float(np.mean(right)), float(np.mean(chances)), len(right)


def symmetrised(result: xarray.Dataset, measure: str) -> np.ndarray:
    """Return scores, plus those with the roles exchanged for an asymmetric measure."""
    matrix = scores(result, measure)
    companion: Any = result.get(f"{measure}_reversed")
    if companion is None:
        return matrix
    sign = -1 if result[measure].attrs["kind"] == "distance" else 1
    return matrix + sign * companion.values
