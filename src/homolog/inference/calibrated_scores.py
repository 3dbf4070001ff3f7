"""Calibrated scores: how far a value lies beyond what chance reaches, as a share of the way to the best value there is.

Gröger, Wen & Brbić 2026, arXiv:2602.14486, equations 9 and 12; for distances the same with the lower tail.
"""

from __future__ import annotations

import math

import numpy as np

from homolog.inference.pvalues import ROUNDING
from homolog.measures.record import Measure

EQUAL = 1e-7
"""What rounding leaves of equal layers, above all of their distance, as a share of the way to the threshold."""


def best_value(record: Measure) -> float:
    """Return the value of equal representations: the upper end of the range of a similarity, the lower one of a distance."""
    return record.range[1 if record.kind == "similarity" else 0]


def rank_of(level: float, n_permutations: int) -> int:
    """Return which of the sorted values, counted from 1, is the threshold: ⌈level (K + 1)⌉ of the observed and K permuted ones.

    >>> rank_of(0.95, 999), rank_of(0.95, 19), rank_of(0.95, 18)
    (950, 19, 19)
    """
    return math.ceil(level * (n_permutations + 1) - 1e-9)


def thresholds(values: np.ndarray, kind: str, level: float) -> np.ndarray:
    """Return how far chance reaches: of all values along the first axis, observed first, the ⌈level (K + 1)⌉-th.

    Counted from the least alike. A permutation without a value counts as most alike, as it does for p-values.
    """
    signed = values if kind == "similarity" else -values
    signed = np.where(np.isnan(signed), np.inf, signed)
    rank = rank_of(level, len(values) - 1) - 1
    found = np.partition(signed, rank, axis=0)[rank]
    found = found if kind == "similarity" else -found
    return np.where(np.isnan(values[0]), np.nan, found)


def calibrated(observed: np.ndarray, threshold: np.ndarray, beyond: np.ndarray, best: float) -> np.ndarray:
    """Return (s − τ)/(s_best − τ) of values beyond the threshold, 0 for others, NaN for none; in [0, 1].

    `beyond` says which these are: those with p ≤ α, which is the same but for rounding.
    """
    room = best - threshold
    with np.errstate(invalid="ignore"):
        share = np.divide(observed - threshold, room, out=np.zeros_like(room), where=room != 0)
    share = np.where(share > 1 - EQUAL, 1.0, np.maximum(share, 0.0))
    found = np.where(beyond, share, 0.0)
    return np.where(np.isnan(observed) | np.isnan(threshold), np.nan, found)


def is_beyond(p: np.ndarray, level: float) -> np.ndarray:
    """Say which p-values are at most α = 1 − level."""
    found: np.ndarray = p <= (1 - level) * (1 + ROUNDING)
    return found
