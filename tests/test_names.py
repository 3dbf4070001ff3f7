"""Names that a file system has and UTF-8 cannot hold, or that no system takes: written another way, or refused in a sentence."""

from __future__ import annotations

import os
import unicodedata

import numpy as np
import pytest
import xarray
from conftest import command_line

import homolog as hl

pytestmark = pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
LAYERS = {"x": np.random.default_rng(0).normal(size=(30, 4)), "y": np.random.default_rng(1).normal(size=(30, 4))}
HALF = "a\ud800b"
BYTES = os.fsdecode(b"a\xff")
"""What Python makes of a name of file in Latin-1."""


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".zarr", ".npy"])
def test_files_of_another_encoding_are_compared_written_and_reported(ending, tmp_path):
    path = tmp_path / f"{BYTES}{ending}"
    if ending == ".npy":
        np.save(path, LAYERS["x"])
    else:
        hl.save(LAYERS, path)
    assert hl.open(path).provenance["model"] == r"a\udcff"
    hl.save(LAYERS, tmp_path / "b.npz")
    written = ["--out", f"{BYTES}.nc", "--report", f"{BYTES}.html"]
    status, out, told = command_line(["compare", path.name, "b.npz", "-m", "cka", *written], tmp_path)
    assert status == 0, told
    assert "written: a\\udcff.nc" in told
    assert (out + told).isascii()
    assert xarray.load_dataset(tmp_path / f"{BYTES}.nc").attrs["model_a"] == r"a\udcff"
    assert r"a\udcff and b" in (tmp_path / f"{BYTES}.html").read_text(encoding="utf-8")
    assert command_line(["info", f"{BYTES}.nc"], tmp_path)[0] == 0


UNWRITABLE = {
    "layer": (
        lambda: hl.Activations({HALF: np.eye(3)}),
        r"a layer name must be text that UTF-8 can hold, got 'a\\ud800b'",
    ),
    "model": (
        lambda: hl.compare({HALF: LAYERS, "b": LAYERS}),
        r"a model's name must be .*, got 'a\\ud800b': rename it",
    ),
    "ids": (
        lambda: hl.Activations({"x": np.eye(3)}, example_ids=["é", "b", HALF]),
        r"example_ids must be text that UTF-8 can hold, got 'a\\ud800b' in row 2",
    ),
    "bytes": (
        lambda: hl.Activations({"x": np.eye(3)}, example_ids=np.array([b"a", b"\xff", b"c"])),
        r"example_ids must be text that UTF-8 can hold, got b'\\xff' in row 1: decode bytes first",
    ),
    "order": (
        lambda: hl.Activations({"x": np.eye(2)}, example_ids=np.array(["a", HALF], dtype=">U3")),
        r"got 'a\\ud800b' in row 1",
    ),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_text_that_no_file_can_hold_is_refused(case):
    call, message = UNWRITABLE[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["a\0.npz", "a\0.zarr", f"{HALF}.npz", f"{HALF}.safetensors", f"{HALF}.zarr"])
def test_a_path_that_no_system_takes_is_a_sentence(name, tmp_path):
    calls = [hl.open, lambda path: hl.save(LAYERS, path), lambda path: hl.compare(path)]
    calls.append(lambda path: hl.report(hl.compare(LAYERS, measures="cka"), path.with_suffix(".html")))
    for call in calls:
        with pytest.raises(ValueError, match=r"a path must be text that the system can write, got '.*/a"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


ODD = {
    "esc": "\x1b[31m",
    "c1": "\x9b2J",
    "bidi": "a\u202eb",
    "dots": "..",
    "dot": ".",
    "up": "../../x",
    "root": "/etc/x",
}
ODD |= {
    "slash": "a/b",
    "space": " ",
    "npy": "a.npy",
    "lines": "a\r\nb\u2028c",
    "colon": "con:",
    "glob": "a*[?]",
    "back": "a\\b",
}
ODD |= {
    "nfc": unicodedata.normalize("NFC", "é"),
    "nfd": unicodedata.normalize("NFD", "é"),
    "long": "m" * 10_000,
    "brace": "{x}",
}


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".zarr"])
def test_layers_of_any_name_come_back(ending, tmp_path):
    """All in one file, so that no two of them may be taken for one."""
    layers = {name: np.full((5, 2), float(i)) + np.eye(5, 2) for i, name in enumerate(ODD.values())}
    ids = [f"{name}{i}"[:40] for i, name in enumerate(list(ODD.values())[:5])]
    hl.save(hl.Activations(layers, example_ids=ids, provenance={"note": ODD["esc"]}), tmp_path / f"x{ending}")
    back = hl.open(tmp_path / f"x{ending}")
    assert list(back) == list(layers)
    assert back.example_ids.tolist() == ids
    for name, x in layers.items():
        np.testing.assert_array_equal(np.asarray(back[name]), x)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"x{ending}"]
