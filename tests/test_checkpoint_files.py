"""Where checkpoints lie, at which step they were saved, and how their weights get into the network."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_checkpoints import build, examples, moments, saved, weights
from torch import nn

import homolog as hl
from homolog.trajectories.checkpoints import checkpoints_of
from homolog.trajectories.steps import steps_of

FEW = {"measures": "cka", "against": "last"}


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["step_000500", "step_001000"], [500, 1000]),
        (["checkpoint-500", "checkpoint-1000"], [500, 1000]),
        (["epoch=3-step=1200", "epoch=3-step=1600-v1"], [1200, 1600]),
        (["epoch=0-val_loss=0.91", "epoch=1-val_loss=0.25"], [0, 1]),
        (["resnet50_epoch_2", "resnet50_epoch_10"], [2, 10]),
        (["step1000-tokens4B", "step2000-tokens8B"], [1000, 2000]),
        (["model_10k", "model_2M"], [10_000, 2_000_000]),
        (["0.25", "0.5"], [0.25, 0.5]),
        (["GlobalStep10", "globalstep9"], [10, 9]),
        (["epoch_1_step_0", "epoch_2_step_0"], [1, 2]),
        (["step_1e3", "step_3e4", "step_2e5"], [1000, 30_000, 200_000]),
        (["step=1.0e+05", "step=9.0e+04"], [100_000, 90_000]),
        (["step-500", "step-1,000"], [500, 1000]),
        (["step_500", "step_1_000"], [500, 1000]),
        (["step_100_256", "step_200_256"], [100, 200]),
        (["step_-1", "step_5"], [-1, 5]),
        (["tokens_500M", "tokens_1B"], [5 * 10**8, 10**9]),
        (["epoch=0-batch=900", "epoch=1-batch=100"], None),
        (["epoch0_step900", "epoch1_step100"], None),
        (["epoch_1_iter_500", "epoch_2_iter_400"], None),
        (["step_1e999", "step_1"], None),
        (["seed1-100", "seed2-200"], None),
        (["best", "last"], None),
        (["step_1", "last"], None),
        (["step_1_a", "step_1_b"], None),
    ],
)
def test_steps_are_read_from_names(names, steps):
    assert steps_of(names) == steps


def test_a_folder_a_glob_a_list_and_a_mapping_are_the_same(tmp_path):
    paths = saved(tmp_path, 4, every=5)  # 0, 5, 10, 15
    (tmp_path / "optimizer.pt").write_bytes(b"not looked at")
    (tmp_path / "notes.txt").write_text("not looked at")
    expected = [(path.stem, 5.0 * place) for place, path in enumerate(paths)]
    for given in (
        tmp_path,
        str(tmp_path),
        str(tmp_path / "*.safetensors"),
        paths[::-1],
        list(map(str, paths)),
        {path.stem: path for path in paths[::-1]},
    ):
        assert [(one.label, one.step) for one in checkpoints_of(given)] == expected
    numbered = checkpoints_of({5 * place: path for place, path in enumerate(paths)})
    assert [one.step for one in numbered] == [0, 5, 10, 15]
    given = checkpoints_of(paths, steps=[8, 4, 2, 1], labels=list("abcd"))
    assert [(one.label, one.step) for one in given] == [("d", 1), ("c", 2), ("b", 4), ("a", 8)]
    assert [one.step for one in checkpoints_of(paths, steps={path.stem: -k for k, path in enumerate(paths)})] == [
        -3,
        -2,
        -1,
        0,
    ]


def test_names_without_steps_are_numbered_under_a_warning(tmp_path):
    for name in ("last", "init", "part-2-of-run-1", "part-10-of-run-2"):
        save_file(weights(0), tmp_path / f"{name}.safetensors")
    with pytest.warns(
        hl.ExtractionWarning, match="numbered 0, 1, 2 … in this order: init, part-2-of-run-1, part-10-of-run-2, last"
    ):
        found = checkpoints_of(tmp_path)
    assert [one.step for one in found] == [0, 1, 2, 3]
    with pytest.warns(hl.ExtractionWarning, match="nothing tells at which step"):
        checkpoints_of([weights(0), weights(1)])


def test_steps_that_begin_anew_in_each_epoch_are_sorted_by_epoch_first():
    names = ["epoch1_step100", "epoch0_step900", "epoch1_step50", "epoch0_step50"]
    with pytest.warns(
        hl.ExtractionWarning,
        match="begin anew in each epoch, .* 0, 1, 2 … in this order: epoch0_step50, epoch0_step900",
    ):
        found = checkpoints_of(dict.fromkeys(names, weights(0)))
    assert [(one.label, one.step) for one in found] == list(
        zip([names[3], names[1], names[2], names[0]], range(4), strict=True)
    )


def test_keys_that_are_numbers_are_the_steps_themselves():
    found = checkpoints_of({1e-5: 0, -5: 1, 3e20: 2})
    assert [(one.label, one.step) for one in found] == [("-5", -5), ("1e-05", 1e-5), ("3e+20", 3e20)]
    with pytest.raises(ValueError, match="steps must be numbers, got nan"):
        checkpoints_of({float("nan"): 0, 1: 1})


def test_names_of_which_only_some_tell_a_step():
    with pytest.raises(ValueError, match="must tell their steps, or none, got 'best', 'last' beside 'step_5'"):
        checkpoints_of(dict.fromkeys(["step_5", "step_20", "best", "last"], 0))
    with pytest.warns(hl.ExtractionWarning, match="init is taken for the one before training, step 0"):
        found = checkpoints_of(dict.fromkeys(["step_5", "step_20", "init"], 0))
    assert [(one.label, one.step) for one in found] == [("init", 0), ("step_5", 5), ("step_20", 20)]
    given = checkpoints_of(dict.fromkeys(["step_5", "best", "step_20"], 0), steps=[5, 7, 20])
    assert [one.label for one in given] == ["step_5", "best", "step_20"]


def test_folders_of_hugging_face_with_whole_and_parted_weights(tmp_path):
    states = moments(3)
    for place, step in enumerate((500, 1000, 1500)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "optimizer.pt").write_bytes(b"")
        if step == 500:
            save_file(states[place], folder / "model.safetensors")
        elif step == 1000:
            torch.save(states[place], folder / "pytorch_model.bin")
        else:
            names, parts = list(states[place]), {}
            for number, part in enumerate((names[:2], names[2:]), 1):
                file = f"model-{number:05d}-of-00002.safetensors"
                save_file({name: states[place][name] for name in part}, folder / file)
                parts |= dict.fromkeys(part, file)
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    found = hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    assert found["checkpoint"].values.tolist() == ["checkpoint-500", "checkpoint-1000", "checkpoint-1500"]
    assert found["step"].values.tolist() == [500, 1000, 1500]
    by_mapping = hl.compare_checkpoints(build, dict(zip((500, 1000, 1500), states, strict=True)), examples(), **FEW)
    np.testing.assert_array_equal(found["cka"].values, by_mapping["cka"].values)
    (tmp_path / "checkpoint-1500" / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "../x.safetensors"}}'
    )
    with pytest.raises(ValueError, match="files in its folder"):
        hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    glob = hl.compare_checkpoints(build, [tmp_path / "checkpoint-500", tmp_path / "checkpoint-1000"], examples(), **FEW)
    assert glob.sizes["step"] == 2


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build()


WAYS = {
    "as it is": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "beside a score": lambda state: {"state_dict": state, "best_acc1": torch.tensor(3.0)},
    "wrapped twice": lambda state: {"model": {"state_dict": state}, "loss": torch.tensor(3.0)},
    "lightning": lambda state: {
        "pytorch-lightning_version": "2.0",
        "state_dict": {f"model.{name}": value for name, value in state.items()},
    },
    "model and optimiser": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled and parallel": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "compiled part": lambda state: {name.replace("2.", "2._orig_mod."): value for name, value in state.items()},
    "half": lambda state: {name: value.to(torch.bfloat16).float() for name, value in state.items()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", [".pt", ".ckpt"])
def test_weights_are_found_in_what_training_loops_save(tmp_path, way, ending):
    states = [WAYS[way](state) for state in moments(3)]
    for place, state in enumerate(states):
        torch.save(state, tmp_path / f"step={place}{ending}", _use_new_zipfile_serialization=ending == ".pt")
    found = hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    plain = moments(3) if way != "half" else states
    expected = hl.compare_checkpoints(build, dict(enumerate(plain)), examples(), **FEW)
    np.testing.assert_array_equal(found["cka"].values, expected["cka"].values)


def test_networks_that_are_wrapped_take_plain_weights():
    states = dict(enumerate(moments(3)))
    expected = hl.compare_checkpoints(build, states, examples(), layers=["4"], **FEW)["cka"].values
    for wrapped in (lambda: nn.DataParallel(build()), lambda: torch.compile(build(), backend="eager")):
        found = hl.compare_checkpoints(wrapped, states, examples(), layers=["4"], **FEW)
        np.testing.assert_array_equal(found["cka"].values, expected)
    forward = {"forward": lambda model, batch: model.net(batch)}
    found = hl.compare_checkpoints(Wrapped, states, examples(), layers=["net.4"], **forward, **FEW)
    np.testing.assert_array_equal(found["cka"].values, expected)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.outer.weight = self.inner.weight

    def forward(self, x):
        return self.outer(self.inner(x))


def test_tied_weights_may_stand_once():
    """Safetensors hold what shares its memory once, under either name."""
    states = {
        place: {"inner.weight": torch.randn(6, 6, generator=torch.Generator().manual_seed(place))} for place in (1, 2)
    }
    found = hl.compare_checkpoints(Tied, states, examples(), **FEW)
    other = {place: {"outer.weight": state["inner.weight"]} for place, state in states.items()}
    np.testing.assert_array_equal(
        found["cka"].values, hl.compare_checkpoints(Tied, other, examples(), **FEW)["cka"].values
    )


def test_tied_weights_that_differ_in_the_file_are_refused():
    one, other = weights(0)["0.weight"][:6], weights(1)["0.weight"][:6]
    twice = {"inner.weight": one, "outer.weight": one.clone()}
    assert np.isfinite(hl.compare_checkpoints(Tied, {0: twice, 1: twice}, examples(), **FEW)["cka"].values).all()
    with pytest.raises(
        ValueError, match=r"'inner.weight' and 'outer.weight' of checkpoint 1 must be equal, as they are one"
    ):
        hl.compare_checkpoints(Tied, {0: twice, 1: twice | {"outer.weight": other}}, examples(), **FEW)


def test_a_network_in_use_is_not_written_over():
    network = build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = hl.compare_checkpoints(lambda: network, {0: weights(1), 1: network.state_dict()}, examples(), **FEW)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    expected = hl.compare_checkpoints(build, {0: weights(1), 1: before}, examples(), **FEW)
    np.testing.assert_array_equal(found["cka"].values, expected["cka"].values)
    assert found["cka"].values[0, 0, 0] < 0.99


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: {name: state[name] for name in list(state)[1:]}, "without '0.weight':"),
        (lambda state: state | {"6.weight": state["0.bias"]}, "with '6.weight' besides"),
        (
            lambda state: {f"x{name}": value for name, value in state.items()},
            "without '0.weight', '0.bias', '2.weight' and 3 more and with",
        ),
        (
            lambda state: state | {"4.bias": torch.zeros(7)},
            r"'4.bias' of checkpoint 1 must have the shape \(5,\) as in the network",
        ),
        (lambda state: state | {"4.bias": torch.ones(5, dtype=torch.int8)}, "of the type float32, .* got int8"),
        (
            lambda state: state | {"4.bias": torch.ones(5, dtype=torch.complex64)},
            "of the type float32, .* got complex64",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        hl.compare_checkpoints(build, {0: weights(0), 1: change(weights(1)), 2: weights(2)}, examples(), **FEW)


class Config:
    """Something that no file of weights should need."""


def test_files_that_would_run_code_or_are_none_are_refused(tmp_path):
    saved(tmp_path, 2)
    bad = tmp_path / "step_000200.pt"
    torch.save({"state_dict": weights(0), "config": Config()}, bad)
    with pytest.raises(
        ValueError, match=r"no code of the file, got one with an object of \w*test_checkpoint_files.Config:"
    ):
        hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    torch.save([1, 2], bad)
    with pytest.raises(ValueError, match="must hold name → tensor"):
        hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    torch.save({}, bad)
    with pytest.raises(ValueError, match="got an empty mapping"):
        hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    torch.save(weights(0), bad)
    for part in (2, 3, 50):
        bad.write_bytes(bad.read_bytes()[: -(bad.stat().st_size // part)])
        with pytest.raises(ValueError, match=r"step_000200.pt' must hold weights .* cut short"):
            hl.compare_checkpoints(build, tmp_path, examples(), **FEW)
    for name in ("step_000200.pt", "step_000300.safetensors"):
        (tmp_path / "step_000200.pt").unlink(missing_ok=True)
        (tmp_path / name).write_bytes(b"nothing of the kind" * 9)
        with pytest.raises(ValueError, match=name):
            hl.compare_checkpoints(build, tmp_path, examples(), **FEW)


def test_what_cannot_be_checkpoints_is_said(tmp_path):
    for given, error, sentence in (
        (tmp_path, FileNotFoundError, "there are no checkpoints in the folder"),
        (str(tmp_path / "*.pt"), FileNotFoundError, "no checkpoints named like"),
        (tmp_path / "none", FileNotFoundError, "there is no folder, file or glob"),
        ([], ValueError, "at least two, got none"),
        ([weights(0)], ValueError, "at least two, got 0"),
        (3, TypeError, "checkpoints must be a folder, a glob"),
        ({True: weights(0), 2: weights(1)}, TypeError, "labelled by text or a number"),
        ({1: 3, 2: 4}, TypeError, "checkpoint 1 must be a file, a function without arguments"),
        ({1: tmp_path / "a.pt", 2: tmp_path / "b.pt"}, FileNotFoundError, "a.pt"),
    ):
        with pytest.raises(error, match=sentence):
            hl.compare_checkpoints(build, given, examples(), **FEW)
    states = {0: weights(0), 1: weights(1)}
    for options, error, sentence in (
        ({"steps": [1]}, ValueError, r"steps must be as many as the checkpoints \(2: 0, 1\), got 1"),
        ({"steps": [1, 1]}, ValueError, "steps must differ, got 1 twice"),
        ({"steps": [1, "x"]}, ValueError, "steps must be numbers, got 'x'"),
        ({"steps": {"0": 1}}, KeyError, "steps must say it for every checkpoint, got none for '1'"),
        ({"labels": ["a", "a"]}, ValueError, "labels of checkpoints must differ, got 'a' twice"),
    ):
        with pytest.raises(error, match=sentence):
            hl.compare_checkpoints(build, states, examples(), **options, **FEW)


def test_what_build_must_be_is_said(tmp_path):
    saved(tmp_path, 2)
    for made, sentence in (
        (build(), "got a Sequential: pass lambda: MyNetwork"),
        (lambda: 3, "build must make a torch.nn.Module, into which weights are loaded, got an int"),
        ("mynet", "build must be a function that makes the network"),
        (nn.Linear, "build must be a function without arguments"),
    ):
        with pytest.raises(TypeError, match=sentence):
            hl.compare_checkpoints(made, tmp_path, examples(), **FEW)
    with pytest.raises(ValueError, match="weights alone do not say how it computes"):
        hl.compare_checkpoints(None, tmp_path, examples(), **FEW)


def loaded(state):
    network = build()
    network.load_state_dict(state)
    return network


def test_models_activations_and_functions_of_them_are_checkpoints_too(tmp_path):
    states = moments(3)
    expected = hl.compare_checkpoints(build, dict(enumerate(states)), examples(), **FEW)["cka"].values
    kinds = {
        "functions of models": [lambda state=state: loaded(state) for state in states],
        "models": [loaded(state) for state in states],
        "functions of a batch": [lambda state=state: hidden(state) for state in states],
        "activations": [hl.extract(loaded(state), examples()) for state in states],
        "functions of activations": [lambda state=state: hl.extract(loaded(state), examples()) for state in states],
        "mappings": [dict(hl.extract(loaded(state), examples())) for state in states],
    }
    for place, layers in enumerate(kinds["activations"]):
        hl.save(layers, tmp_path / f"step_{place}.npz")
    kinds["files of activations"] = sorted(tmp_path.iterdir())
    for kind, made in kinds.items():
        data = None if "activations" in kind or kind == "mappings" else examples()
        found = hl.compare_checkpoints(None, dict(enumerate(made)), data, **FEW)
        np.testing.assert_allclose(found["cka"].values, expected, rtol=1e-6, err_msg=kind)


def hidden(state):
    """Return a function of a batch, as models of any other framework are given."""
    network = loaded(state)

    def run(batch):
        layers = {}
        for name, module in network.named_children():
            batch = module(batch)
            layers[name] = batch
        return layers

    return run


def test_onnx_files_are_checkpoints(tmp_path):
    pytest.importorskip("onnxscript")
    for place, state in enumerate(moments(3)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            torch.onnx.export(
                loaded(state),
                (examples(4),),
                tmp_path / f"step_{place}.onnx",
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "n"}},
            )
    found = hl.compare_checkpoints(None, tmp_path, examples().numpy(), **FEW)
    assert found["step"].values.tolist() == [0, 1, 2]
    expected = hl.compare_checkpoints(build, dict(enumerate(moments(3))), examples(), layers=["4"], **FEW)
    np.testing.assert_allclose(found["cka"].values[0, :, -1], expected["cka"].values[0, :, -1], rtol=1e-5)


def test_functions_that_need_arguments_are_told_apart():
    with pytest.raises(TypeError, match="wrap a function of a batch, lambda: function"):
        hl.compare_checkpoints(None, {0: hidden(weights(0)), 1: hidden(weights(1))}, examples(), **FEW)


def test_layers_that_some_checkpoints_lack_are_nan_under_a_warning():
    x = np.random.default_rng(0).normal(size=(3, 50, 4))
    layers = [{"a": x[0], "b": x[1]}, {"a": x[1]}, {"a": x[2], "b": x[0]}]
    with pytest.warns(hl.ExtractionWarning, match="checkpoint 1 has no layer b"):
        found = hl.compare_checkpoints(None, dict(enumerate(layers)), None, measures="cka")
    assert np.isnan(found["cka"].sel(layer="b", step=1).values).all()
    assert np.isfinite(found["cka"].sel(layer="a", against="last").values).all()
    with pytest.raises(ValueError, match="layers of the same names, got a in the first and c in the last"):
        hl.compare_checkpoints(None, {0: {"a": x[0]}, 1: {"c": x[0]}}, None, **FEW)
