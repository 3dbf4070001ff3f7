"""Every fast path against the plain definition in float64, on data of every awkward kind."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from representation_pairs import CASES

import homolog as hl


def centred(x):
    x = x - x.mean(axis=0)
    return x / np.abs(x).max()


def basis(x):
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    return u[:, s > 1e-6 * s[0]]


def gram(x, kernel):
    x = centred(x)
    if kernel == "linear":
        return x @ x.T
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    return np.exp(-squared / (2 * np.median(squared)))


def doubly_centred(k):
    h = np.eye(len(k)) - 1 / len(k)
    return h @ k @ h


def u_centred(k):
    n = len(k)
    k = k - np.diag(np.diag(k))
    means = k.sum(0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    k = k - means - means[:, None]
    return k - np.diag(np.diag(k))


def cka(x, y, kernel, centring):
    a, b = (centring(gram(m, kernel)) for m in (x, y))
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


def hsic(x, y, centring, count):
    a, b = (centring(m @ m.T) for m in (x - x.mean(axis=0), y - y.mean(axis=0)))
    return np.sum(a * b) / count(len(x))


def correlations(x, y):
    return np.linalg.svd(basis(x).T @ basis(y), compute_uv=False)


def leading(x, threshold):
    """The left singular vectors until the variance is explained."""
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    total, kept = 0.0, 0
    while total < threshold * np.sum(s**2):
        total, kept = total + s[kept] ** 2, kept + 1
    return u[:, :kept]


def svcca(x, y):
    a, b = leading(x, 0.99), leading(y, 0.99)
    return np.sum((a.T @ b) ** 2) / min(a.shape[1], b.shape[1])


def pwcca(x, y):
    """All correlations are 1 where the ranks saturate; their weighted mean does not ask for the variables then."""
    left, rho, _ = np.linalg.svd(basis(x).T @ basis(y), full_matrices=False)
    weights = np.abs((basis(x) @ left).T @ centred(x)).sum(axis=1)
    return np.sum(weights * rho) / np.sum(weights)


def regression(x, y):
    x, q = centred(x), basis(y)
    return np.linalg.norm(q @ (q.T @ x)) ** 2 / np.linalg.norm(x) ** 2


def procrustes(x, y):
    x, y = (centred(m) / np.linalg.norm(centred(m)) for m in (x, y))
    return np.sqrt(2 - 2 * np.linalg.norm(x.T @ y, "nuc"))


def unit_correlations(x, y):
    matrix = np.zeros((x.shape[1], y.shape[1]))
    for i, j in itertools.product(range(x.shape[1]), range(y.shape[1])):
        if np.ptp(x[:, i]) > 0 and np.ptp(y[:, j]) > 0:
            matrix[i, j] = np.corrcoef(x[:, i], y[:, j])[0, 1]
    return matrix


DEFINITIONS = {
    "hsic": lambda x, y: hsic(x, y, doubly_centred, lambda n: (n - 1) ** 2),
    "hsic(estimator=debiased)": lambda x, y: hsic(x, y, u_centred, lambda n: n * (n - 3)),
    "cka": lambda x, y: cka(x, y, "linear", doubly_centred),
    "cka(estimator=debiased)": lambda x, y: cka(x, y, "linear", u_centred),
    "cka(kernel=rbf)": lambda x, y: cka(x, y, "rbf", doubly_centred),
    "cka(kernel=rbf,estimator=debiased)": lambda x, y: cka(x, y, "rbf", u_centred),
    "cca": lambda x, y: np.mean(correlations(x, y) ** 2),
    "cca(statistic=rho)": lambda x, y: np.mean(correlations(x, y)),
    "svcca": svcca,
    "pwcca": pwcca,
    "linear_regression": regression,
    "procrustes_distance": procrustes,
    "semi_match": lambda x, y: unit_correlations(x, y).max(axis=1).mean(),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", DEFINITIONS)
def test_value_is_the_definition(form, case):
    x, y = CASES[case](np.random.default_rng(11))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        measured = float(hl.measure(form)(x, y))
    assert measured == pytest.approx(DEFINITIONS[form](x, y), rel=1e-8, abs=1e-8)


def test_bipartite_match_is_the_best_of_all_assignments():
    for case in ("related", "constant_column", "tiny"):
        x, y = CASES[case](np.random.default_rng(11))
        matrix = unit_correlations(x, y)
        assignments = itertools.permutations(range(y.shape[1]), x.shape[1])
        best = max(matrix[range(x.shape[1]), list(chosen)].mean() for chosen in assignments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            assert float(hl.bipartite_match(x, y)) == pytest.approx(best, abs=1e-10)


# Three contrasts of eight examples, of mean 0 and norm 1, each orthogonal to the others: singular values can be chosen.
FIRST, SECOND, THIRD = np.repeat([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], 2, axis=1) / np.sqrt(8)


@pytest.mark.parametrize("regularization", [1e-3, 0.5, 1.0, 1.0 + 1e-9, 3.0, 40.0, 1e6])
def test_canonical_ridge_by_hand(regularization):
    """x has the squared singular values 4 and 1, y has 1 and 1, and they share the first direction of x."""
    x, y = np.column_stack([2 * FIRST, SECOND]), np.column_stack([THIRD, FIRST])
    kappa_x, kappa_y = 2.5 * regularization, 1.0 * regularization
    of_x, of_y = (4 / (4 + kappa_x), 1 / (1 + kappa_x)), (1 / (1 + kappa_y), 1 / (1 + kappa_y))
    expected = of_x[0] * of_y[1] / np.hypot(*of_x) / np.hypot(*of_y)
    assert float(hl.canonical_ridge(x, y, regularization=regularization)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("case", ["related", "rank_deficient", "one_column", "constant_column"])
@pytest.mark.parametrize("regularization", [0.2, 1.0, 3.0, 25.0])
def test_canonical_ridge_is_cka_of_regularised_features(regularization, case):
    """With κ a share of the mean of the squared singular values that are not 0."""

    def gram_of(x):
        u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        u, s = u[:, s > 1e-6 * s[0]], s[s > 1e-6 * s[0]]
        q = u * s / np.sqrt(s**2 + regularization * np.mean(s**2))
        return q @ q.T

    x, y = CASES[case](np.random.default_rng(11))
    a, b = gram_of(x), gram_of(y)
    expected = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    assert float(hl.canonical_ridge(x, y, regularization=regularization)) == pytest.approx(expected, rel=1e-9)


def test_weights_of_units_are_those_of_the_units_that_vary():
    """A dead unit weighs nothing: whatever it is matched to, the distance is that of the others, padded with nothing."""
    x, y = np.column_stack([3 * FIRST, 4 * SECOND]), np.column_stack([FIRST, THIRD])
    expected = np.sqrt(2 - 2 * 0.6 / np.sqrt(2))  # 3/5 of x meets 1/√2 of y, and nothing else correlates
    for dead in (0.0, 7.0, 1e3):
        padded = np.column_stack([np.full(8, dead), x])
        for other in (y, np.column_stack([y, np.full(8, dead)])):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hl.DeadUnitWarning)
                found = float(hl.permutation_procrustes_distance(padded, other))
            assert found == pytest.approx(expected, rel=1e-12)
