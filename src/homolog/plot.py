"""Results as pictures: a result in, matplotlib Axes out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis import best_in_rows, chosen_measure, scores
from homolog.arrays import optional

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

MOST_LABELS = 40
"""Axes with more layers than this label every k-th."""


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
    result : what `homolog.compare` returned.
    measure : which of its measures; the first by default.
    ax : where to draw; a new figure of fitting size by default.
    best : mark the most alike layer of b for every layer of a with a dot.
    title : instead of the measure's name and the number of examples.

    Returns
    -------
    matplotlib.axes.Axes
        Layers of a in rows, the first at the bottom as in the paper; layers of b in columns. Light is alike: for a
        distance the colours are turned around.

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
    name = chosen_measure(result, measure)
    variable = result[name]
    if ax is None:
        ax = _new_axes(variable.shape)
    low, high = _limits(variable)
    colours = "magma_r" if variable.attrs["kind"] == "distance" else "magma"
    image = ax.imshow(
        variable.values, origin="lower", cmap=colours, vmin=low, vmax=high, aspect="equal", interpolation="none"
    )
    ax.set_facecolor("0.85")
    _label(ax.yaxis, result.layer_a.values)
    _label(ax.xaxis, result.layer_b.values)
    ax.tick_params(axis="x", labelrotation=90)
    model_a, model_b = result.attrs.get("model_a", "a"), result.attrs.get("model_b", "b")
    ax.set_ylabel(_plain(model_a))
    ax.set_xlabel(_plain(model_b))
    ax.set_title(title if title is not None else f"{_plain(name)}, n = {int(result.attrs['n_examples'])}")
    if best:
        _mark_best(ax, scores(result, name))
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.04)
    bar.set_label(f"{variable.attrs['kind']}" + ("  (○ best match of the row)" if best else ""))
    return ax


def _new_axes(shape: tuple[int, ...]) -> Axes:
    pyplot = optional("matplotlib.pyplot", "plot", "drawing")
    rows, columns = shape
    side = [min(max(2.2 + 0.22 * count, 4.0), 12.0) for count in (columns, rows)]
    _, ax = pyplot.subplots(figsize=(side[0] + 1.6, side[1] + 0.6), layout="constrained")
    return ax


def _limits(variable: xarray.DataArray) -> tuple[float, float]:
    """Return colour limits: the measure's range where it is bounded, the data's where it is not."""
    low, high = json.loads(variable.attrs.get("range", "[null, null]"))
    values = variable.values[np.isfinite(variable.values)]
    seen = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    # Debiased values may reach −1 but hardly pass below 0: a full scale would waste half of the colours.
    low = seen[0] if low is None else (min(seen[0], 0.0) if low < 0 else low)
    return low, seen[1] if high is None else high


def _plain(text: Any) -> str:
    """Return text that matplotlib will not read as mathematics."""
    return str(text).replace("$", r"\$")


def _label(axis: Any, names: np.ndarray) -> None:
    step = -(-len(names) // MOST_LABELS)
    places = np.arange(0, len(names), step)
    labels = [_plain(_short(str(names[place]))) for place in places]
    axis.set_ticks(places, labels=labels, fontsize=9 if len(places) <= 25 else 7)


def _short(name: str, most: int = 34) -> str:
    """Keep the end of a long dotted name, which tells layers apart."""
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def _mark_best(ax: Axes, matrix: np.ndarray) -> None:
    best = best_in_rows(matrix)
    rows = np.flatnonzero(best >= 0)
    size = min(40.0, 1600.0 / max(matrix.shape) ** 1.15)
    ax.scatter(best[rows], rows, s=size, facecolors="white", edgecolors="black", linewidths=0.6, zorder=3)
