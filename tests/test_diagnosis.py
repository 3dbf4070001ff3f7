"""Planted faults are named, a clean pair yields nothing, and pages and commands show what was found."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray
from matplotlib import pyplot

import homolog as hl
from homolog.analysis.diagnosis_groups import SERIOUSNESS, by_seriousness
from homolog.cli.app import run
from homolog.diagnostics import percent


def network(rng, n=300, layers=("early", "late"), width=40):
    """Layers whose features are many views of few common factors, as units of a network are."""
    factors = rng.normal(size=(n, 6)) * np.array([1.3, 1.2, 1.1, 1, 0.9, 0.8])
    return {name: factors @ rng.normal(size=(6, width)) + 0.3 * rng.normal(size=(n, width)) for name in layers}


@pytest.fixture
def clean(rng):
    first = network(rng)
    second = {name: x @ rng.normal(size=(40, 30)) + rng.normal(size=(300, 30)) for name, x in first.items()}
    return first, second


def kinds(*models):
    return {finding.kind for finding in hl.diagnose(*models)}


def test_a_clean_pair_yields_no_finding(clean):
    found = hl.diagnose(*clean)
    assert len(found) == 0
    assert str(found).startswith("Nothing suspicious was found, but nothing shows that row i is the same example")
    assert str(hl.diagnose(clean[0])) == "Nothing suspicious was found."
    assert not list(hl.diagnose(clean[0]))
    assert float(found.result["cka_null"].max()) < 0.1


def test_an_outlier_that_carries_the_value_is_named(clean):
    first, second = clean
    for side in (first, second):
        side["late"][17] += 1000
    found = [f for f in hl.diagnose(first, second) if f.kind == "outlier"]
    assert [f.where for f in found] == ["a: late and b: late"]
    assert "without example 17" in found[0].message


def test_shuffled_rows_are_named(clean, rng):
    first, second = clean
    order = rng.permutation(300)
    assert kinds(first, {name: x[order] for name, x in second.items()}) == {"pairing"}


def test_an_unrelated_layer_is_named_as_chance(clean, rng):
    first, second = clean
    second["late"] = network(rng)["late"]
    found = [f for f in hl.diagnose(first, second) if f.kind == "chance"]
    assert [f.where for f in found] == ["a: late and b: late"]


def test_more_features_than_examples_are_named(clean):
    first, second = ({name: x[:25] for name, x in side.items()} for side in clean)
    assert {"saturation", "null level"} <= kinds(first, second)


def test_ranks_that_are_too_many_together_are_named(clean):
    first, second = ({name: x[:55] for name, x in side.items()} for side in clean)
    assert "together exceed n − 1 = 54" in str(hl.diagnose(first, second))


def test_a_dead_layer_and_dead_features_are_named(clean):
    first, second = clean
    first["early"][:] = 3
    first["late"][:, :2] = 0
    found = {(f.kind, f.where) for f in hl.diagnose(first, second)}
    assert {("constant", "a: early"), ("dead features", "a: late")} <= found
    assert not any("early" in where and kind != "constant" for kind, where in found)


def test_copies_are_named(clean):
    first, second = clean
    first["early"][:, 1] = -2 * first["early"][:, 0] + 1
    repeated = [{name: np.concatenate([x, x[:50]]) for name, x in side.items()} for side in (first, second)]
    found = list(hl.diagnose(*repeated))
    assert {(f.kind, f.where) for f in found} == {
        ("duplicate examples", "a"),
        ("duplicate examples", "b"),
        ("duplicate features", "a: early"),
    }
    assert "50 of 350" in str(found[0])


def test_one_layer_that_repeats_is_no_copy_of_examples(clean):
    first, second = clean
    first["late"] = np.round(first["late"][:, :1] > 0) + 0.0
    assert "duplicate examples" not in kinds(first, second)


def test_a_dominant_direction_and_few_features_are_named(clean, rng):
    first, second = clean
    first["late"] = first["late"] + 50 * rng.normal(size=(300, 1))
    second["late"] = second["late"] + first["late"][:, :1]
    second["early"] = rng.normal(size=(300, 5)) + first["early"][:, :5]
    found = {(f.kind, f.where) for f in hl.diagnose(first, second)}
    assert ("dominant direction", "a: late") in found
    assert ("few features", "b: early") in {
        (f.kind, f.where) for f in hl.diagnose(first, {"early": rng.normal(size=(300, 5))})
    } | found


def test_findings_of_one_kind_are_one_line_with_the_worst_of_them(clean, rng):
    first, second = (dict(side) for side in clean)
    for i in range(4):
        direction = (100 + i) * rng.normal(size=(300, 1))
        for side in (first, second):
            side[f"wide {i}"] = side["late"] + direction
    for side in (first, second):
        side["early"][5] += 1000
    found = hl.diagnose(first, second)
    assert [finding.kind for finding in found] == ["outlier", "chance"] + 10 * ["dominant direction"]
    assert [len(group) for group in found.groups] == [1, 1, 10]
    lines = str(found).splitlines()
    assert lines[0].startswith("outlier | a: early and b: early: without example 5 CKA is")
    shares = {finding.where: finding.degree for finding in found if finding.kind == "dominant direction"}
    worst = max(shares, key=shares.get)
    places = "10 layers: a: early, a: wide 0, a: wide 1 and 7 more; the worst, "
    assert lines[2].startswith(f"dominant direction | {places}{worst}: one direction holds {percent(shares[worst])}")
    assert found._repr_html_().count("</tr>") == 4


def test_lines_of_equal_findings_say_it_once_and_the_order_is_documented():
    alike = [hl.Finding("saturation", f"<{i}>\x1b[31m", "its rank is n − 1 = 9", "use more") for i in range(31)]
    pairs = [hl.Finding("saturation", "a and b", "together", "use more", of="pairs of layers")]
    found = hl.Diagnosis(
        by_seriousness([*pairs, *alike, hl.Finding("pairing", "all layers", "no pair", "check")]), None
    )
    assert [len(group) for group in found.groups] == [1, 31, 1]
    assert str(found).splitlines()[1] == (
        "saturation | 31 layers: <0>\\x1b[31m, <1>\\x1b[31m, <2>\\x1b[31m and 28 more; each: its rank is n − 1 = 9; use more."
    )
    assert "&lt;0&gt;" in found._repr_html_()
    assert "<0>" not in found._repr_html_()
    assert "\x1b" not in found._repr_html_()
    listing = ", ".join(f'"{kind}"' for kind in SERIOUSNESS)
    assert listing in " ".join(hl.diagnose.__doc__.split())


def test_halves_of_many_models_are_refused(clean):
    with pytest.raises(ValueError, match="two at a time"):
        hl.split_half({"one": clean[0], "two": clean[1]})
    with pytest.raises(ValueError, match="positive whole number, got 0"):
        hl.split_half(*clean, n_splits=0)


def test_halves_that_agree_are_reliable(clean, rng):
    first, second = clean
    alike = hl.split_half(first, second, measures=("cka", "procrustes_distance"), n_splits=3)
    noise = hl.split_half(*({str(i): rng.normal(size=(300, 9)) for i in range(4)} for _ in range(2)), measures="cka")
    assert float(alike.reliability.min()) > 0.9 > float(noise.reliability.mean())
    assert float(alike.same_best.min()) == 1
    xarray.testing.assert_identical(
        alike, hl.split_half(first, second, measures=("cka", "procrustes_distance"), n_splits=3)
    )


@pytest.fixture
def tested(clean, rng):
    first, second = clean
    second["late"] = network(rng)["late"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.BiasWarning)  # of layers that have nothing in common
        return hl.compare(first, second, measures="cka", null="permutation", interval=True, n_permutations=99)


def test_pictures_cross_out_chance(tested):
    ax = hl.plot.heatmap(tested)
    crosses = ax.collections[0].get_offsets()
    expected = np.argwhere(tested.cka_p_fdr.values > 0.05)[:, ::-1]
    np.testing.assert_array_equal(np.asarray(crosses), expected)
    assert len(expected) == 2
    assert "no more alike than by chance" in ax.figure.axes[1].get_ylabel()
    pyplot.close("all")


def test_the_page_shows_intervals_and_findings(tested, clean, tmp_path):
    first, second = clean
    first["early"][:, 0] = 0
    page = hl.report(tested, tmp_path / "report.html", diagnosis=hl.diagnose(first, second)).read_text()
    assert "dead features" in page
    assert "99 permutations" in page
    assert "95%, by jackknife over examples" in page
    measure = json.loads(page.split('id="data">')[1].split("</script>")[0])["whole"]["measures"][0]
    assert any("1" in row for row in measure["chance"])
    ends = measure["companions"]
    assert ends["low"][0][0] < measure["values"][0][0] < ends["high"][0][0]


def test_commands(clean, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = clean
    hl.save(hl.Activations(second), "b.npz")
    assert run(["diagnose", "b.npz"]) == 0
    assert "Nothing suspicious" in capsys.readouterr().out
    first["early"][:, 0] = 0
    hl.save(hl.Activations(first), "a.npz")
    assert run(["diagnose", "a.npz", "b.npz", "--out", "d.nc", "--permutations", "19"]) == 0
    assert "dead features\ta: early\t1 of 40 features never vary" in capsys.readouterr().out
    first["late"][:, :2] = 0
    hl.save(hl.Activations(first), "c.npz")
    assert run(["diagnose", "c.npz", "--permutations", "19"]) == 0
    told = capsys.readouterr().out
    assert "dead features\t2 layers: early, late\tthe worst, late: 2 of 40 features never vary" in told
    assert run(["diagnose", "c.npz", "--permutations", "19", "--every"]) == 0
    assert capsys.readouterr().out.count("dead features\t") == 2
    assert "cka_p" in xarray.load_dataset("d.nc")
    options = ["--permutations", "19", "--interval", "--out", "r.nc", "--report", "r.html", "--diagnose"]
    assert run(["compare", "a.npz", "b.npz", *options]) == 0
    told = capsys.readouterr().out
    assert "95% interval\tp (Benjamini-Hochberg)" in told
    assert {"cka_p", "cka_low", "cka(estimator=debiased)_se"} <= set(xarray.load_dataset("r.nc"))
    assert "dead features" in (tmp_path / "r.html").read_text()
    capsys.readouterr()
    assert run(["compare", "a.npz", "b.npz", "--diagnose"]) == 2
    assert "needs --report" in capsys.readouterr().err
    assert run(["diagnose", "a.npz", "b.npz", "a.npz", "--permutations", "19"]) == 0
    assert "same network\ta and a.npz" in capsys.readouterr().out
