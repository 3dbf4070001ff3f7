"""Files of MATLAB's, of both kinds: rows stay rows, and what is no matrix of numbers is told or refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from numpy.testing import assert_array_equal

import homolog as hl

X = np.random.default_rng(0).normal(size=(6, 3))
IDS = list("abcdef")


def cells(*values):
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


OLDER = {
    "parameters": (
        {"X": X, "fs": 30.0, "name": "mouse", "mask": X > 0, "none": [], "cells": cells()},
        "X",
        r"'fs' .*'name' .*'mask' \(booleans\)",
    ),
    "struct": ({"run": {"X": X, "Y": X, "about": {"who": "me"}}}, "run.X", r"'run\.about\.who' \(one text\)"),
    "texts": ({"X": X, "names": cells(*IDS)}, "X", r"'names' \(text\)"),
    "sideways": ({"X": X, "ids": [1, 2, 3]}, "X", r"'ids' holds 3 ids for 6 rows, .* in columns, turn them with \.T"),
}


@pytest.mark.parametrize("case", OLDER)
@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_no_layer_of_matlab_is_left_out_with_a_word(case, compressed, tmp_path):
    items, layer, told = OLDER[case]
    scipy.io.savemat(tmp_path / "t.mat", items, do_compression=compressed)
    with pytest.warns(hl.LeftOutWarning, match=told):
        opened = hl.open(tmp_path / "t.mat")
    assert_array_equal(opened[layer], X)


REFUSED = {
    "cells": ({"c": cells(X, 3.0), "X": X}, r"'c' must be a plain array, got a cell array .* key= \(X\)"),
    "ragged": (
        {"c": cells(np.ones(2), np.ones(3))},
        "'c' must hold vectors of one length, got 2 numbers in row 0 and 3 in row 1",
    ),
    "structs": ({"s": np.array([(1, 2), (3, 4)], [("p", "O"), ("q", "O")])}, "got an array of structs"),
    "sparse": ({"s": scipy.sparse.csc_matrix(np.eye(3))}, r"got a sparse one: .*full\(x\)"),
    "maps": (
        {"X": np.zeros((4, 3, 2))},
        r"layer 'X' must have two axes .*\.reshape\(n, -1\), before the file is written\.$",
    ),
    "maps beside": (
        {"X": np.zeros((6, 3, 2)), "Y": X},
        r"before the file is written, or name another with key= \(Y\)\.$",
    ),
    "areas": (
        {"V4": X.T, "IT": np.ones((5, 6))},
        r"turn the arrays with \.T, as in homolog\.open\('.*t\.mat', 'IT'\)\['IT'\]\.T",
    ),
    "rows": ({"X": X, "Y": X[:3]}, r"'Y' must have as many rows as layer 'X' \(6\), got 3: .*turn the arrays with \.T"),
    "logical": ({"X": X > 0}, r"got 'X' \(booleans\)"),
    "nothing": ({}, "got nothing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_of_matlab_is_one_sentence(case, tmp_path):
    items, told = REFUSED[case]
    scipy.io.savemat(tmp_path / "t.mat", items)
    with pytest.raises(ValueError, match=told) as caught:
        hl.open(tmp_path / "t.mat")
    assert "\n" not in str(caught.value)


def test_numbers_of_matlab_keep_their_parts(tmp_path):
    scipy.io.savemat(tmp_path / "t.mat", {"X": X, "Z": X + 1j})
    with pytest.raises(TypeError, match="layer 'Z' must hold real numbers, got complex128"):
        hl.open(tmp_path / "t.mat")
    assert_array_equal(hl.open(tmp_path / "t.mat", "X")["X"], X)
    scipy.io.savemat(tmp_path / "t.mat", {"X": X, "ids": np.arange(6.0)}, format="4")
    assert hl.open(tmp_path / "t.mat").example_ids.tolist() == list(range(6))
    scipy.io.savemat(tmp_path / "t.mat", {"c": cells(*X)})
    assert_array_equal(hl.open(tmp_path / "t.mat")["c"], X)


@pytest.fixture
def newer(tmp_path):
    """A function that writes a file of version 7.3, each variable with its class and attributes."""

    def write(**items):
        with h5py.File(tmp_path / "t.mat", "w", userblock_size=512) as file:
            for name, (value, kind, *attributes) in items.items():
                item = (
                    file.create_group(name)
                    if value is None
                    else file.create_dataset(name.replace("__", "/"), data=value)
                )
                item.attrs["MATLAB_class"] = np.bytes_(kind)
                for attribute in attributes:
                    item.attrs[attribute] = 3
        return tmp_path / "t.mat"

    return write


def test_newer_files_of_matlab_have_their_rows_as_rows(newer):
    text = np.frombuffer("ma é".encode("utf-16-le"), "<u2")[:, None]
    path = newer(
        X=(X.T, "double"), s__Y=(X.T.astype("f4"), "single"), fs=([[3.0]], "double"), name=(text, "char"), m=(X.T > 0, "logical"),
        e=(np.zeros(2, "u8"), "double", "MATLAB_empty"),
    )  # fmt: skip
    with pytest.warns(
        hl.LeftOutWarning, match=r"'e' \(nothing\), 'fs' \(one number\), 'm' \(booleans\), 'name' \(one text\)"
    ):
        opened = hl.open(path)
    assert list(opened) == ["X", "s.Y"]
    assert_array_equal(opened["X"], X)
    assert_array_equal(opened["s.Y"], X.astype("f4"))


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ((np.zeros((6, 1), "u4"), "table", "MATLAB_object_decode"), "got an object of class table"),
        ((None, "function_handle"), "got an object of class function_handle"),
        ((None, "double", "MATLAB_sparse"), r"got a sparse one: .*full\(x\)"),
        ((np.zeros((3, 6), [("real", "f8"), ("imag", "f8")]), "double"), "got complex numbers"),
    ],
)
def test_objects_of_newer_files_of_matlab_are_refused(item, told, newer):
    path = newer(X=(X.T, "double"), o=item)
    with pytest.raises(ValueError, match=rf"'o' must be a plain array, {told}.* key= \(X\)"):
        hl.open(path)
    assert_array_equal(hl.open(path, "X")["X"], X)


def test_nothing_outside_a_newer_file_of_matlab_is_read(tmp_path, newer):
    (tmp_path / "secret").write_bytes(bytes(range(60)))
    with h5py.File(newer(X=(X.T, "double")), "a") as file:
        for name, kind in (("#refs#/a", "double"), ("#refs#/b", "char"), ("direct", "uint8")):
            file.create_dataset(name, (10, 2), "u1", external=[(str(tmp_path / "secret"), 0, 20)])
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        file.create_dataset("c", data=[[file["#refs#/a"].ref, file["#refs#/b"].ref]], dtype=h5py.ref_dtype)
        file["c"].attrs["MATLAB_class"] = np.bytes_("cell")
    for key, told in (("c", "got a cell array of any objects"), ("direct", "must hold its numbers in the file itself")):
        with pytest.raises(ValueError, match=told):
            hl.open(tmp_path / "t.mat", key)


def test_a_newer_file_that_matlab_did_not_write_is_told_of(tmp_path):
    with h5py.File(tmp_path / "t.mat", "w") as file:
        file["X"] = X.T
    with pytest.warns(hl.LeftOutWarning, match=r"'X' is read as MATLAB would, .* name the file \.h5"):
        assert_array_equal(hl.open(tmp_path / "t.mat")["X"], X)
