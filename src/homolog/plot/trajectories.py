"""Layers over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.names import labels
from homolog.plot.cells import checked_limits, colours_of
from homolog.plot.labels import drawn_in, plain
from homolog.result_kinds import TRAJECTORY
from homolog.results import chosen_measure
from homolog.whole_results import whole

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

MOST_NAMED = 14
"""With more layers than this a bar of colours takes the place of names."""
LONGEST = 20
"""Longer names of layers are folded: the curves need the room."""
WIDE = 20
"""A last step that is so many times the first one is shown by logarithms."""


def trajectory(
    result: xarray.Dataset,
    measure: str | None = None,
    *,
    against: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how alike each layer is to itself in another checkpoint, over training: a line per layer, coloured by depth.

    Parameters
    ----------
    result
        what `homolog.compare_checkpoints` returned.
    measure
        which of its measures; the first by default.
    against
        "first", "previous" or "last"; by default the last of these that the result has.
    cmap
        colour map of matplotlib, or its name; by default viridis, dark for the first layers.
    vmin, vmax
        ends of the vertical axis; by default those of the data.
    ax
        where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        Steps go by logarithms where the last is more than 20 times the first one above 0; step 0 has its place at the left.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure or the reference, or is of another kind.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, noise = np.random.default_rng(0).normal(size=(2, 200, 8))
    >>> moments = {f"step_{step}": {"layer": x + noise / (1 + step)} for step in (0, 100, 1000)}
    >>> result = hl.compare_checkpoints(None, moments, None, measures="cka")
    >>> hl.plot.trajectory(result).get_xlabel()
    'step'
    """
    result = whole(result, TRAJECTORY)
    name = chosen_measure(result, measure)
    held = [str(each) for each in result["against"].values]
    if against is None:
        against = next(each for each in ("last", "previous", "first") if each in held)
    if against not in held:
        raise KeyError(f"against must be one of {', '.join(held)}, which this result has, got {against!r}.")
    if ax is None:
        ax = drawn_in(None, 6.4, 3.8).subplots()
    steps = np.asarray(result["step"].values, dtype=float)
    values = result[name].sel(against=against).transpose("step", "layer").values
    colours = colours_of(np.arange(values.shape[1]), cmap or "viridis", 0, max(values.shape[1] - 1, 1) / 0.9)
    names = labels([str(layer) for layer in result["layer"].values], LONGEST)
    for column, label in enumerate(names):
        ax.plot(steps, values[:, column], marker="o", markersize=3, color=colours[column], label=plain(label))
    _scale_steps(ax, steps)
    if not vmin is vmax is None:
        ax.set_ylim(checked_limits(ax.get_ylim(), vmin, vmax))
    ax.set_xlabel("step")
    ax.set_ylabel(f"{plain(name)}\nwith the {against} checkpoint")
    _name_lines(ax, names, cmap)
    return ax


def _scale_steps(ax: Axes, steps: np.ndarray) -> None:
    """Show steps by logarithms where they reach far; a step of 0 gets a linear part as wide as the first step above it."""
    above = steps[steps > 0]
    if not len(above) or (steps < 0).any() or steps.max() < WIDE * above.min():
        return
    if (steps == 0).any():
        ax.set_xscale("symlog", linthresh=float(above.min()), linscale=0.5)
        ax.set_xlim(left=-0.06 * float(above.min()))
    else:
        ax.set_xscale("log")


def _name_lines(ax: Axes, names: list[str], cmap: Any) -> None:
    if len(names) <= MOST_NAMED:
        ax.legend(title="layer", fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = ax.figure.colorbar(ScalarMappable(Normalize(0, (len(names) - 1) / 0.9), cmap or "viridis"), ax=ax, pad=0.02)
    bar.ax.set_ylim(0, len(names) - 1)
    ends = [0, (len(names) - 1) // 2, len(names) - 1]
    bar.set_ticks(ends, labels=[plain(names[place]) for place in ends])
    bar.set_label("layer, by depth")
