"""All experiments, in the order in which `homolog paper all` runs them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import homolog as hl
from homolog.paper import (
    across_datasets,
    appendix,
    architectures,
    depth,
    principal_components,
    shared_directions,
    table2,
    table_f1,
    widths,
)
from homolog.paper.experiment import Experiment, perform
from homolog.paper.indexes import takes_sketches

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        table2.TABLE_2,
        table2.FIGURE_2_EXPERIMENT,
        depth.FIGURE_3,
        shared_directions.FIGURE_8,
        architectures.FIGURE_5,
        across_datasets.FIGURE_7,
        widths.FIGURE_6,
        architectures.FIGURE_4,
        principal_components.FIGURE_1,
        appendix.THRESHOLDS_EXPERIMENT,
        appendix.UNTRAINED,
        appendix.BATCH_NORM,
        appendix.WITHIN_CLASS,
        appendix.TINY_RESNET,
        table_f1.TABLE_F1,
    )
}

SKETCHED = [table2.TABLE_2.name, table2.FIGURE_2_EXPERIMENT.name, appendix.UNTRAINED.name]
"""Those that may keep layers as sketches, and compare over other images."""

__all__ = ["EXPERIMENTS", "named", "perform"]


def check_measures(chosen: list[Experiment]) -> None:
    """Raise if measures were asked for where an experiment has its own."""
    takes = [name for name, experiment in EXPERIMENTS.items() if experiment.depends_on is table2.by_measures]
    _check_taken("--measure", chosen, takes)


def check_sketches(chosen: list[Experiment], measures: Mapping[str, hl.Measure] | None) -> None:
    """Raise if sketches were asked for where an experiment, or a measure, needs whole layers."""
    _check_taken("--sketch", chosen, SKETCHED)
    others = [name for name, measure in (measures or {}).items() if not takes_sketches(measure)]
    if others:
        raise ValueError(
            f"--sketch is for cka and hsic with kernel=linear, got it with -m {', '.join(others)}: leave one of them out."
        )


def check_held_out(chosen: list[Experiment]) -> None:
    """Raise if test images were asked for where an experiment chooses its images."""
    _check_taken("--test-images", chosen, SKETCHED)


def _check_taken(option: str, chosen: list[Experiment], takes: Sequence[str]) -> None:
    others = [experiment.name for experiment in chosen if experiment.name not in takes]
    if others:
        raise ValueError(f"{option} is for {', '.join(takes)}, got it for {', '.join(others)}: leave it out.")


def check_data(chosen: list[Experiment], data: str | None, sentences: Path | None) -> None:
    """Raise if images were named where none are read, or sentences where none are."""
    if chosen == [table_f1.TABLE_F1] and data is not None:
        raise ValueError(f"tableF1 reads sentences, got images, --data {data}: give a folder with --sentences instead.")
    if table_f1.TABLE_F1 not in chosen and sentences is not None:
        raise ValueError(f"--sentences is for tableF1, got it for {chosen[0].name}: leave it out.")


def named(name: str) -> list[Experiment]:
    """Return the experiment of a name, or all."""
    if name == "all":
        return list(EXPERIMENTS.values())
    if name not in EXPERIMENTS:
        known = [*EXPERIMENTS, "all"]
        alike = {each.lower().replace("-", ""): each for each in known}
        near = difflib.get_close_matches(name.lower().replace("-", ""), alike, n=1)
        guess = f", did you mean {alike[near[0]]}?" if near else ""
        raise ValueError(f"the experiment must be one of {', '.join(EXPERIMENTS)} or all, got {name!r}{guess or '.'}")
    return [EXPERIMENTS[name]]
