"""Names that a file system has and UTF-8 cannot hold, or that no system takes: written another way, or refused in a sentence."""

from __future__ import annotations

import json
import os
import unicodedata

import numpy as np
import pytest
import xarray
from conftest import command_line

import homolog as hl
from homolog.names import printable, shortened

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
    assert xarray.load_dataset(tmp_path / f"{BYTES}.nc", engine="h5netcdf").attrs["model_a"] == r"a\udcff"
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


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".zarr", ".parquet", ".nc"])
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


UNPRINTABLE = "conv\x1b[31m\x9b2J\u202e\u2028\r\n\x07" + "x" * 10_000


def test_names_reach_no_terminal_as_they_are(rng, tmp_path, recwarn):
    """Warnings, errors, what is printed of objects, and the command line."""
    constant = {UNPRINTABLE: np.ones((30, 4)), "other": rng.normal(size=(30, 3))}
    with pytest.warns(hl.ConstantLayerWarning) as warned:
        result = hl.compare(hl.Activations(constant, provenance={"model": UNPRINTABLE}))
    said = [str(warning.message) for warning in warned]
    said += [text for pair in json.loads(result.attrs["warnings"]) for text in pair]
    activations = hl.Activations(constant)
    said += [repr(activations), str(hl.plan({UNPRINTABLE: constant, "b": constant}))]
    calls = [
        lambda: activations["nothing"],
        lambda: activations[UNPRINTABLE + "y"],
        lambda: activations.select("nothing*"),
        lambda: activations.rename({UNPRINTABLE: "other"}).rename(lambda _: UNPRINTABLE),
        lambda: hl.Activations({UNPRINTABLE: np.ones((30, 2, 2))}),
        lambda: hl.Activations({"a": np.ones((30, 2)), UNPRINTABLE: np.ones((20, 2))}),
        lambda: hl.compare({UNPRINTABLE: {UNPRINTABLE: np.full((30, 2), np.nan)}, "b": constant}),
        lambda: hl.compare({UNPRINTABLE: {UNPRINTABLE: np.ones((30, 2))}, "b": {"x": np.ones((20, 2))}}),
        lambda: hl.compare(constant, pairs=[("nothing", UNPRINTABLE)]),
        lambda: hl.open(tmp_path / "absent" / "\x1b[31m.npz"),
    ]
    for call in calls:
        with pytest.raises((KeyError, ValueError, TypeError, FileNotFoundError)) as caught:
            call()
        said.append(str(caught.value.args[0]))
    for text in said:
        assert printable(text, lines=True) == text
        assert len(text) < 1500, text[:300]


def test_the_command_line_prints_no_control_characters(rng, tmp_path):
    odd = UNPRINTABLE[:40]
    layers = {odd: rng.normal(size=(30, 4)), "constant": np.ones((30, 2)), "other": rng.normal(size=(30, 3))}
    notes = {"model": f"{odd} net", "torch": odd}
    hl.save(hl.Activations(layers, provenance=notes), tmp_path / "a.npz")
    hl.save({"other": rng.normal(size=(30, 4))}, tmp_path / "\x1b[31mb.npz")
    commands = [
        ["info", "a.npz"],
        ["compare", "a.npz"],
        ["compare", "a.npz", "\x1b[31mb.npz", "--out", "r.nc"],
        ["info", "r.nc"],
        ["diagnose", "a.npz"],
        ["compare", "a.npz", "--layers", "nothing\x1b[31m"],
        ["compare", "\x1b[31mabsent.npz"],
        ["compare", "a.npz", "--\x1b[31m"],
        ["\x1b[31m"],
    ]
    for command in commands:
        status, out, told = command_line(command, tmp_path)
        assert status in (0, 2)
        for text in (out, told):
            assert printable(text, lines=True) == text, command


def test_printable_keeps_what_people_write():
    for text in ("Schicht 1 (früh)", "層", "layer#2", "a/b c", "🙂"):
        assert printable(text) == text
    assert printable("a\x00\x1b\x7f\x85\x9b\u200f\u2066\ud800") == r"a\x00\x1b\x7f\x85\x9b\u200f\u2066\ud800"
    assert shortened("x" * 200) == "x" * 200
    assert len(shortened("x" * 201)) <= 200
