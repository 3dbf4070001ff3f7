"""`homolog redundancy`, the page and the picture of its result."""

from __future__ import annotations

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import planted_networks as planted
import pytest
import xarray

import homolog as hl
from homolog.cli.app import run


@pytest.fixture(scope="module")
def layers():
    return planted.with_feature(planted.stream(n=60), 5, 400.0, first=3)


@pytest.fixture
def file(layers, tmp_path):
    np.savez(tmp_path / "a.npz", **layers, head=np.random.default_rng(0).normal(size=(60, 3)))
    return tmp_path / "a.npz"


@pytest.fixture
def closed():
    yield
    plt.close("all")


def test_the_command_prints_blocks_runs_and_sentences(file, capsys):
    assert run(["redundancy", str(file), "--blocks", "embed", "--blocks", "block.*"]) == 0
    printed = capsys.readouterr()
    rows = [line.split("\t") for line in printed.out.splitlines()]
    assert rows[0] == ["block", "influence", "influence, without the massive features", "norm growth"]
    assert [row[0] for row in rows[1:11]] == [f"block.{i}" for i in range(10)]
    least = sorted(rows[1:11], key=lambda row: float(row[2]))[:3]
    assert {row[0] for row in least} == {f"block.{i}" for i in planted.IDENTITY}
    (heads,) = (row for row in rows if row[0] == "run of")
    assert heads[1:] == ["least angular distance", "least angular distance, without the massive features"]
    (two,) = (row[2] for row in rows if row[0] == "2 blocks")
    assert two.startswith("block.6 to block.7 (0.000")
    assert "Massive feature 5 holds" in printed.err
    assert "poor proxy for the damage" in printed.err


@pytest.mark.usefixtures("closed")
def test_the_command_writes_the_result_its_picture_and_its_page(file, tmp_path, capsys):
    out, plot, report = (tmp_path / name for name in ("r.nc", "r.png", "r.html"))
    options = ["--out", str(out), "--plot", str(plot), "--report", str(report), "-b", "embed", "-b", "block.*"]
    assert run(["redundancy", str(file), *options]) == 0
    result = xarray.load_dataset(out)
    assert result.identical(hl.redundancy(hl.open(file), blocks=["embed", "block.*"]))
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert "What each block changes" in report.read_text(encoding="utf-8")
    capsys.readouterr()
    assert run(["info", str(out)]) == 0
    assert "10 blocks were looked at" in capsys.readouterr().err
    assert run(["report", str(out), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == report.read_text(encoding="utf-8")


def test_numbers_without_features_are_left_out_where_asked(file, tmp_path):
    out = tmp_path / "r.nc"
    assert run(["redundancy", str(file), "-b", "embed", "-b", "block.*", "--keep-features", "--out", str(out)]) == 0
    assert "influence_without" not in xarray.load_dataset(out)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--blocks", "nothing.*"], "unknown layer 'nothing.*'"),
        (["--blocks", "head"], "needs at least two layers of equal width"),
        (["--blocks", "*", "--blocks", "block.*"], "must have one width"),
        (["--measure", "ckaa"], "unknown measure 'ckaa', did you mean cka"),
        (["--out", "r.txt"], "--out must end in .nc"),
        (["--memory", "much"], "a size of memory must be"),
    ],
)
def test_wrong_use_is_one_sentence(file, capsys, options, sentence):
    assert run(["redundancy", str(file), *options]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert "Traceback" not in printed


def test_a_damaged_result_is_one_sentence(layers, tmp_path, capsys):
    hl.redundancy(layers).drop_vars("influence").to_netcdf(tmp_path / "r.nc")
    assert run(["info", str(tmp_path / "r.nc")]) == 2
    assert "as homolog.redundancy returned it" in capsys.readouterr().err


# --- Page and picture


@pytest.mark.usefixtures("closed")
def test_the_page_holds_the_tables(layers, tmp_path):
    result = hl.redundancy(layers, loss=len)
    text = hl.report(result, tmp_path / "r.html").read_text(encoding="utf-8")
    for heading in ("Runs of blocks that change least", "Every block", "Every layer", "Large features"):
        assert heading in text
    assert "Every block, without the massive features" in text
    with pytest.raises(ValueError, match="groups are of many models"):
        hl.report(result, tmp_path / "r.html", groups={"a": "b"})


def test_names_are_shown_as_text(tmp_path, capsys):
    names = ["<b>in</b>", "$x_1$\x1b[31m", "[red]out"]
    layers = dict(zip(names, planted.stream(n=40).values(), strict=False))
    result = hl.redundancy(layers)
    assert "\x1b" not in str(hl.summary(result))
    page = hl.report(result, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<b>in</b>" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    hl.plot.redundancy(result).canvas.draw()
    plt.close("all")


@pytest.mark.usefixtures("closed")
def test_the_picture_shows_every_form(layers):
    result = hl.redundancy(layers)
    influence, runs, similarity, norms = hl.plot.redundancy(result).axes[:4]
    heights = [bar.get_height() for bar in influence.patches]
    np.testing.assert_allclose(heights, [*result.influence.values, *result.influence_without.values])
    assert influence.get_yscale() == "log"
    np.testing.assert_allclose(runs.images[0].get_array(), result.angular_distance_without.transpose("span", "block"))
    np.testing.assert_allclose(similarity.images[0].get_array(), result.cka_without)
    np.testing.assert_allclose(norms.lines[1].get_ydata(), result.norm_without)


def test_tables(layers):
    result = hl.redundancy(layers)
    runs = hl.table(result)
    assert runs.blocks.tolist() == list(range(1, 10))
    two = runs.iloc[1]
    assert (two["first_without"], two["last_without"]) == ("block.6", "block.7")
    every = hl.table(result, "angular_distance")
    assert len(every) == 54  # runs of 1 to 9 of ten blocks
    assert json.loads(result.attrs["measures"]) == ["cka"]


@pytest.mark.usefixtures("closed")
def test_names_that_all_blocks_begin_with_are_folded_in_the_picture(layers):
    renamed = dict(zip(["model.embed_tokens", *(f"model.layers.{i}" for i in range(10))], layers.values(), strict=True))
    figure = hl.plot.redundancy(hl.redundancy(renamed))
    written = {tick.get_text() for ax in figure.axes for tick in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    assert "…9" in written
    assert not any("model.layers" in text or len(text) > 14 for text in written if "$" not in text)  # numbers have $
    assert figure.axes[0].get_xlabel() == "block, … is model.layers."


@pytest.mark.usefixtures("closed")
def test_the_tables_of_the_page_are_headed_by_words(layers, tmp_path):
    hl.report(hl.redundancy(layers), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Runs of blocks that change least, without the massive features" in page
    assert "angular distance" in page
    assert "angular_distance_without" not in page
