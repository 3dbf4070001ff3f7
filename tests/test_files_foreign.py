"""Files that other libraries wrote: what is a layer in them, who the rows are, and what is told where something is not."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pandas
import polars
import pytest
import scipy.io
import torch
import xarray
from numpy.testing import assert_array_equal

import homolog as hl

N, P = 2000, 64
X = np.random.default_rng(0).normal(size=(N, P))
IDS = {"text": [f"bild {i} é" for i in range(N)], "integer": [2**53 + 7 * i for i in range(N)]}


def frame(ids):
    """Vectors in one column."""
    return pandas.DataFrame({"id": ids, "embedding": list(X)})


def wide(ids):
    """A number in every column."""
    table = pandas.DataFrame(X, columns=[f"f{i}" for i in range(P)])
    table.insert(0, "id", ids)
    return table


def hdf5(path, ids):
    with h5py.File(path, "w") as file:
        file["embedding"], file["ids"] = X, ids


def newer_matlab(path, ids):
    """A file of version 7.3 as MATLAB writes it: axes reversed, text in cells as codes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("embedding", data=X.T, chunks=True).attrs["MATLAB_class"] = np.bytes_("double")
        if isinstance(ids[0], int):
            file["ids"] = np.asarray([ids], dtype=np.int64)
            file["ids"].attrs["MATLAB_class"] = np.bytes_("int64")
            return
        codes = [np.frombuffer(text.encode("utf-16-le"), "<u2")[:, None] for text in ids]
        codes = [np.frombuffer(text.encode("utf-16-le"), "<u2")[:, None] for text in ids]
        texts = [file.create_dataset(f"#refs#/{i}", data=code) for i, code in enumerate(codes)]
        for text in texts:
            text.attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("ids", data=[[text.ref for text in texts]], dtype=h5py.ref_dtype)
        file["ids"].attrs["MATLAB_class"] = np.bytes_("cell")


def older_matlab(path, ids):
    scipy.io.savemat(path, {"embedding": X, "ids": np.asarray(ids, dtype=object if isinstance(ids[0], str) else None)})


def dataset(path, ids):
    datasets = pytest.importorskip("datasets", reason="writes the folders that are read here")
    datasets.disable_progress_bars()
    datasets.Dataset.from_pandas(frame(ids)).save_to_disk(path, num_shards=3)


def netcdf(path, ids, **options):
    xarray.Dataset({"embedding": (("example", "unit"), X)}, coords={"example": ids}).to_netcdf(path, **options)


def arrays(path, ids):
    """As thingsvision writes them."""
    path.mkdir()
    np.save(path / "embedding.npy", X)
    (path / "file_names.txt").write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")


def tensors(path, ids):
    torch.save({"embedding": torch.tensor(X), "ids": ids}, path)


WRITERS = {
    "pandas.parquet": lambda path, ids: frame(ids).to_parquet(path),
    "index.parquet": lambda path, ids: frame(ids).set_index("id").to_parquet(path),
    "polars.parquet": lambda path, ids: polars.DataFrame({"id": ids, "embedding": X}).write_parquet(path),
    "wide.parquet": lambda path, ids: wide(ids).to_parquet(path),
    "pandas.feather": lambda path, ids: frame(ids).to_feather(path),
    "polars.arrow": lambda path, ids: polars.DataFrame({"id": ids, "embedding": X}).write_ipc(path),
    "pandas.csv": lambda path, ids: wide(ids).to_csv(path, index=False),
    "index.csv": lambda path, ids: wide(ids).set_index("id").rename_axis(None).to_csv(path),
    "polars.tsv": lambda path, ids: polars.DataFrame(wide(ids)).write_csv(path, separator="\t"),
    "h5py.h5": hdf5,
    "h5py.hdf5": hdf5,
    "scipy.mat": older_matlab,
    "newer.mat": newer_matlab,
    "xarray.nc": lambda path, ids: netcdf(path, ids, engine="h5netcdf"),
    "netcdf4.nc": lambda path, ids: netcdf(path, ids, engine="netcdf4"),
    "torch.pt": tensors,
    "numpy.npz": lambda path, ids: np.savez(path, embedding=X, ids=ids),
    "datasets": dataset,
    "arrays": arrays,
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("name", WRITERS)
def test_what_others_wrote_comes_back_with_its_ids(name, kind, tmp_path):
    path = tmp_path / name
    WRITERS[name](path, IDS[kind])
    opened = hl.open(path)
    layer = {"wide.parquet": "wide", "pandas.csv": "pandas", "index.csv": "index", "polars.tsv": "polars"}.get(
        name, "embedding"
    )
    assert list(opened) == [layer]
    assert_array_equal(opened[layer], X)
    expected = [str(i) for i in IDS[kind]] if name == "arrays" else IDS[kind]
    assert opened.example_ids.tolist() == expected
    assert opened.provenance["model"] == path.stem
    assert list(hl.open(f"{path}::{layer}")) == [layer] == list(hl.open(path, layer))
    with pytest.raises(KeyError, match=r"unknown key 'embeding'"):
        hl.open(path, "embeding")


def test_classic_netcdf_is_read(tmp_path):
    netcdf(tmp_path / "a.nc", np.arange(N, dtype=np.int32), engine="scipy")
    opened = hl.open(tmp_path / "a.nc")
    assert_array_equal(opened["embedding"], X)
    assert opened.example_ids.tolist() == list(range(N))


@pytest.mark.parametrize("name", [name for name in WRITERS if "." in name])
def test_damaged_files_are_one_sentence_or_harmless(name, tmp_path, monkeypatch):
    """Bytes changed, cut out or put in, at places drawn from a fixed seed; nothing ends the process."""
    monkeypatch.setattr(sys.modules[__name__], "X", X[:40])
    path = tmp_path / name
    WRITERS[name](path, IDS["text"][:40])
    whole, draw, said = path.read_bytes(), random.Random(0), []
    for _ in range(12):
        content = bytearray(whole)
        at = draw.randrange(draw.choice([600, len(content)]))
        match draw.choice(["change", "cut", "put", "end"]):
            case "change":
                content[at] = draw.randrange(256)
            case "cut":
                del content[at : at + draw.randrange(1, 9)]
            case "put":
                content[at:at] = draw.randbytes(4)
            case "end":
                del content[at:]
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.LeftOutWarning)
            try:
                hl.open(path)
            except (ValueError, TypeError) as error:
                said.append(str(error))
    assert len(said) > 2
    assert not [text for text in said if "\n" in text or len(text) > 900]


@pytest.mark.parametrize("content", [b"", bytes(5000), b"a text, and no table\n" * 99], ids=["empty", "zeros", "text"])
@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow", ".h5", ".hdf5", ".mat", ".csv", ".tsv", ".nc"])
def test_what_is_no_such_file_is_one_sentence(ending, content, tmp_path):
    (tmp_path / f"a{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a{ending}'.* must (be|hold) .*got") as caught:
        hl.open(tmp_path / f"a{ending}")
    assert "\n" not in str(caught.value)


def test_reading_imports_only_what_a_kind_of_file_needs(tmp_path):
    """Tables in text, NumPy's files and MATLAB's older ones need no library beside those that homolog needs anyway."""
    for name in ("pandas.csv", "numpy.npz", "scipy.mat"):
        WRITERS[name](tmp_path / name, IDS["integer"])
    code = (
        "import sys; import homolog as hl\n"
        "for name in ('pandas.csv', 'numpy.npz', 'scipy.mat'): hl.open(name)\n"
        "print({'pyarrow', 'h5py', 'h5netcdf', 'pandas', 'xarray', 'torch', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize(
    ("name", "library", "extra"), [("pandas.parquet", "pyarrow", "tables"), ("h5py.h5", "h5py", "files")]
)
def test_a_library_that_is_not_there_is_named_with_its_extra(name, library, extra, tmp_path, monkeypatch):
    WRITERS[name](tmp_path / name, IDS["integer"])
    for module in [module for module in sys.modules if module.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Without(library), *sys.meta_path])
    with pytest.raises(ImportError, match=rf'needs {library}, .*pip install "homolog\[{extra}\]"'):
        hl.open(tmp_path / name)


class _Without:
    """Finds no library of a name, and leaves all others to others."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, module, *_):
        if module.split(".")[0] == self.name:
            raise ImportError(module)
