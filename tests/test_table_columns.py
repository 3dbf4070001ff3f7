"""Columns of tables: which are layers, features and identities, what is left out, and what is wrong with a column."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray
from numpy.testing import assert_array_equal

import homolog as hl
from homolog.id_columns import columns_of

X = np.random.default_rng(0).normal(size=(6, 3))
IDS = ["a", "b", "c", "d", "e", "f"]
VECTORS = X.tolist()
TABLES = {"pandas": pd.DataFrame, "polars": lambda columns: pl.DataFrame(columns, strict=False), "pyarrow": pa.table}
SHORT, GAP = [*VECTORS[:4], [1.0], VECTORS[5]], [*VECTORS[:2], None, *VECTORS[3:]]

LEFT_OUT = {
    "text": (IDS, "text"),
    "when": (list(pd.date_range("2020", periods=6)), "dates"),
    "correct": ([True, False] * 3, "truth values"),
}


@pytest.mark.parametrize("library", TABLES)
@pytest.mark.parametrize("column", LEFT_OUT)
def test_what_is_no_number_is_left_out_with_a_word(library, column):
    values, kind = LEFT_OUT[column]
    table = TABLES[library]({"f0": X[:, 0], column: values, "f1": X[:, 1]})
    with pytest.warns(hl.LeftOutWarning, match=rf"^layer 'l': '{column}' \({kind}\) left out: ") as caught:
        found = hl.Activations({"l": table})
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert_array_equal(found["l"], X[:, :2])
    with pytest.raises(
        ValueError, match=rf"must have columns of numbers or a column of vectors, got '{column}' \({kind}\)"
    ):
        hl.Activations({"l": TABLES[library]({column: values})})


@pytest.mark.parametrize("library", TABLES)
def test_columns_of_vectors_are_layers_and_numbers_beside_them_are_one(library):
    table = TABLES[library]({"id": IDS, "early": VECTORS, "length": [3, 1] * 3, "late": (2 * X[:, :2]).tolist()})
    result = hl.compare(table, measures="procrustes_distance")
    assert result.layer_a.values.tolist() == ["early", "late", "a"]
    assert result.features_a.values.tolist() == [3, 2, 1]
    words = r"'l' must be one layer, got a table of 'early', 'late', columns of numbers: choose one, as in frame\[\['early'\]\]"
    with pytest.raises(ValueError, match=words):
        hl.Activations({"l": table})


@pytest.mark.parametrize("library", TABLES)
def test_numbers_whose_names_say_that_they_are_no_features_are_left_out(library):
    table = TABLES[library]({"f0": X[:, 0], "a_id": range(6), "b_id": range(6), "Labels": [0, 1] * 3})
    words = r"'a_id' \(numbers\), 'b_id' \(numbers\), 'Labels' \(numbers\) left out: numbers that are called as ids"
    with pytest.warns(hl.LeftOutWarning, match=words):
        found = hl.Activations({"l": table})
    assert (found["l"].shape, found.example_ids) == ((6, 1), None)


def test_who_rows_are_is_said_by_the_surest_name():
    for names, ids in (
        (("id", "Example_ID", "f"), "Example_ID"),
        (("image_id", "f"), "image_id"),
        (("index", "image_id", "f"), "image_id"),
        (("index", "f"), "index"),
        (("Unnamed: 0", "f"), "Unnamed: 0"),
    ):
        assert columns_of(dict.fromkeys(names, "numbers"), "a file").ids == ids


def test_whole_numbers_among_fractions_are_ids():
    assert hl.Activations({"l": pd.DataFrame(X).assign(id=np.arange(6.0))}).example_ids.dtype == np.int64


WRONG = {
    "ragged": ({"v": SHORT}, ValueError, r"column 'v' of .* one length \(3, that of row 0\), got 1 numbers in row 4"),
    "gap": (
        {"v": GAP},
        TypeError,
        r"column 'v' of .* must hold one vector of numbers per row, got nothing in row 2: leave",
    ),
    "no numbers": ({"v": [[], *VECTORS[1:]]}, TypeError, "got an empty vector in row 0"),
    "no id": (
        {"id": [*IDS[:5], None], "v": VECTORS},
        TypeError,
        r"column 'id' .* a missing value first in row 5 \(1 of 6",
    ),
    "ids with fractions": ({"id": X[:, 0], "v": VECTORS}, TypeError, "must hold integers or text, got float"),
    "missing number": (
        {"f": [*range(5), None], "g": range(6)},
        ValueError,
        r"NaN or infinity first in row 5 \(1 of 6 rows\)",
    ),
}


@pytest.mark.parametrize("library", TABLES)
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_column_is_said_in_one_sentence(library, case):
    columns, kind, words = WRONG[case]
    with pytest.raises(kind, match=words) as caught:
        hl.compare(TABLES[library](columns), measures="procrustes_distance")
    assert "\n" not in str(caught.value)


def test_a_vector_of_another_kind_names_its_row():
    for odd, got in (
        (["x"], "a vector of <U1"),
        ([[1.0]], r"shape \(1, 1\)"),
        (7.5, r"7\.5"),
        ([1.0, [2.0]], "no vector"),
    ):
        table = pd.DataFrame({"v": pd.Series([*VECTORS[:3], odd, *VECTORS[4:]], dtype=object)})
        with pytest.raises(TypeError, match=rf"got .*{got} in row 3"):
            hl.Activations({"l": table})


@pytest.mark.parametrize("library", TABLES)
def test_numbers_keep_their_precision(library):
    table = TABLES[library]({"f0": X[:, 0].astype("float32"), "f1": X[:, 1].astype("float32")})
    assert hl.Activations({"l": table})["l"].dtype == np.float32
    large = TABLES[library]({"f0": [2**53 + 1, *range(5)], "f1": range(6)})
    assert_array_equal(hl.Activations({"l": large})["l"][0], [2**53 + 1, 0])


@pytest.mark.parametrize("library", TABLES)
def test_tokens_are_examples_with_positions(library):
    columns = {"example_id": [0, 0, 0, 1, 1, 1], "position": [0, 1, 2] * 2, "v": VECTORS}
    table = TABLES[library](columns)
    found = hl.compare(table, TABLES[library](columns), measures="procrustes_distance")
    assert found.attrs["row_identity"] == "example ids"
    other = TABLES[library]({"example_id": [0, 0, 0, 1, 1, 1], "position": [0, 2, 1] * 2, "v": VECTORS})
    with pytest.raises(ValueError, match="got positions that differ first in row 1"):
        hl.compare(table, other)


def test_levels_of_an_index_are_examples_and_positions():
    levels = pd.MultiIndex.from_arrays([[0, 0, 0, 1, 1, 1], [0, 1, 2] * 2], names=["example_id", "position"])
    assert hl.Activations({"l": pd.DataFrame(X, index=levels)}).positions.tolist() == [0, 1, 2] * 2
    with pytest.raises(ValueError, match=r"an index of one level .*, got levels \['subject', 'item'\]: rename"):
        hl.Activations({"l": pd.DataFrame(X, index=levels.set_names(["subject", "item"]))})


@pytest.mark.parametrize("library", TABLES)
def test_dates_are_ids_as_text(library):
    days = pd.date_range("2020", periods=6)
    column = hl.Activations({"l": TABLES[library]({"id": list(days.to_pydatetime()), "v": VECTORS})})
    index = hl.Activations({"l": pd.DataFrame(X, index=days)})
    labels = hl.Activations({"l": xarray.DataArray(X, dims=("day", "unit"), coords={"day": days})})
    for found in (column, index, labels):
        assert found.example_ids[1] == "2020-01-02 00:00:00"
    with pytest.raises(TypeError, match=r"column 'id' .* a missing value first in row 5"):
        hl.Activations({"l": pd.DataFrame({"id": [*days[:5], pd.NaT], "v": VECTORS})})


def test_ids_among_python_objects():
    for ids in (np.arange(6), np.array(IDS)):
        assert (
            hl.Activations({"l": pd.DataFrame({"id": list(ids), "v": VECTORS}).astype({"id": object})}).example_ids[1]
            == ids[1]
        )


def test_an_index_of_dates_or_of_other_numbers_says_whose_rows_are():
    for index, first in ((pd.date_range("2020", periods=6), "2020-01-01 00:00:00"), (np.arange(6) / 4, "0.0")):
        assert hl.Activations({"l": pd.DataFrame(X, index=index)}).example_ids[0] == first
    with pytest.raises(TypeError, match=r"column 'index' of .* a missing value first in row 1"):
        hl.Activations({"l": pd.DataFrame(X, index=["a", None, "c", "d", "e", "f"])})


def test_a_column_says_more_than_the_index_and_the_caller_more_than_both():
    table = pd.DataFrame(X).assign(id=IDS).sample(frac=1, random_state=0)
    assert hl.Activations({"l": table}).example_ids.tolist() == table["id"].tolist()
    assert hl.Activations({"l": table}, example_ids=range(6)).example_ids.tolist() == list(range(6))


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_two_columns_of_one_name_are_refused(library):
    twice = pd.concat([pd.DataFrame(X), pd.DataFrame(X)], axis=1)
    table = twice if library == "pandas" else pa.table([X[:, 0], X[:, 0]], names=["0", "0"])
    with pytest.raises(ValueError, match="must have different names, got '0' twice"):
        hl.Activations({"l": table})


def test_ids_that_do_not_tell_rows_apart_are_told():
    classes = ["cat", "dog"] * 3
    for table in (
        pd.DataFrame(X, index=classes),
        pl.DataFrame({"id": classes, "v": VECTORS}),
        xarray.DataArray(X, dims=("kind", "unit"), coords={"kind": classes}),
    ):
        with pytest.warns(hl.LeftOutWarning, match="^layer 'l': its 6 rows have 2 ids, which do not tell them apart"):
            assert hl.Activations({"l": table}).example_ids.tolist() == classes


def test_a_recording_with_its_examples_in_columns_is_refused():
    recording = xarray.DataArray(X.T, dims=("unit", "trial"), coords={"example_id": ("trial", IDS)})
    with pytest.raises(ValueError, match=r"got 'example_id' along 'trial': put that first, \.transpose"):
        hl.cka(recording, recording)
    hl.cka(recording.transpose("trial", ...), X)


def test_what_is_no_table_yet_says_what_makes_it_one():
    with pytest.raises(TypeError, match=r"got a LazyFrame: call its \.collect\(\) first"):
        hl.cka(pl.DataFrame(X).lazy(), X)
    for column in (pd.Series(X[:, 0]), pl.Series(X[:, 0]), pa.chunked_array([X[:, 0]])):
        with pytest.raises(TypeError, match="of numbers: a single feature is a table of one column"):
            hl.cka(column, X)
    with pytest.raises(ValueError, match="two axes"):
        hl.cka(xarray.DataArray(X[:, 0]), X)


NAMED = {
    "by name": {"id": IDS, "label": [0, 1] * 3, "text": IDS, "f0": X[:, 0], "f1": X[:, 1]},
    "by ending": {
        "image_id": IDS,
        "Target": [0.5, 1] * 3,
        "when": list(pd.date_range("2020", periods=6)),
        "f0": X[:, 0],
    },
    "two endings": {"a_id": range(6), "b_id": range(6), "f0": X[:, 0], "f1": X[:, 1]},
    "vectors": {"index": [3, 1, 4, 5, 9, 2], "v": VECTORS, "f0": X[:, 0], "correct": [True, False] * 3},
}


@pytest.mark.parametrize("case", NAMED)
def test_a_table_is_read_from_a_file_as_it_is_taken_from_memory(case, tmp_path):
    table = pd.DataFrame(NAMED[case])
    table.to_parquet(tmp_path / "features.parquet")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found, written = hl.Activations(table), hl.open(tmp_path / "features.parquet")
    names = [[name for name in table if repr(name) in str(each.message)] for each in told]
    assert len(names) == 2
    assert names[0] == names[1]
    assert list(found) == list(written)
    for name, layer in found.items():
        assert_array_equal(layer, written[name])
    assert (found.example_ids is None) == (written.example_ids is None)
    if found.example_ids is not None:
        assert_array_equal(found.example_ids, written.example_ids)


def test_the_rule_itself():
    """The one that files follow, too."""
    found = columns_of({" Example_ID ": "text", "position": "numbers", "x": "numbers"}, "a file")
    assert (found.ids, found.positions, list(found.features)) == (" Example_ID ", "position", ["x"])
    # Without ids a position is a number like any other.
    assert list(columns_of({"position": "numbers", "x": "numbers"}, "a file").features) == ["position", "x"]


@pytest.mark.parametrize("ids", [IDS, np.array(IDS), np.arange(6)])
def test_ids_among_layers_say_where_they_belong(ids):
    with pytest.raises(TypeError, match=r"layer 'ids' must be an array .* of one entry per row: .* example_ids=\.$"):
        hl.Activations({"V4": X, "ids": ids})
