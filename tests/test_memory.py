"""What is promised of memory is kept, wherever the layers lie, and what cannot be kept is refused at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import memory_growth
import numpy as np
import pytest
import torch

import homolog as hl
from homolog import machine
from homolog.blocks.workers import ThreadWorkers, at_most, pooled
from homolog.engine import measure_groups as budget
from homolog.engine import planning
from homolog.machine import parse_bytes
from homolog.measures import evaluation
from homolog.operands import dissimilarities
from homolog.operands.dissimilarities import DISSIMILARITIES
from homolog.operands.representation import ArrayRepresentation

MIB = 1 << 20
SLACK = 64 * MIB
"""Beside the arrays: what the libraries keep for themselves, and what they do not give back at once."""


def call(measures, rows, width, layers, memory, dtype="float32"):
    return dict(zip(memory_growth.CALL, (measures, rows, width, layers, memory, dtype), strict=True))


GROWTH = [
    call("rsm_norm_difference", 1200, 6, 12, "64MiB"),
    call("rsa", 1800, 6, 10, "100MiB"),
    call("cka(kernel=rbf)", 2400, 8, 10, "64MiB"),
    call("distance_correlation", 2400, 8, 10, "64MiB"),
    call("deconfounded_cka", 1000, 8, 16, "80MiB", "float64"),
    call("jaccard_knn", 2500, 32, 5, "40MiB"),
    call("second_order_cosine", 2000, 32, 3, "64MiB"),
    call("cknna(k=40)", 2000, 32, 3, "64MiB"),
    call("uniformity_difference", 2000, 16, 3, "80MiB"),
]


@pytest.fixture(scope="module")
def growth():
    """Run all calls in one process of its own, whose peak the kernel can be told to forget."""
    if not memory_growth.STATUS.exists() or not memory_growth.FORGET.exists():
        pytest.skip("resident memory is read, and its peak forgotten, through /proc/self, which is not here")
    done = subprocess.run(
        [sys.executable, memory_growth.__file__],
        input=json.dumps(GROWTH),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("place", range(len(GROWTH)), ids=[each["measures"] for each in GROWTH])
def test_memory_is_kept_for_layers_in_memory(place, growth):
    found, allowed = growth[place], parse_bytes(GROWTH[place]["memory"])
    assert found["planned"] <= allowed
    assert found["used"] <= found["planned"] + SLACK, found["told"]


def with_messages(call):
    """Return what a call gives, and the warnings it gave on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, [str(each.message) for each in caught]


@pytest.fixture
def strict(monkeypatch):
    """Count every byte, however few."""
    monkeypatch.setattr(budget, "FLOOR", 0)


IN_PARTS = (
    "rsa",
    "rsa(comparison=kendall)",
    "rsm_norm_difference",
    "deconfounded_cka",
    "linear_predictivity",
    "aligned_cosine",
    "maximum_match",
    "neuron_mutual_information",
    "mutual_knn",
    "cknna",
)


@pytest.mark.parametrize("name", [*IN_PARTS, "a function"])
def test_a_few_layers_at_a_time_give_what_all_at_once_give(name, strict, rng):
    shared = rng.normal(size=(60, 4))
    a, b = (
        {
            **{f"{p}": shared @ rng.normal(size=(4, p)) + rng.normal(size=(60, p)) for p in widths},
            "constant": np.ones((60, 3)),
        }
        for widths in ((3, 12, 7, 5, 9), (6, 4, 11))
    )
    measure = (lambda x, y: float(x[0, 0] - 2 * y[1, 0])) if name == "a function" else name
    for models in ((a, b), (a, None), ({"first": a, "second": b}, None)):
        for pairs in ("all", "same_name"):
            given = {"a": models[0], "b": models[1], "measures": {"value": measure}, "pairs": pairs}
            if name == "a function":
                given["a"], given["b"] = (_singles(model) for model in models)
            batches = {}
            for memory in range(2000, 4_000_000, 9000):
                try:
                    group = hl.plan(**given, memory=memory).measure_groups[0]
                except ValueError:
                    continue
                if not group.batches:
                    break
                batches.setdefault(group.batch, memory)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hl.HomologWarning)
                whole = hl.compare(**given)
                several = [hl.compare(**given, memory=memory) for memory in list(batches.values())[:3]]
            assert several or pairs == "same_name"
            for found in several:
                _same(found, whole)


def _singles(model):
    """Layers in float32, of which a function is given copies in float64."""
    if model is None:
        return None
    if isinstance(next(iter(model.values())), dict):
        return {name: _singles(layers) for name, layers in model.items()}
    return {name: layer.astype("float32") for name, layer in model.items()}


def _same(found, whole):
    for name in whole.data_vars:
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-12, atol=1e-12)
    for name in whole.coords:
        np.testing.assert_array_equal(found[name], whole[name])
    assert found.attrs["warnings"] == whole.attrs["warnings"]


@pytest.mark.parametrize("put", [np.asarray, torch.tensor, lambda x: torch.tensor(x, dtype=torch.bfloat16)])
@pytest.mark.parametrize("measure", ["cka", "cka(kernel=rbf)", "distance_correlation", "cca", "semi_match"])
def test_layers_in_memory_are_read_block_by_block_where_their_operands_do_not_fit(measure, put, rng, monkeypatch):
    shared = rng.normal(size=(400, 10))
    layers = {f"{p}": put(shared @ rng.normal(size=(10, p)) + rng.normal(size=(400, p))) for p in (20, 50, 30, 40)}
    whole, _ = with_messages(lambda: hl.compare(layers, measures=measure))
    monkeypatch.setattr(budget.Cost, "least", 1 << 60)
    needed = _refused(lambda: hl.plan(layers, measures=measure, memory="8KiB"))
    assert "block by block" in str(hl.plan(layers, measures=measure, memory=needed))
    found, _ = with_messages(lambda: hl.compare(layers, measures=measure, memory=needed))
    single = "bfloat16" in str(layers["20"].dtype)
    np.testing.assert_allclose(found[measure], whole[measure], rtol=0, atol=2e-6 if single else 1e-9)


def _refused(call):
    """Return the memory that a refusal says would do."""
    with pytest.raises(
        ValueError, match=r"need a memory of \d+\.\d [KMG]iB, got .*: raise memory, take fewer ex"
    ) as caught:
        call()
    return str(caught.value).split("a memory of ")[1].split(",")[0]


@pytest.fixture(scope="module")
def million():
    """Two representations of a million rows, and less than a page of numbers."""
    row = np.zeros((1, 3)) + np.arange(3.0)
    return tuple(np.broadcast_to(row, (1_000_000, 3)) for _ in range(2))


QUADRATIC = ("rsa", "rsa(dissimilarity=mahalanobis)", "rsm_norm_difference", "deconfounded_cka")


@pytest.mark.parametrize("measure", [*QUADRATIC, hl.measure("cka", kernel=lambda x: x @ x.T)], ids=str)
def test_a_million_rows_are_refused_at_once(measure, million):
    x, y = million
    record = hl.measure(measure)
    needed = _refused(lambda: hl.compare({"x": x, "y": y}, measures=measure))
    assert hl.plan({"x": x, "y": y}, measures=measure, memory=needed).bytes <= parse_bytes(needed)
    for question in (
        record,
        lambda *pair: hl.permutation_test(*pair, measure),
        lambda *pair: hl.null_level(*pair, measure),
    ):
        with pytest.raises(
            ValueError, match=r"of 1000000 examples needs about \d+\.\d GiB of memory, and this machine has"
        ):
            question(x, y)


def test_distances_of_a_million_rows_are_walked_and_not_held(million):
    x, _ = million
    for measure in ("cka(kernel=rbf)", "distance_correlation"):
        assert "block by block" in str(hl.plan({"x": x}, measures=measure))
        with pytest.raises(ValueError, match="needs about"):
            hl.measure(measure)(x, x)


def test_what_the_machine_has_is_asked_before_any_work(monkeypatch, rng):
    x, y = rng.normal(size=(2, 30, 4))
    monkeypatch.setattr(evaluation, "SMALL", 0)
    monkeypatch.setattr(evaluation, "whole_memory", lambda: 1000)
    monkeypatch.setattr(evaluation, "check_finite", lambda *_: pytest.fail("work was begun"))
    for name in (
        "cka",
        "cka(kernel=rbf)",
        "rsa",
        "cca",
        "mutual_knn",
        "semi_match",
        "linear_predictivity",
        "maximum_match",
    ):
        with pytest.raises(ValueError, match=r"of 30 examples needs about .* and this machine has 1000 B: take fewer"):
            # Small tensors take a short way, which needs little.
            hl.measure(name)(*((x, y) if name == "cka" else map(torch.tensor, (x, y))))
    monkeypatch.undo()
    assert 0 <= float(hl.cka(x, y)) <= 1


@pytest.mark.parametrize(
    "asked", [{"null": "permutation"}, {"interval": True}, {"interval": True, "method": "subsample"}]
)
@pytest.mark.parametrize("measure", ["rsa", "cka(kernel=rbf)", "mutual_knn", "cca", "cka"])
def test_permutations_and_intervals_are_refused_with_what_they_need(measure, asked, rng):
    layers = {"x": rng.normal(size=(3000, 600)), "y": rng.normal(size=(3000, 600))}
    what = next(iter(asked.items()))
    with pytest.raises(
        ValueError, match=rf"{what[0]}={what[1]!r} needs all layers in memory, .* got memory=33.0 MiB"
    ) as told:
        hl.compare(layers, measures=measure, memory="33MiB", **asked)
    needed = str(told.value).split("in memory, ")[1].split(",")[0]
    plan = planning.make_plan(layers, None, measure, "all", needed, planning.Requested(**asked))
    assert plan.bytes <= parse_bytes(needed)


def test_little_that_is_in_memory_is_never_refused(rng):
    layers = {f"{p}": rng.normal(size=(50, p)) for p in (3, 5)}
    for measure in ("rsa", "cca", "cka(kernel=rbf)", "mutual_knn"):
        found, _ = with_messages(lambda measure=measure: hl.compare(layers, measures=measure, memory=1))
        assert found[measure].notnull().all()


def test_reordered_dissimilarities_in_pieces(monkeypatch, rng):
    monkeypatch.setattr(dissimilarities, "PIECE", 40)
    for n in (3, 17):
        x, order = rng.normal(size=(n, 3)), rng.permutation(n)
        found = DISSIMILARITIES.prepare(ArrayRepresentation(x), comparison="pearson").reordered(order)
        np.testing.assert_allclose(
            found.values,
            DISSIMILARITIES.prepare(ArrayRepresentation(x[order]), comparison="pearson").values,
            atol=1e-12,
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_of_distances_in_pieces(dtype, monkeypatch, rng):
    monkeypatch.setattr(dissimilarities, "PIECE", 7)
    for scale in (1, 1e12):
        first, second = (scale * rng.normal(size=(2, 50))).astype(dtype)
        found = dissimilarities._distance(first, second)
        np.testing.assert_allclose(found, np.sqrt(2) * np.linalg.norm((first - second).astype(float)), rtol=1e-6)
    assert float(dissimilarities._distance(first, first)) == 0


# One layer whose examples are mostly equal.


@pytest.fixture
def with_copies(rng):
    layers = {f"{p}": rng.normal(size=(60, p)) for p in (3, 9)}
    copies = np.zeros((60, 4))
    copies[:9] = rng.normal(size=(9, 4))
    return {"3": layers["3"], "copies": copies, "9": layers["9"]}


WITHOUT = ": over half of the pairs of examples are equal, so that the median distance is 0"
RBF = ("cka(kernel=rbf)", "cka(kernel=rbf,estimator=debiased)", "hsic(kernel=rbf)")


@pytest.mark.parametrize("memory", ["2GiB", "100kB", "block by block", "on disk", "torch"])
def test_a_layer_without_a_median_distance_stops_no_other(memory, with_copies, tmp_path, monkeypatch):
    given = with_copies
    if memory == "torch":
        given = {name: torch.tensor(layer) for name, layer in given.items()}
    if memory == "on disk":
        hl.save(given, tmp_path / "a.zarr")
        given = tmp_path / "a.zarr"
    if memory in ("block by block", "on disk"):
        monkeypatch.setattr(budget.Cost, "least", 1 << 60)
    size = memory if memory in ("2GiB", "100kB") else "64MiB"
    found, messages = with_messages(lambda: hl.compare(given, measures=RBF, memory=size))
    assert any(message.startswith("copies" + WITHOUT) for message in messages)
    assert not [message for message in messages if "constant" in message or "has no value" in message]
    others, _ = with_messages(lambda: hl.compare({name: with_copies[name] for name in ("3", "9")}, measures=RBF))
    for name in RBF:
        assert found[name].sel(layer_a="copies").isnull().all()
        kept = found[name].sel(layer_a=["3", "9"], layer_b=["3", "9"])
        np.testing.assert_allclose(kept, others[name], rtol=1e-9)


def test_one_pair_without_a_median_distance_is_not_a_number(with_copies):
    for put in (np.asarray, torch.tensor):
        x, y = put(with_copies["copies"]), put(with_copies["3"])
        value, messages = with_messages(lambda x=x, y=y: float(hl.cka(x, y, kernel="rbf")))
        assert np.isnan(value)
        assert [message[: len(WITHOUT) + 1] for message in messages] == ["x" + WITHOUT]
    value, messages = with_messages(lambda: float(hl.cka(np.ones((60, 2)), with_copies["3"], kernel="rbf")))
    assert np.isnan(value)
    assert [message[:13] for message in messages] == ["x is constant"]


def test_permutations_beside_a_layer_without_a_median_distance(with_copies):
    found, messages = with_messages(
        lambda: hl.compare(with_copies, measures=RBF[0], null="permutation", n_permutations=19)
    )
    assert any(message.startswith("copies" + WITHOUT) for message in messages)
    p = found[f"{RBF[0]}_p"]
    assert p.sel(layer_a="copies").isnull().all()
    assert p.sel(layer_a="3", layer_b="9").notnull()


# The machine.


def test_no_more_at_once_than_asked():
    """With eight threads and two at a time, two meet at every barrier, and never a third."""
    lock, together, running, most = threading.Lock(), threading.Barrier(2), [], []

    def work(item):
        with lock:
            running.append(item)
            most.append(len(running))
        together.wait(timeout=60)
        with lock:
            running.remove(item)
        return item

    with ThreadPoolExecutor(8) as pool:
        assert list(ThreadWorkers(pool.map).items(work, range(8), 2)) == list(range(8))
    assert max(most) == 2
    assert at_most(map, 5) is map


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Folders in place of the kernel's, eight cores, and no limit elsewhere."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "PROCESS", tmp_path / "process")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 128)
    monkeypatch.setattr(machine.os, "process_cpu_count", lambda: 128, raising=False)

    def write(process, **files):
        (tmp_path / "process").write_text(process)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(path.name.replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")).write_text(content)

    return write


def test_cores_by_affinity_and_by_quota(groups, monkeypatch):
    assert machine.usable_cores() == 8
    groups("0::/a/b\n", cpu_max="max 100000\n", a__cpu_max="150000 100000\n", a__b__cpu_max="600000 100000\n")
    assert machine.usable_cores() == 2  # one and a half keep two threads busy
    groups("0::/../elsewhere\n", cpu_max="300000 100000\n")
    assert machine.usable_cores() == 3
    groups("4:cpu,cpuacct:/c\n", cpu__c__cpu_cfs_quota_us="50000\n", cpu__c__cpu_cfs_period_us="100000\n")
    assert machine.usable_cores() == 1
    groups("4:cpu,cpuacct:/c\n", cpu__c__cpu_cfs_quota_us="-1\n")
    assert machine.usable_cores() == 8
    monkeypatch.setattr(machine.os, "process_cpu_count", lambda: 5)
    assert machine.usable_cores() == 5
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    monkeypatch.delattr(machine.os, "process_cpu_count")
    assert machine.usable_cores() == 128


def test_memory_of_a_container(groups):
    before = machine.whole_memory()
    groups("0::/a\n", memory_max="max\n", a__memory_max="123456\n")
    assert machine.whole_memory() == 123456 < before


def test_a_pool_has_as_many_threads_as_cores(groups):
    with pooled(True) as each:
        assert each.__self__._max_workers == 8
    groups("0::/\n", cpu_max="100000 100000\n")
    with pooled(True) as each:
        assert each is map


def test_nothing_else_asks_how_many_cores_there_are():
    sources = Path(hl.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if "cpu_count" in path.read_text()] == ["machine.py"]
