"""Rows that several sides have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import described, is_array
from homolog.as_activations import activations_of
from homolog.machine import whole_memory
from homolog.names import quoted, shown
from homolog.pairing import as_text, different_kinds, of_one_kind, says_who
from homolog.rows import ChosenRows, Rows
from homolog.sparse import SparseRows

SIDES = "abcdefghijklmnopqrstuvwxyz"


NAMED = "homolog.open(path, ids=...) for a file and .set_index(...) for a DataFrame of pandas"
"""What says which column holds the ids."""


class CommonRows(tuple[Activations, ...]):
    """Activations over the rows that all of them have, in one order; `a, b = common_rows(a, b)` takes them apart."""

    dropped: tuple[int, ...]
    """Rows of each side that not all sides have, which were left out."""

    def __new__(cls, sides: Sequence[Activations], dropped: Sequence[int]) -> CommonRows:
        """Return the sides with the counts of what was left out."""
        found = super().__new__(cls, sides)
        found.dropped = tuple(dropped)
        return found

    def __repr__(self) -> str:
        left = ", ".join(
            f"{count} of {side.n + count} rows of {name}"
            for name, side, count in zip(SIDES, self, self.dropped, strict=False)
        )
        return f"<{self[0].n} common rows; left out: {left}>"


def common_rows(a: Any, b: Any, /, *others: Any) -> CommonRows:
    """Keep the rows that all sides hold, matched by who they are, in the order of the first.

    Parameters
    ----------
    a, b, *others
        Activations, DataFrames, or paths of files that `homolog.open` reads, which carry example ids, with positions where
        rows are tokens or pixels; or else digests of their inputs, each of which occurs once.

    Returns
    -------
    CommonRows
        A tuple of Activations over the same rows in the same order, one for each side. Its `dropped` counts the rows of each
        side that were left out; the provenance of a side says the same, and results carry it on.

    Raises
    ------
    TypeError
        If a side says nothing of whose its rows are, as an array does.
    ValueError
        If nothing identifies the rows of all sides, an identity occurs twice on a side, or fewer than 2 rows are common. Ids
        that are integers on one side and text on another are never matched.

    Notes
    -----
    Rows of a store stay on disk where a quarter of the memory does not hold those that are kept.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> a = hl.Activations({"x": np.arange(8.0).reshape(4, 2)}, example_ids=["d", "a", "c", "b"])
    >>> b = hl.Activations({"y": np.arange(6.0).reshape(3, 2)}, example_ids=["a", "b", "d"])
    >>> common = hl.common_rows(a, b)
    >>> common
    <3 common rows; left out: 1 of 4 rows of a, 0 of 3 rows of b>
    >>> a, b = common
    >>> a.example_ids, b["y"][:, 0]
    (array(['d', 'a', 'b'], dtype='<U1'), array([4., 0., 2.]))
    """
    given = (a, b, *others)
    names = [SIDES[place] if place < len(SIDES) else f"side {place}" for place in range(len(given))]
    return matched_rows({name: _identified(side, name) for name, side in zip(names, given, strict=True)})


def _identified(side: Any, name: str) -> Activations:
    """Return a side as Activations, which say whose their rows are."""
    if is_array(side) or isinstance(side, list | tuple) or (isinstance(side, Mapping) and not side):
        raise TypeError(
            f"{name} must be Activations, which say whose their rows are, got {described(side)}: use homolog.extract, "
            f"homolog.open, or homolog.Activations(layers, example_ids=...)."
        )
    return activations_of(side, name)


def matched_rows(sides: Mapping[str, Activations]) -> CommonRows:
    """Keep the rows that all sides hold, in the order of the first; errors call the sides by their names."""
    names, models = list(map(shown, sides)), list(sides.values())
    by_ids = _by_ids(models, names)
    if by_ids:
        _check_kinds(models, names)
    rows = [_numbered(side, name, by_ids=by_ids) for side, name in zip(models, names, strict=True)]
    common = [key for key in rows[0] if all(key in other for other in rows[1:])]
    if len(common) < 2:
        sizes, examples = " and ".join(str(side.n) for side in models), _examples(rows, names) if by_ids else ""
        remedy = "extract both from the same examples, with the same example_ids"
        if by_ids and not common:
            remedy += (
                f", or name the column that holds the ids that {'both' if len(names) == 2 else 'all'} share, {NAMED}"
            )
        raise ValueError(
            f"{' and '.join(names)} must have at least 2 rows in common, got {len(common)} of {sizes}{examples}: {remedy}."
        )
    kept = [_chosen(side, np.array([found[key] for key in common])) for side, found in zip(models, rows, strict=True)]
    return CommonRows(kept, [side.n - len(common) for side in models])


def _by_ids(models: Sequence[Activations], names: Sequence[str]) -> bool:
    """Say whether rows are matched by example ids, and not by digests."""
    ids = all(side.example_ids is not None for side in models)
    digests = all(side.digests is not None for side in models)
    if not ids and not digests:
        carried = "; ".join(f"{name}: {_carried(side)}" for name, side in zip(names, models, strict=True))
        raise ValueError(
            f"the rows of {' and '.join(names)} are matched by example ids or by digests of their inputs, got none that both "
            f"carry ({carried}): pass example_ids to homolog.extract or homolog.Activations for both, or name the column that "
            f"holds them, {NAMED}."
        )
    return ids and (not digests or all(map(says_who, models)))


def _check_kinds(models: Sequence[Activations], names: Sequence[str]) -> None:
    """Raise where ids are integers on one side and text, some of it digits, on another."""
    for side, name in zip(models[1:], names[1:], strict=True):
        first, second = models[0].example_ids, side.example_ids
        assert first is not None  # who asks has looked
        assert second is not None
        if not of_one_kind(first, second) and _same_digits(first, second):
            raise ValueError(f"{different_kinds(first, (names[0], name))}.")


def _same_digits(first: np.ndarray, second: np.ndarray) -> bool:
    """Say whether integers would be found among text if they were written."""
    return bool(len(np.intersect1d(as_text(first).astype(str), as_text(second).astype(str))))


def _examples(rows: Sequence[Mapping[Any, int]], names: Sequence[str]) -> str:
    """Name a few ids of each side."""
    each = [
        f"{name} has {', '.join(quoted(key) for key in list(found)[:3])}"
        for name, found in zip(names, rows, strict=True)
    ]
    return f" ({'; '.join(each)})"


def _chosen(side: Activations, index: np.ndarray) -> Activations:
    """Return rows of a side, on disk where they would fill much of the memory."""
    stored = [array for array in side.values() if isinstance(array, Rows) and not isinstance(array, SparseRows)]
    size = len(index) * sum(array.shape[1] * array.dtype.itemsize for array in stored)
    in_place = size > whole_memory() // 4
    found = side.chosen(index, partial(_rows_of, index=index, in_place=in_place))
    return found.described(common_rows=f"{len(index)} of {side.n}")


def _rows_of(array: Any, index: np.ndarray, in_place: bool) -> Any:
    if isinstance(array, SparseRows):
        return array.take(index)
    return ChosenRows(array, index) if in_place and isinstance(array, Rows) else array[index]


def _carried(side: Activations) -> str:
    """Say what identifies rows."""
    return "example ids" if side.example_ids is not None else "digests" if side.digests is not None else "neither"


def _numbered(side: Activations, name: str, *, by_ids: bool) -> dict[Any, int]:
    """Return identity → number of the row."""
    identity = side.example_ids if by_ids else side.digests
    assert identity is not None  # who asks has looked
    keys: list[Any] = as_text(identity).tolist()
    if side.positions is not None:
        keys = list(zip(keys, side.positions.tolist(), strict=True))
    found = {key: row for row, key in enumerate(keys)}
    if len(found) < len(keys):
        what = "example ids" if by_ids else "inputs"
        raise ValueError(
            f"{name} must hold every row once to be matched, got {len(keys) - len(found)} {what} again: pass example_ids that "
            f"differ, or drop the copies with .take."
        )
    return found
