"""The explorer in a browser: what mouse, keyboard, choices and files do."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import warnings

import numpy as np
import pytest
from browser import Browser

import homolog as hl

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
NASTY = "<script>document.title='owned'</script>"
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
        browser.move(0, 0)
        return browser

    yield open_report
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:", "blob:"))] == []
    assert "owned" not in browser.evaluate("document.title")


def network(rng, count, n=60, prefix="blocks."):
    x = rng.normal(size=(n, 6))
    return {f"{prefix}{i}.mlp": x + i / 5 * rng.normal(size=(n, 6)) for i in range(count)}


def compared(rng, count, **options):
    shared = network(rng, count)
    other = {name: array + rng.normal(size=array.shape) for name, array in shared.items()}
    other["noise"] = rng.normal(size=(60, 4))
    return hl.compare(shared, other, **options)


def text_of(browser, element):
    return browser.evaluate(f"document.getElementById({json.dumps(element)}).innerText")


def cell(browser, row, column):
    """Return where a cell of the heatmap is on the screen, after bringing it there."""
    return browser.evaluate(
        f"(() => {{ const target = place('heatmap'), {{ xaxis, yaxis }} = target._fullLayout;"
        "target.querySelector('.nsewdrag').scrollIntoView({ block: 'center' });"
        "const box = target.getBoundingClientRect();"
        f"return [box.left + xaxis._offset + xaxis.l2p({column}), box.top + yaxis._offset + yaxis.l2p({row})]; }})()"
    )


def choose(browser, control, value):
    browser.evaluate(
        f"(() => {{ const select = place({json.dumps(control)}); select.value = {json.dumps(str(value))};"
        "select.dispatchEvent(new Event('change')); })()"
    )


def chosen_pair(browser):
    return browser.evaluate(
        "[...document.querySelectorAll('#chosen .layer .name:first-of-type')].map(each => each.textContent)"
    )[::2]


def chosen_value(browser):
    return browser.evaluate("document.querySelector('#chosen .figure-value').textContent")


@pytest.mark.parametrize(("count", "width", "scheme"), [(5, 1300, "light"), (50, 390, "dark"), (150, 1300, "dark")])
def test_hover_click_and_keys_fill_the_panel(rng, opened, count, width, scheme):
    result = compared(rng, count, null="permutation", n_permutations=19)
    browser = opened(result, width, scheme)
    values, last = result["cka(estimator=debiased)"].values, count - 1
    browser.move(*cell(browser, last, 1))
    browser.wait(f"place('chosen').innerText.includes({json.dumps(f'{values[last, 1]:.5g}'.replace('-', '−'))})")
    assert "null level" in text_of(browser, "chosen")
    browser.click(*cell(browser, 2, 1))
    browser.wait("state.cell && state.cell[0] === 2 && state.cell[1] === 1")
    browser.evaluate("place('heatmap').focus()")
    for key, (row, column) in {"ArrowUp": (3, 1), "ArrowRight": (3, 2), "ArrowDown": (2, 2), "End": (2, count)}.items():
        browser.press(key)
        assert browser.evaluate("state.cell") == [row, column]
        assert f"{values[row, column]:.5g}".replace("-", "−") in text_of(browser, "chosen")
    assert browser.evaluate("place('chosen').getAttribute('aria-live')") == "polite"
    assert "noise" in text_of(browser, "chosen")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.click(*cell(browser, 1, 0))
    browser.move(5, 5)
    browser.wait(f"place('chosen').innerText.includes({json.dumps(f'{values[1, 0]:.5g}'.replace('-', '−'))})")


def test_a_finger_chooses_a_cell_and_scrolls(rng, opened, browser):
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=1)
    opened(compared(rng, 5), 390)
    x, y = cell(browser, 2, 4)
    browser.send("Input.synthesizeTapGesture", x=x, y=y, gestureSourceType="touch")
    browser.wait("state.cell[0] === 2 && state.cell[1] === 4")
    x, y = cell(browser, 3, 1)
    start, touch = browser.evaluate("scrollY"), "Input.dispatchTouchEvent"
    browser.send(touch, type="touchStart", touchPoints=[{"x": x, "y": y}])
    for step in range(1, 9):
        browser.send(touch, type="touchMove", touchPoints=[{"x": x, "y": y - 20 * step}])
    browser.send(touch, type="touchEnd", touchPoints=[])
    browser.wait(f"scrollY > {start} + 20")
    assert browser.evaluate("state.cell") == [2, 4]
    browser.send("Emulation.setTouchEmulationEnabled", enabled=False)


def test_what_a_result_knows_by_default(rng, opened):
    """p-values by moments, types and shapes of layers, and no interval."""
    result = compared(rng, 4).assign_coords(type_a=("layer_a", ["Conv2d"] * 4), shape_b=("layer_b", ["64 × 8 × 8"] * 5))
    browser = opened(result)
    told = text_of(browser, "chosen")
    for words in ("Conv2d", "64 × 8 × 8", "6 features", "from the moments of all orders", "false discovery rate"):
        assert words in told
    assert "interval" not in told
    assert "adjusted p above 0.01" in text_of(browser, "legend")
    row, column = (result.sizes[f"layer_{side}"] - 1 for side in "ab")
    browser.evaluate(f"choose([{row}, {column}])")
    assert "no better than chance" in text_of(browser, "chosen")
    crossed = browser.evaluate("place('heatmap').data[1].z")
    assert crossed[row][column] is not None
    assert browser.evaluate("place('heatmap').data[0].z")[row][column] is None


def test_choices_of_measure_quantity_and_range(rng, opened):
    result = compared(rng, 4, null="permutation", n_permutations=99, interval=True, method="jackknife")
    browser = opened(result)
    assert browser.evaluate("place('heatmap').data[0].zmax") == 1
    choose(browser, "range", "data")
    largest = result["cka(estimator=debiased)"].values.max()
    np.testing.assert_allclose(browser.evaluate("place('heatmap').data[0].zmax"), largest, rtol=1e-4)
    choose(browser, "measure", 1)
    assert text_of(browser, "now").startswith("cka: ")
    row, column = browser.evaluate("state.cell")
    assert chosen_value(browser) == f"{result.cka.values[row, column]:.5g}"
    offered = browser.evaluate("[...place('quantity').options].map(each => each.value)")
    assert offered == ["values", "above", "null", "p", "p_fdr", "p_fwer", "width", "se"]
    choose(browser, "quantity", "above")
    shown = browser.evaluate("place('heatmap').data.flatMap(each => (each.z ? [each.z] : []))")
    beyond = result.cka.values - result.cka_null.values
    together = np.nansum(np.array(shown, dtype=float), axis=0)
    np.testing.assert_allclose(together, beyond, atol=2e-4)
    for kind in offered:
        choose(browser, "quantity", kind)
        assert browser.evaluate("place('heatmap').data.some(each => each.z.flat().some(z => z !== null))")
    choose(browser, "measure", 0)
    assert text_of(browser, "chosen").count("99 permutations") == 1


def test_calibrated_scores_are_drawn_from_0_to_1(rng, opened):
    result = compared(rng, 4, calibrate=True, n_permutations=99)
    browser = opened(result)
    choose(browser, "measure", 1)
    choose(browser, "quantity", "calibrated")
    drawn = browser.evaluate("place('heatmap').data.map(each => [each.zmin, each.zmax])")
    assert [0, 1] in drawn
    row, column = browser.evaluate("state.cell")
    score, threshold = (float(result[f"cka_{kind}"][row, column]) for kind in ("calibrated", "threshold"))
    assert f"{score:.4g}: 0 is what chance reaches ({threshold:.4g}), 1 is equal" in text_of(browser, "chosen")


def test_every_pair_of_six_models(rng, opened):
    shared = rng.normal(size=(60, 6))
    models = {
        f"seed {k}": {f"layer{i}": shared + (1 + i / 3) * rng.normal(size=(60, 6)) for i in range(8)} for k in range(6)
    }
    result = hl.compare(models, measures=("cka(estimator=debiased)", "cka"), null="permutation", n_permutations=19)
    browser = opened(result)
    assert browser.evaluate("document.querySelectorAll('#models-table button').length") == 36
    for a, b in [*itertools.combinations(range(6), 2), (4, 2), (5, 5)]:
        number = 6 * a + b
        browser.evaluate(f"document.querySelectorAll('#models-table button')[{number}].click()")
        assert text_of(browser, "now") == f"cka(estimator=debiased): seed {a} × seed {b}"
        part = hl.between(result, f"seed {a}", f"seed {b}")["cka(estimator=debiased)"].values
        shown = np.array(browser.evaluate("allPairs(view).map(pair => at(view, 'values', ...pair))")).reshape(8, 8)
        np.testing.assert_allclose(shown, part, rtol=1e-4)
    pressed = "document.querySelector('#models-table [aria-pressed=true]').title"
    assert browser.evaluate(pressed) == "seed 5 × seed 5"
    choose(browser, "scope", "mean")
    mean = hl.mean_over_models(result)["cka(estimator=debiased)"].values
    np.testing.assert_allclose(browser.evaluate("place('heatmap').data[0].z[3][2]"), mean[3, 2], rtol=1e-3)
    choose(browser, "scope", "all")
    assert browser.evaluate("place('heatmap').data[0].z.length") == 48
    assert browser.evaluate("place('matches').hidden && place('profile').hidden")
    choose(browser, "scope", "pair")
    choose(browser, "model-a", 4)
    choose(browser, "model-b", 1)
    assert text_of(browser, "now").endswith("seed 4 × seed 1")


def test_points_of_lines_and_matches_can_be_clicked(rng, opened):
    browser = opened(compared(rng, 4))
    for picture, point, expected in (
        ("profile-picture", 2, [2, 2]),
        ("row", 3, [2, 3]),
        ("column", 1, [1, 3]),
    ):
        browser.evaluate(f"place('{picture}').emit('plotly_click', {{ points: [{{ pointIndex: {point} }}] }})")
        assert browser.evaluate("state.cell") == expected
    browser.evaluate("place('matches-picture').emit('plotly_click', { points: [{ pointIndex: 4, x: 1 }] })")
    assert browser.evaluate("state.cell") == [browser.evaluate("bestOf(view, 'columns', 4).row"), 4]


def test_tables_sort_filter_and_search(rng, opened):
    result = compared(rng, 6, null="permutation", n_permutations=99)
    browser = opened(result)
    head, body = "#pairs-table thead button", "#pairs-table tbody tr"
    column = f"[...document.querySelectorAll('{body}')].map(row => row.cells[2].textContent.replace('−', '-'))"
    press_value = f"document.querySelectorAll('{head}')[2].click()"
    browser.evaluate(press_value)
    values = [float(text) for text in browser.evaluate(column)]
    assert values == sorted(values, reverse=True)
    assert values[0] == round(float(result["cka(estimator=debiased)"].max()), 4)
    browser.evaluate(press_value)
    assert float(browser.evaluate(column)[0]) == round(float(result["cka(estimator=debiased)"].min()), 4)
    sort = "document.querySelectorAll('#pairs-table thead th')[2].getAttribute('aria-sort')"
    assert browser.evaluate(sort) == "ascending"
    seek = "(() => { const input = document.querySelector('#pairs-table input'); input.value = 'NOISE';"
    browser.evaluate(seek + "input.dispatchEvent(new Event('input')); })()")
    assert browser.evaluate(f"document.querySelectorAll('{body}').length") == 6
    ask = "(() => {{ const which = document.querySelector('#pairs-table select'); which.value = '{}';"
    ask += "which.dispatchEvent(new Event('change')); }})()"
    for which, count in (("better than chance", 0), ("row of the chosen cell", 1), ("all rows", 6)):
        browser.evaluate(ask.format(which if which != "all rows" else ""))
        assert browser.evaluate(f"document.querySelectorAll('{body}').length") == count
    choose(browser, "measure", 1)  # what was sought and sorted stays
    assert browser.evaluate(f"document.querySelectorAll('{body}').length") == 6
    assert browser.evaluate(sort) == "ascending"
    browser.evaluate(f"document.querySelectorAll('{body}')[0].click()")
    assert chosen_pair(browser)[1] == "noise"


def test_a_column_of_chance_stands_where_it_says_anything(rng, opened):
    shared = network(rng, 3)
    near = {name: array + 0.01 * rng.normal(size=array.shape) for name, array in shared.items()}
    for result, stands in ((hl.compare(shared, near), False), (compared(rng, 3), True)):
        heads = opened(result).evaluate("document.querySelector('#pairs-table thead').innerText")
        assert ("chance" in heads) == stands


def test_csv_holds_all_rows_and_no_formula(rng, opened, tmp_path):
    layered = {name: rng.normal(size=(60, 3)) for name in ("=1+1", "+a", "-b", "@c", 'say "x", y', "plain")}
    result = hl.compare(layered, network(rng, 9), measures="cka(estimator=debiased)")
    browser = opened(result, title="Before / after: <b>")
    folder = tmp_path / "downloads"
    name = browser.downloaded(str(folder), "document.querySelector('#pairs-table .tools button').click()")
    assert name == "a-b-cka-estimator-debiased-pairs.csv"
    with (folder / name).open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 54
    assert {line["layer a"] for line in lines} == {"'=1+1", "'+a", "'-b", "'@c", 'say "x", y', "plain"}
    values = np.array([float(line["value"]) for line in lines]).reshape(6, 9)
    np.testing.assert_allclose(values, result["cka(estimator=debiased)"].values, rtol=1e-4)
    assert (values < 0).any()


@pytest.mark.parametrize("picture", ["heatmap", "profile-picture", "matches-picture"])
def test_pictures_become_files(rng, opened, tmp_path, picture):
    result = compared(rng, 5)
    result.attrs["model_a"] = "../a model: v2"
    browser = opened(result)
    names = [
        browser.downloaded(
            str(tmp_path), f"document.querySelector('[data-picture={picture}][data-format={kind}]').click()"
        )
        for kind in ("png", "svg")
    ]
    kind = {"heatmap": "heatmap", "profile-picture": "same-name", "matches-picture": "best-matches"}[picture]
    assert names[0] == f"a-model-v2-b-cka-estimator-debiased-{kind}.png"
    assert (tmp_path / names[0]).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / names[1]).read_text(encoding="utf-8").startswith("<svg")


def test_steps_of_training_are_written_with_all_their_digits(browser, tmp_path):
    x, noise = np.random.default_rng(0).normal(size=(2, 60, 4))
    moments = {1234567 + step: {"layer": x + noise / (1 + step)} for step in (0, 10, 1000)}
    result = hl.compare_checkpoints(None, moments, None, measures="cka")
    browser.open(hl.report(result, tmp_path / "report.html").as_uri())
    text = browser.evaluate("document.body.textContent")
    for step in (1234567, 1234577, 1235567):
        assert str(step) in text
    cells = browser.evaluate("[...document.querySelectorAll('[data-table] td')].map(each => each.textContent)")
    assert {"1234567", "1234577", "1235567"} <= set(cells)
    assert browser.complaints() == []
