"""When layers are near their end, how far they have come on the way, and which checkpoints are the same network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

NEAR = 0.01
"""Share of its end within which a layer has settled."""


def towards_last(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return (steps, layers), how alike each layer is to itself at the end; NaN where this was not asked for."""
    if "last" not in result["against"].values:
        return np.full((result.sizes["step"], result.sizes["layer"]), np.nan)
    return np.asarray(result[name].sel(against="last").transpose("step", "layer").values, dtype=float)


def is_near(values: np.ndarray, kind: str, highest: float | None) -> np.ndarray:
    """Return where a layer is within 1 % of its end.

    The end is the value of the last checkpoint with itself: 1 for most similarities, so that near is 0.99 and above; 0 for a
    distance, near being 1 % of its largest possible value, or of the first value where there is no largest.
    """
    end = values[-1]
    if kind == "similarity":
        return values >= end - NEAR * np.abs(end)
    return values <= end + NEAR * (np.abs(values[0]) if highest is None else highest)


def settled_places(values: np.ndarray, kind: str, highest: float | None) -> np.ndarray:
    """Return the place from which on each layer stays within 1 % of its end; −1 where nothing is known.

    >>> settled_places(np.array([[0.2], [0.995], [0.9], [0.99], [1.0]]), "similarity", 1.0)
    array([3])
    """
    near = is_near(values, kind, highest)
    stays = np.logical_and.accumulate(near[::-1], axis=0)[::-1]
    known = ~np.isnan(values[-1])
    return np.where(known, np.argmax(stays, axis=0), -1)


def settled_steps(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return the step from which on each layer stays within 1 % of its end; NaN where nothing is known."""
    highest = json.loads(result[name].attrs.get("range", "[null, null]"))[1]
    places = settled_places(towards_last(result, name), str(result[name].attrs["kind"]), highest)
    steps = np.asarray(result["step"].values, dtype=float)
    return np.where(places >= 0, steps[places], np.nan)


def share_covered(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return (steps, layers), the share of the way from its first value to its end that each layer has come.

    NaN for a layer that starts within 1 % of its end: there is no way to speak of.
    """
    values = towards_last(result, name)
    highest = json.loads(result[name].attrs.get("range", "[null, null]"))[1]
    started_near = is_near(values, str(result[name].attrs["kind"]), highest)[0]
    way = values[-1] - values[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(started_near, np.nan, (values - values[0]) / way)


def same_networks(labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return which earlier checkpoint each one equals, "" for none, and by what: its weights, or its outputs to rounding."""
    same, by = [""] * len(rows), [""] * len(rows)
    for later, row in enumerate(rows):
        for earlier in range(later):
            what = _equal_by(rows[earlier], row)
            if what:
                same[later], by[later] = labels[earlier], what
                break
    return same, by


def _equal_by(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if one["digests"]["own"] == other["digests"]["own"] != "":
        return "weights"
    first, second = one["sample"], other["sample"]
    equal = first.keys() == second.keys() and all(_near(first[name], second[name]) for name in first)
    return "outputs" if equal else ""


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether a few numbers of two layers are equal to rounding, whose share of the largest stands first."""
    if len(one) != len(other):
        return False
    x, y = np.array(one[1:]), np.array(other[1:])
    return bool((np.abs(x - y) <= max(one[0], other[0]) * np.abs(x).max(initial=0.0)).all())
