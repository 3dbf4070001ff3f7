"""What the columns of a table are: who its rows are, layers, features, or nothing to compare. DataFrames and files have one rule.

| column | what it is |
|---|---|
| called `example_id`, `id` or `index`, or the only one whose name ends in `_id`; see `identity_of` | `example_ids` |
| called `positions` or `position`, beside ids | `positions`, within examples |
| of vectors | a layer of its own, by its name |
| of numbers | a feature: all of them are one layer |
| of numbers, called as ids or classes are | left out, with a warning |
| of text, dates, truth values and all else | left out, with a warning |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from homolog.diagnostics import Caution, LeftOutWarning, listed
from homolog.names import quoted, shown

ID_NAMES = ("example_id", "example_ids", "id", "ids", "index", "__index_level_0__", "unnamed: 0", "")
"""What columns of ids are called, in lower case, the surest first; the last ones are those of an index that pandas wrote."""
ID_ENDINGS = ("_id", "_ids", " id")
LABELS = ("label", "labels", "class", "target", "targets")
"""What columns of numbers are called that are classes, and no features."""
POSITIONS = ("positions", "position")
"""What a column of positions within examples is called."""
NUMBER, VECTOR, TEXT, CATEGORIES = "numbers", "vectors", "text", "categories"
"""The kinds of columns that are compared or may say whose rows are; any other kind is a word for the warning, such as "dates"."""


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table by what they are."""

    ids: str | None
    positions: str | None
    layers: Sequence[str]
    """Columns of vectors, each a layer."""
    features: Sequence[str]
    """Columns of numbers, together a layer."""
    cautions: Sequence[Caution]
    """What was left out."""


def columns_of(kinds: Mapping[str, str], table: str) -> TableColumns:
    """Return what each column is, of its name → its kind; `table` is what errors call the table.

    >>> found = columns_of({"id": "text", "f0": "numbers", "f1": "numbers", "label": "numbers"}, "a")
    >>> found.ids, found.features
    ('id', ['f0', 'f1'])
    """
    ids = identity_of(kinds)
    positions = next((name for name in kinds if ids is not None and _plain(name) in POSITIONS), None)
    rest = {name: kind for name, kind in kinds.items() if name not in (ids, positions)}
    layers = [name for name, kind in rest.items() if kind == VECTOR]
    features = [name for name, kind in rest.items() if kind == NUMBER and not is_no_feature(name)]
    if not layers and not features:
        raise ValueError(
            f"{table} must have columns of numbers or a column of vectors, got {_with_kinds(kinds) or 'no column'}: convert what "
            f"is to be compared to numbers."
        )
    left = {name: kind for name, kind in rest.items() if name not in (*layers, *features)}
    return TableColumns(ids, positions, layers, features, _left_out(left, table))


def identity_of(kinds: Mapping[str, str]) -> str | None:
    """Return the column that says whose the rows are: the first of ID_NAMES, else the only one whose name ends as ids do.

    >>> identity_of({"image_id": "text", "f0": "numbers"}), identity_of({"a_id": "text", "b_id": "text"})
    ('image_id', None)
    """
    for wanted in ID_NAMES:
        found = [name for name, kind in kinds.items() if _plain(name) == wanted and kind != VECTOR]
        if found:
            return found[0]
    able = (NUMBER, TEXT, CATEGORIES)
    ending = [name for name, kind in kinds.items() if _plain(name).endswith(ID_ENDINGS) and kind in able]
    return ending[0] if len(ending) == 1 else None


def is_no_feature(name: str) -> bool:
    """Say whether numbers under a name are ids or classes."""
    return _plain(name) in (*ID_NAMES, *LABELS) or _plain(name).endswith(ID_ENDINGS)


def _plain(name: str) -> str:
    return name.strip().lower()


def checked_identity(values: Any, column: str, table: str) -> np.ndarray:
    """Return identifiers or positions as integers or text, dates as text, or raise where one is missing or anything else."""
    array = np.asarray(values)
    if array.dtype.kind in "iuSU":
        return array
    if array.dtype.kind == "f" and np.all(array == np.rint(array)) and np.all(np.abs(array) < 2**53):
        return array.astype(np.int64)  # of tables that know no integers beside fractions
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(object)
    entries = [entry.item() if isinstance(entry, np.generic) else entry for entry in array.tolist()]
    kinds = {type(entry) for entry in entries}
    if kinds in ({str}, {int}):
        return np.array(entries)
    if all(isinstance(entry, date) and entry == entry for entry in entries):
        return np.array(list(map(str, entries)))
    missing = [row for row, entry in enumerate(entries) if entry is None or entry != entry]
    if missing:
        got = f"a missing value first in row {missing[0]} ({len(missing)} of {len(entries)} rows)"
        remedy = "drop these rows or name them"
    else:
        got = f"{' and '.join(sorted(kind.__name__ for kind in kinds))} ({array.dtype})"
        remedy = "convert it, for instance to text, or rename it if it does not say whose its rows are"
    raise TypeError(f"column {quoted(column)} of {shown(table)} must hold integers or text, got {got}: {remedy}.")


def repeated(ids: np.ndarray | None, positions: np.ndarray | None, table: str) -> list[Caution]:
    """Say that ids occur again, as the classes of an index do: they do not tell rows apart."""
    if ids is None or positions is not None or (count := len(np.unique(ids))) == len(ids):
        return []
    message = (
        f"{table}: its {len(ids)} rows have {count} ids, which do not tell them apart: give every row an id of its own."
    )
    return [Caution(LeftOutWarning, message)]


def _left_out(kinds: Mapping[str, str], table: str) -> list[Caution]:
    if not kinds:
        return []
    remedy = "convert what is to be compared to numbers"
    if NUMBER in kinds.values():
        remedy = "numbers that are called as ids or classes are no features: rename them if they are"
    return [Caution(LeftOutWarning, f"{table}: {_with_kinds(kinds)} left out: {remedy}, or drop them yourself.")]


def _with_kinds(kinds: Mapping[str, str]) -> str:
    return listed(f"{quoted(name)} ({kind})" for name, kind in kinds.items())
