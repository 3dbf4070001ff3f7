"""`homolog trajectory`, and `homolog diagnose` of many files, from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_checkpoints
import torch
import xarray

import homolog as hl
from homolog.cli.app import run
from homolog.cli.model_names import model_names

MODULE = """
import small_checkpoints

build = small_checkpoints.build
network = build()

def data():
    return small_checkpoints.examples()

def labelled():
    images = small_checkpoints.examples()
    return images, images[:, 0] > 0

def conversation():
    return iter([small_checkpoints.examples()])
"""


def command_line(*arguments: str) -> int:
    return run(list(arguments))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text(MODULE)
    (tmp_path / "run").mkdir()
    small_checkpoints.saved(tmp_path / "run", 6)
    return tmp_path


GIVEN = ("trajectory", "mynet.py:build", "--checkpoints", "run/*.safetensors", "--data", "mynet.py:data")


def test_it_prints_when_layers_settle_and_writes_what_is_asked_for(folder, capsys):
    status = command_line(
        *GIVEN, "--out", "result.nc", "--plot", "curves.png", "--report", "page.html", "--rows", "rows.jsonl"
    )
    told = capsys.readouterr()
    assert status == 0, told.err
    result = xarray.load_dataset(folder / "result.nc")
    expected = hl.compare_checkpoints(small_checkpoints.build, folder / "run", small_checkpoints.examples())
    assert result.identical(expected)
    table = [line.split("\t") for line in told.out.splitlines()]
    assert table[0][:3] == ["layer", "first value", "settled from step"]
    assert [float(row[2]) for row in table[1:]] == expected.settled_step.values.tolist()
    assert "6 checkpoints of Sequential (step 0 to step 500) were compared" in told.err
    assert "add --plot" not in told.err
    assert "train with another seed, and compare its checkpoints too" in told.err
    assert (folder / "curves.png").stat().st_size > 5000
    assert "Against the last checkpoint" in (folder / "page.html").read_text(encoding="utf-8")
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 7


def test_options_reach_the_library(folder, capsys):
    options = ("--against", "last", "--measure", "cka", "--layers", "4", "--max-examples", "50", "--out", "result.nc")
    assert command_line(*GIVEN, *options) == 0
    result = xarray.load_dataset(folder / "result.nc")
    assert result["against"].values.tolist() == ["last"]
    assert list(result["layer"].values) == ["4"]
    assert "cka(estimator=debiased)" not in result
    assert int(result.attrs["n_examples"]) == 50
    assert command_line(*GIVEN, "--against", "previous", "--plot", "curves.png") == 0
    assert "to see every layer over training: add --report page.html\n" in capsys.readouterr().err
    steps = [part for step in (1, 2, 4, 8, 16, 32) for part in ("--step", str(step))]
    assert command_line(*GIVEN, *options, *steps) == 0
    assert xarray.load_dataset(folder / "result.nc")["step"].values.tolist() == [1, 2, 4, 8, 16, 32]


def test_an_interrupted_run_goes_on(folder, capsys):
    assert command_line(*GIVEN, "--rows", "rows.jsonl") == 0
    whole = (folder / "rows.jsonl").read_text()
    (folder / "rows.jsonl").write_text("".join(whole.splitlines(keepends=True)[:4]))
    capsys.readouterr()
    assert command_line(*GIVEN, "--rows", "rows.jsonl") == 2
    assert "--resume" in capsys.readouterr().err
    assert command_line(*GIVEN, "--rows", "rows.jsonl", "--resume", "--reduce", "mean") == 2
    assert "must be continued with the reduce it was begun with" in capsys.readouterr().err
    assert command_line(*GIVEN, "--rows", "rows.jsonl", "--resume") == 0
    assert (folder / "rows.jsonl").read_text() == whole


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("trajectory", "run/step_000000.safetensors", *GIVEN[2:]), "a function that makes the network"),
        (("trajectory", "mynet.py:network", *GIVEN[2:]), "build must be a function that makes the network"),
        ((*GIVEN[:3], "nowhere/*.pt", *GIVEN[4:]), "there are no checkpoints named like"),
        ((*GIVEN[:3], "run/step_000000.safetensors", *GIVEN[4:]), "must be at least two"),
        ((*GIVEN[:5], "mynet.py:conversation"), "read again for each checkpoint"),
        ((*GIVEN, "--against", "next"), "against must be one or more of first, previous, last"),
        ((*GIVEN, "--resume"), "--resume needs --rows"),
        ((*GIVEN, "--rows", "rows.json"), "--rows must end in .jsonl"),
    ],
)
def test_wrong_use_is_one_sentence(folder, capsys, arguments, sentence):
    assert command_line(*arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len([line for line in told.splitlines() if not line.startswith("note: ")]) == 1


def test_two_copies_among_five_are_named_by_both_commands(folder, capsys):
    """The line of the issue: two copies of one checkpoint under different names, of files of weights and of activations."""
    for place, seed in enumerate((3, 4, 5, 4, 6)):
        torch.save(small_checkpoints.weights(seed), folder / f"run-{'abcde'[place]}.pt")
    arguments = list(GIVEN)
    arguments[3] = "run-*.pt"
    assert command_line(*arguments) == 0
    assert "Checkpoints run-b and run-d are the same network: their weights are equal." in capsys.readouterr().err
    names = []
    for letter in "abcde":
        network = small_checkpoints.build()
        network.load_state_dict(torch.load(folder / f"run-{letter}.pt", weights_only=True))
        names.append(f"run-{letter}.npz")
        hl.save(hl.extract(network, small_checkpoints.examples()), folder / names[-1])
    assert command_line("diagnose", *names, "--permutations", "19") == 0
    found = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in found if row[0] == "same network"] == ["run-b and run-d"]
    assert command_line("compare", *names, "--measure", "cka") == 0
    assert "run-b and run-d are the same network" in capsys.readouterr().err


def test_info_and_report_read_a_trajectory(folder, capsys):
    assert command_line(*GIVEN, "--out", "result.nc") == 0
    capsys.readouterr()
    assert command_line("info", "result.nc") == 0
    told = capsys.readouterr()
    table = [line.split("\t") for line in told.out.splitlines()]
    assert table[0] == ["measure", "kind", "references × steps × layers", "values"]
    assert table[1][2] == "3 × 6 × 5"
    assert ["result", "homolog trajectory, as homolog.compare_checkpoints makes it"] in table
    assert "6 checkpoints" in told.err
    assert told.err.splitlines()[-1] == "Next, to see every layer over training: homolog report result.nc"
    assert command_line("report", "result.nc", "--out", "page.html") == 0
    assert "When layers settle" in (folder / "page.html").read_text(encoding="utf-8")


def test_data_of_a_file_are_taken(folder, capsys):
    np.save(folder / "x.npy", small_checkpoints.examples().numpy())
    assert command_line(*GIVEN[:5], "x.npy") == 0


def test_data_with_labels_are_refused_in_one_sentence(folder, capsys):
    given = [*GIVEN[:-1], "mynet.py:labelled"]
    for arguments in (given, ["extract", "mynet.py:network", "--data", "mynet.py:labelled", "--out", "a.npz"]):
        assert command_line(*arguments) == 2
        told = capsys.readouterr().err.strip()
        assert "looks like (images, labels): pass the images" in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("m0.npz", "m0.npz"), ("m0", "m0 (2)")),
        (("m0.npz", "./m0.npz"), ("m0", "m0 (2)")),
        (("early/m0.npz", "late/m0.npz"), ("early/m0", "late/m0")),
        (("m0.npz", "m0.safetensors"), ("m0.npz", "m0.safetensors")),
        (("late/m0.npz", "m0.safetensors"), ("m0.npz", "m0.safetensors")),
    ],
)
def test_files_of_one_name_are_called_by_what_tells_them_apart(tmp_path, monkeypatch, capsys, files, names):
    monkeypatch.chdir(tmp_path)
    layers = hl.Activations({"a": np.random.default_rng(0).normal(size=(40, 3))}, example_ids=np.arange(40))
    for place in ("early", "late"):
        (tmp_path / place).mkdir()
    for file in ("m0.npz", "early/m0.npz", "late/m0.npz", "m0.safetensors"):
        hl.save(layers, tmp_path / file)
    assert command_line("compare", *files, "--measure", "cka", "--out", "result.nc") == 0
    result = xarray.load_dataset("result.nc")
    assert (result.attrs["model_a"], result.attrs["model_b"]) == names
    assert f"{names[0]} and {names[1]} are the same network" in capsys.readouterr().err


def test_a_file_given_again_and_again_is_another_model_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = model_names([Path(name) for name in ("m.npz", "m.npz", "x/m.npz", "m.npz", "y/x/m.npz")])
    own = tmp_path.name
    assert names == [f"{own}/m", f"{own}/m (2)", f"{own}/x/m", f"{own}/m (3)", "y/x/m"]


def test_a_step_is_written_with_all_its_digits(folder, capsys):
    steps = [part for step in range(6) for part in ("--step", str(1234567 + step))]
    assert command_line(*GIVEN, *steps) == 0
    table = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {row[2] for row in table[1:]} <= {str(1234567 + step) for step in range(6)}
