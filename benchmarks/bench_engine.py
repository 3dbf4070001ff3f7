"""What sharing saves: measures of one family, and many models, in one call."""

from __future__ import annotations

import numpy as np
import pytest

import homolog as hl

SUBSPACE = ("cca", "cca(statistic=rho)", "svcca", "pwcca", "linear_regression", "procrustes_distance")
STRUCTURE = ("cka", "cka(estimator=debiased)", "cka(kernel=rbf)", "cka(kernel=rbf,estimator=debiased)", "hsic")


@pytest.fixture(scope="module")
def six():
    rng = np.random.default_rng(0)
    return tuple({f"layer {i}": rng.normal(size=(4096, 256)) for i in range(6)} for _ in range(2))


@pytest.fixture(scope="module")
def ten():
    rng = np.random.default_rng(0)
    widths = [64] * 3 + [128] * 3 + [256] * 3
    return [{f"layer {i}": rng.normal(size=(2000, p)) for i, p in enumerate(widths)} for _ in range(10)]


@pytest.mark.benchmark(group="6 x 6 layers, n = 4096, p = 256, float64")
def test_six_subspace_measures(benchmark, six):
    benchmark.pedantic(lambda: hl.compare(*six, measures=SUBSPACE), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="6 x 6 layers, n = 4096, p = 256, float64")
def test_loop_over_pairs_cca_alone(benchmark, six):
    def basis(x):
        return np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[0]

    def loop():
        return [
            np.linalg.svd(basis(x).T @ basis(y), compute_uv=False).mean()
            for x in six[0].values()
            for y in six[1].values()
        ]

    benchmark.pedantic(loop, rounds=1)


@pytest.mark.parametrize("measures", [STRUCTURE, SUBSPACE[:5]], ids=["structure", "subspace"])
@pytest.mark.benchmark(group="10 models x 9 layers, n = 2000, five measures")
def test_many_models_in_one_call(benchmark, ten, measures):
    models = {f"seed {i}": model for i, model in enumerate(ten)}
    benchmark.pedantic(lambda: hl.compare(models, measures=measures), rounds=3)


@pytest.mark.parametrize("measures", [STRUCTURE, SUBSPACE[:5]], ids=["structure", "subspace"])
@pytest.mark.benchmark(group="10 models x 9 layers, n = 2000, five measures")
def test_ten_calls_of_two_models(benchmark, ten, measures):
    def calls():
        for i in range(10):
            hl.compare(ten[i], ten[(i + 1) % 10], measures=measures)

    benchmark.pedantic(calls, rounds=3)
