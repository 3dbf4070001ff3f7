"""What the analyses found: identified layers, a shared subspace, the parts of a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.plot.cells import checked_limits, colours_of, draw_bar, draw_cells, look, write_numbers
from homolog.plot.labels import drawn_in, label_axis, plain, short
from homolog.renamed import renamed
from homolog.result_kinds import EXPLANATION, IDENTIFICATION, SHARED_SUBSPACE, check_kind

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure


def identification(
    found: xarray.Dataset,
    *,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the accuracy of `homolog.layer_identification` as bars with standard errors, and chance.

    Parameters
    ----------
    found
        what `homolog.layer_identification` returned.
    cmap
        colour map of matplotlib, or its name, from which the bars take the colours of their values; by default all are blue.
    vmin, vmax
        ends of the axis in %, and values of the first and the last colour; by default 0 and 100.
    annotate
        write the values beside the bars, which is the default.
    ax
        where to draw; a new figure of fitting size by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        For a result of another kind, if there is no such colour map, or vmin is not below vmax.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> networks = {seed: {name: rng.normal(size=(50, 4)) for name in ("early", "late")} for seed in "012"}
    >>> found = hl.layer_identification(hl.compare(networks, measures=("cka", "procrustes_distance")))
    >>> len(hl.plot.identification(found).patches)
    2
    """
    check_kind(found, IDENTIFICATION)
    names = short([str(name) for name in found.measure.values])
    low, high = checked_limits((0.0, 100.0), vmin, vmax)
    if ax is None:
        ax = drawn_in(None, 6.4, 1.2 + 0.34 * len(names)).subplots()
    percent = 100 * found.accuracy.values
    places = np.arange(len(names))[::-1]
    colours = "#3b6ea8" if cmap is None else colours_of(percent, cmap, low, high)
    ax.barh(places, percent, color=colours, height=0.62)
    errors = 100 * found.accuracy_se.values
    if not np.isnan(errors).all():
        ax.errorbar(percent, places, xerr=np.nan_to_num(errors), fmt="none", ecolor="0.2", capsize=2, linewidth=1)
    # In a column, where they meet neither error bars nor what a caller draws into the axes.
    for place, value in zip(places, percent, strict=True) if annotate is not False else ():
        ax.annotate(f"{value:.1f}", (low + 1.15 * (high - low), place), ha="right", va="center", fontsize=8)
    chance = 100 * float(found.chance.mean())
    ax.axvline(chance, color="0.4", linestyle=":", linewidth=1)
    ax.annotate(
        "chance", (chance, places[0] + 0.45), fontsize=8, color="0.3", textcoords="offset points", xytext=(2, 0)
    )
    ax.set_xlim(low, low + (1.17 if annotate is not False else 1.02) * (high - low))
    label_axis(ax.yaxis, names[::-1])
    ax.set_xlabel("layers identified, % (± one jackknife standard error over networks)")
    return ax


@renamed(axes="figure")
def shared_subspace(
    shared: xarray.Dataset, *, title: str | None = None, figure: Figure | SubFigure | None = None
) -> Figure:
    """Draw the panels of the paper's Figure 8 from `homolog.shared_subspace`.

    Parameters
    ----------
    shared
        what `homolog.shared_subspace` returned.
    title
        above the panels.
    figure
        where to draw, a figure or a part of one (`figure.subfigures`); a new figure of fitting size by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in. Over the principal components of x: their norms under XX^T and YY^T, the cosine, and the singular
        values of Y^T X with the level of chance and the shared rank.

    Raises
    ------
    ValueError
        For a result of another kind.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, y = np.random.default_rng(0).normal(size=(2, 100, 5))
    >>> len(hl.plot.shared_subspace(hl.shared_subspace(x, x + y)).axes)
    3
    """
    check_kind(shared, SHARED_SUBSPACE)
    # By the former name the three axes come themselves.
    axes: Any = drawn_in(figure, 11, 3.3).subplots(1, 3) if hasattr(figure, "subplots") or figure is None else figure
    norms, cosines, directions = axes
    components = shared.component.values
    norms.plot(components, shared.x_norm.values, label="‖XX$^T$u‖")
    norms.plot(components, shared.y_norm.values, ".", markersize=3, label="‖YY$^T$u‖")
    norms.set_ylabel("norm (of 1 in all)")
    norms.legend(fontsize=8)
    cosines.plot(components, shared.cosine.values, ".", markersize=3, color="#a84b3b")
    cosines.set_ylim(0, 1.02)
    cosines.set_ylabel("cosine of u and YY$^T$u")
    for ax in (norms, cosines):
        ax.set_xlabel("principal component u of X")
    directions.plot(shared.direction.values, shared.covariance.values, color="#3b7d57")
    directions.axhline(shared.attrs["chance"], color="0.4", linestyle=":", linewidth=1, label="rows permuted")
    rank = int(shared.attrs["shared_rank"])
    directions.axvline(rank + 0.5, color="0.4", linewidth=1, label=f"shared rank {rank}")
    directions.set_xlabel("shared direction")
    directions.set_ylabel("singular value of Y$^T$X")
    directions.legend(fontsize=8)
    for ax in (norms, directions):
        ax.set_yscale("log")
    for ax in (norms, cosines, directions):
        ax.set_xscale("log")
    if title is not None:
        norms.figure.suptitle(plain(title))
    drawn: Figure = norms.figure
    return drawn


def explanation(
    explained: xarray.Dataset,
    *,
    components: int = 12,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure:
    """Draw what `homolog.explain_cka` found: contributions of pairs of components, and influences of examples.

    Parameters
    ----------
    explained
        what `homolog.explain_cka` returned.
    components
        how many of either side to show.
    title
        instead of the value of CKA.
    cmap, vmin, vmax, annotate
        of the contributions, as for `heatmap`; colours go from 0 to the largest by default.
    figure
        where to draw, a figure or a part of one (`figure.subfigures`); a new figure of fitting size by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in.

    Raises
    ------
    ValueError
        For a result of another kind.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x, y = np.random.default_rng(0).normal(size=(2, 100, 5))
    >>> hl.plot.explanation(hl.explain_cka(x, x + y)).get_suptitle()
    'linear CKA = 0.57, n = 100'
    """
    check_kind(explained, EXPLANATION)
    figure = drawn_in(figure, 9, 3.8)
    parts, examples = figure.subplots(1, 2)
    shown: Any = explained.contribution[:components, :components]
    values = np.asarray(shown.values, dtype=float)
    chosen = look((0.0, float(values.max())), "magma", cmap, vmin, vmax, annotate)
    image = draw_cells(parts, values, chosen)
    # Most contributions are next to nothing.
    write_numbers(parts, image, np.where(values < 0.005, np.nan, values) if annotate is None else values, annotate)
    for axis, side in ((parts.yaxis, "x"), (parts.xaxis, "y")):
        label_axis(axis, [str(k) for k in shown[f"component_{side}"].values])
    parts.set_ylabel("component of x")
    parts.set_xlabel("component of y")
    share = float(shown.sum()) / explained.attrs["cka"]
    parts.set_title(f"contributions ({share:.0%} of the value)", fontsize=10)
    draw_bar(parts, image, values, chosen)
    influence = explained.influence.values
    examples.plot(explained.example.values, influence, ".", markersize=3)
    largest = int(np.nanargmax(np.abs(influence)))
    examples.annotate(f"example {largest}", (largest, influence[largest]), fontsize=8)
    examples.axhline(0, color="0.5", linewidth=0.8)
    examples.set_xlabel("example")
    examples.set_title("influence: CKA less its value without the example", fontsize=10)
    default = f"linear CKA = {explained.attrs['cka']:.2f}, n = {int(explained.attrs['n_examples'])}"
    figure.suptitle(plain(title) if title is not None else default)
    return figure
