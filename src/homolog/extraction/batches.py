"""Data → batches: what the model is called with, how many examples, which are padding, who they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.extraction.batch_contents import Layout, is_items, is_texts, joined, layout_of, map_leaves, part_of
from homolog.extraction.input_checks import check_data, check_plain, is_numbers, lists_of_numbers, what_is_none
from homolog.extraction.options import Options
from homolog.extraction.row_digests import digests_of, form_of
from homolog.extraction.sources import Source
from homolog.extraction.tensors import is_foreign, is_of_torch, is_packed, is_tensor, is_torch, loaded_torch, numbers_of
from homolog.names import quoted


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
    start: int = 0
    """Examples of the data before it."""
    given: Any = None
    """What it holds as it came, where it need not wait for a device to be read; None where nothing else is known."""

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
    if is_tensor(data) or isinstance(data, np.ndarray) or is_texts(data):
        if not is_texts(data) and (data.ndim == 0 or len(data) == 0):
            raise ValueError(f"data must hold at least one example, got shape {tuple(data.shape)}.")
        for start in range(0, len(data), options.batch_size):
            yield data[start : start + options.batch_size]
    elif isinstance(data, Mapping):
        yield from _batches_of_mapping(data, options.batch_size)
    elif is_packed(data):
        yield data
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        yield from data
    elif isinstance(data, str | PathLike):
        raise TypeError(
            f"data must be the examples themselves, got {quoted(str(data))}: if this names a file, read it, as numpy.load "
            f"does an .npy; a text that is an example goes into a list, [text]."
        )
    else:
        raise TypeError(
            f"data must be a tensor, an array, a mapping of tensors, or an iterable of batches, got {described(data)}."
        )


def count_examples(data: Any, options: Options) -> int | None:
    """Return how many examples there will be, or None where nobody can know."""
    check_data(data)
    total: int | None = None
    if is_tensor(data) or isinstance(data, np.ndarray):
        total = len(data) if data.ndim else 0
    elif is_texts(data):
        total = len(data)
    elif isinstance(data, Mapping):
        total = size_of(data)[0]
    elif is_of_torch(data, "utils.data.DataLoader"):
        dataset: Any = data.dataset
        total = None if is_of_torch(dataset, "utils.data.IterableDataset") else len(dataset)
    return total if options.max_examples is None or total is None else min(total, options.max_examples)


def check_order(data: Any, options: Options) -> None:
    """Refuse a shuffling DataLoader unless the batches carry ids."""
    if not is_of_torch(data, "utils.data.DataLoader"):
        return
    ordered = is_of_torch(getattr(data, "sampler", None), "utils.data.SequentialSampler")
    custom = getattr(data, "batch_sampler", None)
    if custom is not None and type(custom) is not loaded_torch().utils.data.BatchSampler:
        ordered = False
    iterable = is_of_torch(data.dataset, "utils.data.IterableDataset")
    carried = isinstance(options.example_ids, str) or callable(options.example_ids)
    if not ordered and not iterable and not carried:
        raise ValueError(
            "data must come in a fixed order, got a DataLoader that shuffles or samples: pass shuffle=False, or let the "
            'batches carry ids and name them, example_ids="id" for a key or example_ids=lambda batch: batch[2].'
        )


def prepare_batch(raw: Any, options: Options, source: Source, *, lone: bool = False, digested: bool = True) -> Batch:
    """Put a batch where the model is, and find its examples, their ids and, if asked for, digests; `lone` as for `is_items`."""
    raw, ids = _take_ids(raw, options.example_ids)
    content = source.received(raw, options)
    layout = layout_of(content, lone=lone and source.takes_lists(options))
    if layout is None:
        raise TypeError(_no_examples(raw, source.takes_lists(options)))
    if layout.size == 0:
        raise ValueError(
            f"a batch must hold at least one example, got {_kind_of(layout.main)}: leave empty batches out of the data."
        )
    # Digested as it came, so that models in other dtypes or on other devices agree about it.
    digests, form = (digests_of(content, layout), form_of(content, layout)) if digested else (None, "")
    given, content = content, source.placed(content, options)
    if ids is not None and len(ids) != layout.size:
        raise ValueError(f"example_ids must give one id per example of the batch ({layout.size}), got {len(ids)}.")
    moved = layout_of(content, lone=layout.kind == "items")
    assert moved is not None  # it has the same tensors
    return Batch(content, moved, ids, digests, form, given=given)


def input_of(content: Any) -> Any:
    """Return what the model is called with: the first of a tuple or list."""
    if not isinstance(content, tuple | list) or is_packed(content):
        return content
    if not content:
        raise ValueError("a batch must hold at least the model's input, got an empty tuple.")
    if is_texts(content):
        raise TypeError(_OF_TEXTS)
    if is_items(content):
        tensors = all(map(is_tensor, content))
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


_OF_TEXTS = (
    "a batch must be a tensor, a tuple or a mapping that holds one, got texts: let a tokenizer make tensors of them, "
    'forward=lambda model, texts: model(**tokenizer(texts, padding=True, return_tensors="pt")), or pass these as data.'
)


def _no_examples(raw: Any, takes_lists: bool) -> str:
    """Say that nothing of a batch can be counted as examples, whether or not the model is given lists as they are."""
    keys = [str(key) for key, value in raw.items() if is_numbers(value)] if isinstance(raw, Mapping) else []
    found = what_is_none(raw)
    if found:
        return f"a batch must hold tensors or arrays, got {found}."
    if takes_lists:
        return (
            f"a batch for a function must hold a tensor or a list whose entries are the examples, so that rows can be counted "
            f"and told apart, got {described(raw)} in which none was found: make it a mapping, a tuple, a dataclass, or a list "
            f"of examples."
        )
    if keys:
        return f"a batch must hold tensors or arrays, got {lists_of_numbers(keys)}."
    if is_texts(raw):
        return _OF_TEXTS
    return (
        f"a batch must be a tensor, a tuple or a mapping that holds one, got {described(raw)}: pass "
        f"forward=lambda model, batch: ... for other kinds."
    )


def _kind_of(main: Any) -> str:
    return f"a tensor of shape {tuple(main.shape)}" if is_tensor(main) else described(main)


def describe(batch: Batch) -> str:
    """Say in a few words what a batch is."""
    shape = (
        f"first tensor of shape {tuple(batch.main.shape)}, {str(batch.main.dtype).removeprefix('torch.')}"
        if is_tensor(batch.main) and not (is_torch(batch.main) and batch.main.is_nested)
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
    return replace(batch, content=map_leaves(_copy, batch.content))


def _copy(leaf: Any) -> Any:
    if is_torch(leaf):
        return leaf.clone()
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


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
    return numbers_of(ids) if is_torch(ids) else np.asarray(ids)


def as_torch(leaf: Any) -> Any:
    """Return an array of numbers as a tensor of PyTorch's; anything else as it is."""
    check_plain(leaf, "a batch")
    leaf = numbers_of(leaf) if is_foreign(leaf) else leaf
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "biufc":
        return leaf
    if leaf.dtype.kind == "f" and leaf.dtype.itemsize > 8:
        raise TypeError(
            f"a batch must hold arrays of at most 64 bits, got {leaf.dtype}: convert it with .astype('float64')."
        )
    # A copy, because torch warns of arrays that are read-only; in the byte order of the machine.
    return loaded_torch().from_numpy(np.array(leaf, dtype=leaf.dtype.newbyteorder("=")))


def as_numpy(leaf: Any) -> Any:
    """Return a tensor of any library as an array of NumPy's; anything else as it is."""
    check_plain(leaf, "a batch")
    return numbers_of(leaf) if is_tensor(leaf) and not isinstance(leaf, np.ndarray) else leaf


def has_rows(value: Any, size: int) -> bool:
    """Say whether a value of a mapping has one row per example."""
    if is_tensor(value) or isinstance(value, np.ndarray):
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
