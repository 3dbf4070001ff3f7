"""Figure 6: wider networks are more alike, the early layers first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper.experiment import Experiment, same_layer
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = 3
"""Networks of each width, at most."""
SAME, WIDEST = "another of the same width", "the widest"


def run(study: Study) -> xarray.Dataset:
    """Return the mean CKA of corresponding layers with other networks of the same width, and with the widest ones."""
    seeds, widths = list(study.seeds)[:SEEDS], study.scale.widths
    names = {width: [f"width {width} seed {seed}" for seed in seeds] for width in widths}
    chosen = {
        name: (study.architecture(f"width-{width}"), seed)
        for width in widths
        for name, seed in zip(names[width], seeds, strict=True)
    }
    networks, images = study.networks(chosen), study.examples(held_out=True)
    result = study.compared("widths", lambda: networks, images)
    rows = []
    for width in widths:
        partners = {SAME: names[width], WIDEST: names[widths[-1]]}
        parts = [same_layer(result, names[width], b, width=width, partner=name) for name, b in partners.items()]
        accuracy = np.mean([networks[name].accuracy for name in names[width]])
        rows.append(xarray.concat(parts, "partner").assign(accuracy=("width", [accuracy])))
    merged = xarray.concat(rows, "width")
    return merged.assign_attrs(n_examples=len(images), networks_per_width=len(seeds))


def draw(result: xarray.Dataset) -> Figure:
    """Draw the similarity of every layer over the width."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="compressed", sharey=True)
    for ax, partner in zip(axes, (SAME, WIDEST), strict=True):
        hl.plot.lines(result.sel(partner=partner), "cka", x="width", by="layer", legend=partner == WIDEST, ax=ax)
        ax.set_xscale("log", base=2)
        ax.set_xticks(result.width.values, labels=[str(width) for width in result.width.values])
        ax.set(title=f"with {partner}", xlabel="channels", ylabel="linear CKA of the same layer")
    per_width = result.attrs["networks_per_width"]
    figure.suptitle(
        f"{per_width} networks of each width, n = {result.attrs['n_examples']}; bands are jackknife standard errors"
    )
    return figure


def tell(result: xarray.Dataset) -> list[str]:
    """Return the similarity of every layer at every width."""
    lines = ["Linear CKA of the same layer with another network of the same width:"]
    for width in result.width.values:
        values = result.cka.sel(width=width, partner=SAME).values
        accuracy = float(result.accuracy.sel(width=width))
        lines.append(
            f"  width {width:4} (test accuracy {accuracy:.1%}) " + " ".join(f"{value:.2f}" for value in values)
        )
    return lines


FIGURE_6 = Experiment("fig6", "Figure 6, widths", run, draw, tell)
