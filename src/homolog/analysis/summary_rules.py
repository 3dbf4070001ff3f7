"""The rules of a summary of two models: each gives one sentence or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from homolog.analysis.summary_views import View, number, short, span, spread
from homolog.diagnostics import listed
from homolog.results import ALPHA, written_probability

NEARLY_EQUAL = 0.98
"""Likeness from which layers are called nearly equal, also as a share of the room above what independent layers score."""
IN_ORDER = 0.9
"""Rank correlation of the places of layers and of their best matches from which, both ways, layers correspond in order."""
PARTLY_IN_ORDER = 0.6
"""The same from which they do in part."""
FEWEST_IN_ORDER = 4
"""Layers of either side below which no order is told."""
PLATEAU = 3
"""Layers in a row with one best match that are worth a word."""
PLATEAU_SHARE = 0.25
"""The share of the layers that they must be."""
ALIKE = 0.8
"""Least likeness of layers that are called alike among themselves."""
SPREAD = 0.02
"""Range of likeness below which layers of the same name are about equally alike."""
NULL_LEVEL = 0.1
"""Null level that is worth a word."""


def unlike_chance(view: View) -> bool:
    """Say whether best matches may be described: some pair is more alike than chance allows, or nothing says what it gives."""
    return bool(view.supported[view.known].any()) if view.tested else not view.at_level


def support(view: View) -> str:
    """Say whether layers are more alike than chance allows, and how far."""
    if not len(view.rows):
        return f"No pair of layers has a value of {view.measure}."
    if len(view.rows) == 1 and view.known.sum() == 1:
        return _of_one_pair(view)
    values = _values_beside_chance(view)
    if not view.tested:
        return _untested(view, values)
    rows, supported = len(view.rows), view.picked(view.supported)
    if not view.supported[view.known].any() and not view.undecided.any():
        lowest = float(np.nanmin(view.p[view.known]))  # type: ignore[index]
        return (
            f"No better than chance: no pair of layers is more alike than chance allows (smallest adjusted p-value "
            f"{written_probability(lowest)}; {values})."
        )
    if not view.supported[view.known].any():
        return f"{undecided(view.undecided[view.known])}; {values}."
    short_of = rows - int(supported.sum())
    allows = f"than chance allows (false discovery rate {ALPHA})"
    if not short_of:
        missing = " that has a value" if rows < len(view.layers[0]) else ""
        return f"Every layer of {view.titles[0]}{missing} is more alike to {_partner(view, 'its')} {allows}; {values}."
    are, partner = ("is", _partner(view, "its")) if rows - short_of == 1 else ("are", _partner(view, "their"))
    count = f"{rows - short_of} of {rows} layers of {view.titles[0]} {are}"
    return f"{count} more alike to {partner} {allows}, {_without_support(view)}; {values}."


def undecided(which: np.ndarray) -> str:
    """Say that no pair is more alike than chance allows, and that some are not decided."""
    why = f"there is no p-value, or permutations are too few for one of at most {ALPHA}"
    if which.all():
        return f"Nothing here decides whether layers are more alike than chance allows: {why}"
    count = f"{int(which.sum())} of {which.size} pairs"
    return f"Not decided: no pair of layers is shown to be more alike than chance allows, but for {count} {why}"


def _without_support(view: View) -> str:
    """Name the rows that lack support, and say why."""
    lacking = ~view.picked(view.supported)
    undecided = view.picked(view.undecided)
    names = listed(view.names(0, view.rows[lacking]), 3)
    if undecided[lacking].all():
        return f"and nothing here decides it for {names}"
    return f"and that is not shown for {names}"


def _of_one_pair(view: View) -> str:
    (i,), (j,) = view.rows, view.best
    x, y = _names_of_pair(view, i, j)
    value, level = number(view.values[i, j]), view.level
    chance = f"where chance gives {number(level[i, j])} on average" if level is not None else ""
    if not view.tested:
        known = f", {chance}" if chance else ""
        return f"{x} and {y} have a value of {value}{known}; nothing here tests whether that is more than chance."
    told = f"{value}{', ' + chance if chance else ''}; adjusted p-value {written_probability(view.p[i, j])}"  # type: ignore[index]
    if view.supported[i, j]:
        return f"{x} and {y} are more alike than chance allows: {told}."
    if view.undecided[i, j]:
        return f"Nothing here decides whether {x} and {y} are more alike than by chance: {told}."
    return f"No better than chance: {x} and {y} are no more alike than chance allows ({told})."


def _names_of_pair(view: View, i: int, j: int) -> list[str]:
    """Name the layers of a pair: by the models where both have one name; an array alone is called after its side."""
    names = [view.names(0, [i])[0], view.names(1, [j])[0]]
    for place, side in enumerate("ab"):
        if view.names(place) == [side]:
            names[place] = view.titles[place]
    if names[0] != names[1] or view.titles[0] == view.titles[1]:
        return names
    return [f"{name} of {title}" for name, title in zip(names, view.titles, strict=True)]


def _values_beside_chance(view: View) -> str:
    picked = view.picked(view.values)
    what = "best matches have values" if view.chosen else "the values are"
    told = f"{what} {spread(picked)}"
    level = None if view.level is None else view.picked(view.level)
    if level is None or np.isnan(level).any():
        return told
    return f"{told}, where chance gives {span(level)} on average"


def _untested(view: View, values: str) -> str:
    start = values[0].upper() + values[1:]
    if view.level is None:
        return f"{start}; nothing in this result says what chance would give."
    if view.at_level:
        return f"Hardly more than chance gives on average, and nothing tests the difference: {values}."
    return f"{start}; nothing in this result tests whether that is more than chance."


def _partner(view: View, whose: str) -> str:
    if view.chosen:
        return f"{whose} most alike other layer" if view.same else f"{whose} best match in {view.titles[1]}"
    return "the layer of the same name" if view.picked(view.namesakes).all() else "the layer compared with it"


def order(view: View) -> str | None:
    """Say whether best matches go on as the layers do, and where they lie."""
    if not view.chosen or not unlike_chance(view):
        return None
    places = _places(view), _places(view.transposed)
    if min(len(rows) for rows, _ in places) < FEWEST_IN_ORDER:
        return _few(view)
    subject, negation = (_judged(view, places), "do not correspond") if view.tested else ("The best matches", "are not")
    for side, (rows, best) in zip((view, view.transposed), places, strict=True):
        if len(set(best)) == 1:
            only = side.names(1, [best[0]])[0]
            match = f"{_all(side, len(rows))} have one best match in {side.titles[1]}, {only}"
            return f"{subject} {negation} in order: {match}, and {_among_themselves(side, rows, int(best[0]))}"
    there, back = _rank_correlation(view), _rank_correlation(view.transposed)
    told = f"rank correlation of places {number(there)}, and {number(back)} the other way"
    verb = "correspond" if view.tested else "are"
    if in_order(view):
        return f"{subject} {verb} in order ({told}; 1 is exactly in order){_where(view)}."
    if min(there, back) >= PARTLY_IN_ORDER:
        return f"{subject} {verb} in order only in part ({told}; 1 is exactly in order){_where(view)}."
    if max(there, back) <= -IN_ORDER and _spread(places):
        return f"{subject} {verb} in the opposite order ({told}; −1 is exactly opposite)."
    return f"{subject} {negation} in order ({told}; 1 is exactly in order){_where(view)}."


def in_order(view: View) -> bool:
    """Say whether best matches go on as the layers do, both ways."""
    places = _places(view), _places(view.transposed)
    if min(len(rows) for rows, _ in places) < FEWEST_IN_ORDER or not _spread(places):
        return False
    return min(map(_rank_correlation, (view, view.transposed))) >= IN_ORDER


def _spread(places: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Say whether best matches are at least half as many layers as the narrower side has, and more than one."""
    fewest = min(len(set(best)) for _, best in places)
    return fewest > 1 and fewest >= min(len(rows) for rows, _ in places) / 2


def _judged(view: View, places: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """Name the layers whose order is told: those with support."""
    sides = [
        f"{len(rows)} of {len(layers)} of {title}"
        for (rows, _), layers, title in zip(places, view.layers, view.titles, strict=True)
        if len(rows) < len(layers)
    ]
    return f"The layers that can be judged ({' and '.join(sides)})" if sides else "The layers"


def _all(view: View, count: int) -> str:
    every = len(view.layers[0])
    if count == every:
        return f"all {count} layers of {view.titles[0]}"
    return f"{count} of {every} layers of {view.titles[0]}, all that can be judged,"


def _places(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and their best matches, of rows that have a choice and, where anything was tested, support.

    A row of which most values equal the largest chooses nothing.
    """
    candidates = view.known[view.rows].sum(axis=1)
    able = (candidates > 1) & (view.equal[view.rows].sum(axis=1) <= candidates / 2)
    if view.tested:
        able &= view.picked(view.supported)
    return view.rows[able], view.best[able]


def _rank_correlation(view: View) -> float:
    """Correlate the ranks of rows and of their best matches; of several that are equal, the mean place counts."""
    rows, _ = _places(view)
    equal = view.equal[rows]
    best = (equal * np.arange(equal.shape[1])).sum(axis=1) / equal.sum(axis=1)
    if np.ptp(best) == 0:
        return 0.0
    return float(np.corrcoef(scipy.stats.rankdata(rows), scipy.stats.rankdata(best))[0, 1])


def _few(view: View) -> str | None:
    """List the best matches where they are too few for an order."""
    rows, best = _places(view)
    if not 0 < len(rows) < FEWEST_IN_ORDER:
        return None
    names = zip(view.names(0, rows), view.names(1, best), view.values[rows, best], strict=True)
    return "Best matches: " + "; ".join(f"{x} with {y} ({number(value)})" for x, y, value in names) + "."


def _where(view: View) -> str:
    """Say how often the best match has the same name, or one of the same group."""
    rows, _ = _places(view)
    found = view.namesakes & view.known
    what, groups = "has the same name", _groups(view)
    if set(view.layers[0]) != set(view.layers[1]) and groups is not None:
        found, example = groups
        what = f"is in the group of the same name, such as {example},"
    able = found[rows].any(axis=1)
    if able.mean() < 0.5 or not view.names_tell:
        return ""
    equal = view.equal[rows]
    hits = float(((found[rows] & equal).sum(axis=1) / equal.sum(axis=1))[able].sum())
    among = view.known[rows].sum(axis=1)
    guessed = float((found[rows].sum(axis=1) / among)[able].sum())
    return f"; the best match {what} for {round(hits, 1):g} of {int(able.sum())} layers, where guessing would give {guessed:.1f}"


def _groups(view: View) -> tuple[np.ndarray, str] | None:
    """Return which pairs share what stands before the last dot of their names, where that makes several groups of several."""
    own, other = (np.array([str(name).rpartition(".")[0] for name in side]) for side in view.layers)
    shared = [str(group) for group in dict.fromkeys(own) if group and group in other]
    if len(shared) < 2 or sum(name in shared for name in own) < len(own) / 2 or len(set(own)) > len(own) / 1.5:
        return None
    return (own[:, None] == other[None, :]) & (own != "")[:, None] & view.known, short(shared[0])


def same_names(view: View) -> str | None:
    """Say which layers of the same name differ most, and which are nearly equal."""
    likeness, at = view.likeness, view.namesakes & view.known
    count = int(at.sum())
    if likeness is None or count < 2 or not unlike_chance(view) or not view.names_tell:
        return None
    if view.level is not None and np.ptp(view.level[at]) > NULL_LEVEL:
        return None  # values follow what chance gives, which differs
    rows, columns = np.nonzero(at)
    values = view.values[rows, columns]
    if np.isinf(values).any():
        return None
    alike = likeness[rows, columns]
    if np.ptp(alike) <= SPREAD:
        return f"The {count} layers of the same name are about equally alike ({span(values)})."
    unlike = [k for k in np.argsort(alike, kind="stable")[:3] if alike[k] < alike.max() - SPREAD]
    told = listed((f"{view.names(0, [rows[k]])[0]} ({number(values[k])})" for k in unlike), 3)
    those = "the one that differs most is" if len(unlike) == 1 else "those that differ most are"
    sentence = f"Of {count} layers of the same name, {those} {told}"
    equal = nearly_equal(view)
    if equal is None:
        return f"{sentence}."
    among = equal[rows, columns]
    return f"{sentence}; {_counted(among, [view.names(0, [i])[0] for i in rows])} nearly equal ({threshold(view)})."


def other_modules(views: Sequence[View]) -> str | None:
    """Say that layers of one name are of different types, which makes names say little of what corresponds."""
    found = [(view, *place) for view in views if not view.same for place in np.argwhere(view.other_modules)]
    if not found:
        return None
    view, i, j = found[0]
    (own, other), (x, y) = view.titles, view.types_of(i, j)
    count = sum(int(view.namesakes.sum()) for view in views)
    have = "has" if len(found) == 1 else "have"
    told = f"{len(found)} of {count} pairs of layers of the same name {have} different types"
    start = "" if all(view.names_tell for view in views) else "Names are no guide to which layers correspond: "
    return f"{start}{told} ({view.names(0, [i])[0]} is {short(x)} in {own} and {short(y)} in {other})."


def _counted(marked: np.ndarray, names: list[str]) -> str:
    count = int(marked.sum())
    if count == 0:
        return "none is"
    if count <= 3:
        return f"{listed(np.array(names, dtype=object)[marked], 3)} {'is' if count == 1 else 'are'}"
    return f"{count} are"


def threshold(view: View) -> str:
    """Write from which value layers are called nearly equal."""
    if view.kind == "distance":
        return f"at most {number(view.range[1] * (1 - NEARLY_EQUAL) ** 0.5)}"
    beside = (
        ""
        if view.level is None or view.level[view.known].max() < 0.005
        else ", also when counted from the level of chance"
    )
    return f"{NEARLY_EQUAL} or more{beside}"


def nearly_equal(view: View) -> np.ndarray | None:
    """Return which pairs are nearly equal, also beside what independent layers score; None where that is unknown."""
    likeness, above = view.likeness, view.above_level
    if likeness is None or above is None or not np.isfinite(view.level[view.known]).all():  # type: ignore[index]
        return None
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (likeness >= NEARLY_EQUAL) & (above >= NEARLY_EQUAL)
    return found


def plateau(view: View) -> str | None:
    """Tell of layers in a row that all match one layer of the other model, and whether they are alike among themselves."""
    if not view.chosen or not unlike_chance(view):
        return None
    candidates = [(found, side) for side in (view, view.transposed) for found in [_longest(side)] if found is not None]
    if not candidates:
        return None
    if any(
        len(rows) >= FEWEST_IN_ORDER and len(set(best)) == 1 for rows, best in map(_places, (view, view.transposed))
    ):
        return None  # told by the order
    (rows, column), side = max(candidates, key=lambda each: len(each[0][0]) / len(each[1].rows))
    names, match = side.names(0, rows), side.names(1, [column])[0]
    last = len(side.layers[0]) - 1
    place = "The first " if rows[0] == 0 else "The last " if rows[-1] == last else ""
    place = "All " if len(rows) == last + 1 else place
    many = f"{place}{len(rows)} layers{'' if place else ' in a row'}"
    return (
        f"{many} of {side.titles[0]} ({names[0]} to {names[-1]}) have the same best match in {side.titles[1]}, {match}, and "
        f"{_among_themselves(side, rows, column)}"
    )


def _longest(view: View) -> tuple[np.ndarray, int] | None:
    """Return the longest run of rows with one best match, if it is long enough."""
    rows, best = _places(view)
    if len(view.layers[1]) < 3 or len(rows) < PLATEAU:
        return None
    breaks = np.flatnonzero((np.diff(best) != 0) | (np.diff(rows) != 1)) + 1
    run = max(np.split(np.arange(len(rows)), breaks), key=len)
    if len(run) < max(PLATEAU, PLATEAU_SHARE * len(view.rows)):
        return None
    return rows[run], int(best[run[0]])


def _among_themselves(view: View, rows: np.ndarray, column: int) -> str:
    values = view.values[rows, column]
    bound = _least_likeness(values) if view.cosine else -1.0
    if bound >= ALIKE:
        return f"are alike among themselves, by {number(np.floor(bound * 100) / 100)} at least."
    columns = view.known[rows].all(axis=0)
    apart = float(np.ptp(view.values[np.ix_(rows, columns)], axis=0).max()) if columns.any() else np.inf
    if view.likeness is not None and np.isfinite(apart) and apart <= 0.05:
        up = number(np.ceil(apart * 100) / 100)
        return f"their values with each layer of {view.titles[1]} differ by at most {up}, so that it hardly tells them apart."
    return f"their values with it are {span(values)}, which does not say whether they are alike among themselves."


def _least_likeness(values: np.ndarray) -> float:
    """Return how alike two layers are at least that have these cosines with a third: angles add up at most."""
    first, second = np.sort(np.clip(values, -1, 1))[:2]
    return float(first * second - np.sqrt((1 - first**2) * (1 - second**2))) - 1e-3
