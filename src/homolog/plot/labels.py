"""Figures, and the names beside their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from homolog.machine import optional
from homolog.names import folded_prefix, labels, shortened

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

MOST_LABELS = 40
"""Axes with more layers than this, or than there is room for, label every k-th."""
INCHES_PER_LABEL = 0.13
LONGEST_LABEL = 34
"""Longer names are folded."""
LONGEST_START = 40
LONGEST_MODEL = 16
"""The same of models, where they stand before their layers."""


def drawn_in(figure: Any, width: float, height: float) -> Figure:
    """Return a figure or the part of one that was given, or a new one of some inches."""
    pyplot = optional("matplotlib.pyplot", "plot", "drawing")
    found: Figure = figure or pyplot.figure(figsize=(width, height), layout="compressed")
    return found


def inches_of_cells(count: int) -> float:
    """Return the length of an axis with so many cells."""
    return min(max(1.6 + 0.22 * count, 3.4), 11.0)


def room_of(written: Sequence[str]) -> float:
    """Return the inches that labels beside an axis take."""
    return 0.08 * min(max(map(len, written), default=0), LONGEST_LABEL + LONGEST_MODEL)


def plain(text: Any) -> str:
    """Return text that matplotlib will neither read as mathematics nor lack a glyph for."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)).replace("$", r"\$")


def short(names: Sequence[str]) -> list[str]:
    """Return names as they are written beside an axis: different ones stay different."""
    return labels(names, LONGEST_LABEL)


def layer_labels(result: xarray.Dataset, side: str) -> list[str]:
    """Return what to write beside the layers, with the model where there are many."""
    layers = short(_names(result, "layer", side))
    if "a" not in result.dims:
        return layers
    models = labels(_names(result, "model", side), LONGEST_MODEL)
    return [f"{model} {layer}" for model, layer in zip(models, layers, strict=True)]


def axis_title(result: xarray.Dataset, side: str) -> str:
    """Return what to write along the layers: the model where there are two, and how names begin that were folded."""
    parts = [] if "a" in result.dims else [str(result.attrs.get(f"model_{side}", side))]
    for what, most in (("model", LONGEST_MODEL), ("layer", LONGEST_LABEL)):
        names = _names(result, what, side)
        start = folded_prefix(names) if max(map(len, names), default=0) > most else ""
        parts += [f"{shortened(start, LONGEST_START)}…"] * (len(start) > 1)
    return plain(": ".join(parts))


def _names(result: xarray.Dataset, what: str, side: str) -> list[str]:
    found = result.coords.get(f"{what}_{side}")
    return [] if found is None else [str(name) for name in found.values]


def label_axis(axis: Any, written: Sequence[str], length: float | None = None) -> None:
    """Write names beside an axis of some length in pixels, every k-th where there are many."""
    box = axis.axes.get_window_extent()
    length = length or (box.height if axis.axis_name == "y" else box.width)
    room = length / axis.axes.figure.dpi
    step = -(-len(written) // max(min(MOST_LABELS, int(room / INCHES_PER_LABEL)), 8))
    places = range(0, len(written), step)
    axis.set_ticks(places, labels=[plain(written[place]) for place in places], fontsize=9 if len(places) <= 25 else 7)
