"""The page of a result of `redundancy`: a picture of all of it, and its tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from homolog.analysis.redundant.reading import FORMS, WITHOUT, WITHOUT_BOTH, WITHOUT_ROWS, checked
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
    sections = [
        Section("What each block changes", (str(result.attrs["caution"]),), redundancy(result), described),
        Section("Runs of blocks that change least", (RUNS,), table=_in_words(runs_table(result))),
        Section("Every block", (BLOCKS,), table=_in_words(blocks_table(result))),
        Section("Every layer", (LAYERS,), table=_in_words(layers_table(result))),
    ]
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


def _in_words(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return a table whose columns are called by words: "influence, without the removed features"."""
    return table.rename(columns={name: _words(str(name)) for name in table.columns})


def _words(name: str) -> str:
    """Write the name of a column.

    >>> _words("angular_distance_without_rows"), _words("top_share")
    ('angular distance, without the outlying rows', 'top share')
    """
    suffix = next((end for end in (WITHOUT_ROWS, WITHOUT_BOTH, WITHOUT) if name.endswith(end)), "")
    words = name.removesuffix(suffix).replace("_", " ")
    return f"{words}, {FORMS[suffix]}" if suffix else words


def _large(result: xarray.Dataset) -> Section | None:
    """Return which features are massive or were left out, and where they are largest."""
    import pandas

    told = json.loads(result.attrs["massive_features"])
    if not told:
        return None
    rows = [each | {"share": max(each["share"].values())} for each in told]
    text = f"Massive is: {result.attrs['criterion']}. The share is the largest of any layer; removed are those left out above."
    return Section("Large features", (text,), table=_in_words(pandas.DataFrame(rows)))
