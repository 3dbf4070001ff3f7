"""States give what all rows at once give, however the stream was cut and merged; two models in one pass."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from conftest import LIBRARIES
from hypothesis import given, settings
from hypothesis import strategies as st
from representation_pairs import CASES
from streamed_results import DEBIASED, FORMS, assert_results_agree

import homolog as hl


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


@pytest.mark.parametrize("case", CASES)
def test_moments_of_every_kind_of_data(case, rng):
    x, y = CASES[case](rng)
    a, b = {"x": x, "narrow": x[:, :1]}, {"y": y, "constant": np.full_like(y, 0.1)}
    state = hl.Moments()
    for start in range(0, len(x), 7):
        rows = slice(start, start + 7)
        state.update({k: v[rows] for k, v in a.items()}, {k: v[rows] for k, v in b.items()})
    assert_results_agree(state.finalise(FORMS), hl.compare(a, b, measures=FORMS), rtol=1e-6, atol=1e-7)


@given(
    cuts=st.lists(st.integers(1, 39), max_size=6, unique=True),
    owners=st.lists(st.integers(0, 2), min_size=7, max_size=7),
    order=st.permutations([0, 1, 2]),
    offset=st.sampled_from([0.0, 1e3, -1e6]),
)
@settings(max_examples=50, deadline=None)
def test_any_chunks_and_any_merges_give_the_same(cuts, owners, order, offset):
    rng = np.random.default_rng(5)
    a = {"x": rng.normal(size=(40, 3)) + offset, "z": rng.normal(size=(40, 5))}
    b = {"y": a["x"] @ rng.normal(size=(3, 4)) + rng.normal(size=(40, 4))}
    parts = np.split(np.arange(40), sorted(cuts))
    states = [hl.Moments() for _ in range(3)]
    for part, owner in zip(parts, owners, strict=False):
        states[owner].update({k: v[part] for k, v in a.items()}, {k: v[part] for k, v in b.items()})
    whole = hl.Moments()
    for index in order:
        whole.merge(pickle.loads(pickle.dumps(states[index])))
    assert whole.n == 40
    assert_results_agree(whole.finalise(FORMS), hl.compare(a, b, measures=FORMS), rtol=1e-7)


@pytest.mark.parametrize("put", LIBRARIES.values(), ids=LIBRARIES)
def test_any_array_library(put, rng):
    x, y = rng.normal(size=(2, 60, 4))  # of one shape, for which JAX compiles once
    y[:, 0] += x[:, 1]
    moments, batches = hl.Moments(), hl.MinibatchHSIC()
    plain = hl.MinibatchHSIC()
    for rows in np.split(np.arange(60), 4):
        for state in (moments, batches):
            state.update(put(x[rows].astype("float32")), put(y[rows].astype("float32")))
        plain.update(x[rows], y[rows])
    single = [side.astype("float32").astype(float) for side in (x, y)]
    np.testing.assert_allclose(moments.finalise(DEBIASED)[DEBIASED], hl.cka(*single, estimator="debiased"), rtol=1e-9)
    np.testing.assert_allclose(batches.finalise()[DEBIASED], plain.finalise()[DEBIASED], atol=1e-6)


def test_a_model_with_itself_and_what_moments_cannot(rng):
    layers = {f"layer {p}": rng.normal(size=(50, p)) for p in (2, 6, 4)}
    state = hl.Moments()
    for rows in np.split(np.arange(50), 5):
        state.update({k: v[rows] for k, v in layers.items()})
    assert_results_agree(state.finalise(FORMS), hl.compare(layers, measures=FORMS), rtol=1e-7)
    for form in ("cka(kernel=rbf)", "maximum_match"):
        with pytest.raises(
            ValueError, match="moments hold the measures of the structure family with the linear kernel"
        ):
            state.finalise(form)


def unbiased_term(x, y):
    """⟨Ã, B̃⟩ by the definition of U-centring."""

    def centred(gram):
        n = len(gram)
        gram = gram - np.diag(np.diag(gram))
        sums = gram.sum(axis=0)
        gram = gram - sums[:, None] / (n - 2) - sums[None, :] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
        return gram - np.diag(np.diag(gram))

    return float(np.sum(centred(x @ x.T) * centred(y @ y.T)))


def test_minibatch_terms_are_the_published_ones(rng):
    """Unequal batches are weighted by n(n − 3) because their terms are; fewer than four rows join the batch before them."""
    x, y = rng.normal(size=(53, 4)) + 3, rng.normal(size=(53, 6))
    y[:, :4] += x
    sizes = [10, 4, 3, 17, 5, 12, 2]
    joined = [10, 7, 17, 5, 14]
    state = hl.MinibatchHSIC()
    for rows in np.split(np.arange(53), np.cumsum(sizes)[:-1]):
        state.update(x[rows], y[rows])
    found = state.finalise((DEBIASED, "hsic(estimator=debiased)"))
    parts = np.split(np.arange(53), np.cumsum(joined)[:-1])
    sums = [sum(unbiased_term(p[rows], q[rows]) for rows in parts) for p, q in ((x, y), (x, x), (y, y))]
    np.testing.assert_allclose(found[DEBIASED], sums[0] / np.sqrt(sums[1] * sums[2]), rtol=1e-10)
    weight = sum(n * (n - 3) for n in joined)
    np.testing.assert_allclose(found["hsic(estimator=debiased)"], sums[0] / weight, rtol=1e-10)
    assert int(found.attrs["n_batches"]) == 5
    low, value, high = (found[f"{DEBIASED}{end}"].item() for end in ("_low", "", "_high"))
    assert low < value < high


def test_batches_may_be_reused_refused_and_looked_at_midway(rng):
    x, y = rng.normal(size=(103, 4)), rng.normal(size=(103, 3))
    expected, state, buffer = hl.MinibatchHSIC(), hl.MinibatchHSIC(), np.empty((50, 4))
    expected.update(x[:50], y[:50])
    expected.update(x[50:], y[50:])
    for start in (0, 50):
        buffer[:] = x[start : start + 50]
        state.update(buffer, y[start : start + 50])
        with pytest.raises(ValueError, match="must be finite, got NaN or infinity first in row 0"):
            state.update(buffer * np.nan, y[:50])
        state.finalise()
        buffer[:] = -1
    state.update(x[100:], y[100:])  # three rows join the batch before, though it was looked at
    assert state.finalise().equals(expected.finalise())
    short, long = hl.MinibatchHSIC(), hl.MinibatchHSIC()
    short.update(x[100:], y[100:])
    long.update(x[:50], y[:50])
    long.update(x[50:100], y[50:100])
    long.merge(short)
    np.testing.assert_allclose(long.finalise()[DEBIASED], expected.finalise()[DEBIASED], rtol=1e-12)
    for state in (long, hl.Moments()):
        with pytest.raises(TypeError, match="can be merged with"):
            state.merge(3)


def test_jackknife_over_batches_by_definition(rng):
    x = rng.normal(size=(80, 3))
    y = x + rng.normal(size=(80, 3))
    state = hl.MinibatchHSIC()
    parts = np.split(np.arange(80), 8)
    for rows in parts:
        state.update(x[rows], y[rows])

    def value(kept):
        sums = [sum(unbiased_term(p[rows], q[rows]) for rows in kept) for p, q in ((x, y), (x, x), (y, y))]
        return sums[0] / np.sqrt(sums[1] * sums[2])

    without = np.array([value(parts[:b] + parts[b + 1 :]) for b in range(8)])
    error = np.sqrt(7 / 8 * np.sum((without - without.mean()) ** 2))
    np.testing.assert_allclose(state.finalise()[f"{DEBIASED}_se"], error, rtol=1e-8)


def test_states_of_batches_merge(rng):
    x, y = rng.normal(size=(96, 3)) * 1e9, rng.normal(size=(96, 2)) * 1e-9
    whole, first, second = (hl.MinibatchHSIC() for _ in range(3))
    for index, rows in enumerate(np.split(np.arange(96), 6)):
        whole.update(x[rows], y[rows])
        (first if index < 3 else second).update(x[rows], y[rows])
    first.merge(pickle.loads(pickle.dumps(second)))
    xarray_equal = first.finalise((DEBIASED, "hsic(estimator=debiased)"))
    expected = whole.finalise((DEBIASED, "hsic(estimator=debiased)"))
    for name in expected.data_vars:
        np.testing.assert_allclose(xarray_equal[name], expected[name], rtol=1e-9)
    empty = hl.MinibatchHSIC()
    empty.merge(whole)
    empty.merge(hl.MinibatchHSIC())
    assert empty.finalise().equals(whole.finalise())


def test_offsets_outliers_and_constants(rng):
    x = rng.normal(size=(128, 5))
    y = x @ rng.normal(size=(5, 4)) + rng.normal(size=(128, 4))
    expected = hl.MinibatchHSIC()
    for rows in np.split(np.arange(128), 4):
        expected.update(x[rows], y[rows])
    for scale, offset in ((1, 1e3), (1e-12, 1e-9), (1e12, 0), (1e-30, 0)):
        state = hl.MinibatchHSIC()
        for rows in np.split(np.arange(128), 4):
            state.update((scale * x[rows] + offset).astype("float32"), y[rows].astype("float32"))
        np.testing.assert_allclose(state.finalise()[DEBIASED], expected.finalise()[DEBIASED], atol=2e-4)
    constant = hl.MinibatchHSIC()
    for rows in np.split(np.arange(128), 4):
        constant.update({"x": x[rows], "constant": np.full((32, 7), 0.1, dtype="float32")}, {"y": y[rows]})
    values = constant.finalise()[DEBIASED]
    assert np.isfinite(values[0, 0])
    assert np.isnan(values[1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 1e3 / 7, -3e-5])
def test_what_varies_by_its_last_bit_is_constant(value, dtype, rng):
    """As `compare` has it: a unit that differs from its mean by rounding alone says nothing."""
    layer = np.full((64, 3), value, dtype=dtype)
    layer[rng.random((64, 3)) < 0.5] = np.nextafter(dtype(value), dtype(np.inf))
    y = rng.normal(size=(64, 2))
    state = hl.MinibatchHSIC()
    for rows in np.split(np.arange(64), 4):
        state.update({"last bit": layer[rows], "y": y[rows].astype(dtype)}, {"y": y[rows].astype(dtype)})
    found = state.finalise()[DEBIASED]
    assert np.isnan(found.sel(layer_a="last bit", layer_b="y"))
    assert found.sel(layer_a="y", layer_b="y").item() == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 3])
def test_intervals_cover_the_population_value(passes):
    """300 simulated streams of ten batches; 92 to 98 % is what the interval promises, give or take the simulation."""
    rng = np.random.default_rng(11)
    strengths = {"none": 0.0, "some": 0.5, "much": 1.0}
    covered = dict.fromkeys(strengths, 0)
    for _ in range(300):
        x, y = ({name: rng.normal(size=(160, width)) for name in strengths} for width in (5, 3))
        for name, strength in strengths.items():
            shared = strength * rng.normal(size=(160, 3))
            x[name][:, :3] += shared
            y[name] += shared
        state = hl.MinibatchHSIC()
        for number in range(passes):
            if number:
                state.new_pass()
            for rows in np.split(rng.permutation(160), 10):
                state.update({k: v[rows] for k, v in x.items()}, {k: v[rows] for k, v in y.items()})
        found = state.finalise()
        for name, strength in strengths.items():
            ends = [found[f"{DEBIASED}{end}"].sel(layer_a=name, layer_b=name).item() for end in ("_low", "_high")]
            covered[name] += ends[0] <= population(strength) <= ends[1]
    for name, count in covered.items():
        assert 0.92 <= count / 300 <= 0.98, name


def population(strength):
    """Linear CKA of the covariances of five and three features, of which three are shared."""
    joint = np.zeros((5, 3))
    joint[:3] = strength**2 * np.eye(3)
    own = np.diag([1 + strength**2] * 3 + [1.0] * 2), np.diag([1 + strength**2] * 3)
    return np.sum(joint**2) / np.sqrt(np.sum(own[0] ** 2) * np.sum(own[1] ** 2))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((np.ones((5, 3)), np.ones((4, 3))), None, "all layers of a batch must have as many rows, got"),
        (
            (np.ones((5, 3)), None),
            (np.ones((5, 4)), None),
            "every batch of a must have the layers and features of the first",
        ),
        ((np.ones((5, 3)), None), (np.ones((5, 3)), np.ones((5, 3))), "every batch must have b, or none"),
        (({}, None), None, "a batch of a must have at least one layer"),
        ((np.ones(3).tolist(), None), None, "a batch of a must be an array"),
        ((1e200 * np.eye(5), None), None, r"must have values up to 1e\+\d+, got .*: divide"),
        ((np.ones(5), None), None, r"layer 'a' of a must have two axes"),
        ((np.full((5, 3), np.nan), None), None, "must be finite, got NaN or infinity first in row 0"),
    ],
)
@pytest.mark.parametrize("kind", [hl.Moments, hl.MinibatchHSIC])
def test_wrong_batches_are_told(kind, first, second, message):
    def go():
        state = kind()
        state.update(*first)
        if second:
            state.update(*second)
        state.finalise(DEBIASED)

    with pytest.raises((ValueError, TypeError), match=message):
        go()


def test_wrong_ends_are_told(rng):
    with pytest.raises(ValueError, match="a result needs batches, got none"):
        hl.MinibatchHSIC().finalise()
    with pytest.raises(ValueError, match="a result needs at least 2 rows, got 0"):
        hl.Moments().finalise()
    state = hl.MinibatchHSIC()
    state.update(rng.normal(size=(3, 2)))
    with pytest.raises(ValueError, match="a pass over the data must hold at least 4 rows, got 3"):
        state.finalise()
    state.update(rng.normal(size=(3, 2)))
    with pytest.raises(
        ValueError, match=r"batches give cka\(estimator=debiased\) and hsic\(estimator=debiased\), got 'cka'"
    ):
        state.finalise("cka")
    other = hl.MinibatchHSIC()
    other.update(rng.normal(size=(6, 3)))
    with pytest.raises(
        ValueError, match="the same layers can be merged, got a of 2 features in one and a of 3 features in the"
    ):
        state.merge(other)
    with pytest.raises(ValueError, match="layers and features of the first, a of 2 features, got c of 1 features"):
        state.update({"c": np.ones((4, 1))})
