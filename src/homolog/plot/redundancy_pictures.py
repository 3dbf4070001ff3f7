"""What the blocks of a deep network change, in one figure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.redundant.reading import FORMS, checked, forms_of
from homolog.names import folded_prefix, labels, shortened
from homolog.plot.cells import draw_bar, draw_cells, look, write_numbers
from homolog.plot.labels import drawn_in, label_axis, plain, short

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MOST_LETTERS = 14
"""Of a name beside an axis."""
WIDE = 30
"""Largest value over smallest from which on influences stand on a logarithmic axis."""


def redundancy(result: xarray.Dataset, *, title: str | None = None, figure: Figure | SubFigure | None = None) -> Figure:
    """Draw what each block changes: influence, angular distance of runs of blocks, similarity of all layers, norm and rank.

    Parameters
    ----------
    result
        what `homolog.redundancy` returned.
    title
        above the figure.
    figure
        where to draw, a figure or a part of one; a new figure of fitting size by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in. Above: the influence of every block, with and without massive features and outlying rows; the angular
        distance over every run of blocks, the first block from left to right and the number of blocks upwards, with a ring on
        the least of each number. Below: the similarity of all layers; mean norm and effective rank of each.

    Raises
    ------
    ValueError
        If it is the result of another function.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> stream = dict(zip(["in", "0", "1"], np.cumsum(rng.normal(size=(3, 50, 8)), axis=0)))
    >>> [ax.get_title() for ax in hl.plot.redundancy(hl.redundancy(stream)).axes[:2]]
    ['influence: 1 − mean cosine of input and output', 'angular distance over a run of blocks']
    """
    result = checked(result)
    figure = drawn_in(figure, 11, 8.5)
    axes = figure.subplots(2, 2)
    _influence(axes[0, 0], result)
    _runs(axes[0, 1], result)
    _similarity(axes[1, 0], result)
    _norms(axes[1, 1], result)
    if title is not None:
        figure.suptitle(plain(title))
    return figure


def _influence(ax: Axes, result: xarray.Dataset) -> None:
    """Draw bars, side by side for every form; on a logarithmic axis where they differ much, since small ones matter."""
    forms = forms_of(result)
    width = 0.8 / len(forms)
    places = np.arange(result.sizes["block"])
    every = np.concatenate([result[f"influence{suffix}"].values for suffix in forms])
    positive = every[every > 0]
    for number, (suffix, label) in enumerate(forms.items()):
        ax.bar(places + (number + 0.5) * width - 0.4, result[f"influence{suffix}"].values, width, label=label)
    if positive.size and positive.max() > WIDE * positive.min():
        ax.set_yscale("log")
        ax.set_ylim(bottom=max(float(positive.min()) / 2, 1e-12))
    _label_blocks(ax, result)
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_title("influence: 1 − mean cosine of input and output", fontsize=10)
    if len(forms) > 1:
        _make_room(ax)
        ax.legend(fontsize=7, ncols=2, loc="upper center")


def _runs(ax: Axes, result: xarray.Dataset) -> None:
    suffix = list(forms_of(result))[-1]
    values = result[f"angular_distance{suffix}"].transpose("span", "block").values
    finite = values[np.isfinite(values)]
    chosen = look((0.0, float(finite.max(initial=0)) or 1.0), "magma_r", None, None, None, None)
    image = draw_cells(ax, values, chosen)
    ax.set_aspect("auto")
    numbers = write_numbers(ax, image, values, None)
    names = _names(result, "block")
    for row, start in enumerate(result[f"best_start{suffix}"].values):
        if str(start):
            at = names.index(str(start)) - 0.32 * numbers
            ax.plot(at, row + 0.3 * numbers, "o", markersize=5, markerfacecolor="white", markeredgecolor="black")
    draw_bar(ax, image, values, chosen)
    label_axis(ax.xaxis, _short(result, "block"))
    label_axis(ax.yaxis, [str(span) for span in result.span.values])
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlabel(f"first block of the run{_start(result)} (○ least of its length)", fontsize=9)
    ax.set_ylabel("blocks in the run", fontsize=9)
    which = f", {FORMS[suffix]}" if suffix else ""
    ax.set_title(f"angular distance over a run of blocks{which}", fontsize=10)


def _similarity(ax: Axes, result: xarray.Dataset) -> None:
    name = json.loads(result.attrs["measures"])[0]
    suffix = list(forms_of(result))[-1]
    variable = result[f"{name}{suffix}"]
    values = variable.values
    distance = variable.attrs.get("kind") == "distance"
    finite = values[np.isfinite(values)]
    limits = (min(float(finite.min(initial=0)), 0.0), float(finite.max(initial=1)))
    chosen = look(limits, "magma_r" if distance else "magma", None, None, None, None)
    image = draw_cells(ax, values, chosen)
    write_numbers(ax, image, values, None)
    draw_bar(ax, image, values, chosen)
    labels = _short(result, "layer")
    label_axis(ax.xaxis, labels)
    label_axis(ax.yaxis, labels)
    ax.tick_params(axis="x", labelrotation=90)
    which = f", {FORMS[suffix]}" if suffix else ""
    ax.set_title(plain(f"{variable.attrs.get('measure', name)}{which}"), fontsize=10)


def _norms(ax: Axes, result: xarray.Dataset) -> None:
    """Draw norms to the left and effective ranks to the right, over one axis of layers."""
    places = np.arange(result.sizes["layer"])
    other = ax.twinx()
    forms = forms_of(result)
    for style, suffix in zip(("-", "--", ":", "-."), forms, strict=False):
        look_of: dict[str, Any] = {"marker": "o", "markersize": 3, "linestyle": style}
        ax.plot(places, result[f"norm{suffix}"].values, color="C0", **look_of)
        other.plot(places, result[f"effective_rank{suffix}"].values, color="C3", **look_of)
    norms = result.norm.values
    if norms.min() > 0 and norms.max() > WIDE * norms.min():
        ax.set_yscale("log")
    other.set_ylim(bottom=0)
    ax.set_ylabel("mean norm of the rows", color="C0")
    other.set_ylabel("effective rank", color="C3")
    label_axis(ax.xaxis, _short(result, "layer"))
    ax.tick_params(axis="x", labelrotation=90)
    if len(forms) > 1:
        _make_room(ax)
        _make_room(other)
        ax.legend(ax.lines, list(forms.values()), fontsize=7, ncols=2, loc="upper center")
    ax.set_title("norm and effective rank of every layer", fontsize=10)


def _make_room(ax: Axes) -> None:
    """Leave the upper part of the axes to a legend."""
    low, high = ax.get_ylim()
    ax.set_ylim(top=high * (high / low) ** 0.25 if ax.get_yscale() == "log" else high + 0.25 * (high - low))


def _label_blocks(ax: Axes, result: xarray.Dataset) -> None:
    label_axis(ax.xaxis, _short(result, "block"))
    start = _start(result)
    if start:
        ax.set_xlabel(f"block{start}", fontsize=9)


def _short(result: xarray.Dataset, what: str) -> list[str]:
    """Return names without how the names of all blocks begin, and not longer than there is room for beside a panel."""
    prefix = folded_prefix(_names(result, "block"))
    names = _names(result, what)
    if not prefix:
        return labels(names, MOST_LETTERS)
    folded = [f"…{name.removeprefix(prefix)}" if name.startswith(prefix) else name for name in names]
    return labels(folded, MOST_LETTERS) if len(set(folded)) == len(set(names)) else short(names)


def _start(result: xarray.Dataset) -> str:
    """Say how the names of all blocks begin."""
    prefix = folded_prefix(_names(result, "block"))
    return plain(f", … is {shortened(prefix, 40)}") if prefix else ""


def _names(result: xarray.Dataset, what: str) -> list[str]:
    return [str(name) for name in result[what].values]
