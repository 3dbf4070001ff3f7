"""Similarities of models on one data set against those on another, and how far data sets agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.consistency_lines import check_whole, moves, written
from homolog.diagnostics import listed
from homolog.names import labels, quoted
from homolog.plot.cells import draw_bar, draw_cells, draw_marks, line_colours, look, write_numbers
from homolog.plot.label_places import place_labels
from homolog.plot.labels import drawn_in, inches_of_cells, label_axis, plain, room_of, short
from homolog.results import written_probability

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

LEVEL = 0.05
"""Pairs of data sets with a larger p are crossed out."""
NAMED = 3
"""Pairs of models that are named: those that change place most."""
LONGEST_NAME = 16


def consistency(
    found: xarray.Dataset,
    *,
    datasets: Sequence[str] | None = None,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how consistent similarities of models are over data sets.

    Parameters
    ----------
    found
        what `homolog.consistency` returned.
    datasets
        two of its data sets, of which every pair of models is drawn as a point. By default so where there are two; where there
        are more, their correlations are drawn as a heatmap.
    title
        instead of the measure and the correlation.
    cmap
        colour map of matplotlib, or its name, of the heatmap; of the points the first colour is taken.
    vmin, vmax
        values of the first and the last colour of the heatmap; by default 0, or a lower value, and 1.
    annotate
        name all pairs of models, or none; by default the three that change place most among the others. Of the heatmap as for
        `heatmap`.
    ax
        where to draw; a new figure of fitting size by default.

    Returns
    -------
    matplotlib.axes.Axes
        Points: the similarity of two models on the first data set to the right, on the second upwards; on the dotted line both
        are equal. Heatmap: light is alike; a cross marks data sets that agree no more than random orders of the models do
        (p > 0.05, each pair by itself).

    Raises
    ------
    ValueError
        For a result of another kind, data sets that it does not have, an unknown colour map, or vmin that is not below vmax.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> models = rng.normal(size=(8, 5))
    >>> on = {name: np.corrcoef(models + 0.1 * rng.normal(size=(8, 5))) for name in ("photographs", "drawings")}
    >>> axes = hl.plot.consistency(hl.consistency(on))
    >>> axes.get_xlabel(), axes.get_title()
    ('similarity on photographs', 'r = 0.98 ± 0.02, p = 0.001\\n28 pairs of 8 models')
    """
    check_whole(found)
    names = [str(name) for name in found.dataset_a.values]
    if datasets is None and len(names) > 2:
        return _matrix(found, names, title, cmap, (vmin, vmax), annotate, ax)
    if vmin is not None or vmax is not None:
        raise ValueError(
            "vmin= and vmax= are for the heatmap of several data sets, got them for points: leave them out."
        )
    return _points(found, _two(datasets or names, names), title, cmap, annotate, ax)


def _two(chosen: Any, names: Sequence[str]) -> list[str]:
    found = [chosen] if isinstance(chosen, str) else [str(name) for name in chosen]
    if len(found) != 2 or not set(found) <= set(names) or found[0] == found[1]:
        raise ValueError(
            f"datasets must be two of {listed(map(quoted, names))}, got {listed(map(quoted, found)) or 'none'}."
        )
    return found


def _points(
    found: Any, datasets: list[str], title: str | None, cmap: Any, annotate: bool | None, ax: Axes | None
) -> Axes:
    part = found.sel(dataset=datasets)
    points = part.similarity.values.T
    if ax is None:
        ax = drawn_in(None, 5.6, 5.2).subplots()
    colour = line_colours(cmap, 1)[0] or "#3b6ea8"
    ax.plot(*points.T, linestyle="none", marker="o", markersize=6, markeredgecolor="none", alpha=0.6, color=colour)
    ax.margins(0.08)
    limits = ax.get_xlim(), ax.get_ylim()
    ax.axline((0, 0), slope=1, color="0.5", linestyle=":", linewidth=1)
    ax.set(xlim=limits[0], ylim=limits[1])
    kind = found.attrs["kind"]
    ax.set_xlabel(f"{kind} on {plain(datasets[0])}")
    ax.set_ylabel(f"{kind} on {plain(datasets[1])}")
    ax.set_title(_title(found, datasets) if title is None else plain(title), fontsize=11)
    moved = np.nan_to_num(moves(part))
    named = np.argsort(-moved, kind="stable")[: len(moved) if annotate else NAMED]
    if annotate is not False:
        sides = [labels([str(name) for name in part[side].values], LONGEST_NAME) for side in ("model", "other_model")]
        place_labels(
            ax, points, [plain(f"{a} / {b}") * (k in named) for k, (a, b) in enumerate(zip(*sides, strict=True))]
        )
    return ax


def _title(found: Any, datasets: list[str]) -> str:
    one = found.sel(dataset_a=datasets[0], dataset_b=datasets[1])
    letter = {"pearson": "r", "spearman": "rank correlation"}[found.attrs["method"]]
    value, error, p = (float(one[name]) for name in ("correlation", "correlation_se", "correlation_p"))
    told = f"{letter} = {written(value, error)}" if np.isfinite(value) else "no correlation"
    probability = written_probability(p)
    told += f", p {probability}" if probability.startswith("<") else f", p = {probability}" * bool(probability)
    measure = plain(found.attrs["measure"])
    return (
        f"{measure + ': ' * bool(measure)}{told}\n{found.sizes['pair']} pairs of {int(found.attrs['n_models'])} models"
    )


def _matrix(
    found: Any,
    names: list[str],
    title: str | None,
    cmap: Any,
    ends: tuple[float | None, float | None],
    annotate: bool | None,
    ax: Axes | None,
) -> Axes:
    values = found.correlation.values
    low = float(np.nanmin(values, initial=0.0))
    chosen = look((low, 1.0), "magma", cmap, *ends, annotate)
    beside = short(names)
    if ax is None:
        size, room = inches_of_cells(len(names)), room_of(beside)
        ax = drawn_in(None, size + room + 1.6, size + room + 0.6).subplots()
    image = draw_cells(ax, values, chosen)
    numbers = write_numbers(ax, image, values, annotate)
    crossed = found.correlation_p.values > LEVEL
    draw_marks(ax, np.full(len(names), -1), crossed, aside=numbers)
    for axis in (ax.xaxis, ax.yaxis):
        label_axis(axis, beside)
    ax.tick_params(axis="x", labelrotation=90)
    measure = plain(found.attrs["measure"])
    default = f"{measure + ', ' * bool(measure)}{int(found.attrs['n_models'])} models on {len(names)} data sets"
    ax.set_title(default if title is None else plain(title), fontsize=11)
    letter = {"pearson": "correlation", "spearman": "rank correlation"}[found.attrs["method"]]
    bar = draw_bar(ax, image, values, chosen)
    bar.set_label(letter + "\n× no more than by chance (p > 0.05)" * bool(crossed.any()))
    return ax
