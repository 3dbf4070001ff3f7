"""No module imports one that imports it, not even inside a function; import-linter holds which rooms may know which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import homolog

ROOT = Path(homolog.__file__).parent


def imports_of(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """Yield the modules of homolog that code imports, wherever it does; not what it imports for its types alone."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name in modules)
    elif isinstance(node, ast.ImportFrom) and node.module in modules:
        names = (f"{node.module}.{name.name}" for name in node.names)
        yield from (name if name in modules else node.module for name in names)
    for child in ast.iter_child_nodes(node):
        yield from imports_of(child, modules)


def imports_in(root: Path) -> dict[str, set[str]]:
    """Return which modules of a package import which."""
    files = {
        ".".join((root.name, *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in root.rglob("*.py")
    }
    return {name: {*imports_of(ast.parse(file.read_text()), {*files})} - {name} for name, file in files.items()}


def test_no_module_imports_one_that_imports_it():
    found = imports_in(ROOT)
    assert "homolog.extraction.session" in found["homolog.extraction"]  # inside a function
    TopologicalSorter(found).prepare()


def test_a_circle_inside_functions_is_seen(tmp_path):
    for name, other in (("first", "second"), ("second", "first")):
        (tmp_path / f"{name}.py").write_text(f"def call():\n    from {tmp_path.name}.{other} import call\n    call()\n")
    with pytest.raises(CycleError, match="first"):
        TopologicalSorter(imports_in(tmp_path)).prepare()
