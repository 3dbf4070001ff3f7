"""Checkpoints that are not whole, averaged, of old versions, or beside others: read right, or refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_checkpoints import build, examples, weights

import homolog as hl
from homolog.trajectories.checkpoints import checkpoints_of
from homolog.trajectories.taking import OnDisk
from homolog.trajectories.weight_files import weights_in

FEW = {"measures": "cka", "against": "last"}
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def parted(folder, *, index=True, parts=PARTS):
    """Save weights in two files, or only some of them."""
    folder.mkdir()
    state = weights(0)
    where = {name: PARTS[place % 2] for place, name in enumerate(state)}
    for part in parts:
        save_file({name: value for name, value in state.items() if where[name] == part}, folder / part)
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def test_a_final_model_beside_numbered_checkpoints_is_left_out_by_the_glob_that_is_named(tmp_path):
    for step in (100, 200):
        (tmp_path / f"checkpoint-{step}").mkdir()
        save_file(weights(step), tmp_path / f"checkpoint-{step}" / "model.safetensors")
    save_file(weights(0), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="must tell their steps") as told:
        checkpoints_of(tmp_path)
    glob = str(told.value).split('the glob "')[1].split('"')[0]
    assert [one.step for one in checkpoints_of(glob)] == [100, 200]


def test_parts_without_their_index_and_an_index_without_a_part_are_told(tmp_path):
    assert weights_in(parted(tmp_path / "whole")).keys() == weights(0).keys()
    for name, options, sentence in (
        (
            "no index",
            {"index": False},
            "must hold the index of its weights .* only parts such as 'model-00001-of-00002",
        ),
        ("no part", {"parts": PARTS[:1]}, "names parts .* must lie beside it, got none called 'model-00002-of-00002"),
    ):
        run = tmp_path / f"run {name}"
        run.mkdir()
        for step in (1, 2):
            parted(run / f"checkpoint-{step}", **options)
        for given in (run, list(run.iterdir())):  # no folder is left out without a word
            with pytest.raises(FileNotFoundError, match=sentence):
                hl.compare_checkpoints(build, given, examples(), **FEW)
    with pytest.raises(FileNotFoundError, match="must hold the index of its weights"):
        checkpoints_of(tmp_path / "run no index" / "checkpoint-1")


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_pointers_of_git_lfs_are_told_from_weights(tmp_path, ending):
    path = tmp_path / f"step_1{ending}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(ValueError, match="must hold weights, got a pointer of Git LFS to them: fetch"):
        weights_in(path)


def test_numpy_arrays_are_told_from_tensors():
    given = {0: weights(0), 1: {name: value.numpy() for name, value in weights(1).items()}}
    with pytest.raises(ValueError, match=r"got NumPy arrays, of which torch.from_numpy makes tensors"):
        hl.compare_checkpoints(build, given, examples(), **FEW)


def test_averaged_weights_are_taken_where_there_are_no_others():
    averaged = torch.optim.swa_utils.AveragedModel(build())
    averaged.module.load_state_dict(weights(1))
    expected = hl.compare_checkpoints(build, {0: weights(0), 1: weights(1)}, examples(), **FEW)["cka"]
    own_first = {"model": weights(1), "ema": weights(2)}
    for last in (averaged.state_dict(), {"ema_state_dict": weights(1)}, {"ema": weights(1)}, own_first):
        found = hl.compare_checkpoints(build, {0: weights(0), 1: last}, examples(), **FEW)["cka"]
        assert found.equals(expected)


def normed():
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4))


def test_counters_of_batches_may_be_missing_and_are_not_those_of_the_checkpoint_before(tmp_path):
    """Else the same file would look like other weights after another one, and no run could be resumed."""
    states = [normed().state_dict() for _ in range(3)]
    states[0]["1.num_batches_tracked"] += 7
    for state in states[1:]:
        del state["1.num_batches_tracked"]
    rows = tmp_path / "rows.jsonl"
    found = hl.compare_checkpoints(normed, states, examples(), steps=[0, 1, 2], out=rows, measures="cka")
    again = hl.compare_checkpoints(normed, states, examples(), steps=[0, 1, 2], out=rows, measures="cka", resume=True)
    assert again.identical(found)
    same = hl.compare_checkpoints(
        normed, [states[0], states[1], states[1]], examples(), steps=[0, 1, 2], measures="cka"
    )
    assert same["same_by"].values.tolist() == ["", "", "weights"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_examples": 10}, "max_examples"),
        ({"reduce": "mean"}, "reduce"),
        ({"device": "cpu"}, "device"),
        ({"batch_size": 8, "data": np.ones((30, 2))}, "data, batch_size"),
    ],
)
def test_what_only_says_how_models_are_run_is_refused_beside_activations(options, named):
    x = np.random.default_rng(0).normal(size=(2, 30, 3))
    given = {"data": None, **options}
    with pytest.raises(TypeError, match=f"^{named} must be left out where checkpoints are activations, as 0 is"):
        hl.compare_checkpoints(None, {0: {"a": x[0]}, 1: {"a": x[1]}}, **given)
    hl.compare_checkpoints(None, {0: {"a": x[0]}, 1: {"a": x[1]}}, None, layers="a", reduce="flatten", measures="cka")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_folder_for_temporary_files_is_named(monkeypatch):
    real = Path.open

    def full(path, mode="r", *rest, **options):
        return real(type(path)("/dev/full"), mode, *rest, **options) if path.suffix == ".npy" else real(path, mode)

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(
        OSError, match=r"cannot write '.*homolog-.*No space left.*in the environment variable TMPDIR\.$"
    ):
        OnDisk(hl.Activations({"a": np.ones((200, 30))}))


def test_what_is_put_on_disk_comes_back_as_it_was():
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32))
    kept = OnDisk(hl.Activations({"a": x, "b": x[::2].repeat(2, 0)[:7]}))
    np.testing.assert_array_equal(kept["a"], x)
    assert kept["a"].dtype == np.float32
    kept.close()
