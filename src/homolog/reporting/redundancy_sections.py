"""The page of a result of `redundancy`: a picture of all of it, and its tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from homolog.analysis.redundant.reading import WITHOUT, WITHOUT_BOTH, WITHOUT_ROWS, checked, forms_of
from homolog.analysis.redundant.tabulating import blocks_table, layers_table, runs_table
from homolog.reporting.sections import Section

if TYPE_CHECKING:
    import pandas
    import xarray


def sections_of(result: xarray.Dataset, groups: Any = None) -> tuple[str, list[Section]]:
    """Return the line below the heading of the page, and its sections."""
    from homolog.plot.redundancy_pictures import redundancy

    if groups is not None:
        raise ValueError("groups are of many models, got a result of homolog.redundancy: leave them out.")
    result = checked(result)
    count, n = result.sizes["block"], int(result.attrs["n_examples"])
    compared = f"{count} block{'s' * (count > 1)} over {n} rows of {int(result.attrs['features'])} features"
    described = (
        "Four panels: influence of every block, angular distance over every run of blocks, similarity of all layers, and norm "
        "and effective rank of every layer; the tables below hold the numbers."
    )
    sections = [Section("What each block changes", (str(result.attrs["caution"]),), redundancy(result), described)]
    for heading, text, table in (
        ("Runs of blocks that change least", RUNS, runs_table(result)),
        ("Every block", BLOCKS, blocks_table(result)),
        ("Every layer", LAYERS, layers_table(result)),
    ):
        sections += _by_form(heading, text, table, forms_of(result))
    large = _large(result)
    return compared, [*sections, large] if large is not None else sections


RUNS = (
    "For each number of blocks the run whose input and output are least apart, by mean angle; ties counts equal runs."
)
BLOCKS = "Influence is 1 − mean cosine of input and output of each row (Men et al. 2024); norm growth is of mean norms."
LAYERS = (
    "Effective rank after Roy and Vetterli (2007); mean share is the share of the squared norm that the mean row holds, "
    "top share that of the largest feature."
)


def _by_form(heading: str, text: str, table: pandas.DataFrame, forms: dict[str, str]) -> list[Section]:
    """Return one section for every form, of few enough columns that a page shows all: the first column is of each."""
    endings = {name: _ending(str(name)) for name in table.columns}
    found = []
    for suffix, meaning in forms.items():
        names = [name for place, name in enumerate(table.columns) if place == 0 or endings[name] == suffix]
        if len(names) > 1:
            part = table[names].rename(columns={name: _words(str(name)) for name in names})
            found.append(Section(f"{heading}, {meaning}" if suffix else heading, (text,) * (not suffix), table=part))
    return found


def _ending(name: str) -> str:
    return next((end for end in (WITHOUT_ROWS, WITHOUT_BOTH, WITHOUT) if name.endswith(end)), "")


def _words(name: str) -> str:
    """Write the name of a column.

    >>> _words("angular_distance_without_rows"), _words("top_share")
    ('angular distance', 'top share')
    """
    return name.removesuffix(_ending(name)).replace("_", " ")


def _large(result: xarray.Dataset) -> Section | None:
    """Return which features are massive or were left out, and where they are largest."""
    import pandas

    told = json.loads(result.attrs["massive_features"])
    if not told:
        return None
    rows = [each | {"share": max(each["share"].values())} for each in told]
    text = f"Massive is: {result.attrs['criterion']}. The share is the largest of any layer; removed are those left out above."
    table = pandas.DataFrame(rows).drop(columns="long_rows_apart", errors="ignore")
    return Section(
        "Large features", (text,), table=table.rename(columns={name: _words(str(name)) for name in table.columns})
    )
