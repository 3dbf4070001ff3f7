"""The shape of a result: an xarray.Dataset that netCDF keeps without loss."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.engine.plan import Plan
from homolog.registry import Measure

if TYPE_CHECKING:
    import xarray

    from homolog.engine.run import Outcome

DIMENSIONS = ("layer_a", "layer_b")


def dataset(plan: Plan, outcome: Outcome) -> xarray.Dataset:
    """Arrange values, companions, coordinates and provenance."""
    import xarray

    variables: dict[str, Any] = {}
    for name, record in plan.measures.items():
        variables[name] = (DIMENSIONS, outcome.values[name], measure_attributes(record))
        for suffix, companions, meaning in (
            ("reversed", outcome.reversed, "the measure with the roles of the two layers exchanged"),
            ("null", outcome.nulls, "mean of the measure under random permutations of the examples"),
        ):
            if name in companions:
                about = {"companion_of": name, "meaning": meaning}
                variables[f"{name}_{suffix}"] = (DIMENSIONS, companions[name], about)
    coordinates: dict[str, Any] = {
        "layer_a": list(plan.a),
        "layer_b": list(plan.b),
        "features_a": ("layer_a", np.array([x.shape[1] for x in plan.a.values()], dtype=np.int32)),
        "features_b": ("layer_b", np.array([x.shape[1] for x in plan.b.values()], dtype=np.int32)),
    }
    for side, ranks in outcome.ranks.items():
        coordinates[f"rank_{side}"] = (f"layer_{side}", np.array(ranks, dtype=np.int32))
    attributes = {
        "title": "homolog comparison",
        "homolog_version": version("homolog"),
        "model_a": plan.name_a,
        "model_b": plan.name_b,
        "same_model": np.int32(plan.same),
        "n_examples": np.int32(plan.n),
        "measures": json.dumps(list(plan.measures)),
        "warnings": json.dumps([[c.category.__name__, c.message] for c in outcome.cautions], ensure_ascii=False),
        "activations_a": json.dumps(plan.a.provenance, ensure_ascii=False),
        "activations_b": json.dumps(plan.b.provenance, ensure_ascii=False),
    }
    return xarray.Dataset(variables, coordinates, attributes)


def measure_attributes(record: Measure) -> dict[str, Any]:
    """Describe a measure in attributes that netCDF can hold; an unbounded range end is null."""
    ends = [None if math.isinf(end) else end for end in record.range]
    return {
        "measure": str(record),
        "kind": record.kind,
        "range": json.dumps(ends),
        "symmetric": np.int32(-1 if record.symmetric is None else record.symmetric),
        "formula": record.formula,
        "reference": record.reference,
    }
