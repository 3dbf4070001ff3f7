"""Whether a result is whole: what one of each kind must hold, and how it was arranged before somebody selected from it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.names import quoted
from homolog.result_kinds import (
    CONSISTENCY,
    MADE_BY,
    MODEL_CLUSTERS,
    MODEL_MAP,
    MODEL_SIMILARITY,
    REDUNDANCY,
    TRAJECTORY,
    check_kind,
)

if TYPE_CHECKING:
    import xarray


Check = Callable[[Any], bool]
"""What says whether an attribute is as it must be."""


def text(value: Any) -> bool:
    """Say whether an attribute is a text."""
    return isinstance(value, str)


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """Return what says whether an attribute is a number between two."""

    def check(value: Any) -> bool:
        return isinstance(value, int | float | np.number) and math.isfinite(value) and bool(low <= value <= high)

    return check


def whole_number(low: float, high: float = math.inf) -> Check:
    """Return what says whether an attribute is a whole number between two."""
    inside = number(low, high)
    return lambda value: inside(value) and float(value).is_integer()


def texts(value: Any) -> bool:
    """Say whether an attribute is a list of texts, as JSON."""
    found = json.loads(value)
    return isinstance(found, list) and all(map(text, found))


def cautions(value: Any) -> bool:
    """Say whether an attribute is a list of pairs of a category and a message, as JSON."""
    found = json.loads(value)
    return isinstance(found, list) and all(isinstance(c, list) and len(c) == 2 and all(map(text, c)) for c in found)


def any_number(value: Any) -> bool:
    """Say whether an attribute is a number, NaN included."""
    return isinstance(value, int | float | np.number)


def _features(value: Any) -> bool:
    return all({"feature", "share", "massive", "removed"} <= set(each) for each in json.loads(value))


@dataclass(frozen=True)
class Form:
    """What a result of one kind must hold so that it can be read."""

    dimensions: tuple[str, ...]
    """In the order in which variables have them; each with one entry or more."""
    coordinates: Mapping[str, str]
    """Coordinate → its dimension. One that is called as its dimension says which entry is which."""
    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measures: tuple[str, ...] | None = None
    """What every measure and its companions are over; None for results without measures."""
    attributes: Mapping[str, Check] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    """Coordinates that are numbers."""
    ordered: Callable[[xarray.Dataset], xarray.Dataset] = lambda result: result
    """Puts in order what is read in order, or raises where part of it is missing."""


def whole(result: Any, kind: str) -> xarray.Dataset:
    """Return a result as its function arranged it, or raise, in one sentence, where a selection left out what reading needs.

    Variables are transposed back and read into memory, and entries that stand there twice are taken once.
    """
    check_kind(result, kind)
    form = FORMS[kind]
    check_dimensions(result, kind, form.dimensions)
    _check_parts(result, kind, form)
    return form.ordered(_once(in_memory(result).transpose(..., *form.dimensions), kind, form))


def check_dimensions(result: xarray.Dataset, kind: str, dimensions: Sequence[str]) -> None:
    """Raise unless a result has its dimensions, none of them empty."""
    missing = [name for name in dimensions if name not in result.dims]
    if missing:
        raise ValueError(
            f"a result of {MADE_BY[kind]} must keep its dimensions {_and(dimensions)}, got "
            f"{', '.join(map(str, result.dims)) or 'none'}: select with lists, result.isel({missing[0]}=[0]), and rename nothing."
        )
    empty = next((name for name in dimensions if not result.sizes[name]), None)
    if empty is not None:
        raise ValueError(
            f"a result of {MADE_BY[kind]} must keep at least one entry along {empty}, got none: select fewer away."
        )


def in_memory(result: xarray.Dataset) -> xarray.Dataset:
    """Return a result whose variables are no tasks of dask."""
    return result.compute() if any(each.chunks for each in result.variables.values()) else result


def _check_parts(result: xarray.Dataset, kind: str, form: Form) -> None:
    for name, check in form.attributes.items():
        if name not in result.attrs:
            refuse(kind, f"no attribute {name!r}")
        if not holds(check, result.attrs[name]):
            refuse(kind, f"an attribute {name!r} of another kind ({quoted(result.attrs[name])[:60]})")
    for name, dimension in form.coordinates.items():
        if name not in result.coords or result[name].dims != (dimension,):
            refuse(kind, f"no coordinate {name!r} over {dimension}")
        if name in form.numbers and result[name].dtype.kind not in "iuf":
            refuse(kind, f"a coordinate {name!r} that is no numbers")
    for name, over in form.variables.items():
        check_variable(result, kind, name, over)
    if form.measures is not None:
        for name in of_measures(result, kind):
            check_variable(result, kind, name, form.measures)
            if result[name].dtype.kind != "f":
                refuse(kind, f"a variable {quoted(name)} of {result[name].dtype}")


def of_measures(result: xarray.Dataset, kind: str) -> list[str]:
    """Return the measures that a result still holds, at least one, and what stands beside them."""
    named = [name for name in json.loads(result.attrs["measures"]) if name in result.data_vars]
    if not named:
        raise ValueError(
            f"a result of {MADE_BY[kind]} must hold at least one of its measures, got one without any: keep one of "
            f"{result.attrs['measures']}."
        )
    return named + [str(name) for name in result.data_vars if result[name].attrs.get("companion_of") in named]


def check_variable(result: xarray.Dataset, kind: str, name: str, over: Sequence[str]) -> None:
    """Raise unless a result has a variable, over its dimensions and no other."""
    if name not in result.data_vars:
        refuse(kind, f"no variable {quoted(name)}")
    more = [dimension for dimension in result[name].dims if dimension not in over]
    if more:
        raise ValueError(
            f"this needs one result of {MADE_BY[kind]}, got several over {', '.join(map(str, more))}: select one with "
            f"result.isel({more[0]}=0)."
        )
    if len(result[name].dims) < len(over):
        refuse(kind, f"a variable {quoted(name)} over {_and(result[name].dims) or 'nothing'} alone")


def holds(check: Check, value: Any) -> bool:
    """Say whether an attribute is as it must be; one that cannot be read is not."""
    try:
        return check(value)
    except (ValueError, TypeError, RecursionError, OverflowError, AttributeError):
        return False


def refuse(kind: str, got: str) -> None:
    """Raise for a result that lacks something."""
    raise ValueError(
        f"a result must be as {MADE_BY[kind]} returned it, got {got}: keep all that it holds, or call it again."
    )


def _and(names: Sequence[Any]) -> str:
    *first, last = map(str, names or [""])
    return f"{', '.join(first)} and {last}" if first else last


def _once(result: xarray.Dataset, kind: str, form: Form) -> xarray.Dataset:
    """Take entries once that were selected twice; raise where they differ, so that a name does not tell which is meant."""
    for dimension in form.dimensions:
        if dimension not in form.coordinates:
            continue
        _, first, places = np.unique(result[dimension].values, return_index=True, return_inverse=True)
        if len(first) == len(places):
            continue
        order = np.sort(first)
        taken = result.isel({dimension: order})
        if not taken.isel({dimension: np.searchsorted(order, first)[places]}).equals(result):
            twice = next(name for name in result[dimension].values if (result[dimension].values == name).sum() > 1)
            raise ValueError(
                f"a result of {MADE_BY[kind]} must hold each {dimension} once, got different ones called {quoted(twice)}: rename "
                f"one, or leave it out."
            )
        result = taken
    return result


def _of_neighbours(result: xarray.Dataset) -> xarray.Dataset:
    """Put the blocks and layers of a residual stream in the order in which they follow each other."""
    blocks, inputs = ([str(name) for name in result[what].values] for what in ("block", "input"))
    next_of = dict(zip(inputs, blocks, strict=True))
    chain = [name for name in inputs if name not in blocks][:1]
    while chain and chain[-1] in next_of and len(chain) <= len(blocks):
        chain.append(next_of[chain[-1]])
    layers = [sorted(map(str, result[what].values)) for what in ("layer", "layer_b")]
    starts = [(name, int(span)) for name, span in _starts(result)]
    fits = len(chain) == len(blocks) + 1 and all(each == sorted(chain) for each in layers)
    if not fits or any(name not in chain or chain.index(name) + span > len(chain) for name, span in starts):
        raise ValueError(
            f"a result of {MADE_BY[REDUNDANCY]} must keep all its blocks and layers, since each block is told beside its "
            f"neighbours, got {len(blocks)} blocks and {result.sizes['layer']} by {result.sizes['layer_b']} layers that are not "
            f"in one row: call it on part of the layers instead."
        )
    return result.sel(block=chain[1:], layer=chain, layer_b=chain).sortby("span")


def _starts(result: xarray.Dataset) -> list[tuple[str, Any]]:
    """Return the first block of each run that is named, and how many blocks it has."""
    names = [name for name in result.data_vars if str(name).startswith("best_start")]
    both = [pair for name in names for pair in zip(result[name].values, result["span"].values, strict=True)]
    return [(str(start), span) for start, span in both if str(start)]


def _with_places(result: xarray.Dataset) -> xarray.Dataset:
    """Raise unless every model has a place on the map."""
    missing = ~np.isfinite(np.asarray(result["position"].values, dtype=float)).all(axis=1)
    if missing.any():
        raise ValueError(
            f"every model must have a place on the map, got none for {quoted(str(result['model'].values[missing][0]))}: select "
            f"with result.sel(model=[...]), which leaves models out."
        )
    return result


def _with_tree(result: xarray.Dataset) -> xarray.Dataset:
    """Raise unless the tree is of the models that a result holds, in their order."""
    from scipy.cluster import hierarchy

    parts = ["first", "second", "height", "size"]
    if sorted(map(str, result["part"].values)) != sorted(parts):
        refuse(MODEL_CLUSTERS, f"the parts {_and(list(result['part'].values))} of each merge")
    result = result.sel(part=parts)
    models, tree = [str(name) for name in result["model"].values], np.asarray(result["linkage"].values, dtype=float)
    fits = hierarchy.is_valid_linkage(tree) and len(tree) + 1 == len(models)
    # The tree knows models by their places.
    leaves = [models[leaf] for leaf in hierarchy.leaves_list(tree)] if fits else []
    if leaves != [str(name) for name in result["leaf_order"].values]:
        raise ValueError(
            f"a tree must keep all its models and merges in order, got {len(models)} models and {len(tree)} merges that do not "
            f"belong together: call {MADE_BY[MODEL_CLUSTERS]} on part of the similarities instead."
        )
    return result


def _of_data_sets(result: xarray.Dataset) -> xarray.Dataset:
    """Put the data sets in one order; raise unless they are the same everywhere, with all pairs of models."""
    names = [str(name) for name in result["dataset_a"].values]
    same = all(sorted(map(str, result[side].values)) == sorted(names) for side in ("dataset_b", "dataset"))
    if not same or len(names) < 2 or result.sizes["pair"] != int(result.attrs["n_pairs"]):
        raise ValueError(
            f"a result of {MADE_BY[CONSISTENCY]} must have the same data sets on both sides, two at least, and all pairs of "
            f"models, got a part of one: select before {MADE_BY[CONSISTENCY]}."
        )
    if not np.isfinite(np.asarray(result["similarity"].values, dtype=float)).all():
        refuse(CONSISTENCY, "a variable 'similarity' with values that are missing or infinite")
    return result.sel(dataset_b=names, dataset=names)


_SIDES = ("model_a", "model_b")
_DATA_SETS = ("dataset_a", "dataset_b")
_OF_MODELS = {"measure": text, "distance": text, "method": text}
FORMS: dict[str, Form] = {
    TRAJECTORY: Form(
        ("against", "step", "layer"),
        {"against": "against", "step": "step", "layer": "layer"}
        | {name: "step" for name in ("checkpoint", "same_as", "same_by")},
        measures=("against", "step", "layer"),
        attributes={"measures": texts, "model": text, "n_examples": whole_number(1)},
        numbers=("step",),
    ),
    MODEL_SIMILARITY: Form(
        _SIDES, {side: side for side in _SIDES}, measures=_SIDES, attributes={"measures": texts, "by": text}
    ),
    REDUNDANCY: Form(
        ("block", "span", "layer", "layer_b", "place"),
        {name: name for name in ("block", "span", "layer", "layer_b")} | {"input": "block"},
        {
            "influence": ("block",),
            "angular_distance": ("block", "span"),
            **{name: ("span",) for name in ("best_start", "best_value", "best_ties")},
            **{name: ("layer",) for name in ("norm", "effective_rank", "mean_share")},
            **{name: ("layer", "place") for name in ("top_feature", "top_share")},
        },
        ("layer", "layer_b"),
        {"measures": texts, "massive_features": _features, "caution": text, "criterion": text}
        | {"n_examples": whole_number(1), "features": whole_number(1)},
        ("span",),
        _of_neighbours,
    ),
    MODEL_MAP: Form(
        ("model", "component"),
        {"model": "model", "component": "component"},
        {"position": ("model", "component")},
        attributes=_OF_MODELS | {"stress": any_number},
        numbers=("component",),
        ordered=_with_places,
    ),
    MODEL_CLUSTERS: Form(
        ("model", "merge", "part", "place"),
        {"model": "model", "part": "part"},
        {"linkage": ("merge", "part"), "leaf_order": ("place",)},
        attributes=_OF_MODELS | {"cophenetic_correlation": any_number},
        ordered=_with_tree,
    ),
    CONSISTENCY: Form(
        (*_DATA_SETS, "dataset", "pair"),
        {name: name for name in (*_DATA_SETS, "dataset")} | {"model": "pair", "other_model": "pair"},
        {name: _DATA_SETS for name in ("correlation", "correlation_se", "correlation_p")}
        | {"similarity": ("dataset", "pair")},
        _DATA_SETS,
        {"measures": texts, "measure": text, "kind": text, "method": text}
        | {name: whole_number(1) for name in ("n_models", "n_pairs", "n_orders")}
        | {"exact": whole_number(0, 1)},
        ordered=_of_data_sets,
    ),
}
"""Title of a result → its form. That of a comparison is in `results`, since it is one of two."""
