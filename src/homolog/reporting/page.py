"""The page as text: its template, style and scripts, and what they show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homolog.machine import optional
from homolog.reporting.page_data import data_for_page
from homolog.reporting.sections_data import data_for_sections
from homolog.result_kinds import COMPARISON, kind_of

if TYPE_CHECKING:
    import xarray

    from homolog.analysis import Finding

HERE = Path(__file__).parent
SCRIPTS = (
    *("text", "views", "pictures", "heatmap", "lines"),
    *("whole_page", "tables", "sections", "panel", "explorer"),
)
"""Of the page of a comparison, in the order in which they are read: each uses those before it."""
SCRIPTS_OF_SECTIONS = ("text", "whole_page", "tables", "sections")
"""Of the pages of other results."""


def page_text(
    result: xarray.Dataset,
    title: str | None = None,
    diagnosis: Iterable[Finding] | None = None,
    groups: Any = None,
) -> str:
    """Return the whole page of a result."""
    jinja2 = optional("jinja2", "report", "a report")
    pages = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=pages)
    explored = kind_of(result) == COMPARISON
    found = (data_for_page if explored else data_for_sections)(result, title, diagnosis, groups)
    scripts = SCRIPTS if explored else SCRIPTS_OF_SECTIONS
    html: str = environment.get_template("page.html" if explored else "sections.html").render(
        style=_text("page.css"),
        plotly=_text("plotly-cartesian.min.js") if explored else "",
        scripts=[_text(f"{name}.js") for name in scripts],
        **found,
    )
    return html


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
