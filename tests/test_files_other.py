"""Files that are not read, and what is said of them; names of files in capitals."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from conftest import command_line

import homolog as hl

REMEDIES = {
    "net.onnx": r"'net.onnx' is a model, not activations: run it on data first, with homolog.extract\(path, data\), or "
    r"`homolog extract net.onnx --data data.npy --out activations.npz`.",
    "NET.ONNX": "is a model",
    "k.keras": r"homolog.extract\(path, data\)",
    "m.gguf": "is a model, not activations: load it with transformers",
    "m.tflite": "is a model, not activations: load it where it was made",
    "v.pkl": "reading it can run code: load it yourself, and pass the arrays",
    "v.joblib": "reading it can run code",
    "v.csv.gz": "is packed: unpack it",
    "v.xlsx": "pandas.read_excel",
    "v.jsonl": "pandas.read_json",
    "v.unheard": "must be in a file ending in .npy",
}


@pytest.mark.parametrize("name", REMEDIES)
def test_a_file_of_another_kind_is_refused_with_what_to_do(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=REMEDIES[name]) as told:
        hl.open(tmp_path / name)
    assert str(told.value).count(". ") == 0, "one sentence"
    with pytest.raises(ValueError, match=REMEDIES[name]):
        hl.compare(str(tmp_path / name), np.eye(4))


@pytest.mark.parametrize("name", [*REMEDIES, "no folder"])
def test_what_does_not_exist_is_said_to_be_missing_whatever_it_ends_in(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        hl.open(tmp_path / name)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".pt", ".parquet", ".csv", ".tsv", ".nc", ".zarr"])
def test_endings_may_be_in_capitals(ending, rng, tmp_path):
    x = rng.normal(size=(12, 3))
    path = tmp_path / f"A{ending}"
    if ending == ".npy":
        np.save(path, x)
    elif ending == ".pt":
        import torch

        torch.save({"x": torch.tensor(x)}, path)
    elif ending in (".csv", ".tsv"):
        pandas.DataFrame(x).to_csv(path, sep="\t" if ending == ".tsv" else ",", index=False)
    else:
        hl.save({"x": x}, path)
    capitals = path.rename(tmp_path / f"A{ending.upper()}")
    found = hl.open(capitals)
    np.testing.assert_allclose(np.asarray(next(iter(found.values()))), x)
    assert found.provenance["model"] == "A" == hl.files.title(capitals)


def test_commands_say_that_a_file_is_a_model(tmp_path):
    (tmp_path / "net.onnx").touch()
    for command in (["compare", "net.onnx", "net.onnx"], ["check", "net.onnx", "net.onnx"]):
        status, _, told = command_line(command, tmp_path)
        assert (status, told.count("\n")) == (2, 1)
        assert "'net.onnx' is a model, not activations" in told
