"""What a summary says of calibrated scores, and of models as wholes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.model_similarities import model_similarity
from homolog.analysis.summary_views import View, number, short, span, spread
from homolog.inference.model_aggregates import FORMULAS

if TYPE_CHECKING:
    import xarray


def calibrated_matches(views: Sequence[View]) -> str | None:
    """Say how far best matches lie beyond what chance reaches, where there are calibrated scores."""
    both = views if views[0].same or len(views) == 1 else [side for view in views for side in (view, view.transposed)]
    scores = np.concatenate([[], *(side.picked(side.calibrated) for side in both if side.calibrated is not None)])
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    if not scores.any():
        return "Calibrated, every best match scores 0: none lies beyond what chance reaches."
    return f"Calibrated, where 0 is what chance reaches and 1 is equal, best matches score {spread(scores)}."


def as_wholes(result: xarray.Dataset, name: str) -> str | None:
    """Say how many pairs of models are more alike as wholes than chance allows, where permutations tell it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = model_similarity(result, name)
        except ValueError:
            return None
    return None if f"{name}_p" not in found else _beyond(found, name)


def model_similarity_lines(result: xarray.Dataset, name: str) -> list[str]:
    """Say what similarities of models show, in a few sentences."""
    models = [short(model) for model in result.model_a.values]
    rows, columns = _pairs(result, name)
    values = result[name].values[rows, columns]
    pairs, count = ("pair" if len(values) == 1 else "pairs"), int(result.attrs["n_examples"])
    lines = [
        f"{len(models)} models, in {len(values)} {pairs}, were compared as wholes over {count} examples "
        f"by {name}: the {FORMULAS[result.attrs['by']]}."
    ]
    if not len(values):
        return [*lines, "No pair of models has a value."]
    likest, unlikest = (np.argmin(values), np.argmax(values))
    if result[name].attrs["kind"] == "similarity":
        likest, unlikest = unlikest, likest
    most, least = (f"{models[rows[at]]} and {models[columns[at]]} ({number(values[at])})" for at in (likest, unlikest))
    lines.append(f"The values are {spread(values)}." if len(values) == 1 else f"Most alike are {most}, least {least}.")
    if f"{name}_p" in result:
        told = _beyond(result, name)
        lines += [told] if told else []
    else:
        lines.append("Nothing in this result tests whether that is more than chance: compare with null='permutation'.")
    return lines


def _pairs(result: xarray.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of different models that have a value, each once where the measure is symmetric."""
    known = ~np.isnan(result[name].values) & ~np.eye(result.sizes["model_a"], dtype=bool)
    if int(result[name].attrs["symmetric"]) == 1:
        known = np.triu(known | known.T)
    rows, columns = np.nonzero(known)
    return rows, columns


def _beyond(found: xarray.Dataset, name: str) -> str | None:
    """Say how many pairs of different models lie beyond what chance reaches, and how many would by chance."""
    rows, columns = _pairs(found, name)
    p, alpha = found[f"{name}_p"].values[rows, columns], float(found.attrs["alpha"])
    tested = ~np.isnan(p)
    if not tested.any():
        return None
    beyond = tested & (p <= alpha * (1 + 1e-9))
    told = (
        f"{int(beyond.sum())} of {int(tested.sum())} pairs of models are more alike as wholes ({_WHOLE[found.attrs['by']]}) than "
        f"{1 - alpha:.0%} of random orders of the examples make them, where chance alone would give {alpha * tested.sum():.2g}"
    )
    if f"{name}_calibrated" in found and beyond.any():
        told += f"; calibrated, these score {span(found[f'{name}_calibrated'].values[rows, columns][beyond])}"
    return told + "."


_WHOLE = {
    "best_match": "mean of best matches",
    "same_name": "mean over layers of the same name",
    "max": "best pair of layers",
    "assignment": "mean of a one-to-one assignment",
}
