"""What a report says in words, as plain data for its page."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis import Finding, layer_identification
from homolog.analysis.sketched_layers import sketch_notes
from homolog.analysis.summarising import in_python, summarised
from homolog.analysis.summary_cautions import Step
from homolog.analysis.summary_views import views
from homolog.diagnostics import FewModelsWarning
from homolog.names import printable
from homolog.reporting.explorer_data import explorer_data, safe_json
from homolog.reporting.measure_texts import about_measure, grouped
from homolog.reporting.model_similarity_sections import sections_of_many
from homolog.reporting.sections import rendered
from homolog.results import arranged, companion, measure_names, of_many, told_examples, two_by_two

if TYPE_CHECKING:
    import xarray

NAMED = 8
"""Models that a title names; of more it counts them."""
LISTED = 5
"""Warnings or findings of one kind that are shown before the rest is folded."""


def data_for_page(
    result: xarray.Dataset, title: str | None, diagnosis: Iterable[Finding] | None = None, groups: Any = None
) -> dict[str, Any]:
    """Return everything the page shows."""
    result = arranged(result)
    names, many = measure_names(result), of_many(result)
    if not names:
        raise ValueError("a report needs at least one measure, got none: select others.")
    models = model_names(result)
    return {
        "title": printable(title or _listed(models)),
        "n": int(result.attrs["n_examples"]),
        "models": models,
        "size": " × ".join(
            str(result.sizes[dimension]) for dimension in (("a", "b") if many else ("layer_a", "layer_b"))
        ),
        "summary": _summary(result),
        "warnings": grouped(json.loads(result.attrs["warnings"])),
        "findings": None if diagnosis is None else grouped((finding.kind, vars(finding)) for finding in diagnosis),
        "listed": LISTED,
        "measures": [about_measure(result, name) for name in names],
        "explorer": safe_json(explorer_data(result) | {"about": {name: _told(result, name) for name in names}}),
        "identification": _identification(result),
        "sections": rendered(sections_of_many(result, groups)),
        "provenance": list(_origins(result, many)),
    }


def model_names(result: xarray.Dataset) -> list[str]:
    """Return the models of a result, each once."""
    if "a" in result.dims:
        both = [*result.model_a.values, *result.model_b.values]
    else:
        both = [result.attrs["model_a"], result.attrs["model_b"]]
        both = both[:1] if int(result.attrs["same_model"]) else both
        return [printable(str(name)) for name in both]
    return [printable(str(name)) for name in dict.fromkeys(both)]


def _listed(models: list[str]) -> str:
    if len(models) > NAMED:
        return f"{models[0]}, {models[1]} and {len(models) - 2} more models"
    return ", ".join(models[:-1]) + " and " * (len(models) > 1) + models[-1]


def _summary(result: xarray.Dataset) -> list[str]:
    try:
        return list(summarised(result, None, _next_step))
    except ValueError:  # parts of results of which there is nothing to say, such as one model of many
        return []


def _next_step(step: Step, result: xarray.Dataset) -> str:
    """Say what to do next: what the page itself can do, it says of itself."""
    here = {
        "report": "Next, to look at every pair of layers: click the cells of the heatmap below.",
        "mean": "Next, to see the mean over pairs of models: choose it below, under “Models”.",
    }
    return here.get(step.kind) or in_python(step, result)


def _told(result: xarray.Dataset, name: str) -> dict[str, str]:
    """Return how the companions of a measure are read, in words."""
    about = about_measure(result, name)
    reading = [about["kind"], about["range"], about["reading"]]
    unchanged = f" Unchanged by {about['unchanged_by']}." if about["unchanged_by"] else ""
    symmetric = f"; {about['symmetric']}" if about["symmetric"] else ""
    interval = f"{float(result.attrs['level']):.0%} by {result.attrs['interval']}" if "interval" in result.attrs else ""
    return {
        "reading": f"{', '.join(reading)}{symmetric}.{unchanged}",
        "p": _method_of_p(result, name),
        "interval": interval,
    }


def _method_of_p(result: xarray.Dataset, name: str) -> str:
    """Say how the p-values of a measure were made."""
    values = companion(result, name, "p")
    if values is None:
        return ""
    if values.attrs.get("method") == "moments":
        return "from the moments of all orders of the examples"
    if "n_permutations" in result.attrs:
        return f"{int(result.attrs['n_permutations'])} permutations of the examples"
    return "of an earlier version"


def _identification(result: xarray.Dataset) -> list[dict[str, str]]:
    """Return accuracy beside chance, where two models share layer names."""
    first = measure_names(result)[0]
    parts = [part for part in two_by_two([result]) if not int(part.attrs["same_model"])]
    parts = [part for part in parts if all(view.names_tell for view in views(part, first))]
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


_IDENTITY = {
    "example ids": "the same example ids on all sides",
    "digests of inputs": "the same inputs on all sides",
    "one model": "one model, whose rows are its own",
    "unknown": "unknown: nothing shows that rows are the same examples in the same order on all sides; pass example_ids to "
    "homolog.extract, or to homolog.Activations",
}


def _origins(result: xarray.Dataset, many: bool) -> Iterator[tuple[str, str]]:
    """Yield where the numbers come from, as pairs of what and how."""
    yield "examples", told_examples(result).removesuffix(" examples")
    yield "homolog", result.attrs["homolog_version"]
    if "row_identity" in result.attrs:
        yield "row identity", _IDENTITY[result.attrs["row_identity"]]
    for method, names in grouped((_method_of_p(result, name), name) for name in measure_names(result)).items():
        if method:
            yield "p-values", f"{method} ({', '.join(names)})"
    if "interval" in result.attrs:
        yield "intervals", f"{float(result.attrs['level']):.0%}, by {result.attrs['interval']} over examples"
    yield from sketch_notes(result)
    made: Mapping[str, Mapping[str, str]]
    if many:
        made = json.loads(result.attrs["models"])
    else:
        made = {result.attrs[f"model_{side}"]: json.loads(result.attrs[f"activations_{side}"]) for side in "ab"}
    for model, notes in made.items():
        description = "; ".join(f"{key}: {value}" for key, value in notes.items())
        yield f"activations of {printable(model)}", printable(description) or "given as arrays"
    for side in "a" if int(result.attrs["same_model"]) else "ab":
        features = result[f"features_{side}"].values
        label = "features per layer" + ("" if int(result.attrs["same_model"]) else f" of {side}")
        yield label, f"{features.min()} to {features.max()}"
        if f"rank_{side}" in result.coords:
            ranks = result[f"rank_{side}"].values
            if (ranks >= 0).any():
                yield label.replace("features", "retained rank"), f"{ranks[ranks >= 0].min()} to {ranks.max()}"
