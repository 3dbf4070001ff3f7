"""Which layers are kept, what holds for each of them, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homolog.activations import glob_expression, unknown_layers
from homolog.arrays import described

INPUT, OUTPUT = "input", "output"
CALL = re.compile(r"#\d+$")


@dataclass(frozen=True)
class Selection:
    """The layers to record and which of their calls to keep."""

    modules: Mapping[str, Any]
    """Name → module of PyTorch's; "output" may stand for the model itself. Nothing for models of other kinds."""
    with_input: bool
    required: frozenset[str]
    """Names asked for literally: not running, or putting out no rows of examples, is an error."""
    default: bool
    """Nobody asked for any layers."""
    keep: Callable[[str], bool]
    """Whether to keep a recorded name, such as "relu#2"."""
    globs: Mapping[str, list[str]] = field(default_factory=dict)
    """Glob → the layers it matches, as far as they are known before a run: that none of them runs is an error."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """Layers that nobody named and that cannot be heard, and why."""


def module_of(layer: str) -> str:
    """Return the name of the module of which a layer is a call.

    >>> module_of("relu#2")
    'relu'
    """
    return layer.split("#")[0]


def rule_for(layer: str, rules: Any, default: Any) -> Any:
    """Return what holds for a layer: the first matching glob of a mapping, which may match its module; else the default."""
    if not isinstance(rules, Mapping):
        return rules
    for pattern, rule in rules.items():
        expression = glob_expression(pattern)
        if expression.fullmatch(layer) or expression.fullmatch(module_of(layer)):
            return rule
    return default


def checked_patterns(layers: Any) -> list[str]:
    """Return the names and globs that were asked for."""
    if not isinstance(layers, str | Sequence):
        raise TypeError(f"layers must be names, globs, a predicate or None, got {described(layers)}.")
    patterns = [layers] if isinstance(layers, str) else list(layers)
    if not patterns:
        raise ValueError("layers must name at least one layer, got an empty list.")
    return patterns


def expressions_of(pattern: str) -> list[re.Pattern[str]]:
    """Return what matches the layers of a name or glob; one without "#k" takes every call."""
    base = CALL.sub("", pattern) if isinstance(pattern, str) else pattern
    forms = [pattern + "#**", pattern] if base == pattern else [pattern]
    return [glob_expression(form) for form in forms]


def select_names(known: Mapping[str, str], layers: Any, default: Collection[str] | None) -> Selection:
    """Resolve `layers` against the names and types of layers; against none where only a run tells them.

    `default` are the layers taken where nobody names any; None for all.
    """
    if layers is None:
        return Selection({}, False, frozenset(), True, lambda name: default is None or module_of(name) in default)
    if callable(layers):
        if not known:
            raise TypeError(
                "layers must be names or globs for a function, whose layers are known only when it has run, got a predicate."
            )
        chosen = frozenset(name for name, kind in known.items() if layers(name, kind))
        if not chosen:
            raise ValueError("layers must choose at least one layer, got a predicate that is true for none.")
        return Selection({}, False, frozenset(), False, lambda name: module_of(name) in chosen)
    patterns = checked_patterns(layers)
    expressions, required, globs, unknown = [], set(), {}, []
    with_input = INPUT in patterns and INPUT not in known
    for pattern in patterns:
        expressions += expressions_of(pattern)
        base = CALL.sub("", pattern)
        if base in known or (not known and not _has_stars(base)) or (base == INPUT and with_input):
            required.add(pattern)
            continue
        matches = glob_expression(base)
        hits = [name for name in known if matches.fullmatch(name)]
        unknown += [base] * bool(known and not hits)
        globs[pattern] = hits
    if unknown:
        raise KeyError(unknown_layers(unknown, list(known)))
    return Selection(
        {}, with_input, frozenset(required), False, lambda name: any(e.fullmatch(name) for e in expressions), globs
    )


def _has_stars(pattern: str) -> bool:
    return any(letter in pattern for letter in "*?[")
