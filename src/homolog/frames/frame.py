"""What every kind of DataFrame is asked: what its columns hold, and for their numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from homolog.diagnostics import Caution, LeftOutWarning
from homolog.id_columns import (
    CATEGORIES,
    NUMBER,
    TEXT,
    VECTOR,
    TableColumns,
    checked_identity,
    columns_of,
    doubts,
    outweighing,
    repeated,
)
from homolog.names import quoted
from homolog.sketching import check_no_sketches

EXACT = 2.0**53
"""Integers up to this are exact as floats."""
EMPTY = "nothing"
"""The kind of a column without any entry."""


@dataclass(frozen=True)
class Table:
    """What was made of a DataFrame, or of an array with labels."""

    layers: Mapping[str, Any]
    """Name of the layer → array (n, p)."""
    example_ids: np.ndarray | None = None
    positions: np.ndarray | None = None
    index: str = ""
    """Where the ids come from, as `pairing.Identities` has it."""
    cautions: Sequence[Caution] = ()


class Frame(ABC):
    """A DataFrame of some library; `kinds` are those of `id_columns`."""

    kinds: Mapping[str, str]
    index: Mapping[str, str] = MappingProxyType({})
    """The index, as `identity_of` has it."""

    @abstractmethod
    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns of numbers side by side; what is missing is NaN."""

    @abstractmethod
    def entries(self, name: str) -> Any:
        """Return the entries of a column as something that NumPy makes an array of."""

    @abstractmethod
    def vectors(self, name: str, title: str) -> np.ndarray:
        """Return a column of vectors as an array (n, p), or raise, naming the first row that is unlike the others."""

    def labels(self, title: str) -> tuple[np.ndarray | None, str]:
        """Return the identities that an index gives, and what it is; see `pairing.Identities`."""
        return None, ""

    def made_ids(self, name: str) -> str:
        """Write what makes a column the one that says whose the rows are."""
        return f"rename {quoted(name)} to 'id'"


def _check_exact(frame: Frame, names: Sequence[str], together: np.ndarray, title: str) -> None:
    """Raise where integers of one column became floats beside others, and are too large for them."""
    if together.dtype.kind != "f" or not np.any(np.abs(together) >= EXACT):
        return
    for place, name in enumerate(names):
        alone = frame.numbers([name])[:, 0]
        if alone.dtype.kind in "iu" and np.any(np.abs(together[:, place]) >= EXACT):
            raise ValueError(
                f"column {quoted(name)} of {title} must hold integers below 2**53, which floats can tell, beside columns of "
                f"other types, got larger ones: subtract what they have in common, or pass the column by itself."
            )


def table_of(frame: Frame, title: str, name: str) -> Table:
    """Return the layers and identities of a DataFrame; columns of numbers are one layer of the name given."""
    check_no_sketches(frame.kinds, title)
    columns = columns_of(frame.kinds, title, frame.index)
    layers = {column: frame.vectors(column, title) for column in columns.layers}
    cautions = list(columns.cautions)
    if columns.features:
        features = frame.numbers(columns.features)
        _check_exact(frame, columns.features, features, title)
        layers[name if name not in layers else f"{name}.columns"] = features
        cautions += outweighing(columns.features, features, title)
    ids, index = frame.labels(title) if columns.ids is None else (None, "")
    if columns.ids is not None:
        ids = checked_identity(frame.entries(columns.ids), columns.ids, title)
    positions = None
    if columns.positions is not None:
        positions = checked_identity(frame.entries(columns.positions), columns.positions, title)
    cautions += [*_doubts(frame, columns, title), *repeated(ids, positions, title)]
    return Table(layers, ids, positions, index, cautions)


def _doubts(frame: Frame, columns: TableColumns, title: str) -> list[Caution]:
    """Say where numbers of rows are taken for ids, and a column may hold better ones."""

    def texts(name: str) -> Sequence[Any] | None:
        return list(frame.entries(name)) if frame.kinds[name] in (TEXT, CATEGORIES) else None

    said = doubts(columns.identity, columns.left, texts, frame.made_ids)
    return [Caution(LeftOutWarning, f"{title}: {said}.")] if said else []


def kind_of_entries(entries: Sequence[Any]) -> str:
    """Say what a column of Python objects holds; one that has vectors and gaps counts as one of vectors."""
    kinds = {_kind(entry) for entry in entries} - {EMPTY}
    if VECTOR in kinds:
        return VECTOR
    return kinds.pop() if len(kinds) == 1 else "objects of several kinds" if kinds else EMPTY


def _kind(entry: Any) -> str:
    if entry is None or (isinstance(entry, float) and entry != entry):
        return EMPTY
    if isinstance(entry, bool | np.bool_):
        return "truth values"
    if isinstance(entry, int | float | np.integer | np.floating):
        return NUMBER
    if isinstance(entry, str):
        return TEXT
    return (
        VECTOR if hasattr(entry, "__array__") or isinstance(entry, list | tuple) else f"{type(entry).__name__} objects"
    )


def stacked(entries: Sequence[Any], what: str) -> np.ndarray:
    """Return vectors as rows of one array, or raise, naming the first that is none or that differs in length.

    >>> stacked([[1, 2], (3, 4)], "x")
    array([[1, 2],
           [3, 4]])
    """
    rows: list[np.ndarray] = []
    for number, entry in enumerate(entries):
        row = None if _kind(entry) != VECTOR else _vector(entry)
        if row is None or row.ndim != 1 or row.dtype.kind not in "iuf" or not row.size:
            raise TypeError(
                f"{what} must hold one vector of numbers per row, got {_got(entry, row)} in row {number}: {REMEDY}."
            )
        if rows and len(row) != len(rows[0]):
            raise ragged(what, number, len(row), len(rows[0]))
        rows.append(row)
    return np.stack(rows) if rows else np.empty((0, 0))


def ragged(what: str, row: int, length: int, expected: int) -> ValueError:
    """Return the error for vectors of different lengths."""
    return ValueError(
        f"{what} must hold vectors of one length ({expected}, that of row 0), got {length} numbers in row {row}: average or pad "
        f"them to one length first, or leave such rows out."
    )


def _vector(entry: Any) -> np.ndarray | None:
    """Return an entry as an array, None where it cannot be one."""
    if isinstance(entry, np.ma.MaskedArray) and np.ma.is_masked(entry):
        return None
    if hasattr(entry, "detach"):  # a tensor, perhaps on a device
        entry = entry.detach().cpu()
    try:
        return np.asarray(entry)
    except (ValueError, TypeError):
        return None


REMEDY = "leave rows without a vector out on both sides, and make numbers of one axis of what is no such vector"


def _got(entry: Any, row: np.ndarray | None) -> str:
    if _kind(entry) == EMPTY:
        return "nothing"
    if row is None:
        if isinstance(entry, np.ma.MaskedArray):
            return "a masked vector"
        return "something that is no vector" if _kind(entry) == VECTOR else quoted(entry)
    if row.dtype.kind == "O":
        return "vectors in a vector, as of sketches, whose files homolog.open reads,"
    if row.ndim == 1 and not row.size:
        return "an empty vector"
    if row.ndim == 1:
        return f"a vector of {row.dtype}"
    return f"shape {row.shape}" if row.ndim else quoted(entry)
