"""Pages whose examples can be copied from the site, and the how-to pages as notebooks.

MkDocs calls the functions on_…, once each time the site is built; `python tools/pages.py FOLDER` writes the notebooks alone.
The code of a notebook is that of its page, which runs in the tests.
"""

from __future__ import annotations

import doctest
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
HOW_TO = "how_to/"
EXAMPLES = re.compile(r"^```python\n(>>> .*?)^```\n", re.DOTALL | re.MULTILINE)
DIRECTIVE = re.compile(r"[ ]*# doctest: [+-]\w+.*$", re.MULTILINE)


def parts(page: str) -> Iterator[tuple[str, str]]:
    """Split a page into ("prose", text), and, of its examples, ("code", statements) and ("output", what they print)."""
    end = 0
    for block in EXAMPLES.finditer(page):
        yield "prose", page[end : block.start()]
        yield from _statements(block[1])
        end = block.end()
    yield "prose", page[end:]


def _statements(block: str) -> Iterator[tuple[str, str]]:
    """Join statements up to the next output."""
    code = ""
    for example in doctest.DocTestParser().get_examples(block):
        code += DIRECTIVE.sub("", example.source)
        if example.want:
            yield "code", code
            yield "output", example.want
            code = ""
    if code:
        yield "code", code


def copyable(page: str) -> str:
    """Return the page with examples that can be copied: without prompts, and with outputs in blocks of their own."""
    fence = {"prose": "{}", "code": "```python\n{}```\n", "output": "``` {{ .text .output .no-copy }}\n{}```\n"}
    return "".join(fence[kind].format(text) for kind, text in parts(page))


def _alone(prose: str) -> str:
    """Take out the pictures, which a notebook draws itself, and the links to pages that are not beside it."""
    pieces = re.split(r"(^```.*?^```$)", prose, flags=re.DOTALL | re.MULTILINE)  # every second one is code
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"^!\[.*?\]\(.*?\)\n\n?", "", pieces[i], flags=re.MULTILINE)
        pieces[i] = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", pieces[i])
    return "".join(pieces)


def notebook(page: str, name: str) -> str:
    """Return a page as a notebook, without outputs, which running it makes."""
    cells = []
    for kind, text in parts(page):
        if kind == "prose":
            text = _alone(text)
        if kind == "output" or not text.strip():
            continue
        cell: dict[str, Any] = {"cell_type": "markdown", "id": f"{name}-{len(cells)}", "metadata": {}}
        if kind == "code":
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        cell["source"] = text.strip().splitlines(keepends=True)
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Put a notebook beside every how-to page."""
    from mkdocs.structure.files import File

    for file in list(files):
        if file.src_uri.startswith(HOW_TO) and file.src_uri.endswith(".md"):
            made = notebook(file.content_string, Path(file.src_uri).stem)
            files.append(File.generated(config, file.src_uri.removesuffix("md") + "ipynb", content=made))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Make the examples copyable, and offer the notebook under the title."""
    if page.file.src_uri.startswith(HOW_TO):
        link = f"[Download this page as a notebook]({Path(page.file.src_uri).stem}.ipynb){{ download }}"
        title, rest = markdown.split("\n", 1)
        markdown = f"{title}\n\n{link}\n{rest}"
    return copyable(markdown)


def asked_of_others(page: str) -> list[str]:
    """Return what a page of the site would load from another server; links that a reader may follow are none of that."""
    return re.findall(
        r"<(?:script|img|iframe|source)\b[^>]*\ssrc=\"?(?:https?:)?//[^\s\">]+|<link\b[^>]*\shref=\"?(?:https?:)?//[^\s\">]+",
        page,
    )


def on_post_build(config: Any) -> None:
    """Refuse a site that does not work without a network."""
    from mkdocs.exceptions import Abort

    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := asked_of_others(path.read_text(encoding="utf-8")):
            raise Abort(
                f"{path.name} must work without a network, but loads {found[0]}: put the file into docs/assets."
            )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((DOCS / HOW_TO).glob("*.md")):
        made = notebook(path.read_text(encoding="utf-8"), path.stem)
        (folder / f"{path.stem}.ipynb").write_text(made, encoding="utf-8")
