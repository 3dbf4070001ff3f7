"""Reading a result: whether it is whole, values by name, best matches, marks."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import described
from homolog.names import SHORT_NAMES, plain_name, quoted
from homolog.result_kinds import COMPARISON, check_kind
from homolog.whole_results import (
    Check,
    cautions,
    check_dimensions,
    check_variable,
    holds,
    in_memory,
    number,
    refuse,
    text,
    texts,
    whole_number,
)

if TYPE_CHECKING:
    import xarray
TIE = 1e-9
"""Scores closer than this fraction are equal up to rounding."""
FORMER = {"p_fwer": "p_familywise", "p_fdr": "p_discovery"}
"""Kind of companion → what results of earlier versions call it."""
ALPHA = 0.01
"""Adjusted p-values up to this say that a pair is more alike than by chance."""


UNITS = ("n_units", "rows_in_groups")
"""Attributes of results over rows that belong together: how many units these are, or, in files of before, that they do."""


def independent_rows(result: xarray.Dataset) -> bool:
    """Say whether each row is an example of its own, for which the formulas of what chance gives are."""
    return not any(name in result.attrs for name in UNITS)


def told_examples(result: xarray.Dataset) -> str:
    """Say over how many examples a result is, or over how many rows of fewer units that are independent of each other."""
    n, units = int(result.attrs["n_examples"]), int(result.attrs.get("n_units", 0))
    if units:
        return f"{n} rows of {units} independent examples or groups"
    return f"{n} examples" if independent_rows(result) else f"{n} rows of groups that are independent of each other"


def no_order_tells(result: xarray.Dataset) -> bool:
    """Say whether the examples have so few orders that no permutation can say that anything is more alike than by chance."""
    return int(result.attrs.get("n_orders", 10**9)) < 1 / ALPHA


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
    """Return the measure asked for, also by what people call it for short, or the first of the result."""
    names = measure_names(result)
    if not names:
        raise ValueError(
            "a result must hold at least one of its measures, got one without any: select layers, not variables."
        )
    if measure is None:
        return names[0]
    asked = str(measure)
    # A variable is called by its text form, without defaults.
    meant = SHORT_NAMES.get(plain_name(asked), plain_name(asked)).replace("(kernel=linear)", "")
    found = next((name for name in names if asked == name), None) or next(
        (name for name in names if meant == name), None
    )
    if found is None:
        raise KeyError(f"unknown measure {quoted(asked)} in this result, which holds {', '.join(names)}.")
    return found


def companion(result: xarray.Dataset, measure: str, kind: str) -> Any:
    """Return a companion of a measure, such as "p_fdr", also of a result of an earlier version; None where it has none."""
    return result.get(f"{measure}_{kind}", result.get(f"{measure}_{FORMER.get(kind, kind)}"))


def scores(result: xarray.Dataset, measure: str) -> np.ndarray:
    """Return the matrix in which larger is more alike: distances change sign."""
    values = np.asarray(result[measure].values, dtype=float)
    return -values if result[measure].attrs["kind"] == "distance" else values


def best_in_rows(matrix: np.ndarray, preferred: np.ndarray | None = None) -> np.ndarray:
    """Return the column of each row's largest value, −1 for a row of NaN; among equals a preferred one, else the first."""
    missing = np.isnan(matrix)
    ranked = np.where(missing, -np.inf, matrix)
    equal = equal_to_largest(matrix)
    if preferred is not None:
        equal = np.where((equal & preferred).any(axis=1, keepdims=True), equal & preferred, equal)
        return np.where(missing.all(axis=1), -1, np.argmax(equal, axis=1))
    return np.where(missing.all(axis=1), -1, np.argmax(ranked, axis=1))


def equal_to_largest(matrix: np.ndarray) -> np.ndarray:
    """Return which entries equal the largest of their row up to rounding."""
    ranked = np.where(np.isnan(matrix), -np.inf, matrix)
    largest = ranked.max(axis=1, keepdims=True)
    near = ranked >= largest - TIE * np.abs(np.where(np.isfinite(largest), largest, 0))
    # An infinite value equals only another one.
    return (ranked > -np.inf) & np.where(np.isinf(largest), ranked == largest, near)


def without_diagonal(result: xarray.Dataset, name: str) -> xarray.Dataset:
    """Return a result without the comparisons of a layer with itself: of one model, readers ask for the other layers."""
    return result.assign({name: result[name].where(result.layer_a != result.layer_b).assign_attrs(result[name].attrs)})


def arranged(result: xarray.Dataset) -> xarray.Dataset:
    """Return a comparison in memory with the layers of a in rows; raise where a selection left out what reading needs."""
    check_kind(result, COMPARISON)
    measure_names(result)
    sides = ("a", "b") if of_many(result) else ("layer_a", "layer_b")
    check_dimensions(result, COMPARISON, sides)
    check_result(result)
    return in_memory(result).transpose(..., *sides)


def of_many(result: xarray.Dataset) -> bool:
    """Say whether a comparison is of many models, also where a selection dropped one of its dimensions."""
    return "models" in result.attrs or bool({"a", "b"} & set(result.dims))


def two_models(result: xarray.Dataset) -> None:
    """Raise unless a result holds the layers of two models in its two dimensions."""
    check_kind(result, COMPARISON)
    measure_names(result)
    if of_many(result):
        models = ", ".join(json.loads(result.attrs["models"]))
        raise ValueError(
            f"this needs two models, got a result of many: choose with homolog.between(result, ...) of {models}."
        )
    check_dimensions(result, COMPARISON, ("layer_a", "layer_b"))


def many_models(result: xarray.Dataset) -> None:
    """Raise unless a result holds many models."""
    check_kind(result, COMPARISON)
    measure_names(result)
    if not of_many(result):
        raise ValueError(
            "a result must be of many models, got one of two: compare a mapping of models, {'seed 0': layers, 'seed 1': layers}."
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
    for result in map(arranged, results):
        measure_names(result)
        if "a" not in result.dims:
            yield result
            continue
        for model_a, model_b in itertools.combinations(models_in(result), 2):
            yield between(result, model_a, model_b)


def symmetrised(result: xarray.Dataset, measure: str) -> np.ndarray:
    """Return scores, plus those with the roles exchanged for an asymmetric measure."""
    matrix = scores(result, measure)
    exchanged = companion(result, measure, "reversed")
    if exchanged is None:
        return matrix
    sign = -1 if result[measure].attrs["kind"] == "distance" else 1
    return matrix + sign * exchanged.values


def check_result(result: xarray.Dataset, *, joined: bool = False) -> None:
    """Raise, in one sentence, unless a result has all that `homolog.compare` writes, of the kinds it writes.

    Results that were `joined` have a dimension more.
    """
    many = of_many(result)
    needed = _ATTRIBUTES | (_MANY if many else _TWO)
    endings = {str(name).rpartition("_")[2] for name in result.data_vars if "companion_of" in result[name].attrs}
    needed |= {"n_permutations": whole_number(1)} if _permuted(result) else {}
    needed |= {"level": number(0, 1), "interval": text} if "low" in endings else {}
    optional = {name: check for name, check in _OPTIONAL.items() if name in result.attrs}
    for name, check in (needed | optional).items():
        _check_attribute(result.attrs, name, check, "an attribute")
    sides = ("a", "b") if many else ("layer_a", "layer_b")
    for name in [f"{what}_{side}" for what in ("layer", "features", *(["model"] if many else [])) for side in "ab"]:
        if name not in result.coords:
            refuse(COMPARISON, f"no coordinate {name!r}")
    for side in "ab":
        if result[f"features_{side}"].dtype.kind not in "iu":
            refuse(COMPARISON, f"a coordinate 'features_{side}' that is no integers")
    for name in json.loads(result.attrs["measures"]):
        if name in result:
            _check_variable(result, name, None if joined else sides)


def _permuted(result: xarray.Dataset) -> bool:
    """Say whether any p-value comes from permutations, as all of them did in results of earlier versions."""
    pvalues = [name for name in result.data_vars if str(name).endswith("_p") and "companion_of" in result[name].attrs]
    return any(result[name].attrs.get("method", "permutation") == "permutation" for name in pvalues)


def _check_variable(result: xarray.Dataset, name: str, sides: tuple[str, str] | None) -> None:
    for check_name, check in _OF_MEASURES.items():
        _check_attribute(result[name].attrs, check_name, check, f"an attribute of {quoted(name)}")
    if companion(result, name, "p_fdr") is not None and f"{name}_p" not in result:
        refuse(COMPARISON, f"no variable {quoted(f'{name}_p')} beside its adjusted ones")
    companions = [other for other in result.data_vars if result[other].attrs.get("companion_of") == name]
    for variable in (name, *companions):
        if result[variable].dtype.kind != "f":
            refuse(COMPARISON, f"a variable {quoted(variable)} of {result[variable].dtype}")
        if sides is not None:
            check_variable(result, COMPARISON, str(variable), sides)


def _check_attribute(attributes: Mapping[Any, Any], name: str, check: Check, what: str) -> None:
    if name not in attributes:
        refuse(COMPARISON, f"{what} {name!r} missing")
    if not holds(check, attributes[name]):
        refuse(COMPARISON, f"{what}, {name!r}, of another kind ({quoted(attributes[name])[:60]})")


def _notes(value: Any) -> bool:
    found = json.loads(value)
    return isinstance(found, dict) and all(map(text, found.values()))


def _models(value: Any) -> bool:
    found = json.loads(value)
    return isinstance(found, dict) and all(_notes(json.dumps(notes)) for notes in found.values())


def _range(value: Any) -> bool:
    low, high = json.loads(value)
    return all(end is None or number()(end) for end in (low, high))


_ATTRIBUTES: dict[str, Check] = {
    "measures": texts,
    "n_examples": whole_number(1),
    "same_model": whole_number(0, 1),
    "homolog_version": text,
    "warnings": cautions,
}
_TWO: dict[str, Check] = {
    "model_a": text,
    "model_b": text,
    "activations_a": _notes,
    "activations_b": _notes,
}
_MANY: dict[str, Check] = {"models": _models}
_OPTIONAL: dict[str, Check] = {
    "n_permutations": whole_number(1),
    "n_orders": whole_number(1),
    "level": number(0, 1),
    "interval": text,
    "alpha": number(0, 1),
    "all_pairs": whole_number(0, 1),
    "row_identity": lambda value: value in ("example ids", "digests of inputs", "one model", "unknown"),
}
_OF_MEASURES: dict[str, Check] = {
    "kind": lambda value: value in ("similarity", "distance"),
    "range": _range,
    "symmetric": whole_number(-1, 1),
    "formula": text,
    "reference": text,
}


def marks(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return the best match of every row, −1 for none: the namesake among equals, and never within a model itself."""
    matrix = scores(result, name)
    rows, columns = (result[f"layer_{side}"].values.astype(str) for side in "ab")
    namesakes = rows[:, None] == columns[None, :]
    if "a" in result.dims:
        matrix = np.where(result.model_a.values[:, None] == result.model_b.values[None, :], np.nan, matrix)
    elif int(result.attrs.get("same_model", 0)) and len(rows) > 1:
        matrix = np.where(namesakes, np.nan, matrix)
    return best_in_rows(matrix, namesakes)


def written_probability(p: float) -> str:
    """Write a p-value with two digits; how small one below 0.0001 is says nothing more, and no approximation is so good.

    >>> written_probability(0.0316), written_probability(3e-17)
    ('0.032', '< 0.0001')
    """
    return "" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def is_calibrated(result: xarray.Dataset, name: str) -> bool:
    """Say whether a name is that of calibrated scores in a result, of which 0 is what chance reaches."""
    return name in result and name == f"{result[name].attrs.get('companion_of')}_calibrated"


def is_tested(result: xarray.Dataset, name: str) -> bool:
    """Say whether a result has p-values of a measure: a null level alone says what chance gives, not how far from it is much."""
    return is_calibrated(result, name) or companion(result, name, "p_fdr") is not None


def smallest_probability(result: xarray.Dataset, name: str) -> float:
    """Return the smallest p-value that the test of a measure can give: that of one order of the examples."""
    adjusted = companion(result, name, "p_fdr")
    if adjusted is not None and adjusted.attrs.get("method", "permutation") == "permutation":
        return 1 / (1 + int(result.attrs["n_permutations"]))
    return math.exp(-math.lgamma(int(result.attrs["n_examples"]) + 1))


def by_chance(result: xarray.Dataset, name: str, alpha: float = ALPHA) -> np.ndarray:
    """Return which pairs are no more alike than by chance; none where the result has neither p-values nor null levels."""
    found = np.zeros(result[name].shape, dtype=bool)
    if is_calibrated(result, name):
        return found | (result[name].values == 0)
    level, adjusted = companion(result, name, "null"), companion(result, name, "p_fdr")
    if level is not None:
        sign = -1 if result[name].attrs["kind"] == "distance" else 1
        found |= scores(result, name) <= sign * level.values
    if adjusted is not None:
        # The smallest p that there can be is no evidence of chance, however many pairs it is adjusted for.
        smallest = (1 + TIE) * smallest_probability(result, name)
        found |= (adjusted.values > alpha) & (result[f"{name}_p"].values > smallest)
    return found


def is_supported(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return which pairs are more alike than by chance, as far as p-values say; what was not tested is not."""
    adjusted = companion(result, name, "p_fdr")
    if adjusted is None:
        return np.zeros(result[name].shape, dtype=bool)
    beyond = np.nan_to_num(adjusted.values, nan=1.0) <= ALPHA
    found: np.ndarray = ~np.isnan(result[name].values) & beyond & ~by_chance(result, name)
    return found


def colour_limits(variable: xarray.DataArray) -> tuple[float, float]:
    """Return colour limits: the measure's range where it is bounded, the data's where it is not."""
    low, high = json.loads(variable.attrs.get("range", "[null, null]"))
    values = variable.values[np.isfinite(variable.values)]
    found = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    # Debiased values may reach −1 but hardly pass below 0: a full scale would waste half of the colours.
    low = found[0] if low is None else (min(found[0], 0.0) if low < 0 else low)
    return low, found[1] if high is None else high
