"""Kendall's τ_b of orders that are shared over pairs is SciPy's, to the last digits, whatever ties."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import kendalltau

import homolog as hl
from homolog.operands import concordance, discordant_loops
from homolog.operands.concordance import order_of, tau_b

LOOPS = (discordant_loops.gather, discordant_loops.settle, discordant_loops.arrange, discordant_loops.inversions)


@pytest.fixture(params=["compiled", "Python"])
def loops(request, monkeypatch):
    """Take the loops for vectors of any length, as numba compiles them or as they are."""
    if request.param == "compiled" and importlib.util.find_spec("numba") is None:
        pytest.skip("numba, the extra 'fast', is not installed")
    monkeypatch.setattr(concordance, "FEWEST", 0)
    monkeypatch.setattr(concordance, "_has_numba", lambda: True)
    if request.param == "Python":
        monkeypatch.setattr(concordance, "compiled", lambda: LOOPS)
    return request.param


def vectors(rng, size):
    """Integers with no ties, a few, and many, in order, against it, and in none."""
    without = rng.permutation(size)
    few = np.where(rng.random(size) < 0.1, 5, without)
    yield without, rng.permutation(size)
    yield without, without
    yield without, -without
    yield few, without
    yield without // 3, few
    pairs = np.where(without < size // 10, without // 2, without)
    yield pairs, rng.permutation(pairs)
    yield pairs, np.where(pairs < size // 20, 0, -pairs)
    yield rng.integers(0, 2, size), rng.integers(0, 70, size)
    yield np.arange(size) == 0, rng.integers(0, 3, size)
    yield without // 300, -without // 500


@pytest.mark.parametrize("size", [2, 3, 17, 300, 2000])
def test_it_is_that_of_scipy(size, loops, rng):
    for x, y in vectors(rng, size):
        expected = kendalltau(x, y).statistic
        if np.isnan(expected):
            continue  # of values that are all equal there is none, and nobody asks
        first, second = order_of(x.astype(int)), order_of(y.astype(int))
        for one, other in (
            (first, second),
            (second, first),
            (first._replace(order=None, again=None), second),
            (first._replace(order=None, again=None), second._replace(order=None, again=None)),
        ):
            assert tau_b(one, other) == pytest.approx(expected, abs=1e-14)


def test_ranks_and_ties_of_an_order(rng):
    values = rng.integers(0, 40, 200)
    found = order_of(values)
    different, places, sizes = np.unique(values, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(found.ranks, places)
    assert found.tied == sum(int(size) * (int(size) - 1) // 2 for size in sizes)
    assert np.all(np.diff(values[found.order]) >= 0)
    assert order_of(different).tied == 0


def layers(rng, n):
    x = rng.normal(size=(n, 5))
    doubled = rng.normal(size=(n, 3))
    doubled[n // 2 :] = doubled[: n - n // 2]  # every distance twice, and distances of 0
    few = rng.integers(0, 2, (n, 4)).astype(float)
    return {"x": x, "near": x + 0.3 * rng.normal(size=x.shape), "doubled": doubled, "few": few}


def compared(*given, **asked):
    """Return what a comparison says, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        return hl.compare(*given, **asked)


def test_rsa_is_that_of_its_definition(loops, rng):
    given = layers(rng, 24)
    found = compared(given, measures="rsa(dissimilarity=euclidean,comparison=kendall)")
    value = found[next(iter(found.data_vars))].values
    # Distances that only rounding tells apart are one.
    apart = [np.round(pdist(layer) ** 2, 9) for layer in given.values()]
    expected = [[kendalltau(one, other).statistic for other in apart] for one in apart]
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


def test_permutations_are_those_of_scipy(loops, monkeypatch, rng):
    given = layers(rng, 16)
    asked = {"measures": "rsa(comparison=kendall)", "null": "permutation", "n_permutations": 30, "rng": 0}
    found = compared(given, given, **asked)
    monkeypatch.setattr(concordance, "FEWEST", 1 << 62)
    plain = compared(given, given, **asked)
    for name in plain.data_vars:
        np.testing.assert_allclose(found[name], plain[name], rtol=0, atol=1e-12)


def test_parts_of_the_examples_are_those_of_scipy(loops, monkeypatch, rng):
    given = layers(rng, 60)
    asked = {"measures": "rsa(comparison=kendall)", "interval": True}
    some = {name: given[name] for name in ("x", "near")}
    if loops == "Python":
        some = {name: layer[:12] for name, layer in some.items()}
    found = compared(some, some, **asked)
    monkeypatch.setattr(concordance, "FEWEST", 1 << 62)
    plain = compared(some, some, **asked)
    for name in plain.data_vars:
        np.testing.assert_allclose(found[name], plain[name], rtol=0, atol=1e-9)


def test_dissimilarities_that_are_all_equal_have_no_value(loops):
    x = np.eye(5)
    with pytest.warns(hl.HomologWarning, match="equal"):
        assert np.isnan(hl.rsa(x, np.arange(10.0).reshape(5, 2), dissimilarity="euclidean", comparison="kendall"))


def test_a_pair_takes_more_memory_without_compiled_loops(monkeypatch):
    def taken(has):
        monkeypatch.setattr(concordance, "_has_numba", lambda: has)
        layer = np.zeros((1000, 4))
        return hl.plan({"x": layer}, {"y": layer}, measures="rsa(comparison=kendall)").measure_groups[0].cost.per_pair

    assert taken(True) < taken(False)
