"""Checkpoints compared over training: values, order, resuming, sameness, memory, and what is said."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from small_checkpoints import build, examples, moments, saved, weights

import homolog as hl
from homolog.extraction import session
from homolog.trajectories import walk

FEW = {"measures": ("cka(estimator=debiased)", "cka")}


def by_step(states):
    return {100 * place: state for place, state in enumerate(states)}


def extracted(state, **options):
    network = build()
    network.load_state_dict(state)
    return hl.extract(network, examples(), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("run")
    saved(made, 6)
    return made


@pytest.fixture(scope="module")
def result(folder):
    return hl.compare_checkpoints(build, folder, examples())


def test_values_are_those_of_extracting_and_comparing_by_hand(result):
    """Also for the linear regression, which is not symmetric: the checkpoint is its x, the reference its y."""
    layers = [extracted(state) for state in moments(6)]
    for against, reference in (("first", lambda k: 0), ("previous", lambda k: k - 1), ("last", lambda k: 5)):
        for k in range(6):
            found = result.sel(against=against).isel(step=k)
            if against == "previous" and k == 0:
                assert np.isnan(found["cka"].values).all()
                continue
            by_hand = hl.compare(layers[k], layers[reference(k)], pairs="same_name")
            for name in ("cka", "cka(estimator=debiased)", "cka_null"):
                np.testing.assert_array_equal(found[name].values, np.diagonal(by_hand[name].values))
    with pytest.warns(hl.NullLevelWarning, match=r"\(and \d+ more warnings of this kind\)"):  # once for all checkpoints
        moved = hl.compare_checkpoints(build, by_step(moments(3)), examples(), measures="linear_regression")
    assert len(json.loads(moved.attrs["warnings"])) == 1
    one, last = layers[0], extracted(moments(3)[-1])
    with pytest.warns(hl.NullLevelWarning):
        by_hand = hl.compare(one, last, measures="linear_regression", pairs="same_name")
    for name in ("linear_regression", "linear_regression_reversed"):
        found = moved[name].sel(against="last").isel(step=0).values
        np.testing.assert_allclose(found, np.diagonal(by_hand[name].values), rtol=1e-12)


def test_the_result_is_as_agreed_and_netcdf_keeps_it(result, tmp_path):
    assert result.attrs["title"] == "homolog trajectory"
    assert dict(result.sizes) == {"against": 3, "step": 6, "layer": 5}
    assert result["step"].values.tolist() == [0, 100, 200, 300, 400, 500]
    assert result["checkpoint"].values.tolist() == [f"step_{step:06d}" for step in range(0, 600, 100)]
    assert json.loads(result.attrs["measures"]) == ["cka(estimator=debiased)", "cka"]
    assert result["cka"].attrs["kind"] == "similarity"
    assert result["cka_null"].attrs["companion_of"] == "cka"
    assert (result["same_as"].values == "").all()
    for engine in ("scipy", "h5netcdf"):
        result.to_netcdf(tmp_path / f"{engine}.nc", engine=engine)
        assert xarray.load_dataset(tmp_path / f"{engine}.nc", engine=engine).identical(result)


def test_it_is_resumed_to_the_same_bits_wherever_it_stopped(folder, result, tmp_path):
    rows = tmp_path / "rows.jsonl"
    assert hl.compare_checkpoints(build, folder, examples(), out=rows).identical(result)
    whole = rows.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for end in (0, 17, ends[0], ends[1], ends[3] + 40, ends[-2], len(whole)):
        rows.write_bytes(whole[:end])
        assert hl.compare_checkpoints(build, folder, examples(), out=rows, resume=True).identical(result)
        assert rows.read_bytes() == whole


def test_an_interruption_keeps_what_is_finished_and_extracts_no_more_than_needed(folder, result, tmp_path, monkeypatch):
    rows, ran, run = tmp_path / "rows.jsonl", [], walk.Taking.taken

    def counted(self, content, label, digest):
        ran.append(label)
        if stop and len(ran) == 5:
            raise KeyboardInterrupt
        return run(self, content, label, digest)

    monkeypatch.setattr(walk.Taking, "taken", counted)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        hl.compare_checkpoints(build, folder, examples(), out=rows)
    assert len(rows.read_text().splitlines()) == 1 + 3
    ran.clear()
    stop = False
    assert hl.compare_checkpoints(build, folder, examples(), out=rows, resume=True).identical(result)
    # The ends, the one before the first that is missing, and those that are missing; no end twice.
    assert ran == [f"step_{step:06d}" for step in (0, 500, 200, 300, 400)]


@pytest.mark.slow
def test_fifty_checkpoints_interrupted_again_and_again_are_resumed_to_the_same_bits(tmp_path, monkeypatch):
    """Each run gets seven further at most: it takes the ends, and the one before the first that is missing, again."""
    folder = tmp_path / "run"
    folder.mkdir()
    saved(folder, 50)
    rows, whole = tmp_path / "rows.jsonl", tmp_path / "whole.jsonl"
    once = hl.compare_checkpoints(build, folder, examples(), out=whole)
    left, run = 0, walk.Taking.taken

    def counted(self, content, label, digest):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run(self, content, label, digest)

    monkeypatch.setattr(walk.Taking, "taken", counted)
    finished, found = [0], None
    while found is None:
        left = 10
        with contextlib.suppress(KeyboardInterrupt):
            found = hl.compare_checkpoints(build, folder, examples(), out=rows, resume=True)
        finished.append(len(rows.read_text().splitlines()))
        assert finished[-1] > finished[-2]
    assert len(finished) > 5
    assert found.identical(once)
    assert rows.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"layers": ["0"]}, "layers"),
        ({"reduce": lambda output, mask: output}, "reduce"),
        ({"batch_size": 7}, "batch_size"),
        ({"forward": lambda model, batch: model(batch)}, "forward"),
        ({"measures": "cka"}, "measures"),
        ({"measures": {"cka(estimator=debiased)": "cka", "cka": "cka"}}, "measures"),
        ({"against": "last"}, "against"),
        ({"labels": [f"at {10 * step}" for step in range(6)]}, "checkpoints"),
        ({"steps": range(6)}, "checkpoints"),
        ({"max_examples": 40}, "data|limit"),
        ({"data": examples() + 1}, "data"),
    ],
)
def test_altered_options_are_refused_in_one_sentence(folder, tmp_path_factory, changed, what):
    rows = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    hl.compare_checkpoints(build, folder, examples(), out=rows, **FEW)
    given = {"data": examples(), **FEW, **changed}
    before = rows.read_bytes()
    with pytest.raises(ValueError, match=rf"must be continued with the ({what}) it was begun with"):
        hl.compare_checkpoints(build, folder, out=rows, resume=True, **given)
    assert rows.read_bytes() == before


def test_an_altered_function_of_the_callers_is_refused(tmp_path):
    rows = tmp_path / "rows.jsonl"
    states = by_step(moments(3))
    hl.compare_checkpoints(build, states, examples(), out=rows, measures={"d": lambda x, y: float(abs(x - y).sum())})
    with pytest.raises(ValueError, match="continued with the measures"):
        hl.compare_checkpoints(
            build, states, examples(), out=rows, resume=True, measures={"d": lambda x, y: float(abs(x - y).max())}
        )


def test_another_checkpoint_under_the_same_name_is_refused(tmp_path):
    saved(tmp_path, 4)
    rows = tmp_path / "rows.jsonl"
    hl.compare_checkpoints(build, tmp_path, examples(), out=rows, **FEW)
    from safetensors.torch import save_file

    save_file(weights(9), tmp_path / "step_000100.safetensors")
    with pytest.raises(ValueError, match="other weights of step_000100 or of the one before"):
        hl.compare_checkpoints(build, tmp_path, examples(), out=rows, resume=True, **FEW)
    save_file(weights(9), tmp_path / "step_000300.safetensors")
    with pytest.raises(ValueError, match="continued with the last checkpoint"):
        hl.compare_checkpoints(build, tmp_path, examples(), out=rows, resume=True, **FEW)


def test_out_that_cannot_be_gone_on_with_is_refused(folder, tmp_path):
    for name, error, sentence in (
        ("rows.json", ValueError, "must end in .jsonl"),
        ("nowhere/rows.jsonl", FileNotFoundError, "there is no folder"),
    ):
        with pytest.raises(error, match=sentence):
            hl.compare_checkpoints(build, folder, examples(), out=tmp_path / name)
    with pytest.raises(ValueError, match="got no out"):
        hl.compare_checkpoints(build, folder, examples(), resume=True)
    rows = tmp_path / "rows.jsonl"
    for content in (b'{"form": "another"}\n', b"nothing\n", b"[]\n", b'{"form": "homolog trajectory rows"}\n'):
        rows.write_bytes(content)
        with pytest.raises(ValueError, match="must hold the rows of a trajectory"):
            hl.compare_checkpoints(build, folder, examples(), out=rows, resume=True)
    with pytest.raises(FileExistsError, match="resume=True"):
        hl.compare_checkpoints(build, folder, examples(), out=rows)


def test_one_network_is_made_and_never_more_activations_than_said(folder, monkeypatch):
    made, held, run = [], [], session.run_extraction

    def counted():
        made.append(1)
        return build()

    import gc
    import weakref

    alive: list = []

    def watched(*arguments):
        found = run(*arguments)
        alive.append(weakref.ref(found))
        gc.collect()
        held.append(sum(each() is not None for each in alive))
        return found

    monkeypatch.setattr("homolog.trajectories.taking.run_extraction", watched)
    hl.compare_checkpoints(counted, folder, examples(), **FEW)
    assert len(made) == 1
    assert len(held) == 6
    assert max(held) == 2  # the present and the previous one: the first and the last are on disk


@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_memory_is_that_of_two_networks_and_the_activations_of_three(count):
    """Also where it was freed and asked for again fifty times, of which the library that hands it out keeps more and more."""
    script = Path(__file__).with_name("trajectory_memory.py")
    ran = subprocess.run(
        [sys.executable, "-P", str(script), str(count), "1024", "1500"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{script.parent}:{script.parent.parent / 'src'}", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["steps"] == count
    assert found["used"] <= 2 * found["network"] + 3 * found["activations"]


def test_only_what_is_asked_for_is_compared(folder):
    last = hl.compare_checkpoints(build, folder, examples(), against="last", measures="cka")
    assert last["against"].values.tolist() == ["last"]
    before = hl.compare_checkpoints(build, folder, examples(), against=["previous"], measures="cka")
    assert "settled_step" not in before.coords
    assert "within 1 %" not in str(hl.summary(before))
    for wrong in ("next", [], ["last", "end"]):
        with pytest.raises(ValueError, match="one or more of first, previous, last"):
            hl.compare_checkpoints(build, folder, examples(), against=wrong)


def test_data_are_read_again_for_every_checkpoint_in_one_order(folder, result):
    batches = list(examples().split(64))
    assert hl.compare_checkpoints(build, folder, batches)["cka"].equals(result["cka"])
    with pytest.raises(TypeError, match=r"list\(batches\)"):
        hl.compare_checkpoints(build, folder, iter(batches))
    shuffled = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(examples()), 16, shuffle=True)
    with pytest.raises(ValueError, match="must come in a fixed order"):
        hl.compare_checkpoints(build, folder, shuffled)
    with pytest.raises(TypeError, match="data must be the examples"):
        hl.compare_checkpoints(build, folder, None)
    with pytest.raises(TypeError, match="unknown option of compare_checkpoints 'dtpye', did you mean dtype"):
        hl.compare_checkpoints(build, folder, examples(), dtpye="float16")


def test_a_checkpoint_that_diverged_has_no_values_and_is_named(tmp_path):
    states = by_step(moments(5))
    states[200]["2.weight"][0, 0] = np.nan
    rows = tmp_path / "rows.jsonl"
    with pytest.warns(hl.ExtractionWarning, match="layer 2 holds NaN or infinity in checkpoint 200"):
        found = hl.compare_checkpoints(build, states, examples(), out=rows, measures="cka")
    with pytest.warns(hl.ExtractionWarning):
        assert hl.compare_checkpoints(build, states, examples(), out=rows, resume=True, measures="cka").identical(found)
    undefined = found["cka"].isnull()
    assert undefined.sel(layer="2", against="last")["step"].values[
        undefined.sel(layer="2", against="last")
    ].tolist() == [200]
    assert undefined.sel(layer="2", against="previous").sel(step=300)
    assert not undefined.sel(layer="0", against="last").any()
    assert np.isfinite(found["settled_step"].values).all()


def test_layers_of_one_end_only_are_named():
    x = np.random.default_rng(0).normal(size=(3, 50, 4))
    with pytest.warns(
        hl.ExtractionWarning, match="only one of the first and the last checkpoint has are left out: old, new"
    ):
        found = hl.compare_checkpoints(
            None, {0: {"a": x[0], "old": x[1]}, 1: {"a": x[1], "new": x[2]}}, None, measures="cka"
        )
    assert found["layer"].values.tolist() == ["a"]


@pytest.mark.parametrize("against", ["previous", ("first", "previous", "last")])
@pytest.mark.parametrize("places", [(1, 2), (1, 3)])
def test_outputs_are_the_same_only_where_every_number_is(against, places):
    """A few rows, one column beside a much larger one, or dead layers alone make no equality; rounding does not undo it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 300, 8))
    x[:, :, 3] *= 1e5
    few_rows, column, dead = x[0].copy(), x[0].copy(), np.ones((300, 5))
    few_rows[150:153] += rng.normal(size=(3, 8))
    column[:, 7] = rng.normal(size=300)
    for other, same in ((x[0] * (1 + 1e-15), True), (few_rows, False), (column, False), (x[0] + 1e-6, False)):
        layers = [{"a": each, "dead": dead} for each in x]
        layers[places[0]] = {"a": x[0], "dead": dead}
        layers[places[1]] = {"a": other, "dead": dead}
        layers[0] = {"a": x[3] + 1, "dead": dead}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.ConstantLayerWarning)
            found = hl.compare_checkpoints(None, by_step(layers), None, measures="cka", against=against)
        assert found["same_by"].values.tolist() == ["outputs" if same and k == places[1] else "" for k in range(4)]


def test_dead_layers_alone_make_no_networks_the_same():
    with pytest.warns(hl.ConstantLayerWarning):
        found = hl.compare_checkpoints(None, by_step([{"a": np.ones((50, 3))}] * 3), None, measures="cka")
    assert found["same_as"].values.tolist() == ["", "", ""]
