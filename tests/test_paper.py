"""What the paper and its authors' notebook say must be true: golden values and identities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from representation_pairs import related

import homolog as hl

GOLDEN = {
    "cka": 0.5576132566,
    "cka(kernel=rbf,median_fraction=0.5)": 0.6548311823,
    "cka(estimator=debiased)": 0.5134564895,
    "cca": 0.5453963,
}


def centred(x):
    return x - x.mean(axis=0)


def basis(x):
    return np.linalg.svd(centred(x), full_matrices=False)[0]


def cka_of(k, other):
    return np.sum(k * other) / np.linalg.norm(k) / np.linalg.norm(other)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("form", GOLDEN)
def test_golden_values(golden, form, library):
    x, y = golden
    digits = 1e-8 if form != "cca" else 1e-7  # the notebook's CCA does not centre; ours is known to 7 digits
    assert float(hl.measure(form)(library(x), library(y))) == pytest.approx(GOLDEN[form], abs=digits)
    single = library(x.astype(np.float32)), library(y.astype(np.float32))
    assert float(hl.measure(form)(*single)) == pytest.approx(GOLDEN[form], abs=1e-5)


def test_notebook_cca_of_raw_columns(golden):
    raw = [np.linalg.qr(x)[0] for x in golden]
    assert np.linalg.norm(raw[0].T @ raw[1]) ** 2 / 10 == pytest.approx(0.5431238559, abs=1e-8)


@pytest.fixture
def pair(rng):
    return related(rng, n=60, p=8, q=12)


def test_hsic_is_the_squared_norm_of_the_covariance(pair):
    x, y = map(centred, pair)
    covariance = x.T @ y / (len(x) - 1)
    assert float(hl.hsic(*pair)) == pytest.approx(np.sum(covariance**2), rel=1e-12)
    assert np.trace(x @ x.T @ y @ y.T) == pytest.approx(np.sum((y.T @ x) ** 2), rel=1e-12)


def test_cca_is_cka_of_bases(pair):
    q_x, q_y = map(basis, pair)
    p_1, p_2 = q_x.shape[1], q_y.shape[1]
    expected = cka_of(q_x @ q_x.T, q_y @ q_y.T) * np.sqrt(p_2 / p_1)
    assert float(hl.cca(*pair)) == pytest.approx(expected, rel=1e-10)


def test_regression_is_cka_with_the_basis_of_the_predictors(pair):
    """sqrt(p2): the paper's equation 12 prints sqrt(p1), a slip."""
    x, q = centred(pair[0]), basis(pair[1])
    common = cka_of(x @ x.T, q @ q.T) * np.linalg.norm(x.T @ x) / np.linalg.norm(x) ** 2
    measured = float(hl.linear_regression(*pair))
    assert measured == pytest.approx(common * np.sqrt(q.shape[1]), rel=1e-10)
    assert abs(measured - common * np.sqrt(x.shape[1])) > 0.01


def test_cca_and_cka_as_sums_over_principal_components(pair):
    u_x, s_x, _ = np.linalg.svd(centred(pair[0]), full_matrices=False)
    u_y, s_y, _ = np.linalg.svd(centred(pair[1]), full_matrices=False)
    squared = (u_x.T @ u_y) ** 2
    assert float(hl.cca(*pair)) == pytest.approx(squared.sum() / len(s_x), rel=1e-10)
    weighted = s_x**2 @ squared @ s_y**2
    assert float(hl.cka(*pair)) == pytest.approx(weighted / np.sqrt(np.sum(s_x**4) * np.sum(s_y**4)), rel=1e-10)


def test_squared_projection_weighting_is_regression(pair):
    """Appendix C.3, with p1 <= p2."""
    x, u_y = centred(pair[0]), basis(pair[1])
    left, correlations, _ = np.linalg.svd(basis(pair[0]).T @ u_y, full_matrices=False)
    weights = np.sum(((basis(pair[0]) @ left).T @ x) ** 2, axis=1)
    expected = np.sum(weights * correlations**2) / np.sum(weights)
    assert float(hl.linear_regression(*pair)) == pytest.approx(expected, rel=1e-10)


def test_canonical_ridge_runs_from_cca_to_cka(pair):
    def ridge(x, kappa):
        u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
        return u * (s / np.sqrt(s**2 + kappa))

    def gram(x, kappa):
        return ridge(x, kappa) @ ridge(x, kappa).T

    x, y = pair
    scale = np.sqrt(y.shape[1] / x.shape[1])
    assert cka_of(gram(x, 0), gram(y, 0)) * scale == pytest.approx(float(hl.cca(x, y)), rel=1e-10)
    assert cka_of(gram(x, 1e12), gram(y, 1e12)) == pytest.approx(float(hl.cka(x, y)), rel=1e-6)
    assert float(hl.canonical_ridge(x, y, regularization=1e-12)) * scale == pytest.approx(float(hl.cca(x, y)), rel=1e-9)
    assert float(hl.canonical_ridge(x, y, regularization=1e12)) == pytest.approx(float(hl.cka(x, y)), rel=1e-9)


def test_procrustes_is_the_least_rotation_error(pair):
    x, y = (centred(m) / np.linalg.norm(centred(m)) for m in pair)
    x = np.hstack([x, np.zeros((len(x), y.shape[1] - x.shape[1]))])
    u, _, vt = np.linalg.svd(x.T @ y)
    assert float(hl.procrustes_distance(*pair)) == pytest.approx(np.linalg.norm(y - x @ u @ vt), rel=1e-10)


def test_distance_correlation_is_cka_with_minus_distance(pair):
    def distances(x):
        return np.sqrt(np.maximum(((x[:, None] - x[None]) ** 2).sum(-1), 0))

    def doubly_centred(d):
        return d - d.mean(0) - d.mean(1)[:, None] + d.mean()

    a, b = (doubly_centred(distances(x)) for x in pair)
    expected = np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))
    measured = hl.cka(*pair, kernel=lambda x: -distances(x))
    assert float(measured) == pytest.approx(expected, rel=1e-10)


def test_theorem_1_invertible_invariance_saturates(rng):
    """p >= n - 1 after centring: every full-rank X gives the same value."""
    y = rng.normal(size=(30, 4))
    for _ in range(3):
        x = rng.normal(size=(30, 29))
        with pytest.warns(hl.SaturationWarning, match="x: the rank reaches n - 1 = 29"):
            assert float(hl.cca(x, y)) == pytest.approx(1, abs=1e-9)


def test_proposition_1_bases_make_an_orthogonal_index_invariant(pair, rng):
    x, y = pair
    mixed = x @ rng.normal(size=(8, 8))
    expected = float(hl.cka(basis(x), basis(y)))
    assert float(hl.cka(basis(mixed), basis(y))) == pytest.approx(expected, rel=1e-9)


def test_debiased_is_the_plain_definition(pair):
    def u_centred(k):
        n = len(k)
        k = k - np.diag(np.diag(k))
        means = k.sum(0) / (n - 2)
        means -= means.sum() / (2 * (n - 1))
        k = k - means - means[:, None]
        return k - np.diag(np.diag(k))

    for kernel in (lambda x: x @ x.T, lambda x: (1 + x @ x.T) ** 2):
        a, b = (u_centred(kernel(x)) for x in pair)
        expected = np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))
        assert float(hl.cka(*pair, kernel=kernel, estimator="debiased")) == pytest.approx(expected, rel=1e-9)
        n = len(a)
        hsic = float(hl.hsic(*pair, kernel=kernel, estimator="debiased"))
        assert hsic == pytest.approx(np.sum(a * b) / (n * (n - 3)), rel=1e-9)


def test_rbf_is_the_plain_definition(pair):
    def gram(x, fraction):
        squared = ((x[:, None] - x[None]) ** 2).sum(-1)
        return np.exp(-squared / (2 * fraction**2 * np.median(squared)))

    n = len(pair[0])
    h = np.eye(n) - 1 / n
    for fraction in (0.2, 0.4, 0.8):
        first, second = (h @ gram(x, fraction) @ h for x in pair)
        measured = hl.cka(*pair, kernel="rbf", median_fraction=fraction)
        assert float(measured) == pytest.approx(cka_of(first, second), rel=1e-10)


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99, 1.0])
def test_svcca_keeps_the_cumulative_variance(pair, threshold):
    def kept(x):
        u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
        total, count = 0.0, 0
        while total < threshold * np.sum(s**2) * (1 - 1e-12):
            total += s[count] ** 2
            count += 1
        return u[:, :count]

    a, b = map(kept, pair)
    r2 = np.sum((a.T @ b) ** 2) / min(a.shape[1], b.shape[1])
    rho = np.linalg.norm(a.T @ b, "nuc") / min(a.shape[1], b.shape[1])
    assert float(hl.svcca(*pair, threshold=threshold)) == pytest.approx(r2, rel=1e-10)
    assert float(hl.svcca(*pair, threshold=threshold, statistic="rho")) == pytest.approx(rho, rel=1e-10)


@pytest.mark.parametrize("swap", [False, True])
def test_pwcca_is_the_plain_definition(pair, swap):
    first, second = pair[::-1] if swap else pair
    x, u_x, u_y = centred(first), basis(first), basis(second)
    left, correlations, _ = np.linalg.svd(u_x.T @ u_y, full_matrices=False)
    weights = np.abs((u_x @ left).T @ x).sum(axis=1)
    expected = np.sum(weights * correlations) / np.sum(weights)
    assert float(hl.pwcca(first, second)) == pytest.approx(expected, rel=1e-10)


def test_pwcca_with_ties_is_a_function_of_the_data(rng):
    """Shared directions tie at correlation 1, orthogonal ones at 0: the value must not depend on the basis of y."""
    q = np.linalg.qr(np.hstack([np.ones((40, 1)), rng.normal(size=(40, 12))]))[0][:, 1:]
    x = q[:, :8] @ rng.normal(size=(8, 8))
    y = q[:, [0, 1, 2, 8, 9]]
    values = [float(hl.pwcca(x, y @ rng.normal(size=(5, 5)))) for _ in range(5)]
    np.testing.assert_allclose(values, values[0], atol=1e-10)
