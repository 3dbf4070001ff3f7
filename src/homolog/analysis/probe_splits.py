"""Which rows a probe is fitted on, and which it is measured on: rows that belong together are never on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.pairing import as_text, of_one_kind, says_who

Split = tuple[np.ndarray, np.ndarray]
"""Rows fitted on, and rows measured on."""


def set_aside(classes: np.ndarray, units: np.ndarray | None, share: float, random: np.random.RandomState) -> Split:
    """Return the rows to fit on and those to set aside: a share of the rows of each class, or of the units."""
    from sklearn.model_selection import train_test_split

    if units is None:
        fitted, aside = train_test_split(
            np.arange(len(classes)), test_size=share, stratify=classes, random_state=random
        )
        return fitted, aside
    places = _places(classes, units, random)
    count = int(places.max()) + 1
    # Every so many of the units in order of their classes, from a random one on, and as many as the share says.
    steps = np.floor(np.arange(count + 1) * share + random.uniform())
    split = _apart((np.diff(steps) > 0)[places])
    if min(map(len, split)) == 0 or set(classes) - set(classes[split[0]]):
        raise ValueError(
            f"held_out={share:g} of {count} independent units must leave some of every class to fit on, and some to measure on, "
            f"got too few units: use more examples, or another share."
        )
    return split


def splits_of(classes: np.ndarray, units: np.ndarray | None, folds: int, random: np.random.RandomState) -> list[Split]:
    """Return the rows fitted on and measured on of each fold of a cross-validation."""
    from sklearn.model_selection import StratifiedKFold

    if units is None:
        return list(StratifiedKFold(folds, shuffle=True, random_state=random).split(classes, classes))
    # Neighbours in order of their classes come into different folds, so that each has some of every class.
    numbers = _places(classes, units, random) % folds
    found = [_apart(numbers == fold) for fold in range(folds)]
    if any(len(measured) == 0 or len(np.unique(classes[fitted])) < 2 for fitted, measured in found):
        raise ValueError(
            f"folds={folds} must each have an independent unit, and two classes or more to fit on, got too few units to fit on: "
            f"use more examples, fewer folds or a smaller share held_out."
        )
    return found


def check_classes(classes: np.ndarray, units: np.ndarray, what: str, fewest: int) -> None:
    """Raise where a class is in fewer units than there are folds."""
    for value in np.unique(classes).tolist():
        count = len(np.unique(units[classes == value]))
        if count < fewest:
            raise ValueError(
                f"{what} must have every class in at least {fewest} independent units (examples, or groups), one for each fold, "
                f"got {count} of {value!r}: leave the class out, or use fewer folds or more examples."
            )


def check_apart(fitted_on: Any, measured_on: Any) -> None:
    """Raise where rows of one example, of which each has several, are fitted on and measured on."""
    sides = [side for side in (fitted_on, measured_on) if isinstance(side, Activations) and says_who(side)]
    ids = [as_text(side.example_ids) for side in sides if side.example_ids is not None and side.positions is not None]
    shared = np.intersect1d(ids[0], ids[1]) if len(ids) == 2 and of_one_kind(*ids) else ()
    if len(shared):
        raise ValueError(
            f"held-out rows must be of other examples than those fitted on, got tokens of {len(shared)} examples on both sides: "
            f"split by examples, or pass the share to set aside, which does."
        )


def _places(classes: np.ndarray, units: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return for every row the place of its unit, in order of the most frequent class of a unit, by chance among equals."""
    _, numbers = np.unique(units, return_inverse=True)
    _, codes = np.unique(classes, return_inverse=True)
    counts = np.zeros((numbers.max() + 1, codes.max() + 1), dtype=int)
    np.add.at(counts, (numbers, codes), 1)
    order = np.lexsort((random.uniform(size=len(counts)), counts.argmax(axis=1)))
    places = np.empty(len(counts), dtype=int)
    places[order] = np.arange(len(counts))
    return places[numbers]


def _apart(measured: np.ndarray) -> Split:
    """Return the rows that are not measured on, and those that are."""
    return np.flatnonzero(~measured), np.flatnonzero(measured)
