"""Data → batches: what the model is called with, how many examples, which are padding, who they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.extraction.batch_contents import Layout, is_items, is_texts, joined, layout_of, map_leaves, part_of
from homolog.extraction.input_checks import check_converted, check_data, check_plain, is_numbers, lists_of_numbers
from homolog.extraction.options import Options
from homolog.extraction.row_digests import digests_of, form_of


@dataclass(frozen=True)
class Batch:
    """One batch, ready for the model."""

    content: Any
    layout: Layout
    ids: np.ndarray | None
    digests: np.ndarray | None
    """(size,) one of every example; None where something in the batch cannot be digested."""
    form: str = ""
    """Names, types and shapes of what it holds, as it came."""

    @property
    def size(self) -> int:
        """Number of examples."""
        return self.layout.size

    def wanted(self, remaining: int | None) -> int:
        """Return how many of its examples are wanted where so many remain to be taken; None for no end."""
        return self.size if remaining is None else min(self.size, remaining)

    @property
    def main(self) -> Any:
        """The tensor, or the packed sequences, whose rows are the examples."""
        return self.layout.main


def raw_batches(data: Any, options: Options) -> Iterator[Any]:
    """Yield raw batches from all examples at once, or from an iterable of batches."""
    check_order(data, options)
    if isinstance(data, torch.Tensor | np.ndarray):
        if data.ndim == 0 or len(data) == 0:
            raise ValueError(f"data must hold at least one example, got shape {tuple(data.shape)}.")
        for start in range(0, len(data), options.batch_size):
            yield data[start : start + options.batch_size]
    elif isinstance(data, Mapping):
        yield from _batches_of_mapping(data, options.batch_size)
    elif is_texts(data):
        for start in range(0, len(data), options.batch_size):
            yield data[start : start + options.batch_size]
    elif isinstance(data, PackedSequence):
        yield data
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        yield from data
    else:
        raise TypeError(
            f"data must be a tensor, an array, a mapping of tensors, or an iterable of batches, got {described(data)}."
        )


def count_examples(data: Any, options: Options) -> int | None:
    """Return how many examples there will be, or None where nobody can know."""
    check_data(data)
    total: int | None = None
    if isinstance(data, torch.Tensor | np.ndarray):
        total = len(data) if data.ndim else 0
    elif isinstance(data, Mapping):
        total = size_of(data)[0]
    elif is_texts(data):
        total = len(data)
    elif isinstance(data, torch.utils.data.DataLoader):
        dataset: Any = data.dataset
        total = None if isinstance(dataset, torch.utils.data.IterableDataset) else len(dataset)
    return total if options.max_examples is None or total is None else min(total, options.max_examples)


def check_order(data: Any, options: Options) -> None:
    """Refuse a shuffling DataLoader unless the batches carry ids."""
    if not isinstance(data, torch.utils.data.DataLoader):
        return
    ordered = isinstance(getattr(data, "sampler", None), torch.utils.data.SequentialSampler)
    custom = getattr(data, "batch_sampler", None)
    if custom is not None and type(custom) is not torch.utils.data.BatchSampler:
        ordered = False
    iterable = isinstance(data.dataset, torch.utils.data.IterableDataset)
    carried = isinstance(options.example_ids, str) or callable(options.example_ids)
    if not ordered and not iterable and not carried:
        raise ValueError(
            "data must come in a fixed order, got a DataLoader that shuffles or samples: pass shuffle=False, or let the "
            'batches carry ids and name them, example_ids="id" for a key or example_ids=lambda batch: batch[2].'
        )


def prepare_batch(
    raw: Any, options: Options, device: torch.device, dtype: torch.dtype | None, *, lone: bool = False
) -> Batch:
    """Move a batch to the device, and find its examples and their ids; `lone` as for `is_items`."""
    content, ids = _take_ids(raw, options.example_ids)
    content = map_leaves(_as_tensor, content)
    if options.forward is None:
        check_converted(content)
        content = _input_of(content)
        check_converted(content)
    layout = layout_of(content, lone=lone and options.forward is not None)
    if layout is None:
        raise TypeError(_no_examples(raw, options))
    if layout.size == 0:
        raise ValueError(
            f"a batch must hold at least one example, got {_kind_of(layout.main)}: leave empty batches out of the data."
        )
    # Digested as it came, so that models in other dtypes or on other devices agree about it.
    digests, form = digests_of(content, layout), form_of(content, layout)
    content = _on_device(content, device, dtype if options.forward is None else None)
    if ids is not None and len(ids) != layout.size:
        raise ValueError(f"example_ids must give one id per example of the batch ({layout.size}), got {len(ids)}.")
    moved = layout_of(content, lone=layout.kind == "items")
    assert moved is not None  # it has the same tensors
    return Batch(content, moved, ids, digests, form)


def _input_of(content: Any) -> Any:
    """Return what the model is called with: the first of a tuple or list."""
    if not isinstance(content, tuple | list) or isinstance(content, PackedSequence):
        return content
    if not content:
        raise ValueError("a batch must hold at least the model's input, got an empty tuple.")
    if is_texts(content):
        raise TypeError(
            f"a batch must be what the model takes, got a list of {len(content)} texts: let its tokenizer make tensors, "
            f'tokenizer(texts, padding=True, return_tensors="pt"), or pass forward=lambda model, texts: ....'
        )
    if is_items(content):
        tensors = all(isinstance(item, torch.Tensor) for item in content)
        first = f"of shape {tuple(content[0].shape)}" if tensors else described(content[0])
        equal = not tensors or len({tuple(item.shape) for item in content}) == 1
        joined = "torch.stack(batch)" if equal else "torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)"
        padding = "" if equal else ", and say with mask= which positions count"
        raise TypeError(
            f"a batch must be one tensor or mapping of all its examples, got a list of {len(content)} that look like one example "
            f"each (the first {first}): pass forward=lambda model, batch: model(batch) for a model that takes such lists, or put "
            f"them together, as forward=lambda model, batch: model({joined}) does for tensors{padding}."
        )
    return content[0]


def _no_examples(raw: Any, options: Options) -> str:
    keys = [str(key) for key, value in raw.items() if is_numbers(value)] if isinstance(raw, Mapping) else []
    if options.forward is None and keys:
        return f"a batch must hold tensors or arrays, got {lists_of_numbers(keys)}."
    if options.forward is None:
        return (
            f"a batch must be a tensor, a tuple or a mapping that holds one, got {described(raw)}: pass "
            f"forward=lambda model, batch: ... for other kinds."
        )
    return (
        f"a batch for forward must hold a tensor or a list whose entries are the examples, so that rows can be counted and told "
        f"apart, got {described(raw)} in which none was found: make it a mapping, a tuple, a dataclass, or a list of examples."
    )


def _kind_of(main: Any) -> str:
    return f"a tensor of shape {tuple(main.shape)}" if isinstance(main, torch.Tensor) else described(main)


def describe(batch: Batch) -> str:
    """Say in a few words what a batch is."""
    shape = (
        f"first tensor of shape {tuple(batch.main.shape)}, {str(batch.main.dtype).removeprefix('torch.')}"
        if isinstance(batch.main, torch.Tensor) and not batch.main.is_nested
        else described(batch.main)
    )
    return f"a list of {batch.size} examples" if batch.layout.kind == "items" else shape


def part_of_batch(batch: Batch, index: Sequence[int]) -> Batch:
    """Return a batch of some of the examples of a batch, in the order asked for."""
    content = part_of(batch.content, batch.layout, index)
    layout = layout_of(content, lone=batch.layout.kind == "items")
    assert layout is not None  # it has the same tensors
    # All tensors of one example have one row, those that belong to all examples too.
    layout = layout._replace(size=len(index), kind=batch.layout.kind)
    return Batch(content, layout, None, None)


def pair_with(batch: Batch, before: Batch | None) -> Batch | None:
    """Return a batch of one example and that of the batch before it; None where they cannot be put together."""
    if before is None or {batch.layout.kind, before.layout.kind} != {"rows"} or {batch.size, before.size} != {1}:
        return None
    try:
        content = joined(batch.content, before.content)
    except (ValueError, RuntimeError):
        return None
    layout = layout_of(content)
    assert layout is not None  # it has the same tensors
    return Batch(content, layout._replace(size=2, kind="rows"), None, None)


def copied(batch: Batch) -> Batch:
    """Return a batch whose tensors a model may change in place without anybody else noticing."""
    copied = map_leaves(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, batch.content)
    return replace(batch, content=copied)


def call_model(model: Any, batch: Batch, options: Options) -> Any:
    """Run the model on a batch."""
    if options.forward is not None:
        return options.forward(model, batch.content)
    if isinstance(batch.content, Mapping):
        return model(**batch.content)
    return model(batch.content)


def _take_ids(raw: Any, given: Any) -> tuple[Any, np.ndarray | None]:
    if callable(given):
        return raw, _id_array(given(raw))
    if not isinstance(given, str):
        return raw, None
    if not isinstance(raw, Mapping) or given not in raw:
        keys = f"keys {listed(raw) or 'none'}" if isinstance(raw, Mapping) else described(raw)
        raise KeyError(f"example_ids={given!r} must be a key of every batch, got {keys}.")
    return {key: value for key, value in raw.items() if key != given}, _id_array(raw[given])


def _id_array(ids: Any) -> np.ndarray:
    return np.asarray(ids.cpu() if isinstance(ids, torch.Tensor) else ids)


def _as_tensor(leaf: Any) -> Any:
    check_plain(leaf, "a batch")
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biufc":
        return leaf
    if leaf.dtype.kind == "f" and leaf.dtype.itemsize > 8:
        raise TypeError(
            f"a batch must hold arrays of at most 64 bits, got {leaf.dtype}: convert it with .astype('float64')."
        )
    # A copy, because torch warns of arrays that are read-only; in the byte order of the machine.
    return torch.from_numpy(np.array(leaf, dtype=leaf.dtype.newbyteorder("=")))


def _on_device(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    def move(leaf: Any) -> Any:
        # A model in one floating dtype takes floating input in that dtype only.
        if isinstance(leaf, torch.Tensor):
            if leaf.is_quantized and dtype is not None:
                leaf = leaf.dequantize()
            return leaf.to(device, dtype if leaf.is_floating_point() else None)
        if isinstance(leaf, PackedSequence):
            packed: Any = leaf
            return packed.to(device=device, dtype=dtype if leaf.data.is_floating_point() else None)
        return leaf

    return map_leaves(move, value)


def has_rows(value: Any, size: int) -> bool:
    """Say whether a value of a mapping has one row per example."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.ndim > 0 and len(value) == size
    return isinstance(value, list) and len(value) == size


def size_of(data: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how many examples a mapping of tensors holds, and whether it can be cut into batches."""
    layout = layout_of(data)
    if layout is None:
        keys = [str(key) for key, value in data.items() if is_numbers(value)]
        raise TypeError(
            f"a mapping of data must hold at least one tensor or array whose rows are the examples, got "
            f"{lists_of_numbers(keys) if keys else 'none'}."
        )
    return layout.size, layout.kind == "rows"


def _batches_of_mapping(data: Mapping[str, Any], batch_size: int) -> Iterator[Any]:
    """Yield batches of a mapping, or all of it where its tensors disagree about the number of examples, as of a graph."""
    size, cuts = size_of(data)
    if not cuts:
        yield data
        return
    for start in range(0, size, batch_size):
        rows = slice(start, start + batch_size)
        yield {key: value[rows] if has_rows(value, size) else value for key, value in data.items()}
