"""What a comparison says about how sure it is: probabilities under permutation, standard errors, intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from homolog.diagnostics import Caution, listed
from homolog.inference.calibrated_scores import best_value, rank_of
from homolog.inference.checks import check_count, check_level, check_method, check_size
from homolog.inference.permutations import numbered
from homolog.inference.resampling import Method
from homolog.inference.units import check_units, independent_units, labels_of
from homolog.machine import format_bytes
from homolog.measures.record import Measure
from homolog.warning_sentences import all_calibrated_zero

ALPHA = 0.05
"""Below which a p-value that permutations can give must lie, or a warning says that they are too few."""
MEANINGS = {
    "null": "mean of the measure under random permutations of the examples",
    "p": "probability of a value at least as alike if the two layers were independent",
    "p_fwer": "the same for all pairs at once (familywise error rate): by the largest standardised value of each permutation",
    "p_fdr": "the same, adjusted for the share of false discoveries (false discovery rate, Benjamini-Hochberg)",
    "se_sketch": "standard error over random sketches: how far the value may be off since only sketches of layers are known",
    "threshold": "how far chance reaches: the order statistic at 1 - alpha of the value and those under random permutations",
    "calibrated": "how far the value lies beyond the threshold: 0 where it does not, 1 for equal layers",
    "se": "standard error over examples, and over random sketches where layers are kept as these",
    "low": "lower end of the interval for the value on infinitely many examples",
    "high": "upper end of the interval for the value on infinitely many examples",
}


def interval_by_name(interval: Any) -> dict[str, Any] | None:
    """Return what says the same as the `interval=` of earlier versions, which named the method, or None for no interval."""
    if isinstance(interval, str):
        return {"interval": True, "method": interval}
    return {"interval": False} if interval is None else None


@dataclass(frozen=True)
class Requested:
    """Which companions of the values are computed, and how."""

    null: Literal["permutation"] | None = None
    interval: bool = False
    n_permutations: int = 999
    groups: Any = None
    level: float = 0.95
    method: Method = "jackknife"
    rng: int | np.random.Generator = 0
    calibrate: bool = False
    rows_of: np.ndarray | None = None
    """Number of the example of every row, where examples have several; None where each row is one."""
    summed_units: int | None = None
    """How many units rows of batches with groups had, of which only sums are known."""

    @cached_property
    def units(self) -> np.ndarray | None:
        """The number of the independent unit of every row; None where rows are independent."""
        n = len(self.rows_of) if self.rows_of is not None else len(self.groups) if self.groups is not None else 0
        return independent_units(self.groups, self.rows_of, n)

    @property
    def independent_rows(self) -> bool:
        """Whether each row is a unit of its own, for which the formulas of p-values and null levels are."""
        return self.summed_units is None and self.rows_of is None and self.units is None

    @classmethod
    def of(cls, null: Any, calibrate: Any, **others: Any) -> Requested:
        """Return what is asked for: calibrated scores come from permutations, which they ask for too."""
        return cls("permutation" if calibrate is True and null is None else null, calibrate=calibrate, **others)

    def check(self, n: int, measures: Mapping[str, Measure]) -> None:
        """Raise for what cannot be asked of n examples."""
        if self.null not in (None, "permutation"):
            raise ValueError(f"null must be 'permutation' or None, got {self.null!r}.")
        if not isinstance(self.interval, bool | np.bool_):
            raise ValueError(f"interval must be True or False, got {self.interval!r}: the method goes into method=.")
        check_count(self.n_permutations)
        self._check_calibrate(measures)
        check_level(self.level)
        check_method(self.method)
        if self.groups is not None:
            if not self.any:
                raise ValueError(
                    "groups are for permutations and intervals, got neither: pass null='permutation' or interval=True."
                )
            (numbered if self.null else labels_of)(self.groups, n)
        if self.interval:
            units = self.units
            for record in measures.values():
                check_size(n, record, self.method)
                if units is not None:
                    check_units(units, record, self.method)
        elif self.method != Requested.method:
            raise ValueError(f"method={self.method!r} is for intervals, got none: pass interval=True.")

    def _check_calibrate(self, measures: Mapping[str, Measure]) -> None:
        if not isinstance(self.calibrate, bool | np.bool_):
            raise ValueError(f"calibrate must be True or False, got {self.calibrate!r}.")
        endless = [name for name, record in measures.items() if not np.isfinite(best_value(record))]
        if self.calibrate and endless:
            raise ValueError(
                f"calibrate=True needs measures with a best value, which equal layers have, got {listed(endless)} without one: "
                f"leave calibrate out, or these measures; a function of your own is given one by "
                f"homolog.register(kind='similarity', range=(0, 1), ...)."
            )

    @property
    def keeps_together(self) -> bool:
        """Whether orders are other ones than all orders of the rows, for which the formulas of null levels are."""
        return self.null is not None and (self.groups is not None or self.rows_of is not None)

    @property
    def alpha(self) -> float:
        """How likely chance alone is to reach beyond the threshold of calibrated scores."""
        return round(1 - self.level, 12)

    def cautions(self) -> list[Caution]:
        """Return what a reader should be told of what was asked for, whatever the values."""
        few = self.calibrate and rank_of(self.level, self.n_permutations) > self.n_permutations
        return [all_calibrated_zero(self.n_permutations, self.alpha)] if few else []

    def refuse_in_parts(self, needed: int, memory: int, *, elsewhere: bool) -> None:
        """Raise where not all can be in memory at once: permutations and parts of the examples need it there."""
        if self.any:
            what = "null='permutation'" if self.null is not None else "interval=True"
            if elsewhere:
                raise ValueError(f"{what} is computed in this process, got an executor: leave the executor out.")
            all_of_them = format_bytes(1.06 * needed)
            raise ValueError(
                f"{what} needs all layers in memory, {all_of_them}, got memory={format_bytes(memory)}: raise memory, take fewer "
                f"examples or layers, or for intervals feed blocks of rows to homolog.Moments with groups=."
            )

    @property
    def any(self) -> bool:
        """Whether any are asked for."""
        return self.null is not None or bool(self.interval)

    def steps(self) -> int:
        """Count what a progress bar is told of, for one group of measures."""
        return (self.n_permutations + 1) * (self.null is not None)
