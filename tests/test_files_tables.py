"""Tables: which columns are layers, features, ids or neither, and what is said of columns that cannot be read."""

from __future__ import annotations

import datetime
import json
import pickle
import uuid

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from numpy.testing import assert_array_equal

import homolog as hl

X = np.random.default_rng(0).normal(size=(6, 3))
VECTORS = [row.tolist() for row in X]


@pytest.fixture
def written(tmp_path):
    """A function that writes a table as Parquet and returns its path."""

    def write(columns, name="t.parquet"):
        table = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
        pyarrow.parquet.write_table(table, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def text(tmp_path):
    """A function that writes a table as text and returns its path."""

    def write(content, name="t.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


# --- What columns are


def test_vectors_are_layers_and_numbers_are_features_of_one(written):
    opened = hl.open(written({"early": VECTORS, "f1": [1, 2, 3, 4, 5, 6], "late": VECTORS, "f0": np.arange(6.0)}))
    assert list(opened) == ["early", "late", "t"]
    assert_array_equal(opened["t"], [[i + 1, i] for i in range(6)])
    assert list(hl.open(written({"t": VECTORS, "f": range(6)}))) == ["t", "t.columns"]
    assert_array_equal(hl.open(written({"e": VECTORS, "f": range(6)}), "f")["f"], np.arange(6)[:, None])


KINDS = {
    "list": (VECTORS, None),
    "large list": (VECTORS, pyarrow.large_list(pyarrow.float64())),
    "fixed": (VECTORS, pyarrow.list_(pyarrow.float64(), 3)),
    "float16": (X.astype("float16").tolist(), pyarrow.list_(pyarrow.float16(), 3)),
    "float32": (X.astype("float32").tolist(), pyarrow.list_(pyarrow.float32())),
    "int8": ((X * 9).astype("int8").tolist(), pyarrow.list_(pyarrow.int8())),
    "long": ([[2**53 + 1, row] for row in range(6)], pyarrow.list_(pyarrow.int64())),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather", "compressed.feather"])
def test_vectors_of_every_type_keep_their_numbers(kind, ending, tmp_path):
    values, dtype = KINDS[kind]
    table, path = pyarrow.table({"x": pyarrow.array(values, dtype)}), tmp_path / f"t{ending}"
    table = pyarrow.concat_tables([table.slice(0, 2), table.slice(2)])
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=4)
    else:
        pyarrow.feather.write_feather(table, path, compression="lz4" if "compressed" in ending else "uncompressed")
    assert_array_equal(hl.open(path)["x"], values)
    assert hl.open(path)["x"].dtype == np.asarray(values, dtype and dtype.value_type.to_pandas_dtype()).dtype


def test_tensors_of_arrow_and_dictionaries_are_read(written):
    tensor = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(X)
    coded = pyarrow.array([1.0, 2.0, 1.0, 2.0, 3.0, 3.0]).dictionary_encode()
    names = [uuid.UUID(int=i) for i in range(6)]
    opened = hl.open(
        written({"x": tensor, "f": coded, "id": pyarrow.array([name.bytes for name in names], pyarrow.uuid())})
    )
    assert_array_equal(opened["x"], X)
    assert_array_equal(opened["t"][:, 0], [1, 2, 1, 2, 3, 3])
    assert opened.example_ids.tolist() == [str(name) for name in names]


def test_what_is_no_feature_is_left_out_with_a_word(written):
    path = written(
        {
            "kind": list("abcdef"),
            "label": [0, 1] * 3,
            "done": [True] * 6,
            "when": [datetime.datetime(2020, 1, 1)] * 6,
            "none": pyarrow.nulls(6),
            "f": np.arange(6.0),
        }
    )
    told = r"made of 'kind' \(text\), 'label' .*, 'done' \(booleans\), 'when' \(dates or times\), 'none' \(nothing\)"
    with pytest.warns(hl.LeftOutWarning, match=told):
        opened = hl.open(path)
    assert opened["t"].shape == (6, 1)
    assert opened.example_ids is None
    with pytest.raises(hl.LeftOutWarning, match=told):  # where warnings are errors, they are still themselves
        hl.open(path)
    assert hl.open(path, ids="kind", key="f").example_ids.tolist() == list("abcdef")


# --- Who the rows are


@pytest.mark.parametrize(
    "name", ["id", "ID", "ids", "example_id", "example_ids", "index", "__index_level_0__", "text_id"]
)
def test_numbers_of_rows_are_no_feature(name, written):
    opened = hl.open(written({"f": [1.0, 2.0, 3.0], name: [30, 10, 20]}))
    assert opened["t"].shape == (3, 1)
    assert opened.example_ids.tolist() == [30, 10, 20]


def test_the_index_of_pandas_says_who_rows_are(tmp_path):
    table = pandas.DataFrame(X, columns=list("pqr"))
    indexes = {
        "named": (table.set_index(pandas.Index(list("uvwxyz"), name="key")), list("uvwxyz")),
        "unnamed": (table.set_index(pandas.Index([9, 8, 7, 6, 5, 4])), [9, 8, 7, 6, 5, 4]),
        "rows": (table, None),
        "part": (table.iloc[::2], [0, 2, 4]),
        "seconds": (
            table.set_index(pandas.Index([0.5, 1.5, 2.0, 3.0, 4.0, 5.0])),
            ["0.5", "1.5", "2.0", "3.0", "4.0", "5.0"],
        ),
        "days": (
            table.set_index(pandas.date_range("2020", periods=6)),
            [f"2020-01-0{day} 00:00:00" for day in range(1, 7)],
        ),
        "beside": (table.assign(id=list("fedcba")).set_index(pandas.Index(list("uvwxyz"), name="key")), list("fedcba")),
        "numbered": (table.set_index(pandas.RangeIndex(6, name="key")), list(range(6))),
        "categories": (table.set_index(pandas.CategoricalIndex(list("uvwxyz"), name="key")), list("uvwxyz")),
    }
    for name, (indexed, expected) in indexes.items():
        indexed.to_parquet(tmp_path / f"{name}.parquet")
        opened = hl.open(tmp_path / f"{name}.parquet")
        assert_array_equal(opened[name], X if len(indexed) == 6 else X[::2])
        assert (None if expected is None else opened.example_ids.tolist()) == expected, name
    table.set_index(pandas.MultiIndex.from_product([[0, 1], [2, 3, 4]])).to_parquet(tmp_path / "levels.parquet")
    with pytest.warns(hl.LeftOutWarning, match="no layer is made of '__index_level_0__' .*, '__index_level_1__'"):
        opened = hl.open(tmp_path / "levels.parquet")
    assert opened.example_ids is None
    assert opened["levels"].shape == (6, 3)


def test_positions_stand_beside_ids(written):
    opened = hl.open(written({"id": list("aabb"), "position": [0, 1, 0, 1], "f": np.arange(4.0)}))
    assert opened.positions.tolist() == [0, 1, 0, 1]
    assert opened["t"].shape == (4, 1)


@pytest.mark.filterwarnings("ignore::homolog.LeftOutWarning")
@pytest.mark.parametrize("kind", [pandas.DataFrame, polars.DataFrame])
def test_a_table_in_memory_and_its_file_are_one(kind, tmp_path):
    """One rule says which columns are what."""
    table = kind(
        {
            "x": VECTORS,
            "f": np.arange(6.0),
            "label": [0, 1] * 3,
            "kind": list("uvwxyz"),
            "when": [datetime.datetime(2020, 1, day) for day in range(1, 7)],
            "image_id": [3, 1, 2, 6, 5, 4],
            "a.id": range(6),
        }
    )
    path = tmp_path / "t.parquet"
    table.to_parquet(path) if kind is pandas.DataFrame else table.write_parquet(path)
    opened, held = hl.open(path), hl.Activations(table)
    assert opened.example_ids.tolist() == held.example_ids.tolist()
    assert sorted(array.shape for array in opened.values()) == sorted(array.shape for array in held.values())
    assert_array_equal(opened["x"], held["x"])


def test_ids_are_chosen_by_name(written):
    two = written({"user_id": [1, 2, 3], "item_id": [4, 5, 6], "f": [1.0, 2.0, 3.0]})
    with pytest.warns(hl.LeftOutWarning, match=r"'user_id' .*'item_id'"):
        assert hl.open(two).example_ids is None
    with pytest.warns(hl.LeftOutWarning, match="'user_id'"):
        assert hl.open(two, ids="item_id").example_ids.tolist() == [4, 5, 6]
    with pytest.raises(KeyError, match="unknown id column 'item', did you mean item_id"):
        hl.open(two, ids="item")
    again = written({"id": ["a", "a", "b"], "f": [1.0, 2.0, 3.0]})
    with pytest.warns(hl.LeftOutWarning, match="hold some ids again"):
        assert hl.open(again).example_ids.tolist() == ["a", "a", "b"]


# --- What is refused

REFUSED = {
    "ragged": (
        {"x": [*VECTORS[:4], [1.0, 2.0], VECTORS[5]]},
        "column 'x' must hold vectors of one length, .* 2 in row 4",
    ),
    "no vector": ({"x": [*VECTORS[:4], None]}, "column 'x' must hold a vector in every row, got none in row 4"),
    "gap": ({"x": [*VECTORS[:3], [1.0, None, 2.0]]}, "column 'x' must hold a number everywhere .* in row 3"),
    "gap in fixed": (
        {"x": pyarrow.array([[1.0, 2.0], [1.0, None]], pyarrow.list_(pyarrow.float64(), 2))},
        "got none first in row 1",
    ),
    "nan": ({"x": [*VECTORS[:3], [1.0, np.nan, 2.0]]}, "must hold a finite number everywhere, .* row 3"),
    "no number": ({"f": [1.0, None], "g": [1.0, 2.0]}, "column 'f' must hold a number in every row, got none in row 1"),
    "nan number": ({"f": [1.0, np.inf], "g": [1.0, 2.0]}, "column 'f' must hold a finite number .* row 1"),
    "no id": ({"id": ["a", None], "f": [1.0, 2.0]}, "ids 'id' must be integers or text, got None in row 1"),
    "pickles": ({"o": [pickle.dumps({}), b""], "f": [1.0, 2.0]}, r"got bytes, which may be pickled .*key= \(f\)"),
    "struct": ({"o": [{"a": 1.0}] * 2}, "'o' must hold numbers or vectors of numbers, got a column of type struct"),
    "texts": ({"o": [["a"], ["b"]]}, "got lists of string"),
    "maps": ({"x": [[[1.0, 2.0], [3.0, 4.0]]] * 2}, r"layer 'x' must have two axes .*got shape \(2, 2, 2\): flatten"),
    "ragged maps": ({"x": [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0]]]}, "1 in row 1"),
    "long": ({"f": [2**53 + 1, 2], "g": [1.0, 2.0]}, r"'f' must hold integers below 2\*\*53"),
    "twice": (pyarrow.table([[1.0], [2.0]], names=["f", "f"]), "columns must have different names, got 'f' twice"),
    "text": ({"kind": ["a", "b"]}, r"must be an array \(examples, features\), got 'kind' \(text\)"),
    "nothing": (pyarrow.table({}), "got nothing"),
    "no rows": ({"f": pyarrow.array([], pyarrow.float64())}, "at least 2 examples"),
    "no width": ({"x": pyarrow.array([[], []], pyarrow.list_(pyarrow.float64()))}, "at least 2 examples and 1 feature"),
    "one row": ({"f": [1.0]}, "at least 2 examples"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_columns_that_cannot_be_read_are_one_sentence(case, ending, tmp_path):
    columns, told = REFUSED[case]
    table, path = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns), tmp_path / f"t{ending}"
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    with pytest.raises(ValueError, match=told) as caught:
        hl.open(path)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_asked_for_is_not_read(written):
    path = written({"o": [{"a": 1.0}] * 6, "x": VECTORS, "x.y": [["a"]] * 6})
    assert_array_equal(hl.open(path, "x")["x"], X)
    with pytest.raises(ValueError, match="got lists of string"):
        hl.open(path, "x.y")


def test_an_extension_runs_nothing(tmp_path):
    """A pickled type of Arrow's older versions is read as what it is stored as."""
    about = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(pytest.fail),
    }
    field = pyarrow.field("x", pyarrow.list_(pyarrow.float64()), metadata=about)
    pyarrow.parquet.write_table(pyarrow.table([VECTORS], pyarrow.schema([field])), tmp_path / "t.parquet")
    assert_array_equal(hl.open(tmp_path / "t.parquet")["x"], X)


def test_names_of_columns_are_data(written):
    names = ["<b>表</b>", "\x1b[31m", "a/b", "{x}"]
    opened = hl.open(written({name: VECTORS for name in names}))
    assert list(opened) == names
    assert list(hl.open(f"{written({name: VECTORS for name in names})}::a/b")) == ["a/b"]
    with pytest.raises(KeyError) as caught:
        hl.open(written({name: VECTORS for name in names}), "b")
    assert "\x1b" not in str(caught.value)


# --- Text

TEXTS = {
    "names": ("id,a,b\nx,1,2\ny,3,4\n", ["x", "y"]),
    "no names": ("1.5,2\n3,4\n", None),
    "no names, ids": ("x,1.5,2\ny,3,4\n", ["x", "y"]),
    "index of pandas": (",0,1\n7,1,2\n8,3,4\n", [7, 8]),
    "index of pandas, whole numbers": (",0,1\n7,5,2\n8,3,4\n", [7, 8]),
    "columns of pandas": ("0,1\n1.5,2\n3,4\n", None),
    "R": ('"a","b"\n"r1",1,2\n"r2",3,4\n', ["r1", "r2"]),
    "savetxt": ("# a,b\n1,2\n3,4\n", None),
    "byte order mark": ("\ufeffid,a,b\nx,1,2\ny,3,4\n", ["x", "y"]),
    "leading zeros": ("id,a,b\n007,1,2\n8,3,4\n", ["007", "8"]),
    "long ids": ("id,a,b\n99999999999999999999,1,2\n8,3,4\n", ["99999999999999999999", "8"]),
    "windows": ("id,a,b\r\nx,1,2\r\n\r\ny,3,4\r\n", ["x", "y"]),
    "lines in quotes": ('id,a,b\n"x\nz",1,2\n"y, w",3,4\n', ["x\nz", "y, w"]),
    "spaces": ("id, a, b\nx, 1, 2 \ny, 3, 4\n", ["x", "y"]),
}


@pytest.mark.parametrize("case", TEXTS)
def test_tables_in_text_of_every_form(case, text):
    content, ids = TEXTS[case]
    opened = hl.open(text(content))
    assert opened["t"][1].tolist() == [3, 4]
    assert opened["t"].shape == (2, 2)
    assert (None if ids is None else opened.example_ids.tolist()) == ids


def test_ids_that_are_asked_for_as_a_layer_are_named_once(text):
    with pytest.raises(ValueError, match=r"got 'id' \(ids\): "):
        hl.open(text("id,a\nx,1\ny,3\n"), "id")


def test_a_first_line_that_may_be_names_or_numbers_is_told_of(text):
    with pytest.warns(hl.LeftOutWarning, match="is taken for the numbers of its columns, and is no row"):
        assert hl.open(text("0,1,2\n5,6,7\n7,8,9\n"))["t"].shape == (2, 3)
    with pytest.warns(hl.LeftOutWarning, match="is taken for a row"):
        assert hl.open(text("0,1\n1,0\n1,1\n"))["t"].shape == (3, 2)


ODD_TEXTS = {
    "short": ("a,b\n1,2\n3\n", "line 3 must hold 2 fields, as the lines before, got 1"),
    "long": ("a,b\n1,2\n3,4,5\n", "line 3 must hold 2 fields, as the lines before, got 3"),
    "text": ("a,b\n1,2\n3,x\n", "line 3, column 'b', must hold a number, got 'x'"),
    "late": ("a,b\n" + "1,2\n" * 2000 + "\n3,x\n", "line 2003, column 'b', must hold a number, got 'x'"),
    "missing": ("a,b\n1,2\n3,\n", "line 3, column 'b', must hold a number, got nothing"),
    "missing first": ("a,b\n,2\n3,4\n", "line 2, column 'a', must hold a number, got nothing"),
    "missing at once": (",2\n3,4\n5,6\n", "line 1, column '0', must hold a number, got nothing"),
    "gap at once": ("NA,2\n3,4\n5,6\n", "line 1, column '0', must hold a number, got 'NA'"),
    "not a number": ("a,b\n1,nan\n3,4\n", "line 2, column 'b', must hold a finite number, got 'nan'"),
    "long integer": ("a,b\n1,9007199254740993\n3,4\n", "line 2, column 'b', must hold a number that float64 can hold"),
    "semicolons": ("id;a\nx;0,5\n", "fields must be separated by commas, got semicolons in line 1"),
    "semicolons, no names": ("0,5;1,5\n2,5;3,5\n", "got semicolons in line 1"),
    "tabs": ("id\ta\nx\t1\n", "got tabs in line 1"),
    "spaces": ("1.5 2\n3 4\n", "got spaces in line 1"),
    "decimal commas": ('id,a\nx,"0,5"\n', "line 2, column 'a', must hold a number with a decimal point, got '0,5'"),
    "one decimal comma": ('id,a\nx,0.5\ny,"0,5"\n', "line 3, column 'a', .*: write it with a decimal point"),
    "vectors": (
        'id,x,f\na,"[0.5, 1.5]",1\nb,"[ -1. 2.]",2\n',
        r"'x' must hold numbers, got vectors written as text.*key= \(f\)",
    ),
    "vectors of NumPy's numbers": (
        'id,x\na,"[np.float64(0.5), np.float64(1.5)]"\nb,"[np.float64(-1.0)]"\n',
        "'x' must hold numbers, got vectors written as text",
    ),
    "latin": ("é,a\nx,1\n".encode("latin-1"), "must be in UTF-8"),
    "pickle": (pickle.dumps([1]), "must be in UTF-8"),
    "quotes": ('a,b\n"1,2\n3,4\n', "line 3 must be a row of a table, got: unexpected end of data"),
    "names only": ("a,b\n", "got names and no rows"),
    "twice": ("a,a\n1,2\n", "columns must have different names, got 'a' twice"),
    "ids only": ("id\nx\ny\n", r"got 'id' \(ids\)"),
}


@pytest.mark.parametrize("case", ODD_TEXTS)
def test_odd_tables_in_text_are_one_sentence_with_the_line(case, text):
    content, told = ODD_TEXTS[case]
    with pytest.raises(ValueError, match=told) as caught:
        hl.open(text(content))
    assert "\n" not in str(caught.value)


def test_numbers_in_text_lose_nothing(tmp_path):
    x = np.random.default_rng(1).normal(size=(1500, 5)) * 10.0 ** np.arange(-150, 150, 60)
    polars.DataFrame(x, schema=list("abcde")).write_csv(tmp_path / "t.tsv", separator="\t")
    assert_array_equal(hl.open(tmp_path / "t.tsv")["t"], x)
    assert_array_equal(hl.open(tmp_path / "t.tsv", "c")["c"], x[:, 2:3])


def test_numbers_of_any_size_are_finite(written):
    large = [[1e308, 1e308], [1.0, 2.0], [-1e308, 3.0]]
    assert_array_equal(hl.open(written({"x": large}))["x"], large)


def test_classes_that_datasets_notes_are_no_features(written):
    about = {b"huggingface": json.dumps({"info": {"features": {"animal": {"_type": "ClassLabel"}}}}).encode()}
    table = pyarrow.table({"x": VECTORS, "animal": [0, 1] * 3}).replace_schema_metadata(about)
    with pytest.warns(hl.LeftOutWarning, match=r"'animal' \(classes\)"):
        assert list(hl.open(written(table))) == ["x"]
