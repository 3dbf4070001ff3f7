"""The page of similarities of models: heatmap, map, tree, groups and pairs."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from homolog.analysis.model_clusters import clustered
from homolog.analysis.model_embedding import POOR, placed
from homolog.analysis.model_groups import GroupTest, permanova
from homolog.analysis.model_pairs import ModelPairs, model_pairs
from homolog.analysis.model_similarities import model_similarity
from homolog.analysis.model_similarity_lines import pair_table
from homolog.diagnostics import HomologWarning
from homolog.plot import dendrogram, embedding, model_heatmap
from homolog.plot import permanova as draw_groups
from homolog.reporting.sections import Section
from homolog.results import chosen_measure, models_in, told_examples, written_probability

if TYPE_CHECKING:
    import pandas
    import xarray

NEGATIVE = 0.05
"""Share of the spread that no map shows, from which on it is told."""

FEWEST = 3
"""Models below which there is nothing to arrange."""
WHOLE = (
    "One number for each pair of models: the mean over the layers of one of their best value in the other, both ways "
    "(homolog.model_similarity). The table “Every pair of models” above holds other numbers: means over layers of the same "
    "name, where models share names."
)


def sections_of(result: xarray.Dataset, groups: Any = None) -> tuple[str, list[Section]]:
    """Return the line below the heading and the sections of the page; `groups` are tested where they are given.

    Where the values of the first measure cannot become distances, as those of hsic, there is the table of pairs alone.
    """
    name = chosen_measure(result, None)
    examples = f" over {told_examples(result)}" if "n_examples" in result.attrs else ""
    told = f"{result.sizes['model_a']} models compared{examples} with homolog, one number for each pair."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HomologWarning)  # what they say stands in the text of the sections
        try:
            pairs = model_pairs(result, measure=name)
        except ValueError as error:
            return told, [_of_pairs(result, (f"There is no map: {error}",))]
        sections = [_heatmap(result, pairs), _map(pairs, groups), _tree(pairs, groups)]
        sections += [] if groups is None else [_groups(result, groups)]
    return told, [*sections, _of_pairs(result)]


def sections_of_many(result: xarray.Dataset, groups: Any = None) -> list[Section]:
    """Return the sections of the page of a comparison that are about its models as wholes: none of fewer than three."""
    if "a" not in result.dims or len(models_in(result)) < FEWEST:
        if groups is not None:
            raise ValueError(f"groups are of {FEWEST} models or more, got them for fewer: leave them out.")
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HomologWarning)  # the comparison itself was told of
        similar = model_similarity(result, chosen_measure(result, None))
    if find_spec("matplotlib") is None:
        return [
            _of_pairs(similar, ('Maps and trees of models are drawn with matplotlib: pip install "homolog[report]".',))
        ]
    _, sections = sections_of(similar, groups)
    return [replace(sections[0], text=(WHOLE, *sections[0].text)), *sections[1:]]


def _heatmap(result: xarray.Dataset, pairs: ModelPairs) -> Section:
    text = (
        f"{pairs.label}, {pairs.kind}; models that are alike stand side by side. Light is alike.",
        *(caution.message for caution in pairs.cautions),
    )
    return Section("Models by models", text, model_heatmap(result), f"Heatmap of {len(pairs.names)} models")


def _map(pairs: ModelPairs, groups: Any) -> Section:
    found = placed(pairs, 2, "classical", 0)
    stress, shown = float(found.attrs["stress"]), float(found.share.sum())
    text = [
        f"Models that are alike lie near each other (classical multidimensional scaling of {found.attrs['distance']}). The map "
        f"shows {shown:.0%} of the spread of the models; its stress is {stress:.2f}, where 0 is perfect and 0.2 poor."
    ]
    if stress > POOR:
        text.append(
            "The map misleads: two dimensions cannot show these distances. Read the heatmap or the tree instead."
        )
    negative = float(found.attrs["negative_share"])
    if negative > NEGATIVE:
        text.append(f"{negative:.0%} of the spread fits no points in any number of dimensions, and no map can show it.")
    figure: Any = embedding(found, groups=groups).figure
    return Section("Map", tuple(text), figure, f"Map of {len(pairs.names)} models as points")


def _tree(pairs: ModelPairs, groups: Any) -> Section:
    found = clustered(pairs)
    fit = float(found.attrs["cophenetic_correlation"])
    text = "Branches that meet further to the left are more alike (average linkage)."
    if fit == fit:
        text += f" Heights in the tree and distances correlate by {fit:.2f}."
    text += " Clustering finds clusters in noise too."
    figure: Any = dendrogram(found, groups=groups).figure
    return Section("Tree", (text,), figure, f"Dendrogram of {len(pairs.names)} models")


def _groups(result: xarray.Dataset, groups: Any) -> Section:
    try:
        found = permanova(result, groups)
    except ValueError as error:
        return Section("Groups", (f"The groups were not tested: {error}",))
    text = (
        *found.sentences(),
        "In the picture a point is a pair of models; grey is pseudo-F for labels in another order.",
    )
    described = "Pairs of models within and between groups, and pseudo-F of all arrangements of the labels"
    return Section("Groups", text, draw_groups(found), described, group_table(found))


def group_table(found: GroupTest) -> pandas.DataFrame:
    """Return what a test of groups found, one row for each figure."""
    import pandas

    nothing = float("nan")
    rows = [
        ("pseudo-F (PERMANOVA)", found.statistic, found.pvalue),
        ("share of the spread between groups, R²", found.r2, found.pvalue),
        (f"mean {found.kind} within groups", found.within, nothing),
        (f"mean {found.kind} between groups", found.between, nothing),
        ("how much more alike within", found.difference, found.difference_pvalue),
        ("F of the widths of the groups", found.dispersion_statistic, found.dispersion_pvalue),
        ("smallest p there can be", found.smallest_pvalue, nothing),
    ]
    # A p that there is not is an empty cell, and no value that is missing.
    return pandas.DataFrame(
        [(what, value, written_probability(p)) for what, value, p in rows], columns=["what", "value", "p"]
    )


def _of_pairs(result: xarray.Dataset, text: tuple[str, ...] = ()) -> Section:
    return Section("Pairs of models", text, table=pair_table(result))
