"""DataFrames of polars, which have no index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from homolog.frames.frame import Frame, kind_of_entries, ragged, stacked
from homolog.id_columns import NUMBER, VECTOR
from homolog.names import quoted


class PolarsFrame(Frame):
    """A DataFrame of polars."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.kinds = {name: _kind(frame[name]) for name in frame.columns}

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns of numbers side by side."""
        columns = [_numbers(self._frame[name]) for name in names]
        return np.stack(columns, axis=1)

    def entries(self, name: str) -> Any:
        """Return the entries of a column."""
        return self._frame[name].to_list()

    def vectors(self, name: str, title: str) -> np.ndarray:
        """Return a column of vectors as an array (n, p)."""
        column, what = self._frame[name], f"column {quoted(name)} of {title}"
        if column.null_count() or not hasattr(column.dtype, "inner") or not len(column):
            return stacked(column.to_list(), what)
        if type(column.dtype).__name__ == "List":
            lengths = column.list.len().to_numpy()
            if not lengths.all():
                return stacked(column.to_list(), what)
            if (lengths != lengths[0]).any():
                odd = int(np.argmax(lengths != lengths[0]))
                raise ragged(what, odd, int(lengths[odd]), int(lengths[0]))
        return _numbers(column.explode()).reshape(len(column), -1)


def _kind(column: Any) -> str:
    dtype = column.dtype
    name = type(dtype).__name__
    if name in ("List", "Array"):
        return VECTOR if dtype.inner.is_numeric() else "lists"
    if dtype.is_numeric():
        return NUMBER
    if dtype.is_temporal():
        return "dates"
    if name == "Object":
        return kind_of_entries(column.to_list())
    known = {"Boolean": "truth values", "String": "text", "Categorical": "categories", "Enum": "categories"}
    return known.get(name, f"{name} objects")


def _numbers(column: Any) -> np.ndarray:
    """Return a column as numbers of NumPy's; what is missing is NaN."""
    if column.null_count() or type(column.dtype).__name__ in ("Decimal", "Object", "Int128", "UInt128"):
        return np.array([np.nan if entry is None else float(entry) for entry in column.to_list()])
    found: np.ndarray = column.to_numpy()
    return found
