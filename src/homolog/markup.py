"""What notebooks show of an object: tables and paragraphs in which every text is escaped.

There is no colour of our own but a grey that is seen on white and on black: text and ground are those of the notebook. There is
no style sheet either, which notebooks would share with what else they show.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from homolog.names import printable, writable

_ROW = '<tr style="border-bottom: 1px solid rgba(128, 128, 128, 0.4); vertical-align: top">'
_TABLE = '<table style="border-collapse: collapse; color: inherit; background: none; overflow-wrap: break-word">'
_FRAME = "max-height: 36em; max-width: 100%; overflow: auto; line-height: 1.45"
_MANY_ROWS = 12
"""A longer table gets a frame that scrolls."""


def text(value: object) -> str:
    """Return a value as people read it, escaped.

    >>> text("<b>conv</b>"), text(0.123456), text(True), text(None)
    ('&lt;b&gt;conv&lt;/b&gt;', '0.1235', 'yes', '')
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return "" if value is None else html.escape(writable(printable(str(value))))


def title(words: object) -> str:
    """Return the first line of an object, in bold."""
    return f'<div style="margin: 4px 0"><strong>{text(words)}</strong></div>'


def paragraphs(lines: Iterable[object]) -> str:
    """Return sentences, one below the other; no sentence is cut."""
    written = (html.escape(writable(printable(str(line)))) for line in lines)
    return "".join(f'<p style="margin: 4px 0; max-width: 60em">{line}</p>' for line in written)


def table(heads: Sequence[str], groups: Mapping[str, Iterable[Sequence[object]]]) -> str:
    """Return a table whose rows stand in groups, each below its name; a group without a name has no line for it."""
    lines = [_row("th", heads)] if any(heads) else []
    for name, rows in groups.items():
        if name:
            lines.append(_row("th", [name], f' colspan="{len(heads)}" scope="rowgroup"'))
        lines += [_row("td", row) for row in rows]
    frame = f'<div style="{_FRAME}" tabindex="0">' if len(lines) > _MANY_ROWS else "<div>"
    return "".join([frame, _TABLE, *lines, "</table></div>"])


def _row(tag: str, values: Iterable[object], attributes: str = "") -> str:
    cells = []
    for value in values:
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
        style = f"text-align: {'right' if number else 'left'}; padding: 2px 10px 2px 0"
        cells.append(f'<{tag}{attributes} style="{style}">{text(value)}</{tag}>')
    return "".join([_ROW, *cells, "</tr>"])


def named_values(words: object, values: Mapping[str, object]) -> str:
    """Return a title, and a table of names and values."""
    return title(words) + table(("", ""), {"": values.items()})


class Shown:
    """A record that notebooks show as a table of its fields."""

    def _repr_html_(self) -> str:
        record: Any = self
        values = {field.name: getattr(self, field.name) for field in fields(record) if field.repr}
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self).__name__).capitalize()
        return named_values(words, values)
