"""Tables and files that look like others: a header of numbers, large integers, ids of groups."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest

import homolog as hl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
IDS = [f"t{i}" for i in range(40)]
NAMED = pytest.mark.filterwarnings("ignore:.*taken for the names of its columns:homolog.HomologWarning")


@NAMED
@pytest.mark.parametrize(
    "columns", [range(1, 7), [3, 1, 7, 2, 4, 9], [12, 45, 46, 90, 91, 99], range(2001, 2007), np.arange(1, 7) / 10]
)
@pytest.mark.parametrize("index", ["stimulus_id", None, False])
def test_a_header_of_numbers_is_no_example(columns, index, tmp_path):
    table = pd.DataFrame(X, columns=columns)
    if index is not False:
        table.index = pd.Index(IDS, name=index)
    table.to_csv(tmp_path / "a.csv", index=index is not False)
    found = hl.open(tmp_path / "a.csv")
    np.testing.assert_allclose(found["a"], X)
    if index is not False:
        assert found.example_ids.tolist() == IDS


def test_a_first_row_of_numbers_is_an_example(tmp_path):
    np.savetxt(tmp_path / "a.csv", X, delimiter=",")
    np.testing.assert_allclose(hl.open(tmp_path / "a.csv")["a"], X)
    pd.DataFrame(X, index=IDS).to_csv(tmp_path / "b.csv", header=False)
    assert hl.open(tmp_path / "b.csv")["b"].shape == (40, 6)


def test_a_comma_that_ends_every_line_moves_no_column(tmp_path):
    lines = ["a,b,c", *(",".join(map(str, row)) + "," for row in X[:, :3])]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="column 3"):
        found = hl.open(tmp_path / "a.csv")
    np.testing.assert_allclose(found["a"], X[:, :3])
    assert found.example_ids is None


@pytest.mark.parametrize("make", [pd.DataFrame, polars.DataFrame, pyarrow.table])
def test_large_integers_beside_floats_are_refused(make):
    table = make({"a": X[:, 0], "b": 2**60 + np.arange(40)})
    with pytest.raises(ValueError, match=r"column 'b' of .* must hold integers below 2\*\*53"):
        hl.cka(table, X)
    alone = hl.Activations({"x": make({"b": 2**60 + np.arange(40)})})["x"]
    assert len(np.unique(np.asarray(alone))) == 40


def test_groups_with_ids_of_their_own(tmp_path):
    for name, order in (("same", slice(None)), ("turned", slice(None, None, -1))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["g/a"], file["g/ids"] = X, IDS
            file["h/b"], file["h/ids"] = X[order], IDS[order]
    with pytest.warns(UserWarning, match="'h/ids'"):
        assert hl.open(tmp_path / "same.h5").example_ids.tolist() == IDS
    with pytest.raises(ValueError, match="got ids that differ between 'g', 'h': open each by itself with key="):
        hl.open(tmp_path / "turned.h5")
    a, b = hl.common_rows(str(tmp_path / "turned.h5::g"), str(tmp_path / "turned.h5::h"))
    np.testing.assert_array_equal(a["g/a"], b["h/b"])


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4"])
def test_layers_in_another_order_of_bytes_are_saved_in_a_store(dtype, tmp_path):
    values = (10 * X).astype(dtype)
    hl.save(hl.Activations({"a": values}), tmp_path / "a.zarr")
    np.testing.assert_array_equal(np.asarray(hl.open(tmp_path / "a.zarr")["a"]), values)
