"""Histograms family: units matched to units by the information their binned activity shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from homolog.arrays import Array, namespace, to_numpy
from homolog.diagnostics import Caution, constant_layers
from homolog.linalg import centre
from homolog.operands.family import Cost, Family

BINS = 10


@dataclass(frozen=True)
class Histograms:
    """Units binned by rank."""

    flags: np.ndarray
    """(n, BINS, p) float32: 1 where an example falls into a bin of a unit."""
    constant: Array
    """0-d bool, on the library of the input: no unit varies."""


def prepare(x: Array) -> Histograms:
    """Bin every unit into bins of equal mass by rank; equal values, whose mean rank counts, are never split."""
    centred = centre(x)
    ranks = scipy.stats.rankdata(to_numpy(centred.features), axis=0)
    bins = np.floor((ranks - 0.5) * (BINS / x.shape[0])).astype(int)
    flags = (bins[:, None, :] == np.arange(BINS)[None, :, None]).astype(np.float32)
    return Histograms(flags, namespace(x).all(centred.dead))


def reorder(x: Histograms, order: np.ndarray) -> Histograms:
    """Return the binned units over the same examples in another order."""
    return replace(x, flags=x.flags[order])


def meet(x: Histograms, y: Histograms) -> np.ndarray:
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


def _times_log(share: np.ndarray) -> np.ndarray:
    return share * np.log(np.where(share > 0, share, 1.0))


def examine(operands: Mapping[str, Histograms], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers."""
    return constant_layers([label for label, operand in operands.items() if bool(operand.constant)])


def cost(shapes: Sequence[tuple[int, int]], itemsizes: Any, needed: np.ndarray, form: None) -> Cost:
    """Return floating-point operations of the joint histograms, and bytes."""
    n = shapes[0][0]
    widths = np.array([p for _, p in shapes], dtype=float)
    i, j = np.nonzero(np.triu(needed | needed.T))
    flops, most = float(np.sum(2.0 * n * BINS**2 * widths[i] * widths[j])), int(widths.max())
    return Cost(flops, 4 * n * BINS * int(widths.sum()), 100 * n * most, 64 * most**2)


HISTOGRAMS = Family(
    "histograms", prepare, meet, lambda information: information.T, examine, cost=cost, host=True, reorder=reorder
)
