"""`--ids`: which column of each file says whose its rows are, at the command line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray
from conftest import command_line

import homolog as hl

N = 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
NAMES = [f"text {number}" for number in range(N)]


@pytest.fixture
def run(tmp_path):
    """Write two tables, of which one has names of its own for ids, and return what runs commands beside them."""
    order = np.random.default_rng(1).permutation(N)
    table = pd.DataFrame({"paper": NAMES, "embedding": list(X)}).iloc[order]
    table.to_parquet(tmp_path / "a.parquet")
    pd.DataFrame(X, columns=list("pqrs")).assign(doc=NAMES).to_csv(tmp_path / "b.csv", index=False)
    hl.save(hl.Activations({"x": X}, example_ids=NAMES), tmp_path / "c.npz")
    hl.save(hl.Activations({"x": X}, example_ids=NAMES), tmp_path / "d.zarr")

    def run(*arguments, status=0):
        ended, _, told = command_line(arguments, tmp_path)
        assert ended == status, told
        return told

    return run


@pytest.mark.parametrize("command", ["compare", "diagnose", "check"])
def test_the_first_name_that_a_file_has_says_whose_its_rows_are(command, run):
    names = ("--ids", "paper", "--ids", "doc")
    limits = ("--pairs", "all", "--at-least", "cka=0.99") if command == "check" else ()
    run(command, "a.parquet", "b.csv", "--common-rows", *names, *limits)
    run(command, "a.parquet", "c.npz", "--common-rows", "--ids", "paper", *limits)
    run(command, "d.zarr", "b.csv", "--common-rows", "--ids", "doc", *limits)


def test_rows_are_matched_by_the_column(run, tmp_path):
    run("compare", "a.parquet", "b.csv", "--ids", "paper", "--ids", "doc", "--common-rows", "--out", "result.nc")
    result = xarray.load_dataset(tmp_path / "result.nc")
    assert result.attrs["row_identity"] == "example ids"
    assert result.cka.item() == pytest.approx(1)


def test_a_name_that_no_file_has_is_an_error(run):
    said = run("compare", "a.parquet", "b.csv", "--ids", "paper", "--ids", "dok", status=2)
    assert "--ids must name a column or an array with one entry per row of at least one file, got 'dok'" in said


def test_rows_without_common_ids_say_that_they_can_be_named(run):
    said = run("compare", "a.parquet", "c.npz", "--common-rows", status=2)
    assert "may say whose they are: if so, pass --ids 'paper'." in said
    assert "or name the column that holds the ids that both share, --ids NAME." in said
    said = run("compare", "b.csv", "c.npz", "--common-rows", status=2)
    assert "or name the column that holds them, --ids NAME." in said
    with pytest.raises(
        ValueError, match=r"homolog.open\(path, ids=...\) for a file and .set_index\(...\) for a DataFrame"
    ):
        hl.common_rows(pd.DataFrame(X), pd.DataFrame(X, index=NAMES))
