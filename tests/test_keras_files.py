"""Models in files of Keras': loaded by its safe loading, and refused in one sentence each."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import command_line
from small_conv_elsewhere import imported_keras

import homolog as hl
from homolog.extraction.frameworks import keras_files

keras = imported_keras()
layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on PyTorch
DATA = np.linspace(-1, 1, 48, dtype="float32").reshape(12, 4)


@pytest.fixture(autouse=True)
def quiet():
    """Keras calls HDF5 a legacy format whenever it writes it."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


def model(*inner):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), *inner, layers.Dense(2, name="scores")])


class Doubled(layers.Layer):
    def call(self, values):
        return values * 2


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ValueError, match=r"^model must be a ") as caught:
        hl.extract(path, DATA)
    text = str(caught.value)
    assert "\n" not in text
    assert [word for word in (path.name, *words) if word not in text] == [], text


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_a_saved_model_gives_the_layers_of_the_model(tmp_path, suffix):
    whole, path = model(), tmp_path / f"model{suffix}"
    whole.save(path)
    found = hl.extract(str(path), DATA)
    assert list(found) == ["hidden", "scores"]
    if suffix == ".keras":
        status, out, told = command_line(["info", path.name], tmp_path)
        assert (status, "hidden\tDense\tyes\n" in out) == (0, True), told
    assert found.provenance["model"] == path.name
    np.testing.assert_array_equal(found["scores"], hl.extract(whole, DATA)["scores"])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_refused_and_never_run(tmp_path, suffix):
    mark = tmp_path / "ran"
    path = tmp_path / f"code{suffix}"
    whole = model(layers.Lambda(lambda values, mark=str(mark): open(mark, "w").close() or values, output_shape=(3,)))
    whole.save(path)
    mark.unlink(missing_ok=True)
    refused(path, "a Lambda layer", "safe_mode=False")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("TFSMLayer", "a program of TensorFlow's"),
        ("TorchModuleWrapper", "a pickled module"),
        ("__lambda__", "a lambda"),
    ],
)
def test_other_ways_to_bring_code_are_refused_before_keras_sees_them(tmp_path, name, what, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *given, **options: pytest.fail("it was loaded"))
    path, deep = tmp_path / "deep.keras", {"config": {"layers": [{"class_name": f"keras.layers>{name}", "config": {}}]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": deep}))
    refused(path, what)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_that_nobody_registered_are_named(tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    model(Doubled()).save(path)
    refused(path, "Doubled", "register_keras_serializable", "custom_objects")
    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        assert "doubled" in " ".join(hl.extract(path, DATA))


@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        (".keras", b"hello", ["not a zip file"]),
        (".h5", b"hello", ["readable HDF5 file"]),
        (".keras", b"", ["not a zip file"]),
        (".h5", b"", ["readable HDF5 file"]),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, suffix, content, words):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    refused(path, *words)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_half_a_file_is_refused(tmp_path, suffix, kept):
    path = tmp_path / f"half{suffix}"
    model().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    refused(path)


@pytest.mark.parametrize("config", ["", "[1", "[]", "3", '"text"', "{}", '{"class_name": "Nothing", "config": {}}'])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_configuration_that_says_nothing_is_refused(tmp_path, config, suffix):
    path = tmp_path / f"config{suffix}"
    if suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
    else:
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config
    refused(path)


def test_an_archive_or_hdf5_without_a_model_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("notes.txt", "none")
    refused(tmp_path / "empty.keras", "config.json")
    model().save_weights(tmp_path / "some.weights.h5")
    refused(tmp_path / "some.weights.h5", "without a configuration", "load_weights")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["recordings"] = DATA
    refused(tmp_path / "data.h5", "it holds recordings", "homolog.open")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        hl.extract(tmp_path / "none.keras", DATA)


def test_an_old_keras_is_not_trusted_with_files(tmp_path, monkeypatch):
    model().save(tmp_path / "model.keras")
    monkeypatch.setattr(keras, "__version__", "3.11.3")
    with pytest.raises(ImportError, match=r"needs Keras 3\.13\.2 or later, got 3\.11\.3"):
        hl.extract(tmp_path / "model.keras", DATA)
    assert keras_files.SAFE_SINCE == (3, 13, 2)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_a_backend_that_is_not_installed_is_told(tmp_path):
    model().save(tmp_path / "model.keras")
    code = "import sys, homolog as hl; hl.extract(sys.argv[1], [[0.0] * 4])"
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "model.keras")]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
    run = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True)
    assert "set the environment variable KERAS_BACKEND" in run.stderr.splitlines()[-1], run.stderr
