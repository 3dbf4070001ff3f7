"""The summary on the command line: last, beside the table, with a next step that the shell takes."""

from __future__ import annotations

import shlex
import sys

import numpy as np
import pytest
from made_results import in_order, made

import homolog as hl
from homolog.cli.app import run


@pytest.fixture
def files(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    task = rng.normal(size=(80, 3))
    for name in ("a 1", "b", "c"):
        layers = {f"l{i}": task + 0.1 * (i + 1) * rng.normal(size=(80, 3)) for i in range(3)}
        hl.save(hl.Activations(layers), f"{name}.npz")
    return "a 1.npz", "b.npz", "c.npz"


def told(capsys, *arguments):
    assert run(list(arguments)) == 0
    return capsys.readouterr()


def test_in_a_pipe_the_table_stands_alone(files, capsys):
    shown = told(capsys, "compare", *files[:2], "-m", "cca")
    assert all(line.count("\t") == 4 for line in shown.out.splitlines())
    lines = shown.err.splitlines()
    assert any(
        line.startswith("3 layers of a 1 were compared with 3 layers of b over 80 examples by cca") for line in lines
    )
    assert lines[-1].startswith("Next, ")


def test_in_a_terminal_it_comes_last(files, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = told(capsys, "compare", *files[:2], "-m", "cca")
    assert shown.out.splitlines()[-1].startswith("Next, ")
    assert "Next, " not in shown.err


def test_the_next_step_is_a_command_that_runs(files, capsys):
    first = told(capsys, "compare", *files[:2], "-m", "cca", "--layers", "l*").err.splitlines()[-1]
    command = shlex.split(first.partition(": ")[2])
    assert command == ["homolog", "compare", "a 1.npz", "b.npz", "-m", "cca", "--layers", "l*", "--permutations", "999"]
    second = told(capsys, *command[1:]).err.splitlines()
    assert any("than chance allows" in line for line in second)
    assert second[-1].endswith("--report report.html")


@pytest.mark.parametrize("given", [["--permutations", "9"], ["--permutations=9"]])
def test_an_option_of_the_next_step_stands_in_it_once(files, capsys, given):
    last = told(capsys, "compare", *files, "-m", "cca", *given).err.splitlines()[-1]
    assert last.count("--permutations") == 1
    assert "--permutations 9 " not in f"{last} "


def test_a_page_that_was_written_is_to_be_opened(files, capsys):
    shown = told(capsys, "compare", *files[:2], "-m", "cca", "--permutations", "199", "--report", "r.html")
    assert shown.err.splitlines()[-1] == "Next, to look at every pair: open r.html"


def test_info_tells_what_a_result_says(files, capsys, tmp_path):
    told(capsys, "compare", *files, "-m", "cca", "--out", "many.nc")
    assert "3 models, in 3 pairs, were compared" in told(capsys, "info", "many.nc").err
    made(in_order(5, 5), 1e-4, n_permutations=np.int32(99_999)).to_netcdf("made.nc")
    shown = told(capsys, "info", "made.nc").err
    assert "The layers correspond in order" in shown
    assert shown.splitlines()[-1] == "Next, to look at every pair: homolog report made.nc"
    made(np.full((2, 2), np.nan)).to_netcdf("none.nc")
    assert told(capsys, "info", "none.nc").err.splitlines()[-1].endswith("homolog diagnose FILE FILE")


def test_info_of_a_selected_side_says_why_there_is_none(files, capsys):
    made(in_order(5, 5)).isel(layer_a=0).to_netcdf("part.nc")
    assert "note: there is no summary: a result must keep its dimensions" in told(capsys, "info", "part.nc").err
