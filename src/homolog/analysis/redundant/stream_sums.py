"""Sums over the rows of a residual stream, from which all linear indexes of its layers follow in every form.

Leaving out features takes blocks of the products. Leaving out rows takes the sums over the others, which are kept apart: sums
over rows that are much longer than all others would not leave the digits of the others when they are subtracted.
"""

from __future__ import annotations

import numpy as np

from homolog.analysis.redundant.residual_stream import Form
from homolog.linalg import power_of_two
from homolog.measures.record import Measure
from homolog.operands.gram_statistics import STRUCTURE
from homolog.states.compared_layers import ComparedLayers
from homolog.states.moments import CrossMoments, LayerMoments, Moments

COPIES = 6
"""Matrices of all features by all features at a time: two sums, the products of a block, and those of a form about its means."""


def fit(record: Measure, n: int, layers: int, width: int, memory: int) -> bool:
    """Say whether a measure follows from the sums, these are less than the rows, and a quarter of the memory holds them."""
    linear = record.family is STRUCTURE and record.prepare_options.get("kernel") == "linear"
    return linear and n > width and 8 * COPIES * (layers * width) ** 2 <= memory // 4


class StreamSums:
    """Sums over ordinary rows and over outlying ones, of all features and of some."""

    def __init__(self, names: list[str], width: int, columns: np.ndarray | None, largest: np.ndarray) -> None:
        self._names, self._columns = names, columns
        masks = np.ones((width, 1 if columns is None else 2))
        if columns is not None:
            masks[:, 1] = np.isin(np.arange(width), columns)
        self._scales = np.array([float(power_of_two(each)) for each in largest])
        self._shifts: np.ndarray | None = None
        self._parts = [_Sums(len(names), masks) for _ in range(2)]

    def add(self, stream: np.ndarray, flags: np.ndarray) -> None:
        """Add rows (n, layers, p), of which some are outlying."""
        if self._shifts is None:
            self._shifts = (stream if flags.all() else stream[~flags]).mean(axis=0)
        for part, chosen in zip(self._parts, (~flags, flags), strict=True):
            if chosen.any():
                part.add(stream if chosen.all() else stream[chosen], self._shifts, self._scales)

    def moments(self, form: Form) -> Moments:
        """Return the sums of a form as a state, of which every index is a function."""
        assert self._shifts is not None  # there are rows
        columns, kept = form
        if columns is not None:
            columns = self._columns
        found = self._parts[0].moments(self._names, columns, self._shifts, self._scales)
        if kept is None and self._parts[1].n:
            found.merge(self._parts[1].moments(self._names, columns, self._shifts, self._scales))
        return found


class _Sums:
    """Sums over some rows, less the shifts and divided by the scales of their layers."""

    def __init__(self, layers: int, masks: np.ndarray) -> None:
        width, choices = masks.shape
        self.n = 0
        self._masks = masks
        self._product = np.zeros((layers, width, layers, width))
        self._total = np.zeros((layers, width))
        self._low, self._high = np.full((2, layers, width), np.inf) * np.array([1, -1])[:, None, None]
        self._by_norms = np.zeros((choices, layers, width, layers))
        """Σ ‖ỹ‖² x̃, the lengths of all features and of some"""
        self._norms = np.zeros((choices, layers, layers))
        """Σ ‖x̃‖² ‖ỹ‖²"""
        self._traces = np.zeros((choices, layers))
        """Σ ‖x̃‖²"""

    def add(self, stream: np.ndarray, shifts: np.ndarray, scales: np.ndarray) -> None:
        """Add rows (n, layers, p)."""
        self.n += len(stream)
        np.minimum(self._low, stream.min(axis=0), out=self._low)
        np.maximum(self._high, stream.max(axis=0), out=self._high)
        rows = stream - shifts
        rows /= scales[:, None]
        self._total += rows.sum(axis=0)
        lengths = np.square(rows) @ self._masks
        flat = rows.reshape(len(rows), -1)
        # A matrix with itself: half the work of a product of two.
        self._product += (flat.T @ flat).reshape(self._product.shape)
        for choice in range(self._masks.shape[1]):
            norms = lengths[:, :, choice]
            self._by_norms[choice] += (flat.T @ norms).reshape(self._by_norms[choice].shape)
            self._norms[choice] += norms.T @ norms
            self._traces[choice] += norms.sum(axis=0)

    def moments(self, names: list[str], columns: np.ndarray | None, shifts: np.ndarray, scales: np.ndarray) -> Moments:
        """Return the same as a state of some of the features."""
        kept, choice = (np.arange(len(self._masks)), 0) if columns is None else (columns, 1)
        by_norms, norms = self._by_norms[choice][:, kept], self._norms[choice]
        found = Moments()
        found.n, found.sides = self.n, ComparedLayers.of([dict.fromkeys(names, len(kept))])
        for i in range(len(names)):
            low, high = self._low[i, kept], self._high[i, kept]
            total, trace = self._total[i, kept], self._traces[choice, i]
            found.layers.append(LayerMoments(shifts[i, kept], float(scales[i]), total, trace, low, high))
        for i, j in found.sides.pairs():
            product = self._product[i, :, j][np.ix_(kept, kept)]
            found.crosses[i, j] = CrossMoments(product, by_norms[i, :, j], by_norms[j, :, i], norms[i, j])
        return found
