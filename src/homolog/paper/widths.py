"""Figure 6: wider networks are more alike, the early layers first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray

import homolog as hl
from homolog.paper.experiment import Experiment
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = 3
"""Networks of each width, at most."""
SAME, WIDEST = "another of the same width", "the widest"


def run(study: Study) -> xarray.Dataset:
    """Return the mean CKA of corresponding layers with other networks of the same width, and with the widest ones."""
    seeds = list(study.seeds)[:SEEDS]
    widths = study.scale.widths
    every = [(width, seed) for width in widths for seed in seeds]
    trained = study.networks([(study.architecture(f"width-{width}"), seed) for width, seed in every])
    images = study.examples(held_out=True)

    def models() -> dict[str, hl.Activations]:
        named = {f"width {width} seed {seed}": network for (width, seed), network in zip(every, trained, strict=True)}
        return study.all_activations(named, images)

    result = study.compared("widths", models, {"cka": hl.measure("cka")})
    names = {width: [f"width {width} seed {seed}" for seed in seeds] for width in widths}
    parts = []
    for width in widths:
        for partner, others in ((SAME, names[width]), (WIDEST, names[widths[-1]])):
            mean = hl.mean_over_models(result, names[width], others)
            values = {key: ("layer", mean[key].values.diagonal()) for key in ("cka", "cka_se")}
            part = xarray.Dataset(values, {"layer": mean.layer_a.values, "width": width, "partner": partner})
            parts.append(part.expand_dims(["width", "partner"]))
    merged = xarray.concat([xarray.concat(parts[k : k + 2], "partner") for k in range(0, len(parts), 2)], "width")
    accuracies = {
        width: [n.accuracy for (w, _), n in zip(every, trained, strict=True) if w == width] for width in widths
    }
    merged["accuracy"] = ("width", [sum(values) / len(values) for values in accuracies.values()])
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
