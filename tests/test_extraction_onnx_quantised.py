"""Quantised ONNX models: which of their values are layers, and that these come as the floats that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_texts import model, values, weights

import homolog as hl
from homolog.extraction.frameworks.onnx_models import adapt

X = weights(6, 4, seed=1)
SCALE, ZERO = np.float32(0.05), np.uint8(100)
W = np.array(np.random.default_rng(0).integers(-50, 50, (4, 3)), np.int8)
SMALL = {"s": SCALE, "z": ZERO, "ws": np.float32(0.02), "wz": np.int8(0), "w": W}


def rounded(x: np.ndarray) -> np.ndarray:
    """What is left of numbers that went through 8 bits."""
    return ((np.clip(np.round(x / SCALE) + int(ZERO), 0, 255) - int(ZERO)) * SCALE).astype(np.float32)


FLOAT_W = W * np.float32(0.02)


def test_values_that_are_rounded_at_once_come_rounded():
    text = """g (float[n,4] x) => (float[n,3] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  v = DequantizeLinear(w, ws, wz)
        h = MatMul(d, v)  hq = QuantizeLinear(h, s, z)  hd = DequantizeLinear(hq, s, z)  y = Relu(hd) }"""
    given = model(text, **SMALL)
    adapted = adapt(given)
    assert adapted.default == ["h", "y"]
    assert adapted.inexact
    assert "v" not in adapted.types
    found = values(given, X, "q", "d", "h", "hq", "hd", "y")
    np.testing.assert_allclose(found["d"], rounded(X), atol=1e-6)
    np.testing.assert_array_equal(found["q"], found["d"])
    hidden = rounded(rounded(X) @ FLOAT_W)
    for name in ("h", "hq", "hd"):  # a number may lie on the border of two steps
        np.testing.assert_allclose(found[name], hidden, atol=1.01 * SCALE)
        np.testing.assert_array_equal(found[name], found["hd"])
    np.testing.assert_array_equal(found["y"], np.maximum(found["hd"], 0))


def test_a_value_with_further_readers_is_not_rounded():
    text = """g (float[n,4] x) => (float[n,4] y) {
        h = Tanh(x)  q = QuantizeLinear(h, s, z)  d = DequantizeLinear(q, s, z)  y = Add(h, d) }"""
    found = values(model(text, s=SCALE, z=ZERO), X, "h", "d")
    np.testing.assert_allclose(found["h"], np.tanh(X), rtol=1e-5)
    np.testing.assert_allclose(found["d"], rounded(np.tanh(X)), atol=1e-6)


def test_operators_on_quantised_numbers():
    text = """g (float[n,4] x) => (float[n,3] y) {
        q = QuantizeLinear(x, s, z)  a = QLinearMatMul(q, s, z, w, ws, wz, s, z)  t = Reshape(a, like)
        b = com.microsoft.QLinearSigmoid(t, s, z, s2, z2)  y = DequantizeLinear(b, s2, z2) }"""
    given = model(text, **SMALL, s2=np.float32(1 / 256), z2=np.uint8(0), like=np.array([-1, 3]))
    adapted = adapt(given)
    assert adapted.default == ["a", "y"]
    found = values(given, X, "a", "t", "b", "y")
    hidden = rounded(rounded(X) @ FLOAT_W)
    np.testing.assert_allclose(found["a"], hidden, atol=1.01 * SCALE)
    np.testing.assert_array_equal(found["t"], found["a"])
    np.testing.assert_allclose(found["b"], 1 / (1 + np.exp(-found["a"])), atol=1 / 200)
    np.testing.assert_array_equal(found["y"], found["b"])


def test_one_scale_per_channel():
    text = "g (float[n,3] x) => (uint8[n,3] q) { q = QuantizeLinear<axis=1>(x, s, z) }"
    scales = np.array([0.01, 0.1, 1], np.float32)
    given = model(text, s=scales, z=np.full(3, 128, np.uint8))
    x = weights(5, 3) * scales
    found = values(given, x, "q")["q"]
    np.testing.assert_allclose(found, x, atol=0.51)
    np.testing.assert_allclose(found / scales, np.round(found / scales), atol=1e-4)


def test_scales_of_channels_belong_to_their_axis():
    text = """g (float[n,3,2] x) => (float[n,6] y) {
        q = QuantizeLinear<axis=1>(x, s, z)  t = Transpose<perm=[0,2,1]>(q)  f = Cast<to=1>(t)  y = Reshape(f, like)
        q1 = QuantizeLinear(x, s, z)  t1 = Transpose<perm=[0,2,1]>(q1) }"""
    given = model(text, s=np.array([0.01, 0.1, 1], np.float32), z=np.full(3, 128, np.uint8), like=np.array([-1, 6]))
    assert list(adapt(given).types) == ["q", "f", "y", "q1"]
    for name in ("t", "t1"):  # the channels are elsewhere, and nothing in the graph says where
        with pytest.raises(
            ValueError, match=r"holds quantised numbers, tensor\(uint8\), and the graph does not say their scale"
        ):
            hl.extract(given, weights(4, 3, 2), layers=name)


DYNAMIC = """g (float[n,4] x) => (float[n,3] y) {
    q, sx, zx = DynamicQuantizeLinear(x)  i = MatMulInteger(q, w, zx, wz)  f = Cast<to=1>(i)  m = Mul(sx, ws)
    r = Mul(f, m)  b = Add(r, bias)  y = Relu(b) }"""


def test_sums_of_quantised_numbers_are_no_layers_and_their_float_result_is():
    given = model(DYNAMIC, ws=SMALL["ws"], wz=SMALL["wz"], w=W, bias=weights(3))
    adapted = adapt(given)
    assert list(adapted.types) == ["q", "r", "b", "y"]
    assert adapted.default == ["b", "y"]
    assert adapted.inexact
    found = values(given, X, "q", "r", "b")
    step = (X.max() - X.min()) / 255
    np.testing.assert_allclose(found["q"], X, atol=step)
    np.testing.assert_allclose(found["r"], found["q"] @ FLOAT_W, atol=1e-4)
    np.testing.assert_allclose(found["b"], found["r"] + weights(3), atol=1e-6)
    for name, reason in (
        ("i", "whose float result is 'b'"),
        ("f", "whose float result is 'b'"),
        ("sx", "the scale of quantised"),
    ):
        with pytest.raises(ValueError, match=rf"^layer '{name}' of onnx.ModelProto must be floating .*{reason}"):
            hl.extract(given, X, layers=name)


def test_rounding_by_the_largest_value_of_a_batch_is_told():
    given = model(DYNAMIC, ws=SMALL["ws"], wz=SMALL["wz"], w=W, bias=weights(3))
    x = np.concatenate([weights(7, 4) / 50, np.full((1, 4), 10, np.float32)])
    with pytest.warns(
        hl.HomologWarning, match=r"values depend on the other examples of the batch, since quantised layers"
    ):
        assert list(hl.extract(given, x, layers=["b", "y"])) == ["b", "y"]


def test_quantised_numbers_without_a_scale_are_refused_by_name():
    given = model(
        "g (float[n,4] x) => (float[n,4] y) { h = Mul(x, k)  i = Cast<to=3>(h)  y = Cast<to=1>(i) }", k=np.float32(9)
    )
    assert "i" not in adapt(given).types
    with pytest.raises(
        ValueError, match=r"it holds quantised numbers, tensor.int8., and the graph does not say their scale"
    ):
        hl.extract(given, X, layers="i")


def test_weights_alone_in_8_bits_round_no_activation():
    given = model(
        "g (float[n,4] x) => (float[n,3] y) { v = DequantizeLinear(w, ws, wz)  h = MatMul(x, v)  y = Relu(h) }", **SMALL
    )
    adapted = adapt(given)
    assert not adapted.inexact
    assert adapted.default == ["h", "y"]
    np.testing.assert_allclose(values(given, X)["h"], X @ FLOAT_W, atol=1e-5)
