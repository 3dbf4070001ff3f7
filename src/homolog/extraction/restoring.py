"""A model is left as it was by runs that are only trials, whatever it keeps from batch to batch."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from homolog.extraction.model_code import module_attributes

COPIED_AT_MOST = 2**28
"""Bytes of an array that is copied for every trial; a larger one is taken for a table that is only read."""
_FIXED = (bool, int, float, complex, str, bytes, type(None), type, object)


@contextmanager
def unchanged(model: nn.Module, seed: int) -> Iterator[None]:
    """Put back random generators, buffers and attributes after a trial, which draws the random numbers of a seed."""
    attributes = [_Attributes(module) for module in model.modules()]
    kept = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    copies = [buffer.clone() for _, _, buffer in kept]
    cuda = sorted({weight.device.index or 0 for weight in model.parameters() if weight.device.type == "cuda"})
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=cuda):
        _seed(seed, cuda)
        random.seed(seed)
        np.random.seed(seed)
        try:
            known = _never_copied(model)
            for one in attributes:
                one.lend(known)
            yield
        finally:
            random.setstate(drawn)
            np.random.set_state(drawn_by_numpy)
            for (module, name, buffer), copied in zip(kept, copies, strict=True):
                if not buffer.is_meta and not torch.equal(buffer, copied):
                    buffer.copy_(copied)
                module._buffers[name] = buffer
            for one in attributes:
                one.restore()


def _seed(seed: int, cuda: list[int]) -> None:
    """Seed the generators that are put back; `torch.manual_seed` would import PyTorch's compiler, which takes a second."""
    torch.default_generator.manual_seed(seed)
    for device in cuda:
        torch.cuda.default_generators[device].manual_seed(seed)


def _never_copied(model: nn.Module) -> dict[int, Any]:
    """Return what is never copied with an attribute that reaches it: the modules and weights themselves."""
    kept = [*model.modules(), *model.parameters(), *model.buffers()]
    return {id(one): one for one in kept}


class _Attributes:
    """The attributes of a module, such as a state that it keeps from batch to batch."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._values = module, dict(vars(module))
        plain = {name: value for name, value in self._values.items() if type(value) in (list, dict, set, torch.Tensor)}
        self._copies = {
            name: value.clone() if isinstance(value, torch.Tensor) else value.copy() for name, value in plain.items()
        }

    def lend(self, known: dict[int, Any]) -> None:
        """Let a trial change copies: what is deep in an object cannot be put back. What cannot be copied is used as it is."""
        for name, value in self._values.items():
            if (
                name in module_attributes()
                or type(value) in _FIXED
                or isinstance(value, torch.Tensor | nn.Module)
                or callable(value)
            ):
                continue
            if isinstance(value, np.ndarray) and value.nbytes > COPIED_AT_MOST:
                continue
            try:
                vars(self._module)[name] = copy.deepcopy(value, known)
            except Exception:  # an object may do anything when it is copied
                continue

    def restore(self) -> None:
        """Put them back."""
        vars(self._module).clear()
        vars(self._module).update(self._values)
        for name, copied in self._copies.items():
            value = self._values[name]
            if isinstance(value, torch.Tensor):
                value.copy_(copied)
            elif isinstance(value, list):
                value[:] = copied
            else:
                value.clear()
                value.update(copied)
