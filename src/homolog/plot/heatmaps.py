"""Layer × layer heatmaps, one or a grid of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.machine import optional
from homolog.results import by_chance, chosen_measure, colour_limits, marks, measure_names, two_models

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
MOST_LABELS = 40
"""Axes with more layers than this, or than there is room for, label every k-th."""
INCHES_PER_LABEL = 0.13
LONGEST_LABEL = 34
"""Longer names lose their beginning."""


def heatmap(
    result: xarray.Dataset,
    measure: str | None = None,
    *,
    ax: Axes | None = None,
    best: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw one measure of a result as a layer × layer heatmap, with the best match of every row marked.

    Parameters
    ----------
    result
        what `homolog.compare` returned.
    measure
        which of its measures; the first by default.
    ax
        where to draw; a new figure of fitting size by default.
    best
        mark the most alike layer of b for every layer of a with a dot; of a model itself, or of many, the most alike one
        elsewhere.
    title
        instead of the measure's name and the number of examples.

    Returns
    -------
    matplotlib.axes.Axes
        Layers of a in rows, the first at the bottom as in the paper; layers of b in columns. Light is alike: for a
        distance the colours are turned around. Where the result has p-values, a cross marks the pairs that are no more alike
        than by chance (Benjamini-Hochberg, 0.05).

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, or is not one.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> layers = {f"layer {i}": np.random.default_rng(i).normal(size=(50, 4)) for i in range(3)}
    >>> axes = hl.plot.heatmap(hl.compare(layers, measures="cka"))
    >>> axes.get_title()
    'cka, n = 50'
    """
    measure_names(result)
    many = "a" in result.dims
    if not many:
        two_models(result)
    name = chosen_measure(result, measure)
    variable = result[name]
    names = [_names(result, side, many) for side in "ab"]
    if ax is None:
        ax = _new_axes(names[0], names[1])
    low, high = colour_limits(variable)
    colours = "magma_r" if variable.attrs["kind"] == "distance" else "magma"
    image = ax.imshow(
        np.where(np.isposinf(variable.values), high, variable.values),
        origin="lower",
        cmap=colours,
        vmin=low,
        vmax=high,
        aspect="equal",
        interpolation="none",
    )
    ax.set_facecolor("0.85")
    box = ax.get_window_extent()
    # Cells are square, so that one side of the axes may stay empty.
    cell = min(box.height / len(names[0]), box.width / len(names[1]))
    for axis, side in ((ax.yaxis, names[0]), (ax.xaxis, names[1])):
        label_axis(axis, side, cell * len(side))
    ax.tick_params(axis="x", labelrotation=90)
    if not many:
        ax.set_ylabel(plain(result.attrs.get("model_a", "a")))
        ax.set_xlabel(plain(result.attrs.get("model_b", "b")))
    ax.set_title(title if title is not None else f"{plain(name)}, n = {int(result.attrs['n_examples'])}")
    chance = by_chance(result, name)
    if chance.any():
        rows, columns = np.nonzero(chance)
        ax.scatter(columns, rows, s=_size(ax, chance), marker="x", color="0.55", linewidths=0.8, zorder=2)
    if best:
        found = marks(result, name)
        rows = np.arange(len(found))
        # A best match that is no more alike than by chance is none.
        _mark_best(ax, np.where((found >= 0) & chance[rows, found], -1, found))
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.04)
    sentences = ["○ best match of a row"] * best + ["× no more alike than by chance"] * bool(chance.any())
    bar.set_label(variable.attrs["kind"] + "".join(f"\n{part}" for part in sentences))
    return ax


def heatmaps(
    results: xarray.Dataset | Mapping[str, xarray.Dataset],
    measures: Sequence[str] | None = None,
    *,
    columns: int = 3,
    best: bool = True,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw a grid of heatmaps: several measures of a result, or one or more measures of several results.

    Parameters
    ----------
    results
        what `homolog.compare` returned, or a mapping of titles to such results.
    measures
        which of their measures; of one result all by default, of several the first.
    columns
        heatmaps side by side.
    best
        mark the best match of every row.
    title
        above the grid.
    figure
        where to draw, a figure or a part of one (`figure.subfigures`); a new figure of fitting size by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in.

    Raises
    ------
    KeyError, ValueError
        If a result lacks a measure, or is not one.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> layers = {f"layer {i}": np.random.default_rng(i).normal(size=(50, 4)) for i in range(3)}
    >>> len(hl.plot.heatmaps(hl.compare(layers, measures=("cka", "cca"))).axes)  # two heatmaps and their colour bars
    4
    """
    # A Dataset is a Mapping too.
    many = isinstance(results, Mapping) and type(results).__name__ != "Dataset"
    given: Any = results
    named: dict[str, Any] = dict(given) if many else {"": given}
    panels = []
    for name, result in named.items():
        names = list(measures) if measures is not None else measure_names(result)[: 1 if many else None]
        panels += [
            (" ".join([name] * bool(name) + [measure] * (len(names) > 1 or not name)), result, measure)
            for measure in names
        ]
    if not panels:
        raise ValueError("a grid of heatmaps needs at least one result, got none.")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = drawn_in(figure, 4.2 * columns, 3.9 * rows)
    there = len(figure.axes)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, (name, result, measure) in zip(axes.flat, panels, strict=False):
        heatmap(result, measure, ax=ax, best=best, title=plain(name))
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for bar in (ax for ax in figure.axes[there:] if ax.get_label() == "<colorbar>"):
        bar.set_ylabel("")  # small panels have no room for it
    crossed = any(by_chance(result, chosen_measure(result, measure)).any() for _, result, measure in panels)
    sentences = ["○ best match of a row"] * best + ["× no more alike than by chance"] * crossed
    if sentences:
        figure.supxlabel(", ".join(sentences), fontsize=9)
    if title is not None:
        figure.suptitle(plain(title))
    return figure


def _names(result: xarray.Dataset, side: str, many: bool) -> list[str]:
    """Return what to write beside the layers, with the model where there are many."""
    layers = [str(name) for name in result[f"layer_{side}"].values]
    return (
        [f"{model} {name}" for model, name in zip(result[f"model_{side}"].values, layers, strict=True)]
        if many
        else layers
    )


def drawn_in(figure: Any, width: float, height: float) -> Figure:
    """Return a figure or the part of one that was given, or a new one of some inches."""
    pyplot = optional("matplotlib.pyplot", "plot", "drawing")
    found: Figure = figure or pyplot.figure(figsize=(width, height), layout="compressed")
    return found


def _new_axes(rows: list[str], columns: list[str]) -> Axes:
    """Make a figure that leaves the heatmap its size beside labels of any length."""
    width, height = (min(max(1.6 + 0.22 * len(names), 3.4), 11.0) for names in (columns, rows))
    beside, below = (0.08 * min(max(map(len, names)), LONGEST_LABEL) for names in (rows, columns))
    return drawn_in(None, width + beside + 1.6, height + below + 0.6).subplots()


def plain(text: Any) -> str:
    """Return text that matplotlib will neither read as mathematics nor lack a glyph for."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)).replace("$", r"\$")


def label_axis(axis: Any, names: list[str], length: float | None = None) -> None:
    """Write names beside an axis of some length in pixels, every k-th where there are many."""
    box = axis.axes.get_window_extent()
    length = length or (box.height if axis.axis_name == "y" else box.width)
    room = length / axis.axes.figure.dpi
    step = -(-len(names) // max(min(MOST_LABELS, int(room / INCHES_PER_LABEL)), 8))
    places = np.arange(0, len(names), step)
    labels = [plain(_short(names[place])) for place in places]
    axis.set_ticks(places, labels=labels, fontsize=9 if len(places) <= 25 else 7)


def _short(name: str, most: int = LONGEST_LABEL) -> str:
    """Keep the end of a long dotted name, which tells layers apart."""
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def _mark_best(ax: Axes, best: np.ndarray) -> None:
    rows = np.flatnonzero(best >= 0)
    ax.scatter(best[rows], rows, s=_size(ax, best), facecolors="white", edgecolors="black", linewidths=0.6, zorder=3)


def _size(ax: Axes, rows: np.ndarray) -> float:
    """Return the area of a mark that fits into a cell."""
    return float(min(40.0, 1600.0 / max(len(rows), ax.get_xlim()[1]) ** 1.15))
