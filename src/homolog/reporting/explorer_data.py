"""The numbers that the explorer of a report shows, as plain lists for its script."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis import mean_over_models
from homolog.diagnostics import FewModelsWarning
from homolog.names import folded_prefix, labels, printable
from homolog.results import (
    ALPHA,
    best_in_rows,
    by_chance,
    colour_limits,
    companion,
    is_tested,
    measure_names,
    models_in,
    scores,
)

if TYPE_CHECKING:
    import xarray

KINDS = ("null", "p", "p_fdr", "p_fwer", "threshold", "calibrated", "low", "high", "se", "se_sketch", "reversed")
"""Companions of a measure that the page shows."""
OF_MEANS = ("null", "se", "reversed")
"""Those whose mean over models means something."""
LARGEST = 1e308
"""What stands for infinity in JSON; the page shows it as ∞."""
LONGEST, NARROW = 28, 14
"""Characters of a label where there is room, and on a telephone."""


def explorer_data(result: xarray.Dataset) -> dict[str, Any]:
    """Return every number of a result, and its mean over models where it has one."""
    mean = _mean(result)
    return {
        "many": "a" in result.dims,
        "alpha": ALPHA,
        "whole": _table(result),
        "mean": None if mean is None else _table(mean),
    }


def _mean(result: xarray.Dataset) -> xarray.Dataset | None:
    """Return the mean over pairs of models; None where models are few, or differ in their layers."""
    if "a" not in result.dims or len(models_in(result)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewModelsWarning)
        try:
            return mean_over_models(result)
        except ValueError:
            return None


def _table(result: xarray.Dataset) -> dict[str, Any]:
    """Return one matrix of layers by layers, with several measures."""
    return {
        "rows": _side(result, "a"),
        "columns": _side(result, "b"),
        "averaged": "averaged_pairs" in result.attrs,
        "measures": [_measure(result, name) for name in measure_names(result)],
    }


def _side(result: xarray.Dataset, side: str) -> dict[str, Any]:
    """Return what is known of the layers of one side."""
    names = [printable(str(name)) for name in result[f"layer_{side}"].values]
    models, owners = _models(result, side)
    ranks = result.coords.get(f"rank_{side}")
    return {
        "names": names,
        "labels": labels(names, LONGEST),
        "narrow": labels(names, NARROW),
        "prefix": folded_prefix(names),
        "models": models,
        "modelLabels": labels(models, NARROW),
        "owners": owners,
        "features": result[f"features_{side}"].values.astype(int).tolist(),
        "ranks": None if ranks is None else ranks.values.astype(int).tolist(),
        "types": _texts(result, f"type_{side}"),
        "shapes": _texts(result, f"shape_{side}"),
    }


def _models(result: xarray.Dataset, side: str) -> tuple[list[str], list[int]]:
    """Return the models of a side, and whose each layer is."""
    if "a" not in result.dims:
        return [printable(str(result.attrs[f"model_{side}"]))], [0] * result.sizes[f"layer_{side}"]
    owners = [str(name) for name in result[f"model_{side}"].values]
    models = list(dict.fromkeys(owners))
    return [printable(name) for name in models], [models.index(name) for name in owners]


def _texts(result: xarray.Dataset, name: str) -> list[str] | None:
    """Return a coordinate that results of earlier versions lack."""
    found = result.coords.get(name)
    texts = [] if found is None else [printable(str(text)) for text in found.values]
    return texts if any(texts) else None


def _measure(result: xarray.Dataset, name: str) -> dict[str, Any]:
    variable = result[name]
    low, high = colour_limits(variable)
    averaged = "averaged_pairs" in result.attrs
    tested = is_tested(result, name) and not averaged
    chance = by_chance(result, name) & ~np.isnan(variable.values) if tested else np.zeros(variable.shape, dtype=bool)
    found = {kind: companion(result, name, kind) for kind in (OF_MEANS if averaged else KINDS)}
    return {
        "name": name,
        "distance": variable.attrs["kind"] == "distance",
        "symmetric": int(variable.attrs["symmetric"]) == 1,
        "limits": [low, high],
        "values": rounded(variable.values, 5),
        "tested": tested,
        "chance": ["".join("1" if cell else "0" for cell in row) for row in chance] if chance.any() else None,
        "companions": {
            kind: rounded(values.values, 3 if kind.startswith("p") else 4)
            for kind, values in found.items()
            if values is not None
        },
        "pairs": list(_pairs_of_models(result, name, chance)),
    }


def rounded(values: np.ndarray, digits: int) -> list[list[float | None]]:
    """Return digits that somebody looks at; None for NaN, and ±LARGEST, which the page shows as ∞, for infinity."""
    finite = np.clip(values.astype(float), -LARGEST, LARGEST)
    return [[None if math.isnan(v) else _number(f"{v:.{digits}g}") for v in row] for row in finite.tolist()]


def _number(text: str) -> float:
    value = float(text)
    # Whole numbers are shorter without their point.
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _pairs_of_models(result: xarray.Dataset, name: str, chance: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield, per pair of models, the best matches both ways and how alike the two are on the whole."""
    score, values = scores(result, name), np.asarray(result[name].values, dtype=float)
    layers = [result[f"layer_{side}"].values.astype(str) for side in "ab"]
    (models_a, owners_a), (models_b, owners_b) = (_models(result, side) for side in "ab")
    many = "a" in result.dims
    for a, model_a in enumerate(models_a):
        for b, model_b in enumerate(models_b):
            rows, columns = np.flatnonzero(np.equal(owners_a, a)), np.flatnonzero(np.equal(owners_b, b))
            same = model_a == model_b if many else bool(int(result.attrs["same_model"]))
            block = np.ix_(rows, columns)
            namesakes = layers[0][rows][:, None] == layers[1][columns][None, :]
            # Of one model, readers ask for the other layers.
            seen = np.where(namesakes, np.nan, score[block]) if same and len(rows) > 1 else score[block]
            best_b, best_a = best_in_rows(seen, namesakes), best_in_rows(seen.T, namesakes.T)
            yield {
                "a": a,
                "b": b,
                "same": same,
                "bestB": np.where(best_b >= 0, columns[best_b], -1).tolist(),
                "bestA": np.where(best_a >= 0, rows[best_a], -1).tolist(),
                **_level(values[block], namesakes, best_b),
            }


def _level(values: np.ndarray, namesakes: np.ndarray, best: np.ndarray) -> dict[str, Any]:
    """Return the mean over layers of the same name, or over best matches where none is shared."""
    named = values[namesakes & np.isfinite(values)]
    matched = values[np.flatnonzero(best >= 0), best[best >= 0]]
    matched = matched[np.isfinite(matched)]
    chosen = named if named.size else matched
    return {
        "level": float(f"{chosen.mean():.4g}") if chosen.size else None,
        "levelOf": "same name" if named.size else "best match",
    }


def safe_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
