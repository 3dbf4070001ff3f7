"""Figure 7: networks trained on different data sets, and untrained ones, are alike in their early layers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import xarray

import homolog as hl
from homolog.paper.checkpoints import Trained, digest_of, untrained
from homolog.paper.experiment import Experiment, same_layer
from homolog.paper.indexes import LINEAR_CKA
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = 3
"""Networks of each kind, at most."""
UNTRAINED = "untrained"


def networks(study: Study) -> dict[str, dict[str, Trained]]:
    """Return Tiny-10 networks trained on either data set, and untrained ones, each under its kind and a seed."""
    seeds = list(study.seeds)[:SEEDS]
    kinds = {
        images.name: study.tiny_networks(seeds, images, name=images.name)
        for images in (study.images, study.second_images)
    }
    first = study.architecture("tiny-10")
    return kinds | {UNTRAINED: {f"{UNTRAINED} {seed}": untrained(first, study.images, seed) for seed in seeds}}


def run(study: Study) -> xarray.Dataset:
    """Return the mean CKA of corresponding layers, for pairs of kinds of networks and for either data set's test images."""
    kinds = networks(study)
    one, other, raw = kinds
    pairs = [(one, one), (other, other), (one, other), (raw, raw), (one, raw), (other, raw)]
    together = {name: network for named in kinds.values() for name, network in named.items()}
    columns = []
    for images in (study.images, study.second_images):
        examples = study.examples(images, held_out=True)
        result = study.compared(f"tiny-10-on-{images.name}", lambda: together, examples, LINEAR_CKA, **second(study))
        parts = [same_layer(result, list(kinds[a]), list(kinds[b]), networks=f"{a} and {b}") for a, b in pairs]
        columns.append(xarray.concat(parts, "networks").assign_coords(examples=images.name).expand_dims("examples"))
        columns[-1].attrs[f"n_{images.name}"] = result.attrs["n_examples"]
    counts = {f"networks_{kind}": len(named) for kind, named in kinds.items()}
    return xarray.concat(columns, "examples", combine_attrs="no_conflicts").assign_attrs(counts)


def second(study: Study) -> dict[str, Any]:
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
