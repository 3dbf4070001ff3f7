"""The command line from end to end, in a folder of its own; `test_own_measure` runs it in a process of its own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import typer
import xarray
from conftest import command_line

import homolog as hl
from homolog.cli import main, measure_tables
from homolog.cli.app import app
from homolog.cli.measure_tables import SUBJECTS

MODULE = """
import torch
import homolog as hl

def model(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))

def other():
    return model(1)

network = model(2)

def data():
    torch.manual_seed(2)
    return [(batch,) for batch in torch.randn(300, 5).split(100)]

def difference(x, y):
    return float(x.shape[1] - y.shape[1])

@hl.register(kind="distance", range=(0, 9), symmetric=True, formula="|p - q|", reference="an example")
def width(x, y, /):
    return abs(x.shape[1] - y.shape[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    (path / "nets.py").write_text(MODULE)
    (path / "broken.py").write_text("def model(:\n")
    yield path
    hl.unregister("width")
    sys.modules.pop("nets", None)


@pytest.fixture(scope="module")
def run(folder):
    def run(*arguments, status=0):
        ended, out, told = command_line(arguments, folder)
        assert ended == status, told
        return [line.split("\t") for line in out.splitlines()], told

    return run


@pytest.fixture(scope="module")
def files(run):
    run("extract", "nets:model", "--data", "nets:data", "--out", "a.npz")
    run("extract", "nets.py:other", "--data", "nets:data", "--out", "b.safetensors", "-l", "0", "-l", "2")
    run(
        "extract",
        "nets:network",
        "--data",
        "nets:data",
        "--out",
        "c.npz",
        "--max-examples",
        "300",
        "--reduce",
        "2=mean",
    )


def test_extract_writes_what_the_library_takes(run, folder, files):
    table, _ = run("info", "a.npz")
    assert table[:7] == [
        ["layer", "features", "dtype"],
        ["0", "4", "float32"],
        ["1", "4", "float32"],
        ["2", "3", "float32"],
        [""],
        ["rows", "300"],
        ["rows are identified by", "digests of inputs"],
    ]
    assert ["model", "Sequential"] in table
    assert list(hl.open(folder / "b.safetensors")) == ["0", "2"]
    assert hl.open(folder / "a.npz").digests is not None


def test_a_store_is_begun_continued_and_compared(run, folder, files):
    extract = ("extract", "nets:model", "--data", "nets:data", "--out", "a.zarr")
    run(*extract)
    _, told = run(*extract, status=2)
    assert "holds a store of" in told
    assert "pass --resume to go on with it" in told
    run(*extract, "--resume")
    assert run("info", "a.zarr")[0][:7] == run("info", "a.npz")[0][:7]
    stored, held = (run("compare", name, "b.safetensors")[0] for name in ("a.zarr", "a.npz"))
    assert stored == held
    assert "--resume needs --out with a .zarr" in run(*extract[:-1], "c.npz", "--resume", status=2)[1]


STOPPED = """
import pathlib, torch
from nets import model

def data():
    for start in range(0, 3300, 1100):
        if start == (0 if pathlib.Path("at once").exists() else 2200) and not pathlib.Path("go on").exists():
            raise KeyboardInterrupt
        yield torch.arange(start * 5.0, start * 5 + 5500).reshape(1100, 5)
"""


def test_an_interrupted_extraction_says_how_to_go_on(run, folder, files):
    (folder / "stopped.py").write_text(STOPPED)
    extract = ("extract", "stopped:model", "--data", "stopped:data", "--out")
    stored = [*extract, "stopped.zarr"]
    assert "interrupted: nothing was written; an extraction into a .zarr" in run(*extract, "x.npz", status=130)[1]
    assert not (folder / "x.npz").exists()
    (folder / "at once").touch()
    assert run(*stored, status=130)[1] == "homolog: interrupted: nothing was written yet.\n"
    (folder / "at once").unlink()
    _, told = run(*stored, status=130)
    assert told == (
        "homolog: interrupted: 2048 rows are safe in 'stopped.zarr'; the same command with --resume goes on from there.\n"
    )
    table, _ = run("info", "stopped.zarr")
    assert table[:4] == [["layer", "features", "dtype"], *([*pair, "float32"] for pair in ("04", "14", "23"))]
    assert [
        "state",
        "unfinished: 2048 rows are safe; the same `homolog extract` with --resume goes on from there",
    ] in table
    assert ["model", "Sequential"] in table
    _, told = run(*stored, "--resume", status=130)
    assert "2048 rows are safe in 'stopped.zarr'; the same command goes on from there" in told
    (folder / "go on").touch()
    run(*stored, "--resume")
    assert hl.open(folder / "stopped.zarr").n == 3300


def test_an_interrupted_experiment_says_how_to_go_on(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("homolog.paper.experiments.perform", stop)
    assert run("paper", "fig1", status=130)[1] == "homolog: interrupted: the same command goes on from there.\n"


def test_compare_two_files(run, folder, files):
    options = ["-m", "cka(estimator=debiased)", "-m", "./nets.py:difference", "-m", "nets:width"]
    written = ["--out", "r.nc", "--report", "r.html", "--plot", "r.png"]
    table, told = run("compare", "a.npz", "b.safetensors", "--layers-a", "?", *options, *written)
    assert table[0] == ["measure", "layer of a", "most alike layer of b", "value", "mutual", "p (Benjamini-Hochberg)"]
    assert all((row[0] == "cka(estimator=debiased)") == (len(row[5:]) == 1 and bool(row[5])) for row in table[1:])
    assert {row[0] for row in table[1:]} == {"cka(estimator=debiased)", "nets:difference", "nets:width"}
    assert told.count("written:") == 3
    result = xarray.load_dataset(folder / "r.nc")
    expected = hl.compare(
        hl.open(folder / "a.npz"), hl.open(folder / "b.safetensors"), measures="cka(estimator=debiased)"
    )
    np.testing.assert_allclose(result["cka(estimator=debiased)"], expected["cka(estimator=debiased)"])
    assert result["nets:width"].attrs["kind"] == "distance"
    assert (result.attrs["model_a"], result.attrs["model_b"]) == ("a", "b")
    table, _ = run("info", "r.nc")
    measured = ["measure", "cka(estimator=debiased)", "nets:difference", "nets:width"]
    assert [row[0] for row in table] == [*measured, "", "result", "examples", "homolog"]
    assert table[-2:] == [["examples", "300"], ["homolog", hl.__version__]]
    run("report", "r.nc", "--out", "again.html")
    assert (folder / "again.html").read_text() == (folder / "r.html").read_text()


def test_compare_many_files_and_one(run, files):
    table, _ = run("compare", "a.npz", "b.safetensors", "c.npz", "--layers", "2", "-m", "procrustes_distance")
    assert [row[:4] for row in table[1:]] == [
        ["a", "b", "procrustes_distance", "2"],
        ["a", "c", "procrustes_distance", "2"],
        ["b", "c", "procrustes_distance", "2"],
    ]
    table, _ = run("compare", "a.npz", "-m", "procrustes_distance")
    assert table[0][2] == "most alike other layer"
    assert all(row[1] != row[2] for row in table[1:])


def test_an_option_that_is_an_array_is_a_file(run, folder, files):
    hl.save({"inputs": np.random.default_rng(0).normal(size=(300, 2))}, folder / "inputs.npz")
    table, _ = run("compare", "a.npz", "-m", "deconfounded_cka(inputs=inputs.npz)")
    assert table[1][0].startswith("deconfounded_cka(inputs=array-")
    _, told = run("compare", "a.npz", "-m", "deconfounded_cka")
    assert "bind them with -m 'deconfounded_cka(inputs=FILE)'" in told
    assert (
        "'a.npz' must hold one layer, got 3"
        in run("compare", "a.npz", "-m", "deconfounded_cka(inputs=a.npz)", status=2)[1]
    )


@pytest.mark.parametrize("command", ["", *typer.main.get_command(app).commands])
def test_flags_take_no_value_in_the_help(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    told = "\n".join(line for row in run(*command.split(), "--help")[0] for line in row)
    assert "--help" in told
    assert not {word for word in ("<bool", "boolean", "--no-") if word in told.lower()}


def test_measures_are_listed_by_subject_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    measure_tables.print_measures([])
    told = capsys.readouterr().out
    places = [told.index(title) for title in ("Start here", *(each.split(":")[0] + ":" for each in SUBJECTS.values()))]
    assert places == sorted(places)
    assert all(hl.measure(name) for name in measure_tables.START)
    assert all(name in told for name in hl.measures())


def test_measures_are_listed_whole_when_piped_and_one_by_one(run):
    table, _ = run("measures")
    assert [row[0] for row in table] == ["measure", *hl.measures()]
    assert {len(row) for row in table} == {10}
    assert table[0][-1] == "subject"
    assert {row[-1] for row in table[1:]} >= {"Kernels", "Neighbours"}
    table, _ = run("measures", "hard_correlation_match", "rsa")
    assert ["measure", "bipartite_match"] in table
    assert ["also known as", "hard_correlation_match"] in table
    assert ["range", "[-1, 1]"] in table
    assert "did you mean cka" in run("measures", "ckaa", status=2)[1]


WRONG = {
    "no object": (["extract", "nets:modle", "--data", "nets:data", "--out", "x.npz"], "did you mean model"),
    "no module": (["extract", "net:model", "--data", "nets:data", "--out", "x.npz"], "there is no module 'net'"),
    "no colon": (["extract", "nets", "--data", "nets:data", "--out", "x.npz"], "module:name"),
    "weights": (
        ["extract", "m.pt", "--data", "nets:data", "--out", "x.npz"],
        "MODEL must be module:name, file.py:name, or a file ending in .onnx, .ort, .keras, .h5, .hdf5, got 'm.pt': weights",
    ),
    "data": (
        ["extract", "nets:model", "--data", "x.csv", "--out", "x.npz"],
        "--data must be module:name, file.py:name, or a file ending in .npy, .npz, got 'x.csv': save the numbers with",
    ),
    "a model as data": (["extract", "nets:model", "--data", "m.onnx", "--out", "x.npz"], "--data must be module:name"),
    "no python file": (
        ["extract", "net.py:model", "--data", "nets:data", "--out", "x.npz"],
        "there is no file 'net.py'",
    ),
    "no model": (["extract", "nets:data", "--data", "nets:data", "--out", "x.npz"], "model must be a torch.nn.Module"),
    "broken": (["extract", "broken.py:model", "--data", "nets:data", "--out", "x.npz"], "SyntaxError: "),
    "needs": (["extract", "nets:difference", "--data", "nets:data", "--out", "x.npz"], "when called without arguments"),
    "no result": (["report", "nets.py"], "must be a result"),
    "twice": (["compare", "a.npz", "b.safetensors", "-m", "cka", "-m", "cka"], "leave one out"),
    "not callable": (["compare", "a.npz", "-m", "nets:network.0.weight"], "must be a function of two arrays"),
    "layers": (["compare", "a.npz", "--layers", "x*"], "unknown layer 'x*'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_sentence(case, run, files):
    arguments, words = WRONG[case]
    table, told = run(*arguments, status=2)
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not table


def parts(folder):
    """Three files of the same examples, of which each lacks others, in other orders; the last has a parenthesis in its name."""
    rows, ids = np.random.default_rng(0).normal(size=(60, 3)), [f"image {i}" for i in range(60)]
    for name, kept in {"p": range(60), "q": range(49, -1, -1), "r (1)": range(10, 55)}.items():
        hl.save(hl.Activations({"one": rows, "two": rows**2}, example_ids=ids).take(list(kept)), folder / f"{name}.npz")


def test_files_are_compared_over_their_common_rows(run, folder):
    parts(folder)
    for other in ("q.npz", "r (1).npz"):
        for command in ("compare", "diagnose"):
            _, told = run(command, "p.npz", other, status=2)
            assert told.rstrip().endswith("; --common-rows keeps the rows of both.")
    _, told = run("compare", "q.npz", "p.npz", "r (1).npz", "--common-rows", "-m", "cca", "--out", "common.nc")
    assert "note: 40 rows are kept, which all files hold (q has 50, p has 60, r (1) has 45)." in told
    result = xarray.load_dataset(folder / "common.nc")
    assert int(result.attrs["n_examples"]) == 40
    assert result.attrs["row_identity"] == "example ids"
    same = result.cca.values[np.equal.outer(result.layer_a.values, result.layer_b.values)]
    np.testing.assert_allclose(same, 1)  # the rows are matched
    assert "note: 50 rows are kept" in run("diagnose", "p.npz", "q.npz", "--common-rows")[1]
    assert "--common-rows needs two files, got one" in run("compare", "p.npz", "--common-rows", status=2)[1]


def test_rows_that_cannot_be_matched_are_told_by_the_names_of_files(run, folder):
    parts(folder)
    hl.save({"one": np.eye(4)}, folder / "nobody.npz")
    _, told = run("compare", "p.npz", "nobody.npz", "--common-rows", status=2)
    assert "the rows of p and nobody are matched by example ids" in told
    assert "(p: example ids; nobody: neither)" in told


ENDED = """
import errno, os, signal, warnings
import homolog as hl

def interrupted(x, y):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which commands in the background of a shell are without
    signal.raise_signal(signal.SIGINT)

def memory(x, y):
    raise MemoryError("Unable to allocate 9. TiB")

def disk(x, y):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a\\x1b.tmp")

def warned(x, y):
    for kind in [hl.HomologWarning, *hl.HomologWarning.__subclasses__()]:
        warnings.warn(f"{kind.__name__} of a\\x1b[31m\\n\\u202e: pass resume=True.", kind)
    return 0.5

def wrong(kind):
    def raised(x, y):
        raise kind("of a\\x1b[31m\\n\\u202e: homolog.common_rows(a, b) keeps the rows of both.")
    return raised

value, key, type_, file, timeout = map(wrong, (ValueError, KeyError, TypeError, FileExistsError, TimeoutError))
"""
SAID = "homolog: of a\\x1b[31m\\n\\u202e: --common-rows keeps the rows of both.\n"
ENDINGS = {
    "interrupted": (130, "homolog: interrupted.\n"),
    "memory": (
        1,
        "homolog: the machine has not enough memory (Unable to allocate 9. TiB): choose fewer layers or examples, or",
    ),
    "disk": (2, "homolog: the system refused to go on with 'a\\x1b.tmp': No space left on device.\n"),
    **dict.fromkeys(("value", "key", "type_", "file", "timeout"), (2, SAID)),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_whatever_ends_a_command_is_one_sentence_and_a_status(how, folder):
    (folder / "ended.py").write_text(ENDED)
    hl.save({"x": np.eye(5), "y": np.eye(5)[::-1]}, folder / "two.npz")
    status, words = ENDINGS[how]
    ended, out, told = command_line(["compare", "two.npz", "-m", f"ended.py:{how}", "--out", "never.nc"], folder)
    assert (ended, out) == (status, "")
    assert told.startswith(words)
    assert len(told.splitlines()) == 1
    assert not (folder / "never.nc").exists()
    assert not list(folder.glob(".homolog*"))


def test_every_warning_is_a_note_on_one_line(run, folder):
    (folder / "ended.py").write_text(ENDED)
    hl.save({"x": np.eye(5), "y": np.eye(5)[::-1]}, folder / "two.npz")
    told = run("compare", "two.npz", "-m", "ended.py:warned")[1].splitlines()
    for kind in [hl.HomologWarning, *hl.HomologWarning.__subclasses__()]:
        assert f"note: {kind.__name__} of a\\x1b[31m\\n\\u202e: pass --resume." in told


def test_an_interrupt_before_the_command_runs_is_told_too(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("homolog.cli.app.run", interrupt)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "homolog: interrupted.\n"
