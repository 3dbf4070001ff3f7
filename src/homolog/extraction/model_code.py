"""What a model computes beside its weights: the code of its modules, their hooks, and the attributes that this code reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from homolog.extraction.code_reading import NamesRead, is_library, parts_of_wrapper

if TYPE_CHECKING:
    from homolog.extraction.code_digests import Digest

_INTERNAL = set(nn.Module().__dict__)
"""What every module of PyTorch has: parameters, hooks and flags, which are no options of its computation."""


def parts_of_model(model: nn.Module, digest: Digest, names_read: NamesRead) -> Iterator[str | bytes]:
    """Yield what modules compute, without their weights."""
    for name, module in model.named_modules():
        kind = type(module)
        yield f"{name}\0{kind.__module__}.{kind.__qualname__}"
        if isinstance(module, torch.jit.ScriptModule):
            yield str(getattr(module, "code", ""))
            continue
        if hasattr(module, "_orig_mod"):  # compiled: the module inside is listed too
            continue
        yield digest.apart(f"code of {kind.__name__}", partial(digest.of, kind, made=False))
        for place, hook in hooks_of(module):
            label = f"hook of {kind.__name__}"
            yield digest.apart(label, partial(digest.placed, f"{name} {place}", label, hook))
        for attribute, value in _attributes_of(module, names_read):
            yield attribute if digest.whole else ""
            yield digest.attribute(f"{kind.__name__}.{attribute}", value)


def _attributes_of(module: nn.Module, names_read: NamesRead) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a module that code reads, and its buffers."""
    library = is_library(type(module))
    for name, value in sorted(vars(module).items()):
        if name in _INTERNAL or isinstance(value, nn.Module) or not names_read.counts(name):
            continue
        # Libraries keep the folders of files.
        if not (library and isinstance(value, str) and ("/" in value or "\\" in value)):
            yield name, value
    for name, buffer in sorted(module._buffers.items()):  # apart from the weights, since a forward pass may change them
        if buffer is not None:
            yield name, buffer


def hooks_of(module: nn.Module | None) -> Iterator[tuple[str, Any]]:
    """Yield the hooks of a module, or those of all modules, in the order in which they run; not homolog's own."""
    if module is None:
        everywhere = torch.nn.modules.module
        kinds = [("before all", everywhere._global_forward_pre_hooks), ("after all", everywhere._global_forward_hooks)]
        keywords: set[int] = set()
    else:
        kinds = [("before", module._forward_pre_hooks), ("after", module._forward_hooks)]
        keywords = {*module._forward_pre_hooks_with_kwargs, *module._forward_hooks_with_kwargs}
    for place, hooks in kinds:
        for number, hook in hooks.items():
            if not _is_ours(hook):
                yield f"{place}{' with keywords' if number in keywords else ''}", hook


def _is_ours(hook: Any) -> bool:
    inner = parts_of_wrapper(hook)
    function = hook if inner is None else inner[0]
    return str(getattr(function, "__module__", "")).startswith("homolog.")
