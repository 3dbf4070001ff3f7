"""The pictures of the how-to pages, drawn by the code that stands on the pages.

    python examples/how_to_pictures.py [page ...]

Runs every page of docs/ that saves a picture and puts what it saved into docs/pictures/how_to/. About a minute on two cores.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"


def pages() -> list[Path]:
    """Return the pages whose code saves a picture."""
    return [page for page in sorted(DOCS.rglob("*.md")) if any(".savefig(" in each.source for each in code(page))]


def code(page: Path) -> list[doctest.Example]:
    """Return the statements of a page."""
    return doctest.DocTestParser().get_examples(page.read_text(encoding="utf-8"), page.name)


def run(page: Path, folder: Path) -> None:
    """Run the code of a page in a folder; what it prints is checked by the tests, not here."""
    names = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        for example in (each for each in code(page) if doctest.SKIP not in each.options):
            exec(compile(example.source, f"{page.name}:{example.lineno + 1}", "single"), names)


def main(chosen: list[str]) -> None:
    """Draw the pictures of some pages, or of all."""
    for page in pages():
        if chosen and page.stem not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            run(page, Path(folder))
            plt.close("all")
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, DOCS / "pictures" / "how_to" / picture.name)
        print(page.stem, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
