"""What p-values cost: by moments, by permutations, and dcor's of distance covariance."""

from __future__ import annotations

import numpy as np
import pytest

import homolog as hl

PERMUTATIONS = 1000


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(2, 1000, 50)))


@pytest.mark.benchmark(group="1,000 permutations, n = 1000, p = 50")
def test_linear_cka(benchmark, pair):
    benchmark.pedantic(lambda: hl.permutation_test(*pair, n_permutations=PERMUTATIONS), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="1,000 permutations, n = 1000, p = 50")
def test_rbf_cka(benchmark, pair):
    benchmark.pedantic(
        lambda: hl.permutation_test(*pair, "cka(kernel=rbf)", n_permutations=PERMUTATIONS), rounds=3, warmup_rounds=1
    )


@pytest.mark.benchmark(group="1,000 permutations, n = 1000, p = 50")
def test_dcor_distance_covariance(benchmark, pair):
    dcor = pytest.importorskip("dcor", reason="a peer: pip install dcor")
    benchmark.pedantic(
        lambda: dcor.independence.distance_covariance_test(*pair, num_resamples=PERMUTATIONS, random_state=0), rounds=3
    )


@pytest.mark.benchmark(group="1,000 permutations, n = 1000, p = 50")
def test_distance_correlation_by_moments(benchmark, pair):
    benchmark.pedantic(
        lambda: hl.compare(*pair, measures="distance_correlation", progress=False), rounds=5, warmup_rounds=1
    )


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(0)
    return tuple({f"layer {i}": rng.normal(size=(1000, 256)) for i in range(12)} for _ in range(2))


@pytest.mark.benchmark(group="12 x 12 layers, p-values of cka, n = 1000, p = 256")
def test_all_pairs_by_permutations(benchmark, layers):
    benchmark.pedantic(
        lambda: hl.compare(*layers, measures="cka", null="permutation", n_permutations=PERMUTATIONS, progress=False),
        rounds=3,
    )


@pytest.mark.benchmark(group="12 x 12 layers, p-values of cka, n = 1000, p = 256")
def test_all_pairs_by_moments(benchmark, layers):
    benchmark.pedantic(lambda: hl.compare(*layers, measures="cka", progress=False), rounds=5, warmup_rounds=1)
