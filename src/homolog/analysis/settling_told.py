"""When the layers of a trajectory settle, in words: by step where these are few, else layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from homolog.names import shown
from homolog.trajectories.settling import has_end, in_order, settled_steps, towards_last

if TYPE_CHECKING:
    import xarray

MOST_STEPS = 5
"""Steps by which a sentence groups the layers."""
MOST_PARTS = 24
"""Layers, or runs of layers one after the other, that a sentence names."""
RUN = 4
"""Layers one after the other that are named by the first and the last of them."""
Near = Callable[[int], str]
Names = Sequence[object] | np.ndarray


def settled_sentences(result: xarray.Dataset, name: str) -> Iterator[str]:
    """Yield from which step on layers stay within 1 % of their final value, and of which it is not known."""
    found = settled_steps(result, name)
    known = np.flatnonzero(~np.isnan(found))
    if not len(known):
        why = "no value against the last checkpoint is defined"
        if not has_end(result):
            why = "this part of the result lacks the last checkpoint, which this measure needs"
        yield f"It is not known when layers settle: {why}."
        return
    near = partial(_near, str(result[name].attrs["kind"]))
    yield (
        _all_at_once(result, near, found[known]) or _by_step(result, near, found) or _one_by_one(result, near, found)
    )
    if len(known) < len(found):
        rest = together(result["layer"].values, np.flatnonzero(np.isnan(found)), "layer")
        yield f"When {rest} settled is not known: values are missing."
    missing = np.isnan(towards_last(result, name)[:, known]).any(axis=1)
    holes = in_order(result)[missing]
    if len(holes):
        yield f"Missing values of {together(result['checkpoint'].values, holes, 'checkpoint')} were passed over."


def ends(result: xarray.Dataset) -> tuple[float, float]:
    """Return the first and the last step of training, also of a part of a trajectory."""
    steps = result["step"].values
    return float(result.attrs.get("first_step", steps.min())), float(result.attrs.get("last_step", steps.max()))


def written_step(step: float) -> str:
    """Write a step of training with all its digits.

    >>> written_step(1234567.0), written_step(0.5)
    ('1234567', '0.5')
    """
    return f"{int(step)}" if float(step).is_integer() else f"{step:g}"


def _near(kind: str, count: int) -> str:
    """Say what it is to have settled, of one layer or of several."""
    whose = "its" if count == 1 else "their"
    if kind == "distance":
        return f"nearer to {whose} final form than 1 % of the largest distance"
    return f"within 1 % of {whose} final value"


def together(names: Names, places: Sequence[int] | np.ndarray, what: str) -> str:
    """Name what stands at some places, and of many that follow each other the first and the last.

    >>> together("abcdefgh", [0, 1, 6], "layer"), together("abcdefgh", [1, 2, 3, 4, 7], "layer")
    ('layers a, b and g', 'layers b to e and h')
    """
    parts = _parts(names, places)
    joined = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    if len(parts) > MOST_PARTS:
        joined = f"{shown(names[places[0]])} to {shown(names[places[-1]])}, {len(places)} of {len(names)},"
    return f"{what}{'' if len(places) == 1 else 's'} {joined}"


def _parts(names: Names, places: Sequence[int] | np.ndarray) -> list[str]:
    places = np.asarray(places)
    found: list[str] = []
    for run in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
        shorter = [f"{shown(names[run[0]])} to {shown(names[run[-1]])}"]
        found += shorter if len(run) >= RUN else [shown(names[place]) for place in run]
    return found


def _all_at_once(result: xarray.Dataset, near: Near, found: np.ndarray) -> str | None:
    """Say it where all layers settle at the first, or only at the last checkpoint."""
    first, last = ends(result)
    if (found == last).all():
        return (
            f"No layer is {near(1)} before the last checkpoint, step {written_step(last)}: training may not have come to rest, "
            f"or the checkpoints lie too far apart."
        )
    if (found == first).all():
        return (
            f"All layers are {near(2)} from the first checkpoint on: by this measure training changed almost nothing."
        )
    return None


def _by_step(result: xarray.Dataset, near: Near, found: np.ndarray) -> str | None:
    """Name the layers that settle at each step; None where there are too many steps."""
    steps = np.unique(found[~np.isnan(found)])
    if len(steps) > MOST_STEPS:
        return None
    told: list[str] = []
    for step in steps:
        places = np.flatnonzero(found == step)
        layers = together(result["layer"].values, places, "layer")
        if not told:
            layers = f"{layers[0].upper()}{layers[1:]} {'is' if len(places) == 1 else 'are'} {near(len(places))}"
        only_there = step == ends(result)[1]
        told.append(
            f"{layers} only at the last checkpoint, step {written_step(step)}"
            if only_there
            else f"{layers} from step {written_step(step)} on"
        )
    return f"{'; '.join(told)}."


def _one_by_one(result: xarray.Dataset, near: Near, found: np.ndarray) -> str:
    """Say of every layer from which step on; of very many by which step a quarter, a half and three quarters are there."""
    names, known = result["layer"].values, np.flatnonzero(~np.isnan(found))
    runs = np.split(known, np.flatnonzero((np.diff(found[known]) != 0) | (np.diff(known) != 1)) + 1)
    if len(runs) <= MOST_PARTS:
        told = ", ".join(f"{_in_a_row(names, run)} from step {written_step(found[run[0]])}" for run in runs)
        return f"Layers are {near(2)} from different steps on: {told}."
    steps = np.sort(found[known])
    quarters = dict.fromkeys(float(steps[(len(known) * part + 3) // 4 - 1]) for part in (1, 2, 3, 4))
    counts = [f"{(steps <= step).sum()}{{}} from step {written_step(step)} on" for step in quarters]
    shares = ", ".join(counts).format(f" are {near(2)}", *[""] * len(counts))
    first, last = (together(names, np.flatnonzero(found == step), "layer") for step in (steps[0], steps[-1]))
    return (
        f"Of the {len(names)} layers, {shares}. First of all {first}, from step {written_step(steps[0])} on; last of all {last}. "
        f"The page of a report lists every layer."
    )


def _in_a_row(names: Names, places: np.ndarray) -> str:
    first, last = shown(names[places[0]]), shown(names[places[-1]])
    return first if len(places) == 1 else f"{first} {'and' if len(places) == 2 else 'to'} {last}"
