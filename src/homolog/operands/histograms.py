"""Histograms family: units matched to units by the information their binned activity shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import scipy

from homolog.arrays import Array, to_numpy
from homolog.blocks.budget import Cost, Sizes
from homolog.diagnostics import Caution
from homolog.operands.family import Family, Pairs
from homolog.operands.representation import Representation

BINS = 10


@dataclass(frozen=True)
class Histograms:
    """Units binned by rank."""

    flags: np.ndarray
    """(n, BINS, p) float32: 1 where an example falls into a bin of a unit."""
    constant: Array
    """0-d bool, on the library of the input: no unit varies."""

    def reordered(self, order: np.ndarray) -> Histograms:
        """Return the binned units over the same examples in another order."""
        return replace(self, flags=self.flags[order])


@final
class HistogramFamily(Family):
    """Measures of the information that units share."""

    name = "histograms"

    def prepare(self, x: Representation, **_: Any) -> Histograms:
        """Bin every unit into bins of equal mass by rank; equal values, whose mean rank counts, are never split."""
        ranks = scipy.stats.rankdata(to_numpy(x.centred.features), axis=0)
        bins = np.floor((ranks - 0.5) * (BINS / x.n)).astype(int)
        flags = (bins[:, None, :] == np.arange(BINS)[None, :, None]).astype(np.float32)
        return Histograms(flags, x.constant)

    def meet(self, x: Histograms, y: Histograms) -> np.ndarray:
        """(p, q) mutual information in nats of every unit of x with every unit of y, less the Miller-Madow bias."""
        n = x.flags.shape[0]
        shares = [side.flags.sum(axis=0, dtype=float) / n for side in (x, y)]
        entropies = [-np.sum(_times_log(share), axis=0) for share in shares]
        occupied = [np.sum(share > 0, axis=0) for share in shares]
        joint = np.zeros((x.flags.shape[2], y.flags.shape[2]))
        for a in range(BINS):
            for b in range(BINS):
                # Counts are integers below 2**24, exact in float32.
                joint -= _times_log((x.flags[:, a].T @ y.flags[:, b]).astype(float) / n)
        information = entropies[0][:, None] + entropies[1][None, :] - joint
        return information - (occupied[0] - 1)[:, None] * (occupied[1] - 1)[None, :] / (2 * n)

    def remarks(self, operands: Mapping[str, Histograms], pairs: Pairs) -> list[Caution]:
        """Know nothing."""
        return []

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Return what the joint histograms take."""
        n, (i, j), most = sizes.n, sizes.pairs(), sizes.widest
        flops = float(np.sum(2.0 * n * BINS**2 * sizes.widths[i] * sizes.widths[j]))
        return Cost(flops, 4 * n * BINS * int(sizes.widths.sum()), 100 * n * most, 64 * most**2)


def _times_log(share: np.ndarray) -> np.ndarray:
    return share * np.log(np.where(share > 0, share, 1.0))


HISTOGRAMS = HistogramFamily()
