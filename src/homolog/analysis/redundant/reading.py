"""Reading a result of `redundancy`: whether it is whole, and in which forms it has its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from homolog.names import quoted
from homolog.result_kinds import REDUNDANCY, check_kind

if TYPE_CHECKING:
    import xarray

WITHOUT, WITHOUT_ROWS, WITHOUT_BOTH = "_without", "_without_rows", "_without_both"
FORMS = {
    "": "all",
    WITHOUT: "without the removed features",
    WITHOUT_ROWS: "without the outlying rows",
    WITHOUT_BOTH: "without these features and rows",
}
"""Ending of a variable → what it means."""
ORDER = ("block", "span", "layer", "layer_b", "place")
OF_FORM = {
    "influence": ("block",),
    "angular_distance": ("block", "span"),
    "best_start": ("span",),
    "best_value": ("span",),
    "best_ties": ("span",),
    "norm_growth": ("block",),
    "norm": ("layer",),
    "effective_rank": ("layer",),
    "participation_ratio": ("layer",),
}
"""Variables of every form → their dimensions."""
NEEDED = {
    "norm_median": ("layer",),
    "mean_share": ("layer",),
    "top_feature": ("layer", "place"),
    "top_share": ("layer", "place"),
}
OPTIONAL = {
    "top_position": ("layer",),
    "top_position_share": ("layer",),
    "accuracy": ("layer",),
    "loss": ("block",),
    "best_loss": ("span",),
}
ATTRIBUTES = ("caution", "criterion", "features", "massive_features", "measures", "n_examples")


def checked(result: xarray.Dataset) -> xarray.Dataset:
    """Return a result of `redundancy` with its dimensions in order; raise unless it is what `redundancy` returned, whole."""
    check_kind(result, REDUNDANCY)
    result = result.transpose(..., *ORDER, missing_dims="ignore")
    unsound = next(_unsound(result), None)
    if unsound is not None:
        raise ValueError(
            f"a result must be as homolog.redundancy returned it, got one without a sound {quoted(unsound)}: call it again, "
            f"or select nothing of its result."
        )
    return result


def _unsound(result: xarray.Dataset) -> Iterator[str]:
    """Yield what is missing, or was selected."""
    yield from (name for name in ATTRIBUTES if name not in result.attrs)
    yield from (name for name in ("block", "input", "layer", "layer_b", "span") if name not in result.coords)
    measure = _measure(result)
    if measure is None:
        yield "measures"
        return
    known: dict[str, tuple[str, ...]] = {**OF_FORM, measure: ("layer", "layer_b")}
    forms = [suffix for suffix in FORMS if not suffix or any(name + suffix in result for name in known)]
    needed = NEEDED | {name + suffix: dims for suffix in forms for name, dims in known.items()}
    needed |= {name: dims for name, dims in OPTIONAL.items() if name in result}
    yield from (name for name, dims in needed.items() if name not in result.data_vars or result[name].dims != dims)
    yield from _unsound_names(result, forms)
    if not result.sizes["place"]:
        yield "place"
    if "loss" in result and not {"best_loss", "baseline_loss"} <= {*result.data_vars, *result.attrs}:
        yield "loss"
    if "accuracy" in result and "chance" not in result.attrs:
        yield "chance"
    if not _sound_features(result):
        yield "massive_features"


def _unsound_names(result: xarray.Dataset, forms: Sequence[str]) -> Iterator[str]:
    """Yield which axes are not whole: a block is called after the layer that it puts out, and fed by the one before."""
    layers, blocks = ([str(name) for name in result[axis].values] for axis in ("layer", "block"))
    whole = {
        "layer": len(layers) > 1 and len(set(layers)) == len(layers),
        "layer_b": [str(name) for name in result.layer_b.values] == layers,
        "block": blocks == layers[1:],
        "input": [str(name) for name in result.input.values] == layers[:-1],
        "span": result.span.values.tolist() == list(range(1, max(1, len(layers) - 2) + 1)),
    }
    yield from (axis for axis, sound in whole.items() if not sound)
    places = {name: place for place, name in enumerate(blocks)}
    for suffix in forms:
        starts = [str(name) for name in result[f"best_start{suffix}"].values]
        if any(start and places.get(start, len(blocks)) + span >= len(blocks) for span, start in enumerate(starts)):
            yield f"best_start{suffix}"


def _measure(result: xarray.Dataset) -> str | None:
    try:
        (measure,) = json.loads(str(result.attrs["measures"]))
    except (ValueError, TypeError, KeyError):
        return None
    return measure if isinstance(measure, str) else None


def _sound_features(result: xarray.Dataset) -> bool:
    needed = {"feature", "share", "massive", "removed", "largest", "times_median", "layer"}
    try:
        return all(needed <= set(each) for each in json.loads(str(result.attrs["massive_features"])))
    except (ValueError, TypeError):
        return False


def forms_of(result: xarray.Dataset) -> dict[str, str]:
    """Return the endings of variables that a result has, and what they mean."""
    return {suffix: meaning for suffix, meaning in FORMS.items() if f"influence{suffix}" in result}
