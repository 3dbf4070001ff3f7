"""Modules that stand around other modules, as compilers, adapters and libraries of hooks put them, and names without them.

A wrapper is known by the name of its class: no library is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

Module = Any
"""torch.nn.Module, which is not imported here."""

HIDDEN = {
    "peft.PeftModel": "base_model",
    "peft.PeftMixedModel": "base_model",
    "peft.BaseTuner": "model",
    "peft.AdaptionPromptModel": "model",
    "timm.FeatureGetterNet": "model",
    "transformer_lens.GeneralizedComponent": "_original_component",
}
"""Class → the part that it stands for, which has no name of its own."""
REPLACED = {
    "peft.BaseTunerLayer": "base_layer",
    "peft.TrainableTokensWrapper": "token_adapter",
    "peft.AuxiliaryTrainingWrapper": "original_module",
    "peft.ModulesToSaveWrapper": "original_module",  # before PEFT 0.16
    "peft._BaseAdaptedAttention": "model",
}
"""Class → the part in whose place it runs, which may be asked for by a name of its own; what is inside that goes without it."""


PARALLEL = ("torch.DataParallel", "torch.DistributedDataParallel")
HOOKED = ("transformer_lens.HookedRootModule", "transformer_lens.BridgeCore")
"""Models whose layers are hook points, with names of their own."""

LISTS_OF_FEATURES = ("timm.FeatureListNet", "timm.FeatureDictNet")
"""Models of timm's that have the stages of others as their parts, with other names than `feature_info` says."""


class Part(NamedTuple):
    """The part of a wrapper that it stands for."""

    module: Module
    hidden: bool
    """Whether it has no name of its own."""


def classes_of(thing: Any) -> frozenset[str]:
    """Return the classes of an object, each as its library and its name.

    >>> from torch import nn
    >>> sorted(classes_of(nn.Identity()))
    ['builtins.object', 'torch.Identity', 'torch.Module']
    """
    kind: type = type(thing)
    return _names_of(kind)


@lru_cache(maxsize=4096)
def _names_of(kind: type) -> frozenset[str]:
    return frozenset(f"{base.__module__.split('.')[0]}.{base.__name__}" for base in kind.__mro__)


def _is_of(library: str, thing: Any) -> bool:
    return any(name.startswith(f"{library}.") for name in classes_of(thing))


def unwrapped(model: Any) -> Any:
    """Return the model inside what compiles it, spreads it over devices, traces it or feeds it: the same weights."""
    while True:
        classes = classes_of(model)
        if "nnsight.Envoy" in classes:
            _refuse_edits(model)
            model = model._module
        elif "transformers.Pipeline" in classes:
            model = model.model
        elif not classes.isdisjoint(PARALLEL):
            model = model.module
        elif "torch.Module" in classes and hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def _refuse_edits(envoy: Any) -> None:
    if getattr(envoy, "_edits", None):
        raise ValueError(
            "model must be one whose own layers run, got an nnsight model with edits, which act only inside its traces: take "
            "them off with model.clear_edits(), or save the layers inside a trace and compare the arrays."
        )


def part_of(module: Module) -> Part | None:
    """Return what a wrapper stands for; None of what is no wrapper."""
    classes = classes_of(module)
    for table in (HIDDEN, REPLACED):
        name = next((table[kind] for kind in table if kind in classes), None)
        inner = None if name is None else module._modules.get(name)
        if inner is not None:
            copy = _trained_copy(module) if name == "original_module" else None
            return Part(inner if copy is None else copy, table is HIDDEN)
    return None


def _trained_copy(module: Module) -> Module | None:
    """Return the copy that runs in place of a module that was trained as a whole; None where adapters are switched off."""
    copies, active = module._modules.get("modules_to_save"), vars(module).get("_active_adapter")
    if copies is None or vars(module).get("_disable_adapters"):
        return None
    name = active[0] if isinstance(active, list) and active else active
    return copies._modules.get(name) if isinstance(name, str) else None


def named_modules(model: Module) -> list[tuple[str, Module]]:
    """List the modules by the names they have without wrappers, a shared one by each of its names; the model itself is ""."""
    inner = model._modules.get("_orig_mod") or model
    parallel = [name for name, _ in inner.named_children()] == ["module"]
    around = {id(inner._modules["module"]): ("", True)} if parallel else {}
    found: dict[str, Module] = {}
    hooks = {id(hook): name for name, hook in reversed(hook_points(model).items())}
    for name, module in _named(model, "", "", around):
        found.setdefault(hooks.get(id(module), name), module)  # a wrapper comes before what it stands for
    return list(found.items())


def hook_points(model: Module) -> dict[str, Module]:
    """Return the hook points of a model of TransformerLens by all their names, their own before their aliases; else nothing."""
    hooks: Any = {} if classes_of(model).isdisjoint(HOOKED) else model.hook_dict
    return dict(hooks)


def _named(
    module: Module, name: str, stem: str, around: Mapping[int, tuple[str, bool]]
) -> Iterator[tuple[str, Module]]:
    """Yield a module and those inside it.

    `stem` is how the names of its children begin; `around` says it of the parts that wrappers around it stand for, and whether
    they are hidden.
    """
    if "_orig_mod" in module._modules:  # compiled: what is inside runs, and has the weights
        yield from _named(module._modules["_orig_mod"], name, stem, around)
        return
    yield name, module
    part = part_of(module)
    if part is not None:
        around = {**around, id(part.module): (stem, part.hidden)}
    for child_name, child in module._modules.items():
        if child is None:
            continue
        own = f"{stem}.{child_name}" if stem else child_name
        inner, hidden = around.get(id(child), (own, False))
        yield from _named(child, inner if hidden else own, inner, around)


def other_names(model: Module, names: Mapping[str, Any]) -> list[tuple[str, Module]]:
    """List further names by which layers may be asked for: of adapters as PEFT says them, and aliases of TransformerLens."""
    found: list[tuple[str, Module]] = []
    if any(_is_of("peft", module) for module in model.modules()):
        found += model.named_modules(remove_duplicate=False)
    found += hook_points(model).items()
    if not classes_of(model).isdisjoint(LISTS_OF_FEATURES):
        known = dict(model.named_children())
        features: Any = model.feature_info
        found += [
            (name, known[name.replace(".", "_")]) for name in features.module_name() if name.replace(".", "_") in known
        ]
    return [(name, module) for name, module in found if name and name not in names]


def parts_of_layers(model: Module) -> set[int]:
    """Return the ids of modules that are only parts of one layer: adapters, and what they adapt or replace."""
    parts: set[int] = set()
    for wrapper in model.modules():
        part = part_of(wrapper)
        if part is None or not _is_of("peft", wrapper):
            continue
        whole = {id(inner) for inner in part.module.modules()} - (set() if part.hidden else {id(part.module)})
        parts |= {id(inner) for inner in wrapper.modules()} - {id(wrapper)} - whole
    return parts


OF_SENTENCES = ("sentence_embedding", "scores", "token_embeddings", "causal_logits")
"""What modules of sentence-transformers may put out, among the features that they were given; the last made comes first."""
OF_PAIRS = ("attn_scores", "pattern", "hook_attn")
"""How the names of hook points end that hold one number for every two positions."""


def own_output(module: Module, output: Any) -> Any:
    """Return what a module itself put out, where libraries give it beside its input, or with axes in an order of their own."""
    classes = classes_of(module)
    if isinstance(output, Mapping) and _is_of("sentence_transformers", module):
        names = (getattr(module, "module_output_name", None), *OF_SENTENCES)
        return next((output[name] for name in names if name in output), output)
    if "transformer_lens.HookPoint" in classes and getattr(output, "ndim", 0) == 4:
        # (examples, positions, heads, features): tokens, and not maps
        return output if str(getattr(module, "name", "")).endswith(OF_PAIRS) else output.flatten(2)
    return output
