"""Table 2 and Figure 2: can an index find the corresponding layer in a network trained from another seed?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper.experiment import Experiment, figure_of, heatmap_per_index, layers_in_place
from homolog.paper.indexes import FIGURE_2, INDEXES, REGRESSION, described, title
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def comparison(study: Study, measures: Mapping[str, hl.Measure]) -> xarray.Dataset:
    """Compare all layers of Tiny-10 networks from several seeds over training images."""
    architectures = [study.architecture("tiny-10") for _ in study.seeds]
    networks = partial(study.tiny_networks, study.seeds)
    return study.compared("tiny-10", networks, study.examples(), measures, architectures=architectures)


def run(study: Study) -> xarray.Dataset:
    """Return the layer identification of all indexes."""
    everything = comparison(study, study.indexes)
    found = hl.layer_identification(everything)
    if REGRESSION in found.measure:
        tested = hl.layer_identification(everything, against=REGRESSION)
        found = found.assign(z_regression=tested.z, p_regression=tested.p)
    found["paper"] = ("measure", np.array([INDEXES.get(name, ("", np.nan))[1] / 100 for name in found.measure.values]))
    found["paper"].attrs["long_name"] = "accuracy in Table 2 of the paper (CIFAR-10, ten Tiny-10 networks)"
    found.attrs |= {"networks": len(study.seeds), "n_examples": everything.attrs["n_examples"]}
    return with_sketches(found, everything, study)


def with_sketches(found: xarray.Dataset, everything: xarray.Dataset, study: Study) -> xarray.Dataset:
    """Return an identification with what sketches its values are from, and how far these are off; of whole layers as it is."""
    if study.held_out:
        found = found.assign_attrs(over="test images")
    if study.sketches is None:
        return found
    found = found.assign_attrs(sketch_columns=study.sketches.columns)
    if "sketch_seeds" not in everything.attrs:
        return found  # no layer is wide
    errors = [float((everything[f"{name}_se_sketch"] / everything[name]).median()) for name in found.measure.values]
    about = {"long_name": "standard error over sketches, in parts of the value, median over pairs of layers"}
    found["se_sketch"] = ("measure", np.array(errors), about)
    return found.assign_attrs(sketch_seeds=everything.attrs["sketch_seeds"])


def told_of_sketches(found: xarray.Dataset) -> list[str]:
    """Return what a reader should know where layers were kept as sketches."""
    columns = found.attrs.get("sketch_columns", 0)
    if not columns:
        return []
    if "se_sketch" not in found:
        return [f"No layer has more than {2 * columns} features, so all were kept whole."]
    seeds = sorted(seed for each in json.loads(found.attrs["sketch_seeds"]).values() for seed in each)
    errors = ", ".join(
        f"{title(str(name))} {100 * error:.1g} %"
        for name, error in zip(found.measure.values, found.se_sketch.values, strict=True)
    )
    return [
        f"Layers of more than {2 * columns} features were kept as two sketches of {columns} columns (seeds {seeds[0]} to "
        f"{seeds[-1]}).",
        f"Standard error of a value over sketches, median: {errors}.",
    ]


def bars(found: xarray.Dataset) -> Axes:
    """Draw the accuracies under the paper's names."""
    ax = hl.plot.identification(found.assign_coords(measure=[title(name) for name in found.measure.values]))
    ax.set_title(f"{found.attrs['networks']} networks, n = {compared_over(found)}", fontsize=10)
    return ax


def draw(found: xarray.Dataset) -> Figure:
    """Draw the accuracies, and the paper's as diamonds."""
    ax = bars(found)
    places = np.arange(found.sizes["measure"])[::-1]
    if not np.isnan(found.paper.values).all():
        ax.plot(100 * found.paper.values, places, "D", color="#a84b3b", markersize=4, label="the paper, on CIFAR-10")
        ax.legend(fontsize=8, loc="upper center")
    return figure_of(ax)


def tell(found: xarray.Dataset) -> list[str]:
    """Return the rows of the table."""
    tested = "z_regression" in found
    lines = [
        f"The most alike layer of another network is the one in the same place (n = {compared_over(found)}, "
        f"{int(found.decisions[0])} decisions, chance {100 * float(found.chance[0]):.1f} %):",
        f"  {'index':20} {'%':>6} {'± se':>6} {'paper %':>9} {'against the best: z':>21} {'p':>8}"
        + f" {'regression: z':>15} {'p':>8}" * tested,
    ]
    for i, name in enumerate(found.measure.values):
        row = found.isel(measure=i)
        lines.append(
            f"  {title(str(name)):20} {100 * float(row.accuracy):6.1f} {_number(100 * float(row.accuracy_se)):>6} "
            f"{_number(100 * float(row.paper)):>9} {_number(float(row.z)):>21} {_probability(float(row.p)):>8}"
            + (f" {_number(float(row.z_regression)):>15} {_probability(float(row.p_regression)):>8}" if tested else "")
        )
    if np.isinf(found.z.values).any() or (tested and np.isinf(found.z_regression.values).any()):
        lines.append(
            "  Where z is infinite the difference is the same whichever network is left out; p is then of an exact sign test "
            "over disjoint pairs of networks."
        )
    if found.attrs["networks"] < 3:
        lines.append("  Standard errors and tests need three networks: --seeds 3.")
    return lines + told_of_sketches(found)


def compared_over(found: xarray.Dataset) -> str:
    """Return how many examples were compared, and which where they are not those of training."""
    return " ".join([str(found.attrs["n_examples"]), *([found.attrs["over"]] if "over" in found.attrs else [])])


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"


def _probability(p: float) -> str:
    """Return a probability; what a normal tail says far out is not worth its digits."""
    return "" if np.isnan(p) else "< 1e-6" if p < 1e-6 else f"{p:.2g}"


def run_figure_2(study: Study) -> xarray.Dataset:
    """Return the mean of six indexes over all pairs of different networks."""
    names = [name for name in FIGURE_2 if study.measures is None and name in study.indexes] or list(study.indexes)
    everything = comparison(study, study.indexes)
    mean = hl.mean_over_models(everything)
    kinds = ("", "_se", "_se_sketch", "_null")
    variables = [f"{index}{kind}" for index in names for kind in kinds if f"{index}{kind}" in mean]
    return mean[variables].assign_attrs(measures=json.dumps(names))


def draw_figure_2(mean: xarray.Dataset) -> Figure:
    """Draw a heatmap for each index."""
    return heatmap_per_index(mean, f"mean over {mean.attrs['averaged_pairs']} pairs of networks")


def tell_figure_2(mean: xarray.Dataset) -> list[str]:
    """Return in how many rows of the mean the diagonal is the largest entry."""
    lines = ["In the mean over pairs of networks the most alike layer is the one in the same place for"]
    for name in json.loads(mean.attrs["measures"]):
        lines.append(f"  {title(name):20} {layers_in_place(mean, name)}")
    return lines


def by_measures(study: Study) -> dict[str, str]:
    """Return the measures, on which the results depend; layers may be kept as sketches for them."""
    return {name: described(measure) for name, measure in study.indexes.items()}


TABLE_2 = Experiment("table2", "Table 2, layer identification", run, draw, tell, by_measures)
FIGURE_2_EXPERIMENT = Experiment(
    "fig2", "Figure 2, Tiny-10 networks by six indexes", run_figure_2, draw_figure_2, tell_figure_2, by_measures
)
