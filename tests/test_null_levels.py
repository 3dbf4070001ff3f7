"""The level of independent data is the mean over every order of the examples of y, whatever the ranks of the two sides."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import homolog as hl

NEAR = ["mutual_knn(k=2)", "jaccard_knn(k=2)", "jaccard_knn(k=3)"]
THIN = ["svcca(threshold=0.6)", "svcca(threshold=1.0)"]
NAMES = [str(form) for record in hl.measures().values() for form in record.forms() if form.null] + NEAR + THIN
NONE = {"cka(estimator=debiased)", "cka(kernel=rbf,estimator=debiased)", "cca(statistic=rho)", "svcca(statistic=rho)"}
"""Debiased estimators have the level 0, and of the mean correlation nobody knows it."""
ORDERS = [list(order) for order in itertools.permutations(range(5))]
# Rows in general position, in which the components of either side differ much in variance: thresholds keep other numbers of them.
X = np.array([[3.0, 0.2, 0.4], [-5.0, 0.1, -0.3], [1.0, -0.7, 0.0], [8.0, 0.3, 0.9], [-2.0, 0.6, -0.5]])
Y = np.array([[1.0, 2.0, -1.0], [-2.0, 0.5, 3.0], [0.3, -3.0, 1.0], [2.0, 1.0, 1.5], [-1.0, -0.4, -2.0]])
SHAPES = [(2, 3), (3, 2)]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


@pytest.mark.parametrize("widths", SHAPES, ids=["narrow with wide", "wide with narrow"])
@pytest.mark.parametrize("form", NAMES)
def test_is_the_mean_over_all_orders(form, widths):
    x, y = X[:, : widths[0]], Y[:, : widths[1]]
    result = hl.compare({"x": x}, {"y": y}, measures=form)
    if form in NONE:
        assert f"{form}_null" not in result
        return
    measure = hl.measure(form)
    mean = np.mean([float(measure(x, y[order])) for order in ORDERS])
    assert result[f"{form}_null"].item() == pytest.approx(mean, rel=1e-9)


def test_a_threshold_keeps_other_numbers_of_components_of_the_two_sides():
    """Else the larger and the smaller of them would be one, and the test above blind."""
    kept = []
    for side in (X, Y):
        squared = np.linalg.svd(side - side.mean(axis=0), compute_uv=False) ** 2
        kept.append(int(np.argmax(np.cumsum(squared) >= 0.6 * squared.sum())) + 1)
    assert kept == [1, 2]


def test_of_every_pair_it_is_that_of_the_pair():
    layers = {"one": X[:, :1], "two": X[:, :2], "three": Y}
    forms = [form for form in NAMES if form not in NONE and not (form in NEAR or "knn" in form)]
    together = hl.compare(layers, measures=forms)
    for (a, x), (b, y) in itertools.product(layers.items(), repeat=2):
        alone = hl.compare({"x": x}, {"y": y}, measures=forms)
        for form in forms:
            found = together[f"{form}_null"].sel(layer_a=a, layer_b=b).item()
            assert found == pytest.approx(alone[f"{form}_null"].item(), rel=1e-12), (form, a, b)


def warned(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        return call(), {caution.category for caution in told}


def test_a_constant_layer_is_not_called_free_of_order(rng):
    x, y = rng.normal(size=(2, 40, 3))
    result, told = warned(
        lambda: hl.compare({"c": 0 * x}, {"d": y}, measures=["cka", "cca"], null="permutation", n_permutations=9)
    )
    assert told == {hl.ConstantLayerWarning}
    assert all(np.isnan(result[name].values).all() for name in result.data_vars)
    for call in (lambda: hl.permutation_test(0 * x, y, n_permutations=9).pvalue, lambda: hl.null_level(0 * x, y)):
        value, told = warned(call)
        assert np.isnan(value)
        assert told == {hl.ConstantLayerWarning}


def test_what_no_order_changes_has_no_probability_anywhere(rng):
    x = rng.normal(size=(20, 3))
    result, told = warned(
        lambda: hl.compare(
            {"a": x}, {"b": 2 * x}, measures="magnitude_difference", null="permutation", n_permutations=9
        )
    )
    assert told == {hl.OrderFreeWarning}
    assert np.isnan([result[f"magnitude_difference_{p}"].item() for p in ("p", "p_fwer", "p_fdr")]).all()
    found, told = warned(lambda: hl.permutation_test(x, 2 * x, "magnitude_difference", n_permutations=9))
    assert np.isnan(found.pvalue)
    assert told == {hl.OrderFreeWarning}
