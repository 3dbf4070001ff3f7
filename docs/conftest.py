"""Pages write their files into a folder of their own, and leave no figure open."""

from __future__ import annotations

import sys

import matplotlib
import pytest

matplotlib.use("Agg")

LIBRARIES = "other_libraries.md"
"""The page that imports libraries that take seconds to import."""


def pytest_collection_modifyitems(items):
    """Mark the page of other libraries, and leave out a warning that PEFT draws from transformers."""
    for item in items:
        if item.path.name == LIBRARIES:
            item.add_marker(pytest.mark.slow)
            item.add_marker(
                pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
            )


@pytest.fixture(autouse=True)
def beside_nothing(tmp_path, monkeypatch):
    """Run the code of a page in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
    if "nnsight" in sys.modules and hasattr(object(), "save"):
        from nnsight._c.py_mount import unmount

        unmount("save")  # which nnsight gives to every object of the process
