"""The laws, over the whole registry: a new measure is held to all of them without a line here."""

from __future__ import annotations

import math
import warnings

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from conftest import LIBRARIES
from hypothesis import given, settings
from hypothesis import strategies as st
from representation_pairs import CASES, ROOTS, related
from undefined_values import undefined

import homolog as hl
from homolog.arrays import to_numpy
from homolog.inference.pair import ALL
from homolog.inference.permutations import permuted_values
from homolog.measures.evaluation import prepared
from homolog.operands.representation import ArrayRepresentation

FORMS = [form for record in hl.measures().values() for form in record.forms()]
IDS = [str(form) for form in FORMS]
over_forms = pytest.mark.parametrize("form", FORMS, ids=IDS)
over_cases = pytest.mark.parametrize("case", CASES)
# Without inputs it is cka, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::homolog.MissingInputsWarning")


def value(form, x, y):
    """The value of a measure, without the warnings that other tests examine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        return float(form(x, y))


def tolerance(form):
    return 2e-7 if form.name in ROOTS else 1e-9


def difference(left, right):
    return 0.0 if left == right else abs(left - right)


def close(form, left, right):
    scale = max(1.0, abs(left)) if math.isinf(form.range[1]) else 1.0
    return difference(left, right) <= tolerance(form) * scale


def generator():
    return np.random.default_rng(7)


DEFINED = [
    (form, case) for form in FORMS for case in CASES if not undefined(form, *CASES[case](np.random.default_rng(7)))
]
over_defined = pytest.mark.parametrize(("form", "case"), DEFINED, ids=[f"{form}-{case}" for form, case in DEFINED])
NOWHERE = [(form, case) for form in FORMS for case in CASES if (form, case) not in DEFINED]


@pytest.mark.parametrize(("form", "case"), NOWHERE, ids=[f"{form}-{case}" for form, case in NOWHERE])
def test_undefined_is_nan_with_a_warning(form, case):
    with pytest.warns(hl.HomologWarning) as caught:
        assert math.isnan(form(*CASES[case](generator())))
    assert any(issubclass(warning.category, hl.UndefinedValueWarning) for warning in caught)


@over_forms
def test_record_is_complete(form):
    assert form.kind in ("similarity", "distance")
    assert form.range[0] < form.range[1]
    assert form.symmetric in (True, False)
    assert isinstance(form.invariances, hl.Invariances)
    assert form.formula
    assert form.reference
    for section in ("Parameters", "Returns", "Raises", "Notes", "References", "Examples"):
        assert f"{section}\n" in form.function.__doc__
    assert getattr(hl, form.name) is form.function
    assert form.name in hl.__all__
    assert hl.measure(str(form)) == form


@over_defined
def test_range(form, case):
    x, y = CASES[case](generator())
    low, high = form.range
    slack = 1e-12 if math.isinf(high) else 1e-9
    assert low - slack <= value(form, x, y) <= high + slack


OPTIMA = [
    (form, case)
    for form, case in DEFINED
    if "optimum" not in form.exceptions and not (case == "constant_column" and "dead_units" in form.exceptions)
]


@pytest.mark.parametrize(("form", "case"), OPTIMA, ids=[f"{form}-{case}" for form, case in OPTIMA])
def test_optimum_at_identity(form, case):
    x, _ = CASES[case](generator())
    optimum = form.range[1] if form.kind == "similarity" else form.range[0]
    assert close(form, value(form, x, x), optimum)


# Every row is at a right angle to all others: the products of near rows are all 0.
NO_NEIGHBOURS = np.eye(12), np.random.default_rng(7).normal(size=(12, 3))


@pytest.mark.filterwarnings("ignore::homolog.TiesWarning")
def test_without_near_rows_cknna_is_undefined():
    form = hl.measure("cknna")
    x, y = NO_NEIGHBOURS
    turned = x @ np.linalg.qr(np.random.default_rng(7).normal(size=(12, 12)))[0]
    for sides in ((x, y), (y, x), (1e6 * turned, y), (turned, x)):
        assert undefined(form, *sides)
        with pytest.warns(hl.UndefinedValueWarning):
            assert math.isnan(form(*sides))


def test_exceptions_are_real():
    """An exception that is not needed would only blunt a law."""
    x, _ = CASES["constant_column"](generator())
    for form in FORMS:
        assert set(form.exceptions) <= {"optimum", "dead_units", "infinite", "undefined", "ties"}
        if "infinite" in form.exceptions:
            assert value(form, x, x) == math.inf
        if "dead_units" in form.exceptions:
            assert value(form, x, x) < 0.99
        if "optimum" in form.exceptions:
            assert form.range[1] == math.inf or value(form, x, x) < form.range[1] - 1e-6
        if "undefined" in form.exceptions:
            assert any(kind.name == form.name for kind, _ in NOWHERE) or math.isnan(value(form, *NO_NEIGHBOURS))
        if "ties" in form.exceptions:
            u, v = CASES["one_column"](generator())
            assert value(form, u, v) != value(form, u[::-1], v[::-1])


@over_forms
def test_symmetric_exactly_when_declared(form):
    x, y = related(generator())
    same = close(form, value(form, x, y), value(form, y, x))
    assert same is form.symmetric


def transformed(kind, matrix, rng):
    p = matrix.shape[1]
    if kind == "translation":
        return matrix + rng.normal(size=p)
    if kind == "isotropic_scaling":
        return 3.7 * matrix
    if kind == "permutation":
        return matrix[:, rng.permutation(p)]
    if kind == "orthogonal":
        return matrix @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    return matrix @ (rng.normal(size=(p, p)) + np.diag(np.arange(p) + 1.0) ** 2)


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("kind", ["invertible_linear", "orthogonal", "permutation", "isotropic_scaling", "translation"])
@over_forms
def test_invariances_hold_when_declared_and_break_when_not(form, kind, side):
    declared = side in getattr(form.invariances, kind)
    rng = generator()
    kept = []
    for faint in (1.0, 0.7, 0.5, 0.3):  # a threshold may not notice one amount of noise
        x, y = related(rng, noise=faint)
        before = value(form, x, y)
        after = value(form, transformed(kind, x, rng), y) if side == "x" else value(form, x, transformed(kind, y, rng))
        kept.append(close(form, before, after))
    assert all(kept) is declared


@over_defined
def test_declared_invariances_hold_on_awkward_data(form, case):
    rng = generator()
    x, y = CASES[case](rng)
    before = value(form, x, y)
    for kind in ("orthogonal", "permutation", "translation"):
        for side in getattr(form.invariances, kind):
            # A dead unit is dead in no rotated basis; a mean of 1000 costs digits of the shifted copy.
            new_x = transformed(kind, x, rng) if side == "x" else x
            new_y = transformed(kind, y, rng) if side == "y" else y
            after = value(form, new_x, new_y)
            loose = 1e-5 if case == "scaled" and kind == "translation" else 100 * tolerance(form)
            assert difference(before, after) <= loose * max(1.0, abs(before)), (kind, side)


@over_defined
def test_joint_row_permutation_changes_nothing(form, case):
    if case == "one_column" and "ties" in form.exceptions:
        return  # all cosines of numbers are 1 or -1
    rng = generator()
    x, y = CASES[case](rng)
    order = rng.permutation(len(x))
    before, after = value(form, x, y), value(form, x[order], y[order])
    assert difference(before, after) <= 10 * tolerance(form) * max(1.0, abs(before))


# JAX compiles every operation for every shape: three of them will do.
FOREIGN = [
    (form, case, library)
    for form, case in DEFINED
    for library in LIBRARIES
    if library != "jax" or case in ("related", "wide", "constant_column")
]


@pytest.mark.parametrize(("form", "case", "library"), FOREIGN, ids=["-".join(map(str, one)) for one in FOREIGN])
def test_libraries_agree_and_inputs_stay(form, case, library):
    put = LIBRARIES[library]
    x, y = CASES[case](generator())
    expected = value(form, x, y)
    first, second = put(x), put(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = form(first, second)
    assert array_namespace(result) is array_namespace(first)
    assert result.shape == ()
    assert str(result.dtype).endswith("float64")
    assert difference(float(result), expected) <= tolerance(form) * max(1.0, abs(expected))
    np.testing.assert_array_equal(to_numpy(first), x)
    np.testing.assert_array_equal(to_numpy(second), y)


@over_forms
def test_nothing_leaves_the_device(form):
    """array-api-strict refuses to mix its devices, as a GPU would."""
    device = array_api_strict.Device("device1")
    x, y = (array_api_strict.asarray(m, device=device) for m in related(generator()))
    assert form(x, y).device == device


@over_defined
def test_compare_gives_the_same(form, case):
    x, y = CASES[case](generator())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare({"p": x, "q": x[:, :1]}, {"r": y}, measures=form)
    expected = value(form, x, y)
    got = float(result[str(form)].sel(layer_a="p", layer_b="r"))
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-12)
    if form.symmetric is False:
        reverse = float(result[f"{form}_reversed"].sel(layer_a="p", layer_b="r"))
        assert reverse == pytest.approx(value(form, y, x), rel=1e-9, abs=1e-9)


@over_forms
def test_an_operand_is_reordered_without_preparing_it_again(form):
    """What permutation tests do with the second side, thousands of times."""
    x, y = related(generator())
    order = generator().permutation(len(x))
    first, second = (prepared(form, side) for side in (x, y))
    found = permuted_values({"": form}, [first], [second], ALL, lambda k: order, 1, map, 1 << 30)[""]
    assert close(form, found[1, 0, 0], value(form, x, y[order]))


@pytest.mark.parametrize("form", [form for form in FORMS if form.differentiable], ids=str)
def test_gradients(form):
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.normal(size=(9, 3)), requires_grad=True)
    y = torch.tensor(x.detach().numpy()[:, :2] + 0.7 * rng.normal(size=(9, 2)), requires_grad=True)
    assert torch.autograd.gradcheck(form, (x, y), atol=1e-6)


@pytest.mark.parametrize("form", [form for form in FORMS if form.metric], ids=str)
def test_metric_means_triangle_inequality(form):
    rng = generator()
    for _ in range(50):
        x, y, z = (rng.normal(size=(8, p)) for p in (2, 3, 4))
        assert value(form, x, z) <= value(form, x, y) + value(form, y, z) + 1e-9


@over_forms
def test_minimal_n(form):
    rng = generator()
    n = form.minimal_n
    least = value(form, rng.normal(size=(n + 1, 2)), rng.normal(size=(n + 1, 2)))
    assert not math.isnan(least)
    assert not math.isinf(least) or "infinite" in form.exceptions
    if n > 2:
        with pytest.raises(ValueError, match=f"at least {n} examples, got {n - 1}"):
            form(rng.normal(size=(n - 1, 2)), rng.normal(size=(n - 1, 2)))


@over_forms
def test_constant_layer_is_nan_with_a_warning(form):
    x = np.random.default_rng(0).normal(size=(20, 3))
    for constant in (np.zeros((20, 2)), np.full((20, 2), 0.1)):
        with pytest.warns(hl.ConstantLayerWarning, match=r"^(y|predictors) is constant"):
            assert math.isnan(form(x, constant))


@pytest.mark.parametrize("form", [form for form in FORMS if form.invariances.isotropic_scaling], ids=str)
def test_scale_of_input_does_not_matter(form):
    """No NaN, no infinity, no lost digits for features of any size."""
    x, y = related(generator())
    expected = value(form, x, y)
    for factor in (1e-150, 1e-12, 1e12, 1e150):
        assert close(form, value(form, x * factor, y / factor), expected)


@over_forms
def test_float32_and_integers_and_half(form):
    rng = generator()
    x = rng.integers(-5, 6, size=(40, 4))
    y = x[:, :3] + rng.integers(-2, 3, size=(40, 3))
    expected = value(form, x.astype(float), y.astype(float))
    for dtype in (np.int8, np.int64, np.float16, np.float32):
        assert value(form, x.astype(dtype), y.astype(dtype)) == expected
    half = torch.tensor(x).to(torch.bfloat16), torch.tensor(y).to(torch.bfloat16)
    # The value of tensors narrower than float32 is rounded to float32.
    assert value(form, *half) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 20), p=st.integers(1, 8), q=st.integers(1, 8))
def test_values_are_finite_and_in_range_for_any_shape(seed, n, p, q):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    for form in FORMS:
        result = value(form, x, y)
        if undefined(form, x, y):
            assert math.isnan(result), str(form)
            continue
        assert form.range[0] - 1e-9 <= result <= form.range[1] + 1e-9, str(form)


def test_linear_cka_from_subspaces_agrees_with_structures():
    for case in CASES.values():
        x, y = case(generator())
        subspace = hl.measure("cca").family
        first, second = (subspace.prepare(ArrayRepresentation(side)) for side in (x, y))
        overlap = subspace.meet(first, second).matrix
        weighted = np.sum((first.s[:, None] * overlap * second.s[None, :]) ** 2)
        cka = weighted / np.linalg.norm(first.s**2) / np.linalg.norm(second.s**2)
        assert value(hl.measure("cka"), x, y) == pytest.approx(cka, abs=1e-10)
