"""Tensors that take the way of a GPU on the processor, and a count of what would wait for the GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from homolog import devices

WAITS = ("item", "cpu", "numpy", "tolist", "nonzero", "equal", "__bool__", "__float__", "__int__", "__index__")
"""What PyTorch cannot answer before the device has finished; numbers of NumPy's are only had by way of `cpu` or `numpy`."""


@contextmanager
def on_a_device() -> Iterator[None]:
    """Let homolog take the processor for a device whose memory NumPy cannot share."""
    devices.HOST.remove("cpu")
    try:
        yield
    finally:
        devices.HOST.add("cpu")


class CountedWaits(TorchFunctionMode):
    """Counts the calls that wait for a device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name in WAITS:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        """All of them."""
        return self.found.total()


class OwnDevice(TorchFunctionMode):
    """Holds code to the rules of a device: NumPy reads no tensor there, and tensors of both places do not meet.

    Tensors made before, and those that are put on a device by name, are there; those of `cpu` and of NumPy are on the host.
    """

    MEET = ("__getitem__", "__setitem__", "copy_", "to", "index_put_", "__get__", "__set__", "take")
    """What takes tensors of both places, as indices or as something to copy."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, name = kwargs or {}, getattr(function, "__name__", "")
        tensors = [x for x in _leaves([*args, *given.values()]) if isinstance(x, torch.Tensor)]
        here = [x for x in tensors if getattr(x, "on_host", False)]
        if name in ("numpy", "__array__", "__dlpack__") and not here:
            raise TypeError("can't convert device type tensor to numpy")
        apart = [x for x in here if x.ndim]
        if apart and len(here) < len(tensors) and name not in self.MEET:
            raise RuntimeError(f"Expected all tensors to be on the same device, in {name}")
        found = function(*args, **given)
        placed = given.get("device") is not None or (name == "to" and any(isinstance(x, torch.device) for x in args))
        if name == "cpu" or (placed and any(found is x for x in here)):
            found = found.clone()  # where it is moved to it is another tensor
        if name == "cpu" or (not placed and len(here) == len(tensors)):
            for x in _leaves([found]):
                if isinstance(x, torch.Tensor):
                    x.on_host = True
        return found


def _leaves(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _leaves(value)
        else:
            yield value
