"""Gram matrices of batches, looked at or not, against their definition in float64; what cannot be said of them is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl
from homolog.states import batch_grams, minibatch
from homolog.states.batch_grams import BatchGram, BatchGrams, near_gram, product, raw_gram, stacked, unread_gram

DEBIASED = "cka(estimator=debiased)"
KINDS = {
    "random": lambda x: x,
    "offset": lambda x: x + 1e4,
    "offsets of columns": lambda x: x + 1e4 * np.arange(x.shape[1]) / x.shape[1],
    "one unit far off": lambda x: x + 1e5 * (np.arange(x.shape[1]) == 1),
    "small": lambda x: 1e-20 * x,
    "large": lambda x: 1e20 * x,
    "as large as float32 can be": lambda x: 3e38 * x / np.abs(x).max(),
    "large and offset": lambda x: 1e30 * (x + 100),
    "small and offset": lambda x: 1e-25 * (x + 100),
    "one example": lambda x: x * np.where(np.arange(len(x)) == 3, 1e3, 1)[:, None],
    "rank two": lambda x: x[:, :2] @ np.ones((2, x.shape[1])),
    "one column": lambda x: x[:, :1],
}


def definition(x):
    """HKH in float64."""
    x = np.asarray(x, dtype=float)
    x = x - x.mean(axis=0)
    return x @ x.T


def checked(x, name):
    return BatchGrams().of(x, name).gram


def unread(x, name):
    return unread_gram(x)


@pytest.fixture
def far(monkeypatch):
    """Tensors of the host as if looking at them would wait for a device."""
    for module in (batch_grams, minibatch):
        monkeypatch.setattr(module, "is_far", lambda x: isinstance(x, torch.Tensor))


@pytest.mark.parametrize("form", [checked, near_gram, unread])
@pytest.mark.parametrize("size", [(6, 40), (64, 9000), (65, 7), (256, 300)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_gram_matrices_of_any_numbers_by_definition(kind, size, form, rng):
    x = KINDS[kind](rng.normal(size=size)).astype(np.float32)
    expected = definition(x)
    found = stacked([BatchGram(form(torch.from_numpy(x), "x"), x.shape[1])]).numpy()[0]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("form", [checked, near_gram, unread])
def test_nothing_is_left_of_what_never_varies(form, rng):
    value = np.float32(0.1)
    last_bit = np.where(rng.random((200, 5)) < 0.5, value, np.nextafter(value, np.float32(1)))
    for x in (np.full((200, 5), value), np.zeros((8, 5), dtype=np.float32), last_bit):
        assert not form(torch.from_numpy(x), "x").any()


def test_features_are_centred_first_only_where_that_is_needed(rng):
    x = torch.from_numpy(rng.normal(size=(64, 30)).astype(np.float32))
    assert raw_gram(x + 3) is not None
    for other in (x + 10, 1e-20 * x, 1e20 * x, x * float("nan"), torch.ones_like(x)):
        assert raw_gram(other) is None


@pytest.mark.parametrize("shape", [(64, 8192), (100, 6000), (49, 11000), (64, 9001)], ids=str)
@pytest.mark.parametrize("layout", ["rows", "every second row", "features first"])
def test_products_of_many_features_by_definition(shape, layout, rng):
    """Other libraries form these, if features lie one beside the other."""
    n, width = shape
    x = rng.normal(size=(2 * n, width)).astype(np.float32)
    given = {
        "rows": torch.from_numpy(x[:n]),
        "every second row": torch.from_numpy(x)[::2],
        "features first": torch.from_numpy(np.asfortranarray(x[:n])),
    }[layout]
    found, exact = product(given), given.double() @ given.double().T
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, exact, atol=1e-5 * width, rtol=0)
    torch.set_float32_matmul_precision("medium")
    try:
        np.testing.assert_array_equal(product(given), found)
    finally:
        torch.set_float32_matmul_precision("highest")


def networks():
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 5)) for _ in range(2)]


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("batches", [1, 3, 37])
def test_what_is_read_later_is_the_same(batches, request):
    """Fewer batches than are read together, and more; the last one is smaller."""
    a, b = networks()
    data = torch.randn(8 * batches - 2, 4)
    expected = hl.compare_models(a, b, data, batch_size=8, passes=2)
    request.getfixturevalue("far")
    found = hl.compare_models(a, b, data, batch_size=8, passes=2)
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    assert found.attrs == expected.attrs


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("wrong", [1, 3, 20])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_layer_that_is_not_finite_is_told_when_it_is_read(wrong, value, far):
    a, b = networks()
    data = torch.randn(160, 4)
    data[8 * wrong - 3] = value
    with pytest.raises(
        ValueError, match=rf"layer '0' of a must be finite and at most 1e\+140, got .* in batch {wrong}: "
    ):
        hl.compare_models(a, b, data.split(8))


def test_a_state_that_is_sent_away_holds_no_tensor(far, rng):
    state = hl.MinibatchHSIC()
    for _ in range(3):
        state.update(torch.from_numpy(rng.normal(size=(8, 3))))
    assert not any(isinstance(value, torch.Tensor) for value in state.__getstate__().values())
    assert len(state.__getstate__()["terms"]) == 3


def test_one_batch_has_no_standard_error_and_that_is_told(rng):
    x = rng.normal(size=(40, 3))
    state = hl.MinibatchHSIC()
    state.update(x, x[:, :2])
    told = r"no standard errors and no intervals, because the data had a single batch \(of 40 examples\): "
    with pytest.warns(hl.UndefinedValueWarning, match=told):
        found = state.finalise()
    assert f"{DEBIASED}_se" not in found
    assert "a single batch (of 40 examples)" in found.attrs["warnings"]
    state.update(x, x[:, :2])
    assert f"{DEBIASED}_se" in state.finalise()
