"""The shape of a result: an xarray.Dataset that netCDF keeps without loss."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.activations import Module
from homolog.engine import model_statistics
from homolog.engine.planning import Plan
from homolog.engine.run import Outcome
from homolog.equal_layers import equal_models
from homolog.inference.permutations import count_orders
from homolog.inference.uncertainty import MEANINGS
from homolog.inference.units import count_of
from homolog.measures.record import Measure
from homolog.position_norms import PositionNorms
from homolog.results import ALPHA

if TYPE_CHECKING:
    import xarray


def dataset(plan: Plan, outcome: Outcome) -> xarray.Dataset:
    """Arrange values, companions, coordinates and provenance."""
    import xarray

    dimensions = ("a", "b") if plan.many else ("layer_a", "layer_b")
    variables: dict[str, Any] = {}
    for name, record in plan.measures.items():
        values = outcome.values[name]
        about = measure_attributes(record)
        if outcome.over_models.get(name):
            about[model_statistics.ATTRIBUTE] = model_statistics.attribute(plan, record, outcome.over_models[name])
        variables[name] = (dimensions, _asked(plan, values), about)
        companions: dict[str, tuple[np.ndarray, str]] = {}
        if record.symmetric is False:
            companions["reversed"] = values.T, "the measure with the roles of the two layers exchanged"
        found = outcome.companions.get(name, {}) | ({"null": outcome.nulls[name]} if name in outcome.nulls else {})
        companions |= {kind: (matrix, MEANINGS[kind]) for kind, matrix in found.items()}
        for suffix, (matrix, meaning) in companions.items():
            about = {"companion_of": name, "meaning": meaning}
            if suffix in ("p", "p_fdr", "p_fwer"):
                about["method"] = "permutation" if plan.asked.null else "moments"
            if suffix == "calibrated":
                about |= {"kind": "similarity", "range": "[0.0, 1.0]"}
            variables[f"{name}_{suffix}"] = (dimensions, _asked(plan, matrix), about)
    return xarray.Dataset(variables, _coordinates(plan, outcome, dimensions), _attributes(plan, outcome))


def equalities(plan: Plan) -> dict[str, str]:
    """Say which models have equal layers, where any have: a value of 1 to rounding does not prove it."""
    titles = dict(zip(plan.models, plan.titles, strict=False))
    found = equal_models(plan.models)
    named = [[titles[each.a], titles[each.b], list(each.equal), each.compared, each.apart] for each in found]
    return {"equal_layers": _json(named)} if named else {}


def _asked(plan: Plan, matrix: np.ndarray) -> np.ndarray:
    """Return the rows and columns of the result, NaN where not asked."""
    return np.where(plan.wanted, matrix[np.ix_(plan.rows, plan.columns)], np.nan)


def _coordinates(plan: Plan, outcome: Outcome, dimensions: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, dimension, index in zip("ab", dimensions, (plan.rows, plan.columns), strict=True):
        layers = [plan.layers[i] for i in index]
        if plan.many:
            found[f"model_{side}"] = (dimension, [layer.model for layer in layers])
        found[f"layer_{side}"] = (dimension, [layer.name for layer in layers])
        found |= module_coordinates(side, dimension, [layer.made for layer in layers])
        found[f"features_{side}"] = (dimension, np.array([layer.array.shape[1] for layer in layers], dtype=np.int32))
        if any(layer.sketch for layer in plan.layers):
            columns = [0 if layer.sketch is None else layer.sketch.columns for layer in layers]
            found[f"sketch_{side}"] = (dimension, np.array(columns, dtype=np.int32))
        if outcome.ranks is not None:
            found[f"rank_{side}"] = (dimension, outcome.ranks[index])
    return found


def module_coordinates(side: str, dimension: str, modules: Sequence[Module]) -> dict[str, Any]:
    """Return which modules made the layers, where that is known of any."""
    columns = {what: [getattr(made, what) for made in modules] for what in ("type", "shape")}
    return {f"{what}_{side}": (dimension, values) for what, values in columns.items() if any(values)}


def _attributes(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    titles, provenance = plan.titles, [layers.provenance for layers in plan.models.values()]
    titles_of = dict(zip(plan.models, titles, strict=False))  # one model may be called by two names
    models: dict[str, str]
    if plan.many:
        models = {"models": _json(dict(zip(titles, provenance, strict=True)))}
    else:
        models = {"model_a": titles[0], "model_b": titles[-1]}
        models |= {"activations_a": _json(provenance[0]), "activations_b": _json(provenance[-1])}
    return {
        "title": "homolog comparison",
        # Not that of the installed package: there is none where the source alone is on the path.
        "homolog_version": sys.modules["homolog"].__version__,
        "same_model": np.int32(plan.same),
        "all_pairs": np.int32(plan.wanted.all()),
        "n_examples": np.int32(plan.n),
        "measures": json.dumps(list(plan.measures)),
        **_asked_for(plan),
        "warnings": _json([[c.category.__name__, c.message] for c in outcome.cautions]),
        **models,
        **_inputs(plan),
        **_seeds(plan),
        **sinks_attribute([(titles_of[layer.model], layer.name, layer.made) for layer in plan.layers]),
    }


def _inputs(plan: Plan) -> dict[str, str]:
    """List the layers of each model that are its input and do not count in it as a whole; nothing for none."""
    found: dict[str, list[str]] = {}
    for layer, counted in zip(plan.layers, plan.counted, strict=True):
        if not counted:
            found.setdefault(dict(zip(plan.models, plan.titles, strict=False))[layer.model], []).append(layer.name)
    return {"input_layers": _json(found)} if found else {}


def _seeds(plan: Plan) -> dict[str, str]:
    """List the seeds of the sketches of each model; nothing for none."""
    titles, found = dict(zip(plan.models, plan.titles, strict=False)), dict[str, set[int]]()
    for layer in plan.layers:
        if layer.sketch is not None:
            found.setdefault(titles[layer.model], set()).add(layer.sketch.seed)
    return {"sketch_seeds": _json({model: sorted(seeds) for model, seeds in found.items()})} if found else {}


def sinks_attribute(layers: Sequence[tuple[str, str, Module]]) -> dict[str, str]:
    """List the layers, of model, name and what made them, in which the first tokens outweigh the others; nothing for none."""
    found = [
        [model, name, *sink]
        for model, name, made in layers
        if (norms := PositionNorms.read(made.norms)) is not None and (sink := norms.sink) is not None
    ]
    return {"attention_sinks": _json(found)} if found else {}


def _asked_for(plan: Plan) -> dict[str, Any]:
    """Say how probabilities and intervals were made, where there are any."""
    found: dict[str, Any] = {}
    units = plan.asked.rows_of if plan.asked.units is None else plan.asked.units
    if units is not None:
        found["n_units"] = np.int32(count_of(units))
    if plan.asked.summed_units is not None:
        found["n_units"] = np.int32(plan.asked.summed_units)
    if plan.asked.null:
        found["n_permutations"] = np.int32(plan.asked.n_permutations)
        count = count_orders(plan.n, plan.asked.groups, plan.asked.rows_of)
        found |= {"n_orders": np.int32(count)} if count < 1 / ALPHA else {}
    if plan.asked.interval:
        found |= {"interval": plan.asked.method, "level": plan.asked.level}
    if plan.asked.calibrate:
        found["alpha"] = plan.asked.alpha
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def measure_attributes(record: Measure) -> dict[str, Any]:
    """Describe a measure in attributes that netCDF can hold; an unbounded range end is null."""
    ends = [None if math.isinf(end) else end for end in record.range]
    return {
        "measure": str(record),
        "kind": record.kind,
        "range": json.dumps(ends),
        "symmetric": np.int32(-1 if record.symmetric is None else record.symmetric),
        "unchanged_by": record.unchanged_by,
        "formula": record.formula,
        "reference": record.reference,
    }
