"""Models that are equal by their similarities, as copies of one network are: no evidence of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy

from homolog.analysis.model_pairs import ModelPairs
from homolog.diagnostics import listed
from homolog.names import shown

EQUAL = {"similarity": 1e-4, "distance": 3e-3}
"""How far from equal copies may be, as a share of the scale: CKA of a network and its copy in bfloat16 is 6e-6 below 1, and
distances are about its root."""
NAMED = 8
"""Models of a set that are named."""


def copies_in(*several: ModelPairs) -> tuple[tuple[str, ...], ...]:
    """Return sets of models that are equal by all of several similarities of the same models in the same order."""
    together = np.all([_equal(pairs) for pairs in several], axis=0)
    count, sets = scipy.sparse.csgraph.connected_components(together, directed=False)
    names = several[0].names
    found = [tuple(names[k] for k in np.flatnonzero(sets == number)) for number in range(count)]
    return tuple(each for each in found if len(each) > 1)


def _equal(pairs: ModelPairs) -> np.ndarray:
    if pairs.kind == "similarity":
        return 1 - pairs.values <= EQUAL["similarity"]
    # Without an upper end of their range, distances are small beside the others, but not beside one model far away.
    apart = pairs.values[pairs.values > 0]
    scale = pairs.scale or (float(np.median(apart)) if apart.size else 1.0)
    return pairs.values <= EQUAL["distance"] * scale


def without_repeats(names: Sequence[str], copies: Sequence[Sequence[str]]) -> list[int]:
    """Return the places of models, of each set of copies only the first."""
    repeats = {name for each in copies for name in each[1:]}
    return [place for place, name in enumerate(names) if name not in repeats]


def one_of_each(pairs: ModelPairs, copies: Sequence[Sequence[str]]) -> ModelPairs:
    """Return the similarities of different models."""
    kept = without_repeats(pairs.names, copies)
    return replace(pairs, names=tuple(pairs.names[place] for place in kept), values=pairs.values[np.ix_(kept, kept)])


def told(copies: Sequence[Sequence[str]]) -> str:
    """Name the sets.

    >>> told([("a", "b", "c"), ("d", "e")])
    'a, b and c; d and e'
    """
    return "; ".join(
        f"{', '.join(map(shown, each[:-1]))} and {shown(each[-1])}" if len(each) <= NAMED else listed(each, NAMED)
        for each in copies
    )


def counted_once(count: int, those: str = "Copies") -> str:
    """Say that copies count once, and how many models that leaves."""
    left = "1 model" if count == 1 else f"{count} models"
    return f"{those} are no evidence of their own: what follows counts one of each, and that leaves {left}."
