"""What the columns of a table are: who its rows are, layers, features, or nothing to compare. DataFrames and files have one rule.

| column | what it is |
|---|---|
| that says whose the rows are: see `identity_of` | `example_ids` |
| called `positions` or `position`, beside ids | `positions`, within examples |
| of vectors | a layer of its own, by its name |
| of numbers | a feature: all of them are one layer |
| of numbers, called as ids or classes are | left out, with a warning |
| of text, dates, truth values and all else | left out, with a warning |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from homolog.diagnostics import Caution, LeftOutWarning, listed
from homolog.names import quoted, shown

ID_NAMES = ("example_id", "example_ids", "id", "ids")
"""What columns of ids are called, in lower case, the surest first."""
KEPT_INDEX = ("index", "__index_level_0__", "unnamed: 0", "")
"""What columns are called, in lower case, that pandas made of an index without a name: labels, or old numbers of rows."""
_KEPT_AGAIN = re.compile(r"level_0|__index_level_\d+__|unnamed: 0(\.\d+)+")
"""The same, where an index was kept more than once."""
ID_ENDINGS = ("_id", "_ids", " id")
LABELS = ("label", "labels", "class", "target", "targets")
"""What columns of numbers are called that are classes, and no features."""
POSITIONS = ("positions", "position")
"""What a column of positions within examples is called."""
NUMBER, VECTOR, TEXT, CATEGORIES, DATES = "numbers", "vectors", "text", "categories", "dates"
"""The kinds of columns that are compared or may say whose rows are; any other kind is a word for the warning."""


class Identity(NamedTuple):
    """What says whose the rows of a table are."""

    name: str
    is_index: bool = False
    """Whether it is the index of the table, and no column."""
    only_numbers: bool = False
    """Whether it is numbers of rows that pandas left behind: true of one table, and of no other that has the same examples."""


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table by what they are."""

    identity: Identity | None
    positions: str | None
    layers: Sequence[str]
    """Columns of vectors, each a layer."""
    features: Sequence[str]
    """Columns of numbers, together a layer."""
    cautions: Sequence[Caution]
    """What was left out."""
    left: Sequence[str] = ()
    """Columns that were left out."""

    @property
    def ids(self) -> str | None:
        """The column of ids; None where there is none, or where the index says whose the rows are."""
        return None if self.identity is None or self.identity.is_index else self.identity.name


_NO_INDEX: Mapping[str, str] = MappingProxyType({})


def columns_of(kinds: Mapping[str, str], table: str, index: Mapping[str, str] = _NO_INDEX) -> TableColumns:
    """Return what each column is, of its name → its kind; `table` is what errors call the table, `index` as `identity_of` has it.

    >>> found = columns_of({"id": "text", "f0": "numbers", "f1": "numbers", "label": "numbers"}, "a")
    >>> found.ids, found.features
    ('id', ['f0', 'f1'])
    """
    identity = identity_of(kinds, index)
    ids = None if identity is None or identity.is_index else identity.name
    positions = positions_of([name for name in kinds if name != ids], identity)
    rest = {name: kind for name, kind in kinds.items() if name not in (ids, positions)}
    layers = [name for name, kind in rest.items() if kind == VECTOR]
    features = [name for name, kind in rest.items() if kind == NUMBER and not is_no_feature(name)]
    if not layers and not features:
        raise ValueError(
            f"{table} must have columns of numbers or a column of vectors, got {_with_kinds(kinds) or 'no column'}: convert what "
            f"is to be compared to numbers."
        )
    left = {name: kind for name, kind in rest.items() if name not in (*layers, *features)}
    return TableColumns(identity, positions, layers, features, _left_out(left, table), list(left))


def identity_of(
    kinds: Mapping[str, str], index: Mapping[str, str] = _NO_INDEX, short: Callable[[str], str] = str
) -> Identity | None:
    """Return what says whose the rows are, or None.

    It is the first of ID_NAMES; else the index, where it has a name or holds anything but integers; else the only column whose
    name ends as ids do; and last the numbers of rows that pandas left behind.

    Parameters
    ----------
    kinds
        column → kind.
    index
        level of the index → kind, NUMBER for integers only; empty where there is no index, or one that numbers the rows from 0.
    short
        returns the part of a column's name that counts.

    Examples
    --------
    >>> identity_of({"image_id": "text", "f0": "numbers"}).name, identity_of({"a_id": "text", "b_id": "text"})
    ('image_id', None)
    >>> identity_of({"a_id": "text", "b_id": "text"}, {"index": "numbers"})
    Identity(name='index', is_index=True, only_numbers=True)
    """
    columns = {name: _plain(short(name)) for name, kind in kinds.items() if kind != VECTOR}
    for wanted in ID_NAMES:
        found = [Identity(name) for name, plain in columns.items() if plain == wanted]
        found += [Identity(level, is_index=True) for level in index if _plain(level) == wanted]
        if found:
            return max(found, key=lambda identity: len(identity.name))  # of groups in a file, the nearest
    levels = [(Identity(level, is_index=True), kind) for level, kind in index.items()] if len(index) == 1 else []
    kept = sorted(
        (name for name, plain in columns.items() if is_kept_index(plain)), key=lambda name: _age(columns[name])
    )
    numbered = [*levels, *((Identity(name), kinds[name]) for name in kept)]
    numbers = [identity for identity, kind in numbered if kind == NUMBER and is_kept_index(short(identity.name))]
    labels = [identity for identity, kind in numbered if identity not in numbers and _can_be_labels(identity, kind)]
    if labels:
        return labels[0]
    able = (NUMBER, TEXT, CATEGORIES)
    ending = [name for name, plain in columns.items() if plain.endswith(ID_ENDINGS) and kinds[name] in able]
    if len(ending) == 1:
        return Identity(ending[0])
    return numbers[0]._replace(only_numbers=True) if numbers else None


def _can_be_labels(identity: Identity, kind: str) -> bool:
    return identity.is_index or kind in (TEXT, CATEGORIES, DATES)


def is_kept_index(name: str) -> bool:
    """Say whether a column is called as pandas calls an index without a name that it makes a column of.

    >>> is_kept_index("Unnamed: 0"), is_kept_index("Unnamed: 0.1"), is_kept_index("id")
    (True, True, False)
    """
    plain = _plain(name)
    return plain in KEPT_INDEX or _KEPT_AGAIN.fullmatch(plain) is not None


def _age(plain: str) -> int:
    return KEPT_INDEX.index(plain) if plain in KEPT_INDEX else len(KEPT_INDEX)


def positions_of(names: Iterable[str], identity: Identity | None) -> str | None:
    """Return the column that says where in its example a row is; beside numbers of rows it would say nothing."""
    if identity is None or identity.only_numbers:
        return None
    return next((name for name in names if _plain(name) in POSITIONS), None)


def is_no_feature(name: str) -> bool:
    """Say whether numbers under a name are ids or classes."""
    return looks_like_ids(name) or _plain(name) in LABELS


def looks_like_ids(name: str) -> bool:
    """Say whether what is called so may say whose rows are."""
    return _plain(name) in ID_NAMES or is_kept_index(name) or _plain(name).endswith(ID_ENDINGS)


def doubts(
    identity: Identity | None,
    left: Iterable[str],
    texts: Callable[[str], Sequence[Any] | None],
    remedy: Callable[[str], str],
) -> str:
    """Say that rows are known by numbers that pandas left behind, where columns that were left out may say more.

    Parameters
    ----------
    identity
        what says whose the rows are.
    left
        columns that were left out.
    texts
        returns the entries of a column of text, None for any other.
    remedy
        returns what makes a column the one that says whose the rows are.
    """
    if identity is None or not identity.only_numbers:
        return ""
    better = [name for name in left if _plain(name).endswith(ID_ENDINGS) or _all_differ(texts(name))]
    if not better:
        return ""
    what = f"column {quoted(identity.name)}" if not identity.is_index else "its index"
    return (
        f"rows are known by the row numbers that pandas kept ({what}), and {listed(map(quoted, better))} may say whose they "
        f"are: if so, {remedy(better[0])}"
    )


def _all_differ(entries: Sequence[Any] | None) -> bool:
    return entries is not None and len(entries) > 1 and len(set(entries)) == len(entries)


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


OUTWEIGHS = 0.9
"""Share of the variance of all features from which on a column may be a counter or a time, and no feature."""


_COLUMNS = 64
"""Columns that are looked at together."""


def outweighing(names: Sequence[str], features: np.ndarray, table: str) -> list[Caution]:
    """Say that one of three or more columns of numbers, or those of integers beside others, have nearly all of the variance."""
    if len(names) < 3:
        return []
    variances, whole = _variances(features)
    rest, odd = sorted(range(len(names)), key=lambda place: -variances[place]), []
    while len(rest) >= 3 and variances[rest[0]] > OUTWEIGHS * variances[rest].sum():
        odd.append(rest.pop(0))  # a time may hide a count
    odd = odd or list(np.flatnonzero(whole))
    share = variances[odd].sum() / (variances.sum() or 1.0)
    if not share > OUTWEIGHS or 2 * len(odd) > len(names):  # columns of all scales are no features beside a count
        return []
    found = listed(quoted(names[place]) for place in odd)
    message = (
        f"{table}: of {len(names)} columns of numbers, {found} {'has' if len(odd) == 1 else 'have'} {_percent(share)} of the "
        f"variance, and most measures see little else: leave out what is a time or a count and no feature, or scale all columns "
        f"alike."
    )
    return [Caution(LeftOutWarning, message)]


def _variances(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of every column, 0 where something is not finite, and whether it holds only integers."""
    variances, whole = np.zeros(features.shape[1]), np.zeros(features.shape[1], bool)
    for start in range(0, features.shape[1], _COLUMNS):
        part = slice(start, start + _COLUMNS)
        block = features[:, part].astype(float)
        with np.errstate(all="ignore"):
            variances[part] = block.var(axis=0)
            whole[part] = (block == np.rint(block)).all(axis=0)
    return np.where(np.isfinite(variances), variances, 0.0), whole


def _percent(share: float) -> str:
    """Write a share without rounding it up to all.

    >>> _percent(0.93), _percent(0.99999)
    ('93 %', 'over 99 %')
    """
    return f"{share:.0%}".replace("%", " %") if share < 0.99 else "over 99 %"


def _left_out(kinds: Mapping[str, str], table: str) -> list[Caution]:
    if not kinds:
        return []
    remedy = "convert what is to be compared to numbers"
    if NUMBER in kinds.values():
        remedy = "numbers that are called as ids or classes, such as doc_id or label, are no features: rename them if they are"
    return [Caution(LeftOutWarning, f"{table}: {_with_kinds(kinds)} left out: {remedy}, or drop them yourself.")]


def _with_kinds(kinds: Mapping[str, str]) -> str:
    return listed(f"{quoted(name)} ({kind})" for name, kind in kinds.items())
