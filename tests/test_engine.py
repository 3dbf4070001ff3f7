"""The engine's fast paths against the functions of one pair, on data of every awkward kind."""

from __future__ import annotations

import inspect
import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray
from conftest import LIBRARIES
from hypothesis import given, settings
from hypothesis import strategies as st
from representation_pairs import CASES, related

import homolog as hl
from homolog.blocks.budget import Cost, Form, Sizes
from homolog.blocks.scan import Panels
from homolog.blocks.workers import ThreadWorkers, computed_once
from homolog.engine import measure_groups as budget
from homolog.operands.gram_statistics import STRUCTURE
from homolog.operands.representation import ArrayRepresentation

FORMS = ["cka", "cka(estimator=debiased)", "hsic", "hsic(estimator=debiased)", "cka(kernel=rbf)"]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def several(rng, n=60, widths=(3, 80, 17, 130, 1)):
    shared = rng.normal(size=(n, 3))
    return {f"layer {p}": shared @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)) for p in widths}


def one_by_one(form, a, b):
    return np.array([[float(hl.measure(form)(x, y)) for y in b.values()] for x in a.values()])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("put", LIBRARIES.values(), ids=LIBRARIES)
def test_all_pairs_equal_one_by_one(form, put, rng):
    a, b = several(rng), several(rng, widths=(70, 2, 9))
    result = hl.compare({k: put(x) for k, x in a.items()}, {k: put(x) for k, x in b.items()}, measures=form)
    np.testing.assert_allclose(result[form], one_by_one(form, a, b), rtol=1e-9, atol=1e-11)
    single = hl.compare(
        {k: put(x.astype(np.float32)) for k, x in a.items()},
        {k: put(x.astype(np.float32)) for k, x in b.items()},
        measures=form,
    )
    expected = one_by_one(form, a, b)
    np.testing.assert_allclose(single[form], expected, rtol=2e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_walk_survives_every_kind_of_data(form, case, rng):
    x, y = CASES[case](rng)
    wide = np.hstack([y] * 12)  # more features than examples: walks
    result = hl.compare({"x": x, "wide": wide}, {"y": y, "wide": wide}, measures=form)
    expected = one_by_one(form, {"x": x, "wide": wide}, {"y": y, "wide": wide})
    np.testing.assert_allclose(result[form], expected, rtol=1e-8, atol=1e-9)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), walked=st.sets(st.integers(0, 2)), n=st.integers(4, 33))
@settings(max_examples=40, deadline=None)
def test_any_tile_and_any_choice_of_form_gives_the_same(rows, columns, walked, n):
    rng = np.random.default_rng(3)
    structures = [STRUCTURE.prepare(ArrayRepresentation(rng.normal(size=(n, p)))) for p in (2, 5, 9)]
    needed = np.ones((3, 3), dtype=bool)
    form = Form(Cost(), tuple(sorted(walked)), Panels(n, n, rows, columns))
    shares = []
    found = STRUCTURE.meet_all(structures, needed, form, ThreadWorkers(), shares.append)
    plain = np.array([[np.sum(a.gram * b.gram) for b in structures] for a in structures])
    np.testing.assert_allclose(found.off_diagonal + found.diagonals, plain, rtol=1e-10, atol=1e-10)
    assert sum(shares) == pytest.approx(1)


def test_the_cheaper_form_is_chosen():
    everything = np.ones((4, 4), dtype=bool)

    def chosen(n, *widths, needed=everything, kernel="linear"):
        sizes = Sizes.of([np.broadcast_to(0.0, (n, p)) for p in widths], [4] * 4, needed, 2**31)
        return STRUCTURE.choose(sizes, kernel=kernel).tiled

    assert chosen(50_000, 64, 128, 64, 128) == ()
    assert chosen(1000, 2000, 64, 3000, 900) == (0, 1, 2, 3)
    of_a_kind = np.kron(np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool))
    assert chosen(1000, 2000, 3000, 10, 20, needed=of_a_kind) == (0, 1)
    assert chosen(1000, 2000, 2000, 2000, 2000) == (0, 1, 2, 3)
    assert chosen(1000, 900, 900, 900, 900, needed=np.eye(4, dtype=bool)) == ()
    assert chosen(100, 3, 3, 3, 3, kernel="rbf") == (0, 1, 2, 3)


def test_operations_are_counted(rng):
    """By hand: 2npq per pair and np² per layer through features; n²p per layer and n² per pair of those that walk."""
    n = 50

    def flops(widths, others=None, pairs="all", **options):
        a, b = ({f"{i}": np.eye(n, p) for i, p in enumerate(side)} if side else None for side in (widths, others))
        return hl.plan(a, b, measures="cka", pairs=pairs, **options).flops

    assert flops([3, 4]) == 2 * n * 3 * 4 + n * (9 + 16)
    assert flops([3], [4, 5]) == 2 * n * (3 * 4 + 3 * 5) + n * (9 + 16 + 25)
    assert flops([3, 4], [3, 4], pairs="same_name") == 2 * n * (9 + 16) + 2 * n * (9 + 16)
    assert flops([200, 300]) == n * n * (200 + 300 + 2 * 2)
    # Wider than there are examples, 200 must walk; as many thin ones walk along as makes the least of all.
    along = [n * n * (200 + k + (1 + k) ** 2) + (9 - k) * (2 * n * 200 + n) for k in range(10)]
    assert 0 < np.argmin(along) < 9
    assert flops([200], [1] * 9) == min(along)


def test_kernels_are_formed_tile_by_tile_where_they_do_not_fit(rng, monkeypatch):
    monkeypatch.setattr(budget, "FLOOR", 0)
    layers = several(rng, n=300)
    form = "cka(kernel=rbf,median_fraction=0.5)"
    assert "block by block" in str(hl.plan(layers, measures=form, memory="1.2MB"))
    assert "stacked vectors" in str(hl.plan(layers, measures=form))
    debiased = "cka(kernel=rbf,median_fraction=0.5,estimator=debiased)"
    little = hl.compare(layers, measures=(form, debiased), memory="1.2MB")
    held = hl.compare(layers, measures=(form, debiased))
    for name in held.data_vars:
        np.testing.assert_allclose(little[name], held[name], atol=1e-12)


@pytest.mark.parametrize(("n", "p"), [(2, 1), (3, 2), (4, 3), (5, 2), (36, 40), (37, 5), (513, 3), (1026, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_half_of_the_distances_is_enough(rng, n, p, dtype):
    x = (rng.normal(size=(n, p)) + 5).astype(dtype)
    held = STRUCTURE.prepare(ArrayRepresentation(x), kernel="rbf", median_fraction=0.7)
    assert held.condensed.shape == (n * (n - 1) // 2,)
    squared = ((x[:, None].astype(float) - x[None]) ** 2).sum(axis=2)
    raw = np.exp(-squared / (2 * 0.7**2 * np.median(squared)))
    centring = np.eye(n) - 1 / n
    plain = centring @ raw @ centring
    scale = float(held.scale) ** 2
    np.testing.assert_allclose(held.gram * scale, plain, atol=40 * np.finfo(dtype).eps)
    np.testing.assert_allclose(held.diagonal * scale, np.diag(plain), atol=40 * np.finfo(dtype).eps)


def test_half_of_the_distances_of_equal_rows(rng):
    equal = np.ones((20, 3))
    assert bool(STRUCTURE.prepare(ArrayRepresentation(equal), kernel="rbf").constant)
    equal[:6] = rng.normal(size=(6, 3))
    without = STRUCTURE.prepare(ArrayRepresentation(equal), kernel="rbf")
    assert without.left == "no width"
    assert bool(without.constant)


def test_little_memory_makes_small_tiles_and_no_difference(rng):
    layers = several(rng)
    little = hl.compare(layers, measures="cka(estimator=debiased)", memory="40kB")
    np.testing.assert_allclose(
        little["cka(estimator=debiased)"], hl.compare(layers)["cka(estimator=debiased)"], atol=1e-12
    )
    assert hl.plan(layers, memory="40kB").bytes < hl.plan(layers).bytes


def test_the_same_answer_on_every_run(rng):
    layers = {name: x.astype(np.float32) for name, x in several(rng, n=600).items()}
    first = hl.compare(layers, measures=("cka", "cca", "pwcca"))
    for _ in range(3):
        xarray.testing.assert_identical(first, hl.compare(layers, measures=("cka", "cca", "pwcca")))


def test_many_models_equal_the_functions_one_by_one(rng):
    models = {name: several(rng, widths=(3, 5, 90)) for name in ("one", "two", "three")}
    forms = ("cka", "pwcca", "semi_match", "cka(kernel=rbf,estimator=debiased)")
    many = hl.compare(models, measures=forms)
    assert dict(many.sizes) == {"a": 9, "b": 9}
    everything = {f"{model} {layer}": x for model, layers in models.items() for layer, x in layers.items()}
    assert [f"{m} {k}" for m, k in zip(many.model_a.values, many.layer_a.values, strict=True)] == list(everything)
    for form in forms:
        expected = one_by_one(form, everything, everything)
        np.testing.assert_allclose(many[form], expected, rtol=1e-9, atol=1e-11, err_msg=form)
    assert json.loads(many.attrs["models"]) == {"one": {}, "two": {}, "three": {}}


def test_kernels_of_one_call_are_kept_apart(rng):
    """Measures share what is prepared of a layer only where they prepare it alike."""
    a, b = several(rng, widths=(3, 80)), several(rng, widths=(70, 2))
    forms = [
        "cka",
        "cka(kernel=rbf,median_fraction=0.3)",
        "cka(kernel=rbf)",
        "hsic(kernel=rbf,median_fraction=0.3)",
        "hsic",
        "distance_correlation",
        "mutual_knn(k=3)",
        "mutual_knn(k=9)",
        "rsa(dissimilarity=euclidean)",
        "rsa",
        "canonical_ridge(regularization=3.0)",
        "canonical_ridge",
    ]
    found = hl.compare(a, b, measures=forms)
    for form in forms:
        np.testing.assert_allclose(found[form], one_by_one(form, a, b), rtol=1e-9, atol=1e-11, err_msg=form)
    for form in ("cka(kernel=rbf)", "mutual_knn(k=9)", "rsa", "canonical_ridge"):
        others = [other for other in forms if other != form and other.split("(")[0] == form.split("(")[0]]
        assert all(abs(found[form] - found[other]).max() > 1e-3 for other in others)


def test_many_models_survive_a_file_and_restrict_pairs(rng, tmp_path):
    models = {name: hl.Activations(several(rng, widths=(3, 5))) for name in ("one", "two", "three")}
    same = hl.compare(models, measures=("cka", "cca"), pairs="same_name")
    assert int(same.cka.notnull().sum()) == 2 * 9
    same.to_netcdf(tmp_path / "many.nc")
    xarray.testing.assert_identical(same, xarray.load_dataset(tmp_path / "many.nc"))
    listed = hl.compare(models, measures="pwcca", pairs=[(("two", "layer 5"), ("one", "layer 3"))])
    expected = float(hl.pwcca(models["two"]["layer 5"], models["one"]["layer 3"]))
    back = float(hl.pwcca(models["one"]["layer 3"], models["two"]["layer 5"]))
    assert abs(expected - back) > 1e-3
    # Of the six layers in order the first is layer 3 of model one, the fourth layer 5 of model two.
    assert listed.pwcca.values[3, 0] == pytest.approx(expected)
    assert listed.pwcca.values[0, 3] == pytest.approx(back)
    assert int(listed.pwcca.notnull().sum()) == 2
    assert float(hl.between(listed, "one", "two").pwcca_reversed[0, 1]) == pytest.approx(expected)


def test_wrong_mappings_of_models_are_told(rng):
    layers = several(rng)
    with pytest.raises(TypeError, match="b must be left out when a is a mapping of several models"):
        hl.compare({"one": layers, "two": layers}, layers)
    with pytest.raises(TypeError, match=r"must hold either layers \(arrays\) or models .*'two' is a ndarray"):
        hl.compare({"one": layers, "two": layers["layer 3"]})
    with pytest.raises(ValueError, match="as many"):
        hl.compare({"one": layers, "two": {"layer": np.ones((3, 2))}})


def test_plan_computes_nothing_and_says_what_it_would():
    x, y = related(np.random.default_rng(0))
    planned = hl.plan(x, y, measures=("cka", "cca", "semi_match", lambda x, y: 1 / 0))
    text = str(planned)
    for family in ("structure family, through features", "subspace family, pair by pair", "neurons family", "function"):
        assert family in text
    assert planned.flops > 0
    assert planned.bytes > 0


@pytest.mark.parametrize("factor", [30, 300, 3000])
def test_a_heavy_row_does_not_drown_the_others_in_float32(rng, factor):
    x = rng.normal(size=(600, 64))
    y = x @ rng.normal(size=(64, 48)) / 8 + rng.normal(size=(600, 48))
    x[0] *= factor
    y[0] *= factor
    form = "cka(estimator=debiased)"
    x, y = x.astype(np.float32), y.astype(np.float32)
    expected = float(hl.cka(x, y, estimator="debiased"))
    for side in ("features", "structures"):
        wide = np.hstack([y] * (1 if side == "features" else 15))
        got = hl.compare({"x": x}, {"y": wide, "light": wide[:, :3] / factor}, measures=form)
        assert float(got[form][0, 0]) == pytest.approx(expected, abs=1e-6)


def test_plan_takes_what_compare_takes(rng):
    assert list(inspect.signature(hl.plan).parameters) == list(inspect.signature(hl.compare).parameters)
    layers = {f"{i}": rng.normal(size=(300, 40)) for i in range(3)}
    plain, more = hl.plan(layers, measures="mutual_knn"), hl.plan(layers, measures="mutual_knn", null="permutation")
    assert more.bytes > plain.bytes
    with pytest.raises(ValueError, match="null must be 'permutation' or None"):
        hl.plan(layers, null="bootstrap")
    with pytest.raises(TypeError, match="executor must be a concurrent"):
        hl.plan(layers, executor="four")


def test_what_is_computed_once_of_one_layer_keeps_no_other_waiting():
    """One lock for the property of all objects, as functools has it in Python 3.11, would let one thread in at a time."""
    together = threading.Barrier(2, timeout=30)

    class Layer:
        @computed_once
        def found(self):
            together.wait()
            return object()

    layers = [Layer(), Layer()]
    with ThreadPoolExecutor(2) as pool:
        first = list(pool.map(lambda layer: layer.found, layers))
    assert [layer.found for layer in layers] == first
