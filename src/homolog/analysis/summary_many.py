"""The rules of a summary of many models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from homolog.analysis.identification import tally
from homolog.analysis.summary_rules import FEWEST_IN_ORDER, in_order, undecided, unlike_chance
from homolog.analysis.summary_views import View, number, short, span, spread
from homolog.results import ALPHA

ODD = 0.05
"""How far below all others a model must be to be the odd one."""
FEWEST_FOR_ODD = 4
"""Models below which none is odd."""


def support_of_many(views: Sequence[View]) -> str:
    """Say how many best matches in other models are more alike than chance allows."""
    both = [side for view in views for side in (view, view.transposed) if len(side.rows)]
    if not both:
        return f"No pair of layers has a value of {views[0].measure}."
    values = np.concatenate([side.picked(side.values) for side in both])
    told = f"the values are {spread(values)}"
    level = _levels(both)
    if level is not None:
        told += f", where chance gives {span(level)} on average"
    count = len(values)
    if not any(view.tested for view in views):
        return f"Of {count} best matches in another model {told}; nothing in this result tests whether that is more than chance."
    hits = int(sum(side.picked(side.supported).sum() for side in both))
    known = any(view.supported[view.known].any() for view in views)
    open_pairs = np.concatenate([view.undecided[view.known] for view in views])
    if not known and open_pairs.any():
        return f"{undecided(open_pairs)}; {told}."
    if not known:
        return f"No better than chance: no pair of layers of two models is more alike than chance allows; {told}."
    unknown = int(sum(side.picked(side.undecided).sum() for side in both))
    rest = f", and nothing here decides it for {unknown}" if unknown else ""
    return (
        f"{hits} of {count} best matches of a layer in another model are more alike than chance allows (false discovery rate "
        f"{ALPHA}){rest}; {told}."
    )


def _levels(views: Sequence[View]) -> np.ndarray | None:
    if any(view.level is None for view in views):
        return None
    found = np.concatenate([view.picked(view.level) for view in views if view.level is not None])
    return None if np.isnan(found).any() else found


def identified(views: Sequence[View]) -> str | None:
    """Say how often the best match in another model is the layer of the same name."""
    if not any(map(unlike_chance, views)):
        return None
    if not all(view.names_tell for view in views):
        return _orders(views)
    tallies = [tally(view.layers, view.scores) for view in views if not view.same]
    right, chances, decisions = (float(sum(each)) for each in zip(*tallies, strict=True))
    if not decisions:
        return _orders(views)
    return (
        f"The best match in another model has the same name in {right / decisions:.0%} of {int(decisions)} cases, where guessing "
        f"would give {chances / decisions:.0%}."
    )


def _orders(views: Sequence[View]) -> str | None:
    """Say in how many pairs of models the layers correspond in order, where names say nothing."""
    able = [view for view in views if unlike_chance(view) and min(view.values.shape) >= FEWEST_IN_ORDER]
    if not able:
        return None
    what = "the layers correspond" if all(view.tested for view in able) else "best matches are"
    return (
        f"In {sum(map(in_order, able))} of {len(views)} pair{'s' if len(views) > 1 else ''} of models {what} in order."
    )


def over_models(views: Sequence[View]) -> str | None:
    """Say which layers are most and least alike over all pairs of models."""
    if views[0].likeness is None or not any(map(unlike_chance, views)) or len(views) < 2:
        return None
    if not all(view.names_tell for view in views):
        return None
    found: dict[str, list[tuple[float, float]]] = {}
    for view in views:
        likeness = view.likeness
        for i, j in np.argwhere(view.namesakes & view.known):
            found.setdefault(str(view.layers[0][i]), []).append((float(likeness[i, j]), float(view.values[i, j])))  # type: ignore[index]
    means = {name: np.mean(values, axis=0) for name, values in found.items() if len(values) == len(views)}
    if len(means) < 2 or not np.isfinite(list(means.values())).all():
        return None
    most, least = (pick(means, key=lambda name: means[name][0]) for pick in (max, min))
    highest, lowest = number(means[most][1]), number(means[least][1])
    if highest == lowest:
        return f"The {len(means)} layers that all models share are about equally alike over the models ({highest})."
    return (
        f"Over all {len(views)} pairs of models {short(most)} is the layer most alike to itself (mean {highest}) and "
        f"{short(least)} the least ({lowest})."
    )


def odd_model(views: Sequence[View]) -> str | None:
    """Name a model that is less like the others than these are like each other."""
    names = list(dict.fromkeys(title for view in views for title in view.titles))
    count = len(names)
    if count < FEWEST_FOR_ODD or len(views) != count * (count - 1) // 2 or not any(map(unlike_chance, views)):
        return None
    pairs, shared = np.full((count, count), np.nan), _shared(views)
    for view in views:
        i, j = map(names.index, view.titles)
        pairs[i, j] = pairs[j, i] = _mean_likeness(view, shared)
    if np.isnan(pairs[np.triu_indices(count, 1)]).any():
        return None
    odd = int(np.argmin(np.nanmean(pairs, axis=1)))
    rest = [k for k in range(count) if k != odd]
    among = pairs[np.ix_(rest, rest)][np.triu_indices(count - 1, 1)]
    own = pairs[odd, rest]
    if own.max() > among.min() - ODD:
        return None
    over = "layers of the same name" if shared else "best matches"
    apart = f"its mean likeness to the other models (over {over}) is {span(own)}, theirs to each other {span(among)}"
    return f"{names[odd]} is the odd one: {apart}."


def _shared(views: Sequence[View]) -> set[str]:
    """Return the layers that have a value with their namesake in every pair of models: means are over the same layers."""
    if not all(view.names_tell for view in views):
        return set()
    return set.intersection(
        *({str(view.layers[0][i]) for i, _ in np.argwhere(view.namesakes & view.known)} for view in views)
    )


def _mean_likeness(view: View, shared: set[str]) -> float:
    """Return the mean likeness of the layers that all models share, or else of best matches both ways."""
    if view.likeness is None or not view.known.any():
        return np.nan
    if shared:
        at = view.namesakes & np.isin(view.layers[0], list(shared))[:, None]
        return float(view.likeness[at].mean())
    both = [side.picked(side.likeness) for side in (view, view.transposed) if side.likeness is not None]
    return float(np.mean(np.concatenate(both)))
