"""How long the page of a report takes to load in a browser: python benchmarks/page.py [layers]

Needs Debian's chromium. Loads the page of two models of as many layers five times, each in a browser of its own.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import homolog as hl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from browser import Browser

LAYERS = int(sys.argv[1]) if len(sys.argv) > 1 else 150
LOADED = "performance.timing.loadEventEnd - performance.timing.navigationStart"


def page(folder: Path) -> Path:
    """Write a report on two models."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6))
    models = [{f"blocks.{i}.mlp": x + i * rng.normal(size=(60, 6)) for i in range(LAYERS)} for _ in range(2)]
    return hl.report(hl.compare(*models, measures=("cka", "cka(estimator=debiased)")), folder / "report.html")


def milliseconds(chromium: str, path: Path, profile: Path) -> int:
    """Return how long the page takes from the first request to the end of its load event, all figures drawn."""
    with Browser(chromium, str(profile)) as browser:
        browser.open(path.as_uri())
        assert browser.evaluate("document.body.dataset.drawn") == "yes"
        return int(browser.evaluate(LOADED))


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("needs chromium: apt-get install chromium")
    warnings.simplefilter("ignore", hl.HomologWarning)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = page(folder)
        found = [milliseconds(chromium, path, folder / str(i)) for i in range(5)]
        print(
            f"{LAYERS} layers, {path.stat().st_size / 1e6:.1f} MB: {found} ms, median {statistics.median(found):.0f} ms"
        )


if __name__ == "__main__":
    main()
