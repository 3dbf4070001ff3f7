"""The small convolutional network of `small_conv_network` rebuilt in other libraries, with the same weights and layer names.

Run as a script, it saves the layers of the Keras network on whatever backend the environment names: a process has one backend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen, nnx

Weights = Mapping[str, np.ndarray]


def imported_keras() -> Any:
    """Keras on the backend that is set, or on PyTorch."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def convolution(weights: Weights, name: str) -> list[np.ndarray]:
    return [weights[f"{name}.weight"].transpose(2, 3, 1, 0), weights[f"{name}.bias"]]


def linear(weights: Weights, name: str) -> list[np.ndarray]:
    kernel = weights[f"{name}.weight"]
    if name == "fc1":  # it reads maps that are flattened with the channels last
        kernel = kernel.reshape(20, 12, 8, 8).transpose(0, 2, 3, 1).reshape(20, -1)
    return [kernel.T, weights[f"{name}.bias"]]


def norm(weights: Weights) -> list[np.ndarray]:
    return [weights[f"norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]


def keras_network(weights: Weights) -> Any:
    keras = imported_keras()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, padding="same", name="conv1"),
            layers.ReLU(name="relu1"),
            layers.Conv2D(12, 3, padding="same", name="conv2"),
            layers.ReLU(name="relu2"),
            layers.MaxPooling2D(name="pool"),
            layers.BatchNormalization(epsilon=1e-5, name="norm"),
            layers.Flatten(name="flatten"),
            layers.Dense(20, name="fc1"),
            layers.ReLU(name="relu3"),
            layers.Dense(5, name="fc2"),
        ]
    )
    for name in ("conv1", "conv2"):
        model.get_layer(name).set_weights(convolution(weights, name))
    for name in ("fc1", "fc2"):
        model.get_layer(name).set_weights(linear(weights, name))
    model.get_layer("norm").set_weights(norm(weights))
    return model


class LinenNetwork(linen.Module):
    """Activations are functions in linen: `sow` says what they give."""

    @linen.compact
    def __call__(self, images, train: bool):
        def told(name, values):
            self.sow("intermediates", name, values)
            return values

        maps = told("relu1", linen.relu(linen.Conv(8, (3, 3), name="conv1")(images)))
        maps = told("relu2", linen.relu(linen.Conv(12, (3, 3), name="conv2")(maps)))
        maps = told("pool", linen.max_pool(maps, (2, 2), (2, 2)))
        maps = linen.BatchNorm(use_running_average=not train, epsilon=1e-5, name="norm")(maps)
        hidden = linen.Dense(20, name="fc1")(maps.reshape(len(maps), -1))
        return linen.Dense(5, name="fc2")(told("relu3", linen.relu(hidden)))


def linen_network(weights: Weights) -> tuple[LinenNetwork, dict[str, Any]]:
    parts = {name: convolution(weights, name) for name in ("conv1", "conv2")}
    parts |= {name: linear(weights, name) for name in ("fc1", "fc2")}
    params: dict[str, Any] = {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in parts.items()}
    scale, bias, mean, variance = norm(weights)
    params["norm"] = {"scale": scale, "bias": bias}
    return LinenNetwork(), {"params": params, "batch_stats": {"norm": {"mean": mean, "var": variance}}}


class Applied(nnx.Module):
    """A function as a module, so that its output is a layer."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, values):
        return self.function(values)


class NnxNetwork(nnx.Module):
    def __init__(self, weights: Weights) -> None:
        rngs = nnx.Rngs(0)
        self.conv1, self.conv2 = nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.Conv(8, 12, (3, 3), rngs=rngs)
        self.relu1, self.relu2, self.relu3 = Applied(nnx.relu), Applied(nnx.relu), Applied(nnx.relu)
        self.pool = Applied(lambda maps: linen.max_pool(maps, (2, 2), (2, 2)))
        self.norm = nnx.BatchNorm(12, epsilon=1e-5, rngs=rngs)
        self.fc1, self.fc2 = nnx.Linear(768, 20, rngs=rngs), nnx.Linear(20, 5, rngs=rngs)
        for name in ("conv1", "conv2", "fc1", "fc2"):
            part = getattr(self, name)
            read = convolution if name.startswith("conv") else linear
            part.kernel[...], part.bias[...] = read(weights, name)
        self.norm.scale[...], self.norm.bias[...], self.norm.mean[...], self.norm.var[...] = norm(weights)

    def __call__(self, images):
        maps = self.relu2(self.conv2(self.relu1(self.conv1(images))))
        maps = self.norm(self.pool(maps))
        return self.fc2(self.relu3(self.fc1(maps.reshape(len(maps), -1))))


def save_keras_layers(images: str, path: str) -> None:
    """Save the layers of the Keras network over images in a file."""
    from small_conv_network import weights

    import homolog as hl

    found = hl.extract(keras_network(weights()), np.load(images), batch_size=16)
    np.savez(path, **{name: np.asarray(values) for name, values in found.items()})


if __name__ == "__main__":
    save_keras_layers(*sys.argv[1:])
