"""Results → one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homolog.reporting.page import page_text
from homolog.reporting.showing import Explorer, show
from homolog.store.disk import write_whole

if TYPE_CHECKING:
    import xarray

    from homolog.analysis import Finding

__all__ = ["Explorer", "report", "show"]


def report(
    result: xarray.Dataset,
    path: str | PathLike[str],
    *,
    title: str | None = None,
    diagnosis: Iterable[Finding] | None = None,
    groups: Any = None,
) -> Path:
    """Write a result as one HTML file to explore, which opens anywhere, offline.

    Parameters
    ----------
    result
        what `homolog.compare` returned, or `compare_checkpoints`, `model_similarity` or `redundancy`.
    path
        where to write; must end in .html. An existing file is replaced only when the new one is complete.
    title
        of the page; the names of the models by default.
    diagnosis
        what `homolog.diagnose` found, for a section of its own.
    groups
        of many models: which group each belongs to, {model: group}, such as its architecture. The page then tests whether
        groups are more alike within than between; see `permanova`.

    Returns
    -------
    pathlib.Path
        The file. It opens with the summary and the warnings. Below stands a heatmap with a choice of measure, of the pair of
        models, and of what is shown; a cell that is hovered over, clicked, or reached with the arrow keys says all that is
        known of its two layers. Then come the layers of the same name as a line, the best matches both ways, tables that
        sort, filter and search, layer identification, what a diagnosis found, and where the numbers come from. Tables can be
        saved as CSV and pictures as PNG or SVG.

    Raises
    ------
    ValueError
        If the result is not one of `homolog.compare`, or the path does not end in .html.
    ImportError
        Without jinja2, naming what to install.

    Notes
    -----
    About 1.6 MB, of which 1.5 MB are plotly's drawing library, embedded once; two models of 150 layers take 2 to 4 MB. Pairs that
    are no better than chance are grey, and no best matches. Names of layers and models are shown as text, whatever they contain.

    Examples
    --------
    >>> import numpy as np, homolog as hl, tempfile, pathlib
    >>> layers = {f"layer {i}": np.random.default_rng(i).normal(size=(99, 3)) for i in range(3)}
    >>> path = hl.report(hl.compare(layers), pathlib.Path(tempfile.mkdtemp()) / "report.html")
    >>> path.name
    'report.html'
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"a report must be written to a file ending in .html, got {path.name!r}: change its name.")
    html = page_text(result, title, diagnosis, groups)
    write_whole(path, lambda unfinished: Path(unfinished).write_text(html, encoding="utf-8"))
    return path
