"""What a result says: which layer corresponds to which, and how often the right one is found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


def measure_names(result: xarray.Dataset) -> list[str]:
    """Return the variables of a result that are measures, without their companions."""
    if "measures" not in result.attrs:
        raise ValueError("a result must come from homolog.compare, got a Dataset without its 'measures' attribute.")
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


def best_in_rows(matrix: np.ndarray) -> np.ndarray:
    """Return the column of each row's largest value; −1 for a row of NaN."""
    missing = np.isnan(matrix)
    best = np.argmax(np.where(missing, -np.inf, matrix), axis=1)
    return np.where(missing.all(axis=1), -1, best)


def correspondence(result: xarray.Dataset, measure: str | None = None) -> xarray.Dataset:
    """Find the most alike layer for every layer, both ways.

    Parameters
    ----------
    result : what `homolog.compare` returned.
    measure : which of its measures; the first by default.

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
    For a distance the most alike layer has the smallest value. A model compared with itself finds every layer itself.

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

    name = chosen_measure(result, measure)
    matrix = scores(result, name)
    of_a, of_b = best_in_rows(matrix), best_in_rows(matrix.T)
    layers_a, layers_b = result.layer_a.values.astype(str), result.layer_b.values.astype(str)
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
    the value with the roles exchanged (S + S^T).

    Parameters
    ----------
    results : one result of `homolog.compare`, or several whose decisions are pooled.
    measures : which measures; those that all results share by default.

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

    pooled = [results] if isinstance(results, xarray.Dataset) else list(results)
    if not pooled:
        raise ValueError("layer identification needs at least one result of homolog.compare, got none.")
    for result in pooled:
        _check_identifiable(result)
    shared = [name for name in measure_names(pooled[0]) if all(name in measure_names(r) for r in pooled)]
    names = shared if measures is None else [chosen_measure(r, m) for m in measures for r in pooled[:1]]
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


def _check_identifiable(result: xarray.Dataset) -> None:
    measure_names(result)
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
            best = best_in_rows(values)
            candidates = (~np.isnan(values)).sum(axis=1)
            for name, found, among in zip(rows, best, candidates, strict=True):
                if name in columns:
                    right.append(bool(found >= 0 and columns[found] == name))
                    chances.append(1 / max(int(among), 1))
    return float(np.mean(right)), float(np.mean(chances)), len(right)


def symmetrised(result: xarray.Dataset, measure: str) -> np.ndarray:
    """Return scores, plus those with the roles exchanged for an asymmetric measure."""
    matrix = scores(result, measure)
    companion: Any = result.get(f"{measure}_reversed")
    if companion is None:
        return matrix
    sign = -1 if result[measure].attrs["kind"] == "distance" else 1
    return matrix + sign * companion.values
