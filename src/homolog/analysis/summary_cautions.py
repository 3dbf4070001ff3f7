"""What a summary warns of, and what it says to do next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from homolog.analysis.summary_rules import NULL_LEVEL, unlike_chance
from homolog.analysis.summary_views import View, number, short, span, unbiased
from homolog.analysis.summary_views import views as views_of
from homolog.diagnostics import listed
from homolog.results import ALPHA, companion, independent_rows, measure_names, no_order_tells

if TYPE_CHECKING:
    import xarray

CONSEQUENCES = {
    "UnknownPairingWarning": "nothing shows that the rows of both sides are the same examples",
    "ConstantLayerWarning": "some layers do not vary over the examples",
    "BiasWarning": "bias moves some values further than chance does",
    "SaturationWarning": "examples are so few that some values are forced up, whatever the data",
    "FewPermutationsWarning": "permutations are too few to tell some pairs from chance",
    "NothingLeftWarning": "nothing is left of some layers to compare",
    "SketchNoiseWarning": "sketches of some layers tell little more than noise, so that values may be far off",
    "UndefinedValueWarning": "some pairs have no value or no interval",
    "OrderFreeWarning": "a measure is the same in every order of the examples, so that nothing tests it",
    "MissingInputsWarning": "no inputs were given whose similarity was to be removed",
    "NoDirectionWarning": "some examples have no direction, and count as unlike all others",
    "TiesWarning": "ties, which the order of the data decides, are many",
    "DeadUnitWarning": "some units never vary, and count as matching nothing",
    "RankWarning": "weak directions of some layers were left out",
    "ExtractionWarning": "something in a model could not be taken as a layer",
    "FewModelsWarning": "models are too few for standard errors over models",
    "EqualLayersWarning": "different models have equal layers, which make them alike",
    "LeftOutWarning": "something of a file or a table was left out, or may be no feature",
    "SkippedPairWarning": "models without layers of the same name were left out",
}
"""Warning → what it means for the reader, the most serious first."""
NO_CONSEQUENCE = {"AsymmetryWarning", "DistortedMapWarning", "NullLevelWarning", "DenseWarning"}
"""Warnings of what the summary says in a sentence of its own, and of time and memory."""
FEW_EXAMPLES = 100
"""Examples below which a summary says that values may be imprecise."""
WARNED = 0.05
"""The level of adjusted p-values of which warnings say how many permutations reach it."""
MOST = 3
"""Warnings that are told; the others are counted."""


def biased(result: xarray.Dataset, measure: str, views: Sequence[View]) -> str | None:
    """Say by which measures chance alone gives high values, and what the debiased one says."""
    names = [name for name in measure_names(result) if result[name].attrs["kind"] == "similarity"]
    levels = {name: level for name in names if (level := _highest_level(result, name)) > NULL_LEVEL}
    if not levels:
        return None
    told = listed((f"{number(level)} by {name}" for name, level in levels.items()), MOST)
    sentence = f"Chance alone gives up to {told} on average: read values against that, not against 0"
    # Within groups that are kept, and of rows that depend on each other, chance gives the debiased values too more than 0.
    debiased = next((name for name in names if unbiased(_form(result, name)) and name not in levels), None)
    if debiased is None:
        return f"{sentence}."
    if measure not in levels:
        return f"{sentence}; {debiased} is about 0 by chance."
    values = np.concatenate([view.picked(_part(result, debiased, view)) for view in views if len(view.rows)])
    values = values[np.isfinite(values)]
    beside = f"; by {debiased}, about 0 by chance, the same pairs have values {span(values)}" if values.size else ""
    return f"{sentence}{beside}."


def _highest_level(result: xarray.Dataset, name: str) -> float:
    """Return the highest null level of a measure, 0 where none is known."""
    found = result.get(f"{name}_null")
    if found is None:
        return 0.0
    levels = np.asarray(found.values, dtype=float)[np.isfinite(result[name].values)]
    return float(np.max(levels[np.isfinite(levels)], initial=0.0))


def _form(result: xarray.Dataset, name: str) -> str:
    return str(result[name].attrs.get("measure", name))


def _part(result: xarray.Dataset, name: str, view: View) -> np.ndarray:
    return next(found.values for found in views_of(result, name) if found.titles == view.titles)


def cautions(result: xarray.Dataset, measure: str, views: Sequence[View]) -> str | None:
    """Say what should not be concluded."""
    found = _of_values(views, chosen_pairs=not int(result.attrs.get("all_pairs", 1)))
    # What warnings say of another measure beside it is nothing against this one.
    others = tuple(f"{name}: " for name in measure_names(result) if name != measure)
    said = [pair for pair in json.loads(result.attrs.get("warnings", "[]")) if not pair[1].startswith(others)]
    several = {category for category, _ in said} - NO_CONSEQUENCE
    told = [meaning for category, meaning in CONSEQUENCES.items() if category in several]
    few = _few_examples(result)
    if any(message.startswith("data that share only the groups") for _, message in said):
        found.append("chance keeps the groups here, so that likeness beyond them is what is asked")
    found += [few] * bool(few) + told
    left = len(several) - len(told) + max(0, len(found) - MOST)
    if len(found) < MOST and not views[0].same and any(view.supported[view.known].any() for view in views):
        found.append("p-values say that layers are not independent, not that they do the same")
    if not found:
        return None
    more = f"; {left} more in result.attrs['warnings']" if left else ""
    return f"Caution: {'; '.join(found[:MOST])}{more}."


def _of_values(views: Sequence[View], *, chosen_pairs: bool) -> list[str]:
    alone: dict[str, None] = {}
    missing: dict[str, None] = {}
    for view in views:
        by_name = chosen_pairs and bool(view.namesakes[view.known].all())
        for side in (view, view.transposed) if view.known.any() else ():
            for layer in np.delete(side.layers[0], side.rows):
                why = alone if by_name and layer not in side.layers[1] else missing
                why[short(layer) if side.same else f"{short(layer)} of {side.titles[0]}"] = None
    found = [f"{_has(alone)} no value, since no layer of the other side has that name"] if alone else []
    found += [f"{_has(missing)} no value"] if missing else []
    if views[0].same and views[0].tested:
        found.append("layers of one model depend on each other, so that small p-values are no surprise")
    return found


def _has(names: Mapping[str, None]) -> str:
    return f"{listed(names, 3)} {'have' if len(names) > 1 else 'has'}"


def _few_examples(result: xarray.Dataset) -> str:
    n = int(result.attrs.get("n_units", result.attrs["n_examples"]))
    sides = [result.coords.get(f"features_{side}") for side in "ab"]
    widths = [int(side.max()) for side in sides if side is not None and side.size]
    if not widths or n >= FEW_EXAMPLES or any(str(name).endswith("_low") for name in result.data_vars):
        return ""
    what = "examples" if independent_rows(result) else "independent examples or groups"
    return f"with only {n} {what} values may be imprecise; interval=True says how much"


WHY = {
    "diagnose": "to see why there are no values",
    "pairing": "to see whether rows are in another order on one side, or something else is wrong",
    "test": "to see whether that is more than chance",
    "more permutations": "so that p-values can be small enough",
    "interval": "to see how precise the value is",
    "mean": "to see the mean over pairs of models",
    "report": "to look at every pair",
    "trajectory": "to see every layer over training",
}
"""Kind of step → what it is for."""


class Step(NamedTuple):
    """What to do next, and with which measure."""

    kind: Literal["diagnose", "pairing", "test", "more permutations", "interval", "mean", "report", "trajectory"]
    measure: str
    permutations: int = 999


def next_step(result: xarray.Dataset, measure: str, views: Sequence[View]) -> Step:
    """Choose the one thing to do next."""
    known = any(len(view.rows) for view in views)
    tested, interval = any(view.tested for view in views), companion(result, measure, "low")
    measure = _form(result, measure)
    averaged = "averaged_pairs" in result.attrs
    if not known:
        return Step("diagnose", measure)
    if tested and not views[0].same and not any(map(unlike_chance, views)):
        if no_order_tells(result):
            return Step("report", measure)
        if any(view.undecided.any() for view in views):
            return Step("more permutations", measure, _more_permutations(result, views))
        return Step("pairing", measure)
    if not tested and not averaged and not views[0].same and not any(view.without_p for view in views):
        return Step("test", measure)
    names = views[0].layers[0].tolist()
    told_by_names = all(view.names_tell for view in views)
    if "a" in result.dims and told_by_names and all(side.tolist() == names for view in views for side in view.layers):
        return Step("mean", measure)
    if interval is None and not averaged and sum(int(view.known.sum()) for view in views) == 1:
        return Step("interval", measure)
    return Step("report", measure)


def _more_permutations(result: xarray.Dataset, views: Sequence[View]) -> int:
    """Return how many permutations suffice: for one pair among all by what warnings ask, and by this summary for those found."""
    found = [view.smallest & view.known for view in views]
    pairs = sum(int(view.known.sum()) for view in views)
    smallest = max(sum(int(each.sum()) for each in found), 1)
    present = int(result.attrs.get("n_permutations", 99))
    enough = max(math.ceil(pairs / WARNED), math.ceil(pairs / smallest / ALPHA), 1000) - 1
    return enough if enough > present else 10 * present + 9
