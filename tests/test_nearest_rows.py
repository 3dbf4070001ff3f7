"""Which rows are nearest: the search in float32 and the one in float64 against the plain definition."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import homolog as hl
from homolog.operands import near_candidates, neighbors


def normal(rng, n, p):
    return rng.normal(size=(n, p))


KINDS = {
    "normal": normal,
    "few features": lambda rng, n, p: rng.normal(size=(n, 3)),
    "more features than examples": lambda rng, n, p: rng.normal(size=(n, 3 * n)),
    "low rank": lambda rng, n, p: rng.normal(size=(n, 2)) @ rng.normal(size=(2, p)),
    "offset": lambda rng, n, p: 1e4 + rng.normal(size=(n, p)),
    "nearly one direction": lambda rng, n, p: 1 + 1e-9 * rng.normal(size=(n, p)),
    "five clusters": lambda rng, n, p: normal(rng, 5, p)[rng.integers(5, size=n)] + 1e-4 * normal(rng, n, p),
    "tiny": lambda rng, n, p: 1e-150 * rng.normal(size=(n, p)),
    "zeros": lambda rng, n, p: np.where(np.arange(n)[:, None] % 7, normal(rng, n, p), 0),
    "copies": lambda rng, n, p: np.repeat(normal(rng, n // 2, p), 2, axis=0),
    "one-hot": lambda rng, n, p: np.eye(p)[rng.integers(p, size=n)],
    "small integers": lambda rng, n, p: rng.integers(0, 3, size=(n, p)).astype(float),
    "constant": lambda rng, n, p: np.ones((n, p)),
}


def by_definition(x, k):
    """Order the other rows by cosine, to nine digits, then by index."""
    norms = np.linalg.norm(x, axis=1)
    units = np.divide(x, norms[:, None], out=np.zeros_like(x), where=norms[:, None] > 0)
    units -= units.mean(axis=0)
    squared = np.square(units[:, None, :] - units[None, :, :]).sum(axis=2)
    squared[norms == 0, :] = squared[:, norms == 0] = 2
    np.fill_diagonal(squared, np.inf)
    # As many digits as rounding leaves to all of them.
    with np.errstate(divide="ignore"):
        digits = np.where(squared > 1e-30, np.round(np.log(squared), 9), -np.inf)
    order = np.argsort(digits, axis=1, kind="stable")[:, :k]
    return order, 1 - np.take_along_axis(squared, order, axis=1) / 2


WAYS = {
    "in one tile": {},
    "in small tiles": {"TILE": 16},
    "in tiles whose candidates are many": {"TILE": 16, "FULL": 1},
    "some rows at a time": {"MOST_ASKED": 0},
    "float64 alone": {"SCREENED": 1000},
}


def take(monkeypatch, way):
    """Look for neighbours of few rows as of many."""
    for name, value in {"SCREENED": 1, **WAYS[way]}.items():
        for module in (neighbors, near_candidates):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("k", [1, 10, 59])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_are_those_of_the_definition(kind, way, k, monkeypatch, rng):
    x = KINDS[kind](rng, 60, 12)
    take(monkeypatch, way)
    found, similar, _ = neighbors.nearest_rows(x, k)
    expected, cosines = by_definition(x, k)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(similar, cosines, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("falling", [False, True])
def test_rows_that_come_nearer_and_nearer(way, falling, monkeypatch, rng):
    """Bounds from the first rows leave all later ones, and the other way round."""
    angles = np.pi / 2 * 0.9 ** np.arange(60)
    angles = angles[::-1] if falling else angles
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    take(monkeypatch, way)
    np.testing.assert_array_equal(neighbors.nearest_rows(x, 5)[0], by_definition(x, 5)[0])


def test_a_right_angle_is_a_tie_whichever_way_rounding_goes(rng):
    """Cosines of 0 come out as ±1e-17, on both sides of a power of 2 among the squared distances."""
    frame = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    found, _, tied = neighbors.nearest_rows(frame * rng.uniform(1, 2, size=(40, 1)), 3)
    assert tied == 1
    np.testing.assert_array_equal(found[5:], np.tile([0, 1, 2], (35, 1)))


@pytest.mark.parametrize(("kind", "all_in_float64"), [("normal", False), ("offset", False), ("one-hot", True)])
def test_float64_is_for_many_candidates(kind, all_in_float64, monkeypatch, rng):
    """What is told apart by float32 alone costs half; where nearly all rows tie, the candidates would cost more than all."""
    asked = []
    every = neighbors._Every.of
    monkeypatch.setattr(neighbors._Every, "of", lambda self, rows: asked.append(rows) or every(self, rows))
    neighbors.nearest_rows(KINDS[kind](rng, 2 * neighbors.SCREENED, 12), 5)
    assert bool(asked) == all_in_float64


@pytest.mark.parametrize(("n", "told"), [(10, True), (11, True), (12, False)])
def test_where_all_others_are_neighbours_a_word_says_so(n, told, rng):
    x, y = rng.normal(size=(2, n, 4))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        hl.mutual_knn(x, y, k=10)
    assert any(warning.category is hl.SaturationWarning for warning in found) == told
