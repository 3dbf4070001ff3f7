"""Layer × layer heatmaps, one or a grid of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.plot.cells import Look, draw_bar, draw_cells, draw_marks, look, write_numbers
from homolog.plot.labels import axis_title, drawn_in, inches_of_cells, label_axis, layer_labels, plain, room_of
from homolog.results import (
    arranged,
    by_chance,
    chosen_measure,
    colour_limits,
    is_calibrated,
    is_tested,
    marks,
    measure_names,
    two_models,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure


def heatmap(
    result: xarray.Dataset,
    measure: str | None = None,
    *,
    ax: Axes | None = None,
    best: bool = True,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
) -> Axes:
    """Draw one measure of a result as a layer × layer heatmap, with the best match of every row marked.

    Parameters
    ----------
    result
        what `homolog.compare` returned.
    measure
        which of its measures, or the calibrated scores of one, as "cka_calibrated"; the first measure by default.
    ax
        where to draw; a new figure of fitting size by default.
    best
        mark the most alike layer of b for every layer of a with a ring; of a model itself, or of many, the most alike one
        elsewhere. A pair that is no more alike than by chance is not marked.
    title
        instead of the measure's name and the number of examples.
    cmap
        colour map of matplotlib, or its name; by default "magma", for a distance "magma_r".
    vmin, vmax
        values of the first and the last colour; by default the ends of the measure's range, or of the data where it has none.
        The bar has a tip at an end beyond which there are values.
    annotate
        write the values into the cells; by default up to 12 × 12 layers, if they fit.

    Returns
    -------
    matplotlib.axes.Axes
        Layers of a in rows, the first at the bottom as in the paper; layers of b in columns. Light is alike: for a
        distance the colours are turned around. Where the result says how far chance reaches, by p-values or a null level, a
        cross marks the pairs that are no more alike. If a name is longer than 34 letters, the start that all names share is
        written once below the axis, and different names stay different.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, or is not one; if there is no such colour map, or vmin is not below vmax.
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
    result = arranged(result)
    if "a" not in result.dims:
        two_models(result)
    name = _drawn(result, measure)
    variable = result[name]
    rows, columns = (layer_labels(result, side) for side in "ab")
    default = "magma_r" if variable.attrs["kind"] == "distance" else "magma"
    chosen = look(colour_limits(variable), default, cmap, vmin, vmax, annotate)
    if ax is None:
        ax = _new_axes(rows, columns)
    bar, crossed = _draw(ax, result, name, chosen, best)
    box = ax.get_window_extent()
    # Cells are square, so that one side of the axes may stay empty.
    cell = min(box.height / len(rows), box.width / len(columns))
    for axis, labels in ((ax.yaxis, rows), (ax.xaxis, columns)):
        label_axis(axis, labels, cell * len(labels))
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_ylabel(axis_title(result, "a"))
    ax.set_xlabel(axis_title(result, "b"))
    ax.set_title(title if title is not None else f"{plain(name)}, n = {int(result.attrs['n_examples'])}")
    bar.set_label("\n".join([variable.attrs["kind"], *_sentences(best, crossed, is_tested(result, name))]))
    return ax


def heatmaps(
    results: xarray.Dataset | Mapping[str, xarray.Dataset],
    measures: Sequence[str] | None = None,
    *,
    columns: int = 3,
    best: bool = True,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
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
    cmap, vmin, vmax, annotate
        as for `heatmap`, for all of them.
    figure
        where to draw, a figure or a part of one (`figure.subfigures`); a new figure of fitting size by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in.

    Raises
    ------
    KeyError, ValueError
        If a result lacks a measure, or is not one; as `heatmap` for its options.
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
    for name, given_result in named.items():
        result = arranged(given_result)
        names = list(measures) if measures is not None else measure_names(result)[: 1 if many else None]
        panels += [
            (" ".join([name] * bool(name) + [measure] * (len(names) > 1 or not name)), result, measure)
            for measure in names
        ]
    if not panels:
        raise ValueError("a grid of heatmaps needs at least one result, got none.")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    beside, below = (
        room_of([label for _, result, _ in panels for label in layer_labels(result, side)]) for side in "ab"
    )
    figure = drawn_in(figure, max(4.2, 3.2 + beside) * columns, max(3.9, 2.9 + below) * rows)
    there = len(figure.axes)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, (name, result, measure) in zip(axes.flat, panels, strict=False):
        heatmap(
            result, measure, ax=ax, best=best, title=plain(name), cmap=cmap, vmin=vmin, vmax=vmax, annotate=annotate
        )
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for bar in (ax for ax in figure.axes[there:] if ax.get_label() == "<colorbar>"):
        bar.set_ylabel("")  # small panels have no room for it
    crossed = any(by_chance(result, _drawn(result, measure)).any() for _, result, measure in panels)
    tested = all(is_tested(result, _drawn(result, measure)) for _, result, measure in panels)
    if sentences := _sentences(best, crossed, tested):
        figure.supxlabel(", ".join(sentences), fontsize=9)
    if title is not None:
        figure.suptitle(plain(title))
    return figure


def _drawn(result: xarray.Dataset, measure: str | None) -> str:
    """Return which variable is drawn."""
    return measure if measure is not None and is_calibrated(result, measure) else chosen_measure(result, measure)


def _draw(ax: Axes, result: xarray.Dataset, name: str, chosen: Look, best: bool) -> tuple[Any, bool]:
    """Draw the cells and what stands in them; return the bar, and whether any cell is crossed out."""
    values = np.asarray(result[name].values, dtype=float)
    image = draw_cells(ax, values, chosen)
    numbers = write_numbers(ax, image, values, chosen.annotate)
    chance = by_chance(result, name)
    found = marks(result, name) if best else np.full(len(values), -1)
    # A best match that is no more alike than by chance is none.
    found = np.where((found >= 0) & chance[np.arange(len(found)), found], -1, found)
    draw_marks(ax, found, chance, aside=numbers)
    return draw_bar(ax, image, values, chosen), bool(chance.any())


def _sentences(best: bool, crossed: bool, tested: bool) -> list[str]:
    match = "○ best match of a row" if tested else "○ best match of a row, not tested against chance"
    return [match] * best + ["× no more alike than by chance"] * crossed


def _new_axes(rows: list[str], columns: list[str]) -> Axes:
    """Make a figure that leaves the heatmap its size beside labels of any length."""
    width, height = (inches_of_cells(len(names)) for names in (columns, rows))
    return drawn_in(None, width + room_of(rows) + 1.6, height + room_of(columns) + 0.6).subplots()
