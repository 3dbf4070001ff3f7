"""What a model computes beside its weights: the code of its modules, their hooks, and the attributes that this code reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from homolog.extraction.code_reading import NamesRead, is_library, is_ours, parts_of_wrapper
from homolog.extraction.tensors import is_module, loaded_torch


@cache
def module_attributes() -> frozenset[str]:
    """Return what every module of PyTorch has: weights, parts, hooks and flags, which are no options of its computation."""
    return frozenset(vars(loaded_torch().nn.Module()))


def attributes_of(module: Any, names_read: NamesRead) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a module that code reads, and its buffers."""
    library = is_library(type(module))
    for name, value in sorted(vars(module).items()):
        if name in module_attributes() or is_module(value) or not names_read.counts(name):
            continue
        # Libraries keep the folders of files.
        if not (library and isinstance(value, str) and ("/" in value or "\\" in value)):
            yield name, value
    for name, buffer in sorted(module._buffers.items()):  # apart from the weights, since a forward pass may change them
        if buffer is not None:
            yield name, buffer


def hooks_of(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the hooks of a module, or those of all modules, in the order in which they run; not homolog's own."""
    if module is None:
        everywhere = loaded_torch().nn.modules.module
        kinds = [("before all", everywhere._global_forward_pre_hooks), ("after all", everywhere._global_forward_hooks)]
        keywords: set[int] = set()
    else:
        kinds = [("before", module._forward_pre_hooks), ("after", module._forward_hooks)]
        keywords = {*module._forward_pre_hooks_with_kwargs, *module._forward_hooks_with_kwargs}
    for place, hooks in kinds:
        for number, hook in hooks.items():
            inner = parts_of_wrapper(hook)
            if not is_ours(hook if inner is None else inner[0]):
                yield f"{place}{' with keywords' if number in keywords else ''}", hook
