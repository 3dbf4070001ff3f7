"""What a result says of layers of which only sketches are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.summary_views import number
from homolog.diagnostics import listed
from homolog.names import shown
from homolog.results import companion

if TYPE_CHECKING:
    import xarray

IMPRECISE = 0.05
"""Standard error over sketches from which on a summary says how to make it smaller."""


def sketch_sentence(result: xarray.Dataset, measure: str) -> str | None:
    """Say how many layers are kept as sketches, and how far values may be off for that; None where none is."""
    columns = _columns(result)
    kept = columns[columns > 0]
    errors = companion(result, measure, "se_sketch")
    if not len(kept) or errors is None:
        return None
    layers = "every layer" if len(kept) == len(columns) else f"{len(kept)} of {len(columns)} layers"
    finite = errors.values[np.isfinite(errors.values)]
    told = f", with standard errors of up to {number(float(finite.max()))} for that" if finite.size else ""
    more = (
        "; a larger sketch= of homolog.extract makes them smaller" if finite.size and finite.max() > IMPRECISE else ""
    )
    return f"Of {layers} only two sketches are kept, of {_span(kept)} columns: values are estimates{told}{more}."


def sketch_notes(result: xarray.Dataset) -> Iterator[tuple[str, str]]:
    """Yield which sketches a result was made of, as pairs of what and how, model by model."""
    kept = _columns(result)
    kept = kept[kept > 0]
    if not len(kept):
        return
    for model, seeds in json.loads(result.attrs.get("sketch_seeds", "{}")).items():
        yield f"sketches of {shown(model)}", f"seed {listed(map(str, seeds))}"
    yield "layers kept as sketches", f"{len(kept)} of {len(_columns(result))}, two of {_span(kept)} columns each"


def sketched_attribute(result: xarray.Dataset) -> dict[str, np.int32]:
    """Return the attribute which says that values are estimates from sketches, which may lie above 1; none where none are."""
    return {"sketched": np.int32(1)} if (_columns(result) > 0).any() else {}


def _columns(result: xarray.Dataset) -> np.ndarray:
    """Return the columns of the sketches of all layers, 0 of those that are kept as they are."""
    once = "a" in result.dims or bool(int(result.attrs.get("same_model", 0)))
    sides = [result.coords.get(f"sketch_{side}") for side in ("a" if once else "ab")]
    known = [np.atleast_1d(side.values) for side in sides if side is not None]
    return np.concatenate(known) if known else np.zeros(0, dtype=int)


def _span(columns: np.ndarray) -> str:
    first, last = int(columns.min()), int(columns.max())
    return str(first) if first == last else f"{first} to {last}"
