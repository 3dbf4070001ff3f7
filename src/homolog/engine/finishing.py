"""The last lines of the measures, on one pair, in both directions; here or in another process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import described, scalar
from homolog.measures.record import Measure
from homolog.measures.registry import measure


class Finished(NamedTuple):
    """What one measure says of a pair: (x, y) and (y, x), NaN where nobody asked."""

    value: float
    back: float
    null: float = math.nan
    null_back: float = math.nan


def finished(
    measures: Mapping[str, Measure], x: Any, y: Any, meeting: Any, *, same: bool, back: bool
) -> dict[str, Finished]:
    """Evaluate the last line of every measure; `back` says whether (y, x) was asked for."""
    found = {}
    first = next(iter(measures.values()))
    swapped = first.family.swap(meeting)
    for name, record in sorted(measures.items(), key=lambda item: not item[1].decomposes_first):
        value = reverse = _number(name, record.finish(x, y, meeting, **record.finish_options))
        if not (record.symmetric or same):
            reverse = math.nan
            if record.symmetric is False or back:
                reverse = _number(name, record.finish(y, x, swapped, **record.finish_options))
        nulls = (_null(record, x, y, meeting), _null(record, y, x, swapped))
        found[name] = Finished(value, reverse, *nulls)
    return found


class Finishing:
    """The last lines for tasks, which may be sent to other processes: measures travel as text."""

    def __init__(self, needed: np.ndarray, used: Sequence[int], measures: Mapping[str, Measure], *, sent: bool) -> None:
        self._needed = needed[np.ix_(used, used)]
        self._measures = {name: str(record) if sent else record for name, record in measures.items()}

    def __call__(self, pair: tuple[int, int], x: Any, y: Any, product: np.ndarray) -> dict[str, Finished]:
        """Return what every measure says of a pair."""
        i, j = pair
        records = {name: measure(record) for name, record in self._measures.items()}
        family = next(iter(records.values())).family
        assert family.on_disk is not None  # planned so
        meeting = family.on_disk.meet(product)
        return finished(records, x, y, meeting, same=i == j, back=bool(self._needed[j, i]))


def _number(name: str, value: Any) -> float:
    """Return a value as a float; a function of the caller may have returned anything."""
    try:
        return scalar(value)
    except (TypeError, ValueError):
        got = f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else described(value)
        raise TypeError(f"measure {name!r} must return one number for two representations, got {got}.") from None


def _null(record: Measure, x: Any, y: Any, meeting: Any) -> float:
    level = None if record.null is None else record.null(x, y, meeting, **record.finish_options)
    return math.nan if level is None else scalar(level)
