"""Which modules of a PyTorch model are layers, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from homolog.activations import glob_expression, unknown_layers
from homolog.extraction.layer_selection import CALL, INPUT, OUTPUT, Selection, checked_patterns, expressions_of
from homolog.extraction.wrappers import hook_points, named_modules, other_names, part_of, parts_of_layers


def select(model: nn.Module, layers: Any) -> Selection:
    """Resolve `layers` against a model."""
    modules = [(name, module) for name, module in named_modules(model) if name]
    if layers is None:
        return _by_default(model, modules)
    modules += other_names(model, dict(modules))
    if callable(layers):
        chosen = _unique([(name, module) for name, module in modules if layers(name, module)])
        if not chosen:
            raise ValueError("layers must choose at least one module, got a predicate that is true for none.")
        return Selection(_refuse_scripted(chosen), False, frozenset(), False, lambda name: True)
    return _by_patterns(model, modules, checked_patterns(layers))


def _by_default(model: nn.Module, modules: list[tuple[str, nn.Module]]) -> Selection:
    """Choose the modules without children, and those that have weights of their own or stand for one layer."""
    inside = [name for name, module in modules if _is_one_layer(module)]
    parts, hooks = parts_of_layers(model), {id(hook) for hook in hook_points(model).values()}
    modules = [(name, module) for name, module in modules if not isinstance(module, _LISTS) and id(module) not in parts]
    modules = [(name, module) for name, module in modules if not hooks or id(module) in hooks]
    chosen = [(name, module) for name, module in modules if _is_layer(module) and not _is_part(name, inside)]
    if not chosen or _owns_weights(model):
        chosen.append((OUTPUT, model))
    found = _unique(chosen)
    silent = {name: "TorchScript runs no hooks" for name, module in found.items() if _is_scripted(module)}
    hooked = {name: module for name, module in found.items() if name not in silent}
    return Selection(hooked, False, frozenset(), True, lambda name: True, silent=silent)


_LISTS = (nn.ParameterList, nn.ParameterDict)
"""Modules that hold weights of the module they are in, and never run."""


def _owns_weights(module: nn.Module) -> bool:
    own = any(weight is not None for weight in module._parameters.values())
    return own or any(isinstance(child, _LISTS) and len(child) for child in module.children())


def _is_layer(module: nn.Module) -> bool:
    part = part_of(module)
    if part is not None and not part.hidden:
        return _is_layer(part.module)  # the wrapper runs in its place
    return _owns_weights(module) or not any(module.children()) or _is_one_layer(module) or _is_shaped(module)


def _is_one_layer(module: nn.Module) -> bool:
    """Say whether the children of a module only hold or make its weights: quantised weights, parametrisations."""
    names = {name for name, _ in module.named_children()}
    return bool(names) and names <= {"parametrizations", "_packed_params", "_all_weight_values"}


def _is_shaped(module: nn.Module) -> bool:
    """Say whether a module with children says of itself that it maps features to features, as wrapped linear layers do."""
    sizes = ("in_features", "out_features", "in_channels", "out_channels")
    return any(isinstance(vars(module).get(size), int) for size in sizes) or "base_layer" in module._modules


def _is_part(name: str, inside: list[str]) -> bool:
    """Say whether a module is a part of one layer: what makes or holds its weights."""
    return "parametrizations" in name.split(".") or any(name.startswith(f"{outer}.") for outer in inside)


def _is_scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _refuse_scripted(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Refuse modules that run no hooks."""
    for name, module in modules.items():
        if _is_scripted(module):
            raise TypeError(
                f"layer {name!r} must be run by Python, got a {type(module).__name__}, and TorchScript runs no hooks: extract "
                f"from the model that it was scripted or traced from, or choose other layers."
            )
    return modules


def _by_patterns(model: nn.Module, modules: list[tuple[str, nn.Module]], patterns: list[str]) -> Selection:
    names = list(dict.fromkeys(name for name, _ in modules))
    special = [name for name in (INPUT, OUTPUT) if name in patterns and name not in names]
    expressions, required, globs, unknown = [], set(), {}, []
    found: list[tuple[str, nn.Module]] = [(OUTPUT, model)] if OUTPUT in special else []
    for pattern in patterns:
        if pattern in special:
            expressions.append(glob_expression(pattern))
            continue
        expressions += expressions_of(pattern)
        base = CALL.sub("", pattern)
        matches = glob_expression(base)
        hits = [(name, module) for name, module in modules if matches.fullmatch(name)]
        unknown += [base] * (not hits)
        found += hits
        if base in names:
            required.add(pattern)
        else:
            globs[pattern] = hits
    if unknown:
        raise KeyError(unknown_layers(unknown, names))
    chosen = _unique(found)
    kept = {id(module): name for name, module in chosen.items()}
    # A module that has several names goes by the first of them that was asked for.
    first = {name: kept[id(module)] for name, module in found}
    required = {
        pattern.replace(name, first[name], 1) if (name := CALL.sub("", pattern)) in first else pattern
        for pattern in required
    }
    matched = {pattern: list(dict.fromkeys(first[name] for name, _ in hits)) for pattern, hits in globs.items()}

    def keep(name: str) -> bool:
        return any(expression.fullmatch(name) for expression in expressions)

    return Selection(_refuse_scripted(chosen), INPUT in special, frozenset([*required, *special]), False, keep, matched)


def _unique(modules: Sequence[tuple[str, nn.Module]]) -> dict[str, nn.Module]:
    """Keep the first name of a module that has several."""
    visited: set[int] = set()
    kept = {}
    for name, module in modules:
        if id(module) not in visited and name not in kept:
            visited.add(id(module))
            kept[name] = module
    return kept
