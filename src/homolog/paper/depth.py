"""Figure 3: networks that are too deep repeat themselves, and a linear probe sees it too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper.experiment import Experiment, with_accuracies
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run(study: Study) -> xarray.Dataset:
    """Compare every plain network with itself over test images, and probe all its layers."""
    names = [f"Plain-{depth}" for depth in study.scale.depths]
    networks = study.networks({name: (study.architecture(name.lower()), 0) for name in names})
    images = study.examples(held_out=True)

    def probed() -> xarray.Dataset:
        parts = []
        for name, network in networks.items():
            study.say(f"  probing {name}")
            n = study.scale.n_probed
            fitted, measured = (study.activations(network, part) for part in (study.images.train[:n], images))
            labels = study.images.train_labels[:n], study.images.test_labels[: len(images)]
            part = hl.probe(fitted, labels[0], (measured, labels[1]), progress=study.progress)
            parts.append(part.assign_coords(layer=[f"{name} {layer}" for layer in part.layer.values]))
        return xarray.concat(parts, "layer", combine_attrs="override")

    everything = study.compared("plain", lambda: networks, images)
    probes = study.recorded("plain-probes", probed)
    columns = {key: ("a", probes[key].values) for key in ("accuracy", "accuracy_se", "strength")}
    about = {"chance": probes.attrs["chance"], "n_probed": probes.attrs["n_examples"]}
    return with_accuracies(everything.assign(columns).assign_attrs(about), networks)


def one_network(result: xarray.Dataset, name: str) -> tuple[xarray.Dataset, xarray.Dataset]:
    """Return a network's comparison with itself, and its probes."""
    own = hl.between(result, name, name)
    probes = xarray.Dataset(
        {key: ("layer", own[key].values) for key in ("accuracy", "accuracy_se")},
        {"layer": own.layer_a.values},
        {"chance": result.attrs["chance"]},
    )
    return own[["cka"]], probes


def draw(result: xarray.Dataset) -> Figure:
    """Draw the heatmaps of the networks with themselves, and the probes below."""
    from matplotlib import pyplot

    accuracies = json.loads(result.attrs["test_accuracy"])
    figure, axes = pyplot.subplots(
        2, len(accuracies), figsize=(4 * len(accuracies), 7), layout="compressed", height_ratios=(3, 2), squeeze=False
    )
    for (name, accuracy), above, below in zip(accuracies.items(), *axes, strict=True):
        own, probes = one_network(result, name)
        hl.plot.heatmap(own, ax=above, best=False, title=f"{name}, {accuracy:.1%}")
        above.set(xlabel="", ylabel="")
        hl.plot.probe(probes, ax=below)
        below.set_ylim(0, 1)
        below.set_ylabel("held-out accuracy" if below is axes[1, 0] else "")
    figure.suptitle(f"linear CKA of every network with itself, n = {result.attrs['n_examples']}; linear probes below")
    return figure


def alike_with_last(own: xarray.Dataset, level: float = 0.9) -> int:
    """Count the layers that have at least this CKA with the last convolution."""
    return int((own.cka.values[:, -2] >= level).sum())


def longest_block(own: xarray.Dataset, level: float = 0.9) -> int:
    """Count the most layers in a row that all have at least this CKA with each other."""
    alike = own.cka.values >= level
    count = len(alike)
    ends = (next((j for j in range(i, count) if not alike[i : j + 1, j].all()), count) for i in range(count))
    return max(end - start for start, end in enumerate(ends))


def tell(result: xarray.Dataset) -> list[str]:
    """Return where the layers repeat each other, and where a probe stops gaining."""
    lines = [
        "Layers in a row that are all like each other (CKA ≥ 0.9), layers like the last convolution, and where a probe first",
        "comes within 1 % of its best:",
    ]
    for name, accuracy in json.loads(result.attrs["test_accuracy"]).items():
        own, probes = one_network(result, name)
        values = probes.accuracy.values
        first = int(np.argmax(values >= values.max() - 0.01)) + 1
        count = len(values)
        lines.append(
            f"  {name:9} test accuracy {accuracy:.1%}: {longest_block(own)} of {count} in a row, {alike_with_last(own)} like the "
            f"last; probe {values.max():.1%}, from layer {first} of {count} on"
        )
    return lines


FIGURE_3 = Experiment("fig3", "Figure 3, depth", run, draw, tell)
