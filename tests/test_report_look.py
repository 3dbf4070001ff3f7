"""How the explorer looks in a browser: widths, themes, print, long names, and results that lack things."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import xarray
from browser import Browser

import homolog as hl

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
DRAWN = "document.body.dataset.drawn === 'yes'"


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(CHROMIUM, str(tmp_path_factory.mktemp("profile"))) as found:
        yield found


@pytest.fixture
def opened(browser, tmp_path):
    """Write a report, open it, and see afterwards that it made no complaint and asked nobody for anything."""

    def open_report(result, width=1300, scheme="light", media="", **options):
        browser.show(width, scheme, media)
        browser.open(hl.report(result, tmp_path / "report.html", **options).as_uri())
        browser.wait(DRAWN)
        return browser

    yield open_report
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:", "blob:"))] == []


def layers(rng, names, n=50):
    x = rng.normal(size=(n, 5))
    return {name: x + i / 3 * rng.normal(size=(n, 5)) for i, name in enumerate(names)}


def text_of(browser, element):
    return browser.evaluate(f"document.getElementById({json.dumps(element)}).innerText")


BROKEN_WORDS = """
[...document.querySelectorAll("table.told td:not(.name), table.facts td, th")].flatMap(cell => {
  const found = [], texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[^\\s]+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) found.push(word[0]);
    }
  }
  return found;
})
"""
CLIPPED = """
[...document.querySelectorAll(".picture")].flatMap(picture => {
  const frame = picture.getBoundingClientRect();
  return [...picture.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
      || box.bottom > frame.bottom + 1);
  }).map(text => picture.id + ": " + text.textContent);
})
"""


@pytest.mark.parametrize("width", [390, 800, 1300])
def test_nothing_is_cut_and_words_stay_whole(rng, opened, width):
    """Long names of layers take no room from what is said of them, and nothing is wider than the window."""
    x = rng.normal(size=(60, 5))
    x[3] = 50
    first = {"features.blocks.0.attention.output": x, "dead": np.ones((60, 4)), "wide": rng.normal(size=(60, 80))}
    second = {"a" * 300: x + rng.normal(size=(60, 5)), "of" + 12 * ".block": rng.normal(size=(60, 5))}
    second["wide"] = first["wide"] + 1
    second["features.blocks.0.attention.output"] = x**2
    found = hl.diagnose(first, second, n_permutations=19)
    result = hl.compare(first, second, measures="cka", null="permutation", n_permutations=19)
    browser = opened(result, width, diagnosis=found)
    assert [word for word in browser.evaluate(BROKEN_WORDS) if len(word) < 30] == []
    assert browser.evaluate(CLIPPED) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


ENDS = [f"{'quite_a_long_name_of_one_of_the_layers'}{i}" for i in range(4)]
MIDDLES = [f"{'m' * 19}{i}{'n' * 20}" for i in range(4)]


@pytest.mark.parametrize("width", [390, 1300])
def test_names_of_forty_letters_stay_apart(rng, opened, width):
    result = hl.compare(layers(rng, ENDS), layers(rng, MIDDLES), measures="cka")
    browser = opened(result, width)
    for axis in ("xtick", "ytick"):
        labels = browser.evaluate(
            f"[...document.querySelectorAll('#heatmap .{axis} text')].map(each => each.textContent)"
        )
        assert len(set(labels)) == len(labels) == 4
    sides = browser.evaluate(
        "[...document.querySelectorAll('#matches-picture .ytick text, #matches-picture .y2tick text')]"
        ".map(each => each.textContent)"
    )
    assert len(set(sides)) == 8
    rows = "[...document.querySelectorAll('#matches-a tbody tr')]"
    cells = browser.evaluate(f"{rows}.map(row => row.cells[0].querySelector('.short, .name').innerText)")
    assert len(set(cells)) == 4
    assert browser.evaluate("document.querySelector('#matches-a tbody .name').title") in (ENDS[0], "")
    assert ENDS[0] in text_of(browser, "chosen").replace("\n", "")


def test_light_dark_and_a_switch(rng, opened):
    result = hl.compare(layers(rng, "abc"), measures="cka")
    back = "getComputedStyle(document.body).backgroundColor"
    browser = opened(result, scheme="dark")
    dark = browser.evaluate(back)
    drawn = "place('heatmap').layout.paper_bgcolor"
    assert browser.evaluate(drawn) == browser.evaluate("colour('page')") == "#17151d"
    theme = "(() => {{ place('theme').value = '{}'; place('theme').dispatchEvent(new Event('change')); }})()"
    browser.evaluate(theme.format("light"))
    assert browser.evaluate(back) == "rgb(255, 255, 255)"
    assert browser.evaluate(drawn) == "#ffffff"
    browser.evaluate(theme.format(""))
    assert browser.evaluate(back) == dark


@pytest.mark.parametrize("begun", ["emulated", "by the browser's event"])
def test_print_shows_all_and_no_controls(rng, opened, begun):
    names = [f"transformer.encoder.layer.{i}.attention" for i in range(30)]
    result = hl.compare(layers(rng, names), layers(rng, names), measures=("cka", "procrustes_distance"))
    found = [hl.Finding("saturation", f"a: {name}", "its rank is full", "use more examples") for name in names]
    browser = opened(result, 720, "dark", diagnosis=found)
    folded = "document.querySelectorAll('details:not([open])').length"
    assert browser.evaluate(folded) == 2
    if begun == "emulated":
        browser.send("Emulation.setEmulatedMedia", media="print")
        browser.wait(f"onPaper.now && {folded} === 0")
        for hidden in (".toolbar", "nav", "#theme-control", "#pairs-table input", ".buttons"):
            assert browser.evaluate(f"document.querySelector('{hidden}').getClientRects().length") == 0
        assert names[29] in text_of(browser, "matches-a").replace("\n", "")
    else:
        browser.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert browser.evaluate(folded) == 0
    assert browser.evaluate("document.querySelectorAll('#matches-a tbody tr').length") == 30
    assert "1 to 150 of 900" in text_of(browser, "pairs-table")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 720
    assert browser.evaluate(CLIPPED) == []
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("place('heatmap').layout.paper_bgcolor") == "#ffffff"
    browser.send("Emulation.setEmulatedMedia", media="")
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    browser.wait(f"!onPaper.now && {folded} === 2")


def as_before(result):
    """Return a result as an earlier version wrote it: no types, no shapes, other names of companions."""
    result = result.drop_vars([name for name in result.coords if name.split("_")[0] in ("type", "shape")])
    former = {f"cka_p_{new}": f"cka_p_{old}" for new, old in (("fwer", "familywise"), ("fdr", "discovery"))}
    return result.rename({new: old for new, old in former.items() if new in result})


def odd_results():
    rng = np.random.default_rng(3)
    a, b = layers(rng, ["x", "y", "z"]), layers(rng, ["x", "y", "z", "w"])
    tested = hl.compare(a, b, measures="cka", null="permutation", n_permutations=19)
    plain = hl.compare(a, b, measures=("cka", "procrustes_distance"))
    many = hl.compare({"m": a, "n": b, "o": a}, measures="cka")
    endless = plain.copy(deep=True)
    endless.procrustes_distance.values[0] = [np.inf, -np.inf, np.nan, 1e-9]
    return {
        "one with itself": hl.compare(a, measures="cka"),
        "one layer": hl.compare({"x": a["x"]}, {"x": b["x"]}, measures="cka"),
        "same name": hl.compare(a, b, measures="cka", pairs="same_name"),
        "list of pairs": hl.compare(a, b, measures="cka", pairs=[("x", "w"), ("z", "x")]),
        "all NaN": plain.assign(cka=plain.cka * np.nan)
        .assign_attrs(measures='["cka"]')
        .assign(cka=(plain.cka * np.nan).assign_attrs(plain.cka.attrs)),
        "infinite": endless.assign_attrs(measures='["procrustes_distance"]'),
        "unbounded": hl.compare(a, b, measures=("hsic", "gulp_distance", "magnitude_difference")),
        "asymmetric": hl.compare(a, b, measures=("linear_regression", "cka")),
        "selected": tested.sel(layer_a=["z"], layer_b=["w", "x"]),
        "many selected": many.isel(a=[0, 1], b=[5, 6, 7]),
        "former": as_before(tested),
        "mean": hl.mean_over_models(hl.compare({"m": a, "n": a, "o": a}, measures="cka")),
    }


ODD = ["one with itself", "one layer", "same name", "list of pairs", "all NaN", "infinite", "unbounded", "asymmetric"]
ODD += ["selected", "many selected", "former", "mean"]


@pytest.fixture(scope="module")
def odd():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return odd_results()


@pytest.mark.parametrize("case", ODD)
def test_odd_results(opened, odd, case, tmp_path):
    result = odd[case]
    result.to_netcdf(tmp_path / "result.nc")
    browser = opened(xarray.load_dataset(tmp_path / "result.nc"))
    measures = json.loads(result.attrs["measures"])
    for number in range(len(measures)):
        browser.evaluate(
            f"(() => {{ place('measure').value = {number}; place('measure').dispatchEvent(new Event('change')); }})()"
        )
        values = np.asarray(result[measures[number]].values)
        drawn = browser.evaluate("place('heatmap').data.flatMap(each => (each.z ? [each.z] : []))")
        if case != "many selected":
            known = np.any([[[z is not None for z in row] for row in layer] for layer in drawn], axis=0)
            np.testing.assert_array_equal(known, ~np.isnan(values))
        assert text_of(browser, "now").startswith(measures[number])
    if case == "asymmetric":  # the last is cka, which is tested without being asked; linear_regression has a null level
        assert browser.evaluate("place('untested').hidden")
    if case in ("infinite", "mean"):
        assert ("mean over models" in text_of(browser, "untested")) == (case == "mean")
    told = text_of(browser, "chosen")
    assert ("No pair of layers has a value" in told) == bool(np.isnan(values).all())
    assert "undefined" not in browser.evaluate("document.body.innerText")
    assert "NaN" not in text_of(browser, "explore").replace("all NaN", "")
    assert browser.evaluate("document.querySelectorAll('#pairs-table tbody tr').length") >= 1


def test_the_frame_of_a_notebook_draws(rng, browser, tmp_path):
    """A frame without an origin draws and complains of nothing; the page around it stays itself."""
    page = tmp_path / "notebook.html"
    shown = hl.show(hl.compare(layers(rng, "abc"), measures="cka"), height=700)
    page.write_text(f"<title>notebook</title>{shown._repr_html_()}", encoding="utf-8")
    browser.show(1300)
    frame = browser.open_frame(page.as_uri())
    assert browser.wait(DRAWN, frame) is True
    assert browser.evaluate("place('heatmap').data[0].z.length", frame) == 3
    assert browser.evaluate("window.origin", frame) == "null"
    assert browser.evaluate("document.title") == "notebook"
    for domain in ("Runtime", "Log"):
        browser.send(f"{domain}.enable", frame)  # tells what was logged before, too
    assert browser.complaints() == []
