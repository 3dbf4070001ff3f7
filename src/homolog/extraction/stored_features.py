"""What is kept of an output: a copy on the host that nothing can change any more."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.extraction.tensors import is_torch, numbers_of

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
    if dtype in _LARGEST and np.isinf(kept).any() and bool(np.isfinite(numbers_of(features)).all()):
        largest = float(np.abs(numbers_of(features)).max())
        raise ValueError(
            f"layer {name!r} must fit into dtype={dtype!r}, which ends at {_LARGEST[dtype]}, got {largest:.3g}: keep it in a "
            f"wider one; left out, dtype is that of the layer."
        )
    return kept
