"""Floating point: offsets, scales, degenerate data."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

import homolog as hl

ESTIMATORS = ["biased", "debiased"]


@pytest.fixture
def independent_and_related(rng):
    x = rng.normal(size=(512, 64))
    return x, x[:, ::-1] * 0.5 + rng.normal(size=(512, 64))


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("offset", "allowed"), [(1e3, 1e-4), (1e4, 1e-3)])
def test_a_mean_offset_hardly_moves_cka_in_float32(independent_and_related, estimator, offset, allowed, library):
    x, y = independent_and_related
    exact = float(hl.cka(x, y, estimator=estimator))
    moved = float(
        hl.cka(library((x + offset).astype(np.float32)), library((y - offset).astype(np.float32)), estimator=estimator)
    )
    assert abs(moved - exact) <= allowed


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("form", ["cka", "cka(estimator=debiased)", "cka(kernel=rbf)", "cca", "procrustes_distance"])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_scaling_hardly_moves_values_in_float32(independent_and_related, form, factor, library):
    x, y = (m.astype(np.float32) for m in independent_and_related)
    exact = float(hl.measure(form)(x, y))
    scaled = library(x * np.float32(factor)), library(y / np.float32(factor))
    assert abs(float(hl.measure(form)(*scaled)) - exact) <= 1e-5


def test_extreme_but_finite_input_gives_no_nan(rng):
    x = rng.normal(size=(30, 4))
    for factor in (1e-300, 1e300, 5e-324 / 1e-16):
        for name in ("cka", "cka(kernel=rbf)", "cca", "pwcca", "procrustes_distance", "bipartite_match"):
            assert math.isfinite(hl.measure(name)(x * factor, x[:, ::-1] + 0.1 * x))


def test_a_dead_unit_counts_as_zero_with_a_warning(rng):
    x = rng.normal(size=(50, 4))
    dead = x.copy()
    dead[:, 2] = 3.0
    with pytest.warns(hl.DeadUnitWarning, match=r"x \(1\), y \(1\)"):
        assert float(hl.bipartite_match(dead, dead.copy())) == pytest.approx(0.75)
    with pytest.warns(hl.DeadUnitWarning, match=r"y \(1\)"):
        assert float(
            hl.semi_match(x[:, [2]], np.full((50, 1), 3.0) * [[1, 0]] + x[:, [2]] * [[0, 1]])
        ) == pytest.approx(1)


def test_one_outlier_leaves_no_debiased_structure():
    x = np.zeros((10, 2))
    x[3] = 1.0
    with pytest.warns(hl.UndefinedValueWarning, match="has no value"):
        assert math.isnan(hl.cka(x, np.random.default_rng(0).normal(size=(10, 2)), estimator="debiased"))


def test_negative_debiased_values_stay(rng):
    values = [
        float(hl.cka(rng.normal(size=(20, 30)), rng.normal(size=(20, 30)), estimator="debiased")) for _ in range(20)
    ]
    assert min(values) < 0


def test_saturation_is_told_only_where_forced(rng):
    x = rng.normal(size=(20, 12))
    with pytest.warns(hl.SaturationWarning, match="together exceed n - 1 = 19"):
        hl.cca(x, rng.normal(size=(20, 9)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hl.cca(x, rng.normal(size=(20, 7)))
        hl.cka(rng.normal(size=(20, 40)), rng.normal(size=(20, 40)))


SUBSPACE = [form for record in hl.measures().values() for form in record.forms() if form.family.name == "subspace"]


@pytest.mark.parametrize("form", [*SUBSPACE, hl.measure("angular_shape_distance(alpha=0.0)")], ids=str)
def test_saturation_is_told_of_measures_whose_value_is_forced(form, rng):
    """With a rank of n − 1 these are the same whatever the data, or infinite; the others are not, and say nothing of CCA."""
    x = rng.normal(size=(12, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = rng.normal(size=(3, 12, 2))
        # The predictors are those that fit everything.
        predicted = form.name == "linear_regression"
        values = [float(form(other, x) if predicted else form(x, other)) for other in others]
    forced = np.isinf(values).all() or np.allclose(values, values[0], atol=1e-6)
    assert forced == (not form.free_of_rank) or form.name == "svcca"  # which drops directions first
    y = rng.normal(size=(12, 3))
    for ask in (
        lambda: form(x, y),
        lambda: hl.compare(x, y, measures=form),
        lambda: hl.confidence_interval(x, y, form),
    ):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            ask()
        found = [warning for warning in told if issubclass(warning.category, hl.SaturationWarning)]
        assert len(found) == (not form.free_of_rank)


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_one_measure_that_saturates_is_enough_to_tell(rng):
    with pytest.warns(hl.SaturationWarning, match="CCA-type values and regressions from there say nothing"):
        hl.compare(rng.normal(size=(12, 30)), rng.normal(size=(12, 3)), measures=("procrustes_distance", "cca"))


def test_gradients_flow_and_stay_on_the_device(rng):
    x = torch.tensor(rng.normal(size=(30, 5)), dtype=torch.float32, requires_grad=True)
    y = torch.tensor(rng.normal(size=(30, 4)), dtype=torch.float32)
    for name in ("cka", "cca", "svcca", "pwcca", "linear_regression", "procrustes_distance"):
        x.grad = None
        result = hl.measure(name)(x, y)
        assert result.device == x.device
        result.backward()
        assert bool(torch.isfinite(x.grad).all())
        assert float(x.grad.abs().max()) > 0, name


def test_mixed_dtypes_are_promoted(rng):
    x = rng.normal(size=(30, 5)).astype(np.float32)
    y = rng.normal(size=(30, 4))
    assert float(hl.cka(x, y)) == float(hl.cka(x.astype(float), y))


def test_a_constant_kernel_is_no_structure(rng):
    x = rng.normal(size=(30, 3))
    with pytest.warns(hl.ConstantLayerWarning):
        assert math.isnan(hl.cka(x, x, kernel=lambda m: np.full((30, 30), 0.1)))


def test_an_undefined_value_is_explained_beside_other_warnings(rng):
    outlier = np.zeros((10, 2))
    outlier[3] = 1.0
    other = rng.normal(size=(10, 9))
    with pytest.warns(hl.HomologWarning) as told:
        hl.compare(outlier, other, measures=("cka(estimator=debiased)", "cca"))
    assert {hl.SaturationWarning, hl.UndefinedValueWarning} <= {warning.category for warning in told}
