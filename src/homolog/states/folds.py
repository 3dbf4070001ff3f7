"""Sums apart for parts of the independent units, from which standard errors follow although no row is kept."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.diagnostics import Caution
from homolog.engine.planning import Plan
from homolog.inference.intervals import intervals
from homolog.inference.resampling import FOLDS, SPLITS, Resampled, shows_bias
from homolog.inference.units import FEWEST_UNITS, labels_of
from homolog.measures.record import Measure
from homolog.warning_sentences import dominated_by_bias, no_interval

if TYPE_CHECKING:
    from homolog.states.moments import Moments

Values = Callable[["Moments", Mapping[str, Measure]], dict[str, np.ndarray]]
"""State and measures → name → (layers, layers) values."""


COUNTED = 2**16
"""Units up to which their number is exact; of more it is estimated, to half a percent, so that no more memory is taken."""
EVERY = 2**64
"""Digests are less than this."""


def digests_of(groups: Any, n: int) -> np.ndarray:
    """Return a number for the label of every row: the same in every batch and process."""
    labels, given = labels_of(groups, n), np.asarray(groups)
    if given.dtype == object:  # a batch of plain text and one of objects hold the same labels
        labels = np.array([_written(label) for label in given])
    found, places = np.unique(labels, return_inverse=True)
    digests = (hashlib.blake2b(_written(label).encode(), digest_size=8).digest() for label in found.tolist())
    numbers: np.ndarray = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)[places]
    return numbers


def _written(label: Any) -> str:
    """Write a label: 1 and 1.0 are one, whatever the numbers of a batch are held as."""
    if isinstance(label, bool | np.bool_ | float | np.floating | np.integer) and label == label // 1:
        label = int(label)
    return str(label)


@dataclass(frozen=True)
class Units:
    """Which units a stream has had, and to which of at most FOLDS parts each belongs, however the stream was cut.

    Each unit is a part by itself while they are at most FOLDS; its number is the digest of its label. Where parts are too
    many, the greatest number loses its highest bit, which joins its part with another or only renames it, until they are few
    enough. `bound` remembers the last number that was changed so: the numbers of new units are made smaller than it in the
    same way. So the parts follow from the labels alone, whatever their order, and those of two states can be joined.
    """

    bound: int = EVERY
    smallest: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    """The smallest digests, at most COUNTED, from which the number of units follows."""

    @property
    def count(self) -> int:
        """How many units there are; of more than COUNTED, three digits of about how many."""
        if len(self.smallest) < COUNTED:
            return len(self.smallest)
        return int(float(f"{(COUNTED - 1) * EVERY / float(self.smallest[-1]):.3g}"))

    def parts(self, numbers: np.ndarray) -> np.ndarray:
        """Return the parts of digests, or of parts before the bound was lowered."""
        bits = (self.bound - 1).bit_length()
        wide = _lowest_bits(numbers, bits)
        return np.where(wide <= np.uint64(self.bound - 1), wide, _lowest_bits(wide, bits - 1))

    def joined(self, digests: np.ndarray, parts: Iterable[int], bound: int = EVERY) -> Units:
        """Return what is known after units are added to those of some parts, and how far the bound is lowered by it."""
        smallest = np.union1d(self.smallest, digests)[:COUNTED]
        lower = Units(min(self.bound, bound), smallest)
        numbers = np.concatenate([digests, np.array(list(parts), dtype=np.uint64)])
        return Units(_bound(np.unique(lower.parts(numbers)), lower.bound), smallest)


def _lowest_bits(numbers: np.ndarray, bits: int) -> np.ndarray:
    return numbers & np.uint64(2**bits - 1)


def _bound(numbers: np.ndarray, bound: int) -> int:
    """Return the greatest bound, at most the given one, under which numbers become at most FOLDS."""
    if len(numbers) <= FOLDS:
        return bound
    bits = bisect.bisect_right(range(64), FOLDS, key=lambda k: len(np.unique(_lowest_bits(numbers, k))))
    found = set(_lowest_bits(numbers, bits).tolist())  # the fewest bits by which they are too many
    while len(found) > FOLDS:
        bound = max(found)
        found = found - {bound} | {bound - (1 << (bound.bit_length() - 1))}
    return bound


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
            f"an interval needs at least {FEWEST_UNITS} independent units, got {count} for {n} rows: use more examples, or "
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
