"""Values and sums of all processes of torch.distributed."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.arrays import to_numpy
from homolog.machine import optional


def _library() -> Any:
    distributed = optional("torch.distributed", "torch", "all_reduce")
    if not distributed.is_available() or not distributed.is_initialized():
        raise RuntimeError(
            "all_reduce needs processes that know each other, got none: call torch.distributed.init_process_group first."
        )
    return distributed


def of_all(value: Any, group: Any) -> list[Any]:
    """Return a value of every process, in the order of their ranks."""
    distributed = _library()
    found: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(found, value, group=group)
    return found


def reduced(value: Any, operation: str, group: Any) -> Any:
    """Reduce one array over all processes, on the host."""
    torch, distributed = optional("torch", "torch", "all_reduce"), _library()
    # A copy, since the reduction is in place; 0-d arrays travel as one number.
    tensor = torch.from_numpy(np.array(to_numpy(value), dtype=float, ndmin=1))
    distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation), group=group)
    return tensor.numpy().reshape(np.shape(to_numpy(value)))
