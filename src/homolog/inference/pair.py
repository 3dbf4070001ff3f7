"""Two representations and a measure, checked and on the host: what every question about one pair starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import check_finite, enough_rows, representation, same_rows, scalar, to_numpy
from homolog.registry import Measure, check_memory
from homolog.registry import measure as resolved

ALL = np.ones((1, 1), dtype=bool)
"""The one pair that is asked for."""


@dataclass(frozen=True)
class Pair:
    """Representations of the same examples, and the measure of them."""

    x: np.ndarray
    y: np.ndarray
    measure: Measure

    @classmethod
    def of(
        cls, x: Any, y: Any, measure: str | Measure | Callable[..., Any], names: tuple[str, str] = ("x", "y")
    ) -> Pair:
        """Check what was given as `homolog.compare` would."""
        record = resolved(measure)
        first, second = (host(value, name, record) for value, name in zip((x, y), names, strict=True))
        same_rows(first, second, names)
        check_memory(record, first, second)
        enough_rows(first, max(record.minimal_n, 3), str(record))
        return cls(first, second, record)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.x)

    @cached_property
    def operands(self) -> tuple[Any, Any]:
        """Prepared representations."""
        return prepare(self.measure, self.x), prepare(self.measure, self.y)

    @cached_property
    def value(self) -> float:
        """The measure of the two."""
        return scalar(self.finished(self.measure.finish))

    @property
    def level(self) -> float | None:
        """Mean under permutation where there is a formula."""
        found = None if self.measure.null is None else self.finished(self.measure.null)
        return None if found is None else scalar(found)

    def finished(self, last_line: Callable[..., Any]) -> Any:
        """Apply a last line of the measure to the pair."""
        x, y = self.operands
        return last_line(x, y, self.measure.family.meet(x, y), **self.measure.finish_options)


def host(value: Any, name: str, record: Measure) -> np.ndarray:
    """Return a representation as a NumPy array of a floating dtype, checked."""
    array = representation(value, name)
    check_finite(array, name)
    # A function of the caller's may know its own array library alone.
    return array if record.family.name == "function" else to_numpy(array)


def prepare(record: Measure, x: np.ndarray) -> Any:
    """Return the operand of a representation."""
    return record.family.prepare(x, **record.prepare_options)
