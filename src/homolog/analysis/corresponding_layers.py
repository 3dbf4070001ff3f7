"""Which layer corresponds to which: the best of every row, one to one, and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from homolog.results import ALPHA, arranged, best_in_rows, chosen_measure, companion, is_supported, scores, two_models

if TYPE_CHECKING:
    import xarray


def correspondence(result: xarray.Dataset, measure: str | None = None) -> xarray.Dataset:
    """Find the corresponding layer for every layer, both ways: the most alike, one to one, and in order.

    Parameters
    ----------
    result
        what `homolog.compare` returned.
    measure
        which of its measures; the first by default.

    Returns
    -------
    xarray.Dataset
        For the layers of a (layer_a), and with a and b exchanged for those of b:

        - `best_b`, `value_b`: the most alike layer of b and the value; `mutual_a`: whether each is the other's best.
        - `supported_b`: whether this pair is more alike than by chance: its p-value, adjusted for all pairs (false discovery
          rate), is at most 0.01, and its value is beyond its null level where there is one. False where the result has no
          p-values of the measure; the attribute `support` says what was looked at.
        - `assigned_b`: the partner where every layer has at most one, and the sum of the scores is the largest possible. The
          wider side has layers without one.
        - `path_b`: the partner where partners never go back as the layers go on, and the sum of the scores over a is the largest
          possible: several layers may share one.

        A layer without any value, or without a partner, has "" there and value NaN.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, or is not one.

    Notes
    -----
    For a distance the most alike layer has the smallest value. Among equals the namesake is taken, else the
    first. A model compared with itself finds every layer itself. The assignment costs O(L³), the path O(L²) for L layers.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> layers = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> found = hl.correspondence(hl.compare(layers, dict(reversed(layers.items())), measures="cka"))
    >>> found.best_b.sel(layer_a="early").item()
    'early'
    >>> found.supported_b.values.tolist()
    [True, True]
    >>> found.path_b.values.tolist()  # b holds them in the other order: no path has both
    ['late', 'late']
    """
    import xarray

    result = arranged(result)
    two_models(result)
    name = chosen_measure(result, measure)
    matrix = scores(result, name)
    layers_a, layers_b = result.layer_a.values.astype(str), result.layer_b.values.astype(str)
    namesakes = layers_a[:, None] == layers_b[None, :]
    of_a, of_b = best_in_rows(matrix, namesakes), best_in_rows(matrix.T, namesakes.T)
    values = result[name].values
    supported = is_supported(result, name)
    found = {
        **_one_side("a", "b", layers_b, of_a, of_b, values, supported),
        **_one_side("b", "a", layers_a, of_b, of_a, values.T, supported.T),
        "assigned_b": ("layer_a", _named(layers_b, assignment(matrix))),
        "assigned_a": ("layer_b", _named(layers_a, assignment(matrix.T))),
        "path_b": ("layer_a", _named(layers_b, monotone_path(matrix))),
        "path_a": ("layer_b", _named(layers_a, monotone_path(matrix.T))),
    }
    attributes = {"measure": name, "kind": result[name].attrs["kind"], "support": _support(result, name)}
    return xarray.Dataset(found, {"layer_a": layers_a, "layer_b": layers_b}, attributes)


def _one_side(
    own: str,
    other: str,
    layers: np.ndarray,
    best: np.ndarray,
    best_of_other: np.ndarray,
    values: np.ndarray,
    supported: np.ndarray,
) -> dict[str, tuple[str, np.ndarray]]:
    mutual = np.array([j >= 0 and best_of_other[j] == i for i, j in enumerate(best)], dtype=bool)
    picked = np.where(best >= 0, values[np.arange(len(best)), best], np.nan)
    return {
        f"best_{other}": (f"layer_{own}", _named(layers, best)),
        f"value_{other}": (f"layer_{own}", picked),
        f"mutual_{own}": (f"layer_{own}", mutual),
        f"supported_{other}": (f"layer_{own}", (best >= 0) & supported[np.arange(len(best)), best]),
    }


def _support(result: xarray.Dataset, name: str) -> str:
    """Say what was looked at to call a match more alike than by chance."""
    adjusted, level = companion(result, name, "p_fdr"), companion(result, name, "null")
    if adjusted is None:
        return f"nothing: {name} has no p-value here; compare with null='permutation'"
    method = adjusted.attrs.get("method", "permutation")
    looked_at = f"a p-value by {method}, adjusted for all pairs (false discovery rate), of at most {ALPHA:g}"
    return looked_at if level is None else f"{looked_at}, and a value beyond the null level"


def _named(layers: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.where(index >= 0, layers[index], "")


def assignment(matrix: np.ndarray) -> np.ndarray:
    """Return the column of each row in the one-to-one assignment of largest sum, −1 for none; NaN is never assigned."""
    finite, missing = _without_nan(matrix)
    rows, columns = scipy.optimize.linear_sum_assignment(finite, maximize=True)
    found = np.full(len(matrix), -1)
    found[rows] = columns
    found[rows[missing[rows, columns]]] = -1
    return found


def monotone_path(matrix: np.ndarray) -> np.ndarray:
    """Return the columns of largest sum, one for each row, that never go back; −1 for rows of NaN."""
    finite, missing = _without_nan(matrix)
    total = finite[0].copy()
    came_from = np.zeros(matrix.shape, dtype=int)
    for i in range(1, len(matrix)):
        # The best column so far, at or before each: ties stay with the earlier one.
        best = np.maximum.accumulate(total)
        first = np.concatenate([[True], total[1:] > best[:-1]])
        came_from[i] = np.maximum.accumulate(np.where(first, np.arange(len(total)), 0))
        total = best + finite[i]
    found = np.full(len(matrix), int(np.argmax(total)))
    for i in range(len(matrix) - 1, 0, -1):
        found[i - 1] = came_from[i, found[i]]
    return np.where(missing[np.arange(len(matrix)), found], -1, found)


def _without_nan(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return finite scores, where infinity outweighs everything else and NaN is outweighed by everything, and where NaN was."""
    missing = np.isnan(matrix)
    finite = matrix[np.isfinite(matrix)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    step = (high - low + 1) * (sum(matrix.shape) + 1)
    return np.nan_to_num(matrix, nan=low - step, posinf=high + step, neginf=low - step), missing
