"""An experiment: what is computed, how it is drawn, what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from scipy.stats import spearmanr

import homolog as hl
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


def perform(experiment: Experiment, study: Study) -> xarray.Dataset:
    """Run an experiment, say what was found, and write its result and its picture beside each other."""
    study.say(f"{experiment.title}: {study.data}, scale {study.scale.name}")
    result = study.recorded(experiment.name, lambda: experiment.run(study), **experiment.depends_on(study))
    result.attrs["command"] = study.command
    study.say("")
    for line in experiment.tell(result):
        study.say(line)
    picture = study.out / f"{experiment.name}-{study.title}.png"
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
