"""Workers of an executor give what this process gives, also when one of them is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from distributed import Client, LocalCluster

import homolog as hl

MEASURES = ("cka", "cka(kernel=rbf)", "cca", "pwcca", "linear_regression", "bipartite_match")


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("stores")
    shared = rng.normal(size=(1500, 10))
    for name in "ab":
        layers = {
            f"layer {p}": (shared @ rng.normal(size=(10, p)) + rng.normal(size=(1500, p))).astype("float32")
            for p in (30, 120, 60)
        }
        hl.save(layers, folder / f"{name}.zarr")
    return folder / "a.zarr", folder / "b.zarr"


@pytest.fixture(scope="module")
def expected(stores):
    with ThreadPoolExecutor(2) as executor, warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        return hl.compare(*stores, measures=MEASURES, executor=executor, memory="64MiB")


@pytest.fixture(scope="module")
def cluster():
    # Without a dashboard a scheduler still serves on port 8787, and warns if another program does: let it take any port.
    anywhere = {"dashboard_address": "127.0.0.1:0"}
    options = {"dashboard_address": None, "scheduler_kwargs": anywhere, "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=1, **options) as found:
        yield found


def test_threads_equal_this_process(stores, expected):
    held = hl.compare(*stores, measures=MEASURES)
    for name in held.data_vars:
        np.testing.assert_allclose(expected[name], held[name], atol=1e-6 if "cka" in name else 1e-10)
    assert sorted(path.name for path in stores[0].parent.iterdir()) == [
        "a.zarr",
        "b.zarr",
    ]  # nothing is left beside them


def test_processes_give_the_same_bits(stores, expected):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        found = hl.compare(*stores, measures=MEASURES, executor=executor, memory="64MiB")
    assert found.identical(expected)


class Killing:
    """Kills a process when it has been given some tasks."""

    def __init__(self, executor, victim: int, after: int) -> None:
        self.executor, self.victim, self.left = executor, victim, after

    def submit(self, *arguments):
        self.left -= 1
        if not self.left:
            os.kill(self.victim, signal.SIGKILL)
        return self.executor.submit(*arguments)


@pytest.mark.parametrize("after", [3, 12, 30])
def test_a_killed_worker_of_dask_changes_nothing(after, cluster, stores, expected):
    with Client(cluster) as client, client.get_executor() as executor:
        client.wait_for_workers(2)
        killing = Killing(executor, min(client.run(os.getpid).values()), after)
        found = hl.compare(*stores, measures=MEASURES, executor=killing, memory="64MiB")
        assert killing.left <= 0
    assert found.identical(expected)


@pytest.mark.parametrize("measure", ["cca", "semi_match", "cka"])
def test_a_refusal_names_a_memory_that_does(measure, stores):
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(ValueError, match="need a memory of") as caught:
            hl.compare(*stores, measures=measure, memory="150KiB", executor=executor)
        needed = str(caught.value).split("a memory of ")[1].split(",")[0]
        hl.compare(*stores, measures=measure, memory=needed, executor=executor)


def test_layers_must_be_where_workers_find_them(stores, rng):
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(
            TypeError, match=r"all layers must be on disk, .*, got layer 'x' of a in memory: write it with"
        ):
            hl.compare({"x": rng.normal(size=(20, 3))}, executor=executor)
        bad = {"x": np.ones((1500, 3)), "y": np.full((1500, 2), np.inf)}
        hl.save(bad, stores[0].parent / "bad.zarr")
        with pytest.raises(ValueError, match="layer 'y' of b must be finite, got NaN or infinity first in row 0"):
            hl.compare(stores[0], stores[0].parent / "bad.zarr", executor=executor)
    with pytest.raises(TypeError, match=r"executor must be a concurrent\.futures\.Executor"):
        hl.compare(*stores, executor=3)
    with pytest.raises(ValueError, match=r"executor must take tasks, got one that does not"):
        hl.compare(*stores, executor=executor)
    with pytest.raises(ValueError, match=r"null='permutation' is computed in this process, got an executor"):
        hl.compare(*stores, null="permutation", executor=executor)
