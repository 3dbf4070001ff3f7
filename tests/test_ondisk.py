"""Layers that stay on disk give what they give in memory, within the memory allowed."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from representation_pairs import CASES, ROOTS

import homolog as hl
from homolog.blocks import budget as block_budget
from homolog.blocks import median, scan
from homolog.blocks.budget import Sizes, panels_for
from homolog.blocks.products import Structure, tile_products
from homolog.blocks.scan import Panels
from homolog.blocks.source import ArrayRows
from homolog.blocks.workers import ThreadWorkers
from homolog.engine import measure_groups as budget
from homolog.linalg import squared_distances
from homolog.machine import parse_bytes
from homolog.operands import gram_statistics

STRUCTURE = (
    "cka",
    "cka(estimator=debiased)",
    "hsic",
    "hsic(estimator=debiased)",
    "cka(kernel=rbf,median_fraction=0.4)",
    "distance_correlation",
    "distance_correlation(estimator=debiased)",
)
SUBSPACE = (
    "cca",
    "cca(statistic=rho)",
    "svcca",
    "pwcca",
    "linear_regression",
    "procrustes_distance",
    "canonical_ridge",
    "angular_shape_distance(alpha=0.5)",
    "size_and_shape_distance",
    "gulp_distance",
)
NEURONS = ("bipartite_match", "semi_match", "permutation_procrustes_distance", "soft_matching_distance")


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


SMALL = Panels(21, 9, 8, 5)
"""Of sixty rows three slabs stay, and several pass by each, in tiles that divide none of them."""


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Write layers as files that are mapped, and refuse to load them."""
    monkeypatch.setattr(budget, "_to_load", lambda *_: 1 << 60)
    monkeypatch.setattr(scan, "READ_AT_ONCE", 3000)
    monkeypatch.setattr(block_budget, "MOST_ROWS", 16)
    monkeypatch.setattr(gram_statistics, "panels_for", lambda *_: SMALL)

    def write(layers, name):
        for index, array in enumerate(layers.values()):
            np.save(tmp_path / f"{name}{index}.npy", array)
        return {key: np.load(tmp_path / f"{name}{index}.npy", mmap_mode="r") for index, key in enumerate(layers)}

    return write


def same(stored, held, rtol=1e-8, atol=1e-9):
    assert list(stored.data_vars) == list(held.data_vars)
    for name in held.data_vars:
        power = 2 if name.split("(")[0] in ROOTS else 1
        np.testing.assert_allclose(stored[name] ** power, held[name] ** power, rtol=rtol, atol=atol, err_msg=name)
    for name in held.coords:
        np.testing.assert_array_equal(stored[name], held[name], err_msg=name)
    # Not their sentences, which name one of several pairs that tie.
    kinds = [[category for category, _ in json.loads(result.attrs["warnings"])] for result in (stored, held)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("measures", [STRUCTURE, SUBSPACE, NEURONS], ids=["structure", "subspace", "neurons"])
def test_every_kind_of_data(measures, case, rng, on_disk):
    x, y = CASES[case](rng)
    wide = np.hstack([y] * 12)  # more features than examples
    a, b = {"x": x, "wide": wide}, {"y": y, "constant": np.ones_like(y), "wide": wide}
    stored = hl.compare(on_disk(a, "a"), on_disk(b, "b"), measures=measures)
    same(stored, hl.compare(a, b, measures=measures))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "uint8"])
@pytest.mark.parametrize("measures", [STRUCTURE, SUBSPACE, NEURONS], ids=["structure", "subspace", "neurons"])
def test_every_dtype(measures, dtype, rng, on_disk):
    shared = rng.normal(size=(80, 3))
    a, b = (
        {
            f"{p}": (20 * (shared @ rng.normal(size=(3, p)) + rng.normal(size=(80, p))) + 100).astype(dtype)
            for p in widths
        }
        for widths in ((3, 90, 17), (50, 8))
    )
    stored = hl.compare(on_disk(a, "a"), on_disk(b, "b"), measures=measures)
    held = hl.compare(a, b, measures=measures)
    single = dtype in ("float16", "float32")
    same(stored, held, rtol=1e-5 if single else 1e-8, atol=1e-6 if single else 1e-9)


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e5, 9e5])
def test_condition_numbers(condition, rng, on_disk):
    """A Gram matrix alone would lose the square of the condition number."""
    layers = {}
    for name, p in {"first": 40, "second": 60, "third": 25}.items():
        u, _, vt = np.linalg.svd(rng.normal(size=(400, p)), full_matrices=False)
        layers[name] = (u - u.mean(axis=0)) * np.geomspace(1, 1 / condition, p) @ vt + 3
    stored = hl.compare(on_disk(layers, "a"), measures=SUBSPACE)
    held = hl.compare(layers, measures=SUBSPACE)
    same(stored, held, rtol=0, atol=1e-10 if condition <= 1e5 else 1e-6)


def test_one_heavy_row_is_computed_in_float64(rng, on_disk):
    layers = {"x": rng.normal(size=(300, 6)), "y": rng.normal(size=(300, 9))}
    for x in layers.values():
        x[17] *= 3e3
    single = {name: x.astype("float32") for name, x in layers.items()}
    stored = hl.compare(on_disk(single, "a"), measures=STRUCTURE[:2])
    same(stored, hl.compare({name: x.astype(float) for name, x in single.items()}, measures=STRUCTURE[:2]), atol=1e-6)


@given(
    staying=st.integers(1, 40),
    passing=st.integers(1, 40),
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    n=st.integers(4, 37),
    share=st.floats(0.01, 1),
)
@settings(max_examples=40, deadline=None)
def test_any_slabs_and_parts_give_the_same(staying, passing, rows, columns, n, share):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, p)) for p in (2, 5, 9)]
    layers = [Structure(ArrayRows(x, "")) for x in arrays]
    some, shares = Panels(staying, passing, rows, columns), []
    found, _ = tile_products(layers, some, ThreadWorkers(), shares.append, share)
    grams = [x @ x.T for x in arrays]
    plain = np.array([[np.sum(k * other) - np.diag(k) @ np.diag(other) for other in grams] for k in grams])
    np.testing.assert_allclose(found, plain, rtol=1e-9, atol=1e-9)
    assert sum(shares) == pytest.approx(sum(part.share(n) for part in some.parts(n, share))) == pytest.approx(1)
    whole, _ = tile_products(
        [Structure(x) for x in arrays], Panels(n, n, rows, columns), ThreadWorkers(), lambda _: None
    )
    np.testing.assert_allclose(found, whole, rtol=1e-12, atol=1e-12)


@given(
    n=st.integers(2, 40),
    kinds=st.integers(1, 40),
    keep=st.integers(0, 60),
    sample=st.integers(2, 10),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_the_median_is_exact_whatever_the_guess(n, kinds, keep, sample, seed):
    """Ties, few kinds of rows, a poor sample and room for hardly any distance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(kinds, 3))[rng.integers(kinds, size=n)] * 10.0 ** rng.integers(-3, 3)
    some = Panels(11, 5, 4, 7)
    chosen = x[np.linspace(0, n - 1, sample).astype(int)]
    found = median.median_of_rows(ArrayRows(x, ""), chosen, some, keep, map)
    plain = np.median(squared_distances(x, x, same=True))
    np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-12)


def test_room_for_many_distances_saves_walks(monkeypatch):
    """A guess from few rows misses by more than a narrow margin: where as many can be kept, the margin is wider."""
    walks, count = [], median._count
    monkeypatch.setattr(median, "_count", lambda *given, **options: walks.append(given[-1]) or count(*given, **options))

    def taken(keep):
        walks.clear()
        for seed in range(8):
            x = np.random.default_rng(seed).normal(size=(300, 40))
            found = median.median_of_rows(ArrayRows(x, ""), x[::3], Panels(300, 300, 100, 300), keep, map)
            np.testing.assert_allclose(found, np.median(squared_distances(x, x, same=True)), rtol=1e-12)
        return len(walks)

    assert taken(20_000) < taken(2_000)
    assert taken(20_000) <= 10


def test_ties_near_zero_take_few_walks(monkeypatch):
    """Half of the distances are nothing but noise: the guess, from rows without it, says nothing of them."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(2, 3)), 20, axis=0) + 1e-9 * rng.normal(size=(40, 3))
    walks, count = [], median._count
    monkeypatch.setattr(median, "_count", lambda *given, **options: walks.append(given[-1]) or count(*given, **options))
    found = median.median_of_rows(ArrayRows(x, ""), x[[0, 39]], Panels(64, 64, 64, 64), 10, map)
    plain = np.median(squared_distances(x, x, same=True))
    np.testing.assert_allclose(found, plain, atol=1e-12)
    assert len(walks) <= 14, walks


def test_stores_arrays_and_maps_in_one_comparison(rng, tmp_path, on_disk):
    layers = {f"layer {p}": rng.normal(size=(90, p)) for p in (5, 40, 12)}
    hl.save(layers, tmp_path / "a.zarr")
    models = {"store": tmp_path / "a.zarr", "map": on_disk(layers, "m"), "array": layers}
    stored = hl.compare(models, measures=("cka", "cca", "semi_match"), pairs="all")
    held = hl.compare(dict.fromkeys(models, layers), measures=("cka", "cca", "semi_match"))
    for name in ("cka", "cca", "semi_match"):
        np.testing.assert_allclose(stored[name], held[name], rtol=1e-9)
    some = hl.compare(tmp_path / "a.zarr", layers, measures="cka", pairs=[("layer 5", "layer 12")])
    assert int(np.isfinite(some.cka).sum()) == 1
    np.testing.assert_allclose(some.cka[0, 2], held.cka[0, 5], rtol=1e-9)


def test_a_bad_row_is_named(rng, on_disk):
    x = rng.normal(size=(500, 4))
    x[321, 2] = np.nan
    for measure in ("cka", "cca", "semi_match"):
        with pytest.raises(ValueError, match="layer 'x' of a must be finite, got NaN or infinity first in row 321"):
            hl.compare(on_disk({"x": x, "y": x[:, :2]}, "a"), measures=measure)


BIG = {"rows": 4000, "widths": (300, 400, 200, 300)}


def written(folder, rows):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(rows, 30))
    for name in "ab":
        layers = {
            f"layer {i}": (shared @ rng.normal(size=(30, p)) + 3 * rng.normal(size=(rows, p))).astype("float32")
            for i, p in enumerate(BIG["widths"])
        }
        hl.save(layers, folder / f"{name}.zarr")
    return folder / "a.zarr", folder / "b.zarr"


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Two stores of 18 MiB each."""
    return written(tmp_path_factory.mktemp("big"), BIG["rows"])


@pytest.fixture(scope="module")
def many_distances(tmp_path_factory):
    """Two stores of 8 MiB each, whose halves of distances are 13 MiB a layer."""
    return written(tmp_path_factory.mktemp("distances"), 1800)


@pytest.mark.parametrize(
    ("measures", "memory", "tolerance"),
    [
        (("cka", "cka(estimator=debiased)"), "12MiB", 1e-6),
        (("cca", "pwcca", "procrustes_distance"), "30MiB", 1e-10),
        (NEURONS, "34MiB", 1e-10),
    ],
)
def test_stays_within_the_memory(measures, memory, tolerance, big):
    grows_by(measures, memory, tolerance, big)


def test_distances_stay_within_the_memory(many_distances):
    """All of them would be 104 MiB in the end, and more on the way."""
    grows_by("cka(kernel=rbf)", "10MiB", 1e-6, many_distances)


def grows_by(measures, memory, tolerance, big):
    held = hl.compare(*({name: layer[:] for name, layer in hl.open(path).items()} for path in big), measures=measures)
    assert "from disk" in str(hl.plan(*big, measures=measures, memory=memory))
    opened = [hl.open(path) for path in big]
    tracemalloc.start()
    try:
        stored = hl.compare(*opened, measures=measures, memory=memory)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A few blocks that are being read, whatever the sizes.
    assert peak <= parse_bytes(memory) + (12 << 20)
    for name in held.data_vars:
        np.testing.assert_allclose(stored[name], held[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("measures", ["cka", "cka(kernel=rbf)", "cca", "semi_match"])
def test_a_refusal_says_what_would_do(measures, big):
    with pytest.raises(ValueError, match=r"need a memory of \d+\.\d [KM]iB, got 200\.0 KiB: raise memory") as caught:
        hl.plan(*big, measures=measures, memory="200KiB")
    needed = str(caught.value).split("a memory of ")[1].split(",")[0]
    assert "from disk" in str(hl.plan(*big, measures=measures, memory=needed))


def test_what_must_be_in_memory_is_loaded_or_refused(big):
    small = hl.open(big[0]).take(slice(0, 50))
    for memory in ("200MiB", "2GiB"):
        assert "from disk" not in str(hl.plan(*big, measures="cka", memory=memory))
    with pytest.raises(ValueError, match=r"maximum_match of these layers need a memory of \d+\.\d MiB, got 2\.0 MiB"):
        hl.compare(*big, measures="maximum_match", memory="2MiB")
    with pytest.raises(
        ValueError, match=r"cka\(kernel=.*\) of these layers need a memory of \d+\.\d MiB, got 2\.0 MiB"
    ):
        hl.compare(*big, measures=hl.measure("cka", kernel=lambda x: x @ x.T), memory="2MiB")
    with pytest.raises(ValueError, match=r"null='permutation' needs all layers in memory, .*, got memory=12\.0 MiB"):
        hl.compare(*big, null="permutation", memory="12MiB")
    with pytest.raises(ValueError, match="interval=True needs all layers in memory"):
        hl.compare(*big, interval=True, memory="12MiB")
    with pytest.raises(ValueError, match=r"<lambda> of these layers need a memory of 25\.9 MiB, got 12\.0 MiB"):
        hl.compare(*big, measures=lambda x, y: 0.0, memory="12MiB")
    assert hl.compare(small, measures=lambda x, y: float(np.sum(x) - np.sum(y))).sizes["layer_a"] == 4


def test_the_plan_counts_what_is_read(big):
    text = str(hl.plan(*big, memory="12MiB"))
    assert "products of rows in" in text
    assert "passes," in text
    group = hl.plan(*big, memory="12MiB").measure_groups[0]
    size = 2 * 4 * BIG["rows"] * sum(BIG["widths"])
    assert group.form.read == pytest.approx(group.form.passes * size, rel=1e-6)
    assert group.form.passes >= 3
    sizes = replace(Sizes.of([np.broadcast_to(0.0, (20_000, 2048))] * 24, [4] * 24), workers=2)
    wide = panels_for(sizes, 24 * 2048 * 4, 24, 1 << 30)
    assert wide.rows_read(20_000) < 4 * 20_000
    assert (wide.staying + 2 * wide.passing) * 24 * 2048 * 4 < 1 << 30
