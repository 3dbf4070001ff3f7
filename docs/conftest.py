"""Pages write their files into a folder of their own, and leave no figure open."""

from __future__ import annotations

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def beside_nothing(tmp_path, monkeypatch):
    """Run the code of a page in an empty folder."""
    monkeypatch.chdir(tmp_path)
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
