"""Did a change of a network change its layers? Values beside thresholds, of layers that correspond."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from homolog.activations import Activations, matching
from homolog.analysis.check_result import Check, CheckedLayer, rounding, written
from homolog.analysis.independent_data import IndependentData
from homolog.analysis.thresholds import Requirement, Thresholds, requirements
from homolog.as_activations import activations_of
from homolog.diagnostics import HomologWarning, listed
from homolog.engine import compare
from homolog.engine.inputs import Pairs, Source, wanted_pairs
from homolog.inference.resampling import Method
from homolog.names import quoted
from homolog.results import best_in_rows, between, by_chance, companion, scores
from homolog.sketching import refuse_sketches

if TYPE_CHECKING:
    import xarray

MISSING = "the model after has no layer of this name"


def check(
    before: Source,
    after: Source,
    at_least: Thresholds | None = None,
    *,
    at_most: Thresholds | None = None,
    layers: str | Sequence[str] | None = None,
    pairs: Pairs = "same_name",
    confidence: float | None = None,
    memory: str | int = "2GiB",
    progress: bool | None = None,
    method: Method = "jackknife",
    rng: int | np.random.Generator = 0,
) -> Check:
    """Check that the layers of a network are still as they were: after quantisation, pruning, export or a refactoring.

    Parameters
    ----------
    before, after
        layers of the same examples from the network before and after the change: as `a` and `b` of `compare`.
    at_least
        what similarities must reach: text "measure=number", such as "cka(estimator=debiased)=0.98", or
        "measure=number@layers" for the layers that a name or glob matches; a list of such texts; or a mapping of measures to
        numbers or to {glob: number}. In a mapping the first glob that matches a layer counts; in a list a threshold without
        layers is for those that have no other. A layer without any threshold is not checked, which a note says.
    at_most
        the same for distances, which must stay below.
    layers
        names or globs of the layers of `before` that are checked; all by default.
    pairs
        "same_name", since that is what a change must keep, unlike elsewhere: every layer must hold with its namesake. "all":
        every layer must hold with the layer of `after` that is most alike, whatever it is called. Or a list of
        (layer before, layer after).
    confidence
        such as 0.95: the end of the interval of that level must hold, the low end of a similarity and the high end of a distance.
        The interval has two sides, as in `compare(interval=True, level=confidence)`, so that a layer whose value on infinitely
        many examples misses the threshold passes with a probability of at most 1 − confidence, and of about half of it where
        the interval misses equally often on both sides. With pairs="all", where the best of k layers is taken, the level of
        the intervals is 1 − (1 − confidence) / k, so that this holds for the best too.
    memory, progress, method, rng
        as for `compare`.

    Returns
    -------
    Check
        True where every layer holds. `print` names the first layer that fell short and gives a table of all that did.
        `to_dataframe()` is a table of all layers, `result` what `compare` returned for the pairs.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `compare`; for a threshold that cannot be read, that always or never holds, or that is for no layer; where no
        layer is left to check.

    Warns
    -----
    HomologWarning
        As `compare`.

    Notes
    -----
    A layer falls short, with the reason, where it has no partner, no value (NaN, as for a constant layer) or no interval, or
    where its value says nothing: where it is no better than chance, or where independent data reach the threshold too. That level
    is known by a formula (`<measure>_null`) or found on the examples of `after` in another order; where rows are tokens, whole
    texts change places with others of about as many, and single tokens do not. Measures that do not ask which example is which,
    and functions of your own, are not asked for it.

    A value within 1e-9 of its threshold reaches it. Many layers need no correction: all must hold, so that a check passes
    wrongly only where the layer that changed passes.

    Cost: as `compare` for one pair a layer; for pairs="all" for all pairs, and once more for those that were chosen.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> before = {"encoder": rng.normal(size=(200, 8)), "head": rng.normal(size=(200, 4))}
    >>> after = {"encoder": before["encoder"] + 0.01 * rng.normal(size=(200, 8)), "head": rng.normal(size=(200, 4))}
    >>> found = hl.check(before, after, "cka(estimator=debiased)=0.98")
    >>> bool(found), [layer.before for layer in found.short]
    (False, ['head'])
    >>> bool(hl.check(before, after, "cka(estimator=debiased)=0.98", layers="encoder"))
    True
    """
    asked = requirements(at_least, at_most)
    _check_confidence(confidence, method)
    models = _models(before, after)
    selected, mask = _selected(models, layers, pairs)
    numbers = {each.name: each.by_layer(selected) for each in asked}
    options: dict[str, Any] = {"memory": memory, "progress": progress, "rng": rng}
    partners = _partners(models, selected, mask, pairs == "all", asked, options)
    if confidence is not None:
        # The best of several layers was chosen by its value, so that the interval must hold for all of them.
        candidates = len(models["after"]) if pairs == "all" else 1
        options |= {"interval": True, "level": 1 - (1 - float(confidence)) / candidates, "method": method}
    questions = [
        Question(layer, partner, each, numbers[each.name][layer])
        for layer in selected
        for each in asked
        if layer in numbers[each.name]
        for partner in partners[each.name][layer] or [""]
    ]
    result = _compared(models, [(question.layer, question.partner) for question in questions], asked, options)
    independent = IndependentData.of(models, memory)
    judged = [_judged(question, result, independent) for question in questions]
    return Check(tuple(judged), _notes(questions, selected, pairs, result, independent), confidence, result)


class Question(NamedTuple):
    """One layer, what it is compared with ("" where there is nothing), and what must be reached."""

    layer: str
    partner: str
    asked: Requirement
    threshold: float


def _check_confidence(confidence: Any, method: Method) -> None:
    if confidence is None:
        if method != "jackknife":
            raise ValueError(f"method={method!r} is for intervals, got no confidence: pass confidence=0.95, too.")
        return
    if isinstance(confidence, bool) or not isinstance(confidence, int | float | np.floating) or not 0 < confidence < 1:
        raise ValueError(f"confidence must be a number between 0 and 1, such as 0.95, got {quoted(confidence)}.")


def _models(before: Source, after: Source) -> dict[str, Activations]:
    """Return both models by the names that sentences call them; two arrays, or files of one, are layers of one name."""
    models = {"before": activations_of(before, "before"), "after": activations_of(after, "after")}
    for layers in models.values():
        refuse_sketches(layers, "a check")
    if all(_is_unnamed(source, models[name]) for name, source in (("before", before), ("after", after))):
        models = {name: layers.rename(lambda _: "layer") for name, layers in models.items()}
    return models


def _is_unnamed(source: Source, layers: Activations) -> bool:
    """Say whether what was given is one layer without a name: an array, a list or a table of numbers, or a file of one array."""
    if isinstance(source, str | PathLike):
        return Path(source).suffix == ".npy"
    return not isinstance(source, Mapping) and list(layers) in (["before"], ["after"])


def _selected(
    models: Mapping[str, Activations], layers: str | Sequence[str] | None, pairs: Pairs
) -> tuple[list[str], np.ndarray]:
    """Return the layers of the network before that are checked, and (layers, layers after) which pairs are asked for."""
    selected, columns = list(models["before"]), list(models["after"])
    if layers is not None:
        if not isinstance(layers, Sequence) or not layers:
            raise ValueError(f"layers must be a name, a glob, or a list of these, got {quoted(layers)}.")
        if not isinstance(pairs, str):
            raise ValueError("layers must be left out where pairs lists them, got both: leave one out.")
        selected = matching(selected, [layers] if isinstance(layers, str) else layers)
    mask = wanted_pairs(selected, columns, pairs)
    if isinstance(pairs, str):
        return selected, mask
    listed_rows = np.asarray(mask.any(axis=1))
    return [layer for layer, wanted in zip(selected, listed_rows, strict=True) if wanted], mask[listed_rows]


def _partners(
    models: Mapping[str, Activations],
    selected: list[str],
    mask: np.ndarray,
    best: bool,
    asked: Sequence[Requirement],
    options: Mapping[str, Any],
) -> dict[str, dict[str, list[str]]]:
    """Return measure → layer → the layers after that it is compared with: those asked for, or the most alike of them."""
    columns = list(models["after"])
    given = {
        layer: [name for name, wanted in zip(columns, row, strict=True) if wanted]
        for layer, row in zip(selected, mask, strict=True)
    }
    if not best:
        return {each.name: given for each in asked}
    with warnings.catch_warnings():
        # Who is compared in the end is warned of then.
        warnings.simplefilter("ignore", HomologWarning)
        rough = _compared(models, [(layer, name) for layer in selected for name in columns], asked, options)
    found = {}
    for each in asked:
        matches = best_in_rows(scores(rough, each.name), np.array(selected)[:, None] == np.array(columns)[None, :])
        # A layer without any value is still compared, so that its reason is known.
        found[each.name] = {layer: [columns[max(j, 0)]] for layer, j in zip(selected, matches, strict=True)}
    return found


def _compared(
    models: Mapping[str, Activations],
    pairs: Sequence[tuple[str, str]],
    asked: Sequence[Requirement],
    options: Mapping[str, Any],
) -> xarray.Dataset:
    """Compare pairs of layers; those without a partner are left out."""
    chosen = list(dict.fromkeys(pair for pair in pairs if pair[1]))
    used = [{pair[side] for pair in chosen} for side in (0, 1)]
    kept = {
        model: layers.holding({name: layers[name] for name in layers if name in names})
        for (model, layers), names in zip(models.items(), used, strict=True)
    }
    named = [(("before", layer), ("after", partner)) for layer, partner in chosen]
    # As a mapping of two models, so that sentences call them so.
    result = compare(kept, measures={each.name: each.record for each in asked}, pairs=named, **options)
    return between(result, "before", "after")


def _judged(question: Question, result: xarray.Dataset, independent: IndependentData) -> CheckedLayer:
    """Return one layer with its value, and why it does not hold."""
    layer, partner, asked, threshold = question
    if not partner:
        nothing = (math.nan, math.nan, math.nan)
        return CheckedLayer(layer, "", asked.name, asked.record.kind, *nothing, threshold, MISSING)
    at = (list(result.layer_a.values).index(layer), list(result.layer_b.values).index(partner))
    beside = [companion(result, asked.name, kind) for kind in ("low", "high", "null")]
    low, high, null = (math.nan if found is None else float(found.values[at]) for found in beside)
    found = CheckedLayer(
        layer, partner, asked.name, asked.record.kind, float(result[asked.name].values[at]), low, high, threshold
    )
    why = _shortfall(found, beside[0] is not None)
    if not why and by_chance(result, asked.name)[at]:
        why = "it is no more alike than by chance"
    if not why:
        level = independent.level(layer, partner, asked.record) if math.isnan(null) else null
        why = f"independent data would reach {written(level, threshold)}" * reaches(level, found)
    return replace(found, reason=why)


def _shortfall(found: CheckedLayer, with_interval: bool) -> str:
    """Say why a value, or the end of its interval, does not reach the threshold."""
    if math.isnan(found.value):
        return "no similarity is defined, as for a constant layer"
    if not reaches(found.value, found):
        return f"the value is too {'high' if found.kind == 'distance' else 'low'}"
    if with_interval and (math.isnan(found.low) or math.isnan(found.high)):
        return "it has no interval"
    if with_interval and not reaches(found.end, found):
        return f"the interval reaches to {written(found.end, found.threshold)}"
    return ""


def reaches(number: float, found: CheckedLayer) -> bool:
    """Say whether a number reaches the threshold of a layer, up to rounding; NaN does not."""
    slack = rounding(found.threshold)
    if found.kind == "distance":
        return number <= found.threshold + slack
    return number >= found.threshold - slack


def _notes(
    questions: Sequence[Question],
    selected: Sequence[str],
    pairs: Pairs,
    result: xarray.Dataset,
    independent: IndependentData,
) -> tuple[str, ...]:
    """Say what was not compared, and what nobody can know."""
    models = independent.models
    checked = {question.layer for question in questions}
    without = [layer for layer in selected if layer not in checked]
    new = [name for name in models["after"] if name not in models["before"]] if pairs == "same_name" else []
    unknown: dict[str, list[str]] = {}
    for question in questions:
        if question.partner and companion(result, question.asked.name, "null") is None:
            why = independent.unknown(question.partner, question.asked.record)
            unknown.setdefault(why, []).append(question.layer)
    unknown.pop("", None)
    found = [f"{listed(without)}: there is no threshold for it, and it was not checked."] * bool(without)
    found += [f"{listed(new)}: only the model after has it, and it was compared with nothing."] * bool(new)
    found += [
        f"{listed(dict.fromkeys(layers))}: {why}, so that it is not known what independent data reach."
        for why, layers in unknown.items()
    ]
    if result.attrs["row_identity"] == "unknown":
        found.append("Nothing shows that the rows of both are the same examples in the same order; example ids would.")
    return tuple(found)
