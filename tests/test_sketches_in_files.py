"""Sketches in files: whoever writes these again, no column of a sketch is ever read as a feature."""

import json
import re

import numpy as np
import pytest
import torch

import homolog as hl
import homolog.files.numpy_files as numpy_files
from homolog.rows import Rows, is_whole_map
from homolog.sketching import OLD_NOTE, Sketch, SketchedRows

ENDINGS = [".npz", ".safetensors", ".parquet", ".nc", ".zarr"]
NAMES = {"wide": 300, 'stem/"ä".0': 280, "narrow": 9}
NO_FEATURES = (
    r"must have two axes \(examples, features\), got shape \(40, 2, 64\): if these are the two sketches of a layer, which are no "
    r"features, pass the layer as homolog.extract or homolog.open gives it"
)


@pytest.fixture(scope="module")
def sketched():
    x = np.random.default_rng(0).normal(size=(40, 300)).astype(np.float32)
    return hl.extract(lambda batch: {name: batch[:, :p] for name, p in NAMES.items()}, x, sketch=64, rng=3)


@pytest.fixture
def written(tmp_path, sketched):
    """Write the layers to a file of some ending."""

    def write(ending):
        path = tmp_path / f"layers{ending}"
        hl.save(sketched, path)
        return path

    return write


def kept(layers):
    """What is kept of every layer, as arrays."""
    return {name: np.asarray(x.columns if isinstance(x, SketchedRows) else x[:]) for name, x in layers.items()}


def assert_same(first, second):
    assert first.sketches == second.sketches
    assert list(first) == list(second)
    for name, columns in kept(first).items():
        np.testing.assert_array_equal(columns, kept(second)[name])


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_keep_sketches(written, sketched, ending):
    path = written(ending)
    found = hl.open(path)
    assert_same(found, sketched)
    assert found.provenance["sketch"] == sketched.provenance["sketch"]
    for name in sketched:
        assert_same(hl.open(path, name), sketched.select(name))
    assert_same(found.take([3, 1]), sketched.take([3, 1]))
    renamed = found.rename({"wide": "stem"}).described(note="mine")
    assert_same(renamed, sketched.rename({"wide": "stem"}))
    assert renamed.sketches["stem"] == Sketch("wide", 300, 64, 3)
    hl.save(renamed, path)  # over the file that it is read from
    assert_same(hl.open(path), renamed)
    assert_same(hl.Activations(dict(sketched)), sketched)


def by_pandas(path, to):
    pandas = pytest.importorskip("pandas")
    getattr(pandas.read_parquet(path).iloc[:30], f"to_{to.suffix[1:]}")(to)


def by_polars(path, to):
    pytest.importorskip("polars").read_parquet(path).head(30).write_parquet(to)


def by_arrow(path, to, metadata=None):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    parquet.write_table(table.slice(0, 30).replace_schema_metadata(metadata), to)


def by_arrow_in_part(path, to):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    parquet.write_table(table.slice(0, 30).drop_columns(["homolog:digests", "narrow"]), to)


def by_safetensors(path, to):
    numpy_door = pytest.importorskip("safetensors.numpy")
    numpy_door.save_file({name: array[:30] for name, array in numpy_door.load_file(path).items()}, to)


def by_torch(path, to):
    door = pytest.importorskip("safetensors.torch")
    torch.save({"layers": {name: x[:30] for name, x in door.load_file(path).items() if "homolog:" not in name}}, to)


def by_numpy(path, to):
    with np.load(path) as file:
        np.savez(to, **{name: array[:30] for name, array in file.items() if array.ndim > 1})


def as_npy(path, to):
    to.mkdir()
    with np.load(path) as file:
        for name, array in file.items():
            if array.ndim > 1 and "/" not in name:
                np.save(to / f"{name}.npy", array[:30])


def by_xarray(path, to, without=()):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(path) as data:
        data.drop_vars(without).isel(example=slice(0, 30)).to_netcdf(to)


def by_xarray_without_the_note(path, to):
    by_xarray(path, to, "homolog")


@pytest.mark.filterwarnings("ignore::homolog.LeftOutWarning")  # digests, which stand beside the layers
@pytest.mark.parametrize(
    ("ending", "again", "to"),
    [
        (".parquet", by_pandas, "again.parquet"),
        (".parquet", by_pandas, "again.feather"),
        (".parquet", by_polars, "again.parquet"),
        (".parquet", by_arrow, "again.parquet"),
        (".parquet", by_arrow_in_part, "again.parquet"),
        (".safetensors", by_safetensors, "again.safetensors"),
        (".safetensors", by_torch, "again.pt"),
        (".npz", by_numpy, "again.npz"),
        (".npz", as_npy, "folder"),
        (".nc", by_xarray, "again.nc"),
        (".nc", by_xarray_without_the_note, "again.nc"),
    ],
)
def test_files_that_others_write_again_keep_sketches(tmp_path, written, sketched, ending, again, to):
    again(written(ending), tmp_path / to)
    found = hl.open(tmp_path / to)
    plain = {re.sub(r"^layers\.|%2F.*", "", name): name for name in found}  # of mappings; names of variables
    assert "wide" in plain
    assert sorted(s.width for s in found.sketches.values()) == [p for p in (280, 300) if p == 300 or to != "folder"]
    for short, name in plain.items():
        expected = next(layer for layer in sketched if layer.startswith(short))
        sketch = sketched.sketches.get(expected)
        assert found.sketches.get(name) == sketch
        np.testing.assert_array_equal(kept(found)[name], kept(sketched)[expected][:30])


def test_files_of_parts_of_the_examples_are_put_together(tmp_path, sketched):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, rows in (("first", slice(0, 25)), ("second", slice(25, 40))):
        hl.save(sketched.take(rows), tmp_path / f"{name}.parquet")
    parts = [parquet.read_table(tmp_path / f"{name}.parquet") for name in ("first", "second")]
    parquet.write_table(pyarrow.concat_tables(parts), tmp_path / "whole.parquet")
    assert_same(hl.open(tmp_path / "whole.parquet"), sketched)
    other = parts[1].rename_columns([name.replace("seed 3", "seed 4") for name in parts[1].schema.names])
    with pytest.raises(pyarrow.ArrowInvalid, match="Schema"):
        pyarrow.concat_tables([parts[0], other])


def test_a_variable_that_xarray_renamed_is_the_same_layer_by_another_name(tmp_path, written, sketched):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(written(".nc")) as data:
        data.rename({"wide": "stem"}).to_netcdf(tmp_path / "again.nc")
    found = hl.open(tmp_path / "again.nc")
    assert found.sketches["stem"] == sketched.sketches["wide"]
    np.testing.assert_array_equal(found["stem"].columns, sketched["wide"].columns)


def renamed(path, tmp_path):
    with np.load(path) as file:
        np.savez(tmp_path / "renamed.npz", **{name.split(" ~")[0]: x for name, x in file.items() if x.ndim > 1})
    return tmp_path / "renamed.npz"


def alone(path, tmp_path):
    with np.load(path) as file:
        np.save(tmp_path / "alone.npy", next(iter(file.values())))
    return tmp_path / "alone.npy"


@pytest.mark.parametrize("again", [renamed, alone])
def test_arrays_that_lost_their_names_are_refused_for_their_axes(tmp_path, written, again):
    with pytest.raises(ValueError, match=NO_FEATURES):
        hl.open(again(written(".npz"), tmp_path))


def test_arrays_that_were_copied_out_of_a_file_are_refused_for_their_axes(tmp_path, written, sketched):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    with h5py.File(written(".nc")) as file, h5py.File(tmp_path / "again.h5", "w") as copy:
        copy["wide"] = file["wide"][()]
    with pytest.raises(ValueError, match=NO_FEATURES):
        hl.open(tmp_path / "again.h5")
    stored = zarr.open_group(str(written(".zarr")))["layers/0"][:]
    np.testing.assert_array_equal(stored, sketched["wide"].columns)
    for x in (stored, torch.from_numpy(stored), sketched["wide"].columns):
        for use in (lambda x: hl.cka(x, x), lambda x: hl.Activations({"wide": x}), lambda x: hl.compare({"wide": x})):
            with pytest.raises(ValueError, match=NO_FEATURES):
                use(x)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_that_hold_sketches_are_refused(written, sketched, library):
    path = written(".parquet")
    if library == "pyarrow":
        table = pytest.importorskip("pyarrow.parquet").read_table(path)
    else:
        table = pytest.importorskip(library).read_parquet(path)
    column = 'wide ~sketch of "wide", 300 features, 2x64, seed 3'
    with pytest.raises(ValueError, match=f"got the column .{column}., which holds two sketches of a layer: write"):
        hl.compare(table, sketched)
    if library == "pandas":
        with pytest.raises(TypeError, match="vectors in a vector, as of sketches, whose files"):
            hl.cka(table[column], table[column])
        with pytest.raises(TypeError, match="if these are the two sketches of a layer"):
            hl.cka(np.stack(table[column]), np.stack(table[column]))


def test_arrays_under_the_names_that_they_were_written_with_are_sketches(written, sketched):
    with np.load(written(".npz")) as file:
        arrays = {name: x for name, x in file.items() if x.ndim > 1}
    assert_same(hl.Activations(arrays), sketched)
    assert_same(hl.Activations({name: torch.from_numpy(x) for name, x in arrays.items()}), sketched)
    name = 'wide ~sketch of "wide", 300 features, 2x64, seed 3'
    with pytest.raises(
        ValueError, match=r"has a name that homolog writes for two sketches, .* got shape \(40, 128\): open"
    ):
        hl.Activations({name: arrays[name].reshape(40, -1)})
    with pytest.raises(ValueError, match=r"layer 'wide' must hold two sketches of 64 columns, got an array of shape"):
        hl.Activations({name: arrays[name][:, :, :32]})
    with pytest.raises(ValueError, match="got sketches already: open"):
        sketched.rename({"wide": name})
    with pytest.raises(ValueError, match="a layer must be there once, got 'wide' twice"):
        hl.Activations(arrays | {"wide": arrays["narrow"]})
    with pytest.raises(ValueError, match="a layer must be there once, got 'wide' twice"):
        hl.Activations(arrays | {name.replace("seed 3", "seed 4"): arrays[name]})


@pytest.mark.parametrize("columns", [None, 16])
def test_a_model_whose_layers_have_such_names_is_refused(tmp_path, columns):
    x = np.random.default_rng(0).normal(size=(8, 300))
    name = 'x ~sketch of "x", 300 features, 2x16, seed 0'
    for given in ({}, {"out": tmp_path / "x.zarr"}):
        with pytest.raises(ValueError, match="has a name that homolog writes for two sketches"):
            hl.extract(lambda batch: {name: batch}, x, sketch=columns, **given)
    with pytest.raises(ValueError, match="has a name that homolog writes for two sketches"):
        hl.save({name: x}, tmp_path / "x.npz")


def test_a_file_with_two_sketches_of_a_layer_or_with_other_numbers_is_refused(tmp_path):
    name, both = 'wide ~sketch of "wide", 300 features, 2x64, seed 3', np.ones((40, 2, 64))
    for arrays, sentence in (
        ({name: both, "wide": np.ones((40, 3))}, "a layer must be there once, got 'wide' twice"),
        ({name: both.reshape(40, -1)}, r"must be an array \(examples, 2, columns\), got shape \(40, 128\)"),
        (
            {name: both[:, :1]},
            r"layer 'wide' must hold two sketches of 64 columns, got an array of shape \(40, 1, 64\)",
        ),
    ):
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(ValueError, match=sentence):
            hl.open(tmp_path / "x.npz")


@pytest.mark.parametrize("ending", [".safetensors", ".nc"])
def test_large_sketches_stay_in_their_files(monkeypatch, written, sketched, ending):
    monkeypatch.setattr(numpy_files, "MAPPED_FROM", 1000)
    found = hl.open(written(ending))
    assert is_whole_map(found["wide"].kept)
    assert_same(found, sketched)


def test_stores_of_sketches_are_of_a_version_that_readers_of_features_refuse(tmp_path, written, sketched):
    zarr = pytest.importorskip("zarr")
    path = written(".zarr")
    about = json.loads((path / "zarr.json").read_text())["attributes"]
    assert about["format_version"] == 2
    assert about["layers"][0] == {"name": 'wide ~sketch of "wide", 300 features, 2x64, seed 3', "key": "layers/0"}
    assert zarr.open_group(str(path))["layers/0"].shape == (40, 2, 64)
    assert isinstance(hl.open(path)["wide"].kept, Rows)
    hl.save(sketched.select("narrow"), tmp_path / "plain.zarr")
    assert json.loads((tmp_path / "plain.zarr/zarr.json").read_text())["attributes"]["format_version"] == 1


@pytest.mark.parametrize("change", ["name", "axes"])
def test_a_store_whose_names_and_arrays_do_not_fit_is_refused(written, change):
    path = written(".zarr")
    about = json.loads((path / "zarr.json").read_text())
    layers = about["attributes"]["layers"]
    if change == "name":  # three axes without the name of sketches
        layers[0]["name"] = "wide"
    else:
        layers[2]["name"] = 'narrow ~sketch of "narrow", 300 features, 2x16, seed 3'
    (path / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"must hold 40 rows of numbers in chunks of whole rows, got float32 of shape"):
        hl.open(path)


@pytest.mark.parametrize("ending", [".npz", ".zarr"])
def test_sketches_of_which_only_a_note_told_are_refused(tmp_path, ending):
    path = tmp_path / f"old{ending}"
    hl.save(hl.Activations({"wide": np.ones((40, 128))}, provenance={"x": "y"}), path)
    note = {OLD_NOTE: json.dumps({"wide": {"layer": "wide", "width": 300, "columns": 64, "seed": 3}})}
    if ending == ".zarr":
        about = json.loads((path / "zarr.json").read_text())
        about["attributes"]["provenance"] = note
        (path / "zarr.json").write_text(json.dumps(about))
    else:
        np.savez(path, wide=np.ones((40, 128)), **{"homolog:provenance": np.array(json.dumps(note))})
    with pytest.raises(ValueError, match="sketches must have names that say what they are, got a file of a version"):
        hl.open(path)
