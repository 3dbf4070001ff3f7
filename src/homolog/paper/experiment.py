"""An experiment: what is computed, how it is drawn, what is said of it; and what several experiments need for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from scipy.stats import spearmanr

import homolog as hl
from homolog.paper.checkpoints import Trained
from homolog.paper.data import Images
from homolog.paper.indexes import title
from homolog.paper.sentences import Sentences
from homolog.paper.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper."""

    name: str
    """On the command line."""
    title: str
    run: Callable[[Study], xarray.Dataset]
    draw: Callable[[xarray.Dataset], Figure]
    tell: Callable[[xarray.Dataset], list[str]]
    """Return what a reader should see of the result, as lines."""
    depends_on: Callable[[Study], dict[str, str]] = lambda study: {}
    """Return what determines the result beside data and scale."""
    data: Callable[[Study], Images | Sentences] = attrgetter("images")
    """Return the study's data of which the experiment is."""


def perform(experiment: Experiment, study: Study) -> xarray.Dataset:
    """Run an experiment, say what was found, and write its result and its picture beside each other."""
    data = experiment.data(study)
    study.say(f"{experiment.title}: {data.name}, scale {study.scale.name}")
    result = study.recorded(experiment.name, lambda: experiment.run(study), data, **experiment.depends_on(study))
    result.attrs["command"] = study.command
    study.say("")
    for line in experiment.tell(result):
        study.say(line)
    picture = study.out / f"{experiment.name}-{study.title(data.name)}.png"
    experiment.draw(result).savefig(picture, dpi=120, bbox_inches="tight")
    written = picture.with_suffix(".nc")
    result.to_netcdf(written)
    spent = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in time_spent(result).items())
    study.say(f"Written: {written} and {picture}" + f" ({spent})" * bool(spent))
    study.say("")
    return result


def figure_of(ax: Axes) -> Figure:
    """Return the figure of axes that fill it."""
    figure: Any = ax.figure
    whole: Figure = figure
    return whole


def time_spent(result: xarray.Dataset) -> dict[str, float]:
    """Return the seconds that training and comparing took, whenever that was."""
    spent: dict[str, float] = {}
    for what, seconds in json.loads(result.attrs["costs"]).items():
        kind = what.partition(" ")[0]
        spent[kind] = spent.get(kind, 0.0) + seconds
    return spent


def order_kept(result: xarray.Dataset, measure: str) -> tuple[np.ndarray, float]:
    """Return where in b the best match of every layer of a lies, 0 first and 1 last, and its rank correlation with depth."""
    places = list(result.layer_b.values)
    found = hl.correspondence(result, measure)
    depth = np.array([places.index(name) for name in found.best_b.values]) / max(len(places) - 1, 1)
    if np.ptp(depth) == 0:
        return depth, 0.0
    return depth, float(spearmanr(depth, np.arange(len(depth))).statistic)


def layers_in_place(result: xarray.Dataset, measure: str = "cka") -> str:
    """Return for how many layers of a the most alike layer of b is the one of the same name."""
    found = hl.correspondence(result, measure)
    return f"{int((found.best_b.values == found.layer_a.values).sum())} of {found.sizes['layer_a']} layers"


def same_layer(result: xarray.Dataset, a: Sequence[str], b: Sequence[str], **labels: Any) -> xarray.Dataset:
    """Return the mean CKA of corresponding layers of networks a with networks b; labels become dimensions."""
    mean = hl.mean_over_models(result, a, b)
    values = {name: ("layer", mean[name].values.diagonal()) for name in ("cka", "cka_se")}
    return xarray.Dataset(values, {"layer": mean.layer_a.values, **labels}).expand_dims(list(labels))


def with_accuracies(result: xarray.Dataset, networks: Mapping[str, Trained]) -> xarray.Dataset:
    """Return a result with the accuracy of every network on the test images."""
    return result.assign_attrs(test_accuracy=json.dumps({name: network.accuracy for name, network in networks.items()}))


def heatmap_per_index(result: xarray.Dataset, heading: str) -> Figure:
    """Draw a heatmap for each of a result's indexes, under the paper's names."""
    names = json.loads(result.attrs["measures"])
    titled = {title(name): result.assign_attrs(measures=json.dumps([name])) for name in names}
    return hl.plot.heatmaps(titled, title=f"{heading}, n = {result.attrs['n_examples']}")
