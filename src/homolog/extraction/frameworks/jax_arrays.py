"""What the adapters of JAX's frameworks share: arrays on a device, their digests, and batches as arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from homolog.extraction.digests import numbers
from homolog.extraction.tensors import is_floating, is_tensor, numbers_of
from homolog.names import first_line, quoted


def device_of(device: Any) -> Any:
    """Return a device of JAX's by its object or its name, such as "cpu" or "gpu:1"; None for JAX's own choice."""
    import jax

    if device is None or isinstance(device, jax.Device):
        return device
    kind, _, number = str(device).partition(":")
    try:
        return jax.devices(kind)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"device must be one that JAX can use here, got {quoted(str(device))}: {first_line(error)}."
        ) from error


def as_jax(batch: Any, device: Any, dtype: Any = None) -> Any:
    """Return a batch with arrays of JAX's in it, floating ones in the type of the weights where they all have one."""
    import jax

    if isinstance(batch, Mapping):
        return {key: as_jax(item, device, dtype) for key, item in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(as_jax(item, device, dtype) for item in batch)
    if not is_tensor(batch):
        return batch
    array = jax.device_put(batch, device)
    return array if dtype is None or not is_floating(batch) else array.astype(dtype)


def parts_of_tree(tree: Any) -> Iterator[str | bytes]:
    """Yield what tells one tree of arrays from another: the names, types, shapes and numbers of its leaves."""
    import jax

    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if str(getattr(leaf, "dtype", "")).startswith("key<"):
            continue  # random numbers are not drawn
        yield jax.tree_util.keystr(path)
        if is_tensor(leaf):
            yield str(leaf.dtype)
            yield from numbers(numbers_of(leaf))
        else:
            yield without_places(leaf)


def without_places(value: Any) -> str:
    """Write a value without where it lies in memory.

    >>> without_places(print)
    '<built-in function print>'
    """
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
