"""Preparation in pieces, and stacked tiles of structures: the same numbers as whole passes and whole matrices give."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import homolog as hl
from homolog.blocks import column_statistics
from homolog.blocks.column_statistics import centred_array
from homolog.blocks.products import SQUARE, Structure, form_products, pair_products, tile_products
from homolog.blocks.scan import Panels
from homolog.blocks.workers import ThreadWorkers
from homolog.engine import moment_pvalues
from homolog.linalg import centre
from homolog.operands.gram_statistics import _across

CASES = {
    "plain": lambda x: x,
    "offset": lambda x: x + 1e4,
    "one far row": lambda x: np.concatenate([x[:-1], 300 * x[-1:]]),
    "tiny": lambda x: x * 1e-30,
    "subnormal": lambda x: x * 2.0**-1040 if x.dtype == float else x * 1e-39,
    "huge": lambda x: x * 1e300 if x.dtype == float else x * 1e37,
    "constant column": lambda x: np.where(np.arange(x.shape[1]) == 3, 7, x),
    "all constant": lambda x: np.full_like(x, 5),
    "drifting": lambda x: x + np.linspace(0, 50, len(x))[:, None],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_centring_in_pieces_is_centring(case, dtype, monkeypatch):
    monkeypatch.setattr(column_statistics, "PIECE", 64)
    monkeypatch.setattr(column_statistics, "ACROSS", 7)
    plain = np.random.default_rng(0).normal(size=(61, 23)).astype(dtype)
    x = CASES[case](plain).astype(dtype)
    for given in (x, np.asfortranarray(x)):
        found, squared = centred_array(given, dtype)
        expected = centre(given)
        assert found.features.dtype == dtype
        assert found.scale == expected.scale
        np.testing.assert_array_equal(found.dead, expected.dead)
        np.testing.assert_allclose(found.features, expected.features, atol=40 * np.finfo(dtype).eps)
        np.testing.assert_allclose(squared, np.sum(found.features.astype(float) ** 2, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.features[:, found.dead], 0)


def test_equal_rows_stay_equal():
    x = np.random.default_rng(1).normal(size=(300, 500)).astype(np.float32)
    x[17] = x[210]
    found, squared = centred_array(x, np.float32)
    np.testing.assert_array_equal(found.features[17], found.features[210])
    assert squared[17] == squared[210]


@pytest.mark.parametrize("rows", [5, SQUARE + 3, 2 * SQUARE + 1])
def test_products_of_rows_with_themselves_have_their_upper_half(rows):
    x = np.random.default_rng(2).normal(size=(rows, 4))
    out = np.full((rows, rows), np.nan)
    form_products(x, x, out, same=True)
    upper = np.triu_indices(rows)
    np.testing.assert_allclose(out[upper], (x @ x.T)[upper], rtol=1e-12, atol=1e-12)


def test_what_is_below_the_diagonal_does_not_count():
    rng = np.random.default_rng(3)
    stacked = rng.normal(size=(3, 150, 150))
    above = np.triu(stacked, 1).reshape(3, -1)
    stacked[:, *np.tril_indices(150)] = np.nan
    np.testing.assert_allclose(pair_products(stacked, above=True), above @ above.T, rtol=1e-12)


@pytest.mark.parametrize("panels", [Panels(40, 40, 16, 16), Panels(11, 5, 4, 7)])
def test_of_two_models_only_pairs_across_are_formed(panels):
    rng = np.random.default_rng(4)
    layers = [Structure(rng.normal(size=(40, p))) for p in (3, 50, 8, 20, 4)]
    every, _ = tile_products(layers, panels, ThreadWorkers(), lambda _: None)
    found, _ = tile_products(layers, panels, ThreadWorkers(), lambda _: None, across=2)
    wanted = np.eye(5, dtype=bool)
    wanted[:2, 2:] = wanted[2:, :2] = True
    np.testing.assert_array_equal(np.isnan(found), ~wanted)
    np.testing.assert_allclose(found[wanted], every[wanted], rtol=1e-12)


def test_pairs_across_are_recognised():
    def needed(*pairs, count=4):
        found = np.zeros((count, count), dtype=bool)
        found[tuple(zip(*pairs, strict=True))] = True
        return found

    assert _across(needed((0, 2), (0, 3), (1, 2))) == 2
    assert _across(needed((0, 0), (0, 2), (1, 3))) == 2
    assert _across(needed((2, 0), (3, 1))) == 2
    assert _across(needed((0, 1), (0, 2))) == 1
    assert _across(needed((0, 1), (1, 2))) == 0
    assert _across(needed((1, 2))) == 0
    assert _across(np.ones((4, 4), dtype=bool)) == 0
    assert _across(np.zeros((4, 4), dtype=bool)) == 0


@pytest.mark.parametrize("kind", ["plain", "offset", "one far row"])
def test_float32_in_tiles_is_the_definition(kind):
    """Wide layers of 1,100 examples are formed in tiles of float32; all of it against float64 and whole matrices."""
    rng = np.random.default_rng(5)
    shared = rng.normal(size=(1100, 30))
    sides = [
        {
            f"{i}": CASES[kind](shared @ rng.normal(size=(30, p)) + rng.normal(size=(1100, p)))
            for i, p in enumerate(widths)
        }
        for widths in ((1200, 1500), (1300, 40))
    ]
    single = [{name: x.astype(np.float32) for name, x in side.items()} for side in sides]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        found = hl.compare(*single)
        for name in found.data_vars:
            if name in ("cka", "cka(estimator=debiased)"):
                options = {} if name == "cka" else {"estimator": "debiased"}
                expected = [
                    [float(hl.cka(x.astype(float), y.astype(float), **options)) for y in single[1].values()]
                    for x in single[0].values()
                ]
                np.testing.assert_allclose(found[name], expected, atol=2e-6)


def test_pvalues_from_features_at_hand_are_those_of_the_rows(monkeypatch):
    """The shape of the distribution over all orders, from centred float32 features and from the rows in float64."""
    rng = np.random.default_rng(6)
    shared = rng.normal(size=(1200, 1))
    a, b = ({"x": (0.1 * shared + rng.normal(size=(1200, 60)) + 100).astype(np.float32)} for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        held = hl.compare(a, b)
        monkeypatch.setattr(moment_pvalues, "is_numpy", lambda _: False)
        read = hl.compare(a, b)
    for name in ("cka_p", "cka(estimator=debiased)_p"):
        assert 1e-12 < float(held[name].item()) < 0.9
        np.testing.assert_allclose(held[name], read[name], rtol=1e-3)
