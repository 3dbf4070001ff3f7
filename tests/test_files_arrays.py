"""Arrays by name: HDF5, netCDF, nested tensors, and folders of arrays."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pandas
import pytest
import torch
import xarray
from numpy.testing import assert_allclose, assert_array_equal

import homolog as hl

X = np.random.default_rng(0).normal(size=(6, 3))
IDS = list("abcdef")


@pytest.fixture
def hdf5(tmp_path):
    """A function that writes a file of HDF5 and returns its path."""

    def write(**items):
        with h5py.File(tmp_path / "t.h5", "w") as file:
            for name, value in items.items():
                file[name.replace("__", "/")] = value
        return tmp_path / "t.h5"

    return write


# --- HDF5


def test_groups_are_paths_and_have_ids_of_their_own(hdf5):
    path = hdf5(a__x=X, a__deep__y=X[:, :2], a__ids=IDS, b__x=X, b__ids=IDS[::-1])
    with pytest.raises(ValueError, match=r"got ids that differ between 'a', 'b': open each by itself with key="):
        hl.open(path)
    assert list(hl.open(path, "a")) == ["a/deep/y", "a/x"]
    assert hl.open(f"{path}::/a/").example_ids.tolist() == IDS
    assert hl.open(f"{path}::b/x").example_ids.tolist() == IDS[::-1]
    with pytest.raises(KeyError, match="unknown key 'b/y', did you mean b/x"):
        hl.open(path, "b/y")


def test_what_is_no_layer_of_hdf5_is_left_out_with_a_word(hdf5):
    path = hdf5(x=X, labels=range(6), rate=0.1, name="run 1", mask=X > 0, table=np.zeros(6, [("p", "f8")]))
    told = r"'labels' \(one number per row\), 'mask' \(booleans\), 'name' \(one text\), 'rate' \(one number\), 'table'"
    with pytest.warns(hl.LeftOutWarning, match=told):
        assert list(hl.open(path)) == ["x"]
    assert hl.open(path, "labels")["labels"].shape == (6, 1)


def test_ids_in_a_row_or_a_column_are_no_layer(hdf5, tmp_path):
    for ids in (np.arange(6)[None], np.arange(6)[:, None], [[name] for name in IDS]):
        assert hl.open(hdf5(x=X, ids=ids)).example_ids.tolist() == np.ravel(ids).tolist()
        np.savez(tmp_path / "t.npz", x=X, ids=ids)
        assert hl.open(tmp_path / "t.npz").example_ids.tolist() == np.ravel(ids).tolist()


def test_a_weight_in_kilograms_is_no_model(hdf5):
    with pytest.warns(hl.LeftOutWarning, match="'weight'"):
        assert list(hl.open(hdf5(x=X, weight=np.arange(6.0)))) == ["x"]


def test_an_object_beside_arrays_is_refused_unless_another_is_named(tmp_path):
    np.savez(tmp_path / "t.npz", x=X, o=np.array([{}]))
    with pytest.raises(ValueError, match=r"'o' must hold numbers, got pickled Python objects, .*key= \(x\)"):
        hl.open(tmp_path / "t.npz")
    assert_array_equal(hl.open(tmp_path / "t.npz", "x")["x"], X)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i1", "u8", ">i4"])
def test_every_type_of_hdf5_is_compared(dtype, hdf5, rng):
    x = (rng.normal(size=(40, 3)) * 50).astype("i1").astype(dtype)
    opened = hl.open(hdf5(x=x, é表=x))
    assert_array_equal(opened["é表"], x)
    assert_allclose(hl.compare(opened, measures="procrustes_distance").procrustes_distance.values, 0, atol=1e-6)


def test_rows_of_any_length_are_stacked_or_refused(tmp_path):
    for name, rows in (("even", list(X)), ("odd", [X[0], X[0, :2]])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            data = file.create_dataset("x", (len(rows),), h5py.vlen_dtype(np.float64))
            for place, row in enumerate(rows):
                data[place] = row
    assert_array_equal(hl.open(tmp_path / "even.h5")["x"], X)
    with pytest.raises(ValueError, match="'x' must hold vectors of one length, got 3 numbers in row 0 and 2 in row 1"):
        hl.open(tmp_path / "odd.h5")


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ({"x": X, "y": X[:4]}, r"layer 'y' must have as many rows as layer 'x' \(6\), got 4: .*key=; if .* in columns"),
        ({"x": np.zeros((4, 3, 2))}, r"layer 'x' must have two axes .*reshape\(n, -1\)"),
        ({"x": range(6)}, r"got 'x' \(one number per row\): a single feature is named, key='x'"),
        ({}, "got nothing"),
        ({"x": h5py.Empty("f")}, r"got 'x' \(nothing\)"),
        ({"a__weight": np.eye(3), "a__bias": range(3)}, "it looks like the weights of a model"),
        ({"layers__dense__vars__0": X, "vars__0": X}, "looks like a Keras model or its weights"),
        ({"model_weights__dense__kernel:0": X}, "looks like a Keras model or its weights"),
        ({"x": X, "ids": [b"a", b"\xff", b"c", b"d", b"e", b"f"]}, "text that UTF-8 can hold"),
    ],
)
def test_what_is_no_activations_in_hdf5_is_one_sentence(items, told, hdf5):
    with pytest.raises(ValueError, match=told) as caught:
        hl.open(hdf5(**items))
    assert "\n" not in str(caught.value)


def test_nothing_outside_a_file_of_hdf5_is_read(tmp_path, hdf5):
    (tmp_path / "secret").write_bytes(bytes(range(60)))
    with h5py.File(hdf5(x=X), "a") as file:
        file["soft"], file["elsewhere"] = h5py.SoftLink("/x"), h5py.ExternalLink("other.h5", "/x")
    with pytest.warns(hl.LeftOutWarning, match=r"'elsewhere' \(a link, which is not followed\), 'soft'"):
        assert list(hl.open(tmp_path / "t.h5")) == ["x"]
    with h5py.File(hdf5(x=X), "a") as file:
        file.create_dataset("raw", (20, 3), "u1", external=[(str(tmp_path / "secret"), 0, 60)])
        file.create_dataset("references", data=[file["x"].ref], dtype=h5py.ref_dtype)
    with pytest.raises(ValueError, match="'raw' must hold its numbers in the file itself"):
        hl.open(tmp_path / "t.h5")
    with pytest.raises(ValueError, match="'references' must hold numbers, got references to other objects"):
        hl.open(tmp_path / "t.h5", "references")
    assert list(hl.open(tmp_path / "t.h5", "x")) == ["x"]
    with h5py.File(hdf5(a__x=X), "a") as file:
        file["a/again"] = file["a"]
    with pytest.raises(ValueError, match="groups must lie at most 32 deep in one another, and not in themselves"):
        hl.open(tmp_path / "t.h5")


def test_a_table_that_pandas_wrote_to_hdf5_says_what_to_do(hdf5):
    path = hdf5(df__block0_values=X)
    with h5py.File(path, "a") as file:
        file["df"].attrs["pandas_type"] = "frame"
    with pytest.raises(ValueError, match=r"read it with pandas\.read_hdf and write it with to_parquet"):
        hl.open(path)


def test_a_file_that_was_refused_can_be_written_again(hdf5):
    with pytest.raises(ValueError, match="as many rows") as kept:
        hl.open(hdf5(x=X, y=X[:4]))
    assert list(hl.open(hdf5(x=X))) == ["x"]
    assert kept.value.__traceback__ is not None


# --- netCDF


def netcdf(path, **options):
    data = xarray.Dataset(
        {"x": (("stimulus", "unit"), X), "y": (("stimulus", "other"), X[:, :2]), "lab": ("stimulus", range(6))}
    )
    data.assign_coords(options.pop("coords", {})).to_netcdf(path, engine="h5netcdf", **options)
    return path


def test_variables_of_netcdf_are_what_xarray_says(tmp_path):
    packed = {"x": {"dtype": "i2", "scale_factor": 0.001, "_FillValue": -1}}
    path = netcdf(tmp_path / "t.nc", encoding=packed, coords={"stimulus": IDS, "unit": [7, 8, 9]})
    with pytest.warns(hl.LeftOutWarning, match=r"no layer is made of 'lab' \(one number per row\), but"):
        opened = hl.open(path)
    assert_allclose(opened["x"], X, atol=0.0005)
    assert opened.example_ids.tolist() == IDS
    for index in (np.linspace(0, 1, 6), pandas.date_range("2020", periods=6)):
        path = netcdf(tmp_path / "t.nc", coords={"stimulus": index})
        with pytest.warns(hl.LeftOutWarning, match="'stimulus'"):
            assert hl.open(path).example_ids is None
    with pytest.raises(ValueError, match=r"got groups \(g\): read one with xarray\.open_dataset"):
        hl.open(netcdf(tmp_path / "t.nc", group="g"))


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_a_result_is_no_activations(tmp_path):
    hl.compare({"x": X, "y": X}).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"got a result of homolog\.compare: read it with xarray\.load_dataset"):
        hl.open(tmp_path / "t.nc")


# --- Tensors


def test_nested_tensors_have_names_with_dots(tmp_path):
    x = torch.tensor(X)
    torch.save(
        {"encoder": {"block": [x, x[:, :2]], "norm": x}, "ids": IDS, "epoch": 3, "loss": [0.1, 0.2]}, tmp_path / "t.pt"
    )
    with pytest.warns(hl.LeftOutWarning, match=r"'epoch' \(one number\), 'loss' \(one number per row\)"):
        opened = hl.open(tmp_path / "t.pt")
    assert list(opened) == ["encoder.block.0", "encoder.block.1", "encoder.norm"]
    assert opened.example_ids.tolist() == IDS
    assert list(hl.open(tmp_path / "t.pt", "encoder.block")) == ["encoder.block.0", "encoder.block.1"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (torch.nn.Linear(3, 4).state_dict(), "it looks like the weights of a model"),
        ({"model": torch.nn.Linear(3, 4).state_dict(), "optimizer": {"state": {}}, "epoch": 1}, "weights of a model"),
        ({"a.b": torch.ones(3, 2), "a": {"b": torch.ones(3, 2)}}, "names must differ, got 'a.b' twice"),
        ({"x": torch.eye(3).to_sparse()}, r"'x' must be a dense tensor, .*to_dense"),
        ({}, "got nothing"),
        ({"x": [torch.ones(3), torch.ones(3)]}, "one number per row"),
    ],
)
def test_what_is_no_activations_of_pytorch_is_one_sentence(content, told, tmp_path):
    torch.save(content, tmp_path / "t.pt")
    with pytest.raises(ValueError, match=told):
        hl.open(tmp_path / "t.pt")


# --- Folders


def test_a_folder_of_arrays_is_read_in_its_order(tmp_path):
    for name, array in (("layer10", X), ("layer2", X), ("ids", np.arange(6)), ("labels", np.arange(6))):
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.warns(hl.LeftOutWarning, match=r"'labels' \(one number per row\)"):
        opened = hl.open(tmp_path)
    assert list(opened) == ["layer2", "layer10"]
    assert opened.example_ids.tolist() == list(range(6))
    assert opened.provenance["model"] == tmp_path.name
    assert list(hl.open(f"{tmp_path}::layer2")) == ["layer2"]
    for content, told in (
        (b"nonsense", "'odd.npy' must be a readable .npy file"),
        (None, "'odd' must hold numbers, got pickled"),
    ):
        (tmp_path / "odd.npy").write_bytes(content) if content else np.save(tmp_path / "odd.npy", np.array([{}]))
        with pytest.raises(ValueError, match=told):
            hl.open(tmp_path)
    (tmp_path / "odd.npy").unlink()
    os.mkfifo(tmp_path / "odd.npy")
    with pytest.raises(ValueError, match=r"'odd\.npy' must be a file, got a folder, a pipe or a device"):
        hl.open(tmp_path)


@pytest.mark.parametrize("form", ["whole", "rows", "numbers"])
def test_folders_as_thingsvision_writes_them(form, tmp_path):
    """Of every module, or of one alone, in one piece or several."""
    pieces = {
        "whole": {"": slice(None)},
        "rows": {"_0-4": slice(4), "_4-6": slice(4, 6)},
        "numbers": {"_01": slice(4), "_02": slice(4, 6)},
    }
    for module in ("classifier.3", "features.10"):
        (tmp_path / "run" / module).mkdir(parents=True)
        for name, rows in pieces[form].items():
            np.save(tmp_path / "run" / module / f"features{name}.npy", X[rows])
    (tmp_path / "run" / "file_names.txt").write_text("".join(f"{name}.jpg\n" for name in IDS))
    opened = hl.open(tmp_path / "run")
    assert list(opened) == ["classifier.3", "features.10"]
    for array in opened.values():
        assert_array_equal(array, X)
    assert opened.example_ids.tolist() == [f"{name}.jpg" for name in IDS]
    if form == "rows":
        (tmp_path / "run" / "classifier.3" / "features_0-4.npy").unlink()
        with pytest.raises(
            ValueError, match=r"pieces of 'classifier.3' must follow on one another, got 'features_4-6.npy'"
        ):
            hl.open(tmp_path / "run")


def test_splits_of_a_dataset_are_named(tmp_path):
    datasets = pytest.importorskip("datasets", reason="writes the folders that are read here")
    datasets.disable_progress_bars()
    first = datasets.Dataset.from_dict({"id": IDS, "x": X.tolist()})
    datasets.DatasetDict({"train": first, "test": first.select([5, 0, 2])}).save_to_disk(tmp_path / "both")
    with pytest.raises(
        ValueError,
        match="one of the splits must be named, got none: pass key= with one of train, test, or write it behind the",
    ):
        hl.open(tmp_path / "both")
    assert hl.open(f"{tmp_path / 'both'}::test").example_ids.tolist() == ["f", "a", "c"]
    assert list(hl.open(tmp_path / "both", "test/x")) == ["x"]
    with pytest.raises(KeyError, match="unknown split 'tset', did you mean test"):
        hl.open(tmp_path / "both", "tset")
    state = tmp_path / "both" / "test" / "state.json"
    whole = json.loads(state.read_text())
    for files, told in (
        ([{"filename": "../train/data-00000-of-00001.arrow"}], "must lie in its folder"),
        ([{"filename": "absent.arrow"}], "the file 'absent.arrow' must be there"),
        ([{}], "state.json must name the files"),
    ):
        state.write_text(json.dumps(whole | {"_data_files": files}))
        with pytest.raises(ValueError, match=told):
            hl.open(tmp_path / "both", "test")
