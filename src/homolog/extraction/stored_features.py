"""What is kept of an output: a copy, on the host or where it is, that nothing can change any more."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.extraction.tensors import is_torch, loaded_torch, numbers_of, plain_tensor

_LARGEST = {"float16": "65504", "float32": "3.4e38"}
"""Types to store in that may be too narrow, and where they end."""


def stored_features(name: str, features: Any, dtype: str | None) -> np.ndarray:
    """Copy to the host in the dtype to keep, None for that of the layer: nothing that runs later can change it."""
    kept = numbers_of(features)  # bfloat16 as float32
    if dtype is not None:
        with np.errstate(over="ignore"):
            kept = kept.astype(dtype, copy=True)
    elif kept.dtype == np.float16:
        kept = kept.astype(np.float32)
    elif not is_torch(features) or features.device.type == "cpu":
        kept = np.array(kept)
    if dtype in _LARGEST and np.isinf(kept).any():
        _check_fits(name, features, dtype)
    return kept


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
