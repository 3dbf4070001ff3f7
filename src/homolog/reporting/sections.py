"""Parts of a page that are a heading, a few sentences, a picture and a table: what most kinds of result are told by."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.names import printable
from homolog.reporting.explorer_data import LARGEST, safe_json

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """One part of a page."""

    heading: str
    text: tuple[str, ...] = ()
    picture: Figure | None = None
    described: str = ""
    """What the picture shows, for those who cannot see it."""
    table: pandas.DataFrame | None = None


def rendered(sections: Iterable[Section]) -> list[dict[str, Any]]:
    """Return sections as what the page shows: pictures as addresses, tables as data."""
    return [
        {
            "place": f"section-{number}",
            "heading": printable(section.heading),
            "text": [printable(paragraph) for paragraph in section.text],
            "picture": None if section.picture is None else _address(section.picture),
            "described": printable(section.described or section.heading),
            "table": None if section.table is None else safe_json(_of_table(section.table)),
        }
        for number, section in enumerate(sections, 1)
    ]


def _address(figure: Figure) -> str:
    """Return a figure as an address that holds it, and close it: equal figures give equal addresses."""
    from matplotlib import pyplot, rc_context

    text = io.BytesIO()
    with rc_context({"svg.hashsalt": "homolog"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    pyplot.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(text.getvalue()).decode("ascii")


def _of_table(table: pandas.DataFrame) -> dict[str, Any]:
    """Return columns with their kinds, and rows; numbers that are none are left empty."""
    kinds = ["number" if table[name].dtype.kind in "iuf" else "text" for name in table.columns]
    columns = [{"title": printable(str(name)), "kind": kind} for name, kind in zip(table.columns, kinds, strict=True)]
    return {"columns": columns, "rows": [[_cell(value) for value in row] for row in table.itertuples(index=False)]}


def _cell(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else ""
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(np.clip(value, -LARGEST, LARGEST))
    return None if value is None else printable(str(value))
