"""Arrays of xarray, whose first dimension is the examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.frames.frame import Table
from homolog.id_columns import ID_NAMES, POSITIONS, checked_identity


def labelled_array(x: Any, title: str, name: str) -> Table:
    """Return an array with labels as a layer; a coordinate of its first dimension says whose its rows are."""
    if not x.dims:
        return Table({name: x.to_numpy()})
    first = x.dims[0]
    along = {str(key): place for key, place in x.coords.items() if place.dims == (first,)}
    ids = _named(along, ID_NAMES)
    positions = None if ids is None else _named(along, POSITIONS)
    ids = str(first) if ids is None and str(first) in along else ids  # the index of the dimension
    return Table(
        {name: x.to_numpy()},
        None if ids is None else checked_identity(_entries(along[ids]), ids, title),
        None if positions is None else checked_identity(_entries(along[positions]), positions, title),
    )


def _named(along: dict[str, Any], wanted: tuple[str, ...]) -> str | None:
    return next((key for key in along if key.strip().lower() in wanted), None)


def _entries(coordinate: Any) -> np.ndarray:
    """Return a coordinate as identifiers; spans of time, and numbers with fractions, as text."""
    values: np.ndarray = coordinate.to_numpy()
    return values.astype(str) if values.dtype.kind in "mf" else values
