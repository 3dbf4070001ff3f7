"""What is generated must be current, and what is public must be in the reference."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import homolog as hl

ROOT = Path(__file__).parent.parent


def test_measures_page_is_current():
    spec = importlib.util.spec_from_file_location("measures_page", ROOT / "tools" / "measures_page.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (ROOT / "docs" / "measures.md").read_text(encoding="utf-8") == tool.page(), (
        "run python tools/measures_page.py"
    )


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
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
