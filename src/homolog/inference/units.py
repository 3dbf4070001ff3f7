"""Rows that depend on each other and stand for one draw: the tokens of an example, the sentences of a document."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.measures.record import Measure

FEWEST_UNITS = 5
"""Units from which an interval is taken: of fewer, simulations show that it misses too often (docs/inference.md)."""


def labels_of(groups: Any, n: int) -> np.ndarray:
    """Return labels of the rows as an array of numbers or text; each row must have one."""
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must be one label for each of the {n} examples, got shape {labels.shape}.")
    missing = missing_among(groups)
    if missing.any():
        raise ValueError(
            f"groups must hold a label for every row, got none in {missing.sum()} of {n} rows: leave these rows out, or give "
            f"each the label of its unit, one of its own where it is a unit by itself."
        )
    return np.array([repr(label) for label in labels]) if labels.dtype == object else labels


def missing_among(labels: Any) -> np.ndarray:
    """Flag the rows whose label is missing."""
    array = np.asarray(labels)
    masked = isinstance(labels, np.ma.MaskedArray)
    missing = np.ma.getmaskarray(labels).copy() if masked else np.zeros(len(array), dtype=bool)
    # NumPy makes text of what is missing among text in a list, and so hides it.
    given = labels if isinstance(labels, list | tuple) else array if array.dtype.kind in "OfcmM" else ()
    missing |= np.fromiter(map(_is_missing, given), dtype=bool) if len(given) else False
    return missing


def _is_missing(label: Any) -> bool:
    """Say whether a label is None, NaN, or what stands for these in pandas."""
    # Only what is missing differs from itself, or will not say: pandas.NA.
    return label is None or type(label).__name__ == "NAType" or bool(label != label)


def units_of(labels: np.ndarray | None) -> np.ndarray | None:
    """Return the number of the unit of every row; None where every row is a unit of its own."""
    if labels is None:
        return None
    found, places = np.unique(labels, return_inverse=True)
    return None if len(found) == len(labels) else places


def independent_units(groups: Any, rows: np.ndarray | None, n: int) -> np.ndarray | None:
    """Return the units that intervals leave out: the groups, else `rows`, the examples whose rows are several."""
    if groups is None:
        return rows
    places = units_of(labels_of(groups, n))
    if rows is None:
        return places
    kept = np.arange(n) if places is None else places
    pairs = np.unique(np.stack([rows, kept]), axis=1)
    if pairs.shape[1] > len(np.unique(rows)):
        raise ValueError(
            "groups must keep the rows of one example together, since these depend on each other, got an example whose rows are "
            "in several groups: pass a label for each example, repeated for its rows, such as its document."
        )
    return places


def count_of(units: np.ndarray) -> int:
    """Return how many units there are."""
    return int(units.max()) + 1


def check_units(units: np.ndarray, record: Measure, method: str) -> None:
    """Raise where units are too few to be left out in turn, or too little is left without some of them."""
    count, n = count_of(units), len(units)
    if count < FEWEST_UNITS:
        raise ValueError(
            f"an interval needs at least {FEWEST_UNITS} independent units, got {count} for {n} rows: use more examples, or more "
            f"groups."
        )
    sizes = np.sort(np.bincount(units))
    left = int(sizes[: count // 2].sum()) if method == "subsample" else n - int(sizes[-1])
    fewest = max((record.without_bias or record).minimal_n, 2)
    if left < fewest:
        raise ValueError(
            f"an interval of {record} by {method} needs at least {fewest} rows without some units, got {left}: use more units, "
            f"or smaller ones."
        )


def exchangeable(units: np.ndarray) -> list[np.ndarray]:
    """Return the rows of the units that may change places, (units, rows) for each length that several units have."""
    lengths = np.bincount(units)
    by_unit = np.argsort(units, kind="stable")
    starts = np.cumsum(lengths) - lengths
    alike = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
    return [by_unit[starts[some][:, None] + np.arange(lengths[some[0]])] for some in alike if len(some) > 1]


def rows_of_others(units: np.ndarray | None, n: int, random: np.random.Generator) -> np.ndarray:
    """Return which rows stand where each of n rows does if both sides were independent: those of another unit, in their order.

    Units change places two by two, with one that is as long or nearly so: the longer of two is cut, the shorter begins anew.
    """
    if units is None:
        return random.permutation(n)
    lengths = np.bincount(units)
    if len(lengths) < 2:
        raise ValueError(
            f"{n} rows must be of at least two examples that can change places, got rows of one: use more examples."
        )
    starts, by_unit = np.cumsum(lengths) - lengths, np.argsort(units, kind="stable")
    by_length = np.lexsort((random.random(len(lengths)), lengths))
    other = np.empty_like(by_length)
    for neighbours in np.array_split(by_length, len(lengths) // 2):  # three where there is no even number of them
        other[neighbours] = np.roll(neighbours, 1)
    place = np.empty(n, dtype=int)
    place[by_unit] = np.arange(n) - np.repeat(starts, lengths)
    taken = other[units]
    return by_unit[starts[taken] + place % lengths[taken]]
