"""What is generated must be current, and what is public must be in the reference."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import pickle
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import homolog as hl

ROOT = Path(__file__).parent.parent
WRITTEN = {"measures.registry.measures": "measures", "plot.heatmaps.heatmaps": "plot.heatmaps"}
"""As the reference writes it → the public name: a package and a module have the names of functions."""


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
    named = {WRITTEN.get(name, name) for name in named}
    warnings = {name for name in hl.__all__ if name.endswith("Warning")}
    pictures = {f"plot.{name}" for name in hl.plot.__all__}
    modules = {name for name in hl.__all__ if inspect.ismodule(getattr(hl, name))}
    pictures |= {f"testing.{name}" for name in hl.testing.__all__}
    assert named == set(hl.__all__) - warnings - modules | pictures | {"diagnostics"}


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", hl.measures())
def test_the_example_of_a_measure_runs(name):
    """The functions are made from formulas, where pytest does not look for examples."""
    function = hl.measure(name).function
    (found,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert found.examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    told = []
    runner.run(found, out=told.append)
    assert not runner.failures, "".join(told)


def test_sections_follow_from_the_record():
    """Ranges of variants, fewest examples, descriptions of options and sides, and references are each in the one place."""
    text = hl.cka.__doc__
    for part in (
        '0-d array of the library of the inputs, in [0, 1]; in [−1, 1] with estimator="debiased".',
        'fewer than 4 examples with\n    estimator="debiased", or a wrong option.',
        'estimator\n    "biased" or "debiased" (n >= 4).',
        f"References\n----------\n{hl.measure('cka').reference}.",
    ):
        assert part in text
    assert "target : (n, p) array, the features that are fitted." in hl.linear_regression.__doc__
    assert "A metric: the triangle inequality holds." in " ".join(hl.procrustes_distance.__doc__.split())
    assert "a wrong option" not in hl.bures_similarity.__doc__


def test_signatures_are_those_of_a_function_written_by_hand():
    assert str(inspect.signature(hl.svcca)) == (
        "(x: Any, y: Any, /, *, threshold: float = 0.99, statistic: Literal['r2', 'rho'] = 'r2') -> Any"
    )
    with pytest.raises(TypeError, match=r"svcca\(\) takes 2 positional arguments but 3 were given"):
        hl.svcca(np.eye(3), np.eye(3), 0.9)
    with pytest.raises(TypeError, match=r"svcca\(\) missing 1 required positional argument: 'y'"):
        hl.svcca(np.eye(3))
    with pytest.raises(TypeError, match="unknown option of svcca 'treshold', did you mean threshold"):
        hl.svcca(np.eye(3), np.eye(3), treshold=0.9)
    assert pickle.loads(pickle.dumps(hl.svcca)) is hl.svcca


ALONE = {"transport", "keras", "flax", "equinox"}
"""Extras that are not in `all`."""


def test_all_extras_are_installed_by_all_but_those_that_the_readme_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(re.findall(r"\w+", everything)) == extras.keys() - {"all", *ALONE} | {"homolog"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    developed_with = {part for part in project["dependency-groups"]["dev"] if isinstance(part, str)}
    for alone in ALONE:
        assert f'`".[{alone}]"`' in readme
        assert set(extras[alone]) <= developed_with
