"""When layers are near their end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

NEAR = 0.01
"""Share of its end within which a layer has settled."""
_ROUNDING = 1e-9


def in_order(result: xarray.Dataset) -> np.ndarray:
    """Return the places of steps in the order of training, in which a part of a result need not hold them."""
    return np.argsort(np.asarray(result["step"].values, dtype=float), kind="stable")


def renumbered(result: xarray.Dataset) -> dict[float, float] | None:
    """Return step as it was compared → step as it is called now; None where these are the same.

    Somebody may count in other units, as tokens for steps; what was found in the old ones is to be told in the new ones.
    Of a part of a result only the steps that it holds are known.
    """
    found = json.loads(result.attrs.get("steps", "{}"))
    now = np.asarray(result["step"].values, dtype=float)
    labels: Any = result["checkpoint"].values if "checkpoint" in result.coords else []
    if found and all(str(label) in found for label in labels) and len(labels) == len(now):
        before = [float(found[str(label)]) for label in labels]
    elif len(found) == len(now):
        before = sorted(map(float, found.values()))
        now = now[in_order(result)]
    else:
        return None if not found or set(now) <= set(found.values()) else {}
    return None if before == list(now) else dict(zip(before, map(float, now), strict=True))


def ends(result: xarray.Dataset) -> tuple[float, float]:
    """Return the first and the last step of training, also of a part of a trajectory; NaN where it is not known."""
    steps = np.asarray(result["step"].values, dtype=float)
    found = [
        float(result.attrs.get(name, of)) for name, of in (("first_step", steps.min()), ("last_step", steps.max()))
    ]
    names = renumbered(result)
    first, last = (step if names is None else names.get(step, np.nan) for step in found)
    return first, last


def has_end(result: xarray.Dataset) -> bool:
    """Say whether the last checkpoint is still in a result, compared with itself."""
    if "last" not in result["against"].values or not result.sizes["step"]:
        return False
    return float(result["step"].values.max()) == ends(result)[1]


def towards_last(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return (steps, layers) in the order of training, how alike each layer is to itself at the end; NaN where not asked for."""
    if "last" not in result["against"].values:
        return np.full((result.sizes["step"], result.sizes["layer"]), np.nan)
    values = result[name].sel(against="last").transpose("step", "layer").values
    return np.asarray(values, dtype=float)[in_order(result)]


def is_near(values: np.ndarray, kind: str, highest: float | None) -> np.ndarray:
    """Return where a layer is within 1 % of its end, the value of the last checkpoint with itself.

    A similarity that ends at its largest possible value, as most do at 1, is near from 0.99 of it on. A distance is near below
    1 % of the largest one that any layer has here. Another similarity, as one without a largest value, is near where it is
    away from its end by no more than 1 % of the farthest that the layer has been.
    """
    end = values[-1]
    with np.errstate(invalid="ignore"):
        away = np.abs(values - end)
        farthest = np.fmax.reduce(away, axis=0)
        if kind == "distance":
            farthest = np.full_like(farthest, np.fmax.reduce(farthest))
        near = away <= np.maximum(NEAR * farthest, _ROUNDING * np.abs(end))
        if kind == "similarity" and highest is not None:
            at_best = np.abs(end - highest) <= 1e-6 * abs(highest)
            near = np.where(at_best, values >= end - NEAR * np.abs(end), near)
    return near


def settled_places(values: np.ndarray, kind: str, highest: float | None) -> np.ndarray:
    """Return the place from which on each layer stays within 1 % of its end, passing over missing values; −1 where unknown.

    >>> settled_places(np.array([[0.2], [0.995], [0.9], [0.99], [1.0]]), "similarity", 1.0)
    array([3])
    """
    there = ~np.isnan(values)
    near = is_near(values, kind, highest) | ~there
    stays = np.logical_and.accumulate(near[::-1], axis=0)[::-1] & there
    return np.where(np.isfinite(values[-1]), np.argmax(stays, axis=0), -1)


def settled_steps(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return the step from which on each layer stays within 1 % of its end; NaN where nothing is known.

    By the first measure it was found over all checkpoints, also where a part of them is left; by others it needs the last one.
    """
    if "settled_step" in result.coords and result["settled_step"].attrs.get("measure") == name:
        found = np.asarray(result["settled_step"].values, dtype=float)
        names = renumbered(result)
        return found if names is None else np.array([names.get(step, np.nan) for step in found])
    if not has_end(result):
        return np.full(result.sizes["layer"], np.nan)
    highest = json.loads(result[name].attrs.get("range", "[null, null]"))[1]
    places = settled_places(towards_last(result, name), str(result[name].attrs["kind"]), highest)
    steps = np.asarray(result["step"].values, dtype=float)[in_order(result)]
    return np.where(places >= 0, steps[places], np.nan)
