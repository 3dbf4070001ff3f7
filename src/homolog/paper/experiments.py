"""All experiments, in the order in which `homolog paper all` runs them."""

from __future__ import annotations

from homolog.paper import appendix, architectures, datasets, depth, dots, sharing, table2, widths
from homolog.paper.experiment import Experiment, perform

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        table2.TABLE_2,
        table2.FIGURE_2_EXPERIMENT,
        depth.FIGURE_3,
        sharing.FIGURE_8,
        architectures.FIGURE_5,
        datasets.FIGURE_7,
        widths.FIGURE_6,
        architectures.FIGURE_4,
        dots.FIGURE_1,
        appendix.THRESHOLDS_EXPERIMENT,
        appendix.UNTRAINED,
        appendix.BATCH_NORM,
        appendix.WITHIN_CLASS,
        appendix.TINY_RESNET,
    )
}

__all__ = ["EXPERIMENTS", "named", "perform"]


def named(name: str) -> list[Experiment]:
    """Return the experiment of a name, or all."""
    if name == "all":
        return list(EXPERIMENTS.values())
    if name not in EXPERIMENTS:
        raise ValueError(f"the experiment must be one of {', '.join(EXPERIMENTS)} or all, got {name!r}.")
    return [EXPERIMENTS[name]]
