"""Models as points on a map, as the leaves of a tree, and as rows and columns of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.model_clusters import clustered
from homolog.analysis.model_embedding import POOR, dimensions, placed
from homolog.analysis.model_labels import labels_of
from homolog.analysis.model_pairs import ModelPairs, model_pairs
from homolog.diagnostics import give
from homolog.names import folded_prefix, labels, shortened
from homolog.plot.cells import draw_bar, draw_cells, line_colours, look, write_numbers
from homolog.plot.label_places import place_labels
from homolog.plot.labels import LONGEST_START, MOST_LABELS, drawn_in, inches_of_cells, label_axis, plain, room_of, short
from homolog.result_kinds import MADE_BY, MODEL_CLUSTERS, MODEL_MAP, kind_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

MARKERS = "osD^vPX<>"
"""Nine, so that no two of 90 groups share both marker and one of ten colours."""
LONGEST_NAME = 16
"""Longer names beside points are folded."""
INCHES_OF_TREE = 1.1


def embedding(
    found: Any,
    *,
    groups: Any = None,
    measure: str | None = None,
    calibrated: bool = False,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    annotate: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a map of models: those that are alike lie near each other.

    Parameters
    ----------
    found
        what `homolog.embed` returned, or similarities as it takes them, of which the classical map is drawn.
    groups
        mapping of models to labels, or one label for each model in order: each group has a colour and a marker.
    measure, calibrated
        which values of the Dataset of `homolog.model_similarity`, as for `homolog.embed`.
    title
        instead of the measure; the stress stays below it. An empty one leaves both out.
    cmap
        colour map of matplotlib, or its name, from which groups take their colours in order.
    annotate
        write the names beside the points; by default up to 40 models.
    ax
        where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The first component to the right and the second upwards, in equal scales. The title says how badly the map shows the
        distances (stress); above 0.2 it misleads.

    Raises
    ------
    KeyError, ValueError, TypeError
        As `homolog.embed`; for a model without a group, or an unknown colour map.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> similar = np.array([[1, 0.9, 0.2], [0.9, 1, 0.2], [0.2, 0.2, 1]])
    >>> hl.plot.embedding(similar, groups=["trained", "trained", "untrained"]).get_title()
    'classical map, stress 0.00'
    """
    found = _made_of(found, MODEL_MAP, lambda pairs: placed(pairs, 2, "classical", 0), measure, calibrated)
    names = [str(name) for name in found.model.values]
    points = np.asarray(found.position.values, dtype=float)
    across = points[:, :2] if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])
    kinds = _groups(groups, names)
    if ax is None:
        ax = drawn_in(None, 6.4, 5.2).subplots()
    for group, at, style in _styles(kinds, cmap):
        ax.plot(*across[at].T, linestyle="none", markersize=7, label=plain(group), **style)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.16)
    for axis, number in ((ax.xaxis, 0), (ax.yaxis, 1)):
        axis.set_label_text(_of_component(found, number))
    ax.tick_params(labelsize=8)
    ax.set_title(_title(found, title), fontsize=11)
    if kinds is not None:
        _draw_legend(ax)
    if annotate or (annotate is None and len(names) <= MOST_LABELS):
        start = folded_prefix(names) if max(map(len, names)) > LONGEST_NAME else ""
        if start:
            ax.set_xlabel(f"{ax.get_xlabel()}\n… stands for {plain(shortened(start, LONGEST_START))}")
        place_labels(ax, across, [plain(name) for name in labels(names, LONGEST_NAME)])
    return ax


def _made_of(found: Any, kind: str, make: Callable[[ModelPairs], Any], measure: str | None, calibrated: bool) -> Any:
    """Return a result of a kind as it is, and make one of similarities; raise where values are to be chosen of what is made."""
    if kind_of(found) != kind:
        return make(_told(found, measure, calibrated))
    if measure is not None or calibrated:
        raise ValueError(
            f"measure= and calibrated= choose from similarities, got what {MADE_BY[kind]} made of some already: pass them to "
            f"{MADE_BY[kind]}."
        )
    return found


def _told(similarities: Any, measure: str | None, calibrated: bool) -> ModelPairs:
    """Return similarities of models, with a word on what had to be done to them."""
    pairs = model_pairs(similarities, measure=measure, calibrated=calibrated)
    give(pairs.cautions)
    return pairs


def _title(found: Any, given: str | None) -> str:
    if given == "":
        return ""
    stress = float(found.attrs["stress"])
    kept = found.sizes["component"]
    what = {"nonmetric": "non-metric"}.get(found.attrs["method"], found.attrs["method"])
    told = f"{what} map{f' in {dimensions(kept)}' if kept != 2 else ''}, stress {stress:.2f}"
    told += " (misleads)" * (stress > POOR)
    measure = plain(found.attrs["measure"] if given is None else given)
    return f"{measure}\n{told}" if measure else told


def _of_component(found: Any, number: int) -> str:
    if number >= found.sizes["component"]:
        return ""
    share = f" ({float(found.share.values[number]):.0%} of the spread)" if "share" in found else ""
    return f"component {number + 1}{share}"


def _groups(groups: Any, names: Sequence[str]) -> list[str] | None:
    return None if groups is None else labels_of(groups, names, "groups")


def _styles(kinds: list[str] | None, cmap: str | Colormap | None) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return every group with its places and how it is drawn."""
    if kinds is None:
        return [("", slice(None), {"marker": "o", "color": line_colours(cmap, 1)[0] or "#3b6ea8"})]
    several = list(dict.fromkeys(kinds))
    colours = line_colours(cmap, len(several))
    places = np.array(kinds)
    return [
        (
            written,
            places == group,
            {"marker": MARKERS[k % len(MARKERS)], "color": f"C{k % 10}" if colours[k] is None else colours[k]},
        )
        for k, (group, written) in enumerate(zip(several, short(several), strict=True))
    ]


def _draw_legend(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, fontsize=8, frameon=False)


def dendrogram(
    found: Any,
    *,
    groups: Any = None,
    measure: str | None = None,
    calibrated: bool = False,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the tree of models that clustering makes: the further to the left two branches meet, the more alike they are.

    Parameters
    ----------
    found
        what `homolog.cluster` returned, or similarities as `homolog.embed` takes them, clustered by average linkage.
    groups, measure, calibrated, title, cmap
        as for `embedding`; every leaf has the colour and the marker of its group.
    ax
        where to draw; a new figure of fitting size by default.

    Returns
    -------
    matplotlib.axes.Axes
        Models from bottom to top, and the distance at which clusters merge to the right.

    Raises
    ------
    KeyError, ValueError, TypeError
        As `homolog.cluster`; for a model without a group, or an unknown colour map.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> similar = np.array([[1, 0.2, 0.9], [0.2, 1, 0.2], [0.9, 0.2, 1]])
    >>> axes = hl.plot.dendrogram(hl.cluster(similar, names=["seed 0", "untrained", "seed 1"]))
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['untrained', 'seed 1', 'seed 0']
    """
    found = _made_of(found, MODEL_CLUSTERS, clustered, measure, calibrated)
    names = [str(name) for name in found.model.values]
    order = [names.index(str(name)) for name in found.leaf_order.values]
    if ax is None:
        ax = drawn_in(None, 6.4, min(max(1.4 + 0.22 * len(names), 2.4), 12.0)).subplots()
    furthest = _draw_tree(ax, found, upwards=False)
    kinds = _groups(groups, names)
    for group, at, style in [] if kinds is None else _styles(kinds, cmap):
        places = [place for place, leaf in enumerate(order) if at[leaf]]
        ax.plot(
            np.zeros(len(places)), places, linestyle="none", markersize=6, clip_on=False, label=plain(group), **style
        )
    ax.set_xlim(-0.02 * furthest, 1.04 * furthest)
    ax.set_ylim(-0.6, len(names) - 0.4)
    written = short(names)
    label_axis(ax.yaxis, [written[leaf] for leaf in order])
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"distance ({found.attrs['method']} linkage)")
    ax.set_title(plain(found.attrs["measure"]) if title is None else plain(title), fontsize=11)
    if kinds is not None:
        _draw_legend(ax)
    return ax


def _draw_tree(ax: Any, found: Any, *, upwards: bool) -> float:
    """Draw a tree whose leaves stand at 0, 1, 2, …; return how far it reaches."""
    from scipy.cluster import hierarchy

    tree = hierarchy.dendrogram(found.linkage.values, no_plot=True)
    for leaves, heights in zip(tree["icoord"], tree["dcoord"], strict=True):
        along = (np.array(leaves) - 5) / 10  # SciPy's leaves stand at 5, 15, 25, …
        ax.plot(*((along, heights) if upwards else (heights, along)), color="0.35", linewidth=1.2)
    return float(found.linkage.values[:, 2].max()) or 1.0


def model_heatmap(
    similarities: Any,
    *,
    measure: str | None = None,
    calibrated: bool = False,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw similarities of models as a heatmap, in the order of the dendrogram above it.

    Parameters
    ----------
    similarities, measure, calibrated
        as for `homolog.embed`.
    title
        instead of the measure's name.
    cmap, vmin, vmax, annotate
        as for `heatmap`; colours go from 0, or a lower value, to 1 by default, for distances from 0 to the largest.
    figure
        where to draw, a figure or a part of one (`figure.subfigures`); a new figure of fitting size by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in. The models stand in the same order from left to right and from bottom to top, clustered by average
        linkage. Light is alike.

    Raises
    ------
    KeyError, ValueError, TypeError
        As `homolog.embed`; if there is no such colour map, or vmin is not below vmax.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> similar = np.array([[1, 0.2, 0.9], [0.2, 1, 0.2], [0.9, 0.2, 1]])
    >>> figure = hl.plot.model_heatmap(similar)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['1', '2', '0']
    """
    pairs = _told(similarities, measure, calibrated)
    found = clustered(pairs)
    order = [pairs.names.index(str(name)) for name in found.leaf_order.values]
    values, names = pairs.values[np.ix_(order, order)], short(pairs.names)
    distance = pairs.kind == "distance"
    limits = (0.0, float(values.max()) or 1.0) if distance else (min(0.0, float(values.min())), 1.0)
    chosen = look(limits, "magma_r" if distance else "magma", cmap, vmin, vmax, annotate)
    size, beside = inches_of_cells(len(names)), room_of(names)
    figure = drawn_in(figure, size + beside + 1.4, size + beside + 0.5 + INCHES_OF_TREE)
    ax = figure.subplots()
    image = draw_cells(ax, values, chosen)
    write_numbers(ax, image, values, annotate)
    for axis in (ax.xaxis, ax.yaxis):
        label_axis(axis, [names[place] for place in order], 72 * size)
    ax.tick_params(axis="x", labelrotation=90)
    tree = ax.inset_axes((0, 1.02, 1, INCHES_OF_TREE / size))
    furthest = _draw_tree(tree, found, upwards=True)
    tree.set(xlim=(-0.5, len(names) - 0.5), ylim=(0, 1.04 * furthest))
    tree.axis("off")
    draw_bar(ax, image, values, chosen).set_label(pairs.kind)
    figure.suptitle(plain(title) if title is not None else plain(pairs.label))
    return figure
