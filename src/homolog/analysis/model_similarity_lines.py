"""What similarities of models say, in a few sentences and as a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from homolog.analysis import same_networks
from homolog.analysis.model_pairs import ModelPairs, in_one_order, model_pairs
from homolog.diagnostics import listed
from homolog.names import shown
from homolog.results import ALPHA, TIE, chosen_measure, companion, measure_names, no_order_tells, told_examples

if TYPE_CHECKING:
    import pandas
    import xarray

ODD = 0.05
"""How far below all others a model must be to be the odd one, as a share of the scale."""
FEWEST_FOR_ODD = 4
"""Models below which none is odd."""
FEWEST_FOR_CLUSTERS = 5
CLEAR = 0.5
"""Mean silhouette from which Kaufman & Rousseeuw (1990) call clusters a reasonable structure."""
CLUSTERED = "clusters are found in noise too; homolog.permanova(similarities, groups) tests groups that you knew before"
MOST_CLUSTERS = 8
MOST_CAUTIONS = 3
"""All of them are in the attribute `warnings`."""


def model_similarity_lines(result: xarray.Dataset, measure: str | None = None) -> list[str]:
    """Return what similarities of models say, for `homolog.summary`."""
    result = in_one_order(result)
    name = chosen_measure(result, measure)
    names = [str(model) for model in result.model_a.values]
    values = _both_ways(result, name)
    told: list[str | None] = [_compared(result, name, values), _extremes(result, name, values, names)]
    told += same_networks.copies(result)
    told.append(_of_chance(result, name))
    try:
        pairs = model_pairs(result, measure=name) if len(names) > 1 else None
    except ValueError as error:
        pairs = None
        told.append(f"There is no map of these models: {error}")
    by_chance = _none_beyond(result, name)
    if pairs is not None and not by_chance:
        told += [odd_one(pairs), clusters(pairs)]
    told += _warned(result, pairs)
    told.append(
        "These numbers are of these examples and these layers: models that are alike here may differ on other data"
        + (f", and {CLUSTERED}" if pairs is not None and len(names) > 2 else "")
        + "."
    )
    if pairs is not None and len(names) > 2:
        told.append("Next, to see which models are near each other: homolog.plot.embedding(similarities)")
    else:
        told.append("Next, to read every pair: homolog.table(similarities)")
    return [sentence for sentence in told if sentence]


def _warned(result: xarray.Dataset, pairs: ModelPairs | None) -> list[str]:
    """Repeat what was warned of when the similarities were made, and what had to be done to them here."""
    given = [message for _, message in json.loads(result.attrs.get("warnings", "[]"))]
    given += [] if pairs is None else [caution.message for caution in pairs.cautions]
    return [f"Caution: {message}" for message in given[:MOST_CAUTIONS]]


def _both_ways(result: xarray.Dataset, name: str) -> np.ndarray:
    """Return the values, the mean of both directions, NaN where neither is known."""
    values = np.asarray(result[name].values, dtype=float)
    return np.where(np.isnan(values), values.T, np.where(np.isnan(values.T), values, (values + values.T) / 2))


def _compared(result: xarray.Dataset, name: str, values: np.ndarray) -> str:
    count = int(np.isfinite(values[np.triu_indices(len(values), 1)]).sum())
    by = f", one number for each by {result.attrs['by']}" if "by" in result.attrs else ""
    examples = f" over {told_examples(result)}" if "n_examples" in result.attrs else ""
    told = "smaller" if result[name].attrs.get("kind") == "distance" else "larger"
    pairs = "1 pair" if count == 1 else f"{count} pairs"
    return (
        f"{len(values)} models were compared{examples} by {name}, of which {told} values are more alike: {pairs}{by}."
    )


def _extremes(result: xarray.Dataset, name: str, values: np.ndarray, names: list[str]) -> str:
    upper = np.triu_indices(len(names), 1)
    found = values[upper]
    if not np.isfinite(found).any():
        return "No pair of models has a value."
    likeness = -found if result[name].attrs.get("kind") == "distance" else found
    told = []
    for best in (np.nanargmax(likeness), np.nanargmin(likeness)):
        i, j = upper[0][best], upper[1][best]
        told.append(f"{shown(names[i])} and {shown(names[j])} ({found[best]:.2f}{_error(result, name, i, j)})")
    if np.isfinite(found).sum() == 1:
        return f"The two are {told[0]}."
    if np.nanmax(found) - np.nanmin(found) <= 1e-9 * float(np.nanmax(np.abs(found))):
        return f"All pairs are equally alike ({found[np.isfinite(found)][0]:.2f})."
    return f"Most alike are {told[0]}, least alike {told[1]}; the median is {np.nanmedian(found):.2f}."


def _error(result: xarray.Dataset, name: str, i: int, j: int) -> str:
    errors = companion(result, name, "se")
    if errors is None:
        return ""
    both = [float(errors.values[i, j]), float(errors.values[j, i])]
    known = [each for each in both if np.isfinite(each)]
    return f" ± {max(known):.2f}" if known else ""


def _beyond(result: xarray.Dataset, name: str) -> str:
    """Say how many pairs are more alike than by chance, and for how many permutations were too few to say; "" if not tested."""
    adjusted, p = companion(result, name, "p_fdr"), companion(result, name, "p")
    if adjusted is None or p is None:
        return ""
    upper = np.triu_indices(len(adjusted), 1)
    both = [np.fmin(each.values, each.values.T)[upper] for each in (adjusted, p)]
    known = int(np.isfinite(both[0]).sum())
    if not known:
        return ""
    hits = int(np.sum(both[0] <= ALPHA))
    smallest = 1 / (1 + int(result.attrs.get("n_permutations", 10**9)))
    undecided = int(np.sum((both[0] > ALPHA) & ((both[1] <= smallest * (1 + TIE)) | no_order_tells(result))))
    many = f"{int(result.attrs.get('n_permutations', 0))} permutations are too few to decide"
    if no_order_tells(result):
        many = f"the {int(result.attrs['n_orders'])} orders of the examples are too few to decide"
    if known == 1:
        (least,) = both[1][np.isfinite(both[1])]
        if undecided:
            return f"Whether the pair is more alike than chance allows, {many} (p = {least:.2g})"
        return f"The pair is {'' if hits else 'no '}more alike than chance allows (p = {least:.2g})"
    are = "is" if hits == 1 else "are"
    told = f"{hits} of {known} pairs {are} more alike than chance allows (false discovery rate {ALPHA})"
    return f"{told}, and {many} it for {undecided}" if undecided else told


def _none_beyond(result: xarray.Dataset, name: str) -> bool:
    """Say whether nothing suggests that any pair is more alike than by chance, where that was tested."""
    p, calibrated = companion(result, name, "p"), companion(result, name, "calibrated")
    if p is None or no_order_tells(result):
        return False
    upper = np.triu_indices(len(p), 1)
    least = np.nanmin(np.append(p.values[upper], 1.0))
    return bool(least > ALPHA and (calibrated is None or not np.nan_to_num(calibrated.values[upper]).any()))


def _of_chance(result: xarray.Dataset, name: str) -> str:
    told, calibrated = _beyond(result, name), companion(result, name, "calibrated")
    if calibrated is not None:
        scores = np.fmax(calibrated.values, calibrated.values.T)[np.triu_indices(len(calibrated), 1)]
        known = scores[np.isfinite(scores)]
        if known.size:
            zeros = int(np.sum(known == 0))
            those = "them" if told else "the pairs"
            none = f"above 0 for all of {those}"
            scored = f"the calibrated score is {f'0 for {zeros} of {those}' if zeros else none} and at most {known.max():.2f}"
            if known.size == 1:
                scored = f"the calibrated score is {known[0]:.2f}"
            told = f"{told}; {scored}" if told else scored.capitalize()
    return f"{told}." if told else "Nothing in this result tests whether that is more than chance."


def odd_one(pairs: ModelPairs) -> str | None:
    """Name a model that is less like every other than any of these are like each other."""
    count = len(pairs.names)
    if count < FEWEST_FOR_ODD:
        return None
    likeness = pairs.likeness - np.diag(np.full(count, np.nan))
    odd = int(np.argmin(np.nanmean(likeness, axis=1)))
    rest = np.delete(np.arange(count), odd)
    among = likeness[np.ix_(rest, rest)]
    own = likeness[odd, rest]
    scale = 1.0 if pairs.kind == "similarity" else float(pairs.values.max()) or 1.0
    if own.max() > np.nanmin(among) - ODD * scale:
        return None
    sign = 1 if pairs.kind == "similarity" else -1
    ranges = [_span(sign * own), _span(sign * among)]
    return f"{shown(pairs.names[odd])} is the odd one: its {_values(pairs)} to the others are {ranges[0]}, theirs {ranges[1]}."


def _values(pairs: ModelPairs) -> str:
    return "similarities" if pairs.kind == "similarity" else "distances"


def _span(values: np.ndarray) -> str:
    low, high = f"{np.nanmin(values):.2f}", f"{np.nanmax(values):.2f}"
    return low if low == high else f"{low} to {high}"


def clusters(pairs: ModelPairs) -> str | None:
    """Say into which clusters the models fall, where these are clear: cut where the mean silhouette is largest."""
    count = len(pairs.names)
    if count < FEWEST_FOR_CLUSTERS or not pairs.distances.any():
        return None
    # Of similarities 1 − s, which falls evenly: its root, a distance, makes half-alike models look nearly unlike.
    apart = pairs.distances if pairs.kind == "distance" else 1 - pairs.values
    tree = scipy.cluster.hierarchy.linkage(pairs.distances[pairs.upper], "average")
    cuts = [scipy.cluster.hierarchy.fcluster(tree, k, "maxclust") for k in range(2, min(MOST_CLUSTERS, count // 2) + 1)]
    widths = [silhouette(apart, cut) for cut in cuts]
    best = int(np.argmax(widths))
    if widths[best] < CLEAR:
        return None
    groups = [
        [name for name, own in zip(pairs.names, cuts[best], strict=True) if own == number]
        for number in dict.fromkeys(cuts[best].tolist())
    ]
    told = "; ".join(listed(group, 4) for group in groups)
    return f"They fall into {len(groups)} clusters (mean silhouette {widths[best]:.2f}): {told}."


def silhouette(distances: np.ndarray, cluster: np.ndarray) -> float:
    """Return the mean silhouette of clusters (Rousseeuw 1987); a cluster of one counts 0."""
    numbers = np.unique(cluster)
    if len(numbers) < 2:
        return 0.0
    same = cluster[:, None] == numbers
    sizes = same.sum(axis=0)
    sums = distances @ same
    own = (sums * same).sum(axis=1) / np.maximum(sizes[np.argmax(same, axis=1)] - 1, 1)
    other = np.where(same, np.inf, sums / sizes).min(axis=1)
    larger = np.maximum(own, other)
    widths = np.divide(other - own, larger, out=np.zeros_like(own), where=larger > 0)
    return float(np.where(sizes[np.argmax(same, axis=1)] > 1, widths, 0).mean())


def pair_table(result: xarray.Dataset, measure: str | None = None) -> pandas.DataFrame:
    """Return every pair of different models once, with its values and what stands beside them, the most alike first."""
    import pandas

    result = in_one_order(result)
    names = [str(model) for model in result.model_a.values]
    first, second = np.triu_indices(len(names), 1)
    table: dict[str, Any] = {"model": [names[i] for i in first], "other model": [names[j] for j in second]}
    measures = measure_names(result) if measure is None else [chosen_measure(result, measure)]
    for name in measures:
        table[name] = _both_ways(result, name)[first, second]
        for kind in ("calibrated", "p", "p_fdr", "se", "null", "threshold"):
            beside = companion(result, name, kind)
            if beside is not None:
                values = beside.values
                table[f"{name} {kind}"] = np.where(np.isnan(values), values.T, values)[first, second]
    found = pandas.DataFrame(table)
    if not measures:
        return found
    distance = result[measures[0]].attrs.get("kind") == "distance"
    return found.sort_values(measures[0], ascending=distance, kind="stable", ignore_index=True)
