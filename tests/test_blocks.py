"""How many rows are held at a time changes no value: every block size small, and none of them divides the number of rows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from representation_pairs import CASES, related

import homolog as hl
from homolog.blocks import budget, products
from homolog.measures import nearest_neighbors
from homolog.operands import clouds, condensed, dissimilarities, gram_permutations, gram_statistics, neighbors

FORMS = [form for record in hl.measures().values() for form in record.forms()]
SIZES = [
    (neighbors, "BLOCK", 60 * 32 * 7),
    (neighbors, "TALL", 7),
    (neighbors, "SCREENED", 1),
    (neighbors, "SHARING", 8 * 10 * 7 * 9),
    (nearest_neighbors, "SHARING", 8 * 10 * 7 * 9),
    (clouds, "ROWS", 7),
    (clouds, "DIRECT", 60 * 5 * 7),
    (condensed, "ROWS", 11),
    (products, "PIECE", 101),
    (condensed, "PIECE", 101),
    (dissimilarities, "PIECE", 101),
    (gram_permutations, "AT_ONCE", 53),
    (budget, "SIDE", 11),
    (gram_statistics, "CONDENSED_ROWS", 11),
]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


@pytest.fixture
def small(monkeypatch):
    """Make all blocks small."""

    def make():
        for module, name, size in SIZES:
            assert size < getattr(module, name)
            monkeypatch.setattr(module, name, size)

    return make


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_of_a_function(form, small):
    pairs = [CASES[case](np.random.default_rng(7)) for case in ("related", "duplicated_rows", "shifted")]
    before = [float(form(x, y)) for x, y in pairs]
    small()
    np.testing.assert_allclose([float(form(x, y)) for x, y in pairs], before, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_a_comparison(dtype, small, rng):
    x, y = related(rng)
    layers = {"x": x.astype(dtype), "y": y.astype(dtype), "wide": np.hstack([x, y] * 6).astype(dtype)}
    before = hl.compare(layers, measures=FORMS)
    small()
    after = hl.compare(layers, measures=FORMS)
    for name in before.data_vars:
        single = dtype == np.float32
        np.testing.assert_allclose(
            after[name], before[name], rtol=1e-4 if single else 1e-6, atol=2e-5 if single else 1e-9, err_msg=name
        )


@pytest.mark.parametrize("form", ["cka", "cka(kernel=rbf)", "hsic", "rsa", "mutual_knn", "distance_correlation"])
def test_of_a_permutation_test(form, small, rng):
    x, y = rng.normal(size=(2, 40, 60))
    before = hl.permutation_test(x, y, form, n_permutations=9, rng=0)
    small()
    after = hl.permutation_test(x, y, form, n_permutations=9, rng=0)
    np.testing.assert_allclose(after.null, before.null, rtol=1e-9, atol=1e-12)
    assert after.statistic == pytest.approx(before.statistic)


def test_points_in_many_blocks_are_as_uniform_as_by_definition(rng):
    """More rows than one block holds, without a patch: pairs of rows of other blocks count twice."""
    x, y = rng.normal(size=(2, 600, 2)) * [[[0.3]], [[0.6]]]

    def uniformity(points):
        squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        return np.log(np.mean(np.exp(-2 * squared)))

    assert float(hl.uniformity_difference(x, y)) == pytest.approx(abs(uniformity(x) - uniformity(y)), rel=1e-9)


@pytest.mark.parametrize(("n", "k", "told"), [(12, 10, False), (12, 11, True), (12, 30, True), (11, 10, True)])
def test_every_example_is_a_neighbour_where_k_is_all_others(n, k, told, rng):
    x, y = rng.normal(size=(2, n, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(hl.mutual_knn(x, y, k=k))
    assert any(issubclass(warning.category, hl.SaturationWarning) for warning in caught) is told
    assert (value == 1) is told
