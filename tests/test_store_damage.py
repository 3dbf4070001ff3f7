"""Damage to a store, and stores of other formats, are errors with a place, and nothing of them is decoded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

import homolog as hl
from homolog.store import layout


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)


def _damage(kind: str, chunk: Path) -> None:
    content = bytearray(chunk.read_bytes())
    if kind == "altered":
        content[len(content) // 2] ^= 1
    elif kind == "truncated":
        del content[-20:]
    if kind == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", ["altered", "truncated", "missing"])
def test_damage_is_an_error_with_a_place(kind, rng, tmp_path, small_chunks):
    layers = {"early": rng.normal(size=(100, 4)), "late": rng.normal(size=(100, 3))}
    hl.save(layers, tmp_path / "a.zarr")
    _damage(kind, tmp_path / "a.zarr" / "layers" / "1" / "c" / "2" / "0")
    opened = hl.open(tmp_path / "a.zarr")
    assert_array_equal(opened["late"][:32], layers["late"][:32])
    assert_array_equal(opened["late"][48:], layers["late"][48:])
    told = {"altered": "checksum", "truncated": "holds 368 bytes instead of 388", "missing": "their file is gone"}[kind]
    message = rf"layer 'late' of '.*a\.zarr' must be as it was written, got damage in rows 32 to 47: .*{told}"
    with pytest.raises(ValueError, match=message):
        opened["late"][:]
    with pytest.raises(ValueError, match=message):
        hl.compare(opened)


def test_opens_nothing_but_its_own_format(rng, tmp_path):
    """A store that names other codecs, another version or other folders is refused before anything is decoded."""
    store = tmp_path / "a.zarr"

    def edited(file: str, change) -> None:
        shutil.rmtree(store, ignore_errors=True)
        hl.save({"x": rng.normal(size=(20, 4))}, store)
        content = json.loads((store / file).read_text())
        change(content)
        (store / file).write_text(json.dumps(content))

    def attributes(**changes):
        return lambda content: content["attributes"].update(changes)

    edited("zarr.json", attributes(format_version=3))
    with pytest.raises(ValueError, match="must be of format version 1 or 2, got 3"):
        hl.open(store)
    edited("zarr.json", attributes(layers=[{"name": "x", "key": "layers/../../other"}]))
    with pytest.raises(ValueError, match="must hold layers of at least 2 rows below 'layers'"):
        hl.open(store)
    edited("zarr.json", attributes(format_version="1"))
    with pytest.raises(ValueError, match="must be of format version 1 or 2, got '1'"):
        hl.open(store)
    edited("zarr.json", attributes(rows=19))
    with pytest.raises(ValueError, match="must have the 19 rows that the store says it holds, got 20"):
        hl.open(store)
    edited("zarr.json", attributes(rows=21))
    with pytest.raises(ValueError, match="must hold 21 rows of numbers"):
        hl.open(store)
    edited("zarr.json", attributes(rows="many"))
    with pytest.raises(ValueError, match=r"must hold what docs/fileformat\.md says"):
        hl.open(store)
    edited("zarr.json", attributes(format="something else"))
    with pytest.raises(ValueError, match="got a folder without its attributes"):
        hl.open(store)
    edited("zarr.json", attributes(rows=10.5))
    with pytest.raises(ValueError, match=r"must hold what docs/fileformat\.md says"):
        hl.open(store)
    edited("layers/0/zarr.json", lambda content: content["codecs"][0]["configuration"].update(endian="big"))
    with pytest.raises(ValueError, match="got another byte order, chunks or version of zarr"):
        hl.open(store)
    edited("layers/0/zarr.json", lambda content: content["codecs"].append({"name": "numcodecs.pickle"}))
    with pytest.raises(
        ValueError, match=r"must be an array of zarr as homolog writes it, got the codecs numcodecs\.pickle"
    ):
        hl.open(store)
