"""What a result of `redundancy` says, in a few sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.attention_sinks import sink_sentence
from homolog.analysis.redundant.reading import WITHOUT, WITHOUT_ROWS, checked, forms_of
from homolog.analysis.redundant.tabulating import last_block
from homolog.diagnostics import listed, percent
from homolog.names import shown
from homolog.results import chosen_measure

if TYPE_CHECKING:
    import xarray

FEW = 3
"""Blocks and features that are told by name."""
TOLD_SHARE = 0.5
"""Share of the squared norm that the mean of a layer must hold to be told."""


ROUNDING = 1e-12
"""What a number may be below 1 by rounding."""


def redundancy_lines(result: xarray.Dataset, measure: str | None = None) -> list[str]:
    """Return the sentences of the summary; the last two say what not to conclude, and what to do next."""
    result = checked(result)
    chosen_measure(result, measure)  # there is one, which must not be asked for by another name
    found = [_looked_at(result), *_sinks(result), *_features(result), *_rows(result)]
    found += [_least_influence(result), _runs(result), _growth(result), *_mean(result)]
    found += [*_accuracy(result), *_losses(result)]
    found += [f"Note: {note}." for note in json.loads(result.attrs.get("notes", "[]"))]
    found.append(str(result.attrs["caution"]))
    if "loss" not in result:
        found.append(
            "Next, see what is lost without the blocks: homolog.redundancy(activations, loss=...), of your own loss; "
            "homolog.report(result, 'report.html') shows all numbers"
        )
    return found


def _looked_at(result: xarray.Dataset) -> str:
    blocks = [str(name) for name in result.block.values]
    count = "One block was" if len(blocks) == 1 else f"{len(blocks)} blocks were"
    which = shown(blocks[0]) if len(blocks) == 1 else f"{shown(blocks[0])} to {shown(blocks[-1])}"
    return (
        f"{count} looked at ({which}, fed by {shown(str(result.input.values[0]))}; {int(result.attrs['features'])} features) "
        f"over {int(result.attrs['n_examples'])} rows by their influence, 1 − mean cosine of input and output, which is 0 where "
        f"a block changes no direction."
    )


def _sinks(result: xarray.Dataset) -> list[str]:
    sentence = sink_sentence(result, {"": list(map(str, result.layer.values))})
    if sentence is None:
        return []
    rows = json.loads(result.attrs.get("outlying_rows", "{}"))
    if not rows.get("sink"):
        sentence = f"{sentence} There are no numbers here without it, since the rows are not single tokens, or too few are left."
    return [sentence]


def _least_influence(result: xarray.Dataset) -> str:
    told = [f"{what}: {_smallest(result, f'influence{suffix}')}" for suffix, what in forms_of(result).items() if suffix]
    return "; ".join([f"Least influence: {_smallest(result, 'influence')}", *told]) + "."


def _smallest(result: xarray.Dataset, name: str) -> str:
    values = result[name].values
    order = [place for place in np.argsort(values, kind="stable")[:FEW] if not math.isnan(values[place])]
    return (
        ", ".join(f"{shown(str(result.block.values[place]))} ({number(values[place])})" for place in order) or "unknown"
    )


def _runs(result: xarray.Dataset) -> str:
    spans = [int(span) for span in result.span.values]
    told = sorted({span for span in (1, 2, 3, len(spans) // 4, len(spans) // 2) if 0 < span <= len(spans)})
    first = f"First candidates for removal, by angular distance of input and output: {_runs_of(result, '', told)}"
    others = [f"{what}: {_runs_of(result, suffix, told[:3])}" for suffix, what in forms_of(result).items() if suffix]
    return "; ".join([first, *others]) + "."


def _runs_of(result: xarray.Dataset, suffix: str, spans: Sequence[int]) -> str:
    told = []
    for span in spans:
        start = str(result[f"best_start{suffix}"].sel(span=span).item())
        if not start:
            continue
        end = shown(last_block(result, start, span))
        run = f"of single blocks {shown(start)}" if span == 1 else f"of {span} in a row {shown(start)} to {end}"
        ties = int(result[f"best_ties{suffix}"].sel(span=span).item())
        equal = f", the first of {ties} equal runs" if ties > 1 else ""
        told.append(f"{run} ({number(result[f'best_value{suffix}'].sel(span=span).item())}{equal})")
    return ", ".join(told) or "unknown"


def _features(result: xarray.Dataset) -> list[str]:
    told = json.loads(result.attrs["massive_features"])
    removed = "influence_without" in result
    found = []
    for each in told[:FEW]:
        held, layers = _where(each["share"])
        times = "" if each["times_median"] is None else f", {each['times_median']:.3g} times the median magnitude"
        what = "Massive feature" if each["massive"] else "Feature"
        found.append(
            f"{what} {each['feature']} holds {held} of the squared norm of {layers}; largest "
            f"({each['largest']:.3g}{times}) in {shown(each['layer'])}, {_place(each)}."
        )
    if not any(each["massive"] for each in told):
        found.append("No feature is massive" + (": there are no numbers without features." if not removed else "."))
    if removed:
        gone = [str(each["feature"]) for each in told if each["removed"]]
        named = [str(each["feature"]) for each in told[:FEW] if each["removed"]]
        what = (
            f"feature {gone[0]}"
            if len(gone) == 1
            else f"features {listed([*named, *(f for f in gone if f not in named)])}"
        )
        found.append(f"{_changed(result, WITHOUT, what)}.")
    return found


def _changed(result: xarray.Dataset, suffix: str, what: str) -> str:
    """Say how far some numbers are others without features or rows."""
    names = ["influence", "effective_rank", json.loads(result.attrs["measures"])[0]]
    words = ["median influence", "median effective rank", f"median {names[2]} of neighbours"]
    told = []
    for name, word in zip(names, words, strict=True):
        values = [np.asarray(result[each].values) for each in (name, name + suffix)]
        if values[0].ndim == 2:
            values = [np.diagonal(matrix, 1) for matrix in values]
        before, after = (float(np.nanmedian(each)) if np.isfinite(each).any() else math.nan for each in values)
        told.append(_told_change(word, before, after))
    return f"Without {what}: {', '.join(told)}"


def _told_change(word: str, before: float, after: float) -> str:
    """Say what a number is instead of another, with the digits that tell them apart.

    >>> _told_change("median rank", 12.0, 9.0), _told_change("median cka", 0.99999, 0.999)
    ('median rank 9 instead of 12', 'median cka 0.999 instead of 0.99999')
    >>> _told_change("median cka", 0.4, 0.4)
    'median cka 0.4 as before'
    """
    for digits in (3, 4, 5, 6):
        texts = number(after, digits), number(before, digits)
        if texts[0] != texts[1]:
            return f"{word} {texts[0]} instead of {texts[1]}"
    return f"{word} {number(after)} as before"


def _where(share: dict[str, float]) -> tuple[str, str]:
    """Say in which layers a feature, or rows, hold much: all with at least half of the most that any has."""
    most = max(share.values())
    names = list(share)
    places = [place for place, name in enumerate(names) if most > 0 and share[name] >= most / 2]
    if not places:
        return "0 %", "every layer"
    least = min(share[names[place]] for place in places)
    held = percent(most) if percent(least) == percent(most) else f"{percent(least)} to {percent(most)}"
    cuts = [place for place in places if place - 1 not in places]
    ends = [place for place in places if place + 1 not in places]
    runs = [
        shown(names[first]) if first == last else f"{shown(names[first])} to {shown(names[last])}"
        for first, last in zip(cuts, ends, strict=True)
    ]
    return held, listed(runs)


def _place(each: dict[str, Any]) -> str:
    if "position" in each:
        return f"at position {each['position']} of example {shown(each.get('example', '?'))}"
    return f"in example {shown(each['example'])}" if "example" in each else f"in row {each['row']}"


def _rows(result: xarray.Dataset) -> list[str]:
    if "outlying_rows" not in result.attrs:
        return []
    told = json.loads(result.attrs["outlying_rows"])
    held, layers = _where(told["share"])
    positions = told.get("positions", {})
    at = "; ".join(f"{count} at position {position}" for position, count in positions.items())
    if not positions:
        at = "the longest " + _place(told["longest"][0]) if told["longest"] else ""
    share = told["count"] / int(result.attrs["n_examples"])
    several = told["count"] > 1
    what = (
        f"{'are' if several else 'is'} over 10 times as long as the median row of {'their' if several else 'its'} layer"
    )
    if told.get("sink"):
        what = f"are tokens of the attention sink, or {what}"
    return [
        f"{told['count']} of the rows ({percent(share)}) {what}, and {'hold' if several else 'holds'} {held} of the squared "
        f"norm of {layers} ({at}): they are the outlying rows. "
        f"{_changed(result, WITHOUT_ROWS, 'these rows' if several else 'this row')}."
    ]


def _growth(result: xarray.Dataset) -> str:
    norm, rank = result.norm.values, result.effective_rank.values
    return (
        f"The mean norm of the rows goes from {number(norm[0])} to {number(norm[-1])}, the effective rank from "
        f"{number(rank[0])} to {number(rank[-1])} of {int(result.attrs['features'])} features."
    )


def _mean(result: xarray.Dataset) -> list[str]:
    share = np.nan_to_num(result.mean_share.values)
    place = int(share.argmax())
    if share[place] < TOLD_SHARE:
        return []
    return [
        f"The mean of all rows holds {percent(share[place])} of the squared norm of {shown(str(result.layer.values[place]))}: "
        f"cosines are not centred, and what all rows share brings them near 1."
    ]


def _accuracy(result: xarray.Dataset) -> list[str]:
    if "accuracy" not in result:
        return []
    values = result.accuracy.values
    return [
        f"A linear probe reads the labels from the first layer with an accuracy of {values[0]:.2f}, from the last with "
        f"{values[-1]:.2f} (chance {float(result.attrs['chance']):.2f}); a probe is no test of removal."
    ]


def _losses(result: xarray.Dataset) -> list[str]:
    if "loss" not in result:
        return []
    base, single = float(result.attrs["baseline_loss"]), result.loss.values
    blocks = [str(name) for name in result.block.values]
    least = int(np.nanargmin(result.influence.values)) if np.isfinite(result.influence.values).any() else 0
    found = [
        f"Your loss is {_loss(base)} for the whole network, and {_loss(single[least])} without {shown(blocks[least])}, the "
        f"block of least influence."
    ]
    if np.isfinite(single).any() and not float(np.nanmin(single)) >= single[least]:
        lowest = int(np.nanargmin(single))
        found[0] = f"{found[0][:-1]}; it is lowest without {shown(blocks[lowest])} ({number(single[lowest])})."
    if len(blocks) > FEW and np.isfinite(single).all() and np.ptp(single) > 0 and np.ptp(result.influence.values) > 0:
        from scipy.stats import spearmanr

        agreement = float(spearmanr(result.influence.values, single).statistic)
        found.append(
            f"The orders of influence and of loss have a rank correlation of {agreement:.2f} over single blocks."
        )
    runs = [
        f"{int(span)} {'block' if span == 1 else 'blocks'} {number(loss)}"
        for span, loss in zip(result.span.values, result.best_loss.values, strict=True)
        if not math.isnan(loss)
    ]
    if runs:
        found.append(f"Your loss without the first candidates for removal: {', '.join(runs[:8])}.")
    return found


def _loss(value: float) -> str:
    return "NaN" if math.isnan(value) else number(value)


def number(value: float, digits: int = 3) -> str:
    """Write a number with three digits, or so many; one below 1 never as 1.

    >>> number(0.12345), number(0.99996), number(0.99999999)
    ('0.123', '0.99996', 'over 0.999999')
    """
    if math.isnan(value):
        return "unknown"
    if not value < 1 - ROUNDING or float(f"{value:.{digits}g}") < 1:
        return f"{value:.{digits}g}"
    return number(value, digits + 1) if digits < 6 else "over 0.999999"
