"""Whether probabilities and intervals keep what they promise, over many simulated pairs of representations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import homolog as hl

pytestmark = pytest.mark.slow
SIMULATIONS = 500


def correlated(rng, n, strength, p=4, q=3):
    """Two representations that share a part of their variance."""
    shared = rng.normal(size=(n, 2))
    x, y = (rng.normal(size=(n, width)) for width in (p, q))
    x[:, :2] += strength * shared
    y[:, :2] += strength * shared
    return x, y


@pytest.mark.parametrize("measure", ["cka", "procrustes_distance", "bipartite_match"])
def test_the_test_is_wrong_as_often_as_it_says(measure):
    rng = np.random.default_rng(0)
    rejected = 0
    for seed in range(SIMULATIONS):
        x, y = correlated(rng, 25, 0.0)
        rejected += hl.permutation_test(x, y, measure, n_permutations=19, rng=seed).pvalue <= 0.05
    low, high = binom.ppf([0.001, 0.999], SIMULATIONS, 0.05)
    assert low <= rejected <= high


@pytest.mark.parametrize("measure", ["cka", "procrustes_distance", "bipartite_match"])
def test_power_grows_with_dependence(measure):
    found = []
    for strength in (0.0, 0.5, 1.0, 2.0):
        rng = np.random.default_rng(1)
        pairs = [correlated(rng, 25, strength) for _ in range(60)]
        found.append(sum(hl.permutation_test(x, y, measure, n_permutations=39).pvalue <= 0.05 for x, y in pairs) / 60)
    assert found == sorted(found)
    assert found[0] < 0.2
    assert found[-1] > 0.9


@pytest.mark.parametrize("measure", ["cka", "cka(estimator=debiased)", "cca"])
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_jackknife_intervals_cover_the_value_on_infinitely_many_examples(measure, strength):
    truth = population(strength)["cca" if measure == "cca" else "cka"]
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(SIMULATIONS):
        found = hl.confidence_interval(*correlated(rng, 150, strength), measure)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / SIMULATIONS <= 0.98


def population(strength, p=4, q=3):
    """Linear CKA and R²_CCA of the covariances from which `correlated` draws."""
    cross = np.zeros((p, q))
    cross[0, 0] = cross[1, 1] = strength**2
    own = [np.diag([1 + strength**2] * 2 + [1] * (width - 2)).astype(float) for width in (p, q)]
    cka = np.sum(cross**2) / np.linalg.norm(own[0]) / np.linalg.norm(own[1])
    cca = np.trace(np.linalg.solve(own[0], cross) @ np.linalg.solve(own[1], cross.T)) / min(p, q)
    return {"cka": cka, "cca": cca}


def test_debiased_estimators_are_right_on_average_where_biased_ones_are_not():
    rng = np.random.default_rng(3)
    for n, p in ((20, 4), (20, 30), (60, 4)):
        values = {name: [] for name in ("hsic", "hsic(estimator=debiased)")}
        for _ in range(400):
            x, y = correlated(rng, n, 1.0, p=p)
            for name, found in values.items():
                found.append(float(hl.measure(name)(x, y)))
        truth = 2.0  # two directions of covariance 1
        biased, debiased = (np.array(found) for found in values.values())
        assert abs(debiased.mean() - truth) < 4 * debiased.std() / np.sqrt(400)
        assert biased.mean() - truth > 4 * biased.std() / np.sqrt(400)
