"""States of the processes of torch.distributed → the state of all rows, in every process."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import optional, to_numpy
from homolog.states.layers import chosen_titles

if TYPE_CHECKING:
    from homolog.states.minibatch import MinibatchHSIC
    from homolog.states.moments import Moments


def _library() -> Any:
    distributed = optional("torch.distributed", "torch", "all_reduce")
    if not distributed.is_available() or not distributed.is_initialized():
        raise RuntimeError(
            "all_reduce needs processes that know each other, got none: call torch.distributed.init_process_group first."
        )
    return distributed


def _of_all(value: Any, group: Any) -> list[Any]:
    """Return a value of every process, in the order of their ranks."""
    distributed = _library()
    found: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(found, value, group=group)
    return found


def reduce_moments(state: Moments, group: Any) -> None:
    """Move the sums of all processes to the shifts of the first that has any, and add them up, array by array."""
    began = [_numbers_of(state) if state.sides is not None else None, state.sides, state.titles]
    every = _of_all(began, group)
    known = [found for found in every if found[0] is not None]
    if not known:
        return
    first, sides, _ = known[0]
    if state.sides is None:
        state.begin(sides, [np.broadcast_to(shift, (2, len(shift))) for shift in first[0]])
    moved = state.about(first[0], first[1])
    moved.n = int(_summed(np.array([float(moved.n)]), "SUM", group)[0])
    for layer in moved.layers:
        layer.total, layer.norms = (_summed(part, "SUM", group) for part in (layer.total, layer.norms))
        layer.low, layer.high = _summed(layer.low, "MIN", group), _summed(layer.high, "MAX", group)
    for cross in moved.crosses.values():
        for name, value in vars(cross).items():
            setattr(cross, name, _summed(value, "SUM", group))
    titles = reduce(chosen_titles, (its for *_, its in every), state.titles)
    state.__dict__.update(moved.__dict__ | {"titles": titles})


def _numbers_of(state: Moments) -> tuple[list[np.ndarray], list[float]]:
    """Return shifts and scales."""
    return [np.asarray(to_numpy(shift)) for shift in state.shifts()], state.scales()


def _summed(value: Any, operation: str, group: Any) -> Any:
    """Reduce one array over all processes, on the host."""
    torch, distributed = optional("torch", "torch", "all_reduce"), _library()
    # A copy, since the reduction is in place; 0-d arrays travel as one number.
    tensor = torch.from_numpy(np.array(to_numpy(value), dtype=float, ndmin=1))
    distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation), group=group)
    return tensor.numpy().reshape(np.shape(to_numpy(value)))


def reduce_batches(state: MinibatchHSIC, group: Any) -> None:
    """Put the batches of all processes together in the order of their ranks."""
    whole = type(state)()
    whole.titles = state.titles
    for other in _of_all(state, group):
        whole.merge(other)
    state.__dict__.update(whole.__dict__)
