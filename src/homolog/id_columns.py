"""What the columns of a table are: who its rows are, layers, features, or nothing to compare. DataFrames and files have one rule.

| column | what it is |
|---|---|
| called `example_ids`, `example_id`, `ids` or `id` (capitals do not matter) | `example_ids`: integers or text, without gaps |
| called `positions` or `position`, beside ids | `positions`: integers, without gaps |
| of vectors | a layer of its own, by its name |
| of numbers | a feature; all of them are one layer. Beside columns of vectors they are left out, with a warning |
| of text, dates, truth values and all else | left out, with a warning |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.diagnostics import Caution, LeftOutWarning, listed
from homolog.names import quoted, shown

IDS = ("example_ids", "example_id", "ids", "id")
"""What a column of identifiers is called."""
POSITIONS = ("positions", "position")
"""What a column of positions within examples is called."""
NUMBER, VECTOR = "numbers", "vectors"
"""The kinds of columns that are compared; any other kind is a word for the warning, such as "text" or "dates"."""
_NO_FEATURE = re.compile(
    r"(.*[ _.-])?(ids?|index|idx|row|labels?|targets?|class|fold|unnamed: \d+)|level_\d+|__index_.*|"
)
"""Names of columns of numbers that are rarely what somebody wants to compare."""


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table by what they are."""

    ids: str | None
    positions: str | None
    layers: Sequence[str]
    """Columns of vectors, each a layer."""
    features: Sequence[str]
    """Columns of numbers, together a layer; none beside columns of vectors."""
    cautions: Sequence[Caution]
    """What was left out, and what is taken although its name says otherwise."""


def columns_of(kinds: Mapping[str, str], table: str) -> TableColumns:
    """Return what each column is, of its name → its kind; `table` is what errors call the table.

    >>> found = columns_of({"id": "text", "f0": "numbers", "f1": "numbers"}, "a")
    >>> found.ids, found.features
    ('id', ['f0', 'f1'])
    """
    ids = _only(IDS, kinds, table)
    positions = None if ids is None else _only(POSITIONS, kinds, table)
    rest = {name: kind for name, kind in kinds.items() if name not in (ids, positions)}
    layers = [name for name, kind in rest.items() if kind == VECTOR]
    numbers = [name for name, kind in rest.items() if kind == NUMBER]
    if not layers and not numbers:
        raise ValueError(
            f"{table} must have columns of numbers or a column of vectors, got {_with_kinds(kinds) or 'no column'}: convert what "
            f"is to be compared to numbers."
        )
    others = {name: kind for name, kind in rest.items() if kind not in (NUMBER, VECTOR)}
    left = others | (dict.fromkeys(numbers, NUMBER) if layers else {})
    features = [] if layers else numbers
    return TableColumns(ids, positions, layers, features, _left_out(left, table) + _odd_features(features, table))


def _only(wanted: Sequence[str], kinds: Mapping[str, str], table: str) -> str | None:
    """Return the one column with any of these names."""
    found = [name for name in kinds if name.strip().lower() in wanted]
    if len(found) > 1:
        raise ValueError(
            f"{table} must have one column that says whose its rows are, got {listed(map(quoted, found))}: rename or drop the "
            f"others."
        )
    return found[0] if found else None


def checked_identity(values: Any, column: str, table: str) -> np.ndarray:
    """Return identifiers or positions as an array of integers or text, or raise where one is missing or anything else."""
    array = np.asarray(values)
    if array.dtype.kind in "iuSU":
        return array
    entries = array.tolist()
    kinds = {type(entry) for entry in entries}
    if kinds in ({str}, {int}):
        return np.array(entries)
    missing = [row for row, entry in enumerate(entries) if entry is None or entry != entry]
    if missing:
        got = f"a missing value first in row {missing[0]} ({len(missing)} of {len(entries)} rows)"
        remedy = "drop these rows or name them"
    else:
        got = f"{' and '.join(sorted(kind.__name__ for kind in kinds))} ({array.dtype})"
        remedy = "convert it, for instance to text, or rename it if it does not say whose its rows are"
    raise TypeError(f"column {quoted(column)} of {shown(table)} must hold integers or text, got {got}: {remedy}.")


def _left_out(kinds: Mapping[str, str], table: str) -> list[Caution]:
    if not kinds:
        return []
    remedy = "convert what is to be compared to numbers"
    if NUMBER in kinds.values():
        remedy = "columns of numbers beside columns of vectors are no layer: pass them alone to compare them"
    message = f"{table}: {_with_kinds(kinds)} left out: {remedy}, or drop them yourself."
    return [Caution(LeftOutWarning, message)]


def _odd_features(names: Sequence[str], table: str) -> list[Caution]:
    odd = [name for name in names if _NO_FEATURE.fullmatch(name.strip().lower())]
    if not odd:
        return []
    message = (
        f"{table}: {listed(map(quoted, odd))} taken as a feature, although the name says that it is none: drop it, or call it "
        f"'example_id' if it says whose its rows are."
    )
    return [Caution(LeftOutWarning, message)]


def _with_kinds(kinds: Mapping[str, str]) -> str:
    return listed(f"{quoted(name)} ({kind})" for name, kind in kinds.items())
