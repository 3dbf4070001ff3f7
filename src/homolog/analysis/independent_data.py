"""What a measure reaches between layers of independent data, of as many rows that belong together in the same way."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import to_numpy
from homolog.diagnostics import HomologWarning
from homolog.engine import compare
from homolog.engine.planning import rows_of_examples
from homolog.inference.units import count_of, rows_of_others
from homolog.machine import parse_bytes
from homolog.measures.record import Measure
from homolog.operands.clouds import STATISTICS
from homolog.operands.family import FUNCTION
from homolog.rows import Rows

EXCHANGED = 100
"""Units that change places in all orders together, at least: of few units one order says little."""


@dataclass(frozen=True)
class IndependentData:
    """Two models as if they had seen different examples."""

    models: Mapping[str, Activations]
    """Those named "before" and "after"."""
    units: np.ndarray | None
    """Number of the example of every row; None where each row is one."""
    memory: str | int

    @classmethod
    def of(cls, models: Mapping[str, Activations], memory: str | int) -> IndependentData:
        """Take two models, and whose their rows are."""
        return cls(models, rows_of_examples(models.values()), memory)

    def level(self, layer: str, partner: str, record: Measure) -> float:
        """Return the mean value with the examples after in other orders; NaN where it is not known, or means nothing."""
        if not _asks_for_order(record) or self.unknown(partner, record):
            return math.nan
        x, y = self.models["before"][layer], np.asarray(to_numpy(self.models["after"][partner]))
        x = x if isinstance(x, Rows) else to_numpy(x)
        count = 1 if self.units is None else math.ceil(EXCHANGED / count_of(self.units))
        random = np.random.default_rng(0)
        orders = (rows_of_others(self.units, len(y), random) for _ in range(count))
        return float(np.mean([self._value(x, y[order], record) for order in orders]))

    def unknown(self, partner: str, record: Measure) -> str:
        """Say why it is not known what independent data reach; nothing where it is, or means nothing."""
        if not _asks_for_order(record):
            return ""
        if self.units is not None and count_of(self.units) < 2:
            return "of one example only"
        y = self.models["after"][partner]
        return "larger than memory" if isinstance(y, Rows) and y.nbytes > parse_bytes(self.memory) else ""

    def _value(self, x: Any, y: np.ndarray, record: Measure) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HomologWarning)
            found = compare({"layer": x}, {"layer": y}, measures={"value": record}, memory=self.memory, progress=False)
        return float(found["value"].values.item())


def _asks_for_order(record: Measure) -> bool:
    """Say whether another order of the rows tells what independent data reach."""
    return record.family not in (STATISTICS, FUNCTION)
