"""Tables of pyarrow, as parquet and feather files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from homolog.frames.frame import Frame, ragged, stacked
from homolog.id_columns import NUMBER, VECTOR
from homolog.names import quoted


class ArrowFrame(Frame):
    """A table of pyarrow."""

    def __init__(self, table: Any, title: str) -> None:
        names = table.column_names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"the columns of {title} must have different names, got {quoted(twice)} twice: rename one."
            )
        self._table = table
        self.kinds = {name: kind_of_type(table.schema.field(name).type) for name in names}

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns of numbers side by side."""
        return np.stack([_numbers(self._table.column(name)) for name in names], axis=1)

    def entries(self, name: str) -> Any:
        """Return the entries of a column."""
        return self._table.column(name).to_pylist()

    def vectors(self, name: str, title: str) -> np.ndarray:
        """Return a column of vectors as an array (n, p)."""
        column, what = self._table.column(name).combine_chunks(), f"column {quoted(name)} of {title}"
        if hasattr(column, "chunks"):  # without rows nothing is combined
            column = column.chunk(0) if column.num_chunks else column
        if column.null_count or not len(column):
            return stacked(column.to_pylist(), what)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if not lengths.all():
            return stacked(column.to_pylist(), what)
        if (lengths != lengths[0]).any():
            odd = int(np.argmax(lengths != lengths[0]))
            raise ragged(what, odd, int(lengths[odd]), int(lengths[0]))
        return _numbers(column.flatten()).reshape(len(column), -1)


def kind_of_type(kind: Any) -> str:
    """Say what a column of a type of pyarrow's holds.

    >>> import pyarrow
    >>> kind_of_type(pyarrow.list_(pyarrow.float32())), kind_of_type(pyarrow.date32())
    ('vectors', 'dates')
    """
    name = str(kind)
    if name.startswith(("list", "large_list", "fixed_size_list")):
        return VECTOR if kind_of_type(kind.value_type) == NUMBER else "lists"
    if name.startswith("extension<arrow.fixed_shape_tensor"):
        return "tensors"
    if name.startswith("dictionary"):
        return "categories"
    kinds = {
        NUMBER: ("int", "uint", "half", "float", "double", "decimal"),
        "dates": ("date", "time", "duration", "month"),
        "text": ("string", "large_string", "utf8"),
        "truth values": ("bool",),
    }
    return next((found for found, starts in kinds.items() if name.startswith(starts)), f"{name} values")


def _numbers(column: Any) -> np.ndarray:
    """Return a column as numbers of NumPy's; what is missing is NaN."""
    if str(column.type).startswith("decimal"):
        return np.array([np.nan if entry is None else float(entry) for entry in column.to_pylist()])
    if column.null_count:
        column = column.cast("float64")
    return np.asarray(column.to_numpy(zero_copy_only=False) if not hasattr(column, "chunks") else column.to_numpy())
