"""What a trajectory says: when layers settle, in which order, and which checkpoints are the same network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from homolog.diagnostics import listed
from homolog.names import shown
from homolog.result_kinds import TRAJECTORY
from homolog.results import chosen_measure, told_examples, written_probability
from homolog.trajectories.settling import has_end, in_order, settled_steps, towards_last
from homolog.whole_results import whole

if TYPE_CHECKING:
    import pandas
    import xarray

FEWEST = 5
"""Layers that are needed for an order of theirs to be more than chance at 0.05."""
ALPHA = 0.05
_NEARER = (
    "To start nearer to the end is not to learn faster, and which layers are faster on their way cannot be told from such "
    "values; the layers of one run are no independent cases, so that the order needs another seed"
)
MOST_ORDERS = 9_999
"""Orders of the layers that are tried where all would be too many."""
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
    result = whole(result, TRAJECTORY)
    name = chosen_measure(result, measure)
    sentences = [_compared(result, name)]
    if "last" in result["against"].values:
        sentences += [_settled(result, name), *_order(result, name)]
    return [*sentences, *_same(result)]


def _compared(result: xarray.Dataset, name: str) -> str:
    steps, references = result["step"].values, [f"the {each}" for each in result["against"].values]
    many, one = len(references) > 1, len(steps) == 1
    against = f"{', '.join(references[:-1])} and {references[-1]}" if many else references[0]
    told = "smaller" if result[name].attrs["kind"] == "distance" else "larger"
    when = f"of step {steps[0]:g}, was" if one else f"from step {steps.min():g} to {steps.max():g}, were"
    return (
        f"{_count(len(steps), 'checkpoint')} of {shown(result.attrs['model'])}, {when} "
        f"compared with {against} one, each of {_count(result.sizes['layer'], 'layer')} with itself, over "
        f"{told_examples(result)} by {name}, of which {told} values are more alike."
    )


def _settled(result: xarray.Dataset, name: str) -> str:
    """Say from which step on each layer is within 1 % of its end."""
    found, steps = settled_steps(result, name), result["step"].values
    first, last = (
        float(result.attrs.get(f"{end}_step", own)) for end, own in (("first", steps.min()), ("last", steps.max()))
    )
    layers = [shown(layer) for layer in result["layer"].values]
    at = {
        step: [layers[place] for place in np.flatnonzero(found == step)] for step in np.unique(found[~np.isnan(found)])
    }
    if not at:
        if not has_end(result):
            return "When layers settle is not known by this measure: the last checkpoint was left out of this part of the result."
        return "When layers settle is not known: no value against the last checkpoint is defined."
    if set(at) == {last}:
        return (
            "No layer is within 1 % of its end before the last checkpoint: training may not have come to rest, or checkpoints "
            "lie too far apart."
        )
    if set(at) == {first}:
        return "All layers are within 1 % of their end from the first checkpoint on: nothing that this measure sees was learned."
    told = [
        f"from step {step:g} on{' (the last, where all are)' if step == last else ''} {listed(names)}"
        for step, names in at.items()
    ]
    if len(told) > MOST_GROUPS:
        more = len(told) - MOST_GROUPS
        told = [*told[:2], f"… ({_count(more, 'more step')})", *told[-2:]]
    return f"Within 1 % of their end, and there to stay, are {'; '.join(told)}{_holes(result, name)}."


def _holes(result: xarray.Dataset, name: str) -> str:
    """Say which checkpoints were passed over, since values of theirs are missing."""
    missing = np.isnan(towards_last(result, name)).any(axis=1)
    labels = result["checkpoint"].values[in_order(result)][missing]
    return f"; missing values of {listed(map(shown, labels))} were passed over" if len(labels) else ""


def _order(result: xarray.Dataset, name: str) -> Iterator[str]:
    """Say whether lower layers settle first, and what that does not mean."""
    settled = settled_steps(result, name)
    known = ~np.isnan(settled)
    if known.sum() < FEWEST:
        yield (
            f"Whether lower layers settle first cannot be told of {_count(int(known.sum()), 'layer')}: {FEWEST} or more are "
            f"needed for an order to be more than chance."
        )
    elif len(set(settled[known])) == 1:
        yield "Whether lower layers settle first cannot be told: all are first within 1 % of their end at the same checkpoint."
    else:
        depth = np.asarray(result["depth"].values if "depth" in result.coords else np.arange(len(settled)))
        yield _first(rank_order(settled[np.argsort(depth)]))
        yield _nearer(result, name)


def _first(order: Order) -> str:
    if order.pvalue > ALPHA:
        return f"No order of the layers can be told from when they settle ({order.told})."
    which = "Lower" if order.correlation > 0 else "Higher"
    return f"{which} layers settle first ({order.told}, as if layers were independent)."


def _nearer(result: xarray.Dataset, name: str) -> str:
    """Say that layers which start nearer are there earlier, and nothing of how fast they are."""
    first = towards_last(result, name)[0]
    begins = float(result["step"].values.min()) == float(result.attrs.get("first_step", result["step"].values.min()))
    if not begins or np.isnan(first).all():
        return f"{_NEARER}."
    return f"{_NEARER} (they start at {np.nanmin(first):.2f} to {np.nanmax(first):.2f})."


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


def _same(result: xarray.Dataset) -> Iterator[str]:
    """Say which checkpoints are the same network."""
    for by, what in (
        ("weights", "have equal weights"),
        ("outputs", "give the same outputs to rounding in all layers that were compared"),
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
            said = (
                "The same network under different names"
                if by == "weights"
                else "Perhaps the same network under different names"
            )
            yield f"{said}: {told}{more}: they {what}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _probability(p: float) -> str:
    written = written_probability(p)
    return "not defined" if not written else written if written.startswith("<") else f"= {written}"


def trajectory_table(result: xarray.Dataset, measure: str | None = None) -> pandas.DataFrame:
    """Return one row per reference, checkpoint and layer."""
    import pandas

    result = whole(result, TRAJECTORY)
    name = chosen_measure(result, measure)
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
    """Return one row per layer: where it starts, and from when on it stays within 1 % of its end."""
    import pandas

    result = whole(result, TRAJECTORY)
    name = chosen_measure(result, measure)
    return pandas.DataFrame(
        {
            "layer": result["layer"].values.astype(str),
            "first value": towards_last(result, name)[0],
            "within 1 % of its end from step": settled_steps(result, name),
        }
    )
