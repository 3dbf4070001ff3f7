"""Figure 1: the same images in the same layer of two networks, along principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper.experiment import Experiment
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYER = "conv6"
MOST_DOTS = 2000


def run(study: Study) -> xarray.Dataset:
    """Return the first two principal components of a layer of two Tiny-10 networks, over test images."""
    networks = study.tiny_networks((0, 1))
    images = study.examples(held_out=True)[:MOST_DOTS]
    layers = [study.activations(network, images, [LAYER])[LAYER] for network in networks.values()]
    scores = np.stack([_components(np.asarray(layer, dtype=float)) for layer in layers])
    return xarray.Dataset(
        {"score": (("network", "example", "component"), scores)},
        {"network": list(networks), "component": [1, 2]},
        {"layer": LAYER, "cka": float(hl.cka(*layers)), "n_examples": len(images)},
    )


def _components(features: np.ndarray) -> np.ndarray:
    """Return the first two principal components, each with the sign that makes its third moment positive."""
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    scores = left[:, :2] * values[:2]
    signed: np.ndarray = scores * np.where((scores**3).sum(axis=0) < 0, -1, 1)
    return signed


def draw(result: xarray.Dataset) -> Figure:
    """Draw images as dots that keep their colour from the first network to the second."""
    from matplotlib import pyplot

    first = result.score.isel(network=0).values
    # The place in the first network's plane gives the colour: hue by angle, paler towards the middle.
    ranks = np.argsort(np.argsort(first, axis=0), axis=0) / (len(first) - 1)
    colours = np.stack([ranks[:, 0], 0.35 + 0 * ranks[:, 0], ranks[:, 1]], axis=1)
    figure, axes = pyplot.subplots(1, 2, figsize=(9.5, 4.5), layout="compressed")
    for ax, name in zip(axes, result.network.values, strict=True):
        dots = result.score.sel(network=name).values
        ax.scatter(dots[:, 0], dots[:, 1], c=colours, s=6, linewidths=0)
        ax.set(title=str(name), xlabel="principal component 1", ylabel="principal component 2")
    layer, cka = result.attrs["layer"], result.attrs["cka"]
    figure.suptitle(
        f"{result.attrs['n_examples']} test images in {layer}, coloured by their place in seed 0; linear CKA {cka:.2f}"
    )
    return figure


def tell(result: xarray.Dataset) -> list[str]:
    """Return how far the two planes agree."""
    first, second = (result.score.sel(network=name).values for name in result.network.values)
    fit, cka = float(hl.linear_regression(second, first)), result.attrs["cka"]
    return [
        f"{result.attrs['layer']}: linear CKA of all features {cka:.3f}; the first plane explains {fit:.1%} of the variance "
        f"in the second."
    ]


FIGURE_1 = Experiment("fig1", "Figure 1, principal components", run, draw, tell)
