"""Whatever holds the layers of one model, as Activations."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from homolog import files
from homolog.activations import Activations
from homolog.arrays import array_remedy, described, is_array, on_disk
from homolog.conversion import is_table, taken
from homolog.names import shown


def activations_of(source: Any, side: str) -> Activations:
    """Return what was given as Activations; files that are mapped as they are as rows to read."""
    found = _activations_of(source, side)
    kept = {name: on_disk(array) for name, array in found.items()}
    if all(rows is None or rows is found[name] for name, rows in kept.items()):
        return found
    return found.holding({name: found[name] if rows is None else rows for name, rows in kept.items()})


def _activations_of(source: Any, side: str) -> Activations:
    if isinstance(source, Activations):
        return source
    if isinstance(source, str | PathLike):
        return files.open(source)
    if isinstance(source, Mapping):
        if not source:
            raise ValueError(f"{shown(side)} must hold at least one layer, got an empty mapping.")
        return Activations.of_model(source, side)
    if is_table(source):
        return Activations.of_table(taken(source, side, side), side)
    one = next(iter(taken(source, side, side).layers.values()))
    if is_array(one):
        return Activations.of_model({side: one}, side)
    raise TypeError(
        f"{shown(side)} must be an array (n, p), a mapping of layer names to arrays, Activations, or a path, got "
        f"{described(source)}: {array_remedy(source)}; homolog.extract takes layers from a model."
    )
