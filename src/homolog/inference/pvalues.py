"""Probabilities from values under permutation, of one pair and of many."""

from __future__ import annotations

import numpy as np
import scipy

ROUNDING = 1e-9
"""Values this close, relative to the largest, are equal: permuting sums in another order."""


def pvalues(values: np.ndarray, kind: str) -> np.ndarray:
    """Return (1 + number of permutations at least as extreme) / (1 + number of permutations).

    `values` has the observed ones first along its first axis; larger is more extreme for a similarity, smaller for a distance. A
    permutation without a value counts as extreme.
    """
    signed = values if kind == "similarity" else -values
    tolerance = ROUNDING * np.max(np.where(np.isfinite(values), np.abs(values), 0), axis=0)
    # The observed value is as extreme as itself: this is the one that is added.
    extreme = np.sum((signed >= signed[0] - tolerance) | np.isnan(signed), axis=0)
    return np.where(np.isnan(values[0]), np.nan, extreme / len(values))


def familywise(values: np.ndarray, kind: str, together: np.ndarray) -> np.ndarray:
    """Return p-values adjusted for all pairs at once, by the largest standardised value under each permutation.

    Standardised, because the level of independent data differs from pair to pair (Westfall & Young 1993). `together` says which
    pairs are adjusted for each other; the others keep their own.
    """
    finite = np.isfinite(values)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, values, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(finite, values - mean, 0) ** 2).sum(axis=0) / count)
    spread = np.where(spread > ROUNDING * np.abs(mean), spread, 0)
    signed = values - mean if kind == "similarity" else mean - values
    standard = np.divide(signed, spread, out=np.zeros_like(values), where=spread > 0)
    standard[np.isnan(values)] = np.inf
    own = pvalues(values, kind)
    known = together & ~np.isnan(own)
    if known.any():
        largest = standard[:, known].max(axis=1)
        own[known] = np.mean(largest[:, None] >= standard[0, known] - ROUNDING, axis=0)
    return own


def false_discovery(p: np.ndarray, together: np.ndarray) -> np.ndarray:
    """Return p-values adjusted to control the share of false discoveries (Benjamini & Hochberg 1995) among some pairs."""
    adjusted = p.copy()
    known = together & ~np.isnan(p)
    if known.any():
        adjusted[known] = scipy.stats.false_discovery_control(p[known])
    return adjusted
