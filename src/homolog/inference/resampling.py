"""Values without some of the examples or networks, and the standard errors that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from homolog.inference.permutations import Each, seed_of
from homolog.inference.units import count_of
from homolog.measures.evaluation import prepared, value_matrices
from homolog.measures.record import Measure

Method = Literal["jackknife", "subsample"]
FOLDS = 50
"""Parts left out in turn where leaving out single examples has no shortcut."""
SUBSAMPLES = 100
"""Random halves of a subsampling interval."""
SPLITS = 10
"""Random splits into two halves, which show how the bias goes down with the number of examples."""
FEWEST = 4
"""Examples that a half needs to show anything."""


class Resampled(NamedTuple):
    """Values on parts of the examples, first axis over the parts."""

    whole: np.ndarray
    """Value on all examples, rounded as the others."""
    values: np.ndarray
    variance_factor: float
    """Times the mean squared deviation of the values gives the variance of the value on all."""
    bias_factor: float
    """Times the mean of the values less the value on all gives the bias of the value on all, to first order; 0 for none."""
    freedom: int | None = None
    """Degrees of freedom of the variance; None where every example or part is left out once, so that the values tell."""
    halves: np.ndarray | None = None
    """Values on halves of the examples, of a measure whose bias they are to show; None without."""
    beside: np.ndarray | None = None
    """Standard error that the value has beside that over examples, as from sketches; None without."""

    def on(self, change: Callable[[Any], Any]) -> Resampled:
        """Return the same values changed one by one."""
        halves = None if self.halves is None else change(self.halves)
        return self._replace(whole=change(self.whole), values=change(self.values), halves=halves)

    def less_noise(self, noise: np.ndarray) -> Resampled:
        """Return values that vary less over the parts, by a variance that is not that of the value over examples."""
        variance = self.variance_factor * np.var(self.values, axis=0)
        noisy = (noise > 0) & (variance > 0)
        left = np.clip(1 - np.divide(noise, variance, out=np.zeros_like(variance), where=noisy), 0, 1)
        middle = self.values.mean(axis=0)

        def change(values: np.ndarray) -> np.ndarray:
            # A bias is of the order of the variance.
            changed: np.ndarray = self.whole + left * (middle - self.whole) + np.sqrt(left) * (values - middle)
            return changed

        return self._replace(values=change(self.values), halves=None if self.halves is None else change(self.halves))

    def less(self, other: Resampled) -> Resampled:
        """Return the difference to values on the same parts."""
        halves = None if self.halves is None or other.halves is None else self.halves - other.halves
        return self._replace(whole=self.whole - other.whole, values=self.values - other.values, halves=halves)


def parts(
    n: int, method: Method, rng: int | np.random.Generator, units: np.ndarray | None = None
) -> tuple[list[np.ndarray], float, int | None]:
    """Return the rows of every part, the factor of variance and bias, and the degrees of freedom, None where the values tell.

    With the number of the unit of every row, whole units are left out. The factors are of the number of parts, whatever their
    sizes: a larger unit moves the value further, as it should, since another draw of units may hold more or fewer of its kind
    (the jackknife of clusters, CV3 of MacKinnon, Nielsen & Webb 2023).
    """
    random = np.random.default_rng(seed_of(rng))
    draws = n if units is None else count_of(units)
    if method == "subsample":
        kept = draws // 2
        rows = [rows_of_draws(random.permutation(draws)[:kept], units) for _ in range(SUBSAMPLES)]
        # Of delete-d jackknife: Var = (n − d)/d times the variance over parts (Shao & Wu 1989).
        return rows, kept / (draws - kept), draws - 1
    count = min(draws, FOLDS)
    left_out = np.array_split(random.permutation(draws), count)
    return [rows_of_draws(np.setdiff1d(np.arange(draws), out), units) for out in left_out], count - 1, None


def rows_of_draws(draws: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Return the rows of some of the draws, in order; the draws themselves where each is a row."""
    if units is None:
        return np.sort(draws)
    chosen = np.zeros(count_of(units), dtype=bool)
    chosen[draws] = True
    return np.flatnonzero(chosen[units])


def halves_of(n: int, rng: int | np.random.Generator, units: np.ndarray | None = None) -> list[np.ndarray]:
    """Return the rows of every half of SPLITS random splits; of the units where rows belong together."""
    random = np.random.default_rng(seed_of(rng))
    draws = n if units is None else count_of(units)
    orders = [random.permutation(draws) for _ in range(SPLITS)]
    return [rows_of_draws(half, units) for order in orders for half in (order[: draws // 2], order[draws // 2 :])]


def resampled_values(
    measures: Mapping[str, Measure],
    xs: Sequence[Any],
    ys: Sequence[Any],
    needed: np.ndarray,
    method: Method,
    rng: int | np.random.Generator,
    each: Each,
    step: Callable[[], Any] = lambda: None,
    units: np.ndarray | None = None,
) -> dict[str, Resampled]:
    """Return name → values on parts of the examples, (parts, x, y), of measures that share their operands.

    Values without each example where a measure has a shortcut to them, else on FOLDS parts or SUBSAMPLES halves. A measure
    without an estimator free of bias is also computed on halves, from which intervals learn of its bias.

    Parameters
    ----------
    xs, ys
        representations of the two sides.
    needed
        (x, y) bool, the pairs asked for.
    units
        (n,) number of the unit of every row, where rows that belong together are left out together.
    """
    found: dict[str, Resampled] = {}
    if method == "jackknife" and units is None:
        found = _shortcuts(measures, xs, ys, needed, each)

    def computed(asked: Mapping[str, Measure], rows: list[np.ndarray]) -> np.ndarray:
        """Return (parts, measures, x, y) values."""

        def one(kept: np.ndarray) -> np.ndarray:
            some = {name: record.of_rows(kept) for name, record in asked.items()}
            value = _on(some, [x[kept] for x in xs], None if ys is xs else [y[kept] for y in ys], needed)
            step()
            return value

        return np.array(list(each(one, rows)))

    rest = {name: record for name, record in measures.items() if name not in found}
    if rest:
        rows, factor, freedom = parts(len(xs[0]), method, rng, units)
        whole = _on(rest, xs, None if ys is xs else ys, needed)
        values = computed(rest, rows)
        found |= {name: Resampled(whole[i], values[:, i], factor, factor, freedom) for i, name in enumerate(rest)}
    biased = {name: record for name, record in measures.items() if shows_bias(record, len(xs[0]))}
    if biased and method == "jackknife":
        halved = computed(biased, halves_of(len(xs[0]), rng, units))
        found |= {name: found[name]._replace(halves=halved[:, i]) for i, name in enumerate(biased)}
    elif biased:
        found |= {name: found[name]._replace(halves=found[name].values) for name in biased}
    return {name: found[name] for name in measures}


def shows_bias(record: Measure, n: int) -> bool:
    """Say whether halves are asked for the bias of a measure: it has no estimator without bias, and they are large enough."""
    return not record.unbiased and n // 2 >= max(record.minimal_n, FEWEST)


def _shortcuts(
    measures: Mapping[str, Measure], xs: Sequence[Any], ys: Sequence[Any], needed: np.ndarray, each: Each
) -> dict[str, Resampled]:
    """Return values without each example, of the measures that have them without computing anything again."""
    quick = {name: record for name, record in measures.items() if record.without_each is not None}
    if not quick:
        return {}
    record = next(iter(quick.values()))
    firsts = list(each(partial(prepared, record), xs))
    seconds = firsts if ys is xs else list(each(partial(prepared, record), ys))
    pairs = list(zip(*np.nonzero(needed), strict=True))

    def one(pair: tuple[int, int]) -> dict[str, np.ndarray | None]:
        x, y = firsts[pair[0]], seconds[pair[1]]
        shared = record.family.meet(x, y)
        return {name: record.values_without_each(x, y, shared) for name, record in quick.items()}

    values = {name: np.full((len(xs[0]), *needed.shape), np.nan) for name in quick}
    for (i, j), without in zip(pairs, each(one, pairs), strict=True):
        for name, found in without.items():
            if found is None:
                values.pop(name, None)  # with these options there is no shortcut, whatever the pair
            elif name in values:
                values[name][:, i, j] = found
    whole = dict(zip(quick, value_matrices(quick, firsts, seconds, needed), strict=True))
    for name, found in values.items():
        _recomputed(quick[name], found, xs, ys, pairs)
    return {name: Resampled(whole[name], found, len(found) - 1, len(found) - 1) for name, found in values.items()}


def _recomputed(
    record: Measure, values: np.ndarray, xs: Sequence[Any], ys: Sequence[Any], pairs: list[tuple[int, int]]
) -> None:
    """Compute anew the few values that a shortcut cannot give: without an example that takes a whole direction with it."""
    n = len(values)
    for i, j in pairs:
        missing = np.flatnonzero(np.isnan(values[:, i, j]))
        if len(missing) == n:
            continue  # there is no value with all examples either
        for example in missing:
            kept = np.arange(n) != example
            one = np.ones((1, 1), dtype=bool)
            values[example, i, j] = _on({"": record.of_rows(kept)}, [xs[i][kept]], [ys[j][kept]], one)[0, 0, 0]


def _on(measures: Mapping[str, Measure], xs: Sequence[Any], ys: Sequence[Any] | None, needed: np.ndarray) -> np.ndarray:
    """Return the values on some examples, prepared anew."""
    record = next(iter(measures.values()))
    firsts = [prepared(record, x) for x in xs]
    return value_matrices(measures, firsts, firsts if ys is None else [prepared(record, y) for y in ys], needed)


def leave_one_out(
    models: Sequence[str], estimate: Callable[[np.ndarray], np.ndarray], pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Return the estimate without each model: `estimate` is given which pairs are left, as booleans."""
    without = [np.array([model not in pair for pair in pairs]) for model in models]
    return np.stack([estimate(left) for left in without])


def standard_error(estimates: np.ndarray) -> np.ndarray:
    """Return the jackknife standard error sqrt((N−1)/N Σ (θ_i − θ̄)²) of N leave-one-out estimates, along the first axis."""
    n = len(estimates)
    error: np.ndarray = np.sqrt((n - 1) / n * np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=0))
    return error
