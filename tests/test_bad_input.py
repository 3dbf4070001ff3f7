"""Wrong use: one sentence with what was expected, what came, and what to do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import homolog as hl

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.random.default_rng(1).normal(size=(20, 4))
BAD_ROW = X.copy()
BAD_ROW[5, 1] = np.nan

CASES = {
    "list": (lambda: hl.cka([[1, 2], [3, 4]], X), TypeError, "got a list"),
    "none": (lambda: hl.cka(X, None), TypeError, "got None"),
    "vector": (lambda: hl.cka(X[:, 0], Y), ValueError, "two axes"),
    "map": (lambda: hl.cka(X, np.zeros((20, 3, 8, 8))), ValueError, "flatten or average"),
    "unequal rows": (lambda: hl.cka(X, Y[:9]), ValueError, r"as many rows as x \(20\), got 9"),
    "no rows": (lambda: hl.cka(X[:0], Y[:0]), ValueError, "at least 2 examples"),
    "no columns": (lambda: hl.cka(X[:, :0], Y), ValueError, "1 feature"),
    "complex": (lambda: hl.cka(X * 1j, Y), TypeError, "real numbers"),
    "text": (lambda: hl.cka(X.astype(str), Y), TypeError, "real numbers"),
    "boolean": (lambda: hl.cca(X > 0, Y), TypeError, "real numbers"),
    "objects": (lambda: hl.cca(X.astype(object), Y), TypeError, "real numbers"),
    "libraries": (lambda: hl.cka(X, torch.tensor(Y)), TypeError, "same array library"),
    "too few": (lambda: hl.cka(X[:3], Y[:3], estimator="debiased"), ValueError, "at least 4 examples, got 3"),
    "estimator": (lambda: hl.cka(X, Y, estimator="unbiased"), ValueError, "'biased' or 'debiased'"),
    "kernel": (lambda: hl.cka(X, Y, kernel="poly"), ValueError, "a function X"),
    "kernel shape": (lambda: hl.cka(X, Y, kernel=lambda x: x), ValueError, "Gram matrix of shape"),
    "fraction": (lambda: hl.cka(X, Y, kernel="rbf", median_fraction=-1), ValueError, "above 0"),
    "no effect": (lambda: hl.cka(X, Y, median_fraction=0.4), ValueError, "only with kernel=rbf"),
    "threshold": (lambda: hl.svcca(X, Y, threshold=1.5), ValueError, "at most 1"),
    "statistic": (lambda: hl.cca(X, Y, statistic="mean"), ValueError, "'r2' or 'rho'"),
    "equal rows": (lambda: hl.cka(np.eye(20)[:, :1], Y, kernel="rbf"), ValueError, "median distance"),
    "measure": (lambda: hl.measure("ckaa"), KeyError, "did you mean cka"),
    "option": (lambda: hl.measure("cka(sigma=1)"), TypeError, "unknown option"),
    "number": (lambda: hl.measure("svcca(threshold=much)"), ValueError, "must be a number"),
    "form": (lambda: hl.measure("cka(rbf)"), ValueError, "name=value"),
    "twice": (lambda: hl.measure("cka(kernel=rbf,kernel=rbf)"), ValueError, "given once"),
    "no measure": (lambda: hl.measure(3), TypeError, "must be text"),
    "compare list": (lambda: hl.compare([1, 2]), TypeError, "got a list"),
    "compare empty": (lambda: hl.compare({}), ValueError, "at least one layer"),
    "compare nan": (lambda: hl.compare({"l": BAD_ROW}), ValueError, "first in row 5"),
    "compare rows": (lambda: hl.compare({"l": X}, {"l": Y[:5]}), ValueError, "got 5"),
    "layers rows": (lambda: hl.compare({"l": X, "m": Y[:5]}), ValueError, "layer 'm' must have"),
    "pairs word": (lambda: hl.compare(X, Y, pairs="some"), ValueError, "'all', 'same_name'"),
    "pairs name": (lambda: hl.compare({"l": X}, {"m": Y}, pairs=[("l", "k")]), KeyError, "unknown layer 'k'"),
    "no pairs": (lambda: hl.compare({"l": X}, pairs=[]), ValueError, "at least one pair"),
    "no common": (lambda: hl.compare({"l": X}, {"m": Y}, pairs="same_name"), ValueError, "none in common"),
    "measures none": (lambda: hl.compare(X, Y, measures=()), ValueError, "at least one measure"),
    "measures twice": (lambda: hl.compare(X, Y, measures=("cka", "cka")), ValueError, "'cka' twice"),
    "slash": (lambda: hl.compare(X, Y, measures={"a/b": "cka"}), ValueError, "without '/'"),
    "layer name": (lambda: hl.Activations({3: X}), TypeError, "non-empty text"),
    "ids": (lambda: hl.Activations({"l": X}, example_ids=[1, 2]), ValueError, "one entry per row"),
    "glob": (lambda: hl.Activations({"l": X}).select("k*"), KeyError, "unknown layer"),
    "no file": (lambda: hl.open("absent.npz"), FileNotFoundError, "no file"),
    "suffix": (lambda: hl.open("layers.csv"), ValueError, "ending in"),
    "save suffix": (lambda: hl.save({"l": X}, "layers.csv"), ValueError, "change its name"),
    "not a model": (lambda: hl.extract("model", X), TypeError, "torch.nn.Module"),
    "reduce": (lambda: hl.extract(torch.nn.Linear(3, 2), X, reduce="max"), ValueError, "reduce must be"),
    "same": (
        lambda: hl.layer_identification(hl.compare(X, measures="procrustes_distance")),
        ValueError,
        "compared with itself",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    np.savez(path / "good.npz", layer=X)
    np.savez(path / "short.npz", layer=Y[:5])
    np.savez(path / "pickled.npz", layer=np.array([{}], dtype=object))
    (path / "cut.npz").write_bytes((path / "good.npz").read_bytes()[:200])
    return path


COMMANDS = {
    "no argument": (["compare"], "Missing argument"),
    "no command": (["compaer"], "No such command"),
    "no file": (["compare", "absent.npz"], "there is no file"),
    "suffix": (["compare", "good.csv"], "ending in"),
    "cut": (["compare", "cut.npz"], "truncated"),
    "pickle": (["compare", "pickled.npz"], "pickled Python objects"),
    "rows": (["compare", "good.npz", "short.npz"], "as many rows"),
    "measure": (["compare", "good.npz", "-m", "ckaa"], "did you mean cka"),
    "option": (["compare", "good.npz", "--measures", "cka"], "No such option"),
    "out": (["compare", "good.npz", "--out", "result.txt"], "--out must end in .nc"),
    "plot": (["compare", "good.npz", "--plot", "absent/picture.png"], "make it first"),
    "pairs": (["compare", "good.npz", "--pairs", "some"], "pairs must be"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_line_exits_2_with_one_sentence(case, folder):
    arguments, words = COMMANDS[case]
    command = [sys.executable, "-m", "homolog", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not done.stdout
