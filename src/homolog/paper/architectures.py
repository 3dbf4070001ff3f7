"""Figures 4 and 5: a deep residual network with itself, and networks of different architectures with each other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper.experiment import Experiment, order_kept, with_accuracies
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = (("Plain-10", "Plain-18"), ("Plain-10", "ResNet-14"), ("Plain-18", "ResNet-32"), ("ResNet-14", "ResNet-32"))


def _compared(study: Study, what: str, names: Iterable[str]) -> xarray.Dataset:
    """Compare one trained network of each architecture over test images."""
    networks = study.networks({name: (study.architecture(name.lower()), 0) for name in names})
    result = study.compared(what, lambda: networks, study.examples(held_out=True))
    return with_accuracies(result, networks)


def run_figure_5(study: Study) -> xarray.Dataset:
    """Compare two plain and two residual networks."""
    return _compared(study, "architectures", dict.fromkeys(name for pair in PAIRS for name in pair))


def draw_figure_5(result: xarray.Dataset) -> Figure:
    """Draw a heatmap for each pair of architectures."""
    titled = {f"{a} (rows) and {b}": hl.between(result, a, b) for a, b in PAIRS}
    return hl.plot.heatmaps(
        titled, columns=2, title=f"linear CKA between architectures, n = {result.attrs['n_examples']}"
    )


def tell_figure_5(result: xarray.Dataset) -> list[str]:
    """Return how far best matches keep the order of the layers, and where new layers have their place."""
    accuracies = ", ".join(f"{name} {value:.1%}" for name, value in json.loads(result.attrs["test_accuracy"]).items())
    lines = [f"Test accuracy: {accuracies}.", "Best matches in the other network, as relative depth (0 first, 1 last):"]
    for a, b in PAIRS:
        depth, order = order_kept(hl.between(result, a, b), "cka")
        lines.append(
            f"  {a} in {b}: " + " ".join(f"{x:.2f}" for x in depth) + f"; rank correlation with depth {order:.2f}"
        )
    return lines


def run_figure_4(study: Study) -> xarray.Dataset:
    """Compare a deep residual network with itself."""
    name = f"ResNet-{study.scale.residual_depth}"
    everything = _compared(study, "residual", [name])
    return hl.between(everything, name, name).assign_attrs(test_accuracy=everything.attrs["test_accuracy"])


def _by_kind(result: xarray.Dataset) -> dict[str, xarray.Dataset]:
    """Return all layers, those after a residual sum, and those inside blocks."""
    inside = np.array([str(layer).endswith("inside") for layer in result.layer_a.values])
    sums = np.array([str(layer).endswith("sum") for layer in result.layer_a.values])
    parts = {"all layers": inside | True, "after a residual sum": sums, "inside blocks": inside}
    return {name: result.isel(layer_a=chosen, layer_b=chosen) for name, chosen in parts.items()}


def draw_figure_4(result: xarray.Dataset) -> Figure:
    """Draw all layers, those after a residual sum, and those inside blocks."""
    title = f"linear CKA of a residual network with itself, n = {result.attrs['n_examples']}"
    return hl.plot.heatmaps(_by_kind(result), best=False, title=title)


def tell_figure_4(result: xarray.Dataset) -> list[str]:
    """Return what makes the grid: layers are more like those of their own kind."""
    values, kinds = result.cka.values, np.array([str(layer).rpartition(".")[2] for layer in result.layer_a.values])
    inside, sums = kinds == "inside", kinds == "sum"
    neighbours = np.abs(np.subtract.outer(np.arange(len(kinds)), np.arange(len(kinds)))) <= 6
    off = neighbours & ~np.eye(len(kinds), dtype=bool)

    def mean(rows: np.ndarray, columns: np.ndarray) -> float:
        return float(values[np.outer(rows, columns) & off].mean())

    return [
        "Mean CKA of layers at most six apart, which makes the grid:",
        f"  after a residual sum with each other {mean(sums, sums):.3f}",
        f"  inside blocks with each other        {mean(inside, inside):.3f}",
        f"  the ones with the others             {mean(sums, inside):.3f}",
    ]


FIGURE_5 = Experiment("fig5", "Figure 5, architectures", run_figure_5, draw_figure_5, tell_figure_5)
FIGURE_4 = Experiment("fig4", "Figure 4, a residual network", run_figure_4, draw_figure_4, tell_figure_4)
