"""When layers are near their end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

NEAR = 0.01
"""Share of its end within which a layer has settled."""
_ROUNDING = 1e-9


def in_order(result: xarray.Dataset) -> np.ndarray:
    """Return the places of steps in the order of training, in which a part of a result need not hold them."""
    return np.argsort(np.asarray(result["step"].values, dtype=float), kind="stable")


def has_end(result: xarray.Dataset) -> bool:
    """Say whether the last checkpoint is still in a result, compared with itself."""
    if "last" not in result["against"].values or not result.sizes["step"]:
        return False
    last = result.attrs.get("last_step")
    return last is None or float(result["step"].values.max()) == float(last)


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
        return np.asarray(result["settled_step"].values, dtype=float)
    if not has_end(result):
        return np.full(result.sizes["layer"], np.nan)
    highest = json.loads(result[name].attrs.get("range", "[null, null]"))[1]
    places = settled_places(towards_last(result, name), str(result[name].attrs["kind"]), highest)
    steps = np.asarray(result["step"].values, dtype=float)[in_order(result)]
    return np.where(places >= 0, steps[places], np.nan)
