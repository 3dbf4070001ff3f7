"""Arrays of xarray, whose first dimension is the examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.frames.frame import Table
from homolog.id_columns import POSITIONS, TEXT, checked_identity, identity_of, repeated

EXAMPLES = ("example_id", "example_ids")
"""Coordinates that can be of nothing but examples: `id` may be that of a unit."""


def labelled_array(x: Any, title: str, name: str) -> Table:
    """Return an array with labels as a layer; a coordinate of its first dimension says whose its rows are."""
    if not x.dims:
        return Table({name: x.to_numpy()})
    first = x.dims[0]
    along = {str(key): place for key, place in x.coords.items() if place.dims == (first,)}
    ids = identity_of(dict.fromkeys(along, TEXT))
    positions = None if ids is None else next((key for key in along if key.strip().lower() in POSITIONS), None)
    ids = str(first) if ids is None and str(first) in along else ids  # the index of the dimension
    if ids is None:
        _check_direction(x, title)
        return Table({name: x.to_numpy()})
    who = checked_identity(_entries(along[ids]), ids, title)
    where = None if positions is None else checked_identity(_entries(along[positions]), positions, title)
    return Table({name: x.to_numpy()}, who, where, cautions=repeated(who, where, title))


def _check_direction(x: Any, title: str) -> None:
    """Raise where another dimension than the first has the ids of examples."""
    for key, place in x.coords.items():
        if len(place.dims) == 1 and str(key).strip().lower() in EXAMPLES:
            raise ValueError(
                f"{title} must have its examples along its first dimension, {str(x.dims[0])!r}, got {str(key)!r} along "
                f"{str(place.dims[0])!r}: put that first, .transpose({str(place.dims[0])!r}, ...)."
            )


def _entries(coordinate: Any) -> np.ndarray:
    """Return a coordinate as identifiers; spans of time, and numbers with fractions, as text."""
    values: np.ndarray = coordinate.to_numpy()
    return values.astype(str) if values.dtype.kind in "mf" else values
