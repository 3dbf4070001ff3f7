"""How long the explorer of a report takes to be drawn in a browser: python benchmarks/page.py

Needs Debian's chromium. Opens pages of two models of 24 and of 150 layers, and of six models of eight, five times each, in a
browser of its own each time. Drawn is when every picture and table stands; after it comes how long another measure takes.
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

MEASURES = ("cka(estimator=debiased)", "cka")
DRAWN = "Math.round(performance.getEntriesByName('drawn')[0].startTime)"
CHANGE = """
(async () => {
  const start = performance.now();
  state.measure = 1;
  await refresh();
  return Math.round(performance.now() - start);
})()
"""


def network(rng: np.random.Generator, layers: int) -> dict[str, np.ndarray]:
    x = rng.normal(size=(60, 6))
    return {f"blocks.{i}.mlp": x + i / 4 * rng.normal(size=(60, 6)) for i in range(layers)}


def results() -> dict[str, object]:
    """Return results with null levels and three kinds of p-values, as many numbers as a comparison gives."""
    rng = np.random.default_rng(0)
    tested = {"measures": MEASURES, "null": "permutation", "n_permutations": 19}
    found: dict[str, object] = {}
    for layers in (24, 150):
        found[f"2 models of {layers} layers"] = hl.compare(network(rng, layers), network(rng, layers), **tested)
    found["6 models of 8 layers"] = hl.compare({f"seed {k}": network(rng, 8) for k in range(6)}, **tested)
    return found


def milliseconds(chromium: str, path: Path, profile: Path) -> tuple[int, int]:
    """Return how long the page takes from the request until it is drawn, and until another measure is."""
    with Browser(chromium, str(profile)) as browser:
        browser.open(path.as_uri())
        browser.wait("document.body.dataset.drawn === 'yes'")
        return int(browser.evaluate(DRAWN)), int(browser.evaluate(CHANGE))


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("needs chromium: apt-get install chromium")
    warnings.simplefilter("ignore", hl.HomologWarning)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (what, result) in enumerate(results().items()):
            path = hl.report(result, folder / "report.html")
            times = [milliseconds(chromium, path, folder / f"{number}-{i}") for i in range(5)]
            drawn, changed = (sorted(each) for each in zip(*times, strict=True))
            print(
                f"{what}: {path.stat().st_size / 1e6:.1f} MB, drawn in {drawn} ms, median {statistics.median(drawn):.0f} ms;"
                f" another measure in {statistics.median(changed):.0f} ms"
            )


if __name__ == "__main__":
    main()
