"""What a report says, as plain data for its page."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis import Finding, correspondence, layer_identification
from homolog.diagnostics import FewModelsWarning
from homolog.results import (
    by_chance,
    check_result,
    colour_limits,
    marks,
    measure_names,
    models_in,
    two_by_two,
    two_models,
    without_diagonal,
)

if TYPE_CHECKING:
    import xarray

MOST_MATCH_TABLES = 10
"""Pairs of models whose best matches are listed, one by one."""


def data_for_page(
    result: xarray.Dataset, title: str | None, diagnosis: Iterable[Finding] | None = None
) -> dict[str, Any]:
    """Return everything the page shows."""
    names = measure_names(result)
    many = "a" in result.dims
    if not many:
        two_models(result)
    check_result(result)
    models = _model_names(result)
    return {
        "title": title or ", ".join(models[:-1]) + " and " * (len(models) > 1) + models[-1],
        "n": int(result.attrs["n_examples"]),
        "models": models,
        "warnings": json.loads(result.attrs["warnings"]),
        "findings": None if diagnosis is None else [vars(finding) for finding in diagnosis],
        "tested": int(result.attrs.get("n_permutations", 0)),
        "measures": [_measure(result, name) for name in names],
        "figures": _safe_json([_figure(result, name, many) for name in names]),
        "identification": _identification(result),
        "matches": list(_matches(result, names)),
        "provenance": list(_origins(result, many)),
    }


def _model_names(result: xarray.Dataset) -> list[str]:
    if "a" in result.dims:
        return models_in(result)
    both = [result.attrs["model_a"], result.attrs["model_b"]]
    return both[:1] if int(result.attrs["same_model"]) else both


def _measure(result: xarray.Dataset, name: str) -> dict[str, Any]:
    about = result[name].attrs
    low, high = (_written_end(*end) for end in zip(json.loads(about["range"]), ("−∞", "∞"), strict=True))
    symmetric = {1: "symmetric", 0: "not symmetric: rows are x, columns are y"}.get(int(about["symmetric"]), "")
    return {
        "name": name,
        "kind": about["kind"],
        "reading": "larger is more alike" if about["kind"] == "similarity" else "smaller is more alike",
        "range": f"{low} to {high}",
        "symmetric": symmetric,
        "unchanged_by": about.get("unchanged_by", ""),
        "formula": about["formula"],
        "reference": about["reference"],
    }


def _written_end(end: float | None, infinite: str) -> str:
    return infinite if end is None else f"{end:g}"


def _figure(result: xarray.Dataset, name: str, many: bool) -> dict[str, Any]:
    """Return numbers and names for one heatmap."""
    variable = result[name]
    low, high = colour_limits(variable)
    crossed = by_chance(result, name)
    return {
        "rows": _labels(result, "a", many),
        "columns": _labels(result, "b", many),
        "values": _rounded(variable.values),
        "null_levels": _companion(result, f"{name}_null"),
        "best": [-1 if j >= 0 and crossed[i, j] else int(j) for i, j in enumerate(marks(result, name))],
        "chance": np.argwhere(crossed).tolist(),
        **{kind: _companion(result, f"{name}_{kind}") for kind in ("p", "low", "high")},
        "titles": None if many else [result.attrs["model_a"], result.attrs["model_b"]],
        "lowest": low,
        "highest": high,
        "distance": variable.attrs["kind"] == "distance",
    }


def _companion(result: xarray.Dataset, name: str) -> list[list[float | None]] | None:
    return _rounded(result[name].values) if name in result else None


def _labels(result: xarray.Dataset, side: str, many: bool) -> list[str]:
    layers = [str(name) for name in result[f"layer_{side}"].values]
    if not many:
        return layers
    return [f"{model}: {name}" for model, name in zip(result[f"model_{side}"].values, layers, strict=True)]


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    """Return five digits, which nobody sees more of; None for NaN, and ±1e308, which the page shows as ∞, for infinity."""
    finite = np.clip(values, -1e308, 1e308)
    return [[None if math.isnan(v) else float(f"{v:.5g}") for v in row] for row in finite.tolist()]


def _safe_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _identification(result: xarray.Dataset) -> list[dict[str, str]]:
    """Return accuracy beside chance, where two models share layer names."""
    parts = [part for part in two_by_two([result]) if not int(part.attrs["same_model"])]
    names = [name for name in measure_names(result) if any(_decides(part, name) for part in parts)]
    if not names:
        return []
    with warnings.catch_warnings():
        # The page shows counts, and no standard errors.
        warnings.simplefilter("ignore", FewModelsWarning)
        found = layer_identification([part for part in parts if any(_decides(part, name) for name in names)], names)
    return [
        {"measure": str(m), "accuracy": f"{a:.1%}", "chance": f"{c:.1%}", "decisions": str(int(d))}
        for m, a, c, d in zip(
            found.measure.values, found.accuracy.values, found.chance.values, found.decisions.values, strict=True
        )
    ]


def _decides(part: xarray.Dataset, name: str) -> bool:
    """Say whether some layer was compared with its namesake and with another layer."""
    rows, columns = (list(part[f"layer_{side}"].values) for side in "ab")
    known = np.isfinite(part[name].values)
    return any(
        known[i, columns.index(layer)] and known[i].sum() > 1 for i, layer in enumerate(rows) if layer in columns
    )


def _matches(result: xarray.Dataset, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield tables of best matches, per pair of models and measure."""
    for part in list(two_by_two([result]))[:MOST_MATCH_TABLES]:
        same = bool(int(part.attrs["same_model"]))
        for name in names:
            found = correspondence(without_diagonal(part, name) if same else part, name)
            crossed = np.argwhere(by_chance(part, name))
            chance = {(str(part.layer_a.values[i]), str(part.layer_b.values[j])) for i, j in crossed}
            yield {
                "measure": name,
                "models": [part.attrs["model_a"], part.attrs["model_b"]],
                "same": same,
                "a": _match_rows(
                    found.layer_a.values, found.best_b.values, found.value_b.values, found.mutual_a.values, chance
                ),
                "b": _match_rows(
                    found.layer_b.values,
                    found.best_a.values,
                    found.value_a.values,
                    found.mutual_b.values,
                    {(b, a) for a, b in chance},
                ),
            }


def _match_rows(layers: Any, best: Any, values: Any, mutual: Any, chance: set[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "layer": str(layer),
            "best": str(match),
            "value": "" if math.isnan(value) else f"{value:.3f}",
            "mutual": "by chance" if (str(layer), str(match)) in chance else "yes" if both else "",
        }
        for layer, match, value, both in zip(layers, best, values, mutual, strict=True)
    ]


_IDENTITY = {
    "example ids": "the same example ids on all sides",
    "digests of inputs": "the same inputs on all sides",
    "one model": "one model, whose rows are its own",
    "unknown": "unknown: nothing shows that rows are the same examples in the same order on all sides; pass example_ids to "
    "homolog.extract, or to homolog.Activations",
}


def _origins(result: xarray.Dataset, many: bool) -> Iterator[tuple[str, str]]:
    """Yield where the numbers come from, as pairs of what and how."""
    yield "examples", str(int(result.attrs["n_examples"]))
    yield "homolog", result.attrs["homolog_version"]
    if "row_identity" in result.attrs:
        yield "row identity", _IDENTITY[result.attrs["row_identity"]]
    if "n_permutations" in result.attrs:
        yield "p-values", f"{int(result.attrs['n_permutations'])} permutations of the examples"
    if "interval" in result.attrs:
        yield "intervals", f"{float(result.attrs['level']):.0%}, by {result.attrs['interval']} over examples"
    made: Mapping[str, Mapping[str, str]]
    if many:
        made = json.loads(result.attrs["models"])
    else:
        made = {result.attrs[f"model_{side}"]: json.loads(result.attrs[f"activations_{side}"]) for side in "ab"}
    for model, notes in made.items():
        description = "; ".join(f"{key}: {value}" for key, value in notes.items())
        yield f"activations of {model}", description or "given as arrays"
    for side in "a" if int(result.attrs["same_model"]) else "ab":
        features = result[f"features_{side}"].values
        label = "features per layer" + ("" if int(result.attrs["same_model"]) else f" of {side}")
        yield label, f"{features.min()} to {features.max()}"
        if f"rank_{side}" in result.coords:
            ranks = result[f"rank_{side}"].values
            yield label.replace("features", "retained rank"), f"{ranks[ranks >= 0].min()} to {ranks.max()}"
