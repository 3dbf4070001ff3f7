"""Is this a result of `homolog.compare`, whole and unaltered: asked of what came from a file before anything is made of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.names import quoted

if TYPE_CHECKING:
    import xarray


def check_result(result: xarray.Dataset, *, joined: bool = False) -> None:
    """Raise, in one sentence, unless a result has all that `homolog.compare` writes, of the kinds it writes.

    Results that were `joined` have a dimension more.
    """
    many = "a" in result.dims
    needed = _ATTRIBUTES | (_MANY if many else _TWO)
    endings = {str(name).rpartition("_")[2] for name in result.data_vars if "companion_of" in result[name].attrs}
    needed |= {"n_permutations": _whole(1)} if "p" in endings else {}
    needed |= {"level": _number(0, 1), "interval": _text} if "low" in endings else {}
    optional = {name: check for name, check in _OPTIONAL.items() if name in result.attrs}
    for name, check in (needed | optional).items():
        _check(result.attrs, name, check, "an attribute")
    sides = ("a", "b") if many else ("layer_a", "layer_b")
    for name in [f"{what}_{side}" for what in ("layer", "features", *(["model"] if many else [])) for side in "ab"]:
        if name not in result.coords:
            _refuse(f"no coordinate {name!r}")
    for side in "ab":
        if result[f"features_{side}"].dtype.kind not in "iu":
            _refuse(f"a coordinate 'features_{side}' that is no integers")
    for name in json.loads(result.attrs["measures"]):
        if name in result:
            _check_variable(result, name, None if joined else sides)


def _check_variable(result: xarray.Dataset, name: str, sides: tuple[str, str] | None) -> None:
    for check_name, check in _OF_MEASURES.items():
        _check(result[name].attrs, check_name, check, f"an attribute of {quoted(name)}")
    if f"{name}_p_discovery" in result and f"{name}_p" not in result:
        _refuse(f"no variable {quoted(f'{name}_p')} beside its adjusted ones")
    companions = [other for other in result.data_vars if result[other].attrs.get("companion_of") == name]
    for variable in (name, *companions):
        found = result[variable]
        # A selection may have dropped a side, which whoever needs it says.
        if found.dtype.kind != "f" or (sides is not None and not set(found.dims) <= set(sides)):
            _refuse(f"a variable {quoted(variable)} of {found.dtype} over {', '.join(map(str, found.dims))}")


def _check(attributes: Mapping[Any, Any], name: str, check: Callable[[Any], bool], what: str) -> None:
    if name not in attributes:
        _refuse(f"{what} {name!r} missing")
    try:
        fine = check(attributes[name])
    except (ValueError, TypeError, RecursionError, OverflowError):
        fine = False
    if not fine:
        _refuse(f"{what}, {name!r}, of another kind ({quoted(attributes[name])[:60]})")


def _refuse(got: str) -> None:
    raise ValueError(f"a result must be as homolog.compare wrote it, got {got}: compare again.")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return isinstance(value, int | float | np.number) and math.isfinite(value) and bool(low <= value <= high)

    return check


def _whole(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    inside = _number(low, high)
    return lambda value: inside(value) and float(value).is_integer()


def _texts(value: Any) -> bool:
    found = json.loads(value)
    return isinstance(found, list) and all(map(_text, found))


def _cautions(value: Any) -> bool:
    found = json.loads(value)
    return isinstance(found, list) and all(isinstance(c, list) and len(c) == 2 and all(map(_text, c)) for c in found)


def _notes(value: Any) -> bool:
    found = json.loads(value)
    return isinstance(found, dict) and all(map(_text, found.values()))


def _models(value: Any) -> bool:
    found = json.loads(value)
    return isinstance(found, dict) and all(_notes(json.dumps(notes)) for notes in found.values())


def _range(value: Any) -> bool:
    low, high = json.loads(value)
    return all(end is None or _number(-math.inf)(end) for end in (low, high))


_ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    "measures": _texts,
    "n_examples": _whole(1),
    "same_model": _whole(0, 1),
    "homolog_version": _text,
    "warnings": _cautions,
}
_TWO: dict[str, Callable[[Any], bool]] = {
    "model_a": _text,
    "model_b": _text,
    "activations_a": _notes,
    "activations_b": _notes,
}
_MANY: dict[str, Callable[[Any], bool]] = {"models": _models}
_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "n_permutations": _whole(1),
    "level": _number(0, 1),
    "interval": _text,
    "row_identity": lambda value: value in ("example ids", "digests of inputs", "one model", "unknown"),
}
_OF_MEASURES: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in ("similarity", "distance"),
    "range": _range,
    "symmetric": _whole(-1, 1),
    "formula": _text,
    "reference": _text,
}
