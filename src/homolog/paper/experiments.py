"""All experiments, in the order in which `homolog paper all` runs them."""

from __future__ import annotations

from homolog.paper import table2
from homolog.paper.experiment import Experiment, perform

EXPERIMENTS = {experiment.name: experiment for experiment in (table2.TABLE_2, table2.FIGURE_2_EXPERIMENT)}

__all__ = ["EXPERIMENTS", "named", "perform"]


def named(name: str) -> list[Experiment]:
    """Return the experiment of a name, or all."""
    if name == "all":
        return list(EXPERIMENTS.values())
    if name not in EXPERIMENTS:
        raise ValueError(f"the experiment must be one of {', '.join(EXPERIMENTS)} or all, got {name!r}.")
    return [EXPERIMENTS[name]]
