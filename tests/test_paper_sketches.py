"""Table 2 with layers that are kept as sketches: what is held, what is said before, and that the same layers are found."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray
from matplotlib import pyplot
from matplotlib.figure import Figure

import homolog as hl
from homolog.cli.app import run
from homolog.cli.paper_command import with_columns
from homolog.paper import checkpoints
from homolog.paper.checkpoints import Trained
from homolog.paper.experiments import EXPERIMENTS, perform
from homolog.paper.indexes import DEBIASED, indexes_of
from homolog.paper.kept_layers import BESIDE, Plan, Sketches, check_memory, layer_widths
from homolog.paper.networks import Architecture
from homolog.paper.scale import SCALES
from homolog.paper.study import Study

FEW = {"width": 1.0, "n_train": 130, "epochs": 1, "deep_epochs": 1, "n_examples": 120, "seeds": 3}
OPTIONS = ["--seeds", "3", "--epochs", "1", "--train-images", "130", "--examples", "120", "--width", "1"]
WIDTHS = (1024, 1024, 512, 512, 512, 256, 256, 256, 64)
"""Of Tiny-10 over images of 8 × 8."""
MEASURES = ["hsic", "cka", DEBIASED]


@pytest.fixture
def study(tmp_path):
    return Study(
        scale=replace(SCALES["tiny"], **FEW),
        out=tmp_path,
        sketches=Sketches(128, 5),
        say=lambda line: None,
        progress=False,
    )


def alike(study):
    """Three networks that are the same but for a little noise in their weights, so that every layer finds its own."""
    torch.manual_seed(0)
    architecture = study.architecture("tiny-10")
    drawn = checkpoints.untrained(architecture, study.images, 0)
    networks = {}
    for seed in range(3):
        network = architecture.build()
        network.load_state_dict(drawn.network.state_dict())
        with torch.no_grad():
            for weights in network.parameters():
                weights += 0.01 * weights.std(correction=0) * torch.randn_like(weights)
        networks[f"seed {seed}"] = Trained(network.eval(), architecture, 0.0, 0.0)
    return networks


def compared(study):
    networks = alike(study)
    architectures = [network.architecture for network in networks.values()]
    measures = indexes_of(sketched=True)
    return study.compared("alike", lambda: networks, study.examples(), measures, architectures=architectures)


def test_sketches_are_what_is_compared_and_find_the_same_layers(study, monkeypatch):
    held, compare = [], hl.compare

    def watched(activations, **options):
        held.append(
            {model: {name: layer.nbytes for name, layer in layers.items()} for model, layers in activations.items()}
        )
        return compare(activations, **options)

    monkeypatch.setattr(hl, "compare", watched)
    result = compared(study)
    # Both sketches are 256 columns; no more is kept of any layer.
    (layers,) = held
    assert [list(sizes.values()) for sizes in layers.values()] == [[4 * 120 * min(width, 256) for width in WIDTHS]] * 3
    assert json.loads(result.attrs["sketch_seeds"]) == {"seed 0": [5], "seed 1": [6], "seed 2": [7]}
    assert {path.name for path in study.out.iterdir()} == {"results"}
    whole = compared(replace(study, sketches=None))
    assert "sketch_seeds" not in whole.attrs
    for name in MEASURES:
        error = result[f"{name}_se_sketch"].values
        known = error > 0
        off = (result[name].values - whole[name].values)[known] / error[known]
        assert known.sum() > 400
        assert 0.1 < np.sqrt(np.mean(off**2)) < 2
    found, expected = hl.layer_identification(result), hl.layer_identification(whole)
    for name in ("cka", DEBIASED):
        assert float(expected.accuracy.sel(measure=name)) == 1
        assert float(found.accuracy.sel(measure=name)) == 1


def test_a_run_that_was_killed_while_comparing_goes_on_from_its_sketches(study, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hl, "compare", killed)
        with pytest.raises(KeyboardInterrupt):
            compared(study)
    (folder,) = study.out.iterdir()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("c/*/*")}
    assert len(written) >= 3 * len(WIDTHS)
    seen, compare = [], hl.compare

    def watched(activations, **options):
        seen.append({path: path.stat().st_mtime_ns for path in folder.rglob("c/*/*")})
        return compare(activations, **options)

    monkeypatch.setattr(hl, "compare", watched)
    again = compared(study)
    assert seen == [written]
    assert not folder.exists()
    fresh = compared(replace(study, out=study.out / "fresh"))
    for name in MEASURES:
        np.testing.assert_array_equal(again[name], fresh[name])


@pytest.mark.parametrize(("name", "lines"), [("table2", 3), ("fig2", 1), ("untrained", 3)])
def test_experiments_say_what_is_kept_and_what_is_left_out(study, name, lines, monkeypatch):
    said = []
    monkeypatch.setattr(Figure, "savefig", lambda *arguments, **options: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.SketchNoiseWarning)  # of networks that learned nothing
        result = perform(EXPERIMENTS[name], replace(study, say=said.append, held_out=True))
    pyplot.close("all")
    planned = (
        "27 layers of 3 networks over 120 examples, of 15 of them two sketches of 128 columns and of the others all features, "
        "take 2.9 MiB on disk, and comparing up to 5.8 MiB of memory. All features would take"
    )
    assert said[1].strip().startswith(planned)
    assert "CCA (R²)" in said[2]
    assert "Linear regression" in said[2]
    assert "CKA (linear)" not in said[2]
    assert not any("Left out" in line for line in said[3:])
    assert sum(bool(re.match(r"  (HSIC|CKA) \(", line)) for line in said) == lines
    if name == "fig2":
        assert "cka_se_sketch" in result
    else:
        assert result.measure.values.tolist() == MEASURES
        assert "Layers of more than 256 features were kept as two sketches of 128 columns (seeds 5 to 7)." in said
    assert any("sketch-128-seed-5-test-images.nc" in line for line in said)


def test_the_command_takes_sketches_and_test_images(tmp_path, capsys):
    options = ["--sketch", "--test-images", "-m", "cka", *OPTIONS[:-1], "1.1", "--out", str(tmp_path)]
    assert run(["paper", "table2", *options]) == 0
    said = capsys.readouterr().out
    assert "of 6 of them two sketches of 512 columns" in said
    assert "Left out" not in said
    (file,) = tmp_path.glob("table2-*sketch-512-test-images-by-cka.nc")
    found = xarray.load_dataset(file)
    assert found.attrs["sketch_columns"] == 512
    assert found.measure.values.tolist() == ["cka"]
    assert "(n = 120 test images, 54 decisions" in said
    (written,) = (tmp_path / "results").glob("tiny-10-*.nc")
    value = hl.between(xarray.load_dataset(written), "seed 0", "seed 2").cka.sel(layer_a="pool", layer_b="pool")
    study = Study(scale=replace(SCALES["tiny"], **FEW | {"width": 1.1}), out=tmp_path, say=lambda line: None)
    pools = [
        hl.extract(each.network, study.images.test[:120], layers=["pool"])["pool"]
        for each in study.tiny_networks((0, 2)).values()
    ]
    assert float(value) == pytest.approx(float(hl.cka(*pools)), abs=1e-6)


def test_the_number_of_columns_may_be_left_out():
    assert with_columns(["paper", "table2", "--sketch"]) == ["paper", "table2", "--sketch", "512"]
    assert with_columns(["paper", "--sketch", "table2"]) == ["paper", "--sketch", "512", "table2"]
    assert with_columns(["paper", "--sketch", "64", "--seed", "1"]) == ["paper", "--sketch", "64", "--seed", "1"]
    assert with_columns(["paper", "table2", "--sketch=64"]) == ["paper", "table2", "--sketch=64"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fig3", "--sketch"], "--sketch is for table2, fig2, untrained, got it for fig3: leave it out"),
        (["all", "--sketch", "64"], "got it for fig3, fig8"),
        (["tableF1", "--test-images"], "--test-images is for table2"),
        (["table2", "--sketch", "7"], "must be a multiple of 16"),
        (["table2", "--sketch", "--seed", "-1"], "--seed"),
        (
            ["table2", "--sketch", "-m", "cca", "-m", "cka"],
            "is for cka and hsic with kernel=linear, got it with -m cca:",
        ),
        (["fig2", "--sketch", "-m", "cka(kernel=rbf)"], "got it with -m cka(kernel=rbf)"),
        (["table2", "--sketch", "-m", "mine.py:index"], "got it with -m mine:index"),
    ],
)
def test_wrong_use_of_sketches(monkeypatch, tmp_path, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def index(x, y):\n    raise AssertionError\n")
    assert run(["paper", *arguments, "--out", "here"]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_whole_layers_that_do_not_fit_are_refused_before_training(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("homolog.cli.paper_command.whole_memory", lambda: 6 * 2**20)
    monkeypatch.setattr(checkpoints, "_train", None)
    assert run(["paper", "table2", *OPTIONS, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "27 layers of 3 networks over 120 examples take 6.1 MiB of memory" in said.out
    told = re.search(
        r"needs about 18\.2 MiB of memory.*--examples (\d+), or fewer --seeds, or sketches with --sketch", said.err
    )
    # As many examples as it names do fit.
    check_memory(4 * int(told[1]) * 3 * sum(WIDTHS), 3, int(told[1]), 6 * 2**20)


def test_what_the_full_scale_takes():
    full = [Architecture("tiny-10", 1, 28, 10)] * 10
    assert layer_widths(full[0]) == (12544, 12544, 6272, 6272, 6272, 3136, 1600, 1600, 64)
    machine = {"memory": 6 * 2**30, "disk": 4 * 2**30}
    sketched = Plan(full, 10_000, Sketches(), **machine)
    assert sketched.whole == 10 * 10_000 * 50_304 * 4
    assert sketched.written == 10 * 10_000 * (8 * 1024 + 64) * 4 < BESIDE
    sketched.check(sketchable=True)
    with pytest.raises(ValueError, match=r"needs about 22\.7 GiB of memory, got a machine with 6\.0 GiB"):
        Plan(full, 10_000, **machine).check(sketchable=True)
    with pytest.raises(
        ValueError, match=r"need 6.2 GiB on the disk of --out, got 4.0 GiB free: make room, or use fewer with"
    ):
        replace(sketched, examples=20_000).check(sketchable=True)
