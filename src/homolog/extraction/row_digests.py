"""Who the examples of a batch are: a digest of each, over everything of it that reaches the model."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from homolog.extraction.batch_contents import Layout, dense, is_per_example, is_record, map_leaves, rows_of
from homolog.extraction.digests import IncomparableError, hashed, reduced
from homolog.extraction.tensors import (
    array_of,
    dtype_name,
    is_foreign,
    is_nested,
    is_packed,
    is_tensor,
    is_torch,
    loaded_torch,
)
from homolog.pairing import digest_of_row

MOST_LETTERS = 200
"""Letters of the form of a batch, beyond which it is written as a digest."""
MOST_NESTED = 60
"""Containers and objects around a value, beyond which nobody looks."""


def digests_of(content: Any, layout: Layout) -> np.ndarray | None:
    """Digest every example; what belongs to all examples counts for each. None where something in it cannot be digested."""
    try:
        content = map_leaves(_read, content)
        found = [_digest_of(item) for item in content] if layout.kind == "items" else _of_rows(content, layout.size)
    except Exception:  # an object may do anything when it is looked at
        return None
    return np.array([int.from_bytes(digest, "little") for digest in found], dtype=np.uint64)


class _Read(np.ndarray):
    """An array of a batch, digested as a tensor of PyTorch's of the same numbers is: whose it is does not matter."""


def _read(leaf: Any) -> Any:
    return array_of(leaf).view(_Read) if is_tensor(leaf) and not is_torch(leaf) else leaf


def form_of(content: Any, layout: Layout) -> str:
    """Write the names, types and shapes of what a batch holds, which digests of rows do not all tell."""
    form = "a list of examples" if layout.kind == "items" else _form_of(content)
    return form if len(form) <= MOST_LETTERS else hashed(form).hex()


def _form_of(content: Any) -> str:
    if is_record(content):
        content = vars(content)
    if isinstance(content, Mapping):
        return f"{{{', '.join(sorted(f'{key}: {_form_of(item)}' for key, item in content.items()))}}}"
    if type(content) is tuple or (type(content) is list and any(rows_of(item) for item in content)):
        return f"({', '.join(map(_form_of, content))})"
    if is_tensor(content) and not is_nested(content):
        return f"{dtype_name(content)} of shape {('n', *content.shape[1:])}".replace("'", "")
    return type(content).__name__


def _of_rows(content: Any, size: int) -> list[bytes]:
    places = list(_places(content, size))
    if len(places) == 1:
        # The same input is the same example, whatever name one model or another gives it.
        return [digest_of_row(row) for row in _row_contents(places[0][1], size)]
    rows: list[Any] = []
    shared: list[bytes] = []
    for name, leaf in places:
        shared.append(name)
        if _is_by_row(leaf, size):
            rows.append(_row_contents(leaf, size))
        else:
            shared.append(_digest_of(leaf))
    common = hashed(*shared)
    return [hashed(common, *(bytes(row[i]) for row in rows)) for i in range(size)]


def _places(content: Any, size: int, name: bytes = b"") -> Iterator[tuple[bytes, Any]]:
    """Yield what a batch holds, each with a digest of where: of the keys and places that lead to it."""
    if not is_packed(content) and not is_per_example(content, size):
        entries = _entries(content)
        if entries is not None and len(entries):
            for key, item in entries:
                yield from _places(item, size, hashed(name, key))
            return
    yield name, content


def _entries(content: Any) -> list[tuple[bytes, Any]] | None:
    """Return the entries of a container by digests of their keys, in an order of which it does not matter how it was filled."""
    if is_record(content):
        content = vars(content)
    elif isinstance(content, tuple) and hasattr(content, "_asdict"):
        content = content._asdict()
    if isinstance(content, Mapping):
        return sorted(((_digest_of(key), item) for key, item in content.items()), key=lambda entry: entry[0])
    if type(content) in (tuple, list):
        return [(hashed("place", str(i)), item) for i, item in enumerate(content)]
    return None


def _is_by_row(leaf: Any, size: int) -> bool:
    return rows_of(leaf) == size or is_per_example(leaf, size)


def _row_contents(leaf: Any, size: int) -> Any:
    """Return the bytes of every row of a leaf, or the digests of its entries; the same for all where it has no rows."""
    if is_per_example(leaf, size):
        return [_digest_of(item) for item in leaf]
    if rows_of(leaf) == size:
        return _row_bytes(leaf)
    return [_digest_of(leaf)] * size


def _row_bytes(leaf: Any) -> Any:
    """Return the bytes of every row; of packed sequences without padding, which depends on the others."""
    if is_packed(leaf):
        padded, lengths = loaded_torch().nn.utils.rnn.pad_packed_sequence(leaf, batch_first=True)
        return [bytes(_row_bytes(row[None, : int(length)])[0]) for row, length in zip(padded, lengths, strict=True)]
    if not is_torch(leaf):
        return _row_bytes_of_array(leaf)
    tensor = dense(leaf.detach())
    if not tensor.numel():
        return [b""] * len(tensor)
    return tensor.cpu().reshape(len(tensor), -1).contiguous().view(loaded_torch().uint8).numpy()


def _row_bytes_of_array(array: np.ndarray) -> Any:
    if not array.size:
        return [b""] * len(array)
    if _is_wide(array):
        return [repr(row.reshape(-1).tolist()).encode() for row in array]
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return native.reshape(len(native), -1).view(np.uint8)


def _is_wide(array: Any) -> bool:
    """Say whether numbers are wider than 64 bits, or 128 for complex ones: not all their bytes are their own."""
    return array.dtype.kind in "fc" and array.dtype.itemsize > (8 if array.dtype.kind == "f" else 16)


def _digest_of(value: Any, around: tuple[Any, ...] = ()) -> bytes:
    """Digest any value so that equal digests mean equal values, in any process; raises where that cannot be told."""
    if len(around) > MOST_NESTED:
        raise IncomparableError("more objects in each other than can be followed")
    for depth, outer in enumerate(around):
        if outer is value:  # an object that reaches itself
            return hashed("above", str(depth))
    return hashed(*_parts(value, (*around, value)))


def _parts(value: Any, around: tuple[Any, ...]) -> Iterator[str | bytes]:
    """Yield what makes a value what it is."""
    if isinstance(value, enum.Enum):
        yield from ("one of", _type_name(type(value)), value.name, _digest_of(value.value, around))
    elif isinstance(value, str | bytes) or value is None or type(value) in (bool, int, float, complex):
        yield from _plain_parts(value)
    elif isinstance(value, np.ndarray | np.generic) or is_tensor(value) or is_packed(value):
        yield from _array_parts(value, around)
    elif isinstance(value, bytearray | memoryview):
        view = memoryview(value)
        yield from (type(value).__name__, f"{view.format} {view.shape}", view.tobytes())
    elif isinstance(value, Mapping):
        yield "mapping"
        found = [(_digest_of(key, around), _digest_of(item, around)) for key, item in value.items()]
        for key, item in sorted(found):
            yield from (key, item)
    elif isinstance(value, set | frozenset):
        yield "set"
        yield from sorted(_digest_of(item, around) for item in value)
    elif isinstance(value, tuple | list | deque):
        yield "deque" if isinstance(value, deque) else "sequence"
        yield from (_digest_of(item, around) for item in value)
    else:
        yield from _object_parts(value, around)


def _plain_parts(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, str):
        yield from ("text", str.__str__(value))
    elif isinstance(value, bytes):
        yield from ("bytes", bytes(value))
    else:
        yield from (type(value).__name__, repr(value))


def _array_parts(value: Any, around: tuple[Any, ...]) -> Iterator[str | bytes]:
    if is_packed(value):
        yield from ("packed", *_row_bytes(value))
    elif is_torch(value):
        if value.is_meta:
            raise IncomparableError("a tensor without values")
        whole = dense(value.detach())
        yield from (f"{value.dtype} {tuple(whole.shape)}", b"".join(map(bytes, _row_bytes(whole[None]))))
    elif isinstance(value, _Read) or is_foreign(value):
        array = array_of(value)
        yield from (f"torch.{dtype_name(array)} {array.shape}", b"".join(map(bytes, _row_bytes_of_array(array[None]))))
    elif value.dtype.hasobject or value.dtype.kind in "SUTV":
        yield from (f"{value.dtype.kind} {value.shape}", _digest_of(value.tolist(), around))
    elif _is_wide(value):
        yield from (f"{value.dtype} {value.shape}", repr(np.asarray(value).reshape(-1).tolist()))
    else:
        native = np.asarray(value, dtype=value.dtype.newbyteorder("="))
        yield from (f"{native.dtype} {native.shape}", native.tobytes())


def _object_parts(value: Any, around: tuple[Any, ...]) -> Iterator[str | bytes]:
    """Yield what pickle would keep of any other object, or its numbers where there is no such thing."""
    if isinstance(value, FunctionType | BuiltinFunctionType | ModuleType | type):
        raise IncomparableError("code")
    yield _type_name(type(value))
    try:
        kept = reduced(value)
    except Exception:
        numbers = _as_numbers(value)
        if numbers is None:
            raise
        yield _digest_of(numbers, around)
        return
    if isinstance(kept, str):
        yield kept
        return
    made_by, arguments, *rest = kept
    yield _type_name(made_by)
    # The class that is made is told by its name.
    contained = [item for item in arguments if item is not type(value)]
    contents = [list(item) if isinstance(item, Iterator) else item for item in rest[:4]]
    if not contained and all(item is None for item in contents):
        numbers = _as_numbers(value)
        if numbers is None:
            raise IncomparableError(f"an object of type {type(value).__name__}, which says nothing of what it holds")
        contents = [numbers]
    for item in (*contained, *contents):
        yield _type_name(item) if isinstance(item, type) else _digest_of(item, around)


def _as_numbers(value: Any) -> np.ndarray | None:
    """Return the numbers of an object that can be read as an array; None where it cannot."""
    if not any(hasattr(type(value), way) for way in ("__array__", "__array_interface__", "__buffer__", "__dlpack__")):
        return None
    found = np.asarray(value) if not hasattr(type(value), "__dlpack__") else np.from_dlpack(value)
    return None if found.dtype.hasobject else found


def _type_name(made_by: Any) -> str:
    return f"{getattr(made_by, '__module__', '')}.{getattr(made_by, '__qualname__', type(made_by).__qualname__)}"
