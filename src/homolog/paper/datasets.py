"""Figure 7: networks trained on different data sets, and untrained ones, are alike in their early layers."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper import training
from homolog.paper.experiment import Experiment
from homolog.paper.study import Study
from homolog.paper.training import Trained, digest_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = 3
"""Networks of each kind, at most."""


def networks(study: Study) -> dict[str, list[Trained]]:
    """Return Tiny-10 networks trained on either data set, and untrained ones."""
    seeds = list(study.seeds)[:SEEDS]
    found = {}
    for images in (study.images, study.second_images):
        architecture = study.architecture("tiny-10", images, width=study.scale.width)
        found[images.name] = study.networks([(architecture, seed) for seed in seeds], images)
    first = study.architecture("tiny-10", width=study.scale.width)
    found["untrained"] = [training.untrained(first, study.images, seed) for seed in seeds]
    return found


def run(study: Study) -> xarray.Dataset:
    """Return the mean CKA of corresponding layers, for pairs of kinds of networks and for either data set's test images."""
    kinds = networks(study)
    one, other, raw = kinds
    pairs = [(one, one), (other, other), (one, other), (raw, raw), (one, raw), (other, raw)]
    columns = []
    for images in (study.images, study.second_images):
        taken = partial(_layers, study, kinds, study.examples(images, held_out=True))
        result = study.compared(f"tiny-10-on-{images.name}", taken, {"cka": hl.measure("cka")}, **second(study))
        parts = []
        for a, b in pairs:
            mean = hl.mean_over_models(result, _names(a, kinds[a]), _names(b, kinds[b]))
            same_layer = {key: ("layer", mean[key].values.diagonal()) for key in ("cka", "cka_se")}
            part = xarray.Dataset(same_layer, {"layer": mean.layer_a.values, "networks": f"{a} and {b}"})
            parts.append(part.expand_dims("networks"))
        columns.append(xarray.concat(parts, "networks").assign_coords(examples=images.name).expand_dims("examples"))
        columns[-1].attrs[f"n_{images.name}"] = result.attrs["n_examples"]
    counts = {f"networks_{kind}": len(trained) for kind, trained in kinds.items()}
    return xarray.concat(columns, "examples", combine_attrs="no_conflicts").assign_attrs(counts)


def _layers(study: Study, kinds: dict[str, list[Trained]], examples: np.ndarray) -> dict[str, hl.Activations]:
    named = {
        name: network
        for kind, trained in kinds.items()
        for name, network in zip(_names(kind, trained), trained, strict=True)
    }
    return study.all_activations(named, examples)


def _names(kind: str, trained: list[Trained]) -> list[str]:
    return [f"{kind} {seed}" for seed in range(len(trained))]


def second(study: Study) -> dict[str, str]:
    """Return the second data set, on which the result depends."""
    return {"second": study.second_images.name, "second_images": digest_of(*study.second_images.arrays)}


def draw(result: xarray.Dataset) -> Figure:
    """Draw the similarity of corresponding layers, for the examples of either data set."""
    from matplotlib import pyplot

    examples = [str(name) for name in result.examples.values]
    figure, axes = pyplot.subplots(1, len(examples), figsize=(6 * len(examples), 4), layout="compressed", sharey=True)
    for ax, name in zip(axes, examples, strict=True):
        hl.plot.lines(result.sel(examples=name), "cka", x="layer", by="networks", legend=name == examples[-1], ax=ax)
        ax.set(
            title=f"on {name} test images, n = {result.attrs[f'n_{name}']}",
            ylabel="linear CKA of the same layer",
            ylim=(0, 1.02),
        )
    return figure


def tell(result: xarray.Dataset) -> list[str]:
    """Return the similarity of every layer."""
    lines = ["Linear CKA of the same layer in different networks:"]
    for name, pair in itertools.product(result.examples.values, result.networks.values):
        values = result.cka.sel(examples=name, networks=pair).values
        lines.append(f"  on {name:14} {pair:30} " + " ".join(f"{value:.2f}" for value in values))
    return lines


FIGURE_7 = Experiment("fig7", "Figure 7, data sets", run, draw, tell, second)
