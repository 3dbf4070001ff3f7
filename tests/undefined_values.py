"""Where an index that declares the exception "undefined" has no value, from its definition alone."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist


def undefined(form, x: np.ndarray, y: np.ndarray) -> bool:
    """Say whether a measure is 0/0 for two representations of which neither is constant."""
    if "undefined" not in form.exceptions:
        return False
    if form.name == "cknna":
        return any(_self_term(side, form.all_options["k"]) <= 1e-10 for side in (x, y))
    assert form.name == "rsa"
    return any(_nothing_to_compare(side, **form.all_options) for side in (x, y))


def _nothing_to_compare(x: np.ndarray, dissimilarity: str, comparison: str) -> bool:
    if dissimilarity == "correlation" and x.shape[1] == 1:
        return comparison != "cosine"
    if dissimilarity == "mahalanobis":
        u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        found = pdist(u[:, s > 1e-6 * s[0]])
    else:
        found = pdist(x, dissimilarity)
    span = np.max(found) if comparison == "cosine" else np.ptp(found)
    return bool(span <= 1e-12 * max(np.max(found), 1))


def _self_term(x: np.ndarray, k: int) -> float:
    n = len(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    gram = unit @ unit.T
    np.fill_diagonal(gram, -np.inf)
    far = np.argsort(-np.round(gram, 10), axis=1, kind="stable")[:, min(k, n - 1) :]
    np.put_along_axis(gram, far, 0.0, axis=1)
    np.fill_diagonal(gram, 0.0)
    if np.max(np.abs(gram)) < 1e-12:
        return 0.0  # at right angles to each other
    total = gram.sum()
    across = 2 * gram.sum(axis=0) @ gram.sum(axis=1) / (n - 2)
    return (np.trace(gram @ gram) + total**2 / ((n - 1) * (n - 2)) - across) / np.sum(gram**2)
