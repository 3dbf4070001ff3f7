"""What a check found: every layer with its value and threshold, and those that fell short as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from homolog.markup import paragraphs, table, title
from homolog.names import shown
from homolog.results import TIE

if TYPE_CHECKING:
    import pandas
    import xarray


@dataclass(frozen=True)
class CheckedLayer:
    """One layer and one measure: what was found, what was asked for, and why that does not hold."""

    before: str
    """The layer of the model before."""
    after: str
    """The layer of the model after that it was compared with; "" where there is none."""
    measure: str
    kind: str
    """"similarity" (must be at least the threshold) or "distance" (at most)."""
    value: float
    low: float
    """Lower end of the interval; NaN without confidence."""
    high: float
    """Upper end of the interval; NaN without confidence."""
    threshold: float
    reason: str = ""
    """Why the layer falls short; "" where it holds."""

    @property
    def holds(self) -> bool:
        """Whether the threshold is reached."""
        return not self.reason

    @property
    def end(self) -> float:
        """The end of the interval that must hold; the value without confidence."""
        if math.isnan(self.low) and math.isnan(self.high):
            return self.value
        return self.high if self.kind == "distance" else self.low

    @property
    def must_be(self) -> str:
        """The threshold in words, such as "at least 0.98"."""
        return f"at {'most' if self.kind == 'distance' else 'least'} {self.threshold:.12g}"

    @property
    def pair(self) -> str:
        """The layer by its name, or both names where they differ."""
        same = self.after in ("", self.before)
        return self.before if same else f"{self.before} → {self.after}"

    @property
    def sentence(self) -> str:
        """What was found, and why it does not hold."""
        value = "has no value" if math.isnan(self.value) else f"is {written(self.value, self.threshold)}"
        return f"{shown(self.measure)} {value}, must be {self.must_be}{': ' * bool(self.reason)}{self.reason}"


@dataclass(frozen=True, repr=False)
class Check:
    """Whether all layers reach their thresholds; true where they do. `print` it for the layers that fell short."""

    layers: tuple[CheckedLayer, ...]
    """Every layer and measure, in the order of the network before."""
    notes: tuple[str, ...]
    """What was not compared, and what the check cannot know."""
    confidence: float | None
    result: xarray.Dataset = field(compare=False)
    """The values of the pairs, as `homolog.compare` gives them."""

    def __bool__(self) -> bool:
        return not self.short

    def __repr__(self) -> str:
        return f"<Check: {self.verdict}>"

    @property
    def short(self) -> tuple[CheckedLayer, ...]:
        """Those that fell short, the first of the network first."""
        return tuple(layer for layer in self.layers if not layer.holds)

    @property
    def verdict(self) -> str:
        """What came out, in one sentence."""
        count = len({layer.before for layer in self.layers})
        if not self.short:
            sure = "" if self.confidence is None else f" with {percent(self.confidence)} confidence"
            nearest = min(self.layers, key=lambda layer: abs(layer.end - layer.threshold))
            hold = "1 layer holds" if count == 1 else f"All {count} layers hold"
            return f"{hold}{sure}. Nearest to its threshold is {shown(nearest.pair)}: {nearest.sentence}."
        first, fell = self.short[0], len({layer.before for layer in self.short})
        return f"{fell} of {count} layers fell short, the first of them {shown(first.pair)}: {first.sentence}."

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table of all layers and measures, those that hold included."""
        import pandas

        names = ["before", "after", "measure", "value", "low", "high", "threshold", "holds", "reason"]
        return pandas.DataFrame([[getattr(layer, name) for name in names] for layer in self.layers], columns=names)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and the cells of a table of the layers that fell short."""
        ends = [] if self.confidence is None else [f"{percent(self.confidence)} interval"]
        cells = [
            [
                layer.pair,
                layer.measure,
                written(layer.value, layer.threshold),
                *([interval(layer)] if ends else []),
                layer.must_be,
                layer.reason,
            ]
            for layer in self.short
        ]
        return ["layer", "measure", "value", *ends, "must be", "why"], cells

    def __str__(self) -> str:
        columns, cells = self.table()
        rows = [columns, *([shown(cell) for cell in row] for row in cells)] if cells else []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.verdict, *lines, *(f"Note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        columns, cells = self.table()
        listed = table(columns, {"": cells}) if cells else ""
        return title(self.verdict) + listed + paragraphs(f"Note: {note}" for note in self.notes)


def rounding(threshold: float) -> float:
    """Return how far from a threshold a value may lie by rounding alone."""
    return TIE * max(1.0, abs(threshold))


def interval(layer: CheckedLayer) -> str:
    """Write the interval of a layer."""
    if math.isnan(layer.low) or math.isnan(layer.high):
        return "none"
    return f"{written(layer.low, layer.threshold)} to {written(layer.high, layer.threshold)}"


def written(value: float, threshold: float) -> str:
    """Write a number with four decimals, or with as many as show on which side of the threshold it lies.

    >>> written(0.97999999, 0.98), written(0.5, 0.98), written(float("nan"), 0.98)
    ('0.97999999', '0.5000', 'none')
    """
    if math.isnan(value):
        return "none"
    if abs(value - threshold) <= rounding(threshold):
        return f"{value:.4f}"
    for decimals in range(4, 17):
        text = f"{value:.{decimals}f}"
        if np.sign(float(text) - threshold) == np.sign(value - threshold):
            return text
    return repr(value)


def percent(confidence: float) -> str:
    """Write a confidence, such as "95 %"."""
    return f"{100 * confidence:.6g} %"
