"""Data → batches: what the model is called with, how many examples, which are padding, who they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from homolog.arrays import described
from homolog.extraction.options import Options


@dataclass(frozen=True)
class Batch:
    """One batch, ready for the model."""

    content: Any
    size: int
    main: torch.Tensor
    """The tensor whose rows are the examples."""
    mask: torch.Tensor | None
    ids: np.ndarray | None
    digests: np.ndarray


def read(data: Any, options: Options) -> Iterator[Any]:
    """Yield raw batches from all examples at once, or from an iterable of batches."""
    check_order(data, options)
    if isinstance(data, torch.Tensor | np.ndarray):
        if data.ndim == 0 or len(data) == 0:
            raise ValueError(f"data must hold at least one example, got shape {tuple(data.shape)}.")
        for start in range(0, len(data), options.batch_size):
            yield data[start : start + options.batch_size]
    elif isinstance(data, Mapping):
        size = _leading(data)
        for start in range(0, size, options.batch_size):
            part = slice(start, start + options.batch_size)
            yield {k: v[part] if has_rows(v, size) else v for k, v in data.items()}
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        yield from data
    else:
        raise TypeError(
            f"data must be a tensor, an array, a mapping of tensors, or an iterable of batches, got {described(data)}."
        )


def count(data: Any, options: Options) -> int | None:
    """Return how many examples there will be, or None where nobody can know."""
    total: int | None = None
    if isinstance(data, torch.Tensor | np.ndarray):
        total = len(data)
    elif isinstance(data, Mapping):
        total = _leading(data)
    elif isinstance(data, torch.utils.data.DataLoader):
        dataset: Any = data.dataset
        total = None if isinstance(dataset, torch.utils.data.IterableDataset) else len(dataset)
    return total if options.limit is None or total is None else min(total, options.limit)


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


def prepare(raw: Any, options: Options, device: torch.device, dtype: torch.dtype | None) -> Batch:
    """Move a batch to the device, and find its examples, padding mask and ids."""
    content, ids = _take_ids(raw, options.example_ids)
    content = _as_tensors(content)
    if isinstance(content, tuple | list) and options.forward is None:
        if not content:
            raise ValueError("a batch must hold at least the model's input, got an empty tuple.")
        content = content[0]
    main = _main_tensor(content)
    if main is None:
        raise TypeError(
            f"a batch must be a tensor, a tuple or a mapping that holds one, got {described(raw)}: pass "
            f"forward=lambda model, batch: ... for other kinds."
        )
    size = int(main.shape[0])
    # Digested as it came, so that models in other dtypes or on other devices agree about it.
    digests = _digests(content, main, size)
    content = _moved(content, device, dtype if options.forward is None else None)
    mask = content.get("attention_mask") if isinstance(content, Mapping) else None
    if ids is not None and len(ids) != size:
        raise ValueError(f"example_ids must give one id per example of the batch ({size}), got {len(ids)}.")
    return Batch(content, size, main, mask, ids, digests)


def fresh(batch: Batch) -> Batch:
    """Return a batch whose tensors a model may change in place without anybody else noticing."""
    copied = _each(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, batch.content)
    return replace(batch, content=copied)


def call(model: Any, batch: Batch, options: Options) -> Any:
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
        keys = f"keys {', '.join(map(str, raw))}" if isinstance(raw, Mapping) else described(raw)
        raise KeyError(f"example_ids={given!r} must be a key of every batch, got {keys}.")
    return {key: value for key, value in raw.items() if key != given}, _id_array(raw[given])


def _id_array(ids: Any) -> np.ndarray:
    return np.asarray(ids.cpu() if isinstance(ids, torch.Tensor) else ids)


def _as_tensors(value: Any) -> Any:
    def convert(leaf: Any) -> Any:
        numeric = isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biuf"
        # A copy, because torch warns of arrays that are read-only.
        return torch.from_numpy(np.array(leaf)) if numeric else leaf

    return _each(convert, value)


def _moved(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    def move(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        # A model in one floating dtype takes floating input in that dtype only.
        return leaf.to(device, dtype if leaf.is_floating_point() else None)

    return _each(move, value)


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to the leaves of nested mappings, tuples and lists."""
    if isinstance(value, Mapping):
        return {key: _each(function, item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_each(function, item) for item in value)
    return function(value)


def _main_tensor(content: Any) -> torch.Tensor | None:
    if isinstance(content, torch.Tensor):
        return content if content.ndim else None
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, tuple | list):
        return next((t for t in map(_main_tensor, content) if t is not None), None)
    return None


def has_rows(value: Any, size: int) -> bool:
    """Say whether a value of a mapping has one row per example."""
    return isinstance(value, torch.Tensor | np.ndarray | list) and len(value) == size


def _leading(data: Mapping[str, Any]) -> int:
    for value in data.values():
        if isinstance(value, torch.Tensor | np.ndarray) and value.ndim:
            return len(value)
    raise TypeError("a mapping of data must hold at least one tensor or array whose rows are the examples, got none.")


def _digests(content: Any, main: torch.Tensor, size: int) -> np.ndarray:
    """Digest every input row, over all tensors of a mapping that have one row per example."""
    tensors = [main]
    if isinstance(content, Mapping):
        tensors = [v for _, v in sorted(content.items()) if isinstance(v, torch.Tensor) and v.ndim and len(v) == size]
    rows = [t.detach().cpu().reshape(size, -1).contiguous().view(torch.uint8).numpy() for t in tensors]
    digests = np.empty(size, dtype=np.uint64)
    for i in range(size):
        state = hashlib.blake2b(digest_size=8)
        for row in rows:
            state.update(row[i])
        digests[i] = int.from_bytes(state.digest(), "little")
    return digests
