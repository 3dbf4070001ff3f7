"""What a summary says of calibrated scores, and of models as wholes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.model_similarities import model_similarity
from homolog.analysis.summary_views import View, span, spread

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


def _beyond(found: xarray.Dataset, name: str) -> str | None:
    """Say how many pairs of different models lie beyond what chance reaches; of a symmetric measure each counts once."""
    known = ~np.isnan(found[name].values) & ~np.eye(found.sizes["model_a"], dtype=bool)
    if int(found[name].attrs["symmetric"]) == 1:
        known = np.triu(known | known.T)
    rows, columns = np.nonzero(known)
    p, alpha = found[f"{name}_p"].values[rows, columns], float(found.attrs["alpha"])
    tested = ~np.isnan(p)
    if not tested.any():
        return None  # the layers were chosen since
    beyond = tested & (p <= alpha * (1 + 1e-9))
    hits, count = int(beyond.sum()), int(tested.sum())
    both = "" if int(found[name].attrs["symmetric"]) == 1 else ", each counted both ways round,"
    who = f"{hits} of {count} pairs of models{both} {'is' if hits == 1 else 'are'} more alike as wholes"
    if count == 1:
        who = f"The two models are {'' if hits else 'not '}more alike as wholes"
    told = f"{who} (mean of best matches) than {1 - alpha:.0%} of random orders of the examples make them"
    if count > 1:
        expected = "fewer than one pair" if alpha * count < 1 else f"about {alpha * count:.2g} pairs"
        told += f"; by chance {expected} would be"
    if f"{name}_calibrated" in found and beyond.any():
        scores = found[f"{name}_calibrated"].values[rows, columns][beyond]
        told += f"; calibrated, {'they' if count == 1 else 'these'} score {span(scores)}"
    return told + "."
