"""Files and stores take the place of others in one step: whatever ends the process, the name means the old one or the new one."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import command_line
from numpy.testing import assert_array_equal
from small_extractions import files_of, inputs, network

import homolog as hl
from homolog.blocks.workers import ExecutorWorkers
from homolog.store import disk, layout, writing

OLD, NEW = {"x": np.zeros((30, 3))}, {"x": np.ones((30, 3)), "y": np.eye(30)}


def layers_under(path: Path) -> list[str]:
    """What the name means now; both contents are whole."""
    opened = hl.open(path)
    assert_array_equal(np.asarray(opened["x"]), (NEW if len(opened) == 2 else OLD)["x"])
    return list(opened)


@pytest.fixture(params=["exchange", "aside"])
def way(request, monkeypatch):
    """With the system's exchange of two names, and as where there is none."""
    if request.param == "aside":
        monkeypatch.setattr(disk, "exchanged", lambda *_: False)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("this system exchanges no names")
    return request.param


def test_the_system_exchanges_names(tmp_path):
    if sys.platform != "linux":
        pytest.skip("tried on Linux")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if disk.exchanged(tmp_path / "a", tmp_path / "b"):  # not every file system can
        assert (tmp_path / "a" / "b").exists()
        assert (tmp_path / "b" / "a").exists()
    assert not disk.exchanged(tmp_path / "a", tmp_path / "absent")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_interrupted_between_any_two_renames(error, way, tmp_path, monkeypatch):
    """Before and after every rename: the name means the old store or the new one, and nothing is left beside it."""
    path, real = tmp_path / "a.zarr", os.rename
    seen = set()
    for stop_at in range(3):
        for after in (False, True):
            shutil.rmtree(path, ignore_errors=True)
            hl.save(OLD, path)
            count = iter(range(100))

            def stopping(*names, count=count, stop_at=stop_at, after=after):
                number = next(count)
                if number == stop_at and not after:
                    raise error
                real(*names)
                if number == stop_at and after:
                    raise error

            with monkeypatch.context() as patch:
                patch.setattr(os, "rename", stopping)
                with contextlib.suppress(error):
                    hl.save(NEW, path)
            assert path.is_dir()  # before anybody opens it
            seen.add(tuple(layers_under(path)))
            assert [child.name for child in tmp_path.iterdir() if not child.name.endswith("-old")] == ["a.zarr"]
    assert ("x", "y") in seen
    if way == "aside":
        assert ("x",) in seen


@pytest.mark.parametrize("use", ["open", "save", "extract", "compare"])
def test_killed_between_the_renames(use, tmp_path, monkeypatch):
    """Where names are not exchanged, whoever comes next finds the old store that lies aside."""
    path = tmp_path / "a.zarr"
    hl.extract(network(), inputs(30), out=path)
    before = files_of(path)
    os.rename(path, disk.path_put_aside(path))
    assert not path.exists()
    if use == "open":
        hl.open(path)
    elif use == "compare":
        hl.plan(path)
    elif use == "extract":
        hl.extract(network(), inputs(30), out=path, resume=True)
    else:
        monkeypatch.setattr(writing, "put_in_place", lambda *_: None)  # the save itself comes to nothing
        hl.save(NEW, path)
    assert files_of(path) == before
    assert [child.name for child in tmp_path.iterdir()] == ["a.zarr"]


def test_what_lies_aside_is_left_to_a_process_that_is_at_it(tmp_path):
    path = tmp_path / "a.zarr"
    hl.save(OLD, path)
    os.rename(path, disk.path_put_aside(path))
    lock = disk.locked(disk.path_put_aside(path), layout.LOCK, path)
    with pytest.raises(BlockingIOError, match="is being written by another process"):
        hl.open(path)
    lock.release()
    assert layers_under(path) == ["x"]


KILLED = """
import os, signal, sys, numpy as np, homolog as hl
from homolog.store import disk
disk.exchanged = lambda *_: False
real, left = os.rename, [int(sys.argv[2])]
def dying(*names):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    real(*names)
hl.save({"x": np.zeros((30, 3))}, sys.argv[1])
os.rename = dying
hl.save({"x": np.ones((30, 3)), "y": np.eye(30)}, sys.argv[1])
"""


def test_a_killed_process_leaves_the_old_store(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a.zarr"), "1"]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "a.zarr").exists()
    assert layers_under(tmp_path / "a.zarr") == ["x"]


def test_save_waits_for_no_writer_and_destroys_nothing(way, tmp_path):
    path = tmp_path / "a.zarr"

    def data():
        for start in (0, 10, 20):
            yield inputs(30)[start : start + 10]
            if start:
                with pytest.raises(BlockingIOError, match="is being written by another process: wait for it"):
                    hl.save(NEW, path)

    hl.extract(network(), data(), out=path)
    assert_array_equal(np.asarray(hl.open(path)["0"]), hl.extract(network(), inputs(30))["0"])
    hl.save(NEW, path)
    assert layers_under(path) == ["x", "y"]
    assert [child.name for child in tmp_path.iterdir()] == ["a.zarr"]


def test_a_store_that_came_in_the_meantime_stays(tmp_path, monkeypatch):
    path, real = tmp_path / "a.zarr", writing.put_in_place

    def late(new, target):
        monkeypatch.setattr(writing, "put_in_place", real)
        hl.save(OLD, path)
        monkeypatch.setattr(Path, "exists", lambda self: False)  # seen a moment before
        real(new, target)

    monkeypatch.setattr(writing, "put_in_place", late)
    with pytest.raises(FileExistsError, match="was made by another process in the meantime"):
        hl.save(NEW, path)
    monkeypatch.undo()
    assert layers_under(path) == ["x"]


def test_a_store_is_replaced_by_a_part_of_itself_and_through_a_link(way, tmp_path):
    path = tmp_path / "a.zarr"
    hl.save(NEW, path)
    (tmp_path / "link.zarr").symlink_to(path)
    hl.save(hl.open(tmp_path / "link.zarr").select("x"), tmp_path / "link.zarr")
    assert list(hl.open(path)) == ["x"]
    assert (tmp_path / "link.zarr").is_symlink()
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a.zarr", "link.zarr"]


@pytest.fixture
def little_room():
    """Files may have 64 KiB, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


LARGE = {"x": np.random.default_rng(0).normal(size=(1024, 64))}


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".zarr", ".parquet", ".nc"])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(ending, tmp_path, little_room):
    path = tmp_path / f"a{ending}"
    hl.save(OLD, path)
    with pytest.raises(
        OSError, match=r"cannot write '.*a\.\w+': .* are free .*: make room, or choose another disk"
    ) as caught:
        hl.save(LARGE, path)
    assert caught.value.errno == errno.EFBIG
    assert layers_under(path) == ["x"]
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test_an_extraction_on_a_full_disk_goes_on_when_there_is_room(tmp_path, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    path, wide = tmp_path / "a.zarr", {"layers": ["0"], "batch_size": 16}

    def data():
        for number, batch in enumerate(inputs(80).split(16)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 if number == 3 else soft, hard))
            yield batch

    try:
        with pytest.raises(OSError, match=r"make room and run it again with resume=True, 48 rows are safe\."):
            hl.extract(network(), data(), out=path, **wide)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    hl.extract(network(), inputs(80), out=path, resume=True, **wide)
    hl.extract(network(), inputs(80), out=tmp_path / "b.zarr", **wide)
    assert files_of(path) == files_of(tmp_path / "b.zarr")


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
def test_the_command_line_on_a_full_disk(tmp_path, little_room):
    hl.save({name: np.random.default_rng(i).normal(size=(99, 3)) for i, name in enumerate("xy")}, tmp_path / "a.npz")
    status, _, told = command_line(["compare", "a.npz", "-m", "cka", "--report", "r.html"], tmp_path)
    assert status == 2
    assert "cannot write 'r.html'" in told
    assert len(told.strip().splitlines()) == 1
    assert [child.name for child in tmp_path.iterdir()] == ["a.npz"]


def _die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_sentence():
    told = r"executor must keep its workers, got one that ended before its task did, .*: make a new executor"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as executor, pytest.raises(BrokenExecutor, match=told):
        list(ExecutorWorkers(executor).items(_die, [1, 2], 1))


def test_a_killed_worker_of_dask_is_one_sentence():
    class KilledWorker(Exception):
        """As distributed calls it."""

    class Executor:
        def submit(self, *_):
            future = Future()
            future.set_exception(KilledWorker("task"))
            return future

    with pytest.raises(BrokenExecutor, match="make a new executor, with fewer workers or a smaller memory="):
        list(ExecutorWorkers(Executor()).items(_die, [1], 1))
