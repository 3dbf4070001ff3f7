"""Text forms of measures, and the checks of their options: "cka(kernel=rbf,median_fraction=0.4)"."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from homolog.names import quoted

if TYPE_CHECKING:
    from homolog.registry import Measure

_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)


def write(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Write a text form: options in signature order, defaults left out, floats by repr.

    >>> write("cka", {"median_fraction": 0.4, "kernel": "rbf"}, {"kernel": "linear", "median_fraction": 1.0})
    'cka(kernel=rbf,median_fraction=0.4)'
    """
    parts = [f"{key}={_written(options[key])}" for key in defaults if key in options and options[key] != defaults[key]]
    return f"{name}({','.join(parts)})" if parts else name


def _written(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return value if isinstance(value, str) else repr(value)


def read(form: str) -> tuple[str, dict[str, str]]:
    """Split a text form into the name and its options, still as text.

    >>> read("cka(kernel=rbf, median_fraction=0.4)")
    ('cka', {'kernel': 'rbf', 'median_fraction': '0.4'})
    """
    match = _FORM.fullmatch(form)
    if match is None:
        raise ValueError(f"a measure must be written as name or name(option=value,...), got {quoted(form)}.")
    name, inside = match[1], match[2]
    options: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in (inside or "").split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise ValueError(
                f"an option of a measure must be written as name=value, got {quoted(part)} in {quoted(form)}."
            )
        if key in options:
            raise ValueError(f"an option of a measure must be given once, got {quoted(key)} twice in {quoted(form)}.")
        options[key] = value
    return name, options


def typed(measure: Measure, written: Mapping[str, str]) -> dict[str, Any]:
    """Turn options read as text into values of the type of their defaults."""
    defaults = measure.defaults
    values: dict[str, Any] = {}
    for key, text in written.items():
        default = defaults.get(key)
        if key in defaults and default is None:
            raise ValueError(
                f"{key} of {measure.name} must be an array, got the text {quoted(text)}: bind it with "
                f"homolog.measure({measure.name!r}, {key}=x)."
            )
        try:
            values[key] = type(default)(text) if isinstance(default, int | float) else text
        except ValueError:
            what = "whole number" if isinstance(default, int) else "number"
            raise ValueError(f"{key} of {measure.name} must be a {what}, got {quoted(text)}.") from None
    return values


def check_options(measure: Measure, options: Mapping[str, Any]) -> None:
    """Raise unless every option exists, has an admissible value, and has an effect."""
    defaults, choices = measure.defaults, measure.choices
    for key, value in options.items():
        if key not in defaults:
            takes = f"it takes {', '.join(defaults)}" if defaults else "it takes none"
            raise TypeError(unknown(f"option of {measure.name}", key, defaults, takes))
        if key in choices and not callable(value) and value not in choices[key]:
            allowed = " or ".join(repr(choice) for choice in choices[key])
            or_callable = " or a function X → Gram matrix" if key == "kernel" else ""
            raise ValueError(f"{key} of {measure.name} must be {allowed}{or_callable}, got {quoted(value)}.")
        if key in measure.bounds:
            _check_bounds(measure, key, value)
    merged = defaults | dict(options)
    for key, (other, required) in measure.needs.items():
        if merged[key] != defaults[key] and merged[other] != required:
            raise ValueError(
                f"{key} of {measure.name} has an effect only with {other}={required}, got {other}="
                f"{_written(merged[other])}: add {other}={required}, or leave {key} out."
            )


def _check_bounds(measure: Measure, key: str, value: Any) -> None:
    low, high = measure.bounds[key]
    whole = isinstance(measure.defaults[key], int)
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    closed = key in measure.closed
    if not number or not (low <= value if closed else low < value) or not value <= high or math.isinf(value):
        what = "whole number" if whole else "number"
        least = f"{'of at least' if closed else 'above'} {low:g}"
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"{key} of {measure.name} must be a {what} {least}{most}, got {quoted(value)}.")


def unknown(what: str, name: str, known: Iterable[str], remedy: str) -> str:
    """Word the error for a name nobody knows, with the nearest ones.

    >>> unknown("measure", "ckaa", ["cka", "cca"], "homolog.measures() lists them")
    "unknown measure 'ckaa', did you mean cka? homolog.measures() lists them."
    """
    names = {other.lower(): other for other in known}
    near = [names[other] for other in difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.6)]
    ask = f", did you mean {' or '.join(near)}? {remedy}." if near else f": {remedy}."
    return f"unknown {what} {quoted(name)}{ask}"
