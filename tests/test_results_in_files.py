"""Results of every kind that are read as activations by mistake, or asked for what they do not have, are named."""

from __future__ import annotations

import numpy as np
import pytest
from similar_models import cosines, made

import homolog as hl
from homolog.cli.app import run
from homolog.files.netcdf import holds_activations

POINTS = np.random.default_rng(2).normal(size=(5, 3))
SIMILAR = made(cosines(POINTS))
MADE = {
    "model_similarity": SIMILAR,
    "embed": hl.embed(SIMILAR),
    "cluster": hl.cluster(SIMILAR),
    "consistency": hl.consistency({"one": SIMILAR, "two": made(cosines(POINTS + 0.1))}),
}


@pytest.mark.parametrize("name", MADE)
def test_a_result_in_a_file_is_no_activations(name, tmp_path):
    path = tmp_path / "result.nc"
    MADE[name].to_netcdf(path)
    assert not holds_activations(path)
    with pytest.raises(ValueError, match=rf"must hold activations, got a result of homolog\.{name}: read it with"):
        hl.open(path)


@pytest.mark.parametrize("name", ["embed", "cluster"])
def test_what_is_made_of_similarities_is_no_comparison(name, tmp_path):
    for reader in (hl.summary, hl.table, lambda result: hl.report(result, tmp_path / "page.html")):
        with pytest.raises(ValueError, match=rf"needs a result of homolog\.compare, got one of homolog\.{name}: "):
            reader(MADE[name])
    with pytest.raises(ValueError, match=r"one number for each pair, got a Dataset over .*draws that one"):
        hl.embed(MADE[name])


def test_a_picture_of_a_map_takes_no_other_values():
    for draw, found in ((hl.plot.embedding, "embed"), (hl.plot.dendrogram, "cluster")):
        for options in ({"measure": "cca"}, {"calibrated": True}):
            with pytest.raises(ValueError, match=f"what homolog.{found} made of some already"):
                draw(MADE[found], **options)


def test_consistency_in_a_file_is_read_by_the_command_line_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    MADE["consistency"].to_netcdf("agreement.nc")
    run(["info", "agreement.nc"])
    shown = capsys.readouterr()
    assert "data sets" in shown.out
    assert "one and two agree by" in shown.err
    run(["report", "agreement.nc"])
    assert "Pairs of data sets" in (tmp_path / "report.html").read_text(encoding="utf-8")
    table = hl.table(MADE["consistency"])
    assert table[["data set", "other data set"]].to_numpy().tolist() == [["one", "two"]]


def test_similarities_of_models_are_a_table_of_pairs():
    table = hl.table(SIMILAR)
    assert len(table) == 10
    assert list(table.columns[:2]) == ["model", "other model"]


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_few_orders_of_the_examples_are_told_and_decide_nothing():
    x = np.random.default_rng(3).normal(size=(8, 3))
    with pytest.warns(
        hl.FewPermutationsWarning, match=r"only 16 orders of the 8 examples .* no p-value can be below 0\.06"
    ):
        found = hl.compare(x, 2 * x, measures="cka", calibrate=True, groups=np.arange(8) // 2, n_permutations=99)
    assert int(found.attrs["n_orders"]) == 16
    told = str(hl.summary(found))
    assert "No better than chance" not in told
    assert "Nothing here decides" in told


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda: hl.embed([[1, 0.5], [0.5]]), TypeError, "matrix of real numbers"),
        (lambda: hl.embed([SIMILAR, SIMILAR]), TypeError, "matrix of real numbers"),
        (lambda: hl.embed(np.eye(3), names=5), TypeError, "one name for each model, got an int"),
        (lambda: hl.embed({"a": np.eye(3)}), TypeError, r"homolog\.model_similarity\(homolog\.compare\(models\)\)"),
        (lambda: hl.embed(np.arange(3.0)), ValueError, "squareform"),
        (lambda: hl.embed(SIMILAR.drop_attrs()), ValueError, "without its attributes"),
        (lambda: hl.permanova(SIMILAR, list("aabbb"), rng="a"), TypeError, "rng must be a seed"),
        (lambda: hl.compare(POINTS, null="permutation", rng="a"), TypeError, "rng must be a seed"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
