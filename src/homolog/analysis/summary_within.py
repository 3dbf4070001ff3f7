"""The rules of a summary of one model that is compared with itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from homolog.analysis.summary_rules import NULL_LEVEL, PLATEAU, nearly_equal, threshold
from homolog.analysis.summary_views import View, number
from homolog.diagnostics import listed

BLOCK = 0.95
"""Least likeness within a block of layers of one model."""


def within(view: View) -> Iterator[str]:
    """Say of one model compared with itself which neighbours are nearly equal, where it changes most, and its blocks."""
    square = _square(view)
    if square is None:
        return
    names, likeness, values, equal, alike = square
    at = np.arange(len(names) - 1)
    steps = likeness[at, at + 1]
    known = at[np.isfinite(steps)]
    if not len(known):
        return
    told = []
    if equal is not None and len(known) > 1:
        near = known[equal[known, known + 1]]
        which = listed((f"{names[k]} and {names[k + 1]}" for k in near), 3)
        count = f"{len(near)} of {len(known)} pairs of neighbouring layers are nearly equal ({threshold(view)})"
        told.append(f"{count}{f': {which}' if len(near) else ''}")
    if len(known) > 1 and (view.level is None or np.ptp(view.level[view.known]) <= NULL_LEVEL):
        furthest = known[np.argmin(steps[known])]
        change = f"{names[furthest]} to {names[furthest + 1]} ({number(values[furthest, furthest + 1])})"
        told.append(f"{'the' if told else 'The'} largest change between neighbours is from {change}")
    if told:
        yield f"{'; '.join(told)}."
    yield from _block(names, likeness, alike)


def _square(view: View) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray | None, np.ndarray] | None:
    """Return names, likeness and values of the layers that stand on both sides, which are nearly equal, and which alike."""
    rows, columns = np.nonzero(view.namesakes)
    likeness, above = view.likeness, view.above_level
    if likeness is None or len(rows) < 2:
        return None
    part, equal = np.ix_(rows, columns), nearly_equal(view)
    ahead, back = likeness[part], likeness[part].T
    lower = (ahead <= back) | np.isnan(back)
    values = np.where(lower, view.values[part], view.values[part].T)
    both = None if equal is None else equal[part] & equal[part].T
    lowest = np.where(lower, ahead, back)
    beside = np.zeros_like(lowest) if above is None else np.fmin(above[part], above[part].T)
    return view.names(0, rows), lowest, values, both, (lowest >= BLOCK) & (beside >= BLOCK)


def _block(names: list[str], likeness: np.ndarray, alike: np.ndarray) -> Iterator[str]:
    """Name the longest run of layers of which every pair is alike."""
    longest, start = (0, 0), 0
    for stop in range(1, len(names)):
        while not alike[start:stop, stop].all():
            start += 1
        longest = max(longest, (stop + 1 - start, -start))
    length, first = longest[0], -longest[1]
    if length >= PLATEAU:
        block = likeness[first : first + length, first : first + length][np.triu_indices(length, 1)]
        yield (
            f"The longest run of layers that are alike among themselves is {names[first]} to {names[first + length - 1]}: each "
            f"two of these {length} have a likeness of {number(float(block.min()))} or more."
        )
