"""The shape of a trajectory: an xarray.Dataset that netCDF keeps without loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.activations import Module
from homolog.diagnostics import Caution
from homolog.engine.result import measure_attributes
from homolog.inference.uncertainty import MEANINGS
from homolog.result_kinds import TRAJECTORY
from homolog.trajectories.comparing import COMPANIONS
from homolog.trajectories.sameness import repeated_layers, same_networks
from homolog.trajectories.settling import settled_steps
from homolog.trajectories.walk import LAST, Row, Walk, as_array

if TYPE_CHECKING:
    import xarray

_MEANINGS = {**MEANINGS, "reversed": "the measure with the roles of the two layers exchanged"}


def dataset(walk: Walk, rows: Sequence[Row], cautions: Sequence[Caution]) -> xarray.Dataset:
    """Arrange the rows of all checkpoints."""
    import xarray

    dimensions = ("against", "step", "layer")
    variables: dict[str, Any] = {}
    for name, record in walk.measures.items():
        variables[name] = (dimensions, _values(walk, rows, name), measure_attributes(record))
        for kind in COMPANIONS:
            values = _values(walk, rows, f"{name}_{kind}")
            if not np.isnan(values).all():
                variables[f"{name}_{kind}"] = (dimensions, values, {"companion_of": name, "meaning": _MEANINGS[kind]})
    found = xarray.Dataset(variables, _coordinates(walk, rows), _attributes(walk, cautions))
    if LAST not in walk.against:
        return found
    about = {
        "long_name": "step from which on a layer stays within 1 % of its end",
        "measure": next(iter(walk.measures)),
    }
    return found.assign_coords(settled_step=("layer", settled_steps(found, next(iter(walk.measures))), about))


def _values(walk: Walk, rows: Sequence[Row], variable: str) -> np.ndarray:
    return as_array(rows, variable, walk.against, len(walk.layers))


def _coordinates(walk: Walk, rows: Sequence[Row]) -> dict[str, Any]:
    labels = [one.label for one in walk.checkpoints]
    same_as, same_by = same_networks(labels, rows)
    made = [walk.modules.get(name, Module("", "")) for name in walk.layers]
    found: dict[str, Any] = {
        "against": list(walk.against),
        "step": _steps([one.step for one in walk.checkpoints]),
        "layer": list(walk.layers),
        "checkpoint": ("step", labels),
        "same_as": ("step", same_as),
        "same_by": ("step", same_by),
        "depth": ("layer", np.arange(len(walk.layers), dtype=np.int32)),
        "features": ("layer", np.array(rows[0]["features"], dtype=np.int32)),
    }
    repeats = repeated_layers(walk.layers, rows)
    found |= {"repeats": ("layer", repeats)} if any(repeats) else {}
    for what in Module._fields:
        texts = [getattr(module, what) for module in made]
        found |= {what: ("layer", texts)} if any(texts) else {}
    return found


def _steps(steps: Sequence[float]) -> np.ndarray:
    """Return whole numbers where all are, as netCDF holds them."""
    values = np.array(steps, dtype=float)
    whole = (values == np.rint(values)).all() and (np.abs(values) < 2**31).all()
    return values.astype(np.int32) if whole else values


def _attributes(walk: Walk, cautions: Sequence[Caution]) -> dict[str, Any]:
    return {
        "title": TRAJECTORY,
        "homolog_version": version("homolog"),
        "first_step": float(walk.checkpoints[0].step),
        "last_step": float(walk.checkpoints[-1].step),
        "steps": json.dumps({one.label: float(one.step) for one in walk.checkpoints}),
        "n_examples": np.int32(walk.n_examples),
        **({"n_units": np.int32(walk.n_units)} if walk.n_units else {}),
        "measures": json.dumps(list(walk.measures)),
        "model": walk.provenance.get("model", "a network"),
        "activations": json.dumps(dict(walk.provenance), ensure_ascii=False),
        "warnings": json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False),
    }
