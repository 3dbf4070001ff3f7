"""One small network with the same weights in several libraries: the same layers, to rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_exports import exported
from small_conv_elsewhere import NnxNetwork, keras_network, linen_network
from small_conv_network import LAYERS, images, network, weights

import homolog as hl

HERE = Path(__file__).parent
LIBRARIES = ("onnx", "keras", "linen", "nnx")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on PyTorch


def ids() -> list[str]:
    return [f"image {number}" for number in range(40)]


def channels_last() -> np.ndarray:
    return np.ascontiguousarray(images().transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def extracted(tmp_path_factory) -> dict[str, hl.Activations]:
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    exported(network(), {"images": torch.tensor(images(2))}, path, exporter="present")
    models = {
        "keras": keras_network(weights()),
        "linen": linen_network(weights()),
        "nnx": NnxNetwork(weights()),
    }
    found = {
        name: hl.extract(model, channels_last(), batch_size=16, example_ids=ids()) for name, model in models.items()
    }
    for name, model in (("torch", network()), ("onnx", path)):
        found[name] = hl.extract(model, images(), layers=list(LAYERS), batch_size=16, example_ids=ids())
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_all_layers_are_those_of_pytorch(extracted, library):
    found = extracted[library]
    assert tuple(name for name in found if name != "flatten") == LAYERS
    for name in LAYERS:
        np.testing.assert_allclose(found[name], extracted["torch"][name], atol=1e-5, rtol=0)


def test_every_layer_is_found_in_every_other_library(extracted):
    layers = {name: found.select(*LAYERS) for name, found in extracted.items()}
    result = hl.compare(layers, measures="cka(estimator=debiased)")
    found = hl.layer_identification(result)
    assert found.accuracy.item() == 1.0
    assert found.decisions.item() == 2 * len(LAYERS) * 10  # of ten pairs of libraries, both ways round
    assert result.attrs["row_identity"] == "example ids"


def test_keras_on_jax_gives_the_same_layers(extracted, tmp_path):
    np.save(tmp_path / "images.npy", channels_last())
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    command = [sys.executable, HERE / "small_conv_elsewhere.py", tmp_path / "images.npy", tmp_path / "layers.npz"]
    subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
    found = np.load(tmp_path / "layers.npz")
    assert list(found) == list(extracted["keras"])
    for name in LAYERS:
        np.testing.assert_allclose(found[name], extracted["torch"][name], atol=1e-5, rtol=0)


def test_maps_are_averaged_over_the_same_places(extracted):
    reduced = {
        "torch": hl.extract(network(), images(), reduce="mean", layers=["conv*", "pool"]),
        "keras": hl.extract(keras_network(weights()), channels_last(), reduce="mean", layers=["conv*", "pool"]),
        "linen": hl.extract(linen_network(weights()), channels_last(), reduce="mean", layers=["conv*", "pool"]),
    }
    for name in ("conv1", "conv2", "pool"):
        assert reduced["torch"][name].shape[1] in (8, 12)
        for library in ("keras", "linen"):
            np.testing.assert_allclose(reduced[library][name], reduced["torch"][name], atol=1e-5, rtol=0)
