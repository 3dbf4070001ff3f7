"""Activations on disk: whatever ends the writing, no row is lost, doubled or out of order, and damage is never read."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

import forked_processes
import numpy as np
import pytest
import torch
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from small_extractions import files_of, inputs, network
from torch import nn

import homolog as hl
from homolog.arrays import on_disk
from homolog.rows import Mapped
from homolog.store import Writer, layout
from homolog.store.chunk_files import ChunkFiles

GOLDEN = Path(__file__).parent / "reference" / "store-v1.zarr"


def assert_equal_activations(first: hl.Activations, second: hl.Activations) -> None:
    assert list(first) == list(second)
    for name in first:
        assert first[name].dtype == second[name].dtype
        assert_array_equal(np.asarray(first[name]), np.asarray(second[name]))
    for what in ("example_ids", "positions", "digests"):
        assert_array_equal(getattr(first, what), getattr(second, what))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)


@pytest.mark.parametrize(
    "ids", [None, [f"é{i}" for i in range(50)], np.arange(50) * 3 - 7], ids=["none", "text", "int"]
)
def test_round_trip(ids, rng, tmp_path):
    """Names are data: separators, dots and spaces in them name no folder."""
    names = ["a/b", "..", "layers", " spaced ", "rows/digests", "\N{GREEK SMALL LETTER ALPHA}#2", "digests"]
    dtypes = ["float16", "float32", "float64", "int8", "uint16", "int64", "float32"]
    layers = {
        name: (10 * rng.normal(size=(50, 3 + i))).astype(dtype)
        for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    }
    digests = rng.integers(2**63, size=50).astype(np.uint64) * 2
    given = hl.Activations(layers, example_ids=ids, digests=digests, provenance={"model": "the model"})
    hl.save(given, tmp_path / "a.zarr")
    opened = hl.open(tmp_path / "a.zarr")
    assert_equal_activations(given, opened)
    assert opened.provenance == given.provenance
    hl.save(opened, tmp_path / "b.npz")
    assert_equal_activations(hl.open(tmp_path / "b.npz"), opened)
    hl.save(opened.select("a/b"), tmp_path / "b.safetensors")
    hl.save(hl.open(tmp_path / "b.safetensors"), tmp_path / "a.zarr")  # an older store is replaced
    assert list(hl.open(tmp_path / "a.zarr")) == ["a/b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.npz", "b.safetensors"]


def test_rows_are_read_when_asked_for(rng, tmp_path, small_chunks, monkeypatch):
    whole = rng.normal(size=(100, 4)).astype("float32")
    hl.save({"x": whole}, tmp_path / "a.zarr")
    layer = hl.open(tmp_path / "a.zarr")["x"]
    assert (layer.shape, layer.dtype, layer.ndim, len(layer)) == ((100, 4), np.float32, 2, 100)
    assert "on disk" in repr(layer)
    mask = rng.random(100) < 0.3
    for rows in (slice(None), slice(3, 40), slice(90, 200), slice(5, 5), slice(None, None, 7), slice(20, 3, -2), mask):
        assert_array_equal(layer[rows], whole[rows])
    assert_array_equal(layer[[99, 0, 0, 17]], whole[[99, 0, 0, 17]])
    assert_array_equal(layer[-1], whole[-1])
    assert_array_equal(layer[:50, 1:3], whole[:50, 1:3])
    assert_array_equal(layer[[]], whole[[]])
    with pytest.raises(IndexError):
        layer[100]
    read = []
    monkeypatch.setattr(type(layer), "_chunk", lambda self, index, rows: read.append(index) or whole[rows])
    layer[20:50]
    assert read == [1, 2, 3]


def test_opens_what_version_1_wrote():
    """Later versions must read this store; `python tests/reference/make_store.py` wrote it, once."""
    opened = hl.open(GOLDEN)
    assert list(opened) == ["early", "blocks.0/attention", "late"]
    assert opened.n == 40
    assert_array_equal(opened["late"], (np.arange(80).reshape(40, 2) / 8).astype("float64"))
    assert_array_equal(opened["blocks.0/attention"], np.sqrt(np.arange(120, dtype="float32")).reshape(40, 3))
    assert opened["early"].dtype == np.float16
    assert_array_equal(opened["early"], np.zeros((40, 5)))
    assert opened.example_ids.tolist() == [f"image {i}" for i in range(40)]
    assert_array_equal(opened.digests, np.arange(40, dtype=np.uint64) * 2**58)
    assert opened.provenance == {"model": "golden", "reduce": "mean"}


def test_extracts_into_a_store(tmp_path, small_chunks):
    model, data = network(), inputs()
    held = hl.extract(model, data, batch_size=7)
    stored = hl.extract(model, data, batch_size=7, out=tmp_path / "a.zarr")
    assert_equal_activations(held, stored)
    assert stored.provenance.keys() == held.provenance.keys() | {"weights"}
    before = files_of(tmp_path / "a.zarr")
    again = hl.extract(model, data, batch_size=7, out=tmp_path / "a.zarr", resume=True)
    assert_equal_activations(held, again)
    assert files_of(tmp_path / "a.zarr") == before


@pytest.mark.parametrize("reduce", ["flatten", "positions"])
def test_killed_at_every_write(reduce, tmp_path, small_chunks, monkeypatch):
    """Whichever file the process was about to write, or had just written, the next run ends with the same bytes."""
    n = 45 if reduce == "flatten" else 9
    data = inputs(n) if reduce == "flatten" else inputs(n * 5).reshape(n, 5, 6)
    # The fill value, which zarr would leave out.
    data[: n // 2] = 0
    options = {"reduce": reduce, "batch_size": 4, "example_ids": [f"id {i}" for i in range(n)], "layers": ["0", "3"]}
    model = nn.Sequential(nn.Identity(), *network())
    written = []
    watch_writes(monkeypatch.setattr, lambda after: None if after else written.append(1))
    whole = hl.extract(model, data, out=tmp_path / "whole.zarr", **options)
    monkeypatch.undo()
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    assert_equal_activations(whole, hl.extract(model, data, **options))
    total = len(written)
    assert total > 25
    for last in range(reduce == "positions", total, 2):
        # Before a write and after it; which writes, differs between the two reductions.
        for after in (False, True):
            _die_at(last, after, monkeypatch, lambda: hl.extract(model, data, out=tmp_path / "a.zarr", **options))
            hl.extract(model, data, out=tmp_path / "a.zarr", resume=True, **options)
            assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "whole.zarr")
            shutil.rmtree(tmp_path / "a.zarr")


class DeadError(Exception):
    """Stands for the end of a process."""


def watch_writes(patch, told):
    """Call told(after) before and after each file is written, by zarr or as a chunk of numbers."""
    by_zarr, chunk = zarr.storage.LocalStore.set, ChunkFiles.write

    async def written_by_zarr(self, key, value):
        told(False)
        await by_zarr(self, key, value)
        told(True)

    def written_chunk(self, index, parts):
        told(False)
        chunk(self, index, parts)
        told(True)

    patch(zarr.storage.LocalStore, "set", written_by_zarr)
    patch(ChunkFiles, "write", written_chunk)


def _die_at(last, after, monkeypatch, call):
    count = [0]

    def dying(is_written):
        count[0] += not is_written
        if count[0] > last + 1 or (count[0] == last + 1 and is_written == after):
            raise DeadError

    with monkeypatch.context() as patch, contextlib.suppress(DeadError):
        watch_writes(patch.setattr, dying)
        call()


def killed_extraction(index: int, out: str, writes: str) -> None:
    """Extract until a number of files are written, and die; in a process of its own."""
    layout.CHUNK_ROWS = 16
    left = [int(writes.split(",")[index])]
    if index:
        shutil.copytree(out, f"{out}-{index}.zarr")  # as the one before left it

    def dying(is_written):
        left[0] -= is_written
        if is_written and not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    watch_writes(setattr, dying)
    hl.extract(network(), inputs(), out=out, resume=True)


def test_a_killed_process_leaves_its_rows_and_no_lock(tmp_path, small_chunks):
    store = tmp_path / "a.zarr"
    forked_processes.run("test_store:killed_extraction", -2, store, "17,9")
    for left in (store, tmp_path / "a.zarr-1.zarr"):
        with pytest.raises(
            ValueError, match=r"must be complete, got a store whose extraction ended after .* rows: run"
        ):
            hl.open(left)
    hl.extract(network(), inputs(), out=store, resume=True)
    hl.extract(network(), inputs(), out=tmp_path / "b.zarr")
    assert files_of(store) == files_of(tmp_path / "b.zarr")


def test_a_larger_limit_goes_on(tmp_path, small_chunks):
    model, data = network(), inputs()
    for limit in (21, 22, 64):
        hl.extract(model, data, max_examples=limit, out=tmp_path / "a.zarr", resume=True)
    hl.extract(model, data, max_examples=64, out=tmp_path / "b.zarr")
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b.zarr")
    with pytest.raises(ValueError, match=r"holds rows of 64 examples, got data of 10: pass the same data"):
        hl.extract(model, iter(data[:10].split(5)), out=tmp_path / "a.zarr", resume=True)


def test_a_complete_store_takes_the_same_data_only(tmp_path):
    model, data = network(), inputs()
    hl.extract(model, data, out=tmp_path / "a.zarr")
    before = files_of(tmp_path / "a.zarr")
    for other in (data[:60], torch.cat([data, data])):
        with pytest.raises(ValueError, match=r"is complete with 100 examples, got data of .*: pass the same data"):
            hl.extract(model, other, out=tmp_path / "a.zarr", resume=True)
    assert files_of(tmp_path / "a.zarr") == before


def test_data_stay_as_they_were():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(0.5)

    data = inputs()
    hl.extract(InPlace(), data, layers="output")
    torch.testing.assert_close(data, inputs(), rtol=0, atol=0)


def test_rows_that_are_there_are_not_computed_again(tmp_path, small_chunks):
    model, data, seen = network(), inputs(), []
    model.register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    hl.extract(model, data, max_examples=64, batch_size=10, out=tmp_path / "a.zarr")
    seen.clear()
    hl.extract(model, data, batch_size=10, out=tmp_path / "a.zarr", resume=True)
    # From row 60 on; three at a time are run again, to prove that rows are examples.
    assert [size for size in seen if size > 3] == [10, 10, 10, 10]


REFUSED = {
    "weights": (
        {},
        {"model": lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2))},
        "with model Sequential",
    ),
    "layers": ({}, {"layers": ["0"]}, "with layers by default, got layers 0: use"),
    "reduction": ({}, {"reduce": "mean"}, "with reduce flatten, got reduce mean"),
    "dtype": ({}, {"dtype": "float64"}, "with dtype by default, got dtype float64"),
    "inputs": ({}, {"data": lambda: inputs().flip(0)}, "inputs it was begun with, got others from row 0 on"),
    "ids": (
        {"example_ids": list(range(100))},
        {"example_ids": [*range(50), *range(99, 49, -1)]},
        "example ids it was begun with, got others from row 50 on",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("complete", [False, True])
def test_refuses_to_go_on_with_something_else(case, complete, tmp_path, small_chunks):
    begun, changed, message = REFUSED[case]
    out = tmp_path / "a.zarr"

    def broken():
        yield from inputs()[:70].split(10)
        raise RuntimeError("the power went")

    if complete:
        hl.extract(network(), inputs(), batch_size=10, out=out, **begun)
    else:
        with pytest.raises(RuntimeError):
            hl.extract(network(), broken(), out=out, **begun)
    model, now = changed.get("model", network)(), changed.get("data", inputs)()
    options = begun | {key: value for key, value in changed.items() if key not in ("model", "data")}
    before = files_of(out)
    with pytest.raises(ValueError, match=message):
        hl.extract(model, now, batch_size=10, out=out, resume=True, **options)
    assert files_of(out) == before


def test_refuses_to_overwrite(tmp_path):
    hl.extract(network(), inputs(), out=tmp_path / "a.zarr")
    with pytest.raises(
        FileExistsError, match="holds a store of 100 rows: pass resume=True to go on with it, or remove it"
    ):
        hl.extract(network(), inputs(), out=tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.tex").write_text("years of work")
    for call in (
        lambda path: hl.extract(network(), inputs(), out=path),
        lambda path: hl.extract(network(), inputs(), out=path, resume=True),
        lambda path: hl.save({"x": np.eye(4)}, path),
    ):
        with pytest.raises(FileExistsError, match="must be a store or a new name, got"):
            call(tmp_path / "b.zarr")
    assert (tmp_path / "b.zarr" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(ValueError, match=r"out must end in \.zarr, got 'a\.npz'"):
        hl.extract(network(), inputs(), out=tmp_path / "a.npz")
    with pytest.raises(ValueError, match="resume=True goes on with a store, got no out"):
        hl.extract(network(), inputs(), resume=True)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        hl.extract(network(), inputs(), out=tmp_path / "no" / "a.zarr")


def test_refuses_a_second_writer(tmp_path):
    def data():
        yield inputs(5)
        with pytest.raises(BlockingIOError, match="is being written by another process: wait for it"):
            hl.extract(network(), inputs(), out=tmp_path / "a.zarr", resume=True)
        yield inputs(2)

    assert hl.extract(network(), data(), out=tmp_path / "a.zarr").n == 7


def test_measures_take_stored_layers(rng, tmp_path):
    layers = {"x": rng.normal(size=(60, 5)), "y": rng.normal(size=(60, 4))}
    hl.save(layers, tmp_path / "a.zarr")
    opened = hl.open(tmp_path / "a.zarr")
    assert_allclose(hl.cka(opened["x"], opened["y"]), hl.cka(layers["x"], layers["y"]), rtol=1e-12)
    assert_allclose(hl.cca(opened["x"], opened["y"]), hl.cca(layers["x"], layers["y"]), rtol=1e-12)
    stored, held = (hl.compare(source, measures=("cka", "cca", "bipartite_match")) for source in (opened, layers))
    for name in held.data_vars:
        assert_allclose(stored[name], held[name], rtol=1e-9, err_msg=name)
    labels = np.arange(60) % 2
    assert_allclose(hl.probe(opened, labels).accuracy, hl.probe(layers, labels).accuracy)
    assert_allclose(hl.shared_subspace(opened["x"], opened["y"]).cka, hl.shared_subspace(layers["x"], layers["y"]).cka)
    assert hl.diagnose(opened).findings == hl.diagnose(layers).findings
    assert hl.permutation_test(opened["x"], opened["y"]) == hl.permutation_test(layers["x"], layers["y"])
    part = opened.take(slice(10, 30)).select("x").rename({"x": "z"})
    assert_array_equal(part["z"], layers["x"][10:30])


def test_memory_maps_are_read_not_mapped(rng, tmp_path):
    whole = rng.normal(size=(50, 6)).astype("float32")
    np.save(tmp_path / "x.npy", whole)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = on_disk(mapped)
    assert isinstance(rows, Mapped)
    assert_array_equal(rows[7:31], whole[7:31])
    assert_array_equal(np.asarray(rows), whole)
    for other in (mapped[3:], mapped.T, mapped[:, :3], np.load(tmp_path / "x.npy", mmap_mode="c"), whole):
        assert on_disk(other) is None
    os.truncate(tmp_path / "x.npy", 600)
    with pytest.raises(ValueError, match="must hold rows 0 to 50, got a shorter file: it was truncated"):
        rows[:]


def test_nothing_is_left_of_a_writer_that_failed(tmp_path):
    with Writer(tmp_path / "a.zarr", {}, resume=False) as writer:
        assert writer.rows == 0
        assert not writer.complete
    with Writer(tmp_path / "a.zarr", {}, resume=False):
        pass
    with pytest.raises(ValueError, match="got a folder without its attributes"):
        hl.open(tmp_path / "a.zarr")
    (tmp_path / "file.zarr").write_text("")
    with pytest.raises(NotADirectoryError, match="a store must be a folder, got the file"):
        hl.open(tmp_path / "file.zarr")
    with pytest.raises(FileExistsError, match="a store must be a folder, got the file"):
        Writer(tmp_path / "file.zarr", {}, resume=False)
