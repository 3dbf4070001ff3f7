"""What a trajectory says: when layers settle, in which order, and which checkpoints are the same network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from homolog.diagnostics import listed
from homolog.names import shown
from homolog.result_kinds import TRAJECTORY, check_kind
from homolog.results import chosen_measure, told_examples, written_probability
from homolog.trajectories.settling import settled_steps, share_covered, towards_last

if TYPE_CHECKING:
    import pandas
    import xarray

FEWEST = 5
"""Layers that are needed for an order of theirs to be more than chance at 0.05."""
ALPHA = 0.05
_NEARER = "To start nearer to the end is not to settle earlier"
MOST_GROUPS = 4
"""Steps at which layers settle that a sentence names."""


class Order(NamedTuple):
    """How the depth of layers goes with another number of theirs."""

    correlation: float
    pvalue: float

    @property
    def told(self) -> str:
        """The numbers, for a sentence."""
        return f"rank correlation {self.correlation:.2f}, p {_probability(self.pvalue)}"


def trajectory_sentences(result: xarray.Dataset, measure: str | None = None) -> list[str]:
    """Return what `homolog.summary` says of a trajectory."""
    name = checked(result, measure)
    sentences = [_compared(result, name)]
    if "last" in result["against"].values:
        sentences += [_settled(result, name), *_order(result, name)]
    return [*sentences, *_same(result)]


def checked(result: xarray.Dataset, measure: str | None) -> str:
    """Return the measure to read, or raise unless a trajectory has all its dimensions."""
    check_kind(result, TRAJECTORY)
    name = chosen_measure(result, measure)
    if set(result[name].dims) != {"against", "step", "layer"}:
        held = ", ".join(map(str, result[name].dims)) or "none"
        raise ValueError(
            f"a trajectory must keep its dimensions against, step and layer, got {held}: select with lists, "
            f"result.sel(layer=[name])."
        )
    return name


def _compared(result: xarray.Dataset, name: str) -> str:
    steps, references = result["step"].values, [f"the {each}" for each in result["against"].values]
    many = len(references) > 1
    against = f"{', '.join(references[:-1])} and {references[-1]}" if many else references[0]
    told = "smaller" if result[name].attrs["kind"] == "distance" else "larger"
    return (
        f"{_count(len(steps), 'checkpoint')} of {shown(result.attrs['model'])}, from step {steps[0]:g} to {steps[-1]:g}, were "
        f"compared with {against} one, each of {_count(result.sizes['layer'], 'layer')} with itself, over "
        f"{told_examples(result)} by {name}, of which {told} values are more alike."
    )


def _settled(result: xarray.Dataset, name: str) -> str:
    """Say from which step on each layer is within 1 % of its end."""
    found, steps = settled_steps(result, name), result["step"].values
    layers = [shown(layer) for layer in result["layer"].values]
    at = {
        step: [layers[place] for place in np.flatnonzero(found == step)] for step in np.unique(found[~np.isnan(found)])
    }
    if not at:
        return "When layers settle is not known: no value against the last checkpoint is defined."
    if set(at) == {steps[-1]}:
        return (
            "No layer is within 1 % of its end before the last checkpoint: training may not have come to rest, or checkpoints "
            "lie too far apart."
        )
    if set(at) == {steps[0]}:
        return "All layers are within 1 % of their end from the first checkpoint on: nothing that this measure sees was learned."
    told = [f"from step {step:g} on{_last(step, steps)} {listed(names)}" for step, names in at.items()]
    if len(told) > MOST_GROUPS:
        told = [*told[:2], f"… ({len(told) - 4} more steps)", *told[-2:]]
    return f"Within 1 % of their end, and there to stay, are {'; '.join(told)}."


def _last(step: float, steps: np.ndarray) -> str:
    return " (the last, where all are)" if step == steps[-1] else ""


def _order(result: xarray.Dataset, name: str) -> Iterator[str]:
    """Say whether lower layers settle first, and whether that is because they start nearer."""
    settled = settled_steps(result, name)
    known = ~np.isnan(settled)
    if known.sum() < FEWEST:
        yield (
            f"Whether lower layers settle first cannot be told of {_count(int(known.sum()), 'layer')}: {FEWEST} or more are "
            f"needed for an order to be more than chance."
        )
        return
    if len(set(settled[known])) == 1:
        yield "Whether lower layers settle first cannot be told: all are first within 1 % of their end at the same checkpoint."
    else:
        yield _first(rank_order(settled))
    yield _way(result, name)


def _first(order: Order) -> str:
    if order.pvalue > ALPHA:
        return f"No order of the layers can be told from when they settle ({order.told})."
    which = "Lower" if order.correlation > 0 else "Higher"
    return f"{which} layers settle first ({order.told})."


def _way(result: xarray.Dataset, name: str) -> str:
    """Say whether lower layers are faster on their way, which starting nearer to the end is not."""
    first = towards_last(result, name)[0]
    start = f"they start at {np.nanmin(first):.2f} to {np.nanmax(first):.2f}"
    covered = share_covered(result, name)[1:-1]
    if not len(covered) or np.sum(~np.isnan(covered).all(axis=0)) < FEWEST:
        why = (
            "there is no checkpoint between the first and the last"
            if not len(covered)
            else "too few layers start away from it"
        )
        return f"{_NEARER}, and {start}: of the way itself nothing can be told, since {why}."
    order = rank_order(covered.mean(axis=0).round(6))  # equal shares may differ by rounding
    if np.isnan(order.pvalue) or order.pvalue > ALPHA:
        said = "no order can be told from the share of their own way that layers have covered"
    else:
        which = "lower" if order.correlation < 0 else "higher"
        said = f"of their own way, {which} layers have covered more at the same step"
    return f"{_NEARER}, and {start}: {said} ({order.told})."


def rank_order(values: np.ndarray) -> Order:
    """Return Spearman's rank correlation of depth with a number of each layer, of those that have one."""
    from scipy.stats import spearmanr

    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 3 or len(set(values[known])) == 1:
        return Order(np.nan, np.nan)
    found = spearmanr(known, values[known])
    return Order(float(found.statistic), float(found.pvalue))


def _same(result: xarray.Dataset) -> Iterator[str]:
    """Say which checkpoints are the same network."""
    for by, what in (
        ("weights", "have equal weights"),
        ("outputs", "give the same outputs to rounding, though weights differ"),
    ):
        groups: dict[str, list[str]] = {}
        for label, same, how in zip(
            *(result[each].values for each in ("checkpoint", "same_as", "same_by")), strict=True
        ):
            if same and how == by:
                groups.setdefault(str(same), [str(same)]).append(str(label))
        if groups:
            told = "; ".join(listed(map(shown, names)) for names in list(groups.values())[:MOST_GROUPS])
            more = f"; and {len(groups) - MOST_GROUPS} more groups" if len(groups) > MOST_GROUPS else ""
            yield f"The same network under different names: {told}{more}: they {what}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _probability(p: float) -> str:
    written = written_probability(p)
    return "not defined" if not written else written if written.startswith("<") else f"= {written}"


def trajectory_table(result: xarray.Dataset, measure: str | None = None) -> pandas.DataFrame:
    """Return one row per reference, checkpoint and layer."""
    import pandas

    name = checked(result, measure)
    values = result[name].transpose("against", "step", "layer").values
    references, steps, layers = (places.ravel() for places in np.indices(values.shape))
    found = {
        "against": result["against"].values[references],
        "step": result["step"].values[steps],
        "checkpoint": result["checkpoint"].values[steps],
        "layer": result["layer"].values[layers],
        "value": values.ravel(),
    }
    for kind in ("null", "reversed"):
        if f"{name}_{kind}" in result:
            found[kind] = result[f"{name}_{kind}"].transpose("against", "step", "layer").values.ravel()
    table = pandas.DataFrame(found)
    return table[~table["value"].isna()].reset_index(drop=True)


def settling_table(result: xarray.Dataset, measure: str | None = None) -> pandas.DataFrame:
    """Return one row per layer: where it starts, from when on it stays within 1 % of its end, how far it came half-way."""
    import pandas

    name = checked(result, measure)
    first, covered = towards_last(result, name)[0], share_covered(result, name)
    half = result.sizes["step"] // 2
    return pandas.DataFrame(
        {
            "layer": result["layer"].values.astype(str),
            "first value": first,
            "within 1 % of its end from step": settled_steps(result, name),
            f"share of its way covered at step {result['step'].values[half]:g}": covered[half],
        }
    )
