"""Where the features of a layer lie: a mean over positions averages over positions, in every framework."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import homolog as hl

SEQUENCES = np.random.default_rng(0).normal(size=(10, 3, 16)).astype(np.float32)
MAPS = np.random.default_rng(1).normal(size=(10, 3, 5, 7)).astype(np.float32)
WEIGHTS = np.random.default_rng(2).normal(size=(8, 3, 3)).astype(np.float32)


def graph(nodes, x, last, **weights):
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", *x.shape[1:]])]
    ends = [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values, ends, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    return model


def convolution():
    nodes = [helper.make_node("Conv", ["x", "W"], ["c"], pads=[1, 1]), helper.make_node("Relu", ["c"], ["r"])]
    return graph(nodes, SEQUENCES, "r", W=WEIGHTS)


@pytest.mark.parametrize("layer", ["c", "r"])
def test_a_convolution_over_a_sequence_is_averaged_over_positions(layer):
    whole = hl.extract(convolution(), SEQUENCES)[layer].reshape(10, 8, 16)
    found = {reduce: hl.extract(convolution(), SEQUENCES, reduce=reduce) for reduce in ("mean", "first", "positions")}
    np.testing.assert_allclose(found["mean"][layer], whole.mean(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["first"][layer], whole[:, :, 0])
    np.testing.assert_array_equal(found["positions"][layer], whole.transpose(0, 2, 1).reshape(160, 8))


def test_features_are_followed_through_transpositions():
    nodes = [
        helper.make_node("Conv", ["x", "K"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["conv"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["turned", "scale"], ["norm"], axis=-1),
        helper.make_node("MatMul", ["norm", "M"], ["fc"]),
        helper.make_node("Tanh", ["fc"], ["act"]),
        helper.make_node("Transpose", ["act"], ["back"], perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["back"], ["y"]),
    ]
    rng = np.random.default_rng(3)
    weights = {"K": rng.normal(size=(6, 3, 3, 3)), "scale": np.ones(6), "M": rng.normal(size=(6, 9))}
    model = graph(nodes, MAPS, "y", **{name: value.astype(np.float32) for name, value in weights.items()})
    names = ["conv", "norm", "fc", "act", "y"]
    whole = hl.extract(model, MAPS, layers=names)
    found = hl.extract(model, MAPS, layers=names, reduce="mean")
    for name, width, axes in (
        ("conv", 6, (2, 3)),
        ("norm", 6, (1, 2)),
        ("fc", 9, (1, 2)),
        ("act", 9, (1, 2)),
        ("y", 9, (2, 3)),
    ):
        shape = (10, width, 5, 7) if axes == (2, 3) else (10, 5, 7, width)
        np.testing.assert_allclose(found[name], whole[name].reshape(shape).mean(axes), rtol=1e-4, atol=1e-5)


def test_what_nobody_can_tell_is_left_out_or_refused():
    nodes = [
        helper.make_node("Conv", ["x", "W"], ["c"], pads=[1, 1]),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    model = graph(nodes, SEQUENCES, "y", W=WEIGHTS, shape=np.array([-1, 4, 32]))
    with pytest.warns(UserWarning, match=r"y \(shape \(10, 4, 32\), nobody knows which axis holds the features\)"):
        assert list(hl.extract(model, SEQUENCES, reduce="mean")) == ["c"]
    with pytest.raises(ValueError, match='nobody knows which axis holds its features: pass reduce="flatten"'):
        hl.extract(model, SEQUENCES, reduce="mean", layers=["y"])


def test_a_maximum_over_channels_has_no_channels_afterwards():
    nodes = [
        helper.make_node("Conv", ["x", "K"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceL2", ["c"], ["y"], axes=[1], keepdims=0),
    ]
    kernel = np.random.default_rng(4).normal(size=(6, 3, 3, 3)).astype(np.float32)
    with pytest.raises(ValueError, match="nobody knows which axis holds its features"):
        hl.extract(graph(nodes, MAPS, "y", K=kernel), MAPS, reduce="mean", layers=["y"])


@pytest.mark.parametrize("layers", ["1", ["1"], ["0", "1"]])
def test_activations_have_the_axes_of_the_convolution_before_them(layers):
    model = nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.ReLU())
    with pytest.raises(ValueError, match=r"whose output \(n, channels, positions\) reduce='mean' would read"):
        hl.extract(model, torch.as_tensor(SEQUENCES), reduce="mean", layers=layers)


def test_activations_after_a_linear_layer_are_of_positions_although_there_is_a_convolution_before():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc, self.act = nn.Conv1d(3, 8, 3, padding=1), nn.Linear(8, 16), nn.GELU()

        def forward(self, x):
            return self.act(self.fc(self.conv(x).transpose(1, 2)))

    torch.manual_seed(0)
    model = Model()
    found = hl.extract(model, torch.as_tensor(SEQUENCES), reduce="mean", layers="act")
    with torch.no_grad():
        np.testing.assert_allclose(found["act"], model(torch.as_tensor(SEQUENCES)).mean(1), rtol=1e-5, atol=1e-6)


def test_equinox_layers_are_averaged_over_positions():
    equinox, jax = pytest.importorskip("equinox"), pytest.importorskip("jax")
    model = equinox.nn.Sequential(
        [
            equinox.nn.Conv1d(3, 8, 3, padding=1, key=jax.random.key(0)),
            equinox.nn.Lambda(jax.nn.relu),
            equinox.nn.GroupNorm(2, 8),
        ]
    )
    whole = hl.extract(model, SEQUENCES)["layers.0"].reshape(10, 8, 16)
    with pytest.warns(UserWarning, match=r"layers\.1 \(shape \(10, 8, 16\), nobody knows"):
        found = hl.extract(model, SEQUENCES, reduce="mean")
    assert {name: layer.shape[1] for name, layer in found.items()} == {"layers.0": 8, "layers.2": 8}
    np.testing.assert_allclose(found["layers.0"], whole.mean(2), rtol=1e-4, atol=1e-5)
