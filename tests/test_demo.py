"""The demonstration, at a size of seconds: its networks, words and files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import torch
import xarray
from matplotlib import pyplot

import homolog as hl
from homolog.cli.app import run
from homolog.paper import demo
from homolog.paper.data import load
from homolog.paper.training import accuracy


def test_the_demonstration_says_and_writes_what_it_finds(monkeypatch, tmp_path, capsys):
    digits = load("digits").limited(120)
    monkeypatch.setattr(
        demo, "load", lambda name: replace(digits, test=digits.test[:40], test_labels=digits.test_labels[:40])
    )
    monkeypatch.setattr(demo, "SEEDS", (0, 1, 2))
    monkeypatch.setattr(demo, "EPOCHS", 2)
    assert run(["demo", "--out", str(tmp_path / "made")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Training 3 networks from different seeds on 120 images of digits."
    assert lines[4] == "Comparing all layers of all networks with each other over all 160 images."
    result = xarray.load_dataset(tmp_path / "made" / "result.nc")
    assert result.sizes["a"] == 3 * len(demo.LAYERS)
    found = hl.layer_identification(result)
    for name, share, chance in zip(found.measure.values, found.accuracy.values, found.chance.values, strict=True):
        assert f"  {name:23} {share:6.1%}   (chance {chance:.1%})" in lines
    assert any(line.startswith("Written: ") and str(tmp_path / "made" / "heatmap.png") in line for line in lines)
    assert all(f"  {sentence}" in lines for sentence in hl.summary(result).sentences[:-1])
    assert "seed 2" in (tmp_path / "made" / "report.html").read_text(encoding="utf-8")
    assert pyplot.imread(tmp_path / "made" / "heatmap.png").std() > 0.05
    pyplot.close("all")


def test_its_networks_learn_and_depend_on_the_seed_alone(monkeypatch):
    monkeypatch.setattr(demo, "EPOCHS", 2)
    digits = load("digits")
    first, again, other = (demo.train(digits, seed) for seed in (0, 0, 1))
    assert accuracy(first, digits.test, digits.test_labels) > 0.9
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)
    assert not torch.equal(other.logits.weight, first.logits.weight)
    # PyTorch's own initial weights are drawn uniformly, so that none is beyond this.
    untrained = demo._network(digits, 0)
    for layer in (untrained.conv1[0], untrained.conv6[0]):
        bound = 1 / np.sqrt(layer.weight[0].numel())
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound


def test_it_needs_no_more_than_its_extra():
    code = "import sys, homolog.paper.demo; sys.exit(str({'safetensors', 'mlxtend'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_what_is_missing_is_named(monkeypatch, tmp_path, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr("homolog.machine.importlib.import_module", missing)
    assert run(["demo", "--out", str(tmp_path)]) == 1
    assert (
        'the demonstration needs torch, which is not installed: pip install "homolog[demo]"' in capsys.readouterr().err
    )
