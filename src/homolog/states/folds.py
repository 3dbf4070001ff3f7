"""Sums apart for parts of the independent units, from which standard errors follow although no row is kept."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.diagnostics import Caution, dominated_by_bias, no_interval
from homolog.engine.planning import Plan
from homolog.inference.intervals import intervals
from homolog.inference.resampling import FOLDS, SPLITS, Resampled, shows_bias
from homolog.inference.units import FEWEST_UNITS, labels_of
from homolog.measures.record import Measure

if TYPE_CHECKING:
    from homolog.states.moments import Moments

Values = Callable[["Moments", Mapping[str, Measure]], dict[str, np.ndarray]]
"""State and measures → name → (layers, layers) values."""


def folds_of(groups: Any, n: int) -> np.ndarray:
    """Return for every row the part that its unit belongs to: the same in every batch and process, by its label alone."""
    labels, places = np.unique(labels_of(groups, n), return_inverse=True)
    numbers = np.array([zlib.crc32(str(label).encode()) % FOLDS for label in labels.tolist()])
    found: np.ndarray = numbers[places]
    return found


def rows_of(batch: Any, rows: np.ndarray) -> Any:
    """Return some rows of a batch."""
    if isinstance(batch, Mapping):
        return {name: layer[rows] for name, layer in batch.items()}
    return None if batch is None else batch[rows]


def companions_of(
    plan: Plan, folds: Sequence[Moments], values: Values, merged: Callable[[Sequence[Moments]], Moments], level: float
) -> tuple[dict[str, dict[str, np.ndarray]], list[Caution]]:
    """Return measure → standard error and ends of the interval, leaving out each part in turn, and what to say of them."""
    count, n = len(folds), sum(fold.n for fold in folds)
    if count < FEWEST_UNITS:
        raise ValueError(
            f"an interval needs at least {FEWEST_UNITS} independent units, got about {count} for {n} rows: use more examples, or "
            f"leave groups out of update."
        )

    def resampled(measures: Mapping[str, Measure]) -> dict[str, Resampled]:
        whole = values(merged(folds), measures)
        without = [values(merged([*folds[:i], *folds[i + 1 :]]), measures) for i in range(count)]
        halves = _halves(folds, values, merged, {k: one for k, one in measures.items() if shows_bias(one, n)})
        return {
            name: Resampled(
                whole[name], np.array([one[name] for one in without]), count - 1, count - 1, None, halves.get(name)
            )
            for name in measures
        }

    found: dict[str, dict[str, np.ndarray]] = {}
    cautions: list[Caution] = []
    labels = [layer.label for layer in plan.layers]
    for name, ends in intervals(plan.measures, level, resampled).items():
        found[name] = {"se": ends.se, "low": ends.low, "high": ends.high}
        for flags, caution in ((ends.dubious, dominated_by_bias), (ends.missing, no_interval)):
            where = [f"{labels[i]} and {labels[j]}" for i, j in np.argwhere(np.triu(flags & plan.needed))]
            cautions += [caution(name, where)] if where else []
    return found, cautions


def _halves(
    folds: Sequence[Moments],
    values: Values,
    merged: Callable[[Sequence[Moments]], Moments],
    measures: Mapping[str, Measure],
) -> dict[str, np.ndarray]:
    """Return the values on random halves of the parts, of measures whose bias they are to show."""
    if not measures:
        return {}
    random = np.random.default_rng(0)
    orders = [random.permutation(len(folds)) for _ in range(SPLITS)]
    chosen = [half for order in orders for half in np.array_split(order, 2)]
    found = [values(merged([folds[k] for k in half]), measures) for half in chosen]
    return {name: np.array([one[name] for one in found]) for name in measures}
