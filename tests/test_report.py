"""The report, read as text and opened in a browser."""

from __future__ import annotations

import re
import shutil
import warnings

import numpy as np
import pytest
from browser import Browser

import homolog as hl

CHROMIUM = shutil.which("chromium")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
NASTY = "<script>document.title='owned'</script>"


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def layers(rng, count, n=60):
    x = rng.normal(size=(n, 6))
    return {f"blocks.{i}.mlp": x + i * rng.normal(size=(n, 6)) for i in range(count)}


@pytest.fixture
def nasty(rng, tmp_path):
    first = hl.Activations(
        layers(rng, 3) | {NASTY: rng.normal(size=(60, 90))}, provenance={"model": NASTY, "reduce": "mean"}
    )
    second = layers(rng, 3) | {"dead": np.ones((60, 2))}
    result = hl.compare(first, second, measures=("cka", "cka(estimator=debiased)", "pwcca"))
    return hl.report(result, tmp_path / "report.html").read_text(encoding="utf-8")


def test_says_everything_a_reader_needs(nasty):
    text = re.sub(r"<script>.*?</script>", "", nasty, flags=re.DOTALL)
    for words in (
        "ConstantLayerWarning",
        "leave such layers out",
        "SaturationWarning",
        "tr(KHLH)",
        "Kornblith",
        "reduce: mean",
    ):
        assert words in text
    assert "Unchanged by orthogonal, permutation, isotropic scaling, translation" in text
    assert "Is the most alike layer the one of the same name?" in text
    assert "smaller is more alike" not in text
    assert text.count("<summary>") == 3


def test_names_are_data(nasty):
    assert NASTY not in nasty
    assert nasty.count("<script") == 3


def test_nothing_points_outside(nasty):
    ours = re.sub(r"<script>.*?</script>", "", nasty, count=1, flags=re.DOTALL)  # without plotly's own text
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", ours)
    assert "http" not in ours


def test_many_models_and_one_with_itself(rng, tmp_path):
    seeds = {f"seed {i}": layers(rng, 2) for i in range(3)}
    page = hl.report(hl.compare(seeds, measures="procrustes_distance"), tmp_path / "many.html").read_text(
        encoding="utf-8"
    )
    assert "3 models compared over 60 examples" in page
    assert "seed 0, seed 1 and seed 2" in page
    assert "smaller is more alike" in page
    alone = hl.report(hl.compare(seeds["seed 0"], measures="cka"), tmp_path / "alone.html", title="Mine").read_text(
        encoding="utf-8"
    )
    assert "<h1>Mine</h1>" in alone
    assert "most alike other layer" in alone
    with pytest.raises(ValueError, match=r"ending in \.html"):
        hl.report(hl.compare(seeds["seed 0"], measures="cka"), tmp_path / "report.pdf")


HOVERED = """
new Promise(resolve => {
  const look = () => {
    const text = document.querySelector("#figure-0 .hoverlayer").textContent;
    text ? resolve(text) : requestAnimationFrame(look);
  };
  look();
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(CHROMIUM, str(tmp_path_factory.mktemp("profile"))) as found:
        yield found


@in_browser
@pytest.mark.parametrize("count", [4, 150])
def test_opens_in_a_browser(rng, tmp_path, count, browser):
    first, second = layers(rng, count), layers(rng, count)
    first[NASTY] = second[NASTY] = first["blocks.0.mlp"]
    result = hl.compare(
        dict(reversed(first.items())), dict(reversed(second.items())), measures=("cka", "cka(estimator=debiased)")
    )
    path = hl.report(result, tmp_path / "report.html")
    assert path.stat().st_size < 8e6
    browser.open(path.as_uri())
    assert browser.evaluate("document.body.dataset.drawn") == "yes"
    assert "owned" not in browser.evaluate("document.title")
    place = browser.evaluate(
        "(() => { const cell = document.querySelector('#figure-0 .nsewdrag'); cell.scrollIntoView({block: 'center'});"
        "const box = cell.getBoundingClientRect(); return [box.left + 2, box.bottom - 2]; })()"
    )
    browser.move(*place)
    hovered = browser.evaluate(HOVERED)
    assert hovered.count(NASTY) == 2  # the first row and column, as text
    assert f"{result.cka.values[0, 0]:.5g}" in hovered
    assert "independent data" in hovered
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:", "blob:"))] == []


BROKEN_WORDS = """
[...document.querySelectorAll("table td:not(:nth-child(2)), table.facts td, th")].flatMap(cell => {
  const found = [], texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[^\\s]+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (range.getClientRects().length > 1) found.push(word[0]);
    }
  }
  return found;
})
"""


@in_browser
@pytest.mark.parametrize("width", [400, 800, 1200])
def test_tables_keep_words_whole(rng, tmp_path, width, browser):
    """Long names of layers take no room from what is said of them, and nothing is wider than the window."""
    x = rng.normal(size=(60, 5))
    x[3] = 50
    first = {"features.blocks.0.attention.output": x, "dead": np.ones((60, 4)), "wide": rng.normal(size=(60, 80))}
    second = {"a" * 300: x + rng.normal(size=(60, 5)), "of" + 12 * ".block": rng.normal(size=(60, 5))}
    found = hl.diagnose(first, second)
    path = hl.report(hl.compare(first, second, measures="cka"), tmp_path / "report.html", diagnosis=found)
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(path.as_uri())
    broken = browser.evaluate(BROKEN_WORDS)
    assert [word for word in broken if len(word) < 30] == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
