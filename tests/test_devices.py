"""Comparisons of tensors on a device: the way of a GPU, walked on the processor."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from device_waits import CountedWaits, on_a_device

import homolog as hl
from homolog import devices
from homolog.blocks import device_tiles
from homolog.blocks.device_tiles import products_of_tiles, products_of_vectors, strips
from homolog.blocks.scan import Panels
from homolog.operands.gram_orders import order_matrices, order_matrix
from homolog.operands.gram_statistics import STRUCTURE
from homolog.operands.order_moments import sums_over_examples, sums_over_examples_of_all
from homolog.operands.representation import ArrayRepresentation

pytestmark = pytest.mark.filterwarnings(
    "ignore::homolog.diagnostics.SaturationWarning", "ignore::homolog.diagnostics.NullLevelWarning"
)
WIDTHS = (8, 60, 300, 1200)
N = 1100
"""Float32 stays float32 from 1,024 examples on, and the last strip of tiles is shorter than the others."""


@pytest.fixture
def elsewhere():
    with on_a_device():
        yield


def layers(seed: int, copies: int = 1, n: int = N) -> dict[str, np.ndarray]:
    rng, shared = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(n, 12))
    return {
        f"{copy}.{p}": (shared @ rng.normal(size=(12, p)) + 2 * rng.normal(size=(n, p))).astype(np.float32)
        for copy in range(copies)
        for p in WIDTHS
    }


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("measures", "n"),
    [
        (("cka(estimator=debiased)", "cka", "hsic"), N),
        ("cka(kernel=rbf)", 400),
        ("rsa", 200),
        ("svcca", 200),
        ("mutual_knn", 200),
    ],
)
def test_values_are_those_of_arrays(measures, n):
    a, b = layers(1, n=n), layers(2, n=n)
    expected = hl.compare(a, b, measures=measures)
    with on_a_device():
        found = hl.compare(tensors(a), tensors(b), measures=measures)
    assert list(found.data_vars) == list(expected.data_vars)
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)


def test_values_are_those_of_float64(elsewhere):
    a, b = layers(1), layers(2)
    found = hl.compare(tensors(a), tensors(b), measures="cka(estimator=debiased)")
    for first, x in a.items():
        for second, y in b.items():
            expected = hl.cka(x.astype(float), y.astype(float), estimator="debiased")
            assert found["cka(estimator=debiased)"].sel(layer_a=first, layer_b=second).item() == pytest.approx(
                expected, rel=3e-7
            )


def test_layers_of_float64_and_of_float32_are_compared_together(elsewhere):
    a = layers(1) | {"double": layers(3)["0.1200"].astype(float)}
    found = hl.compare(tensors(a), measures="cka")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "HOST", {"cpu"})
        expected = hl.compare(a, measures="cka")
    np.testing.assert_allclose(found.cka, expected.cka, rtol=1e-6)


def test_a_comparison_waits_a_few_times_for_each_layer_and_never_for_a_pair(elsewhere):
    for copies in (1, 3):  # nine times as many pairs
        a, b = tensors(layers(1, copies)), tensors(layers(2, copies))
        with CountedWaits() as waits:
            hl.compare(a, b, progress=False)
        assert waits.total <= 3 * (len(a) + len(b)) + 16


def test_tiles_wait_once(elsewhere):
    features = [torch.randn(500, 20, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    with CountedWaits() as waits:
        products_of_tiles(features, Panels(500, 500, 64, 128), lambda share: None)
    assert waits.total == 1


def test_tiles_hold_every_pair_of_examples_once():
    for n, rows, columns in ((1, 4, 4), (10, 4, 4), (10, 3, 7), (12, 4, 100)):
        seen = np.zeros((n, n), dtype=int)
        for down, across in strips(n, rows, columns):
            seen[down, across] += 1
        assert (seen[np.triu_indices(n)] == 1).all()


@pytest.mark.parametrize("chunk", [7, 64, 10_000])
@pytest.mark.parametrize("panels", [(64, 128), (128, 64), (300, 300)])
def test_products_of_tiles_are_sums_over_different_examples(monkeypatch, chunk, panels):
    monkeypatch.setattr(device_tiles, "CHUNK", chunk)
    features = [torch.randn(300, p, generator=torch.Generator().manual_seed(p), dtype=torch.float64) for p in (3, 5, 9)]
    shares: list[float] = []
    found = products_of_tiles(features, Panels(300, 300, *panels), shares.append)
    grams = [(x @ x.T).fill_diagonal_(0).flatten() for x in features]
    np.testing.assert_allclose(found, [[float(k @ other) for other in grams] for k in grams], rtol=1e-12)
    assert sum(shares) == pytest.approx(1)


def test_products_of_vectors(monkeypatch):
    monkeypatch.setattr(device_tiles, "PIECE", 100)
    monkeypatch.setattr(device_tiles, "CHUNK", 30)
    vectors = [torch.randn(230, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3)]
    found = products_of_vectors(vectors, lambda share: None)
    np.testing.assert_allclose(found, [[float(x @ y) for y in vectors] for x in vectors], rtol=1e-12)


def test_sums_of_float32_tiles_are_in_float64():
    # 2²⁴ ones and more: float32 counts no further.
    stacked = torch.ones((1, 2**24 + 3 * device_tiles.CHUNK + 1), dtype=torch.float32)
    assert device_tiles.sums_of_products(stacked).item() == stacked.shape[1]


def test_sums_over_examples_of_many_matrices_are_those_of_each():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(3, 20, 20))
    matrices = matrices + matrices.transpose(0, 2, 1)
    for matrix, found in zip(matrices, sums_over_examples_of_all(torch.from_numpy(matrices)), strict=True):
        expected = sums_over_examples(matrix)
        assert found.keys() == expected.keys()
        np.testing.assert_allclose([found[graph] for graph in expected], list(expected.values()), rtol=1e-10)


@pytest.mark.parametrize(
    ("measures", "memory"), [("cka(estimator=debiased)", "12MB"), ("cka(kernel=rbf)", "12MB"), ("svcca", "25MB")]
)
def test_what_does_not_fit_on_the_device_is_compared_on_the_host(elsewhere, measures, memory):
    n = 300 if measures == "svcca" else 600
    a, b = layers(1, n=n), layers(2, n=n)
    planned = str(hl.plan(tensors(a), tensors(b), measures=measures))
    assert ", on cpu;" in planned
    assert "on the host" not in planned
    small = str(hl.plan(tensors(a), tensors(b), measures=measures, memory=memory))
    assert "on the host since cpu has not the memory" in small
    found = hl.compare(tensors(a), tensors(b), measures=measures, memory=memory)
    expected = hl.compare(tensors(a), tensors(b), measures=measures)
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_memory_is_by_default_what_is_free_on_the_device(elsewhere, monkeypatch):
    monkeypatch.setattr("homolog.engine.planning.free_memory", lambda device: 16 << 20)
    a = tensors(layers(1))
    assert hl.plan(a).memory == 16 << 20
    assert "on the host" in str(hl.plan(a))
    assert hl.plan(a, memory="1GiB").memory == 1 << 30
    assert "on the host" not in str(hl.plan(a, memory="1GiB"))


def test_free_memory_counts_what_the_allocator_does_not_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert devices.free_memory("cuda:1") == 1350
    assert devices.free_memory("cpu") is None


def test_arrays_on_the_host_have_two_gibibytes():
    assert hl.plan(layers(1)).memory == 2 << 30
    assert hl.plan(tensors(layers(1))).memory == 2 << 30


def test_a_tensor_and_an_array_are_told_apart():
    with pytest.raises(TypeError, match=r"same array library .* convert one of them"):
        hl.compare(tensors(layers(1)), layers(2))


def test_not_finite_is_named_on_a_device(elsewhere):
    a = layers(1)
    a["0.60"][5, 2] = np.nan
    with pytest.raises(ValueError, match=r"layer '0\.60' of a must be finite, got NaN or infinity first in row 5"):
        hl.compare(tensors(a))


def test_products_are_exact_whatever_pytorch_was_told(elsewhere, monkeypatch):
    a, seen = tensors(layers(1)), set()
    expected = hl.compare(a, measures="cka")
    form = device_tiles._form

    def spy(*given):
        seen.add((torch.backends.mkldnn.matmul.fp32_precision, torch.is_autocast_enabled("cpu")))
        form(*given)

    monkeypatch.setattr(device_tiles, "_form", spy)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = hl.compare(a, measures="cka")
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == {("ieee", False)}
    np.testing.assert_array_equal(found.cka, expected.cka)


def test_precision_is_put_back_when_the_last_thread_is_through():
    torch.set_float32_matmul_precision("high")
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with devices.exact_products():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    try:
        with devices.exact_products():
            thread.start()
            assert inside.wait(10)
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        leave.set()
        thread.join()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        leave.set()
        torch.set_float32_matmul_precision("highest")


def test_precision_is_put_back_after_an_error():
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(RuntimeError, match="odd"), devices.exact_products():
            raise RuntimeError("odd")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_matrices_of_orders_of_many_layers_are_those_of_each(estimator):
    layers = [torch.randn(300, p, generator=torch.Generator().manual_seed(p)) for p in (3, 50, 400)]
    grams = [STRUCTURE.prepare(ArrayRepresentation(x)) for x in layers]
    found = order_matrices(torch.stack([x.formed() for x in grams]), estimator)
    for own, gram in zip(found, grams, strict=True):
        np.testing.assert_allclose(own, order_matrix(gram, estimator), atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "a heavy row", "nearly orthogonal"])
def test_float32_is_left_where_it_would_be_seen(kind):
    """The same layers are formed in float64 on a device as on the host."""
    x = np.random.default_rng(0).normal(size=(1100, 40)).astype(np.float32)
    if kind == "a heavy row":
        x[7] *= 1e5
    if kind == "nearly orthogonal":
        x = np.concatenate([x * 1e-3, np.eye(1100, dtype=np.float32)], axis=1)
    on_host = STRUCTURE.prepare(ArrayRepresentation(x))
    with on_a_device():
        there = STRUCTURE.prepare(ArrayRepresentation(torch.from_numpy(x)))
    assert str(there.held.dtype).endswith(str(on_host.held.dtype))
    assert str(on_host.held.dtype) == ("float32" if kind == "plain" else "float64")
    np.testing.assert_allclose(there.diagonal, on_host.diagonal, rtol=1e-6)
