"""Which checkpoints are the same network: by their weights, or by all that was seen of their outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from homolog.trajectories.rounded_weights import NARROW
from homolog.trajectories.taking import GIVEN

WEIGHTS, OUTPUTS = "weights", "outputs"
ROUNDED = {narrow: f"weights rounded to {narrow}" for narrow in NARROW}
_PARTS = 4.0
"""By how many standard deviations sums of roundings may differ."""


def same_networks(labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return which earlier checkpoint each one equals, "" for none, and by what.

    By its weights, by these after rounding to a narrower type, or by its outputs to rounding.
    """
    same, by = [""] * len(rows), [""] * len(rows)
    for later in range(len(rows)):
        for what, equal in WAYS.items():
            earlier = next((place for place in range(later) if equal(rows, place, later)), None)
            if earlier is not None and not same[later]:
                same[later], by[later] = labels[earlier], what
    return same, by


def _equal_weights(rows: Sequence[Mapping[str, Any]], earlier: int, later: int) -> bool:
    own = rows[earlier]["digests"]["own"]
    return bool(own) and own == rows[later]["digests"]["own"] and not own.startswith(GIVEN)


def _equal_rounded(narrow: str, rows: Sequence[Mapping[str, Any]], earlier: int, later: int) -> bool:
    """Say whether weights are equal after rounding, as those of a network and of its copy in another precision are."""
    one, two = (rows[place].get("rounded", {}).get(narrow) for place in (earlier, later))
    return one is not None and one == two


def _equal_outputs(rows: Sequence[Mapping[str, Any]], earlier: int, later: int) -> bool:
    """Say whether outputs are equal: number by number where the two were compared, else by sums over all of them."""
    at_hand = (
        rows[later]["equal"].get("first") if earlier == 0 else None,
        rows[later]["equal"].get("previous") if earlier == later - 1 else None,
        rows[earlier]["equal"].get("last") if later == len(rows) - 1 else None,
    )
    compared: dict[str, Any] = next((found for found in at_hand if found is not None), {})
    one, two = rows[earlier]["print"], rows[later]["print"]
    varying = [name for name in one if not _constant(one[name])]
    if one.keys() != two.keys() or not varying:
        return False
    return all(compared[name] if name in compared and name in varying else _near(one[name], two[name]) for name in one)


def _constant(sums: Sequence[float]) -> bool:
    return math.isnan(sums[0])


def _near(one: Sequence[float], two: Sequence[float]) -> bool:
    """Say whether the sums of two layers, or the rows of two constant ones, are equal to rounding."""
    x, y = np.array(one[1:]), np.array(two[1:])
    if _constant(one) != _constant(two) or len(x) != len(y):
        return False
    most = 1e-5 * np.abs(x).max(initial=0.0) if _constant(one) else _PARTS * max(one[0], two[0])
    with np.errstate(invalid="ignore"):
        return bool((np.abs(x - y) <= most).all())


WAYS: dict[str, Callable[[Sequence[Mapping[str, Any]], int, int], bool]] = {
    WEIGHTS: _equal_weights,
    **{by: partial(_equal_rounded, narrow) for narrow, by in ROUNDED.items()},
    OUTPUTS: _equal_outputs,
}
"""By what two checkpoints may be the same → how it is told, the surest first."""
