"""What speaks against a layer, and what its user can do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from homolog.diagnostics import listed
from homolog.extraction.tensors import is_nested, is_tensor, is_torch

TRANSPOSED = (
    "if the data have their examples on axis 1, pass them with the examples first, data.transpose(0, 1), with "
    "forward=lambda model, batch: model(batch.transpose(0, 1)) and axis=1"
)
TRANSPOSED_ARRAYS = (
    "if the data have their examples on axis 1, pass them with the examples first, data.swapaxes(0, 1), swap the axes back "
    "before the model runs, and say axis=1"
)


class Objection(NamedTuple):
    """What speaks against a layer."""

    reason: str
    axis: int | None = None
    """The axis that follows the number of examples."""
    mixes: bool = False
    """Whether its shape fits, and its values change with the other examples."""


def axis_of(whole: Sequence[int], size: int, part: Sequence[int], count: int) -> int | None:
    """Return the axis, but the first, that has `size` entries for so many examples and `count` for so many of them."""
    if len(whole) != len(part):
        return None
    return next((axis for axis in range(1, len(whole)) if (whole[axis], part[axis]) == (size, count)), None)


def axis_remedy(name: str, axis: int | None) -> str:
    """Tell to say where the examples lie, if there is an axis where they may."""
    return "" if axis is None else f"say where the examples lie, axis={{{name!r}: {axis}}}, "


def not_first(name: str, others: int, against: Objection, hint: str) -> str:
    """Say that the rows of a layer are not the examples."""
    more = f" (and {others} more layers)" if others else ""
    exception = f"; axis={{{name!r}: 0}} takes it although its rows depend on each other" if against.mixes else ""
    return (
        f"layer {name!r}{more} must have the examples along its first axis, got another: {against.reason}; leave it out of "
        f"layers, {axis_remedy(name, against.axis)}or pass reduce=function(output, mask) → (examples, features){exception}"
        f"{f'; {hint}' if hint else ''}."
    )


def not_of_nodes(name: str, size: int, reason: str) -> str:
    """Say that a layer of a batch that cannot be cut, such as a graph, has other rows than its first tensor of features."""
    return (
        f"layer {name!r} must put out one entry per row of the features of the batch, whose tensors have different numbers of "
        f"rows ({size}, as of the nodes of a graph), got {reason}: leave it out of layers, or, for one entry per graph, pass "
        f"lists of graphs and a forward that puts them together, forward=lambda model, graphs: model(**together(graphs))."
    )


def not_classes(name: str) -> str:
    """Say that one whole number for each example is taken for the name of a class."""
    return (
        f"layer {name!r} must hold floating numbers, or several whole numbers for each example, got one, which may be that of "
        f"a class: return it as a float if it is a quantity, or leave it out."
    )


def not_whole(name: str) -> str:
    """Say that a layer never puts out a tensor of all examples."""
    return (
        f"layer {name!r} must put out one tensor for all examples, got what torch.func or torch.vmap gives it, one example at a "
        f"time: leave it out of layers, or name the module that calls it."
    )


def hint_for(against: Objection, shape: Sequence[int], main: Any) -> str:
    """Say what helps where the data may have their examples on another axis: a layer has the same two axes first."""
    if not against.mixes or not is_tensor(main) or is_nested(main) or main.ndim < 2:
        return ""
    remedy = TRANSPOSED if is_torch(main) else TRANSPOSED_ARRAYS
    return remedy if len(shape) >= 3 and tuple(shape[:2]) == tuple(main.shape[:2]) else ""


def padded_by_model(name: str) -> str:
    """Say that a model pads a layer by itself."""
    return (
        f"layer {name!r} has another number of positions for other examples of the same shape: the model pads it by itself, "
        f"and no mask tells where; pass mask={{{name!r}: function(batch) → (examples, positions)}}, true where a position "
        f"counts, or mask={{{name!r}: None}} to count padding too."
    )


def no_layer_left(skipped: dict[str, str], hint: str) -> str:
    """Say that no layer is left, and why."""
    if not skipped:
        return "no selected layer ran: check layers against the modules that the forward calls."
    reasons = listed(f"{name} ({why})" for name, why in skipped.items())
    return (
        f"no layer puts out rows that are the examples, got {reasons}: name layers, say where the examples lie with axis=, "
        f"or pass reduce=function(output, mask) → (examples, features){f'; {hint}' if hint else ''}."
    )
