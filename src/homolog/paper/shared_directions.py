"""Figure 8: the directions that two networks share are their large ones, and few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray

import homolog as hl
from homolog.paper.experiment import Experiment
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = ("conv1", "conv5", "conv8", "pool")


def run(study: Study) -> xarray.Dataset:
    """Return the shared subspace of four layers of two Tiny-10 networks, over test images."""
    networks = study.tiny_networks((0, 1)).values()
    images = study.examples(held_out=True)
    parts = []
    for layer in LAYERS:
        x, y = (study.activations(network, images, [layer])[layer] for network in networks)
        shared = hl.shared_subspace(x, y)
        numbers = {
            name: ("layer", [shared.attrs[name]]) for name in ("shared_rank", "rank_x", "rank_y", "cka", "chance")
        }
        parts.append(shared.expand_dims(layer=[layer]).assign(numbers))
    merged = xarray.concat(parts, "layer", join="outer", combine_attrs="override")
    merged.attrs = {name: shared.attrs[name] for name in ("threshold", "n_examples")} | {
        "classes": study.images.classes
    }
    return merged


def one_layer(result: xarray.Dataset, layer: str) -> xarray.Dataset:
    """Return the shared subspace of one layer, as `homolog.shared_subspace` gives it."""
    one = result.sel(layer=layer)
    numbers = {name: one[name].item() for name in ("shared_rank", "rank_x", "rank_y", "cka", "chance")}
    curves = one[["x_norm", "y_norm", "cosine", "covariance"]]
    rank_x, both = int(numbers["rank_x"]), int(min(numbers["rank_x"], numbers["rank_y"]))
    return curves.isel(component=slice(rank_x), direction=slice(both)).assign_attrs(numbers)


def draw(result: xarray.Dataset) -> Figure:
    """Draw the panels of every layer, one row for each."""
    from matplotlib import pyplot

    layers = [str(layer) for layer in result.layer.values]
    figure = pyplot.figure(figsize=(11, 2.9 * len(layers)), layout="compressed")
    for part, layer in zip(figure.subfigures(len(layers), 1, squeeze=False).flat, layers, strict=True):
        one = one_layer(result, layer)
        hl.plot.shared_subspace(one, figure=part)
        part.axes[0].set_title(f"{layer}: CKA {one.attrs['cka']:.2f}", fontsize=10, loc="left")
    figure.suptitle(f"what seed 1 shares with seed 0, n = {result.attrs['n_examples']}")
    return figure


def tell(result: xarray.Dataset) -> list[str]:
    """Return the shared rank of every layer beside its rank."""
    threshold, classes = result.attrs["threshold"], result.attrs["classes"]
    lines = [f"Directions that make up {threshold:.0%} of what two networks share ({classes} classes):"]
    for layer in result.layer.values:
        one = one_layer(result, str(layer)).attrs
        shared, rank = int(one["shared_rank"]), int(one["rank_x"])
        lines.append(f"  {layer!s:6} shared rank {shared:4} of {rank}, linear CKA {one['cka']:.3f}")
    return lines


FIGURE_8 = Experiment("fig8", "Figure 8, shared subspace", run, draw, tell)
