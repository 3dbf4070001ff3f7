"""The published definitions in float64, by brute force: no package but NumPy, and no line of homolog."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr

Array = np.ndarray


def centred(x: Array) -> Array:
    """Columns of mean 0, of about the size of 1."""
    x = x - x.mean(axis=0)
    return x / np.abs(x).max()


def basis(x: Array) -> Array:
    """Orthonormal columns that span the features."""
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    return u[:, s > 1e-6 * s[0]]


def twice(k: Array) -> Array:
    """HKH."""
    h = np.eye(len(k)) - 1 / len(k)
    return h @ k @ h


def unbiased(k: Array) -> Array:
    """U-centred."""
    n = len(k)
    k = k - np.diag(np.diag(k))
    means = k.sum(axis=0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    k = k - means - means[:, None]
    return k - np.diag(np.diag(k))


def alignment(centre: Callable[[Array], Array], kernel: Callable[[Array], Array]) -> Callable[[Array, Array], float]:
    """Cosine of two centred Gram matrices."""

    def value(x: Array, y: Array) -> float:
        a, b = (centre(kernel(centred(side))) for side in (x, y))
        return float(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b))

    return value


def linear(x: Array) -> Array:
    """Inner products."""
    return x @ x.T


def rbf(x: Array) -> Array:
    """Gaussian of the median distance."""
    squared = cdist(x, x, "sqeuclidean")
    return np.exp(-squared / (2 * np.median(squared)))


def distances(x: Array) -> Array:
    """Minus the Euclidean distances."""
    return -cdist(x, x)


def correlations(x: Array, y: Array) -> Array:
    """Canonical correlations."""
    return np.linalg.svd(basis(x).T @ basis(y), compute_uv=False)


def leading(x: Array) -> Array:
    """Left singular vectors that explain 99 % of the variance."""
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    explained = np.cumsum(s**2) / np.sum(s**2)
    return u[:, : int(np.searchsorted(explained, 0.99 - 1e-12)) + 1]


def svcca(x: Array, y: Array) -> float:
    """Mean canonical correlation of the leading components."""
    return float(np.mean(np.linalg.svd(leading(x).T @ leading(y), compute_uv=False)))


def pwcca(x: Array, y: Array) -> float:
    """Canonical correlations, weighted by what their variables of x carry of x."""
    left, rho, _ = np.linalg.svd(basis(x).T @ basis(y), full_matrices=False)
    weights = np.abs((basis(x) @ left).T @ centred(x)).sum(axis=1)
    return float(weights @ rho / weights.sum())


def regression(x: Array, y: Array) -> float:
    """R² of x fitted from y."""
    x, q = centred(x), basis(y)
    return float(np.linalg.norm(q.T @ x) ** 2 / np.linalg.norm(x) ** 2)


def procrustes(x: Array, y: Array) -> float:
    """Distance after the best rotation, of unit norms."""
    x, y = (centred(m) / np.linalg.norm(centred(m)) for m in (x, y))
    return float(np.sqrt(max(2 - 2 * np.linalg.norm(x.T @ y, "nuc"), 0)))


def rsa(x: Array, y: Array) -> float:
    """Spearman correlation of Euclidean distances."""
    # Distances that differ by rounding are one.
    a, b = (np.round(pdist(centred(m)), 10) for m in (x, y))
    return float(spearmanr(a, b).statistic)


DEFINITIONS: dict[str, Callable[[Array, Array], float]] = {
    "Linear CKA": alignment(twice, linear),
    "Debiased linear CKA": alignment(unbiased, linear),
    "RBF CKA, σ = median distance": alignment(twice, rbf),
    "Distance correlation": lambda x, y: float(np.sqrt(alignment(twice, distances)(x, y))),
    "Bias-corrected distance correlation": alignment(unbiased, distances),
    "Mean canonical correlation": lambda x, y: float(np.mean(correlations(x, y))),
    "SVCCA, 99 %, mean correlation": svcca,
    "PWCCA": pwcca,
    "R² of linear regression": regression,
    "Procrustes distance": procrustes,
    "RSA, Euclidean, Spearman": rsa,
}
