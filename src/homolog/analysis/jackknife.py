"""Standard errors over networks: what a figure would have been had one of them not been trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def leave_one_out(
    models: Sequence[str], estimate: Callable[[np.ndarray], np.ndarray], pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Return the estimate without each model: `estimate` is given which pairs are left, as booleans."""
    without = [np.array([model not in pair for pair in pairs]) for model in models]
    return np.stack([estimate(left) for left in without])


def standard_error(estimates: np.ndarray) -> np.ndarray:
    """Return the jackknife standard error sqrt((N−1)/N Σ (θ_i − θ̄)²) of N leave-one-out estimates, along the first axis."""
    n = len(estimates)
    error: np.ndarray = np.sqrt((n - 1) / n * np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=0))
    return error
