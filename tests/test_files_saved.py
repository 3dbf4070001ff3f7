"""Activations as homolog writes them, keys, maps of large files, and the command line."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import safetensors.numpy
import scipy.io
import xarray
from conftest import command_line
from numpy.testing import assert_allclose, assert_array_equal

import homolog as hl
from homolog import files
from homolog.files import numpy_files
from homolog.rows import Rows

pytestmark = pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning", "ignore::homolog.BiasWarning")
N, P = 2000, 64
IDENTITIES = {
    "text": {"example_ids": [f"bild {i} é" for i in range(N)]},
    "integer": {"example_ids": np.arange(N) + 2**60},
    "unsigned": {"example_ids": np.arange(N, dtype="u8") + 2**63},
    "bytes": {"example_ids": np.char.mod(b"%d", np.arange(N))},
    "tokens": {"example_ids": np.arange(N) // 4, "positions": np.arange(N) % 4},
    "digests": {"digests": np.random.default_rng(1).integers(0, 2**64, N, dtype="u8")},
    "none": {},
}
DTYPES = ("f2", "f4", "f8", ">f4", "i1", "i8", "u8")


@pytest.fixture
def layers(rng):
    return {
        "blocks/0": rng.normal(size=(N, P)),
        "é": rng.normal(size=(N, 2)).astype("f4"),
        "a.b": rng.normal(size=(N, 1)),
    }


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("ending", [".parquet", ".nc", ".npz", ".safetensors"])
def test_a_round_trip_keeps_everything(ending, identity, layers, tmp_path):
    modules = {"é": hl.activations.Module("Linear", "2")}
    kept = hl.Activations(layers, **IDENTITIES[identity], provenance={"model": "<b>网</b>"}, modules=modules)
    hl.save(kept, tmp_path / f"a{ending}")
    back = hl.open(tmp_path / f"a{ending}")
    assert list(back) == list(layers)
    for name, array in layers.items():
        assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
    for name in ("positions", "digests"):
        assert_array_equal(getattr(back, name), getattr(kept, name))
    assert (back.example_ids is None) == (kept.example_ids is None)
    if kept.example_ids is not None:
        assert back.example_ids.astype(str).tolist() == kept.example_ids.astype(str).tolist()
        assert back.example_ids.dtype.kind == {"bytes": "S" if ending == ".npz" else "U"}.get(
            identity, kept.example_ids.dtype.kind
        )
    assert back.provenance == kept.provenance
    assert back.modules == modules


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", [".parquet", ".nc"])
def test_every_type_is_kept(dtype, ending, rng, tmp_path):
    x = (rng.normal(size=(50, 3)) * 99).astype("i1").astype(dtype)
    hl.save({"x": x}, tmp_path / f"a{ending}")
    back = hl.open(tmp_path / f"a{ending}")["x"]
    assert_array_equal(back, x)
    assert back.dtype == np.dtype(dtype).newbyteorder("=")


def test_names_that_files_need_for_themselves_are_kept(rng, tmp_path):
    names = [
        "example",
        "example_id",
        "homolog",
        "x",
        "x_feature",
        "x_feature_2",
        "homolog_digests",
        ".",
        "%2F",
        "/",
        "_%2F",
        "X" * 500,
    ]
    layers = {name: rng.normal(size=(5, 2)) for name in [*names, "X" * 500 + "y"]}
    for ending in (".parquet", ".nc"):
        hl.save(hl.Activations(layers, example_ids=list("abcde")), tmp_path / f"a{ending}")
        back = hl.open(tmp_path / f"a{ending}")
        assert list(back) == list(layers)
        assert back.example_ids.tolist() == list("abcde")
        for name, array in layers.items():
            assert_array_equal(back[name], array)


def test_others_read_what_is_written(layers, tmp_path):
    kept = hl.Activations(layers, **IDENTITIES["text"])
    hl.save(kept, tmp_path / "a.parquet")
    hl.save(kept, tmp_path / "a.nc")
    for table in (pandas.read_parquet(tmp_path / "a.parquet"), polars.read_parquet(tmp_path / "a.parquet")):
        assert list(table.columns) == ["example_id", *layers]
        assert list(table["example_id"]) == IDENTITIES["text"]["example_ids"]
        assert_array_equal(np.stack(list(table["blocks/0"])), layers["blocks/0"])
    for engine in ("netcdf4", "h5netcdf"):
        with xarray.open_dataset(tmp_path / "a.nc", engine=engine) as data:
            assert data["example"].values.tolist() == IDENTITIES["text"]["example_ids"]
            assert data["blocks%2F0"].dims == ("example", "blocks%2F0_feature")
            assert data["blocks%2F0"].attrs["long_name"] == "blocks/0"
            assert_array_equal(data["blocks%2F0"], layers["blocks/0"])


@pytest.mark.parametrize("ending", [".parquet", ".nc", ".arrow", ".h5", ".mat", ".csv"])
def test_names_of_files_may_be_of_any_encoding(ending, tmp_path):
    x, path = np.eye(5), tmp_path / f"a\udcff{ending}"
    with h5py.File(tmp_path / "x", "w") as file:
        file["x"] = x
    writers = {
        ".arrow": lambda: pyarrow.feather.write_feather(pyarrow.table({"x": list(x)}), tmp_path / "x"),
        ".mat": lambda: scipy.io.savemat(tmp_path / "x", {"x": x}, appendmat=False),
        ".csv": lambda: np.savetxt(tmp_path / "x", x, delimiter=","),
        ".h5": lambda: None,
    }
    if ending in writers:
        writers[ending]()
        (tmp_path / "x").rename(path)
    else:
        hl.save({"x": x}, path)
    (layer,) = hl.open(path).values()
    assert_array_equal(layer, x)
    assert hl.open(path).provenance["model"] == r"a\udcff"


def test_a_store_is_written_as_parquet_some_rows_at_a_time(layers, tmp_path, monkeypatch):
    hl.save(layers, tmp_path / "a.zarr")
    asked = []
    whole = Rows.__getitem__
    monkeypatch.setattr(Rows, "__getitem__", lambda self, index: asked.append(index) or whole(self, index))
    monkeypatch.setattr(files.arrow_files, "_ROWS_TOGETHER", 1 << 18)
    hl.save(hl.open(tmp_path / "a.zarr"), tmp_path / "a.parquet")
    assert max(index.stop - index.start for index in asked) < 600
    assert_array_equal(hl.open(tmp_path / "a.parquet")["é"], layers["é"])


def test_an_altered_byte_of_parquet_is_found(tmp_path, rng):
    hl.save({"x": rng.normal(size=(99, 20))}, tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.parquet' must be a readable \.parquet file of plain arrays, got: .*CRC"):
        hl.open(tmp_path / "a.parquet")


def test_a_table_that_was_made_of_another_is_read_as_it_is(rng, tmp_path):
    layers = {"x": rng.normal(size=(9, 2)), "y": rng.normal(size=(9, 2))}
    hl.save(hl.Activations(layers, example_ids=range(9), positions=range(9)), tmp_path / "a.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table.drop_columns("x").append_column("f", [range(9)]), tmp_path / "b.parquet")
    with pytest.warns(hl.LeftOutWarning, match="'homolog:positions'"):
        opened = hl.open(tmp_path / "b.parquet")
    assert {name: array.shape for name, array in opened.items()} == {"y": (9, 2), "b": (9, 1)}
    assert opened.example_ids.tolist() == list(range(9))


# --- Keys


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".zarr", ".parquet", ".nc"])
def test_a_key_names_one_layer_or_a_group(ending, rng, tmp_path):
    names = ["a.x", "a.y", "ab", "b::c"]
    hl.save(
        hl.Activations({name: rng.normal(size=(9, 2)) for name in names}, example_ids=range(9)), tmp_path / f"t{ending}"
    )
    path = tmp_path / f"t{ending}"
    assert list(hl.open(f"{path}::a")) == ["a.x", "a.y"] == list(hl.open(path, "a"))
    assert list(hl.open(f"{path}::b::c")) == ["b::c"]
    assert hl.open(path, key="ab").example_ids.tolist() == list(range(9))
    with pytest.raises(KeyError, match=r"unknown key 'a\.z', did you mean a\.y or a\.x"):
        hl.open(path, "a.z")
    with pytest.raises(ValueError, match="what is meant must be named once"):
        hl.open(f"{path}::ab", "a")
    with pytest.raises(TypeError, match="key must be text, got an int"):
        hl.open(path, 3)


def test_a_file_whose_name_holds_colons_comes_before_a_key(rng, tmp_path):
    for name, x in (("a.npz::x.npz", rng.normal(size=(9, 2))), ("a.npz", rng.normal(size=(9, 3)))):
        hl.save({"x": x}, tmp_path / name)
    assert hl.open(f"{tmp_path}/a.npz::x.npz")["x"].shape == (9, 2)
    assert hl.open(f"{tmp_path}/a.npz::x")["x"].shape == (9, 3)
    assert hl.open(f"{tmp_path}/a.npz::x.npz::x")["x"].shape == (9, 2)
    assert hl.open(f"{tmp_path}/a.npz::x").provenance["model"] == "a::x"
    for text, told in (
        ("absent.npz::x", "there is no file '.*absent.npz'"),
        (f"a.npz::{'x' * 5000}", "unknown key 'xxx"),
    ):
        with pytest.raises((FileNotFoundError, KeyError), match=told):
            hl.open(f"{tmp_path}/{text}")


def test_models_of_one_file_are_told_apart(rng, tmp_path):
    table = pandas.DataFrame(
        {"id": range(40), "before": list(rng.normal(size=(40, 3))), "after": list(rng.normal(size=(40, 3)))}
    )
    table.to_parquet(tmp_path / "t.parquet")
    found = hl.compare(f"{tmp_path}/t.parquet::before", f"{tmp_path}/t.parquet::after", measures="cka")
    assert (found.attrs["model_a"], found.attrs["model_b"]) == ("t::before", "t::after")
    assert found.attrs["row_identity"] == "example ids"
    np.save(tmp_path / "b.npy", np.stack(list(table["after"])))
    status, out, told = command_line(["compare", "t.parquet::before", "b.npy", "-m", "cka", "--out", "r.nc"], tmp_path)
    assert status == 0, told
    assert "before" in out
    assert_allclose(xarray.load_dataset(tmp_path / "r.nc", engine="h5netcdf").cka, found.cka)
    status, _, told = command_line(["compare", "t.parquet::befor", "b.npy"], tmp_path)
    assert (status, told.strip().count("\n")) == (2, 0)
    assert "unknown key 'befor', did you mean before" in told


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_commands_take_every_kind_of_file(rng, tmp_path):
    x = rng.normal(size=(40, 3))
    pandas.DataFrame(x, index=[f"t{i}" for i in range(40)]).to_csv(tmp_path / "a.csv")
    pandas.DataFrame(x[::-1], index=[f"t{i}" for i in range(40)][::-1]).to_csv(tmp_path / "b.csv")
    hl.save({"x": x, "y": x}, tmp_path / "n.nc")
    for command in (
        ["check", "a.csv", "b.csv", "--common-rows", "--at-least", "cka=0.99"],
        ["diagnose", "a.csv", "n.nc::x", "--permutations", "9"],
        ["compare", "n.nc", "-m", "cka", "--out", "r.nc"],
    ):
        status, _, told = command_line(command, tmp_path)
        assert status == 0, told
    for name, word in (("n.nc", "features"), ("r.nc", "similarity"), ("a.csv", "example ids")):
        status, out, told = command_line(["info", name], tmp_path)
        assert status == 0, told
        assert word in out


# --- Maps


def as_arrow(x, path):
    table = pyarrow.table({"x": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.reshape(-1)), x.shape[1])})
    pyarrow.feather.write_feather(table, path, compression="uncompressed", chunksize=len(x))


def as_hdf5(x, path, **options):
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("x", data=x, **options)


MAPPED = {
    "x.npy": lambda x, path: np.save(path, x),
    "x.safetensors": lambda x, path: safetensors.numpy.save_file({"a": x[:1], "x": x}, path),
    "x.arrow": as_arrow,
    "x.h5": as_hdf5,
    "own.nc": lambda x, path: hl.save({"x": x}, path),
}


@pytest.mark.parametrize("name", MAPPED)
def test_large_arrays_stay_in_their_file(name, rng, tmp_path, monkeypatch):
    x = rng.normal(size=(3000, 8))
    MAPPED[name](x, tmp_path / name)
    key = "x" if "safe" in name else None
    assert type(hl.open(tmp_path / name, key)["x"]) is np.ndarray
    monkeypatch.setattr(numpy_files, "MAPPED_FROM", 1000)
    opened = hl.open(tmp_path / name, key)
    assert isinstance(opened["x"], np.memmap)
    assert not opened["x"].flags.writeable
    assert_array_equal(opened["x"], x)
    y = rng.normal(size=(3000, 5))
    expected = hl.compare({"x": x}, {"y": y}, measures=("cka", "cca"))
    found = hl.compare(f"{tmp_path / name}::x", {"y": y}, measures=("cka", "cca"))
    assert_allclose(found.cka, expected.cka, rtol=1e-6)
    assert_allclose(found.cca, expected.cca, rtol=1e-6)


def test_what_cannot_be_mapped_is_read(rng, tmp_path, monkeypatch):
    """Numbers that are compressed, in pieces, or whose checksums only reading compares."""
    monkeypatch.setattr(numpy_files, "MAPPED_FROM", 1000)
    x = rng.normal(size=(3000, 8))
    as_hdf5(x, tmp_path / "chunks.h5", chunks=(100, 8), compression="gzip")
    as_hdf5(x, tmp_path / "checked.h5", fletcher32=True)
    pyarrow.feather.write_feather(
        pyarrow.table({"x": list(x)}), tmp_path / "pressed.feather", compression="lz4", chunksize=999
    )
    np.savez(tmp_path / "a.npz", x=x)
    for name in ("chunks.h5", "checked.h5", "pressed.feather", "a.npz"):
        found = hl.open(tmp_path / name)["x"]
        assert not isinstance(found, np.memmap), name
        assert_array_equal(found, x)


def test_a_file_that_took_the_name_of_a_mapped_one_is_not_read_for_it(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "MAPPED_FROM", 1000)
    x, y, z = (rng.normal(size=(300, 4)) for _ in range(3))
    np.save(tmp_path / "x.npy", x)
    opened = hl.open(tmp_path / "x.npy")
    expected = hl.compare({"x": x}, {"y": y}, measures="cka").cka
    for change in (lambda: np.save(tmp_path / "new.npy", z), lambda: (tmp_path / "x.npy").unlink()):
        change()
        if (tmp_path / "new.npy").exists():
            (tmp_path / "new.npy").replace(tmp_path / "x.npy")
        assert_allclose(hl.compare(opened, {"y": y}, measures="cka").cka, expected, rtol=1e-6)


def test_a_mapped_file_that_was_cut_is_refused(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "MAPPED_FROM", 1000)
    np.save(tmp_path / "x.npy", rng.normal(size=(3000, 4)))
    opened = hl.open(tmp_path / "x.npy")
    os.truncate(tmp_path / "x.npy", 5000)
    with pytest.raises(ValueError, match="got a shorter file: it was truncated"):
        hl.compare(opened, {"y": rng.normal(size=(3000, 4))}, measures="cka")
