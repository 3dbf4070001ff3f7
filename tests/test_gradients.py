"""Gradients where a decomposition has none: singular values that tie, ranks that are not full, and corners, which are told."""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest
import torch
from gradient_cases import (
    CASES,
    akin,
    of_spectrum,
    with_gap,
)

import homolog as hl

FORMS = [form for record in hl.measures().values() for form in record.forms() if form.differentiable]
FORMS += [
    hl.measure(spec)
    for spec in (
        "svcca(threshold=0.8)",
        "svcca(threshold=0.8,statistic=rho)",
        "canonical_ridge(regularization=0.1)",
        "canonical_ridge(regularization=30)",
        "angular_shape_distance(alpha=0)",
        "angular_shape_distance(alpha=0.3)",
        "gulp_distance(regularization=0.5)",
        "linear_predictivity(regularization=2)",
        "cka(kernel=rbf,median_fraction=0.4)",
    )
]
MATCHES = {
    "bipartite_match",
    "semi_match",
    "soft_correlation_match",
    "permutation_procrustes_distance",
    "soft_matching_distance",
}
NUCLEAR = {"procrustes_distance", "bures_similarity", "size_and_shape_distance", "angular_shape_distance"}
NUCLEAR |= {"aligned_cosine", "pwcca"}
over_forms = pytest.mark.parametrize("form", FORMS, ids=str)


def at_corner(form, case):
    """Say whether a measure has no gradient, from its definition alone."""
    options, name = form.all_options, form.name
    if case in ("one_hot", "two_labellings", "duplicated_rows"):
        # Distances tie, or are 0.
        if options.get("kernel") == "rbf" or name == "distance_correlation":
            return True
        if options.get("dissimilarity") in ("euclidean", "mahalanobis"):
            return options["comparison"] == "pearson" or case != "duplicated_rows"
        if name == "rsm_norm_difference":
            return case != "duplicated_rows"
    if case == "itself":
        return form.kind == "distance" or name == "gaussian_mutual_information"
    if case == "half_orthogonal":
        return name in NUCLEAR or options.get("statistic") == "rho"
    if case == "two_labellings":
        return name in MATCHES | {"pwcca", "gaussian_mutual_information"}
    if case in ("wide", "both_wide", "half_saturated") and name == "gaussian_mutual_information":
        return True
    return case == "both_wide" and name == "angular_shape_distance" and options["alpha"] == 0


def path_through(rng, x):
    """Return t → features that are x at 0 and keep its rank."""
    n, p = x.shape
    mean, shift = x.mean(axis=0), rng.normal(size=p)
    rows, columns = rng.normal(size=(n, n)) / n, rng.normal(size=(p, p)) / p
    return lambda t: mean + t * shift + (np.eye(n) + t * rows) @ (x - mean) @ (np.eye(p) + t * columns)


def slope(function, step):
    """Derivative at 0 by central differences."""
    return (function(step) - function(-step)) / (2 * step)


def quiet(form, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        return float(form(*given))


def gradients(form, *sides):
    """Value, gradients and what was said, by PyTorch; a side given twice is one tensor."""
    one = {id(side): torch.tensor(side, requires_grad=True) for side in sides}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        value = form(*(one[id(side)] for side in sides))
    value.backward()
    sentences = [str(warning.message) for warning in told if warning.category is hl.GradientWarning]
    return float(value.detach()), [side.grad.numpy() for side in one.values()], sentences


def check(form, case, x, y):
    value, found, told = gradients(form, x, y)
    # Distances near 0 are roots of rounding.
    near = {"rel": 1e-12, "abs": 3e-8 if value < 1e-7 else 1e-300}
    assert value == pytest.approx(quiet(form, torch.tensor(x), torch.tensor(y)), nan_ok=True, **near), case
    if np.isnan(value):
        assert all(np.isnan(side).all() for side in found), case
        return
    assert bool(told) == at_corner(form, case), (case, told)
    assert bool(told) == any(np.isnan(side).any() for side in found), case
    rng = np.random.default_rng(1)
    for k in (0, 1):
        path = path_through(rng, (x, y)[k])
        if not np.isnan(found[k]).any():
            got = np.sum(found[k] * slope(path, 0.1))
            moved = (lambda t: (path(t), y)) if k == 0 else (lambda t: (x, path(t)))  # noqa: B023
            expected = slope(lambda t: quiet(form, *moved(t)), 1e-4 if case == "cut" else 1e-5)  # noqa: B023
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-6), (case, "xy"[k])


@over_forms
def test_gradients_are_slopes_or_told_to_be_none(form):
    decomposed = form.family.name in ("subspace", "predictions") or "mahalanobis" in str(form)
    for case, make in CASES.items():
        if decomposed or not case.startswith("gap"):
            check(form, case, *make(np.random.default_rng(5)))


@over_forms
def test_one_tensor_on_both_sides(form):
    """Similarities are largest there and distances have a corner; `check` moves one side alone."""
    rng = np.random.default_rng(2)
    x = of_spectrum(rng, np.array([1.0, 1.0, 0.4]))
    _, (found,), told = gradients(form, x, x)
    assert bool(told) == at_corner(form, "itself") == bool(np.isnan(found).all())
    if not told:
        path = path_through(rng, x)
        expected = slope(lambda t: quiet(form, *[path(t)] * 2), 1e-5)
        assert np.sum(found * slope(path, 0.1)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@over_forms
def test_a_side_without_gradient_changes_nothing(form):
    x, y = with_gap(0.0)(np.random.default_rng(5))
    _, both, _ = gradients(form, x, y)
    for k in (0, 1):
        sides = [torch.tensor(side, requires_grad=i == k) for i, side in enumerate((x, y))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.MissingInputsWarning)
            form(*sides).backward()
        np.testing.assert_allclose(sides[k].grad.numpy(), both[k], rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::homolog.TiesWarning")  # of the value itself
@pytest.mark.parametrize("spec", ["svcca(threshold=0.6)", "svcca(threshold=0.8,statistic=rho)", "svcca(threshold=0.5)"])
@pytest.mark.parametrize("moving", [(True, False), (False, True)])
def test_svcca_jumps_where_components_left_out_tie_or_end_at_the_threshold(spec, moving):
    rng = np.random.default_rng(4)
    x = of_spectrum(rng, np.ones(5)) if "0.5" not in spec else of_spectrum(rng, np.sqrt([2.0, 1.5, 0.5]))
    sides = [torch.tensor(side, requires_grad=m) for side, m in zip((x, akin(rng, x)), moving, strict=True)]
    with pytest.warns(hl.GradientWarning, match="singular values tie, or explain exactly the threshold"):
        value = hl.measure(spec)(*sides)
    value.backward()
    assert all(bool(torch.isnan(side.grad).all()) for side in sides if side.requires_grad)


def test_svcca_turns_with_components_that_nearly_tie():
    """The gradient is that of the leading subspace, which grows as one over the gap."""
    form = hl.measure("svcca(threshold=0.5)")
    rng = np.random.default_rng(4)
    x = of_spectrum(rng, [1.0, 0.9, 0.899, 0.3])
    y = akin(rng, x)
    _, found, told = gradients(form, x, y)
    path = path_through(rng, x)
    assert not told
    expected = slope(lambda t: quiet(form, path(t), y), 1e-7)
    assert abs(expected) > 1
    assert np.sum(found[0] * slope(path, 0.1)) == pytest.approx(expected, rel=1e-6)


@over_forms
def test_what_is_not_defined_has_no_gradient(form):
    x = np.random.default_rng(1).normal(size=(9, 3))
    for sides in ((np.ones((9, 2)), x), (x, np.ones((9, 2)))):
        value, found, _ = gradients(form, *sides)
        assert np.isnan(value) or form.name.endswith("_difference") or form.name == "hsic"
        assert not np.isnan(value) or all(np.isnan(side).all() for side in found)


def test_dead_units_stay_dead():
    rng = np.random.default_rng(6)
    x = of_spectrum(rng, [1.0, 1.0, 0.4])
    y = akin(rng, x)
    dead = np.insert(x, 1, 7.0, axis=1)
    for form in (form for form in FORMS if form.family.name in ("subspace", "predictions")):
        _, (expected, _), _ = gradients(form, x, y)
        _, (found, _), told = gradients(form, dead, y)
        assert not told
        np.testing.assert_allclose(np.delete(found, 1, axis=1), expected, rtol=1e-9, atol=1e-12, err_msg=str(form))


def test_a_corner_is_told_to_whoever_asks():
    x = torch.tensor(np.random.default_rng(0).normal(size=(9, 2)), requires_grad=True)
    with pytest.warns(hl.GradientWarning, match="has a corner at 0: .* its gradient is NaN") as told:
        hl.procrustes_distance(x, x)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        hl.procrustes_distance(x, x)
        hl.procrustes_distance(x.detach(), x.detach())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("spec", ["cca(statistic=rho)", "linear_regression", "gulp_distance", "aligned_cosine"])
def test_derivatives_forwards_are_those_backwards(spec):
    form = hl.measure(spec)
    x, y = with_gap(0.0)(np.random.default_rng(5))
    _, (backwards, _), _ = gradients(form, x, y)
    along = np.random.default_rng(0).normal(size=x.shape)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.tensor(x), torch.tensor(along))
        found = torch.autograd.forward_ad.unpack_dual(form(dual, torch.tensor(y))).tangent
    assert float(found) == pytest.approx(np.sum(backwards * along), rel=1e-9)


SECOND = ["cca", "linear_regression", "procrustes_distance", "gulp_distance", "linear_predictivity", "aligned_cosine"]


@pytest.mark.parametrize("spec", SECOND)
def test_second_derivatives_where_no_direction_is_left_out(spec):
    rng = np.random.default_rng(8)
    x = torch.tensor(of_spectrum(rng, [1.0, 1.0], n=6), requires_grad=True)
    y = torch.tensor(akin(rng, x.detach().numpy(), 2), requires_grad=True)
    assert torch.autograd.gradgradcheck(hl.measure(spec), (x, y), atol=1e-5)


def test_second_derivatives_where_directions_are_left_out_are_none():
    rng = np.random.default_rng(8)
    x = torch.tensor(of_spectrum(rng, [1.0, 0.9, 0.1], n=6), requires_grad=True)
    y = torch.tensor(akin(rng, x.detach().numpy(), 2))
    (first,) = torch.autograd.grad(hl.svcca(x, y, threshold=0.9), x, create_graph=True)
    assert torch.isfinite(first).all()
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.isnan(second).all()


# JAX compiles every operation for every shape.
IN_JAX = [(form, "gap_0") for form in FORMS if form.family.name in ("subspace", "predictions") and not form.options]
IN_JAX += [
    (hl.measure(spec), case)
    for spec, case in (
        ("cca(statistic=rho)", "half_orthogonal"),
        ("svcca(threshold=0.8)", "gap_0"),
        ("linear_regression", "one_hot"),
        ("aligned_cosine", "one_hot"),
        ("cka(kernel=rbf)", "one_hot"),
        ("distance_correlation", "one_hot"),
        ("rsa(dissimilarity=mahalanobis,comparison=pearson)", "gap_0"),
        ("bipartite_match", "gap_0"),
        ("magnitude_difference", "itself"),
    )
]


# JAX compiles every operation for every shape, which takes seconds: these stand for the others between changes.
QUICK = {"cca-gap_0", "procrustes_distance-gap_0", "linear_regression-one_hot", "bipartite_match-gap_0"}


def in_jax():
    for form, case in IN_JAX:
        name = f"{form}-{case}"
        yield pytest.param(form, case, id=name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize(("form", "case"), list(in_jax()))
def test_jax_agrees(form, case):
    x, y = CASES[case](np.random.default_rng(5))
    value, expected, told = gradients(form, x, y)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got, found = jax.value_and_grad(form, argnums=(0, 1))(jax.numpy.asarray(x), jax.numpy.asarray(y))
    assert float(got) == pytest.approx(value, abs=1e-12)
    assert told == [str(warning.message) for warning in said if warning.category is hl.GradientWarning]
    for mine, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(np.asarray(theirs), mine, rtol=1e-7, atol=1e-9)


def test_inside_jit_nothing_tells_of_a_corner(rng):
    """The guide says so, of measures that can be traced there at all; others refuse."""
    x = jax.numpy.asarray(rng.normal(size=(8, 2)), dtype=float)
    slope = jax.grad(lambda moving: hl.magnitude_difference(moving, x))
    with pytest.warns(hl.GradientWarning):
        assert np.isnan(slope(x)).all()
    assert np.isfinite(jax.jit(slope)(x)).all()
    with pytest.raises(jax.errors.ConcretizationTypeError):
        jax.jit(jax.grad(lambda moving: hl.procrustes_distance(moving, x)))(x)


@pytest.mark.filterwarnings("ignore::homolog.DeadUnitWarning")
@pytest.mark.parametrize("name", ["permutation_procrustes_distance", "soft_matching_distance"])
def test_products_with_a_unit_that_never_varies_have_a_derivative(name):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 12, 4))
    x[:, 1] = 7.0
    form = hl.measure(name)
    _, (found, _), told = gradients(form, x, y)
    assert not told
    step = 1e-6
    for i, j in ((0, 1), (5, 1), (3, 2)):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i, j] += sign * step
            ends.append(float(form(moved, y)))
        assert found[i, j] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)
    assert np.abs(found[:, 1]).max() > 1e-3


def test_a_mean_that_whitening_left_to_rounding_is_a_corner():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(4, 3))
        left, _, right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        _, (_, found), told = gradients(hl.measure("magnitude_difference"), rng.normal(size=(4, 5)), left @ right)
        assert told
        assert np.isnan(found).all()
