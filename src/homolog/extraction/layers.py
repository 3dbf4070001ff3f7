"""Which modules of a model are layers, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from homolog.activations import glob_expression, unknown_layer
from homolog.arrays import described

INPUT, OUTPUT = "input", "output"
_CALL = re.compile(r"#\d+$")


@dataclass(frozen=True)
class Selection:
    """The modules to record and which of their calls to keep."""

    modules: dict[str, nn.Module]
    """Name → module; "output" may stand for the model itself."""
    with_input: bool
    required: frozenset[str]
    """Names asked for literally: not running is an error."""
    lenient: bool
    """Nobody asked for these layers: what does not fit is left out with a warning."""
    keep: Callable[[str], bool]
    """Whether to keep a recorded name, such as "relu#2"."""


def clean_name(name: str, wrapped: bool) -> str:
    """Strip what torch.compile and DataParallel put before a module's name.

    >>> clean_name("module.features._orig_mod.0", wrapped=True)
    'features.0'
    """
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    return ".".join(parts[1:] if wrapped and parts and parts[0] == "module" else parts)


def named_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """List every module under its clean name, a shared module under each of its names; the model itself is ""."""
    inner = getattr(model, "_orig_mod", model)
    wrapped = [name for name, _ in inner.named_children()] == ["module"]
    return [(clean_name(name, wrapped), module) for name, module in model.named_modules(remove_duplicate=False)]


def select(model: nn.Module, layers: Any) -> Selection:
    """Resolve `layers` against a model."""
    modules = [(name, module) for name, module in named_modules(model) if name]
    if layers is None:
        leaves = [(name, module) for name, module in modules if not any(module.children())]
        return Selection(_unique(leaves or [(OUTPUT, model)]), False, frozenset(), True, lambda name: True)
    if callable(layers):
        chosen = _unique([(name, module) for name, module in modules if layers(name, module)])
        if not chosen:
            raise ValueError("layers must choose at least one module, got a predicate that is true for none.")
        return Selection(chosen, False, frozenset(), False, lambda name: True)
    if not isinstance(layers, str | Sequence):
        raise TypeError(f"layers must be names, globs, a predicate or None, got {described(layers)}.")
    return _by_patterns(model, modules, [layers] if isinstance(layers, str) else list(layers))


def _by_patterns(model: nn.Module, modules: list[tuple[str, nn.Module]], patterns: list[str]) -> Selection:
    if not patterns:
        raise ValueError("layers must name at least one layer, got an empty list.")
    special = [name for name in (INPUT, OUTPUT) if name in patterns and name not in dict(modules)]
    expressions, required = [], set()
    found: list[tuple[str, nn.Module]] = [(OUTPUT, model)] if OUTPUT in special else []
    for pattern in patterns:
        if pattern in special:
            expressions.append(glob_expression(pattern))
            continue
        base = _CALL.sub("", pattern) if isinstance(pattern, str) else pattern
        matches = glob_expression(base)
        hits = [(name, module) for name, module in modules if matches.fullmatch(name)]
        if not hits:
            raise KeyError(unknown_layer(base, [name for name, _ in modules]))
        found += hits
        required |= {pattern} if base in dict(modules) else set()
        # A pattern without "#k" takes every call of the module.
        expressions.append(glob_expression(pattern if base != pattern else pattern + "#**"))
        expressions.append(glob_expression(pattern))

    def keep(name: str) -> bool:
        return any(expression.fullmatch(name) for expression in expressions)

    return Selection(_unique(found), INPUT in special, frozenset(required), False, keep)


def _unique(modules: Sequence[tuple[str, nn.Module]]) -> dict[str, nn.Module]:
    """Keep the first name of a module that has several."""
    seen: set[int] = set()
    kept = {}
    for name, module in modules:
        if id(module) not in seen and name not in kept:
            seen.add(id(module))
            kept[name] = module
    return kept
