"""Distances of whitened features: by Cholesky where no singular value can be below the rank rule, by an SVD elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import homolog as hl
from homolog import linalg
from homolog.linalg import centre, column_space, thin_svd
from homolog.operands.dissimilarities import _between_whitened


def conditioned(rng, n, p, condition):
    left, right = (np.linalg.qr(rng.normal(size=(size, p)))[0] for size in (n, p))
    return left * np.logspace(0, -np.log10(condition), p) @ right.T


FULL = {
    "normal": lambda rng: rng.normal(size=(80, 20)),
    "one feature less than examples": lambda rng: rng.normal(size=(40, 39)),
    "as many features as examples": lambda rng: rng.normal(size=(40, 40)),
    "more features than examples": lambda rng: rng.normal(size=(40, 100)),
    "condition 1e3": lambda rng: conditioned(rng, 80, 20, 1e3),
    "condition 3e4": lambda rng: conditioned(rng, 80, 20, 3e4),
    "offset": lambda rng: 1e6 + rng.normal(size=(80, 20)),
    "tiny": lambda rng: 1e-200 * rng.normal(size=(80, 20)),
    "scaled": lambda rng: rng.normal(size=(80, 20)) * np.logspace(0, 3, 20),
    "columns that never vary": lambda rng: np.hstack([rng.normal(size=(80, 5)), np.ones((80, 3))]),
    "rows twice": lambda rng: np.repeat(rng.normal(size=(40, 6)), 2, axis=0),
}
DEFICIENT = {
    "low rank": lambda rng: rng.normal(size=(80, 4)) @ rng.normal(size=(4, 20)),
    "low rank of many features": lambda rng: rng.normal(size=(40, 4)) @ rng.normal(size=(4, 90)),
    "many features, rows twice": lambda rng: np.repeat(rng.normal(size=(20, 90)), 2, axis=0),
    "just above the rule": lambda rng: conditioned(rng, 80, 20, 9e5),
    "just below the rule": lambda rng: conditioned(rng, 80, 20, 1.2e6),
    "far below the rule": lambda rng: conditioned(rng, 80, 20, 1e12),
    "one-hot": lambda rng: np.eye(8)[rng.integers(8, size=60)],
    "constant": lambda rng: np.ones((20, 3)),
}


@pytest.mark.parametrize("kind", FULL | DEFICIENT)
def test_are_those_of_singular_vectors(kind, rng):
    features = centre((FULL | DEFICIENT)[kind](rng)).features
    expected = pdist(thin_svd(features).u) ** 2 if kind != "constant" else np.zeros(20 * 19 // 2)
    np.testing.assert_allclose(_between_whitened(features), expected, rtol=0, atol=2e-12)


@pytest.mark.parametrize("kind", FULL | DEFICIENT)
def test_a_decomposition_is_for_what_may_lack_rank(kind, monkeypatch, rng):
    features, asked = centre((FULL | DEFICIENT)[kind](rng)).features, []
    monkeypatch.setattr(linalg, "thin_svd", lambda x: asked.append(x) or thin_svd(x))
    _between_whitened(features)
    assert bool(asked) == (kind in DEFICIENT)


def test_columns_are_orthonormal_in_one_round_and_in_two(rng):
    for condition in (1, 1e2, 1e4, 1e5):
        found = column_space(conditioned(rng, 300, 40, condition))
        np.testing.assert_allclose(found.T @ found, np.eye(40), rtol=0, atol=1e-14)


def test_rsa_is_that_of_the_definition(rng):
    x, y = rng.normal(size=(2, 50, 6))
    y = x + y
    apart = [pdist(side, "mahalanobis", VI=np.linalg.inv(np.cov(side.T))) for side in (x, y)]
    value = hl.rsa(x, y, dissimilarity="mahalanobis", comparison="pearson")
    assert float(value) == pytest.approx(np.corrcoef(*apart)[0, 1], abs=1e-12)


def test_where_whitening_leaves_all_equally_far_apart_a_word_says_so(rng):
    x, y = rng.normal(size=(2, 20, 40))
    with pytest.warns(hl.HomologWarning, match="equal"):
        assert np.isnan(hl.rsa(x, y, dissimilarity="mahalanobis"))
