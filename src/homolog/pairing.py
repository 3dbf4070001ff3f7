"""Whether the rows of two sides are the same examples in the same order, and how that is known."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from homolog.names import quoted, shown

Names = tuple[str, str]
MOST_BY_CHANCE = 0.5
"""Share of the inputs that may stand in other rows where given example ids agree: inputs may look alike by chance."""


class Identities(Protocol):
    """What says of rows who they are."""

    @property
    def example_ids(self) -> np.ndarray | None:
        """(n,) identifiers of examples."""

    @property
    def positions(self) -> np.ndarray | None:
        """(n,) positions within examples."""

    @property
    def index(self) -> str:
        """Where the example ids come from, for DataFrames of pandas: GIVEN, NUMBERED, or nothing."""


GIVEN, NUMBERED = "example_ids", "numbers of the rows"
"""An index that says whose rows are, and one that only numbers them."""


class Identified(Identities, Protocol):
    """Layers over rows, with all that is known of these."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def digests(self) -> np.ndarray | None:
        """(n,) digests of the inputs."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the layers were made."""

    def values(self) -> Iterable[Any]:
        """Yield the layers."""


def digest_of_row(content: Any) -> bytes:
    """Return the digest of an input that is one array, from its bytes."""
    return hashlib.blake2b(content, digest_size=8).digest()


def check_pairing(a: Identified, b: Identified, names: Names = ("a", "b")) -> None:
    """Raise unless the rows of both are, as far as known, the same examples in the same order.

    Given example ids that agree decide, unless most of the inputs stand in other rows: then one side was shuffled.
    """
    if a.n != b.n:
        turned = _sideways(a, b, names) or _sideways(b, a, names[::-1])
        raise _unequal(a, b, a.n, b.n, names, digests=_both_have(a, b, "digests"), turned=turned)
    check_identities(a, b, names)
    if a.digests is not None and b.digests is not None:
        agreed = a.example_ids is not None and b.example_ids is not None and says_who(a) and says_who(b)
        _check_digests(_inputs(a), _inputs(b), names, MOST_BY_CHANCE if agreed else 0.0)


def check_identities(a: Identities, b: Identities, names: Names) -> None:
    """Raise where both sides say whose their rows are, and not the same; sides are models, or layers of one model."""
    for what, first, second in (("example ids", a.example_ids, b.example_ids), ("positions", a.positions, b.positions)):
        if first is None or second is None:
            continue
        if len(first) != len(second):
            raise _unequal(a, b, len(first), len(second), names)
        first, second = as_text(first), as_text(second)
        if not np.array_equal(first, second):
            raise _differ(what, first, second, (shown(names[0]), shown(names[1])))
    for (side, name), (other, other_name) in itertools.permutations(zip((a, b), names, strict=True), 2):
        if side.index == GIVEN and other.index == NUMBERED:
            _check_index(side.example_ids, shown(name), shown(other_name))


def as_text(ids: np.ndarray) -> np.ndarray:
    """Return ids of bytes, which are ASCII, as text; others as they are."""
    return ids.astype(str) if ids.dtype.kind == "S" else ids


def of_one_kind(first: np.ndarray, second: np.ndarray) -> bool:
    """Say whether both are integers, or both text."""
    return (first.dtype.kind in "iu") == (second.dtype.kind in "iu")


def different_kinds(first: np.ndarray, names: Names) -> str:
    """Say how ids that are integers here and text there are made comparable."""
    numbers, text = names if first.dtype.kind in "iu" else names[::-1]
    return (
        f"the ids of {numbers} are integers and those of {text} are text, which are never taken for equal: convert one side, "
        f"for instance example_ids=[str(number) for number in ids]"
    )


def _common_rows(names: Names) -> str:
    """Write the call that keeps the rows of both; layers of one mapping have no names that could stand in it."""
    return f"homolog.common_rows({', '.join(names)})" if all(map(str.isidentifier, names)) else "homolog.common_rows"


def _differ(what: str, first: np.ndarray, second: np.ndarray, names: Names) -> ValueError:
    if of_one_kind(first, second):
        row = int(np.argmax(first != second))
        same = len(np.intersect1d(first, second)) > 1
        common = f"{_common_rows(names)} keeps the rows of both, in one order"
        remedy = common if same else "extract both from the same examples"
    else:
        row, remedy = 0, different_kinds(first, names)
    return ValueError(
        f"{names[0]} and {names[1]} must hold the same examples in the same order, got {what} that differ first in "
        f"row {row} ({quoted(first[row].item())} and {quoted(second[row].item())}): {remedy}."
    )


def _sideways(side: Identified, other: Identified, names: Names) -> str:
    """Say what to do where every layer of a side has as many columns as the other has rows, as recordings have."""
    if any(array.shape[1] != other.n for array in side.values()):
        return ""
    name = shown(names[0])
    return f"{name} has {other.n} columns: if these are the examples, turn its arrays with .T"


def _unequal(
    a: Identities, b: Identities, n: int, other: int, names: Names, *, digests: bool = False, turned: str = ""
) -> ValueError:
    first, second = map(shown, names)
    matched = _both_have(a, b, "example_ids") or digests
    remedy = f"{_common_rows((first, second))} keeps the rows of both" if matched else turned or "extract both alike"
    return ValueError(
        f"{second} must have as many rows as {first} ({n}), got {other}: both must hold the same examples in the same order; "
        f"{remedy}."
    )


def _check_index(ids: np.ndarray | None, name: str, other: str) -> None:
    """Raise where an index of integers is beside one that only numbers its rows, and gives other numbers."""
    if ids is None or ids.dtype.kind not in "iu" or np.array_equal(ids, np.arange(len(ids))):
        return
    row = int(np.argmax(ids != np.arange(len(ids))))
    raise ValueError(
        f"{name} and {other} must hold the same examples in the same order, got the index {ids[row]} of {name} in row {row}, "
        f"where {other} has only the number of the row: give {other} the index of its examples, or take that of {name} away with "
        f".reset_index(drop=True) if the rows do stand in the same order."
    )


def _inputs(side: Identified) -> np.ndarray:
    """Return a number for the input of every row, another for every position of an example."""
    assert side.digests is not None  # who asks has looked
    if side.positions is None:
        return side.digests
    return side.digests.astype(np.uint64) ^ (side.positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _check_digests(first: np.ndarray, second: np.ndarray, names: Names, by_chance: float) -> None:
    """Raise where more than a share of the inputs stand in other rows."""
    if np.array_equal(first, second) or _share_elsewhere(first, second) <= by_chance:
        return
    row, names = int(np.argmax(first != second)), (shown(names[0]), shown(names[1]))
    raise ValueError(
        f"{names[0]} and {names[1]} must hold the same examples in the same order, got the same inputs in another "
        f"order, or others among them (first in row {row}): extract both without shuffling, pass example_ids, or keep the "
        f"rows of both with {_common_rows(names)}."
    )


def _share_elsewhere(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of rows whose input both sides have once, in different rows; 1 where all inputs are the same ones."""
    if np.array_equal(np.sort(first), np.sort(second)):
        return 1.0
    singles, rows = [], []
    for values in (first, second):
        found, where, counts = np.unique(values, return_index=True, return_counts=True)
        singles.append(found[counts == 1])
        rows.append(where[counts == 1])
    _, i, j = np.intersect1d(singles[0], singles[1], assume_unique=True, return_indices=True)
    return float(np.count_nonzero(rows[0][i] != rows[1][j])) / len(first)


def row_identity(models: Sequence[Identified]) -> str:
    """Say how it is known that rows of models that were checked are the same examples."""
    if len(models) < 2:
        return "one model"
    pairs = list(itertools.pairwise(models))
    if all(says_who(a) and says_who(b) for a, b in pairs):
        return "example ids"
    if all((says_who(a) and says_who(b)) or _are_equal(a.digests, b.digests) for a, b in pairs):
        return "digests of inputs"
    return "unknown"


def says_who(side: Identified) -> bool:
    """Say whether example ids tell examples apart; the numbers that extraction gives the examples of positions do not."""
    ids = side.example_ids
    given = side.provenance.get("example_ids") == "given"
    if ids is None or side.positions is None or ids.dtype.kind not in "iu" or given:
        return ids is not None
    kinds = np.unique(ids)
    return not np.array_equal(kinds, np.arange(len(kinds)))


def _are_equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    return first is not None and second is not None and np.array_equal(first, second)


def _both_have(a: Identities, b: Identities, name: str) -> bool:
    return getattr(a, name) is not None and getattr(b, name) is not None
