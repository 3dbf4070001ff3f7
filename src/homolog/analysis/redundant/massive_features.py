"""Features and rows that are so much larger than the others that they decide every cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from homolog.activations import Activations
from homolog.analysis.redundant.row_sums import Look
from homolog.analysis.redundant.sink_tokens import Positions
from homolog.arrays import described
from homolog.names import quoted

MAGNITUDE, RATIO = 100.0, 1000.0
"""A massive activation of Sun et al. (2024): larger than this, and than so many times the median magnitude."""
TIMES_MEDIAN, SHARE, FEW = 100.0, 0.1, 8
"""Or: features whose mean square is so many times that of the median feature, which together hold such a share of the squared
norm, and are at most one in so many."""

CRITERION = (
    f"a value above {MAGNITUDE:g} and above {RATIO:g} times the median magnitude, zeros apart (Sun et al. 2024); or mean "
    f"squares above {TIMES_MEDIAN:g} times that of the median feature, in at most one of {FEW} features, that hold together "
    f"{SHARE:.0%} of the squared norm or more"
)
Remove = Literal["massive"] | Sequence[int] | None


def massive(look: Look) -> np.ndarray:
    """(layers, p) bool: the massive features of each layer."""
    published = (look.largest > MAGNITUDE) & (look.largest > RATIO * look.typical()[:, None])
    found = np.zeros_like(published)
    for at, squares in enumerate(look.squares):
        living = squares[squares > 0]
        if len(living) < 2:
            continue
        large = squares > TIMES_MEDIAN * np.median(living)
        few = large.sum() * FEW <= len(squares) or large.sum() == 1
        if few and squares[large].sum() >= SHARE * squares.sum():
            found[at] = large
        if published[at].sum() * FEW <= len(squares) or published[at].sum() == 1:
            found[at] |= published[at]
    return found


def removed_features(remove: Remove, found: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the numbers of the features to leave out, in all layers, in order, and a word where massive ones are too many."""
    width = found.shape[1]
    if remove is None:
        return np.empty(0, dtype=int), []
    if isinstance(remove, str):
        if remove != "massive":
            raise ValueError(
                f"remove_features must be 'massive', numbers of features, or None, got {quoted(remove)}: leave it out."
            )
        chosen = np.flatnonzero(found.any(axis=0))
        if len(chosen) == 1 or len(chosen) * FEW <= width:
            return chosen, []
        return np.empty(0, dtype=int), [
            f"the layers have different massive features, together {len(chosen)} of {width}, more than one in {FEW}: there are "
            f"no numbers without them; name those to leave out by remove_features="
        ]
    try:
        numbers = np.asarray(list(remove))
    except TypeError:
        raise TypeError(
            f"remove_features must be 'massive', numbers of features, or None, got {described(remove)}: give a list, such as [3]."
        ) from None
    if len(numbers) and (numbers.dtype.kind not in "iu" or numbers.ndim > 1):
        raise TypeError(f"remove_features must hold numbers of features, got {numbers.dtype}: give integers.")
    outside = [int(number) for number in numbers if not 0 <= number < width]
    if outside:
        raise ValueError(f"remove_features must be from 0 to {width - 1}, got {outside[0]}: the layers have {width}.")
    chosen = np.unique(numbers.astype(int))
    if len(chosen) == width:
        raise ValueError(f"remove_features must leave some features, got all {width}: name fewer.")
    return chosen, []


def row_name(layers: Activations, row: int) -> dict[str, Any]:
    """Say which row it is: its number, its example and its position."""
    found: dict[str, Any] = {"row": int(row)}
    if layers.example_ids is not None:
        found["example"] = str(layers.example_ids[row])
    if layers.positions is not None:
        found["position"] = str(layers.positions[row])
    return found


def told_features(
    look: Look, names: list[str], layers: Activations, found: np.ndarray, removed: np.ndarray
) -> list[dict[str, Any]]:
    """Say of each massive or removed feature how much of the squared norm of each layer it holds, and where it is largest."""
    large = np.asarray(found.any(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.nan_to_num(look.squares / look.squares.sum(axis=1, keepdims=True))
    typical = look.typical()
    told = []
    for feature in np.union1d(np.flatnonzero(large), removed).astype(int):
        at = int(shares[:, feature].argmax())
        told.append(
            {
                "feature": int(feature),
                "massive": bool(large[feature]),
                "removed": bool(feature in removed),
                "share": {name: round(float(share), 6) for name, share in zip(names, shares[:, feature], strict=True)},
                "largest": float(look.largest[at, feature]),
                "times_median": float(look.largest[at, feature] / typical[at]) if typical[at] > 0 else None,
                "layer": names[at],
                **row_name(layers, int(look.largest_row[at, feature])),
            }
        )
    return sorted(told, key=lambda each: -max(each["share"].values()))


def told_rows(
    look: Look, names: list[str], layers: Activations, flags: np.ndarray, share: np.ndarray, positions: Positions | None
) -> dict[str, Any]:
    """Say which rows are outlying, how much of the squared norm of each layer they hold, and at which positions they stand."""
    medians = look.medians()
    at = int(np.nan_to_num(share).argmax())
    lengths, places = look.longest[at]
    told: dict[str, Any] = {
        "count": int(flags.sum()),
        "share": {name: round(float(each), 6) for name, each in zip(names, np.nan_to_num(share), strict=True)},
        "layer": names[at],
        "longest": [
            row_name(layers, int(row)) | {"times_median": float(length / medians[at]) if medians[at] > 0 else None}
            for length, row in zip(lengths, places, strict=True)
            if flags[row]
        ],
    }
    if positions is not None:
        counts = np.bincount(positions.codes[flags], minlength=len(positions.names))
        order = np.argsort(-counts, kind="stable")[:3]
        told["positions"] = {str(positions.names[place]): int(counts[place]) for place in order if counts[place]}
    return told
