"""Similarities of models, one number for each pair, and the distances that follow from them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from homolog.arrays import described, to_numpy
from homolog.diagnostics import AsymmetryWarning, Caution, listed
from homolog.names import quoted
from homolog.result_kinds import COMPARISON, MODEL_SIMILARITY, TAKEN_BY, is_title, kind_of
from homolog.results import chosen_measure
from homolog.warning_sentences import above_one_by_sketches
from homolog.whole_results import whole

ROUNDING = 1e-5
"""What counts as rounding, as a share of the scale of the values, as of sums in float32."""
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
    scale: float = 1.0
    """What rounding is relative to: 1 for a similarity, the upper end of a distance, 0 where it has none."""

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
    matrix, models, kind, label, scale = _given(similarities, measure, calibrated, names)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"similarities must be a square matrix, models by models, got shape {matrix.shape}: {_squared(matrix)}."
        )
    if len(models) < fewest:
        raise ValueError(f"this needs at least {fewest} models, got {len(models)}: add models.")
    if len(set(models)) < len(models):
        twice = next(name for name in models if models.count(name) > 1)
        raise ValueError(f"models must have different names, got {quoted(twice)} twice: rename one.")
    kind = kind or _kind_of(matrix)
    scale = 1.0 if kind == "similarity" else scale
    rounding = ROUNDING * max(scale, _largest(matrix) if kind == "distance" else 0.0)
    matrix = matrix.copy()
    own = np.diagonal(matrix)
    if not np.isinf(own).any():
        np.fill_diagonal(matrix, np.where(np.isnan(own), BEST[kind], own))
    _check_finite(matrix, models)
    cautions = _check_symmetry(matrix, models, rounding)
    matrix = matrix / 2 + matrix.T / 2
    if kind == "similarity" and int(getattr(similarities, "attrs", {}).get("sketched", 0)):
        cautions += above_one_by_sketches(float(matrix.max())) if np.any(matrix > 1 + rounding) else []
        matrix = np.minimum(matrix, 1)
    _check_values(matrix, models, kind, rounding)
    np.fill_diagonal(matrix, BEST[kind])
    matrix = np.minimum(matrix, 1) if kind == "similarity" else np.maximum(matrix, 0)
    return ModelPairs(tuple(models), matrix, kind, label, tuple(cautions), scale)


def _squared(matrix: np.ndarray) -> str:
    """Return the remedy for values that are no square matrix."""
    if matrix.ndim == 1:
        return "make one of condensed distances with scipy.spatial.distance.squareform"
    return "select the same models on both sides"


def _largest(matrix: np.ndarray) -> float:
    """Return the largest finite value of two different models: what is small beside it is rounding."""
    apart = np.abs(matrix[~np.eye(len(matrix), dtype=bool)])
    return float(apart[np.isfinite(apart)].max(initial=0.0))


Given = tuple[np.ndarray, list[str], str | None, str, float]
"""A matrix, its models, its kind where it is known, its measure, and the upper end of its range, 0 where it has none."""


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
        return *_aligned(_numbers(similarities), rows, columns), None, "", 0.0
    matrix = _numbers(similarities)
    if isinstance(names, str | bytes) or not (names is None or hasattr(names, "__iter__")):
        raise TypeError(f"names must be one name for each model, got {described(names)}.")
    models = list(map(str, range(len(matrix)) if names is None else names))
    if len(models) != len(matrix):
        raise ValueError(f"names must be one for each of the {len(matrix)} models, got {len(models)}.")
    return matrix, models, None, "", 0.0


def _refuse_names(names: Any) -> None:
    if names is not None:
        raise ValueError("names= are for a plain array, got labelled similarities: rename their labels.")


def _of_dataset(result: Any, measure: str | None, calibrated: bool) -> Given:
    if kind_of(result) == MODEL_SIMILARITY:
        result = in_one_order(result)
    if not {"model_a", "model_b"} <= set(result.dims):
        dimensions = ", ".join(map(str, result.dims)) or "none"
        remedy = "reduce it with homolog.model_similarity(result)"
        if is_title(result.attrs.get("title")) and kind_of(result) not in (COMPARISON, MODEL_SIMILARITY):
            remedy = TAKEN_BY[kind_of(result)]
        raise ValueError(
            f"similarities must be of models, one number for each pair, got a Dataset over {dimensions}: {remedy}."
        )
    if "measures" not in result.attrs:
        raise ValueError(
            "similarities must be what homolog.model_similarity returned, got a Dataset without its attributes: give one of its "
            "variables, result['cka']."
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
    end = 1.0 if calibrated else _upper_end(about, kind, name)
    matrix, models, *_ = _of_array(found.drop_attrs())
    return matrix, models, kind, variable, end


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
    end = _upper_end(array.attrs, kind, str(array.name))
    matrix, models = _aligned(_numbers(array.values), rows, columns)
    return matrix, models, kind if kind in BEST else None, str(array.name or ""), end


def _aligned(matrix: np.ndarray, rows: list[str], columns: list[str]) -> tuple[np.ndarray, list[str]]:
    """Put the columns in the order of the rows."""
    if len(set(rows)) < len(rows):
        return matrix, rows  # which is refused by its name
    return matrix[:, _places(rows, columns)], rows


def _places(rows: list[str], columns: list[str]) -> list[int]:
    """Return where each model of the rows stands in the columns."""
    if sorted(rows) != sorted(columns):
        odd = sorted(set(rows) ^ set(columns)) or [name for name in columns if columns.count(name) > 1]
        raise ValueError(
            f"similarities must have the same models in rows and columns, got {listed(map(quoted, odd))} on one side alone: "
            f"select the same models on both sides."
        )
    return [columns.index(name) for name in rows]


def in_one_order(result: Any) -> Any:
    """Return similarities of models, a Dataset, with rows and columns in the order of the rows."""
    result = whole(result, MODEL_SIMILARITY)
    rows, columns = ([str(name) for name in result[side].values] for side in ("model_a", "model_b"))
    if len(set(rows)) < len(rows):
        twice = next(name for name in rows if rows.count(name) > 1)
        raise ValueError(f"models must have different names, got {quoted(twice)} twice: rename one.")
    return result.isel(model_b=_places(rows, columns))


def _numbers(values: Any) -> np.ndarray:
    """Return a matrix of floats, NaN where an entry is masked."""
    found = None
    if type(values).__name__ == "Activations" or isinstance(values, Mapping):
        raise TypeError(
            f"similarities must be numbers, models by models, got {described(values)}: compare the models, "
            f"homolog.model_similarity(homolog.compare(models))."
        )
    with contextlib.suppress(TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError):
        values = to_numpy(values) if is_array_api_obj(values) and not isinstance(values, np.ndarray) else values
        if not np.iscomplexobj(values):
            found = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if found is None or found.ndim == 0:
        raise TypeError(f"similarities must be a matrix of real numbers, models by models, got {described(values)}.")
    return found


def _upper_end(about: Mapping[Any, Any], kind: Any, name: str) -> float:
    """Return the upper end of a range, 0 where it has none; raise where a similarity has another than 1."""
    default = "[null, 1.0]" if kind == "similarity" else "[0.0, null]"
    high = json.loads(str(about.get("range", default)))[1]
    if kind == "similarity" and high != 1:
        end = "no upper end" if high is None else f"an upper end of {high:g}"
        raise ValueError(
            f"a similarity needs an upper end of 1 to become a distance, got {name} with {end}: take one that is scaled, such as "
            f"cka, or give distances of your own."
        )
    return float(high or 0.0)


def _kind_of(matrix: np.ndarray) -> str:
    """Tell similarities from distances by the diagonal, the models with themselves."""
    own = np.diagonal(matrix)
    for kind, best in BEST.items():
        scale = 1.0 if kind == "similarity" else _largest(matrix)
        if own.size and np.all(np.abs(own - best) <= ROUNDING * scale):
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
        remedy = "leave such models out, or compare them"
        if not (wrong & wrong.T).any():
            remedy = "compare the models in one mapping, which gives both ways round"
        raise ValueError(
            f"similarities must be finite for every pair of models, got none for {_pair(models, wrong | wrong.T)}: {remedy}."
        )


def _check_symmetry(matrix: np.ndarray, models: Sequence[str], rounding: float) -> list[Caution]:
    """Say where the two directions differ by more than rounding."""
    apart = np.abs(matrix - matrix.T)
    different = apart > rounding
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


def _check_values(matrix: np.ndarray, models: Sequence[str], kind: str, rounding: float) -> None:
    """Raise where a pair is more alike than a model with itself can be, or a model is less than wholly like itself."""
    beyond = matrix - 1 if kind == "similarity" else -matrix
    own = np.diagonal(beyond)
    if np.any(np.abs(own) > rounding):
        worst = int(np.argmax(np.abs(own)))
        raise ValueError(
            f"a model must have the {kind} {BEST[kind]:g} with itself, got {matrix[worst, worst]:.4g} for "
            f"{quoted(models[worst])}: scale the values, or take a measure that is {BEST[kind]:g} for equal models."
        )
    wrong = beyond > rounding
    if wrong.any():
        raise ValueError(
            f"no {kind} may be {'above 1' if kind == 'similarity' else 'below 0'}, got {matrix[wrong][0]:.4g} for "
            f"{_pair(models, wrong)}: scale the values."
        )
