"""What a trajectory says: when layers settle, in which order, and which checkpoints are the same network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from homolog.analysis.settling_told import ends, settled_sentences, together, written_step
from homolog.names import shown
from homolog.result_kinds import TRAJECTORY, check_kind
from homolog.results import chosen_measure, told_examples, written_probability
from homolog.trajectories.sameness import ROUNDED
from homolog.trajectories.settling import settled_steps, towards_last

if TYPE_CHECKING:
    import pandas
    import xarray

FEWEST = 5
"""Layers that are needed for an order of theirs to be more than chance at 0.05."""
ALPHA = 0.05
MOST_ORDERS = 9_999
"""Orders of the layers that are tried where all would be too many."""
MOST_GROUPS = 4
"""Groups of checkpoints that are one network, of which a sentence each is said."""


class Order(NamedTuple):
    """How the depth of layers goes with another number of theirs."""

    correlation: float
    pvalue: float


def trajectory_sentences(result: xarray.Dataset, measure: str | None = None) -> list[str]:
    """Return what `homolog.summary` says of a trajectory."""
    name = checked(result, measure)
    sentences = list(_compared(result, name))
    if "last" in result["against"].values:
        sentences += [*settled_sentences(result, name), *_order(result, name)]
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
    empty = next((dimension for dimension in ("against", "step", "layer") if not result.sizes[dimension]), None)
    if empty is not None:
        raise ValueError(f"a trajectory must keep at least one {empty}, got none: select fewer away.")
    return name


def _compared(result: xarray.Dataset, name: str) -> Iterator[str]:
    steps, references = result["step"].values, list(map(str, result["against"].values))
    against = f"{', '.join(references[:-1])} and {references[-1]}" if len(references) > 1 else references[0]
    when = " to ".join(f"step {written_step(step)}" for step in sorted({steps.min(), steps.max()}))
    layers = (
        f"each of {_count(result.sizes['layer'], 'layer')} with the same layer"
        if result.sizes["layer"] > 1
        else "one layer with itself"
    )
    were = "were" if len(steps) > 1 else "was"
    yield (
        f"{_count(len(steps), 'checkpoint')} of {shown(result.attrs['model'])} ({when}) {were} compared: {layers} in the "
        f"{against} checkpoint, over {told_examples(result)}."
    )
    told = "smaller" if result[name].attrs["kind"] == "distance" else "larger"
    yield f"The measure is {shown(name)}; the {told} its value, the more alike are the two."


def _order(result: xarray.Dataset, name: str) -> Iterator[str]:
    """Say whether lower layers settle first, and what that does not mean."""
    settled = settled_steps(result, name)
    known = ~np.isnan(settled)
    if not known.any():
        return
    if known.sum() < FEWEST:
        yield (
            f"Whether lower layers settle first cannot be told of {_count(int(known.sum()), 'layer')}: at least {FEWEST} are "
            f"needed."
        )
    elif len(set(settled[known])) == 1:
        yield "Whether lower layers settle first cannot be told: all settle at the same checkpoint."
    else:
        depth = np.asarray(result["depth"].values if "depth" in result.coords else np.arange(len(settled)))
        order = rank_order(settled[np.argsort(depth)])
        yield _first(order)
        yield f"To settle early is not to learn fast: such layers may have started nearer to their end{_start(result, name)}."
        if order.pvalue <= ALPHA:
            yield (
                "This p-value takes the layers for independent, which layers of one network are not: train with another seed, "
                "and see whether the order comes back."
            )


def _first(order: Order) -> str:
    told = f"rank correlation of depth and step {order.correlation:.2f}, p {_probability(order.pvalue)}"
    if order.pvalue > ALPHA:
        return f"It cannot be told whether lower or higher layers settle first ({told})."
    return f"{'Lower' if order.correlation > 0 else 'Higher'} layers settle first ({told})."


def _start(result: xarray.Dataset, name: str) -> str:
    """Say where layers start, unless this part of a result lacks the first checkpoint."""
    first, begins = towards_last(result, name)[0], ends(result)[0]
    if float(result["step"].values.min()) != begins or np.isnan(first).all():
        return ""
    return f" (values at step {written_step(begins)}: {np.nanmin(first):.2f} to {np.nanmax(first):.2f})"


def rank_order(values: np.ndarray) -> Order:
    """Return Spearman's rank correlation of depth with a number of each layer, and its p-value over orders of the layers.

    All orders are tried where these are up to 40,320, of 8 layers, else 9,999 random ones: few layers are too few for a formula.
    """
    from scipy.stats import rankdata

    known = values[~np.isnan(values)]
    if len(known) < 3 or len(set(known)) == 1:
        return Order(np.nan, np.nan)
    depth = np.arange(len(known)) - (len(known) - 1) / 2
    ranks = rankdata(known)
    ranks -= ranks.mean()
    found = depth @ ranks
    if len(known) <= 8:
        orders, own = np.array(list(itertools.permutations(ranks))), 0
    else:
        orders, own = np.random.default_rng(0).permuted(np.tile(ranks, (MOST_ORDERS, 1)), axis=1), 1
    reached = np.abs(orders @ depth) >= abs(found) - 1e-9
    pvalue = (reached.sum() + own) / (len(orders) + own)
    return Order(float(found / np.sqrt((depth @ depth) * (ranks @ ranks))), float(pvalue))


SAME = {
    "weights": "are the same network: their weights are equal",
    **{
        by: f"are one network in two precisions: their weights are equal to rounding to {narrow}"
        for narrow, by in ROUNDED.items()
    },
    "outputs": "may be the same network: all layers that were compared are equal to rounding",
}
"""By what checkpoints were found to be the same → what is said of them."""


def _same(result: xarray.Dataset) -> Iterator[str]:
    """Say which checkpoints are the same network."""
    labels, same, by = ([str(each) for each in result[of].values] for of in ("checkpoint", "same_as", "same_by"))
    for how, told in SAME.items():
        groups: dict[str, list[str]] = {}
        for label, other, found in zip(labels, same, by, strict=True):
            if other and found == how:
                groups.setdefault(other, [other]).append(label)
        for names in list(groups.values())[:MOST_GROUPS]:
            yield f"{_together(labels, names)} {told}."
        if len(groups) > MOST_GROUPS:
            yield f"{_count(len(groups) - MOST_GROUPS, 'more group')} of checkpoints {told}; the page of a report lists them."


def _together(labels: list[str], names: list[str]) -> str:
    """Name checkpoints, of which a part of a result may lack the first."""
    known = [*labels, *(name for name in names if name not in labels)]
    return together(known, sorted(map(known.index, names)), "Checkpoint")


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
    """Return one row per layer: where it starts, and from when on it stays within 1 % of its final value."""
    import pandas

    name = checked(result, measure)
    return pandas.DataFrame(
        {
            "layer": result["layer"].values.astype(str),
            "first value": towards_last(result, name)[0],
            "settled from step": settled_steps(result, name),
        }
    )
