"""What a test of groups of models found: their pairs within and between groups, and what chance makes of the statistic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.model_groups import GroupTest
from homolog.arrays import described
from homolog.plot.labels import drawn_in, label_axis, plain, short
from homolog.results import written_probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

BINS = 30


def permanova(found: GroupTest, *, title: str | None = None, figure: Figure | SubFigure | None = None) -> Figure:
    """Draw what `homolog.permanova` found: the pairs of models within and between groups, and the test.

    Parameters
    ----------
    found
        what `homolog.permanova` returned.
    title
        above the panels, instead of the share of the spread that lies between groups.
    figure
        where to draw, a figure or a part of one (`figure.subfigures`); a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn in. Left: a point for every pair of models, within each group and between groups, and the mean of each
        row as a line. Right: pseudo-F under the arrangements of the labels in grey, and the observed one as a line; p is the
        share of the grey that is there or further to the right.

    Raises
    ------
    TypeError
        For anything but the result of `homolog.permanova`.
    ImportError
        Without matplotlib, naming what to install.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> family = np.repeat(["cnn", "transformer"], 4)
    >>> similar = np.where(family[:, None] == family, 0.8, 0.3) + 0.2 * np.eye(8)
    >>> hl.plot.permanova(hl.permanova(similar, family)).get_suptitle()
    'groups hold 65% of the spread, p = 0.029'
    """
    if not isinstance(found, GroupTest):
        raise TypeError(
            f"this needs what homolog.permanova returned, got {described(found)}: pass homolog.permanova(similarities, groups)."
        )
    inner = {name: values for name, values in found.pairs_within.items() if len(values)}
    rows = [(f"within {name}", values) for name, values in zip(short(list(inner)), inner.values(), strict=True)]
    rows.append(("between groups", found.pairs_between))
    figure = drawn_in(figure, 9.0, max(3.2, 1.4 + 0.32 * len(rows)))
    pairs, null = figure.subplots(1, 2, width_ratios=(1.3, 1))
    _draw_pairs(pairs, found, rows)
    _draw_null(null, found)
    written = written_probability(found.pvalue)
    p = f"p {written}" if written.startswith("<") else f"p = {written}"
    figure.suptitle(f"groups hold {found.r2:.0%} of the spread, {p}" if title is None else plain(title))
    return figure


def _draw_pairs(ax: Axes, found: GroupTest, rows: list[tuple[str, np.ndarray]]) -> None:
    """Draw every pair as a point, groups from top to bottom and the pairs between groups below them."""
    random = np.random.default_rng(0)
    rows = rows[::-1]
    for place, (_, values) in enumerate(rows):
        colour = "#3b6ea8" if place else "0.45"
        beside = place + random.uniform(-0.18, 0.18, len(values))
        ax.plot(values, beside, linestyle="none", marker="o", markersize=4, markeredgewidth=0, alpha=0.5, color=colour)
        ax.plot([values.mean()] * 2, [place - 0.34, place + 0.34], color=colour, linewidth=2)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    label_axis(ax.yaxis, [name for name, _ in rows])
    ax.set_xlabel(f"{found.kind} of two models, line: mean")


def _draw_null(ax: Any, found: GroupTest) -> None:
    ax.hist(found.null[np.isfinite(found.null)], bins=BINS, color="0.75")
    if np.isfinite(found.statistic):
        ax.axvline(found.statistic, color="#a84b3b", linewidth=1.6)
    ax.set_xlabel("pseudo-F, line: observed")
    how = f"all {found.n_arrangements}" if found.exact else f"{found.n_arrangements - 1} random"
    ax.set_ylabel(f"{how} arrangements")
