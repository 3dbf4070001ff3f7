"""Text forms of measures: "cka(kernel=rbf,median_fraction=0.4)"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from homolog.names import quoted

_FORM = re.compile(r"\s*([A-Za-z_][\w -]*?)\s*(?:\((.*)\))?\s*", re.DOTALL)


def write(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Write a text form: options in signature order, defaults left out, floats by repr.

    >>> write("cka", {"median_fraction": 0.4, "kernel": "rbf"}, {"kernel": "linear", "median_fraction": 1.0})
    'cka(kernel=rbf,median_fraction=0.4)'
    """
    parts = [
        f"{key}={option_text(options[key])}" for key in defaults if key in options and options[key] != defaults[key]
    ]
    return f"{name}({','.join(parts)})" if parts else name


def option_text(value: Any) -> str:
    """Write the value of an option."""
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
