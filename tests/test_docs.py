"""What is generated must be current, and what is public must be in the reference."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import homolog as hl

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["measures", "paper"])
def test_generated_pages_are_current(name):
    spec = importlib.util.spec_from_file_location(f"{name}_page", ROOT / "tools" / f"{name}_page.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    written = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert written == tool.page(), f"run python tools/{name}_page.py"


def test_results_of_the_paper_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "paper").iterdir()) <= 5 * 2**20


def test_reference_names_everything_public():
    named = set(
        re.findall(
            r"^::: homolog\.([\w.]+)", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    warnings = {name for name in hl.__all__ if name.endswith("Warning")}
    pictures = {f"plot.{name}" for name in hl.plot.__all__}
    modules = {name for name in hl.__all__ if inspect.ismodule(getattr(hl, name))}
    assert named == set(hl.__all__) - warnings - modules | pictures | {"cautions"}


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
