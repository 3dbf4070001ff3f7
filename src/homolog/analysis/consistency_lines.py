"""How consistent similarities of models are over data sets, in a few sentences and as tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.inference.pvalues import false_discovery
from homolog.names import shown
from homolog.result_kinds import CONSISTENCY, check_kind
from homolog.results import chosen_measure, written_probability

if TYPE_CHECKING:
    import pandas
    import xarray

LEVEL = 0.05
"""A correlation whose p, adjusted for all pairs of data sets, is at most this is told as more than chance."""
FEWEST_FOR_ODD = 3
"""Data sets below which none agrees least with the others."""


def consistency_lines(result: xarray.Dataset, measure: str | None = None) -> list[str]:
    """Return what the consistency of data sets says, for `homolog.summary`."""
    check_whole(result)
    chosen_measure(result, measure)
    told = [_compared(result), *_agreement(result), _moved(result)]
    told += [f"Caution: {message}" for _, message in json.loads(result.attrs.get("warnings", "[]"))]
    told.append(
        "The error is for other models of the same kind, and says nothing of other data. A few models unlike all others make a "
        "correlation high: look at their map."
    )
    told.append("Next, to see where data sets agree: homolog.plot.consistency(result)")
    return told


def check_whole(result: xarray.Dataset) -> None:
    """Raise unless a result is one of `homolog.consistency`, over two data sets at least on both sides."""
    check_kind(result, CONSISTENCY)
    found = result.get("correlation")
    lost = found is None or set(found.dims) != {"dataset_a", "dataset_b"}
    if lost or list(result.dataset_a.values) != list(result.dataset_b.values) or result.sizes["dataset_a"] < 2:
        raise ValueError(
            "a result of homolog.consistency must have the same data sets on both sides, got a part of one: select the same "
            "data sets before homolog.consistency."
        )


def _compared(result: xarray.Dataset) -> str:
    about = result.attrs
    measure = f" by {about['measure']}" if about["measure"] else ""
    ways = {"pearson": "the correlation (Pearson)", "spearman": "the rank correlation (Spearman)"}
    return (
        f"{int(about['n_models'])} models, in {int(about['n_pairs'])} pairs, were compared{measure} on "
        f"{result.sizes['dataset_a']} data sets; {ways[about['method']]} of their values says how far data sets agree: 1 is "
        f"perfect, 0 is none."
    )


def _agreement(result: xarray.Dataset) -> list[str]:
    table = dataset_table(result)
    known = table[table["correlation"].notna()]
    if known.empty:
        return ["No two data sets have a correlation."]
    if len(table) == 1:
        row = known.iloc[0]
        both = f"{shown(row['data set'])} and {shown(row['other data set'])}"
        return [f"{both} agree by {_value(row)}, {_of_chance(result, row)}."]
    told = [f"Most alike are {_named(known.iloc[0])}, least alike {_named(known.iloc[-1])}."]
    adjusted = false_discovery(known["p"].to_numpy(float), np.full(len(known), True))
    tested = int(np.isfinite(adjusted).sum())
    hits = int(np.sum(adjusted <= LEVEL))
    are = "agrees" if hits == 1 else "agree"
    told.append(
        f"{hits} of {tested} pairs of data sets {are} more than random orders of the models do (false discovery rate {LEVEL})."
    )
    return told + _odd(result)


def _named(row: Any) -> str:
    return f"{shown(row['data set'])} and {shown(row['other data set'])} ({_value(row)})"


def _value(row: Any) -> str:
    return written(row["correlation"], row["standard error"])


def written(value: float, error: float) -> str:
    """Write a correlation and its error; one below 1 is not rounded up to 1.

    >>> written(0.517, 0.17), written(0.9983, 0.0012), written(1.0, 0.0), written(-0.2, float("nan"))
    ('0.52 ± 0.17', '0.9983 ± 0.0012', '1.00 ± 0.00', '−0.20')
    """
    digits = 4 if 0.995 <= value < 1 - 1e-9 else 2
    told = f"{value:.{digits}f}".replace("-", "−")
    return f"{told} ± {error:.{digits}f}" if np.isfinite(error) else told


def _of_chance(result: xarray.Dataset, row: Any) -> str:
    orders = int(result.attrs["n_orders"])
    how = f"all {orders}" if int(result.attrs["exact"]) else f"{orders - 1} random"
    if 1 / orders > LEVEL:
        return f"where {how} orders of the models are too few to say whether that is chance"
    than = "more than" if row["p"] <= LEVEL else "no more than"
    return f"{than} chance would give (p = {written_probability(row['p'])} by {how} orders of the models)"


def _odd(result: xarray.Dataset) -> list[str]:
    """Name the data set that agrees least with the others."""
    values = result.correlation.values.copy()
    np.fill_diagonal(values, np.nan)
    if len(values) < FEWEST_FOR_ODD or np.isnan(values).all(axis=1).any():
        return []
    means = np.nanmean(values, axis=1)
    least = int(np.argmin(means))
    return [
        f"{shown(str(result.dataset_a.values[least]))} agrees least with the others ({means[least]:.2f} on average)."
    ]


def _moved(result: xarray.Dataset) -> str:
    """Name the pair of models that stands most elsewhere among the others on one data set than on another."""
    moved = moves(result)
    if np.isnan(moved).all():
        return "No pair of models stands elsewhere on one data set than on another."
    pair = int(np.nanargmax(moved))
    one, other = (shown(str(result[name].values[pair])) for name in ("model", "other_model"))
    values = result.similarity.values[:, pair]
    told = ", ".join(
        f"{value:.2f} on {shown(str(name))}" for name, value in zip(result.dataset.values, values, strict=True)
    )
    if len(values) > FEWEST_FOR_ODD:
        low, high = (int(at(values)) for at in (np.argmin, np.argmax))
        told = f"from {values[low]:.2f} on {shown(str(result.dataset.values[low]))} to {values[high]:.2f} on "
        told += shown(str(result.dataset.values[high]))
    return f"The pair that changes place most among all pairs is {one} and {other}: {told}."


def moves(result: xarray.Dataset) -> np.ndarray:
    """Return by how many standard deviations each pair of models changes its place, at most, from a data set to another."""
    values = result.similarity.values
    spread = values.std(axis=1, keepdims=True)
    places = np.where(spread > 0, values - values.mean(axis=1, keepdims=True), np.nan) / np.where(spread > 0, spread, 1)
    varying = places[(spread > 0)[:, 0]]
    if len(varying) < 2:
        return np.full(values.shape[1], np.nan)
    moved: np.ndarray = np.ptp(varying, axis=0)
    return moved


def dataset_table(result: xarray.Dataset, measure: str | None = None) -> pandas.DataFrame:
    """Return every pair of data sets once, the most alike first."""
    import pandas

    check_whole(result)
    chosen_measure(result, measure)
    first, second = np.triu_indices(result.sizes["dataset_a"], 1)
    names = result.dataset_a.values.astype(str)
    columns = {"correlation": "correlation", "p": "correlation_p", "standard error": "correlation_se"}
    table: dict[str, Any] = {"data set": names[first], "other data set": names[second]}
    table |= {name: result[variable].values[first, second] for name, variable in columns.items()}
    return pandas.DataFrame(table).sort_values("correlation", ascending=False, kind="stable", ignore_index=True)


def pairs_of_models(result: xarray.Dataset) -> pandas.DataFrame:
    """Return every pair of models with its value on each data set, those that change place most first."""
    import pandas

    check_whole(result)
    table: dict[str, Any] = {"model": result.model.values, "other model": result.other_model.values}
    table |= {
        f"on {name}": values for name, values in zip(result.dataset.values, result.similarity.values, strict=True)
    }
    table["changes place by"] = moves(result)
    return pandas.DataFrame(table).sort_values("changes place by", ascending=False, kind="stable", ignore_index=True)
