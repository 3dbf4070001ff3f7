"""Weights as narrower types hold them, which tell a network from a copy of it that was rounded."""

from __future__ import annotations

import hashlib
from typing import Any

from homolog.extraction.computation_record import has_plain_bytes
from homolog.extraction.tensors import is_module, loaded_torch

NARROW = ("float16", "bfloat16")
"""Types to which published weights are rounded, the finer one first."""


def rounded_digests(model: Any) -> dict[str, str]:
    """Return a digest of the weights after rounding to each narrower type; nothing of what is no network of PyTorch's.

    Other numbers count as they are. One weight is rounded at a time, so that no second network is in memory.
    """
    if not is_module(model):
        return {}
    torch = loaded_torch()
    weights = {name: value for name, value in sorted(model.state_dict().items()) if has_plain_bytes(value)}
    found = {}
    for narrow in NARROW:
        state = hashlib.blake2b(digest_size=8)
        for name, value in weights.items():
            rounded = value.detach().to(getattr(torch, narrow)) if value.is_floating_point() else value.detach()
            state.update(f"{name} {tuple(value.shape)}".encode())
            state.update(rounded.cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
        found[narrow] = state.hexdigest()
    return found
