"""DataFrames of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from homolog.frames.frame import Frame, kind_of_entries, stacked
from homolog.id_columns import CATEGORIES, DATES, ID_NAMES, KEPT_INDEX, NUMBER, POSITIONS, TEXT, checked_identity
from homolog.names import quoted
from homolog.pairing import GIVEN, NUMBERED


class PandasFrame(Frame):
    """A DataFrame of pandas, whose index says whose its rows are unless it only numbers them."""

    def __init__(self, frame: Any, title: str) -> None:
        self._index = frame.index
        if self._index.nlevels > 1:
            frame, self._index = _levels_as_columns(frame, title)
        names = [str(name) for name in frame.columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"the columns of {title} must have different names, got {quoted(twice)} twice: rename one."
            )
        self._columns = {name: frame.iloc[:, place] for place, name in enumerate(names)}
        self.kinds = {name: _kind(column) for name, column in self._columns.items()}
        self.index = {} if self._index is None or _only_numbers(self._index) else _kind_of_index(self._index)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns of numbers side by side."""
        columns = [_numbers(self._columns[name]) for name in names]
        found = np.empty((len(columns[0]), len(columns)), np.result_type(*columns))
        for place, column in enumerate(columns):
            found[:, place] = column
        return found

    def entries(self, name: str) -> Any:
        """Return the entries of a column."""
        return self._columns[name].to_numpy()

    def vectors(self, name: str, title: str) -> np.ndarray:
        """Return a column of vectors as an array (n, p)."""
        return stacked(self._columns[name].tolist(), f"column {quoted(name)} of {title}")

    def labels(self, title: str) -> tuple[np.ndarray | None, str]:
        """Return the index as identifiers; dates and other numbers as text."""
        index = self._index
        if index is None:
            return None, ""
        if _only_numbers(index):
            return None, NUMBERED
        values = index.to_numpy()
        if values.dtype.kind not in "iuSU" and not index.hasnans and index.inferred_type not in ("string", "integer"):
            values = np.array([str(entry) for entry in index])
        return checked_identity(values, _name(index), title), GIVEN

    def made_ids(self, name: str) -> str:
        """Write what makes a column the index."""
        return f".set_index({quoted(name)})"


def _only_numbers(index: Any) -> bool:
    """Say whether an index only numbers the rows from 0."""
    return type(index).__name__ == "RangeIndex" and index.name is None and index.start == 0 and index.step == 1


def _kind_of_index(index: Any) -> dict[str, str]:
    """Return the index as a level of a kind; labels are text, whatever they are."""
    return {_name(index): NUMBER if index.inferred_type == "integer" else TEXT}


def _name(index: Any) -> str:
    return "index" if index.name is None else str(index.name)


def _levels_as_columns(frame: Any, title: str) -> tuple[Any, None]:
    """Return a frame whose index has several levels with columns of them: one must be called as ids are."""
    names = [str(name).strip().lower() for name in frame.index.names]
    if not set(names) <= {*ID_NAMES, *KEPT_INDEX, *POSITIONS}:
        raise ValueError(
            f"{title} must have an index of one level that says whose its rows are, or levels called 'example_id' and "
            f"'position', got levels {frame.index.names}: rename them, or make one column of them with reset_index."
        )
    return frame.reset_index(), None


def _kind(column: Any) -> str:
    dtype = column.dtype
    kind = getattr(dtype, "kind", "O")
    if isinstance(dtype, np.dtype) and kind == "O":
        return kind_of_entries(column.tolist())
    name = str(dtype).lower()
    if name.startswith(("list", "fixed_size_list", "large_list")):
        return kind_of_entries(column.tolist())
    if kind == "c":
        return "complex numbers"
    if kind in "mM" or name.startswith(("period", "date", "time", "duration", "interval")):
        return DATES
    if kind == "b" or name.startswith("bool"):
        return "truth values"
    if name == "category":
        return CATEGORIES
    if kind in "iuf" or name.startswith(("decimal", "int", "uint", "float", "double")):
        return NUMBER
    return TEXT if "str" in name or kind in "SU" else f"{dtype} objects"


def _numbers(column: Any) -> np.ndarray:
    """Return a column as numbers of NumPy's, in float64 where something is missing or the type is none of NumPy's."""
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)  # of nullable types, and of pyarrow's
    sound = isinstance(dtype, np.dtype) and dtype.kind in "iuf" and not column.isna().any()
    found: np.ndarray = column.to_numpy(dtype) if sound else column.to_numpy(float, na_value=np.nan)
    return found
