"""Tensors that take the way of a GPU on the processor, and a count of what would wait for the GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
