"""The explorer in a cell of a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from homolog.reporting.page import page_text
from homolog.reporting.page_data import model_names
from homolog.reporting.sections_data import title_of
from homolog.result_kinds import COMPARISON, kind_of

if TYPE_CHECKING:
    import xarray

    from homolog.analysis import Finding


@dataclass(frozen=True)
class Explorer:
    """A page in a frame, which a notebook shows; elsewhere it says what it is."""

    title: str
    page: str = field(repr=False)
    height: int

    def __str__(self) -> str:
        return (
            f"Explorer of {self.title}: a notebook shows it, and hl.report(result, 'report.html') writes it to a file."
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # The frame may run its own script and offer files. It has no origin, so that it can reach nothing of the notebook.
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" sandbox="allow-scripts allow-downloads" '
            f'title="{html.escape(str(self))}" '
            f'style="width: 100%; height: {self.height}px; border: 1px solid #bbb; border-radius: 6px"></iframe>'
        )


def show(
    result: xarray.Dataset,
    *,
    height: int = 900,
    title: str | None = None,
    diagnosis: Iterable[Finding] | None = None,
    groups: Any = None,
) -> Explorer:
    """Show a result in a notebook as the page that `homolog.report` writes.

    Parameters
    ----------
    result
        as for `homolog.report`.
    height
        of the frame, in pixels.
    title, diagnosis, groups
        as for `homolog.report`.

    Returns
    -------
    Explorer
        An object that a notebook shows in the cell that ends with it.

    Raises
    ------
    ValueError
        If the result is not one of `homolog.compare`, or the height is not a whole number of pixels of at least 200.
    ImportError
        Without jinja2, naming what to install.

    Notes
    -----
    Every cell that shows one holds the whole page, and so does the saved notebook: about 2 MB each.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> layers = {f"layer {i}": np.random.default_rng(i).normal(size=(99, 3)) for i in range(3)}
    >>> hl.show(hl.compare(layers), title="three layers")
    Explorer of three layers: a notebook shows it, and hl.report(result, 'report.html') writes it to a file.
    """
    if isinstance(height, bool) or not isinstance(height, int) or height < 200:
        raise ValueError(f"height must be a whole number of pixels of at least 200, got {height!r}: pass height=900.")
    page = page_text(result, title, diagnosis, groups)
    own = " and ".join(model_names(result)) if kind_of(result) == COMPARISON else title_of(result)
    return Explorer(title or own, page, height)
