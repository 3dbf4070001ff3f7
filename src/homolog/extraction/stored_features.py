"""What is kept of an output: a copy, on the host or where it is, that nothing can change any more."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.devices import arrived, fetched
from homolog.extraction.tensors import is_torch, loaded_torch, numbers_of, plain_tensor

_LARGEST = {"float16": "65504", "float32": "3.4e38"}
"""Types to store in that may be too narrow, and where they end."""


MOST_ON_THE_WAY = 1 << 30
"""Bytes of one batch that are copied from a GPU while the model runs on: the memory for that cannot be moved to a disk."""


class HostCopies:
    """Copies features to the host in the dtype to keep; those on a GPU while the model runs on."""

    def __init__(self, dtype: str | None, memory: HostMemory | None = None) -> None:
        self.dtype, self.memory, self.waiting = dtype, memory, 0

    def __call__(self, name: str, features: Any) -> Any:
        """Return the features, or what reads them once the batch is through."""
        if not is_on_gpu(features) or self.waiting + features.nbytes > MOST_ON_THE_WAY:
            return stored_features(name, features, self.dtype, self.memory)
        return OnTheWay(features_on_device(name, features, self.dtype), self)


class OnTheWay:
    """Features whose copy to the host has begun."""

    def __init__(self, kept: Any, copies: HostCopies) -> None:
        self.shape, self._device, self._here, self._copies = tuple(kept.shape), kept.device, fetched(kept), copies
        copies.waiting += kept.nbytes

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self) -> np.ndarray:
        """Wait for them."""
        arrived(self._device)
        self._copies.waiting -= self._here.nbytes
        numbers: np.ndarray = self._here.numpy()
        return numbers


def is_on_gpu(features: Any) -> bool:
    """Say whether features can be copied while the model runs on."""
    return is_torch(features) and features.device.type == "cuda"


def stored_features(name: str, features: Any, dtype: str | None, memory: HostMemory | None = None) -> np.ndarray:
    """Copy to the host in the dtype to keep, None for that of the layer: nothing that runs later can change it.

    With `memory` the copy is good until the next batch.
    """
    plain: Any = plain_tensor(features) if is_torch(features) else numbers_of(features)
    on_host = not is_torch(plain) or plain.device.type == "cpu"
    given = numbers_of(plain[:0]).dtype  # bfloat16 comes as float32
    wanted = np.dtype(dtype or (np.float32 if given == np.float16 else given))
    if not on_host and wanted == given:
        return numbers_of(plain)
    kept = np.empty(plain.shape, wanted) if memory is None else memory.of(name, tuple(plain.shape), wanted)
    if is_torch(plain) and on_host:
        loaded_torch().from_numpy(kept).copy_(plain)  # by all threads
    else:
        with np.errstate(over="ignore"):
            np.copyto(kept, numbers_of(plain), casting="unsafe")
    if dtype in _LARGEST and np.isinf(kept).any():
        _check_fits(name, features, dtype)
    return kept


class HostMemory:
    """Memory for the features of each layer, the same for all batches: fresh memory takes as long as a copy does."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def of(self, layer: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Return memory for a layer, with whatever is in it."""
        held = self._arrays.get(layer)
        if held is None or held.shape != shape or held.dtype != dtype:
            held = self._arrays[layer] = np.empty(shape, dtype)
        return held


def features_on_device(name: str, features: Any, dtype: str | None) -> Any:
    """Return the same as a tensor on the device of the layer, without waiting for it; of other libraries on the host."""
    if not is_torch(features):
        return stored_features(name, features, dtype)
    torch, values = loaded_torch(), plain_tensor(features)
    half = values.is_floating_point() and values.dtype not in (torch.float32, torch.float64)
    asked = values.dtype if dtype is None else getattr(torch, dtype)
    kept = values.to(
        torch.float32 if dtype is None and half else asked, copy=True, memory_format=torch.contiguous_format
    )
    if dtype in _LARGEST and kept.dtype.itemsize < values.dtype.itemsize and bool(kept.isinf().any()):
        _check_fits(name, values, dtype)
    return kept


def _check_fits(name: str, features: Any, dtype: str) -> None:
    """Raise where numbers that are finite became infinite."""
    given = numbers_of(features)
    if np.isfinite(given).all():
        raise ValueError(
            f"layer {name!r} must fit into dtype={dtype!r}, which ends at {_LARGEST[dtype]}, got {np.abs(given).max():.3g}: keep "
            f"it in a wider one; left out, dtype is that of the layer."
        )
