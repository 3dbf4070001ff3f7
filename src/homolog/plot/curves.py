"""Lines over layers, widths or depths, with bands of uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.plot.cells import checked_limits, line_colours, number
from homolog.plot.labels import drawn_in, label_axis, plain, short

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def lines(
    data: xarray.Dataset,
    variable: str,
    *,
    x: str,
    by: str | None = None,
    band: bool = True,
    legend: bool = True,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a variable as lines, one for each entry of a second dimension, with bands of one standard error.

    Parameters
    ----------
    data
        holds the variable over x, or over x and `by`; bands where it holds `<variable>_se` too.
    variable
        what goes upwards.
    x
        dimension from left to right; its coordinate may be names or numbers.
    by
        dimension that tells lines apart.
    band
        draw bands where there are standard errors.
    legend
        name the lines, to the right of them.
    cmap
        colour map of matplotlib, or its name, from which the lines take their colours in order, as for widths or depths; by
        default matplotlib's own colours.
    vmin, vmax
        ends of the vertical axis; by default those of the data.
    annotate
        write the values beside the points; by default they are not written.
    ax
        where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    KeyError
        If the data lack the variable or a dimension.
    ValueError
        If there is no such colour map, or vmin is not below vmax.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, xarray, homolog as hl
    >>> data = xarray.Dataset({"accuracy": ("layer", [0.3, 0.8, 0.9])}, {"layer": ["conv1", "conv2", "pool"]})
    >>> hl.plot.lines(data, "accuracy", x="layer").get_ylabel()
    'accuracy'
    """
    dims = [x] if by is None else [x, by]
    if variable not in data or set(data[variable].dims) != set(dims):
        held = ", ".join(f"{name} over {' and '.join(map(str, values.dims))}" for name, values in data.items())
        raise KeyError(f"the data must hold {variable!r} over {' and '.join(dims)}, got {held or 'no variable'}.")
    if ax is None:
        ax = drawn_in(None, 6, 3.8).subplots()
    places = data[x].values
    numeric = np.issubdtype(places.dtype, np.number)
    across = places.astype(float) if numeric else np.arange(len(places))
    heights = data[variable].transpose(*dims).values.reshape(len(places), -1)
    errors = data[f"{variable}_se"].transpose(*dims).values.reshape(heights.shape) if f"{variable}_se" in data else None
    names = [None] if by is None else [plain(name) for name in data[by].values]
    colours = line_colours(cmap, len(names))
    for k, name in enumerate(names):
        (line,) = ax.plot(across, heights[:, k], marker="o", markersize=3.5, label=name, color=colours[k])
        if annotate:
            _write_values(ax, across, heights[:, k])
        if band and errors is not None:
            low, high = heights[:, k] - errors[:, k], heights[:, k] + errors[:, k]
            ax.fill_between(across, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    if not vmin is vmax is None:
        ax.set_ylim(checked_limits(ax.get_ylim(), vmin, vmax))
    if not numeric:
        label_axis(ax.xaxis, short([str(name) for name in places]))
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlabel(plain(data[x].attrs.get("long_name", x)))
    ax.set_ylabel(plain(data[variable].attrs.get("long_name", variable)))
    if by is not None and legend:
        heading = plain(data[by].attrs.get("long_name", by))
        ax.legend(title=heading, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _write_values(ax: Axes, across: Any, heights: np.ndarray) -> None:
    for place, height in zip(across, heights, strict=True):
        ax.annotate(number(height), (place, height), textcoords="offset points", xytext=(0, 4), ha="center", fontsize=7)


def probe(
    probed: xarray.Dataset,
    *,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the accuracy of `homolog.probe` over layers, and chance.

    Parameters
    ----------
    probed
        what `homolog.probe` returned.
    cmap, vmin, vmax, annotate
        as for `lines`.
    ax
        where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    KeyError
        If it is something else.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> labels = np.arange(90) % 3
    >>> probed = hl.probe({"early": np.eye(3)[labels], "late": np.eye(3)[labels]}, labels)
    >>> hl.plot.probe(probed).get_ylabel()
    'held-out accuracy of a linear probe'
    """
    ax = lines(probed, "accuracy", x="layer", cmap=cmap, vmin=vmin, vmax=vmax, annotate=annotate, ax=ax)
    chance: Any = probed.attrs["chance"]
    ax.axhline(chance, color="0.5", linestyle=":", linewidth=1)
    ax.annotate("chance", (0, chance), textcoords="offset points", xytext=(0, 3), fontsize=8, color="0.4")
    ax.set_ylabel("held-out accuracy of a linear probe")
    return ax
