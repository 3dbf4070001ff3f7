"""Columns of a table of Arrow's: vectors are layers, numbers are features, and what is neither is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from homolog.files.contents import Contents, Entry, Refusal
from homolog.machine import optional
from homolog.names import quoted

_MISSING = "leave these rows out on both sides, or fill them, before the table is written"
_OBJECTS = (
    "must hold numbers or vectors of numbers, got {kind}: write vectors as lists of numbers, table['x'] = list(vectors)"
)


def contents_of(schema: Any, column: Callable[[str], Any], gathered: str) -> Contents:
    """Say what the columns of a table are, each of which is read when it is asked for."""
    names: list[str] = schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refusal(f"columns must have different names, got {quoted(twice)} twice: rename one.")
    entries = {name: _entry(name, schema.field(name).type, column) for name in names}
    entries |= {name: Entry("other", what="classes") for name in _classes(schema) if name in entries}
    index, ranged = _index(schema)
    if ranged is not None:
        entries[index[0]] = Entry("numbers", lambda: ranged)
    return Contents(entries, index=index, gathered=gathered)


def _index(schema: Any) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Return what pandas noted of the index of a table: columns, or numbers that are not simply those of the rows."""
    about = schema.pandas_metadata or {}
    said = about.get("index_columns", []) if isinstance(about, dict) else []
    columns = tuple(name for name in said if isinstance(name, str) and name in schema.names)
    ranges = [entry for entry in said if isinstance(entry, dict) and entry.get("kind") == "range"]
    if len(ranges) != 1 or columns or [ranges[0][part] for part in ("start", "step", "name")] == [0, 1, None]:
        return columns, None
    start, stop, step = (int(ranges[0][name]) for name in ("start", "stop", "step"))
    name = ranges[0]["name"]
    free = isinstance(name, str) and name not in schema.names
    return (name if free else "__index_level_0__",), np.asarray(range(start, stop, step))


def _classes(schema: Any) -> list[str]:
    """Return the columns of which Hugging Face's datasets noted that their integers stand for classes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _entry(name: str, dtype: Any, column: Callable[[str], Any]) -> Entry:
    types = optional("pyarrow", "tables", "reading tables").types
    if types.is_dictionary(dtype):
        value = dtype.value_type
        return _entry(name, value, lambda name: _decoded(column(name), value))
    if hasattr(dtype, "storage_type"):
        return _extension(name, dtype, column)
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return Entry("numbers", lambda: _numbers(column(name), name))
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return Entry("text", lambda: column(name).to_pylist())
    if _is_list(types, dtype):
        return Entry("layer", lambda: _vectors(column(name), name))
    if types.is_temporal(dtype):  # which may say who rows are
        return Entry("text", lambda: _dates(column(name)), "dates or times")
    if types.is_boolean(dtype) or types.is_null(dtype):
        return Entry("other", what="booleans" if types.is_boolean(dtype) else "nothing")
    if types.is_binary(dtype) or types.is_large_binary(dtype) or types.is_fixed_size_binary(dtype):
        return Entry("refused", what=_OBJECTS.format(kind="bytes, which may be pickled objects"))
    return Entry("refused", what=_OBJECTS.format(kind=f"a column of type {str(dtype)[:60]}"))


def _extension(name: str, dtype: Any, column: Callable[[str], Any]) -> Entry:
    """Read tensors of one shape; of other extensions only those are read whose values are plain numbers or texts."""
    if dtype.extension_name == "arrow.fixed_shape_tensor":
        # A shape of several axes is kept: who makes layers of it says what to do about them.
        shape = tuple(dtype.shape)
        return Entry("layer", lambda: _vectors(_storage(column(name)), name).reshape(-1, *shape))
    if dtype.extension_name == "arrow.bool8":
        return Entry("other", what="booleans")
    if dtype.extension_name == "arrow.uuid":
        return Entry("text", lambda: [str(value) for value in column(name).to_pylist()])
    inner = _entry(name, dtype.storage_type, lambda name: _storage(column(name)))
    if inner.kind in ("layer", "numbers", "text"):
        return inner
    return Entry("refused", what=_OBJECTS.format(kind=f"the extension type {quoted(dtype.extension_name)}"))


def _storage(column: Any) -> Any:
    pyarrow = optional("pyarrow", "tables", "reading tables")
    return pyarrow.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)


def _dates(column: Any) -> list[str | None]:
    return [None if value is None else str(value) for value in column.to_pylist()]


def _decoded(column: Any, value: Any) -> Any:
    return column.cast(value)


def _is_list(types: Any, dtype: Any) -> bool:
    tests = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(getattr(types, test)(dtype) for test in tests if hasattr(types, test))


def _numbers(column: Any, name: str) -> np.ndarray:
    """Return a column of one number per row."""
    types = optional("pyarrow", "tables", "reading tables").types
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise Refusal(f"the column {quoted(name)} must hold a number in every row, got none in row {row}: {_MISSING}.")
    if types.is_decimal(column.type):
        column = column.cast("float64")
    found = np.asarray(column.to_numpy())
    _check_numbers(found, name)
    return found


def _check_numbers(found: np.ndarray, name: str) -> None:
    with np.errstate(all="ignore"):
        # The sum of finite numbers is finite unless it overflows: one pass, and no array of flags.
        total = found.sum(dtype=np.float64)
    if found.dtype.kind == "f" and not np.isfinite(total):
        odd = ~np.isfinite(found).reshape(len(found), -1).all(axis=1)
        if odd.any():
            raise Refusal(
                f"the column {quoted(name)} must hold a finite number everywhere, got NaN or infinity first in row "
                f"{int(np.argmax(odd))} ({int(odd.sum())} of {len(odd)} rows): {_MISSING}."
            )


def _vectors(column: Any, name: str, each: int = 1) -> np.ndarray:
    """Return a column of vectors as an array (n, p), without a copy where they lie in one piece; rows may hold `each` of them."""
    pyarrow = optional("pyarrow", "tables", "reading tables")
    types = pyarrow.types
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise Refusal(
            f"the column {quoted(name)} must hold a vector in every row, got none in row {row // each}: {_MISSING}."
        )
    width = _width(column, name, each)
    pieces = [chunk.flatten() for chunk in column.chunks if len(chunk)]
    if _is_list(types, column.type.value_type):
        inner = pyarrow.chunked_array(pieces, type=column.type.value_type)
        return _vectors(inner, name, each * width).reshape(len(column), width, -1)
    value = column.type.value_type
    if not (types.is_integer(value) or types.is_floating(value) or types.is_decimal(value)):
        raise Refusal(f"{quoted(name)} {_OBJECTS.format(kind=f'lists of {value}')}.")
    _check_whole(pieces, name, width * each)
    if types.is_decimal(value):
        pieces = [piece.cast("float64") for piece in pieces]
    arrays = [np.asarray(piece.to_numpy()) for piece in pieces]
    found = (arrays[0] if len(arrays) == 1 else np.concatenate(arrays or [np.empty(0)])).reshape(len(column), width)
    _check_numbers(found, name)
    return found


def _width(column: Any, name: str, each: int) -> int:
    """Return how many numbers every vector has."""
    compute = optional("pyarrow.compute", "tables", "reading tables")
    if hasattr(column.type, "list_size"):
        return int(column.type.list_size)
    widths = np.asarray(compute.list_value_length(column).to_numpy())
    if not len(widths):
        return 0
    odd = widths != widths[0]
    if odd.any():
        row = int(np.argmax(odd))
        raise Refusal(
            f"the column {quoted(name)} must hold vectors of one length, got {widths[0]} numbers in row 0 and {widths[row]} in "
            f"row {row // each}: average or cut them to one length before the table is written."
        )
    return int(widths[0])


def _check_whole(pieces: list[Any], name: str, width: int) -> None:
    """Raise where a number of a vector is missing."""
    before = 0
    for piece in pieces:
        if piece.null_count:
            row = (before + int(np.argmax(np.asarray(piece.is_null())))) // max(1, width)
            raise Refusal(
                f"the column {quoted(name)} must hold a number everywhere in its vectors, got none first in row {row}: "
                f"{_MISSING}."
            )
        before += len(piece)
