"""What is inside a batch: its tensors, where its examples are, and part of it."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from homolog.extraction.tensors import (
    dtype_name,
    is_floating,
    is_foreign,
    is_module,
    is_nested,
    is_packed,
    is_tensor,
    is_torch,
    like,
    loaded_torch,
    numbers_of,
)


class Layout(NamedTuple):
    """Where the examples of a batch are."""

    size: int
    main: Any
    """The tensor, or packed sequences, whose rows are the examples; the first item of a list of examples."""
    kind: Literal["rows", "items", "whole"]
    """Rows of every tensor with `size` of them; items of a list; or rows of tensors that disagree, which cannot be cut."""


def layout_of(content: Any, *, lone: bool = False) -> Layout | None:
    """Find the examples of a batch; None where it holds no tensor.

    Tensors without axes and tensors of one row belong to all examples. A batch whose other tensors have different numbers of
    rows cannot be cut; its examples are the rows of the first floating tensor. So it is with the nodes and edges of a graph,
    whatever their numbers. `lone` is as for `is_items`.
    """
    if is_items(content, lone=lone):
        return Layout(len(content), next((leaf for leaf in leaves(content) if rows_of(leaf)), content[0]), "items")
    tensors = [leaf for leaf in leaves(content) if rows_of(leaf) is not None]
    if not tensors:
        return None
    nodes = _nodes_of(content, tensors)
    if nodes is not None:
        return Layout(int(nodes.shape[0]), nodes, "whole")
    sizes = {rows_of(tensor) for tensor in tensors if rows_of(tensor) != 1}
    likely = sorted(tensors, key=lambda tensor: axes_of(tensor) < 2)  # stable: the first of them with several axes
    agreed = [tensor for tensor in likely if rows_of(tensor) in sizes]
    if len(sizes) > 1:
        main = next((tensor for tensor in agreed if axes_of(tensor) >= 2 and _is_floating(tensor)), agreed[0])
    else:
        main = agreed[0] if agreed and axes_of(agreed[0]) >= 2 else likely[0]
    size = rows_of(main)
    assert size is not None  # every one of them has rows
    return Layout(size, main, "whole" if len(sizes) > 1 else "rows")


def _nodes_of(content: Any, tensors: list[Any]) -> Any:
    """Return the features of the nodes where a batch is a graph; None where it is none.

    It is one where something called edge or adjacency holds pairs of nodes, or says of every two whether they are joined; or
    where whole numbers in two rows can only be the edges of a single node, from 0 to 0.
    """
    entries = entries_of(content)
    about = {id(value) for key, value in entries.items() if _OF_GRAPHS.match(key)}
    features = [
        tensor for tensor in tensors if axes_of(tensor) == 2 and _is_floating(tensor) and id(tensor) not in about
    ]
    joins = any(id(tensor) in about and _joins_nodes(tensor) for tensor in tensors)
    lone = next((tensor for tensor in features if rows_of(tensor) == 1), None)
    several = [tensor for tensor in tensors if rows_of(tensor) != 1]
    if lone is not None and several and all(map(_joins_one, several)):
        return lone
    return features[0] if joins and features else None


_OF_GRAPHS = re.compile(r"(edges?|adj|adjacency)(_|$)", re.IGNORECASE)
"""Names of what joins the nodes of graphs."""


def _joins_one(tensor: Any) -> bool:
    return _joins_nodes(tensor) and rows_of(tensor) == 2 and not bool(numbers_of(tensor).any())


def _joins_nodes(tensor: Any) -> bool:
    if axes_of(tensor) != 2 or is_packed(tensor):
        return False
    first, second = tensor.shape
    return first == second if _is_floating(tensor) else 2 in (first, second)


def _is_floating(leaf: Any) -> bool:
    return is_packed(leaf) or is_floating(leaf)


def axes_of(leaf: Any) -> int:
    """Return how many axes a tensor has; packed sequences stand for three."""
    return 3 if is_packed(leaf) else int(leaf.ndim)


def rows_of(leaf: Any) -> int | None:
    """Return the rows of a tensor, an array of numbers or packed sequences; None for anything else, or without axes."""
    if is_packed(leaf):
        return int(leaf.batch_sizes[0]) if len(leaf.batch_sizes) else 0
    if is_nested(leaf):
        return int(leaf.size(0))
    return int(leaf.shape[0]) if is_tensor(leaf) and leaf.ndim else None


def is_items(content: Any, *, lone: bool = False) -> bool:
    """Say whether a batch is a list with one entry per example, not the model's input followed by others.

    So is a list of several things that are no tensors, of sequences of unequal lengths, and of images: three axes, of which the
    first, the channels, is 1, 3 or 4. With `lone`, a list of one image or text is one too.
    """
    if type(content) is not list or len(content) < (1 if lone or is_texts(content) else 2):
        return False
    if not all(map(is_tensor, content)):
        likenesses = {frozenset(item) if isinstance(item, Mapping) else type(item) for item in content}
        # Mappings of other keys are inputs and targets, say.
        return len(likenesses) == 1 and not (is_tensor(content[0]) or isinstance(content[0], list))
    shapes = [tuple(item.shape) for item in content]
    if all(len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) >= 8 for shape in shapes):
        return True
    # Sequences of one kind: only their lengths differ.
    kinds = {(dtype_name(item), shape[1:]) for item, shape in zip(content, shapes, strict=True) if shape}
    return len(kinds) == 1 and len({shape[:1] for shape in shapes}) > 1


def is_texts(value: Any) -> bool:
    """Say whether a value is a list of texts, or of pairs of texts, one for each example."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, str) for item in value) or all(
        isinstance(item, tuple) and bool(item) and all(isinstance(part, str) for part in item) for item in value
    )


def is_per_example(value: Any, size: int) -> bool:
    """Say whether a list, or an array of no numbers, has one entry per example: texts, say."""
    if isinstance(value, np.ndarray):
        return not is_tensor(value) and value.ndim == 1 and len(value) == size
    return type(value) is list and len(value) == size and all(rows_of(leaf) is None for leaf in leaves(value))


def is_record(value: Any) -> bool:
    """Say whether an object is a dataclass, or of a class of one's own that holds tensors as attributes."""
    if isinstance(value, type | np.ndarray) or is_tensor(value) or is_packed(value) or is_module(value):
        return False
    if not hasattr(value, "__dict__") or type(value).__module__.startswith("scipy."):
        return False
    return dataclasses.is_dataclass(value) or any(
        isinstance(item, np.ndarray) or is_tensor(item) or is_packed(item) for item in vars(value).values()
    )


def leaves(value: Any, whole: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """Yield what nested mappings, tuples, lists and records hold, in their order; what is `whole` as it is."""
    if is_packed(value) or (whole is not None and whole(value)):
        yield value
        return
    if is_record(value):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    elif not isinstance(value, tuple | list):
        yield value
        return
    for item in value:
        yield from leaves(item, whole)


def map_leaves(function: Callable[[Any], Any], value: Any, whole: Callable[[Any], bool] | None = None) -> Any:
    """Apply a function to what nested mappings, tuples, lists and records hold, and to what is `whole`."""
    if is_packed(value) or (whole is not None and whole(value)):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_leaves(function, item, whole) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_leaves(function, item, whole) for item in value))
    if type(value) in (tuple, list):
        return type(value)(map_leaves(function, item, whole) for item in value)
    if is_record(value):
        copied = copy.copy(value)
        vars(copied).update({name: map_leaves(function, item, whole) for name, item in vars(value).items()})
        return copied
    return function(value)


def entries_of(content: Any) -> Mapping[str, Any]:
    """Return what a batch holds by name: of a mapping, a named tuple or a record; nothing where there are no names."""
    if isinstance(content, Mapping):
        return {str(key): value for key, value in content.items()}
    if isinstance(content, tuple) and hasattr(content, "_asdict") and not is_packed(content):
        return dict(content._asdict())
    return vars(content) if is_record(content) else {}


def part_of(content: Any, layout: Layout, index: Sequence[int]) -> Any:
    """Return a batch of some of the examples, in the order asked for; what belongs to all of them stays whole."""
    kept = list(index)
    if layout.kind == "items":
        return [content[i] for i in kept]
    if layout.kind == "whole":
        raise ValueError("the tensors of this batch disagree about the number of examples.")

    def cut(value: Any) -> Any:
        if is_packed(value):
            packing = loaded_torch().nn.utils.rnn
            padded, lengths = packing.pad_packed_sequence(value, batch_first=True)
            return packing.pack_padded_sequence(padded[kept], lengths[kept], batch_first=True, enforce_sorted=False)
        if isinstance(value, list):
            return [value[i] for i in kept]
        if is_nested(value):
            rows = value.unbind()
            return loaded_torch().nested.as_nested_tensor([rows[i] for i in kept], layout=value.layout)
        if rows_of(value) == layout.size:
            return like(value, numbers_of(value)[kept]) if is_foreign(value) else value[kept]
        return value[kept] if is_per_example(value, layout.size) else value

    return map_leaves(cut, content, lambda value: is_per_example(value, layout.size))


def joined(first: Any, second: Any) -> Any:
    """Put two batches of one example each together; what belongs to all examples is that of the first.

    Raises ValueError or RuntimeError where their tensors are of unequal shapes.
    """
    if repr(map_leaves(_nothing, first, _is_lone)) != repr(map_leaves(_nothing, second, _is_lone)):
        raise ValueError("the batches hold other things.")
    others = leaves(second, _is_lone)

    def put(value: Any) -> Any:
        other = next(others)
        if is_packed(value):
            raise ValueError("packed sequences are not put together.")
        if isinstance(value, list):
            return value + other
        if rows_of(value) != 1:
            return value
        if is_torch(value):
            return loaded_torch().cat([value, other])
        return like(value, np.concatenate([numbers_of(value), numbers_of(other)]))

    return map_leaves(put, first, _is_lone)


def _is_lone(value: Any) -> bool:
    return type(value) is list and is_per_example(value, 1)


def _nothing(value: Any) -> None:
    return None


def dense(tensor: Any) -> Any:
    """Return a tensor of PyTorch's as a dense one: quantised values are multiplied out, sparse ones filled with zeros."""
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.is_nested:
        return loaded_torch().nested.to_padded_tensor(tensor, 0.0)
    return tensor.resolve_conj().resolve_neg() if tensor.layout == loaded_torch().strided else tensor.to_dense()
