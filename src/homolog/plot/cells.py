"""A matrix as coloured cells, with numbers in them and marks on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from homolog.machine import optional
from homolog.names import quoted, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.image import AxesImage

WITH_NUMBERS = 12
"""Cells of a matrix with at most so many rows and columns hold their numbers unless somebody says otherwise."""


class Look(NamedTuple):
    """How the cells of a matrix are drawn."""

    cmap: str | Colormap
    low: float
    high: float
    annotate: bool | None
    """Whether numbers are written into the cells; None where they fit."""


def look(
    limits: tuple[float, float],
    default: str,
    cmap: str | Colormap | None,
    vmin: float | None,
    vmax: float | None,
    annotate: bool | None,
) -> Look:
    """Return how cells are drawn, from what was asked for and what stands in its place."""
    low, high = checked_limits(limits, vmin, vmax)
    return Look(colour_map(cmap, default), low, high, annotate)


def checked_limits(limits: tuple[float, float], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """Return the ends of the colours, or of an axis, those asked for before those given."""
    for name, end in (("vmin", vmin), ("vmax", vmax)):
        if end is not None and not (isinstance(end, int | float | np.number) and math.isfinite(end)):
            raise ValueError(f"{name} must be a finite number, got {quoted(end)}.")
    low, high = (limits[0] if vmin is None else float(vmin)), (limits[1] if vmax is None else float(vmax))
    if not low < high and (vmin is not None or vmax is not None):
        raise ValueError(f"vmin must be below vmax, got {low:g} and {high:g}: give both, or another one.")
    return low, high


def colour_map(cmap: str | Colormap | None, default: str) -> str | Colormap:
    """Return a colour map that matplotlib knows."""
    if not isinstance(cmap, str):
        return default if cmap is None else cmap
    known = optional("matplotlib", "plot", "drawing").colormaps
    if cmap not in known:
        raise ValueError(unknown("colour map", cmap, known, "matplotlib.colormaps lists them"))
    return cmap


def colours_of(values: np.ndarray, cmap: str | Colormap, low: float, high: float) -> np.ndarray:
    """Return the colours of values between two ends."""
    found = optional("matplotlib", "plot", "drawing").colormaps.get_cmap(colour_map(cmap, "magma"))
    colours: np.ndarray = found(np.clip((values - low) / (high - low), 0, 1))
    return colours


def line_colours(cmap: str | Colormap | None, count: int) -> list[Any]:
    """Return colours of a map in order, without its palest end; None each, matplotlib's own, without a map."""
    return [None] * count if cmap is None else list(colours_of(np.arange(count), cmap, 0, max(count - 1, 1) / 0.9))


def draw_cells(ax: Axes, values: np.ndarray, chosen: Look) -> AxesImage:
    """Draw a matrix, its first row at the bottom; cells without a value are grey."""
    image = ax.imshow(
        np.where(np.isposinf(values), chosen.high, values),
        origin="lower",
        cmap=chosen.cmap,
        vmin=chosen.low,
        vmax=chosen.high,
        aspect="equal",
        interpolation="none",
    )
    ax.set_facecolor("0.85")
    return image


def draw_bar(ax: Axes, image: AxesImage, values: np.ndarray, chosen: Look) -> Any:
    """Draw the bar of the colours, with a tip at an end beyond which there are values."""
    finite = values[np.isfinite(values)]
    rounding = 1e-9 * (chosen.high - chosen.low)  # of a layer with itself, which may have a little over 1
    below, above = bool((finite < chosen.low - rounding).any()), bool((finite > chosen.high + rounding).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    return ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.04, extend=extend)


def write_numbers(ax: Axes, image: AxesImage, values: np.ndarray, annotate: bool | None) -> bool:
    """Write the values into their cells, and say whether it was done."""
    if annotate is False or (annotate is None and max(values.shape) > WITH_NUMBERS):
        return False
    from homolog.plot.cell_artists import CellNumber

    words = [number(value) for value in values.flat]
    letters = max(4, *map(len, words))
    for (row, column), word, colour in zip(np.ndindex(*values.shape), words, _readable(image, values), strict=True):
        if word:
            ax.add_artist(CellNumber(column, row, word, letters=letters, always=bool(annotate), color=colour))
    return True


def number(value: float) -> str:
    """Write a value for a cell."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    written = f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"
    return written.removeprefix("-") if float(written) == 0 else written.replace("-", "−")


def _readable(image: AxesImage, values: np.ndarray) -> list[str]:
    """Return black or white for every cell, whichever stands out more from its colour."""
    low, high = image.get_clim()
    shown: Any = image.norm(np.clip(np.nan_to_num(values.reshape(-1)), low, high))
    channels: Any = image.cmap(shown)[:, :3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    # (1.05 / (L + 0.05)) against ((L + 0.05) / 0.05), the contrasts of the web's accessibility guidelines.
    return ["black" if light > 0.179 else "white" for light in luminance]


def draw_marks(ax: Axes, best: np.ndarray, chance: np.ndarray, *, aside: bool) -> None:
    """Mark the best cell of every row (−1: none) by a ring, what is by chance by a cross; `aside` leaves room for numbers."""
    from homolog.plot.cell_artists import CellMarks

    share, corner = (0.22, 0.34) if aside else (0.5, 0.0)
    crosses = np.argwhere(chance)[:, ::-1]
    if len(crosses):
        # A cross with a rim is seen on dark and on light cells.
        for width, colour in ((1.8, "0.15"), (0.8, "0.85")):
            CellMarks(ax, crosses, "x", share, corner, facecolors=colour, edgecolors=colour, linewidths=width, zorder=2)
    rows = np.flatnonzero(best >= 0)
    rings = np.stack([best[rows], rows], axis=1)
    CellMarks(ax, rings, "o", share, corner, facecolors="white", edgecolors="black", linewidths=0.6, zorder=3)
