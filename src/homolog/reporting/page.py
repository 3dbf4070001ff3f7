"""The page as text: its template, style and scripts, and what they show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from homolog.machine import optional
from homolog.reporting.page_data import data_for_page

if TYPE_CHECKING:
    import xarray

    from homolog.analysis import Finding

HERE = Path(__file__).parent
SCRIPTS = ("text", "views", "pictures", "heatmap", "lines", "tables", "panel", "explorer")
"""In the order in which they are read: each uses those before it."""


def page_text(result: xarray.Dataset, title: str | None = None, diagnosis: Iterable[Finding] | None = None) -> str:
    """Return the whole page of a result."""
    jinja2 = optional("jinja2", "report", "a report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    html: str = environment.from_string(_text("page.html")).render(
        style=_text("page.css"),
        plotly=_text("plotly-cartesian.min.js"),
        scripts=[_text(f"{name}.js") for name in SCRIPTS],
        **data_for_page(result, title, diagnosis),
    )
    return html


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
