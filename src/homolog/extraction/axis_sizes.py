"""Sizes of the axes of outputs and batches, for which the axis of the examples could be mistaken."""

from __future__ import annotations

from typing import Any

from homolog.extraction.batch_contents import leaves
from homolog.extraction.batches import Batch
from homolog.extraction.outputs import output_of
from homolog.extraction.tensors import is_nested, is_tensor


def sizes_beside(output: Any, axis: int) -> set[int]:
    """Return the sizes of the other axes of an output, for which that of the examples could be mistaken."""
    return {size for place, size in enumerate(shape_of(output)) if place != axis}


def shape_of(output: Any) -> tuple[int, ...]:
    """Return the shape of an output; nothing where it is no tensor."""
    tensor = output_of(output).tensor
    return () if tensor is None else tuple(tensor.shape)


def shape_of_example(output: Any, axis: int) -> str:
    """Return the shape of what a module puts out for one example, as text; nothing where it is no tensor."""
    return " × ".join(str(size) for place, size in enumerate(shape_of(output)) if place != axis)


def _has_shape(leaf: Any) -> bool:
    return is_tensor(leaf) and not is_nested(leaf) and leaf.ndim > 0


def shapes_of(batch: Batch) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of one example of every tensor of a batch; of lists of examples nothing, since they differ."""
    if batch.layout.kind == "items":
        return ()
    return tuple(tuple(leaf.shape[1:]) for leaf in leaves(batch.content) if _has_shape(leaf))


def sizes_of(batch: Batch) -> set[int]:
    """Return the sizes of all axes of a batch but those of the examples."""
    tensors = filter(_has_shape, leaves(batch.content))
    return {size for tensor in tensors for size in tensor.shape[int(tensor.shape[0] == batch.size) :]}
