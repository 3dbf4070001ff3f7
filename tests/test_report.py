"""The report, read as text."""

from __future__ import annotations

import html
import json
import re
import warnings

import numpy as np
import pytest
import xarray

import homolog as hl
from homolog.reporting.page import SCRIPTS
from homolog.reporting.page_data import grouped

NASTY = "<script>document.title='owned'</script>"


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def layers(rng, count, n=60):
    x = rng.normal(size=(n, 6))
    return {f"blocks.{i}.mlp": x + i * rng.normal(size=(n, 6)) for i in range(count)}


def text_of(result, path, **options):
    return hl.report(result, path / "report.html", **options).read_text(encoding="utf-8")


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def data_in(page):
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


@pytest.fixture
def nasty(rng, tmp_path):
    first = hl.Activations(
        layers(rng, 3) | {NASTY: rng.normal(size=(60, 90))}, provenance={"model": NASTY, "reduce": "mean"}
    )
    second = layers(rng, 3) | {"dead": np.ones((60, 2))}
    return text_of(hl.compare(first, second, measures=("cka", "cka(estimator=debiased)", "pwcca")), tmp_path)


def test_says_everything_a_reader_needs(nasty):
    text = without_scripts(nasty)
    for words in ("ConstantLayerWarning", "leave such layers out", "SaturationWarning", "tr(KHLH)", "Kornblith"):
        assert words in text
    assert "reduce: mean" in text
    assert "Is the most alike layer the one of the same name?" in text
    told = data_in(nasty)["about"]
    assert "Unchanged by orthogonal, permutation, isotropic scaling, translation" in told["cka"]["reading"]
    assert list(told) == ["cka", "cka(estimator=debiased)", "pwcca"]


def test_names_are_data(nasty):
    assert NASTY not in nasty
    assert nasty.count("<script") == nasty.count("</script>") == len(SCRIPTS) + 2
    assert data_in(nasty)["whole"]["rows"]["names"][-1] == NASTY


def test_nothing_points_outside(nasty):
    ours = re.sub(r"<script>.*?</script>", "", nasty, count=1, flags=re.DOTALL)  # without plotly's own text
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", ours)
    assert "http" not in ours.replace("http-equiv", "")
    assert "default-src 'none'" in nasty
    assert not re.findall(r"""\son[a-z]+\s*=\s*["']""", ours)  # no handlers in attributes


def test_the_summary_comes_first_and_leads_into_the_page(rng, tmp_path):
    first, second = layers(rng, 3), layers(rng, 3)
    result = hl.compare(first, second, names=("<b>base", "tuned"))
    text = without_scripts(text_of(result, tmp_path))
    for sentence in hl.summary(result):
        assert html.escape(sentence).replace("&#x27;", "&#39;") in text
    assert "No better than chance" in text
    assert text.index("</header>") < text.index('id="summary"') < text.index('id="explore"')
    assert "homolog.diagnose(a, b)" in text
    alike = {name: array + rng.normal(size=array.shape) for name, array in first.items()}
    for models in ({"a": first, "b": alike}, {"a": first, "b": alike, "c": first, "d": alike}):
        text = without_scripts(text_of(hl.compare(models), tmp_path))
        assert "homolog.report" not in text
        assert "Next, to " in text
        assert "below" in text[text.index("Next, to ") :].splitlines()[0]


def test_titles_and_endings(rng, tmp_path):
    seeds = {f"seed {i}": layers(rng, 2) for i in range(3)}
    page = text_of(hl.compare(seeds, measures="procrustes_distance"), tmp_path)
    assert "3 models compared over 60 examples" in page
    assert "seed 0, seed 1 and seed 2" in page
    assert "smaller is more alike" in data_in(page)["about"]["procrustes_distance"]["reading"]
    alone = hl.compare(seeds["seed 0"], measures="cka")
    assert "<h1>Mine &lt;3</h1>" in text_of(alone, tmp_path, title="Mine <3")
    with pytest.raises(ValueError, match=r"ending in \.html"):
        hl.report(alone, tmp_path / "report.pdf")


def test_warnings_are_grouped_and_folded(rng, tmp_path):
    assert grouped([("b", 1), ("a", 2), ("b", 3), ("b", 1)]) == {"b": [1, 3], "a": [2]}
    result = hl.compare(layers(rng, 2), measures="cka")
    result.attrs["warnings"] = json.dumps([["BiasWarning", f"<b>{i}</b>"] for i in range(9)] + [["RankWarning", "low"]])
    text = without_scripts(text_of(result, tmp_path))
    assert text.count("<strong>BiasWarning</strong> (9)") == 1
    assert text.count("<strong>RankWarning</strong>") == 1
    assert "<summary>7 more</summary>" in text
    assert "&lt;b&gt;8&lt;/b&gt;" in text


def test_findings_are_grouped_and_long_lists_folded(rng, tmp_path):
    found = [hl.Finding("saturation", f"a: layer {i}", "its rank is full", "use more examples") for i in range(31)]
    found += [hl.Finding("order", "a and b", "<i>rows</i> differ", "pair them")]
    text = without_scripts(text_of(hl.compare(layers(rng, 2), measures="cka"), tmp_path, diagnosis=found))
    assert re.search(r"<details>\s*<summary>saturation: 31 findings</summary>", text)
    assert re.search(r"<details open>\s*<summary>order: 1 finding</summary>", text)
    assert "&lt;i&gt;rows&lt;/i&gt; differ" in text
    nothing = text_of(hl.compare(layers(rng, 2), measures="cka"), tmp_path, diagnosis=[])
    assert "Nothing suspicious was found." in nothing


def test_nothing_to_show_is_a_sentence(rng, tmp_path):
    result = hl.compare(layers(rng, 2), layers(rng, 2), measures="cka")
    for empty, sentence in (
        (result.isel(layer_a=[]), "must keep at least one entry along layer_a, got none"),
        (result.isel(layer_b=slice(0, 0)), "must keep at least one entry along layer_b, got none"),
        (result.drop_vars("cka"), "a report needs at least one measure, got none"),
    ):
        with pytest.raises(ValueError, match=sentence):
            hl.report(empty, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "most"), [(24, 3e6), (150, 6e6)])
def test_files_stay_small(rng, tmp_path, count, most):
    """Values, null levels, p-values of three kinds and intervals of four measures."""
    values = rng.uniform(size=(count, count))
    result = hl.compare(layers(rng, 2), measures="cka", null="permutation", n_permutations=9, interval=True)
    about, several = result["cka"].attrs, {}
    for measure in "abcd":
        several[measure] = (("layer_a", "layer_b"), values, about)
        for kind in ("null", "p", "p_fdr", "p_fwer", "low", "high"):
            several[f"{measure}_{kind}"] = (
                ("layer_a", "layer_b"),
                rng.uniform(size=(count, count)),
                {"companion_of": measure},
            )
    sides = {f"layer_{side}": [f"encoder.blocks.{i}.attention.output" for i in range(count)] for side in "ab"}
    features = {f"features_{side}": (f"layer_{side}", np.full(count, 512)) for side in "ab"}
    wide = xarray.Dataset(several, sides | features, result.attrs | {"measures": json.dumps(list("abcd"))})
    assert hl.report(wide, tmp_path / "report.html").stat().st_size < most


def test_show_is_an_escaped_frame_without_an_origin(rng):
    layered = layers(rng, 2) | {'"><img src=x>': rng.normal(size=(60, 3))}
    shown = hl.show(hl.compare(layered, measures="cka"), height=500, title='"><b>')
    frame = shown._repr_html_()
    attributes = re.findall(r'([a-z]+)="([^"]*)"', frame)
    assert [name for name, _ in attributes] == ["srcdoc", "sandbox", "title", "style"]
    assert dict(attributes)["sandbox"] == "allow-scripts allow-downloads"
    assert "height: 500px" in dict(attributes)["style"]
    assert re.fullmatch(r"<iframe [^<>]*></iframe>", frame)
    assert repr(shown) == str(shown)
    assert "hl.report(result, 'report.html')" in str(shown)
    assert len(repr(shown)) < 200
    for height in (0, True, "900", 12.5):
        with pytest.raises(ValueError, match="height must be a whole number"):
            hl.show(hl.compare(layered, measures="cka"), height=height)
