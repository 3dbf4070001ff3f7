"""The page of how consistent similarities of models are over data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homolog.analysis.consistency_lines import dataset_table, pairs_of_models
from homolog.plot import consistency
from homolog.reporting.sections import Section

if TYPE_CHECKING:
    import xarray

POINTS = (
    "Each point is a pair of models: its {kind} on one data set to the right, on the other upwards. Where points lie on a rising "
    "line, the same models are alike on both. On the dotted line the values are equal."
)
TEST = (
    "p is from random orders of the models, each pair of data sets by itself; the standard error leaves out one model at a time. "
    "A few models that are unlike all others on every data set are enough for a high correlation."
)


def sections_of(result: xarray.Dataset, groups: Any = None) -> tuple[str, list[Section]]:
    """Return the line below the heading and the sections of the page."""
    if groups is not None:
        raise ValueError(
            "the groups of a consistency are chosen when it is made, got them for its page: pass them to homolog.consistency."
        )
    table = dataset_table(result)
    count = result.sizes["dataset_a"]
    told = f"{int(result.attrs['n_models'])} models on {count} data sets compared with homolog."
    found = [] if count == 2 else [_matrix(result, count)]
    found += [_points(result, row) for row in (table.iloc[[-1]] if count > 2 else table).to_dict("records")]
    found.append(Section("Pairs of data sets", (TEST,), table=table))
    text = (
        f"The {result.attrs['kind']} on each data set. “Changes place by”: the most by which a pair stands elsewhere among all "
        "pairs on one data set than on another, in standard deviations.",
    )
    return told, [*found, Section("Pairs of models", text, table=pairs_of_models(result))]


def _matrix(result: xarray.Dataset, count: int) -> Section:
    figure: Any = consistency(result).figure
    text = "How far similarities of models on two data sets agree, for every two of them. Light is alike."
    return Section("Data sets by data sets", (text,), figure, f"Heatmap of correlations between {count} data sets")


def _points(result: xarray.Dataset, row: dict[str, Any]) -> Section:
    names = [row["data set"], row["other data set"]]
    least = "" if result.sizes["dataset_a"] == 2 else " (least alike)"
    figure: Any = consistency(result, datasets=names).figure
    heading = f"{names[0]} and {names[1]}{least}"
    return Section(heading, (POINTS.format(kind=result.attrs["kind"]),), figure, f"Pairs of models on {heading}")
