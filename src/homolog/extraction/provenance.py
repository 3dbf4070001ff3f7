"""How activations were made, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from homolog.arrays import described
from homolog.extraction.options import Options
from homolog.extraction.sources import Source


def provenance_of(source: Source, options: Options) -> dict[str, str]:
    """Say how activations were made."""
    return {
        "model": source.title,
        "reduce": as_text(options.reduce),
        **({} if options.channels is None else {"channels": options.channels}),
        **({} if not options.skip_first else {"skip_first": as_text(options.skip_first)}),
        **({} if options.skip is None else {"skip": as_text(options.skip)}),
        **_sketches(options),
        **source.software,
    } | ({} if options.example_ids is None else {"example_ids": "given"})


def _sketches(options: Options) -> dict[str, str]:
    asked = options.sketches_asked
    if asked == "None":
        return {}
    text = f"{asked} columns in each of two" if asked.isdigit() else f"columns in each of two, by layer: {asked}"
    return {"sketch": f"{text}; seed {options.rng}"}


def as_text(rules: Any, function: Callable[[Any], str] | None = None) -> str:
    """Write layers or reductions as text; functions by their names, or as `function` writes them."""
    if isinstance(rules, Mapping):
        return ", ".join(f"{pattern}: {as_text(rule, function)}" for pattern, rule in rules.items())
    if isinstance(rules, str | int) or rules is None:
        return str(rules)
    if callable(rules):
        return (function or _name_of)(rules)
    return ", ".join(map(str, rules)) if isinstance(rules, Iterable) else described(rules)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
