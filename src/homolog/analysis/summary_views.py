"""What a summary reads of a result: the values of two models by one measure, and what is known of chance."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.names import shortened, shown
from homolog.results import (
    ALPHA,
    best_in_rows,
    companion,
    equal_to_largest,
    independent_rows,
    no_order_tells,
    smallest_probability,
)

if TYPE_CHECKING:
    import xarray

LONGEST = 60
"""Characters of a name in a summary."""


@dataclass(frozen=True)
class View:
    """Two models by one measure: rows are the layers of the first, columns those of the second."""

    measure: str
    titles: tuple[str, str]
    layers: tuple[np.ndarray, np.ndarray]
    values: np.ndarray
    p: np.ndarray | None
    """Adjusted p-values, NaN where there are none; None where nothing was tested."""
    smallest: np.ndarray
    """Where p is the smallest that the permutations can give."""
    level: np.ndarray | None
    """What independent layers score on average, NaN where that is unknown."""
    cosine: bool
    """Whether values are cosines of angles between what the layers are, so that angles obey the triangle inequality."""
    kind: str
    range: tuple[float, float]
    same: bool
    calibrated: np.ndarray | None = None
    """How far values lie beyond what chance reaches, of comparisons that were asked for it."""
    types: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    """What made the layers of each side, as Conv2d, "" where that is unknown; None where it is unknown of all."""

    @property
    def transposed(self) -> View:
        """The same with the two models exchanged."""
        flipped: dict[str, Any] = {
            name: None if (matrix := getattr(self, name)) is None else matrix.T
            for name in ("values", "p", "smallest", "level", "calibrated")
        }
        return replace(self, titles=self.titles[::-1], layers=self.layers[::-1], types=self.types[::-1], **flipped)

    @cached_property
    def scores(self) -> np.ndarray:
        """Values of which larger is more alike; NaN for a layer with itself."""
        signed = -self.values if self.kind == "distance" else self.values
        return np.where(self.namesakes, np.nan, signed) if self.same else signed

    @cached_property
    def namesakes(self) -> np.ndarray:
        """Which pairs are of layers of one name."""
        return self.layers[0][:, None] == self.layers[1][None, :]

    @cached_property
    def other_modules(self) -> np.ndarray:
        """Which pairs are of layers of one name that modules of different types made."""
        if self.types[0] is None or self.types[1] is None:
            return np.zeros(self.values.shape, dtype=bool)
        own, other = self.types[0][:, None], self.types[1][None, :]
        return self.namesakes & (own != "") & (other != "") & (own != other)

    def types_of(self, row: int, column: int) -> list[str]:
        """Return what made the layers of a pair."""
        places = zip(self.types, (row, column), strict=True)
        return ["" if types is None else str(types[place]) for types, place in places]

    @property
    def names_tell(self) -> bool:
        """Whether most layers of one name are of one type: names like "0" and "1" of other architectures say nothing."""
        return bool(2 * self.other_modules.sum() <= self.namesakes.sum())

    @cached_property
    def known(self) -> np.ndarray:
        """Which pairs have a value."""
        return ~np.isnan(self.scores)

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows with a value."""
        return np.flatnonzero(self.known.any(axis=1))

    @cached_property
    def best(self) -> np.ndarray:
        """The best match of every one of `rows`: the namesake among equals."""
        found: np.ndarray = best_in_rows(self.scores, self.namesakes)[self.rows]
        return found

    @cached_property
    def equal(self) -> np.ndarray:
        """Which entries equal the largest of their row up to rounding."""
        return equal_to_largest(self.scores)

    @property
    def chosen(self) -> bool:
        """Whether a best match is one of several."""
        return bool((self.known.sum(axis=1) > 1).any())

    @property
    def tested(self) -> bool:
        """Whether any pair has a p-value."""
        return self.p is not None and bool(np.isfinite(self.p[self.known]).any())

    @property
    def without_p(self) -> bool:
        """Whether p-values were asked for and none came out, as where no example can change places with another."""
        return self.p is not None and not self.tested

    @cached_property
    def supported(self) -> np.ndarray:
        """Which pairs are more alike than chance allows: by their p-values, and beyond the null level where there is one."""
        if self.p is None:
            return np.zeros(self.values.shape, bool)
        found: np.ndarray = np.nan_to_num(self.p, nan=1.0) <= ALPHA
        if self.level is None:
            return found
        return found & ~(self.scores <= (-self.level if self.kind == "distance" else self.level))

    @cached_property
    def undecided(self) -> np.ndarray:
        """Which pairs nothing decides: without a p-value, or with too few permutations for one that is small enough."""
        if self.p is None:
            return self.known
        found: np.ndarray = self.known & ~self.supported & (np.isnan(self.p) | self.smallest)
        return found

    @cached_property
    def at_level(self) -> bool:
        """Whether every best match is hardly above what independent layers score: within a tenth of it, and of the room."""
        if self.level is None or not len(self.rows):
            return False
        values, levels = self.picked(self.scores), self.picked(-self.level if self.kind == "distance" else self.level)
        room = self.range[1] - levels if self.kind == "similarity" else np.abs(levels)
        return bool((values <= levels + 0.1 * np.minimum(np.abs(levels), room)).all())

    def picked(self, matrix: np.ndarray) -> np.ndarray:
        """Return the entries of best matches."""
        found: np.ndarray = matrix[self.rows, self.best]
        return found

    def names(self, side: int, which: Any = None) -> list[str]:
        """Return names of layers as sentences show them."""
        layers = self.layers[side] if which is None else self.layers[side][which]
        return [short(name) for name in layers]

    @property
    def likeness(self) -> np.ndarray | None:
        """Values on a scale where 1 is equal, comparable between pairs; None for a measure without a scale."""
        return self._on_scale(self.values)

    @property
    def above_level(self) -> np.ndarray | None:
        """Likeness beyond what independent layers score, as a share of the room; None where that is unknown."""
        if self.level is None or self.likeness is None:
            return None
        level = self._on_scale(self.level)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: np.ndarray = (self.likeness - level) / (1 - level)
        return found

    def _on_scale(self, values: np.ndarray) -> Any:
        high = self.range[1]
        if self.kind == "distance":
            return 1 - (values / high) ** 2 if math.isfinite(high) else None
        return values if high == 1 else None


def views(result: xarray.Dataset, measure: str) -> list[View]:
    """Return what a result says by a measure: one view of two models, or one of each pair of different ones of many."""
    if "a" not in result.dims:
        both = (str(result.attrs.get("model_a", "a")), str(result.attrs.get("model_b", "b")))
        whole = slice(None)
        return [_view(result, measure, both, (whole, whole), same=bool(int(result.attrs.get("same_model", 0))))]
    return list(_of_many(result, measure))


def _of_many(result: xarray.Dataset, measure: str) -> Iterator[View]:
    sides = [result[f"model_{side}"].values.astype(str) for side in "ab"]
    every = dict.fromkeys([*sides[0], *sides[1]])
    for first, second in itertools.combinations(every, 2):
        for pair in ((first, second), (second, first)):
            rows, columns = (np.flatnonzero(models == name) for models, name in zip(sides, pair, strict=True))
            if len(rows) and len(columns):
                yield _view(result, measure, pair, (rows, columns), same=False)
                break


def _view(result: xarray.Dataset, measure: str, titles: tuple[str, str], at: tuple[Any, Any], *, same: bool) -> View:
    about = result[measure].attrs
    low, high = json.loads(about.get("range", "[null, null]"))

    def part(variable: Any) -> Any:
        return None if variable is None else np.asarray(variable.values, dtype=float)[at[0]][:, at[1]]

    # A mean of p-values over pairs of models is none.
    averaged = "averaged_pairs" in result.attrs
    p = None if averaged else part(companion(result, measure, "p_fdr"))
    form = str(about.get("measure", measure))
    level = part(result.get(f"{measure}_null"))
    values = part(result[measure])
    if level is None and unbiased(form) and independent_rows(result):
        level = np.zeros(values.shape)
    if level is not None and not np.isfinite(level[np.isfinite(values)]).any():
        level = None  # permutations told nothing
    return View(
        measure,
        (short(titles[0]), short(titles[1])),
        tuple(result[f"layer_{side}"].values.astype(str)[where] for side, where in zip("ab", at, strict=True)),
        values,
        p,
        _smallest(result, measure, part, values),
        level,
        not averaged and form.split("(")[0] in ("cka", "deconfounded_cka"),
        about["kind"],
        (-math.inf if low is None else float(low), math.inf if high is None else float(high)),
        same,
        part(companion(result, measure, "calibrated")),
        (_types(result, "a", at[0]), _types(result, "b", at[1])),
    )


def _types(result: xarray.Dataset, side: str, where: Any) -> np.ndarray | None:
    found = result.coords.get(f"type_{side}")
    return None if found is None else np.atleast_1d(found.values).astype(str)[where]


def _smallest(result: xarray.Dataset, measure: str, part: Any, values: np.ndarray) -> np.ndarray:
    own = result.get(f"{measure}_p")
    permuted = own is not None and own.attrs.get("method", "permutation") == "permutation"
    if own is None or (permuted and "n_permutations" not in result.attrs):
        return np.zeros(values.shape, bool)
    if no_order_tells(result):  # whatever p is, it can be no smaller
        return np.ones(values.shape, dtype=bool)
    found: np.ndarray = part(own) <= (1 + 1e-9) * smallest_probability(result, measure)
    return found


def unbiased(measure: str) -> bool:
    """Say whether independent layers score 0 on average by a measure, given in its text form."""
    return measure.split("(")[0] in ("cka", "hsic", "deconfounded_cka") and "estimator=debiased" in measure


def short(name: object) -> str:
    """Return a name for a summary."""
    return shortened(shown(name), LONGEST)


def number(value: float) -> str:
    """Write a value, never rounded up to 1.

    >>> number(0.8349), number(0.9968), number(0.99999), number(-0.0001), number(1), number(12345.6), number(float("inf"))
    ('0.83', '0.996', '0.99999', '0.00', '1.00', '12,346', '∞')
    """
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if 0.995 <= value < 1 - 1e-9:
        digits = next(d for d in range(3, 10) if round(value, d) < 1)
        return f"{math.floor(value * 10**digits) / 10**digits:.{digits}f}"
    if abs(value) >= 1000:
        written = f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.3g}"
    else:
        written = f"{round(value, 2) + 0.0:.2f}"
    return written.replace("-", "−")


def spread(values: np.ndarray) -> str:
    """Write where values lie, and their median where they are several.

    >>> spread(np.array([0.2, 0.9, 0.4]))
    'between 0.20 and 0.90 (median 0.40)'
    """
    written = span(values)
    return f"{written} (median {number(float(np.median(values)))})" if len(values) > 2 and " " in written else written


def span(values: np.ndarray) -> str:
    """Write between which numbers values lie.

    >>> span(np.array([0.2, 0.9, 0.4])), span(np.array([0.5]))
    ('between 0.20 and 0.90', '0.50')
    """
    low, high = number(float(np.min(values))), number(float(np.max(values)))
    return low if low == high else f"between {low} and {high}"
