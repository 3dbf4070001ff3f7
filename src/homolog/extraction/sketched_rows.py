"""Sketches of rows, made batch by batch, and whether they have the digits that it takes to tell examples apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from array_api_compat import device as device_of

from homolog.arrays import has_float64, namespace
from homolog.devices import exact_products
from homolog.diagnostics import listed
from homolog.extraction.options import Options
from homolog.extraction.reductions import LayerRows
from homolog.sketching import Projection, Sketch

LARGEST_OFFSET = {"float16": 100.0, "float32": 1e5}
"""How many times as large as their differences rows may be, by the type of their sketches: from there on, what rounding puts a
value off by comes near its standard error over sketches."""


class SketchedLayers:
    """Makes sketches of the layers of which they are asked for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._projections: dict[Sketch, Projection] = {}
        self._spreads: dict[str, _Spread] = {}

    def of(self, name: str, rows: LayerRows) -> LayerRows:
        """Return rows of which only sketches are kept, if that was asked for, in the library and on the device of the layer."""
        sketch = self._options.sketch_of(name, rows.width)
        if sketch is None:
            return rows
        if sketch not in self._projections:
            self._projections[sketch] = Projection(sketch)
        features, xp = rows.features, namespace(rows.features)
        if self._options.dtype == "float64" and has_float64(xp, device_of(features)):
            features = xp.astype(features, xp.float64)  # rounded afterwards, not before
        # What is not finite is told where it is compared.
        with np.errstate(invalid="ignore", over="ignore"), exact_products():
            return rows._replace(features=self._projections[sketch].of(features), sketch=sketch)

    def note(self, name: str, columns: np.ndarray) -> None:
        """Take note of the sketches of a batch, as they are kept."""
        self._spreads.setdefault(name, _Spread()).add(columns)

    def too_few_digits(self, skipped: Mapping[str, str]) -> str | None:
        """Say of which layers the sketches have lost digits; None where of none."""
        odd = [name for name, spread in self._spreads.items() if name not in skipped and spread.is_lost]
        if not odd:
            return None
        return (
            f"{listed(odd)}: the examples differ by so small a part of their values that sketches in "
            f'{self._spreads[odd[0]].dtype} hardly keep it: pass dtype="float64".'
        )


class _Spread:
    """How large the columns of sketches are, and how far they differ, over all batches."""

    def __init__(self) -> None:
        self.dtype, self._count = "", 0
        self._first = self._total = np.zeros(0)
        self._squares = 0.0

    def add(self, columns: np.ndarray) -> None:
        """Take the rows of a batch."""
        if not len(columns):
            return
        if not self._count:
            self.dtype, self._first = str(columns.dtype), columns[0].astype(np.float64)
            self._total = np.zeros_like(self._first)
        with np.errstate(all="ignore"):
            apart = columns - self._first  # in float64
            self._total += apart.sum(axis=0)
            self._squares += float(np.vdot(apart, apart))
        self._count += len(columns)

    @property
    def is_lost(self) -> bool:
        """Whether rows are so large beside their differences that rounding matters."""
        largest = LARGEST_OFFSET.get(self.dtype)
        if largest is None or self._count < 2:
            return False
        with np.errstate(all="ignore"):
            mean = self._first + self._total / self._count
            spread = self._squares - float(np.vdot(self._total, self._total)) / self._count
            return bool(float(np.vdot(mean, mean)) * self._count > largest**2 * spread > 0)
