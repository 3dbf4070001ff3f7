"""Arrays of xarray, whose first dimension is the examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.frames.frame import Table
from homolog.id_columns import NUMBER, TEXT, checked_identity, identity_of, positions_of, repeated

EXAMPLES = ("example_id", "example_ids")
"""Coordinates that can be of nothing but examples: `id` may be that of a unit."""


def labelled_array(x: Any, title: str, name: str) -> Table:
    """Return an array with labels as a layer; a coordinate of its first dimension says whose its rows are."""
    if not x.dims:
        return Table({name: x.to_numpy()})
    first = x.dims[0]
    along = {str(key): place for key, place in x.coords.items() if place.dims == (first,)}
    who = identity_of({key: NUMBER if place.dtype.kind in "iu" else TEXT for key, place in along.items()})
    positions = positions_of(along, who)
    ids = who.name if who is not None else str(first) if str(first) in along else None  # the index of the dimension
    if ids is None:
        _check_direction(x, title)
        return Table({name: x.to_numpy()})
    examples = checked_identity(_entries(along[ids]), ids, title)
    where = None if positions is None else checked_identity(_entries(along[positions]), positions, title)
    return Table({name: x.to_numpy()}, examples, where, cautions=repeated(examples, where, title))


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
