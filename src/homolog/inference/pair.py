"""Two representations and a measure, checked and on the host: what every question about one pair starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import check_finite, enough_rows, representation, same_library, same_rows, scalar, to_numpy
from homolog.conversion import filled_pair, repeated_ids, taken_pair
from homolog.diagnostics import give
from homolog.inference.units import units_of
from homolog.measures.evaluation import check_memory, prepared, remarks
from homolog.measures.record import Measure
from homolog.measures.registry import measure as resolved
from homolog.operands.family import FUNCTION

ALL = np.ones((1, 1), dtype=bool)
"""The one pair that is asked for."""


@dataclass(frozen=True)
class Pair:
    """Representations of the same examples, and the measure of them."""

    x: np.ndarray
    y: np.ndarray
    measure: Measure
    names: tuple[str, str] = ("x", "y")
    rows_of: np.ndarray | None = None
    """Number of the example of every row, where a table says that examples have several."""

    @classmethod
    def of(
        cls, x: Any, y: Any, measure: str | Measure | Callable[..., Any], names: tuple[str, str] = ("x", "y")
    ) -> Pair:
        """Check what was given as `homolog.compare` would."""
        record = resolved(measure)
        given = [
            representation(value, name, shifted=record.ignores_offset)
            for value, name in zip(
                filled_pair(*taken_pair(x, y, names), names, f"what is asked about {record}"), names, strict=True
            )
        ]
        same_library(given[0], given[1], names)
        same_rows(given[0], given[1], names)
        first, second = (host(value, name, record) for value, name in zip(given, names, strict=True))
        check_memory(record, first, second)
        enough_rows(first, max(record.minimal_n, 3), str(record))
        return cls(first, second, record, names, units_of(repeated_ids(x, y)))

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.x)

    @cached_property
    def operands(self) -> tuple[Any, Any, Any]:
        """Prepared representations, and what they share."""
        x, y = prepared(self.measure, self.x), prepared(self.measure, self.y)
        return x, y, self.measure.family.meet(x, y)

    @cached_property
    def value(self) -> float:
        """The measure of the two."""
        return scalar(self.measure.value(*self.operands))

    @property
    def null_level(self) -> float | None:
        """Mean under permutation where there is a formula."""
        found = self.measure.null_level(*self.operands)
        return None if found is None else scalar(found)

    def caution(self) -> None:
        """Warn of what the measure itself would warn of: constant sides, saturation, ties."""
        give(remarks(self.measure, dict(zip(self.names, self.operands, strict=False)), self.value))


def host(array: Any, name: str, record: Measure) -> np.ndarray:
    """Return a representation as a NumPy array, its values checked."""
    check_finite(array, name)
    # A function of the caller's may know its own array library alone.
    return array if record.family is FUNCTION else to_numpy(array)
