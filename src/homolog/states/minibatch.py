"""HSIC of a stream, batch by batch: unbiased terms of every batch are added up, and one ratio is taken at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from array_api_compat import device as device_of

from homolog.arrays import Array, check_finite, described, from_numpy, namespace, to_numpy
from homolog.diagnostics import Caution, UndefinedValueWarning, give
from homolog.engine.inputs import Measures
from homolog.engine.planning import Plan
from homolog.engine.result import dataset
from homolog.engine.run import Outcome
from homolog.inference.checks import check_level
from homolog.inference.intervals import degrees_of_freedom
from homolog.inference.resampling import standard_error
from homolog.linalg import power_of_two
from homolog.measures.record import Measure
from homolog.states.batch_grams import (
    LARGEST,
    BatchGram,
    BatchGrams,
    at_least_single,
    is_far,
    stacked,
    unbiased_products,
)
from homolog.states.compared_layers import TITLES, Batch, ComparedLayers, chosen_titles
from homolog.states.distributed import of_all

if TYPE_CHECKING:
    import xarray
FEWEST = 4
"""Rows without which U-centring is not defined."""
READ_TOGETHER = 16
"""Batches whose terms are read from a device at a time: every reading waits for it."""


@dataclass(frozen=True, eq=False)
class Term:
    """What one batch adds."""

    inner: np.ndarray
    """(layers, layers) ⟨Ã, B̃⟩ of the U-centred Gram matrices, in the scales of the state."""
    weight: float
    """n(n − 3)"""
    rows: int
    part: int
    """The pass over the data that the batch belongs to."""


class MinibatchHSIC:
    """Debiased HSIC and CKA of a stream of batches, of all pairs of layers.

    A state: empty at first; `update` adds a batch, `merge` another state; `finalise` gives values and standard errors.
    HSIC_1 of every batch is unbiased; the three terms of CKA are summed over batches, and one ratio is taken at the end. Terms
    of every batch are kept, for a jackknife over batches.

    Notes
    -----
    Per batch of n rows n²·Σp operations; memory layers² per batch. A batch of fewer than 4 rows is joined to the one before it,
    of which a copy is kept until the next one comes. The value differs from that of all rows at once by the
    randomness of the split into batches, which the standard error includes; batches should be random samples.

    References
    ----------
    Nguyen, Raghu & Kornblith, ICLR 2021; Song, Smola, Gretton, Bedo & Borgwardt, JMLR 2012.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> state = hl.MinibatchHSIC()
    >>> for _ in range(20):
    ...     x = rng.normal(size=(32, 4))
    ...     state.update({"early": x}, {"late": x @ rng.normal(size=(4, 3)) * 0 + x[:, :3]})
    >>> result = state.finalise()
    >>> list(result.data_vars)
    ['cka(estimator=debiased)', 'cka(estimator=debiased)_se', 'cka(estimator=debiased)_low', 'cka(estimator=debiased)_high']
    """

    def __init__(self) -> None:
        self.sides: ComparedLayers | None = None
        self.titles = TITLES
        self.terms: list[Term] = []
        self._unread: list[Term] = []
        self._grams = BatchGrams()
        self._scales = np.empty(0)
        self._squared_scales: Array | None = None
        self._last: list[Any] | None = None
        self._last_term: Any = None
        self._part = 0

    def update(self, a: Batch, b: Batch | None = None) -> None:
        """Add a batch.

        Parameters
        ----------
        a, b
            array (n, p), or mapping of layer names to arrays, of any array library; b left out compares a with itself.

        Raises
        ------
        ValueError, TypeError
            For layers that differ from those of the first batch, unequal rows, NaN or infinity.
        """
        sides = self.sides or ComparedLayers(a, b)
        arrays = [at_least_single(x) for x in sides.arrays(a, b)]
        self._take(sides, arrays)

    def _take(self, sides: ComparedLayers, arrays: list[Any]) -> None:
        """Add a batch; with the one before it where either has too few rows. Nothing changes where it raises."""
        before = self._last
        replaces = False
        if before is not None and min(arrays[0].shape[0], before[0].shape[0]) < FEWEST:
            replaces = before[0].shape[0] >= FEWEST
            arrays = [namespace(x).concat([old, x], axis=0) for old, x in zip(before, arrays, strict=True)]
        if arrays[0].shape[0] >= FEWEST:
            several = zip(arrays, sides.names, strict=True)
            grams = [self._grams.of(x, name) for x, name in several]
            self.add(sides, grams)
            self.read()
            if replaces:
                self.terms.remove(self._last_term)
            self._last_term = self.terms[-1]
        else:
            for x, name in zip(arrays, sides.names, strict=True):
                check_finite(x, name)
        self.sides = sides
        # A copy, because the caller may use the same memory again.
        self._last = [namespace(x).asarray(x, copy=True) for x in arrays]

    def add(self, sides: ComparedLayers, grams: list[BatchGram]) -> None:
        """Add a batch of at least four rows, given its Gram matrices, in the order of the layers.

        What was formed on a device is read together with that of batches to come.
        """
        several = stacked(grams)
        if not len(self._scales):
            xp = namespace(several)
            largest = to_numpy(xp.max(xp.abs(several), axis=(1, 2)))
            _check_terms(largest, sides.names, 1)
            self._scales = to_numpy(power_of_two(np.sqrt(largest)))
        self.sides = sides
        n = len(grams[0])
        inner = unbiased_products(several / self._squared_scales_like(several))
        self._unread.append(Term(inner, n * (n - 3.0), n, self._part))
        if not is_far(several) or len(self._unread) == READ_TOGETHER:
            self.read()

    def _squared_scales_like(self, grams: Array) -> Array:
        """Return the squared scales beside Gram matrices, where these are."""
        known = self._squared_scales
        if known is None or type(known) is not type(grams) or device_of(known) != device_of(grams):
            known = self._squared_scales = from_numpy(self._scales[:, None, None] ** 2, grams)
        return known

    def read(self) -> None:
        """Read the terms that are still on a device; raise where a layer was not finite."""
        if not self._unread:
            return
        unread, self._unread = self._unread, []
        inner = to_numpy(namespace(unread[0].inner).stack([term.inner for term in unread]))
        for term, one in zip(unread, inner, strict=True):
            _check_terms(np.diag(one), (self.sides or ComparedLayers.of([])).names, len(self.terms) + 1)
            self.terms.append(replace(term, inner=one))

    def keep(self, places: Sequence[int]) -> None:
        """Keep the terms of some of the layers, by their places."""
        assert self.sides is not None  # it has layers
        self.read()
        self.sides, self._scales, self._squared_scales = self.sides.part(places), self._scales[list(places)], None
        kept = {id(term): replace(term, inner=term.inner[np.ix_(places, places)]) for term in self.terms}
        self.terms, self._last_term = list(kept.values()), kept.get(id(self._last_term))
        self._last = None if self._last is None else [self._last[place] for place in places]

    def new_pass(self) -> None:
        """Say that the batches from here on are the same rows again, in other batches."""
        self.check_no_rows_wait()
        self._part += 1
        self._last = None

    def merge(self, other: MinibatchHSIC) -> None:
        """Add the batches of another state of the same layers, pass by pass."""
        if not isinstance(other, MinibatchHSIC):
            raise TypeError(f"a MinibatchHSIC can be merged with another, got {described(other)}.")
        if other.sides is None:
            return
        self.read()
        other.read()
        sides = self.sides or other.sides
        sides.check_equal(other.sides)
        if (self._few() or other._few()) and self._part != other._part and self.sides is not None:
            raise ValueError(
                f"states must be in the same pass over the data to join fewer than {FEWEST} rows, got passes "
                f"{self._part + 1} and {other._part + 1}: add whole batches before a new pass."
            )
        waiting = [few for state in (self, other) if state._few() for few in [state._last or []]]
        self.sides, self.titles = sides, chosen_titles(self.titles, other.titles)
        self._take_over(other)
        for rows in waiting:
            # Few rows join the last batch there is, whichever state holds it.
            self._take(sides, rows)

    def _take_over(self, other: MinibatchHSIC) -> None:
        """Add the terms of another state, and keep its last batch where there is none here; too few rows are left out."""
        if not len(self._scales):
            self._scales = other._scales
        moved = {}
        if other.terms:
            ratios = (other._scales / self._scales) ** 2
            both = ratios[:, None] * ratios[None, :]
            moved = {id(t): Term(t.inner * both, t.weight, t.rows, t.part) for t in other.terms}
            self.terms += moved.values()
        if self._few() or other._part > self._part:
            self._last, self._last_term = None, None
        if self._last is None and not other._few() and other._part >= self._part:
            self._last, self._last_term = other._last, moved.get(id(other._last_term))
        self._part = max(self._part, other._part)

    def all_reduce(self, group: Any = None) -> None:
        """Add up the states of all processes of `torch.distributed`, each of which then holds the whole, in order of ranks."""
        self.read()
        whole = MinibatchHSIC()
        whole.titles = self.titles
        for other in of_all(self, group):
            whole.merge(other)
        self.__dict__.update(whole.__dict__)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs, none of it on a device."""
        self.read()
        return vars(self) | {"_squared_scales": None}

    def _few(self) -> bool:
        """Say whether the last rows are too few to be a batch, and wait for the next one."""
        return self._last is not None and self._last[0].shape[0] < FEWEST

    def check_no_rows_wait(self) -> None:
        """Raise where rows wait that are too few to be a batch."""
        if self._few():
            raise ValueError(
                f"a pass over the data must hold at least {FEWEST} rows, got {(self._last or [])[0].shape[0]}: add more batches."
            )

    def finalise(self, measures: Measures = "cka(estimator=debiased)", *, level: float = 0.95) -> xarray.Dataset:
        """Return values, standard errors and intervals of all pairs of layers.

        Parameters
        ----------
        measures
            "cka(estimator=debiased)", "hsic(estimator=debiased)", or both, with the linear kernel.
        level
            of the intervals, by Student's t with at most one degree of freedom less than there are batches in a pass, and fewer
            where a few batches carry the standard error.

        Returns
        -------
        xarray.Dataset
            As of `compare`, with `<measure>_se`, `_low` and `_high` where there are two batches or more; of one there are none,
            with a warning.

        Raises
        ------
        ValueError
            If fewer than four rows were added, or for other measures.

        Notes
        -----
        With several passes the jackknife is taken within each pass, and what the split into batches adds to it, seen between
        passes, is counted once for all of them.
        """
        check_level(level)
        self.check_no_rows_wait()
        self.read()
        if self.sides is None:
            raise ValueError("a result needs batches, got none: update the state with batches first.")
        # Several passes see the same examples again.
        rows = max(sum(term.rows for term in self.terms if term.part == part) for part in range(self._part + 1))
        plan = self.sides.plan(rows, measures, self.titles)
        outcome = Outcome.empty(plan)
        for name, record in plan.measures.items():
            if (
                record.name not in ("cka", "hsic")
                or record.options.get("estimator") != "debiased"
                or len(record.options) > 1
            ):
                raise ValueError(
                    f"batches give cka(estimator=debiased) and hsic(estimator=debiased), got {name!r}: use Moments or compare."
                )
            self._evaluate(outcome, name, record, level)
        outcome = outcome.concluded(plan)
        outcome.cautions += self._without_errors(bool(outcome.companions))
        give(outcome.cautions)
        return self._result(plan, outcome, level)

    def _evaluate(self, outcome: Outcome, name: str, record: Measure, level: float) -> None:
        terms = np.stack([term.inner for term in self.terms])
        weights = np.array([term.weight for term in self.terms])
        units = np.ones(len(self._scales)) if record.name == "cka" else self._scales**2
        ratio = _cka if record.name == "cka" else _hsic
        factor = np.outer(units, units)
        value = factor * ratio(terms.sum(axis=0), weights.sum())
        outcome.values[name] = value
        parts = [np.flatnonzero([term.part == part for term in self.terms]) for part in range(self._part + 1)]
        parts = [part for part in parts if len(part)]
        if min(map(len, parts)) < 2:
            return
        error, freedom = error_over_batches(terms, weights, parts, ratio)
        error = factor * error
        reach = scipy.stats.t.ppf((1 + level) / 2, freedom) * error
        low, high = record.range
        ends = {"se": error, "low": np.maximum(value - reach, low), "high": np.minimum(value + reach, high)}
        outcome.companions[name] = ends

    def _without_errors(self, known: bool) -> list[Caution]:
        """Say why there are no standard errors, if there are none."""
        few = "the data" if self._part == 0 else "a pass over the data"
        message = (
            f"no standard errors and no intervals, because {few} had a single batch (of {self.terms[-1].rows} examples): they "
            f"come of how batches differ. Pass ten batches or more, with batch_size= or smaller batches."
        )
        return [] if known else [Caution(UndefinedValueWarning, message)]

    def _result(self, plan: Plan, outcome: Outcome, level: float) -> xarray.Dataset:
        found = dataset(plan, outcome)
        found.attrs |= {"n_batches": np.int32(len(self.terms)), "n_passes": np.int32(self._part + 1)}
        if outcome.companions:
            found.attrs |= {"interval": "jackknife over batches", "level": level}
        return found


def error_over_batches(
    terms: np.ndarray, weights: np.ndarray, parts: list[np.ndarray], ratio: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors over batches, by the jackknife within every pass, and their degrees of freedom, a mean.

    The mean of the variances within passes is that of one pass: of the examples, and of how they fell into batches. The latter,
    seen between passes, is averaged over them in the value.
    """
    variances, values, freedoms = [], [], []
    for part in parts:
        total, weight = terms[part].sum(axis=0), weights[part].sum()
        without = np.stack([ratio(total - terms[b], weight - weights[b]) for b in part])
        variances.append(standard_error(without) ** 2)
        values.append(ratio(total, weight))
        freedoms.append(degrees_of_freedom(without))
    one, passes, freedom = np.mean(variances, axis=0), len(parts), np.mean(freedoms, axis=0)
    if passes == 1:
        return np.sqrt(one), freedom
    between = np.var(values, axis=0, ddof=1)
    return np.sqrt(np.maximum(one - (1 - 1 / passes) * between, one / passes)), freedom


def _cka(inner: np.ndarray, weight: float) -> np.ndarray:
    own = np.diag(inner)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.sqrt(np.where(own > 0, own, np.nan))
    return inner / norms[:, None] / norms[None, :]


def _hsic(inner: np.ndarray, weight: float) -> np.ndarray:
    return inner / weight


def _check_terms(terms: np.ndarray, names: Sequence[str], number: int) -> None:
    """Raise where what a layer adds is not finite: on a device its features are not looked at one by one."""
    wrong = [name for name, term in zip(names, terms, strict=True) if not np.isfinite(term)]
    if wrong:
        raise ValueError(
            f"{wrong[0]} must be finite and at most {LARGEST:.0e}, got NaN, infinity or more in batch {number}: leave these "
            f"examples out on both sides, or look for an overflow in the model."
        )
