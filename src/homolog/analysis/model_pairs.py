"""Similarities of models, one number for each pair, and the distances that follow from them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import AsymmetryWarning, Caution, listed
from homolog.names import quoted
from homolog.result_kinds import COMPARISON, kind_of
from homolog.results import chosen_measure

ROUNDING = 1e-5
"""What counts as rounding in a value whose optimum is 1, as of sums in float32."""
BEST = {"similarity": 1.0, "distance": 0.0}
"""Kind → the value of a model with itself."""


@dataclass(frozen=True)
class ModelPairs:
    """A symmetric matrix over models; what it is, and what had to be done to it."""

    names: tuple[str, ...]
    values: np.ndarray
    """(n, n) as they were given, symmetric, and the optimum on the diagonal."""
    kind: str
    """"similarity" or "distance"."""
    label: str
    """The measure, or "" where none is known."""
    cautions: tuple[Caution, ...] = ()

    @property
    def distances(self) -> np.ndarray:
        """Return the distances of the models, (n, n).

        Distances are taken as they are. A similarity s of at most 1 becomes d = √(2(1 − s)). Where s is a cosine, as CKA is the
        cosine of two centred Gram matrices, this is the Euclidean distance of the two after each has been scaled to norm 1.
        Negative values of debiased measures give distances above √2.
        """
        if self.kind == "distance":
            return self.values
        return np.sqrt(2 * np.maximum(1 - self.values, 0))

    @property
    def likeness(self) -> np.ndarray:
        """Return the values so that larger is more alike: distances change sign."""
        return self.values if self.kind == "similarity" else -self.values

    @property
    def upper(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where each pair of different models stands once."""
        return np.triu_indices(len(self.names), 1)


def model_pairs(
    similarities: Any,
    *,
    measure: str | None = None,
    calibrated: bool = False,
    names: Iterable[Any] | None = None,
    fewest: int = 2,
) -> ModelPairs:
    """Return similarities of models from whatever holds them, checked; see `homolog.embed` for what may be given."""
    matrix, models, kind, label = _given(similarities, measure, calibrated, names)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"similarities must be a square matrix, models by models, got shape {matrix.shape}: select the same models on both "
            f"sides."
        )
    if len(models) < fewest:
        raise ValueError(f"this needs at least {fewest} models, got {len(models)}: add models.")
    if len(set(models)) < len(models):
        twice = next(name for name in models if models.count(name) > 1)
        raise ValueError(f"models must have different names, got {quoted(twice)} twice: rename one.")
    kind = kind or _kind_of(matrix)
    matrix = matrix.copy()
    own = np.diagonal(matrix)
    if not np.isinf(own).any():
        np.fill_diagonal(matrix, np.where(np.isnan(own), BEST[kind], own))
    _check_finite(matrix, models)
    cautions = _check_symmetry(matrix, models)
    matrix = (matrix + matrix.T) / 2
    _check_values(matrix, models, kind)
    np.fill_diagonal(matrix, BEST[kind])
    matrix = np.minimum(matrix, 1) if kind == "similarity" else np.maximum(matrix, 0)
    return ModelPairs(tuple(models), matrix, kind, label, tuple(cautions))


Given = tuple[np.ndarray, list[str], str | None, str]
"""A matrix, its models, its kind where it is known, and its measure."""


def _given(similarities: Any, measure: str | None, calibrated: bool, names: Iterable[Any] | None) -> Given:
    what = type(similarities).__name__
    if what == "Dataset":
        _refuse_names(names)
        return _of_dataset(similarities, measure, calibrated)
    if measure is not None or calibrated:
        raise ValueError(
            "measure= and calibrated= choose from the Dataset of homolog.model_similarity, got a single matrix: leave them out."
        )
    if what == "DataArray":
        _refuse_names(names)
        return _of_array(similarities)
    if what == "DataFrame" and hasattr(similarities, "index"):
        _refuse_names(names)
        rows, columns = (list(map(str, labels)) for labels in (similarities.index, similarities.columns))
        return *_aligned(_numbers(similarities), rows, columns), None, ""
    matrix = _numbers(similarities)
    models = list(map(str, range(len(matrix)) if names is None else names))
    if len(models) != len(matrix):
        raise ValueError(f"names must be one for each of the {len(matrix)} models, got {len(models)}.")
    return matrix, models, None, ""


def _refuse_names(names: Any) -> None:
    if names is not None:
        raise ValueError("names= are for a plain array, got labelled similarities: rename their labels.")


def _of_dataset(result: Any, measure: str | None, calibrated: bool) -> Given:
    if not {"model_a", "model_b"} <= set(result.dims):
        dimensions = ", ".join(map(str, result.dims)) or "none"
        remedy = "reduce it with" if kind_of(result) == COMPARISON else "take what comes from"
        raise ValueError(
            f"similarities must be of models, one number for each pair, got a Dataset over {dimensions}: {remedy} "
            f"homolog.model_similarity(result)."
        )
    name = chosen_measure(result, measure)
    variable = f"{name}_calibrated" if calibrated else name
    if variable not in result:
        raise KeyError(
            f"calibrated=True needs {quoted(variable)} in the result, got none: compare with null='permutation', calibrate=True."
        )
    found = result[variable]
    about = result[name].attrs | found.attrs
    # A calibrated value is a similarity, of 1 for equal models, whatever the measure is.
    kind = found.attrs.get("kind", "similarity") if calibrated else about.get("kind")
    if not calibrated:
        _check_range(str(about.get("range", "[null, 1.0]")), kind, name)
    matrix, models, _, _ = _of_array(found.drop_attrs())
    return matrix, models, kind, variable


def _of_array(array: Any) -> Given:
    """Return an array with labels, whose rows and columns may stand in different orders."""
    if array.ndim != 2:
        raise ValueError(
            f"similarities must be a matrix, models by models, got dimensions {', '.join(array.dims) or 'none'}."
        )
    if "model_a" in array.dims:
        array = array.transpose("model_a", "model_b")
    rows, columns = ([str(name) for name in array[dimension].values] for dimension in array.dims)
    kind = array.attrs.get("kind")
    _check_range(str(array.attrs.get("range", "[null, 1.0]")), kind, str(array.name))
    matrix, models = _aligned(_numbers(array.values), rows, columns)
    return matrix, models, kind if kind in BEST else None, str(array.name or "")


def _aligned(matrix: np.ndarray, rows: list[str], columns: list[str]) -> tuple[np.ndarray, list[str]]:
    """Put the columns in the order of the rows."""
    if rows == columns or len(set(rows)) < len(rows):
        return matrix, rows
    if set(rows) != set(columns) or len(rows) != len(columns):
        odd = sorted(set(rows) ^ set(columns))
        raise ValueError(
            f"similarities must have the same models in rows and columns, got {listed(map(quoted, odd))} on one side alone: "
            f"select the same models on both sides."
        )
    return matrix[:, [columns.index(name) for name in rows]], rows


def _numbers(values: Any) -> np.ndarray:
    """Return a matrix of floats, NaN where an entry is masked."""
    found = None
    if not np.iscomplexobj(values):
        with contextlib.suppress(TypeError, ValueError):
            found = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if found is None or found.ndim == 0:
        raise TypeError(f"similarities must be a matrix of real numbers, models by models, got {described(values)}.")
    return found


def _check_range(written: str, kind: Any, name: str) -> None:
    """Raise where a similarity has no upper end of 1."""
    high = json.loads(written)[1]
    if kind == "similarity" and high != 1:
        end = "no upper end" if high is None else f"an upper end of {high:g}"
        raise ValueError(
            f"a similarity needs an upper end of 1 to become a distance, got {name} with {end}: take one that is scaled, such as "
            f"cka, or give distances of your own."
        )


def _kind_of(matrix: np.ndarray) -> str:
    """Tell similarities from distances by the diagonal, the models with themselves."""
    own = np.diagonal(matrix)
    for kind, best in BEST.items():
        if own.size and np.all(np.abs(own - best) <= ROUNDING):
            return kind
    raise ValueError(
        "the diagonal must be each model with itself, 1 throughout for similarities or 0 for distances, got "
        f"{listed(f'{value:.4g}' for value in own)}: scale the values, or fill the diagonal."
    )


def _pair(models: Sequence[str], wrong: np.ndarray) -> str:
    return listed((f"{quoted(models[i])} and {quoted(models[j])}" for i, j in np.argwhere(wrong) if i <= j), 3)


def _check_finite(matrix: np.ndarray, models: Sequence[str]) -> None:
    wrong = ~np.isfinite(matrix)
    if wrong.any():
        raise ValueError(
            f"similarities must be finite for every pair of models, got none for {_pair(models, wrong | wrong.T)}: leave such "
            f"models out, or compare them."
        )


def _check_symmetry(matrix: np.ndarray, models: Sequence[str]) -> list[Caution]:
    """Say where the two directions differ by more than rounding."""
    apart = np.abs(matrix - matrix.T)
    different = apart > ROUNDING * max(1.0, float(np.abs(matrix).max(initial=0)))
    if not different.any():
        return []
    for triangle in (np.tril(matrix, -1), np.triu(matrix, 1)):
        if not triangle.any():
            raise ValueError(
                "similarities must be given for both directions, got zeros on one side of the diagonal: mirror the other side."
            )
    most = float(apart.max())
    message = (
        f"the similarities are not symmetric: they differ by up to {most:.2g}, as for {_pair(models, apart == most)}; the mean "
        f"of both directions was taken."
    )
    return [Caution(AsymmetryWarning, message)]


def _check_values(matrix: np.ndarray, models: Sequence[str], kind: str) -> None:
    """Raise where a pair is more alike than a model with itself can be, or a model is less than wholly like itself."""
    scale = 1.0 if kind == "similarity" else max(1.0, float(np.abs(matrix).max()))
    beyond = matrix - 1 if kind == "similarity" else -matrix
    own = np.diagonal(beyond)
    if np.any(np.abs(own) > ROUNDING * scale):
        worst = int(np.argmax(np.abs(own)))
        raise ValueError(
            f"a model must have the {kind} {BEST[kind]:g} with itself, got {matrix[worst, worst]:.4g} for "
            f"{quoted(models[worst])}: scale the values, or take a measure that is {BEST[kind]:g} for equal models."
        )
    if np.any(beyond > ROUNDING * scale):
        wrong = beyond > ROUNDING * scale
        raise ValueError(
            f"no {kind} may be {'above 1' if kind == 'similarity' else 'below 0'}, got {matrix[wrong][0]:.4g} for "
            f"{_pair(models, wrong)}: scale the values."
        )


def labels_of(given: Any, models: Sequence[str], what: str) -> list[str]:
    """Return one label for each model, from a mapping of models or one label per model in order."""
    if isinstance(given, str) or (not hasattr(given, "__len__") and not hasattr(given, "keys")):
        raise TypeError(
            f"{what} must be one label for each model, or a mapping of models to labels, got {described(given)}."
        )
    named = _as_mapping(given, models)
    if named is not None:
        missing = [name for name in models if name not in named]
        if missing:
            raise ValueError(f"{what} must have a label for every model, got none for {listed(map(quoted, missing))}.")
        found = [named[name] for name in models]
    else:
        found = list(np.asarray(given, dtype=object).reshape(-1))
        if len(found) != len(models):
            raise ValueError(f"{what} must be one label for each of the {len(models)} models, got {len(found)}.")
    empty = [name for name, label in zip(models, found, strict=True) if label is None or label != label]
    if empty:
        raise ValueError(f"{what} must have a label for every model, got none for {listed(map(quoted, empty))}.")
    return [str(label) for label in found]


def _as_mapping(given: Any, models: Sequence[str]) -> dict[str, Any] | None:
    if isinstance(given, Mapping):
        return {str(name): label for name, label in given.items()}
    if hasattr(given, "to_dict") and hasattr(given, "index") and not hasattr(given, "columns"):  # a Series of pandas
        index = list(map(str, given.index))
        if set(index) & set(models):
            return dict(zip(index, given.tolist(), strict=True))
    return None
