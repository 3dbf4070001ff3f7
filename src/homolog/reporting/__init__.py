"""Results → one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from homolog.machine import optional
from homolog.reporting.page_data import data_for_page
from homolog.store.disk import write_whole

if TYPE_CHECKING:
    import xarray

    from homolog.analysis import Finding

TEMPLATE = Path(__file__).parent / "page.html"


def report(
    result: xarray.Dataset,
    path: str | PathLike[str],
    *,
    title: str | None = None,
    diagnosis: Iterable[Finding] | None = None,
) -> Path:
    """Write a result as one HTML file that opens anywhere, offline.

    Parameters
    ----------
    result
        what `homolog.compare` returned.
    path
        where to write; must end in .html. An existing file is replaced only when the new one is complete.
    title
        of the page; the names of the models by default.
    diagnosis
        what `homolog.diagnose` found, for a section of its own.

    Returns
    -------
    pathlib.Path
        The file: a heatmap per measure (hover for both layers, the value, its interval, the level of independent data and p where
        the result has them; crosses where p says chance), what a diagnosis found, the best matches both ways, layer
        identification where layers share names, every warning, and where the numbers come from.

    Raises
    ------
    ValueError
        If the result is not one of `homolog.compare`, or the path does not end in .html.
    ImportError
        Without plotly and jinja2, naming what to install.

    Notes
    -----
    About 5 MB, of which 4.8 MB are plotly's drawing library, embedded once. Names of layers and models are shown as text,
    whatever they contain.

    Examples
    --------
    >>> import numpy as np, homolog as hl, tempfile, pathlib
    >>> layers = {f"layer {i}": np.random.default_rng(i).normal(size=(99, 3)) for i in range(3)}
    >>> path = hl.report(hl.compare(layers), pathlib.Path(tempfile.mkdtemp()) / "report.html")
    >>> path.name
    'report.html'
    """
    jinja2 = optional("jinja2", "report", "a report")
    plotly = optional("plotly.offline", "report", "a report")
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"a report must be written to a file ending in .html, got {path.name!r}: change its name.")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    html = page.render(plotly=plotly.get_plotlyjs(), **data_for_page(result, title, diagnosis))
    write_whole(path, lambda unfinished: Path(unfinished).write_text(html, encoding="utf-8"))
    return path
