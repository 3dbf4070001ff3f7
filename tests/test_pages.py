"""How-to pages: found from everywhere, their pictures their own, and their notebooks the code that the tests run."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOW_TO = sorted((DOCS / "how_to").glob("*.md"))
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, ROOT / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


pages = module(Path("tools/pages.py"))
drawing = module(Path("examples/how_to_pictures.py"))


def test_every_page_is_in_the_navigation():
    named = re.findall(r"[\w/]+\.md", NAVIGATION)
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_is_found_and_has_its_parts(page):
    for place in ("docs/gallery.md", "README.md"):
        assert f"how_to/{page.name}" in (ROOT / place).read_text(encoding="utf-8"), place
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0].endswith("?")
    assert headings[-3:] == ["How to read it", "What not to conclude", "Next"]


@pytest.mark.parametrize("page", drawing.pages(), ids=lambda page: page.stem)
def test_a_page_shows_the_pictures_that_its_code_saves(page):
    saved = set(re.findall(r'(?:savefig\(|draw\(.*, )"([\w.]+\.png)"', page.read_text(encoding="utf-8")))
    shown = set(re.findall(r"\(\S*pictures/how_to/([\w.]+)\)", page.read_text(encoding="utf-8")))
    assert saved == shown
    assert saved


def test_pictures_of_pages_are_small_and_used():
    files = list((DOCS / "pictures" / "how_to").iterdir())
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    assert all(f"pictures/how_to/{path.name})" in text for path in files)
    assert sum(path.stat().st_size for path in files) < 2**20


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_code_of_a_notebook_is_that_of_its_page(page):
    made = json.loads(pages.notebook(page.read_text(encoding="utf-8"), page.stem))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    assert made["cells"][0]["source"][0].startswith("# ")
    code = "\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code")
    assert code.split("\n") == "".join(each.source for each in drawing.code(page)).rstrip("\n").split("\n")
    prose = "\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert ">>>" not in prose
    assert not re.search(r"\]\((?!http)", re.sub(r"```.*?```", "", prose, flags=re.DOTALL))


def test_a_notebook_runs(tmp_path, monkeypatch):
    """The code of the others runs as that of their pages."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "how_to" / "embeddings_from_files.md"
    names = {}
    for cell in json.loads(pages.notebook(page.read_text(encoding="utf-8"), page.stem))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    plt.close("all")
    assert names["found"]["layer_a"].tolist() == ["version1", "version2"]
    assert (tmp_path / "embeddings_from_files.png").exists()


PAGE = """# Title

```python
>>> x = 1
>>> for i in range(2):
...     print(x, "    indented", i)  # two
1     indented 0
1     indented 1
>>> x  # doctest: +SKIP
7
>>> y = x

```

```python
import other
```
"""


def test_examples_are_copied_without_prompts():
    assert (
        pages.copyable(PAGE)
        == """# Title

```python
x = 1
for i in range(2):
    print(x, "    indented", i)  # two
```
``` { .text .output .no-copy }
1     indented 0
1     indented 1
```
```python
x
```
``` { .text .output .no-copy }
7
```
```python
y = x
```

```python
import other
```
"""
    )


def test_a_page_without_examples_stays_as_it_is():
    for name in ("scope.md", "architecture.md"):
        text = (DOCS / name).read_text(encoding="utf-8")
        assert pages.copyable(text) == text


def test_the_site_asks_no_other_server():
    """The offline plugin names a server for what it needs, unless the site has it."""
    (script,) = re.findall(r"polyfills: \[(.*)\]", NAVIGATION)
    assert "iframe-worker" in script
    assert "Copyright (c)" in (DOCS / script).read_text(encoding="utf-8")
    assert "http" not in re.sub(r"generator|#.*", "", NAVIGATION)
    assert "font: false" in NAVIGATION


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="https://unpkg.com/shim"></script>', True),
        ('<link rel="stylesheet" href="//fonts.org/a.css">', True),
        ("<img alt=x src=http://a.org/b.png>", True),
        ('<a href="https://a.org">there</a><script src="../assets/a.js"></script>', False),
        ('<pre>&lt;script src="https://a.org"&gt;</pre><link rel="icon" href="assets/a.png">', False),
    ],
)
def test_a_page_that_needs_another_server_is_found(html, loads):
    assert bool(pages.asked_of_others(html)) is loads


def test_pictures_are_drawn_by_the_code_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        ">>> import matplotlib.pyplot as plt\n>>> plt.figure(figsize=(1, 1)).savefig('picture.png')\n"
        ">>> 1 / 0  # doctest: +SKIP\n"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.run(page, folder)
    plt.close("all")
    assert [path.name for path in folder.iterdir()] == ["picture.png"]
