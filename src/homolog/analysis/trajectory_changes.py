"""Which layers moved most, and least, where a trajectory was not compared with its last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.settling_told import written_step
from homolog.names import shown
from homolog.trajectories.settling import in_order

if TYPE_CHECKING:
    import pandas
    import xarray

_TELLING = ("first", "previous")


def change_table(result: xarray.Dataset, name: str, against: str) -> pandas.DataFrame:
    """Return one row per layer: its value with the first checkpoint at the last step, or its lowest one with the previous.

    Of a distance the largest. A layer without values has NaN.
    """
    import pandas

    order = in_order(result)
    steps = np.asarray(result["step"].values, dtype=float)[order]
    values = np.asarray(result[name].sel(against=against).transpose("step", "layer").values, dtype=float)[order]
    far = values if result[name].attrs["kind"] == "distance" else -values
    if against == "first":
        places = np.full(values.shape[1], len(steps) - 1)
    else:
        places = np.argmax(np.where(np.isnan(far), -np.inf, far), axis=0)
    found = values[places, np.arange(values.shape[1])]
    return pandas.DataFrame(
        {
            "layer": result["layer"].values.astype(str),
            f"value with the {against}": found,
            "at step": np.where(np.isnan(found), np.nan, steps[places]),
        }
    )


def told_reference(result: xarray.Dataset) -> str | None:
    """Return which reference is told of where the last checkpoint is none; None where it is one."""
    held = [str(each) for each in result["against"].values]
    return None if "last" in held else next((each for each in _TELLING if each in held), None)


def changed_sentences(result: xarray.Dataset, name: str) -> Iterator[str]:
    """Say which layer moved most, and which least, with their values."""
    against = told_reference(result)
    if against is None:
        return
    table = change_table(result, name, against).dropna()
    if table.empty:
        yield f"No value with the {against} checkpoint is defined."
        return
    distance = result[name].attrs["kind"] == "distance"
    rows = [tuple(row) for row in table.sort_values(table.columns[1], ascending=not distance).itertuples(index=False)]
    layers = [f"layer {shown(layer)} ({value:.2f}{_when(step, against)})" for layer, value, step in rows]
    where = f"Between the first checkpoint and step {written_step(rows[0][2])}"
    if against == "previous":
        where = "From one checkpoint to the next"
    least = f", and {layers[-1]} least" if len(rows) > 1 else ""
    yield f"{where} {layers[0]} moved most{least}."


def _when(step: float, against: str) -> str:
    return f" at step {written_step(step)}" if against == "previous" else ""
