"""Row numbers that pandas leaves behind are ids only where nothing else is: they are true of one table, and of no other."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
import xarray
from numpy.testing import assert_array_equal

import homolog as hl

N = 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
NAMES = np.array([f"text {number:02}" for number in RNG.permutation(N)])


def filtered(order, columns=("doc_id",), *, first: bool = False, vectors: bool = True) -> pd.DataFrame:
    """Return rows in an order, of which some were dropped, with the index that is left of it."""
    names = {column: NAMES if place == 0 else np.arange(N) % 7 for place, column in enumerate(columns)}
    values = {"embedding": list(X)} if vectors else {f"f{place}": X[:, place] for place in range(4)}
    table = pd.DataFrame(names | values if first else values | names).iloc[order].reset_index(drop=True)
    return table[np.arange(N) % 5 != 1]


SIDES = (np.arange(N), np.random.default_rng(1).permutation(N))


def dataset(table, path):
    pytest.importorskip("datasets").Dataset.from_pandas(table).save_to_disk(path)


def named_unnamed(table):
    return table.reset_index().rename(columns={"index": "Unnamed: 0"})


WRITERS = {
    "a.parquet": lambda table, path: table.to_parquet(path),
    "a range.parquet": lambda table, path: table.iloc[::2].to_parquet(path),
    "polars.parquet": lambda table, path: pl.from_arrow(pa.Table.from_pandas(table)).write_parquet(path),
    "a.feather": lambda table, path: pyarrow.feather.write_feather(pa.Table.from_pandas(table), path),
    "a dataset": dataset,
    "unnamed.parquet": lambda table, path: named_unnamed(table).to_parquet(path, index=False),
    "index.parquet": lambda table, path: table.reset_index().to_parquet(path, index=False),
}
TEXTS = {
    "first.csv": lambda table, path: table.to_csv(path),
    "unnamed.csv": lambda table, path: named_unnamed(table).to_csv(path, index=False),
    "twice.csv": lambda table, path: named_unnamed(table).to_csv(path),
    "first.tsv": lambda table, path: table.to_csv(path, sep="\t"),
}
HELD = {
    "pandas": lambda table: table,
    "unnamed": named_unnamed,
    "twice": lambda table: named_unnamed(table).assign(**{"Unnamed: 0.1": range(len(table)), "level_0": 3}),
    "polars": lambda table: pl.from_arrow(pa.Table.from_pandas(table)),
    "pyarrow": lambda table: pa.Table.from_pandas(table),
}


def read(kind, table, folder):
    """Return what is read of a table of some kind, in memory or in a file."""
    if kind in HELD:
        return hl.Activations(HELD[kind](table))
    folder.mkdir(exist_ok=True)
    (WRITERS | TEXTS)[kind](table, str(folder / kind))
    return hl.open(folder / kind)


@pytest.mark.filterwarnings("ignore::homolog.LeftOutWarning")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [*WRITERS, *TEXTS, *HELD])
def test_a_column_of_ids_says_more_than_row_numbers(kind, first, tmp_path):
    sides = [filtered(order, first=first, vectors=kind not in TEXTS) for order in SIDES]
    a, b = hl.common_rows(*(read(kind, side, tmp_path / str(number)) for number, side in enumerate(sides)))
    assert set(a.example_ids) <= set(NAMES)
    (one,), (other,) = a.values(), b.values()
    assert_array_equal(one, other)
    assert one.shape[1] == 4


@pytest.mark.parametrize("kind", [*WRITERS, *TEXTS, *HELD])
@pytest.mark.parametrize("columns", [("doc_id", "user_id"), ("user_id", "doc_id"), ("paper",)])
def test_row_numbers_that_are_taken_for_ids_are_told_where_others_may_be_ids(kind, columns, tmp_path):
    with pytest.warns(hl.LeftOutWarning) as caught:
        found = read(kind, filtered(SIDES[1], columns, vectors=kind not in TEXTS), tmp_path)
    assert found.example_ids.dtype.kind == "i"
    told = [str(each.message) for each in caught if "row numbers that pandas kept" in str(each.message)]
    assert len(told) == 1
    assert all(repr(column) in told[0] for column in columns)
    remedies = dict.fromkeys(HELD, "\\.set_index\\('") | {"polars": "rename '", "pyarrow": "rename '"}
    assert re.search(f"if so, {remedies.get(kind, 'pass ids=')}", told[0])


def test_a_remedy_does_what_it_says(tmp_path):
    table = filtered(SIDES[1], ("paper",))
    table.to_parquet(tmp_path / "a.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = hl.Activations(table.set_index("paper"))
        assert_array_equal(hl.open(tmp_path / "a.parquet", ids="paper").example_ids, held.example_ids)
    assert_array_equal(held.example_ids, table["paper"])


def test_a_layer_that_is_asked_for_by_name_is_told_of_the_same(tmp_path):
    filtered(SIDES[1], ("paper",)).to_parquet(tmp_path / "a.parquet")
    with pytest.warns(hl.LeftOutWarning, match=r"'paper' may say whose they are: if so, pass ids='paper'\.$"):
        hl.open(f"{tmp_path / 'a.parquet'}::embedding")


def test_an_index_with_a_name_or_of_labels_says_more_than_an_ending(tmp_path):
    table = filtered(SIDES[1], ("doc_id",)).assign(paper=lambda t: t["doc_id"] + " in print")
    numbered = table.assign(paper=np.arange(len(table)) * 3)
    labelled = table.set_index("paper")
    tables = {
        "named": labelled,
        "labels": labelled.rename_axis(None),
        "kept": labelled.rename_axis(None).reset_index(),
        "numbers": numbered.set_index("paper"),
        "range": numbered.drop(columns="paper").set_index(pd.RangeIndex(0, 3 * len(table), 3, name="paper")),
    }
    for name, indexed in tables.items():
        indexed.to_parquet(tmp_path / f"{name}.parquet")
        expected = (numbered if name in ("numbers", "range") else table)["paper"]
        for source in (lambda t=indexed: hl.Activations(t), lambda n=name: hl.open(tmp_path / f"{n}.parquet")):
            with pytest.warns(hl.LeftOutWarning, match="'doc_id'"):
                assert_array_equal(source().example_ids, expected, err_msg=name)


def test_labels_of_xarray_are_no_row_numbers():
    table = filtered(SIDES[1])
    rows = xarray.DataArray(
        np.stack(table["embedding"]),
        dims=("index", "unit"),
        coords={"index": table.index, "doc_id": ("index", list(table["doc_id"]))},
    )
    assert_array_equal(hl.Activations({"l": rows}).example_ids, table["doc_id"])


def test_a_column_with_gaps_that_is_not_used_does_no_harm(tmp_path):
    table = filtered(SIDES[1], ("id",)).assign(index=[None, *range(N - 9)])
    table.to_parquet(tmp_path / "a.parquet", index=False)
    with pytest.warns(hl.LeftOutWarning, match="'index'"):
        assert len(hl.open(tmp_path / "a.parquet").example_ids) == len(table)


def test_dimensions_of_netcdf_say_less_than_ids(tmp_path):
    pytest.importorskip("h5netcdf")
    for dimension in ("item", "index"):
        numbers, names = np.arange(N)[::-1], list(NAMES)
        rows = xarray.DataArray(X, dims=(dimension, "unit"), coords={dimension: numbers, "doc_id": (dimension, names)})
        rows.to_dataset(name="layer").to_netcdf(tmp_path / f"{dimension}.nc", engine="h5netcdf")
        assert_array_equal(hl.open(tmp_path / f"{dimension}.nc").example_ids, names)
        assert_array_equal(hl.Activations({"layer": rows}).example_ids, names)
        rows.drop_vars("doc_id").to_dataset(name="layer").to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
        assert_array_equal(hl.open(tmp_path / "b.nc").example_ids, numbers)
