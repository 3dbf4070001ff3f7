"""CKA of small tensors has a short way: it must say what the long way says, in value, gradient, warnings and errors."""

from __future__ import annotations

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import homolog as hl
from homolog.measures.evaluation import evaluate
from homolog.operands.small_tensors import quick_alignment

ESTIMATORS = ("biased", "debiased")
DTYPES = (torch.float32, torch.float64)


def long_way(x, y, estimator):
    return evaluate(replace(hl.measure("cka", estimator=estimator), quick=None), x, y)


def drawn(seed, n, p, dtype, rank=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) if rank is None else rng.normal(size=(n, rank)) @ rng.normal(size=(rank, p))
    return torch.asarray(x, dtype=dtype)


def outcome(function, *arrays):
    """The value, the gradients, and the warnings, or the error."""
    sides = [array.clone().requires_grad_() for array in arrays]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = function(*sides)
            value.backward()
        except (ValueError, TypeError) as error:
            return type(error), str(error), [], []
    return value.detach(), [side.grad for side in sides], [str(w.message) for w in caught]


KINDS = {
    "plain": lambda x: x,
    "shifted": lambda x: x + 100,
    "far away": lambda x: x + 1e6,
    "tiny": lambda x: x * 1e-30,
    "huge": lambda x: x * 1e18,
    "unequal features": lambda x: x * 10.0 ** (-torch.arange(x.shape[1], dtype=x.dtype) % 5),
    "one feature is constant": lambda x: torch.cat([x[:, 1:], torch.full_like(x[:, :1], 7.1)], dim=1),
    "rows that are equal": lambda x: x[torch.arange(x.shape[0]) // 2],
    "one row differs": lambda x: torch.cat([x[:1], torch.zeros_like(x[1:])]),
    "constant": lambda x: torch.full_like(x, 0.3),
    "rectified": lambda x: x.clamp(min=0),
    "not a number": lambda x: torch.where(x == x.max(), torch.nan, x),
    "infinite": lambda x: torch.where(x == x.max(), torch.inf, x),
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("n", "p", "q", "rank"), [(30, 8, 5, None), (12, 40, 9, None), (20, 15, 15, 3), (4, 1, 2, None)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_short_way_says_what_the_long_way_says(kind, n, p, q, rank, dtype, estimator):
    x, y = drawn(0, n, p, dtype, rank), drawn(1, n, q, dtype, rank)
    y[:, : min(p, q)] += x[:, : min(p, q)]
    for first, second in ((KINDS[kind](x), y), (KINDS[kind](x), KINDS[kind](y)), (x, KINDS[kind](y))):
        short = outcome(lambda a, b: hl.cka(a, b, estimator=estimator), first, second)
        long = outcome(lambda a, b: long_way(a, b, estimator), first, second)
        if isinstance(short[0], type):
            assert short == long
            continue
        same_values(short, long, (first, second), dtype)


def same_values(short, long, arrays, dtype):
    # Gradients in units of what a change of the whole range would do; much cancels in them.
    digits = 1e-6 if dtype == torch.float32 else 1e-11
    assert short[0].dtype == long[0].dtype == dtype
    torch.testing.assert_close(short[0], long[0], rtol=digits, atol=digits, equal_nan=True)
    for one, other, array in zip(short[1], long[1], arrays, strict=True):
        spread = float(array.max() - array.min()) or 1.0
        torch.testing.assert_close(spread * one, spread * other, rtol=100 * digits, atol=100 * digits, equal_nan=True)
    assert short[2] == long[2]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(4, 12), st.integers(1, 14), st.integers(1, 14), st.sampled_from(DTYPES),
    st.sampled_from(ESTIMATORS), st.floats(-25, 25), st.floats(-4, 4), st.booleans(),
)  # fmt: skip
def test_random_tensors_agree(seed, n, p, q, dtype, estimator, power, shift, whole):
    x, y = drawn(seed, n, p, dtype), drawn(seed + 1, n, q, dtype)
    x, y = (x + 10**shift) * 10.0 ** (power / 2), y * 10.0 ** (-power / 2)
    x, y = (x.round(), y) if whole else (x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        short, long = hl.cka(x, y, estimator=estimator), long_way(x, y, estimator)
    digits = 2e-6 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(short, long, rtol=digits, atol=digits, equal_nan=True)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_usual_tensors_take_the_short_way_and_others_do_not(estimator):
    x, y = drawn(0, 20, 5, torch.float64), drawn(1, 20, 5, torch.float64)
    assert quick_alignment(x, y, estimator) is not None
    assert quick_alignment(torch.nn.Parameter(x), x.half(), estimator) is not None
    for other in (x + 1e12, x * 1e-80, x * 1e80, x * 0, x[:, 0], x[:-1], x.long(), x.to_sparse(), x.numpy(), None):
        assert quick_alignment(other, y, estimator) is None
        assert quick_alignment(y, other, estimator) is None
    assert quick_alignment(torch.zeros(2000, 1000), torch.zeros(2000, 1000), estimator) is None
    assert (quick_alignment(x[:3], y[:3], estimator) is None) == (estimator == "debiased")


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("shape", [(8, 3), (5, 9)])
def test_gradients_are_those_of_finite_differences_also_twice(estimator, shape):
    x, y = (drawn(seed, *shape, torch.float64).requires_grad_() for seed in (0, 1))
    torch.autograd.gradcheck(lambda a, b: hl.cka(a, b, estimator=estimator), (x, y))
    torch.autograd.gradgradcheck(lambda a, b: hl.cka(a, b, estimator=estimator), (x, y))
    torch.autograd.gradcheck(lambda a: hl.cka(a, a, estimator=estimator), (x,), atol=1e-7)


def test_a_value_is_never_above_one():
    for seed in range(50):
        x = drawn(seed, 9, 4, torch.float64)
        assert float(hl.cka(x, x)) <= 1
        assert float(hl.cka(x, 3 * x)) <= 1


# --- The dtype of the value


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (torch.float32, torch.float32, torch.float32),
        (torch.float64, torch.float64, torch.float64),
        (torch.float16, torch.float16, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.float32, torch.int64, torch.float32),
        (torch.int64, torch.int32, torch.float64),
    ],
)
@pytest.mark.parametrize(
    "measure", ["cka", "cka(estimator=debiased)", "cka(kernel=rbf)", "procrustes_distance", "mutual_knn"]
)
def test_a_value_keeps_the_dtype_of_the_tensors(measure, first, second, kept):
    x, y = (100 * drawn(seed, 20, 3, torch.float64) for seed in (0, 1))
    assert hl.measure(measure)(x.to(first), y.to(second)).dtype == kept


def test_a_value_that_float32_cannot_hold_stays_wide():
    x = drawn(0, 20, 3, torch.float32)
    assert hl.hsic(x, x).dtype == torch.float32
    for size in (1e15, 1e-15):
        found = hl.hsic(size * x, size * x)
        assert found.dtype == torch.float64
        assert 0.1 < float(found) / size**4 < 10


def test_jax_arrays_keep_their_dtype_and_numpy_computes_in_float64():
    x, y = np.random.default_rng(0).normal(size=(2, 20, 3)).astype(np.float32)
    assert hl.cka(jnp.asarray(x), jnp.asarray(y)).dtype == jnp.float32
    with jax.enable_x64(True):
        assert hl.cka(jnp.asarray(x), jnp.asarray(y)).dtype == jnp.float32
        assert hl.cka(jnp.asarray(x, dtype=float), jnp.asarray(y)).dtype == jnp.float64
    assert hl.cka(x, y).dtype == np.float64


def test_half_precision_has_a_gradient_in_half_precision():
    x, y = (drawn(seed, 20, 3, torch.float16).requires_grad_() for seed in (0, 1))
    hl.cka(x, y).backward()
    assert x.grad.dtype == torch.float16
    assert float(x.grad.abs().max()) > 0


# --- Measures without gradients


def test_measures_without_gradients_refuse_tensors_that_require_them():
    x, y = drawn(0, 20, 3, torch.float32), drawn(1, 20, 3, torch.float32)
    want = x.clone().requires_grad_()
    for measure in ("mutual_knn", "cknna", "neuron_mutual_information", "rsa"):
        for pair in ((want, y), (y, want)):
            with pytest.raises(
                TypeError, match=r"has no gradient.*detach.*gradients \(hsic, cka, .*procrustes_distance"
            ):
                hl.measure(measure)(*pair)
        plain = hl.measure(measure)(x, y)
        assert hl.measure(measure)(want.detach(), y) == plain
        with torch.no_grad():
            assert hl.measure(measure)(want, y) == plain
    with pytest.raises(TypeError) as refused:
        hl.mutual_knn(want, y)
    assert "rank_similarity" not in str(refused.value)
    assert hl.rsa(want, y, comparison="pearson").requires_grad


def test_measures_without_gradients_refuse_what_jax_differentiates():
    x, y = jnp.asarray(np.random.default_rng(0).normal(size=(2, 20, 3)))
    with pytest.raises(TypeError, match=r"mutual_knn has no gradient.*stop_gradient"):
        jax.grad(hl.mutual_knn)(x, y)
    assert float(hl.mutual_knn(x, y)) >= 0


# --- Options are checked once, not never


def test_equal_looking_options_are_told_apart_and_a_new_measure_of_a_name_is_new():
    x, y = drawn(0, 20, 3, torch.float64), drawn(1, 20, 3, torch.float64)
    hl.cka(x, y, kernel="rbf", median_fraction=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="median_fraction of cka must be a number"):
            hl.cka(x, y, kernel="rbf", median_fraction=True)
        with pytest.raises(ValueError, match="estimator of cka must be"):
            hl.cka(x, y, estimator="unbiased")
    assert hl.cka(x, y, kernel="rbf", median_fraction=1) == hl.cka(x, y, kernel="rbf", median_fraction=1.0)
    fractions = [float(hl.cka(x, y, kernel="rbf", median_fraction=0.5 + k / 100)) for k in range(80)]
    assert len(set(fractions)) == 80
