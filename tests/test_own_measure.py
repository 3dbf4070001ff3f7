"""The measure of docs/own_measure.md, as it stands there, in everything that takes a measure."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import command_line

import homolog as hl
from homolog.blocks.budget import Cost

PAGE = Path(__file__).parent.parent / "docs" / "own_measure.md"
NAME = "spectrum_cosine"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    code = re.search(r"```python\n(# spread\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "spread.py").write_text(code)
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("#")]) <= 10
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("spread", None)
    hl.unregister(NAME)


def layers(seed):
    rng = np.random.default_rng(seed)
    return {f"layer {p}": rng.normal(size=(80, p)) * np.arange(1, p + 1) for p in (3, 6)}


def plain(x, y, power):
    s, t = (np.linalg.svd(z - z.mean(axis=0), compute_uv=False) ** power for z in (x, y))
    k = min(len(s), len(t))
    return s[:k] @ t[:k] / np.linalg.norm(s) / np.linalg.norm(t)


def test_in_the_library(folder):
    __import__("spread")
    a, b = layers(0), layers(1)
    form = f"{NAME}(power=2.0)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare(a, b, measures=["cka", form], null="permutation", n_permutations=19, rng=0)
    assert result[form].sel(layer_a="layer 3", layer_b="layer 6").item() == pytest.approx(
        plain(a["layer 3"], b["layer 6"], 2.0), abs=1e-12
    )
    assert result[f"{form}_p"].values.min() == 1
    assert hl.permutation_test(a["layer 3"], b["layer 3"], NAME, n_permutations=19, rng=0).pvalue == 1
    hl.report(result, folder / "report.html")
    assert "spectrum_cosine(power=2.0)" in (folder / "report.html").read_text(encoding="utf-8")


def test_on_the_command_line(folder):
    for name, seed in (("a", 0), ("b", 1)):
        hl.save(layers(seed), folder / f"{name}.npz")

    def run(*arguments):
        command = [sys.executable, "-m", "homolog", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    own = f"spread.py:{NAME}(power=2.0)"
    table = run("compare", "a.npz", "b.npz", "-m", "cka", "-m", own, "--report", "report.html")
    value = next(row for row in table if row[0] == f"spread:{NAME}(power=2.0)" and row[1] == "layer 3")
    best = max(plain(layers(0)["layer 3"], other, 2.0) for other in layers(1).values())
    assert float(value[3]) == pytest.approx(best, abs=1e-3)
    assert f"spread:{NAME}" in (folder / "report.html").read_text(encoding="utf-8")
    # What ends up in a process of its own above may as well run in this one.
    status, listed, told = command_line(["measures", "--module", "spread.py"], folder)
    assert status == 0, told
    assert NAME in {line.split("\t")[0] for line in listed.splitlines()}


def test_measures_are_members_of_sets_and_keys_of_mappings():
    """Equal measures have one hash, however they were bound."""
    inputs = np.random.default_rng(0).normal(size=(9, 2))
    for record in hl.measures().values():
        for form in record.forms():
            assert hash(form) == hash(hl.measure(str(form)))
            assert {form: 1}[hl.measure(str(form))] == 1
    forms = [form for record in hl.measures().values() for form in record.forms()]
    assert len(set(forms)) == len(forms)
    assert len({hl.measure("svcca", threshold=1), hl.measure("svcca", threshold=1.0)}) == 1
    bound = [hl.measure("deconfounded_cka", inputs=inputs.copy()) for _ in range(2)]
    assert len({*bound, hl.measure("deconfounded_cka", inputs=2 * inputs)}) == 2
    assert len({hl.measure("cka", kernel=lambda x: x @ x.T), hl.measure("cka")}) == 2


def test_a_family_in_memory_on_disk_in_other_processes_and_in_a_stream(tmp_path, monkeypatch):
    code = re.search(r"```python\n(# covariance\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    family = code.split("class CovarianceFamily")[1].split("@hl.register")[0]
    assert len([line for line in family.splitlines() if line.strip()]) <= 25
    (tmp_path / "covariance.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("covariance")
    try:
        a, b = ({name: x + 5 for name, x in layers(seed).items()} for seed in (0, 1))
        centred = [[x - x.mean(axis=0) for x in side.values()] for side in (a, b)]
        sizes = [np.array([np.sum(x**2) for x in side]) for side in centred]
        plain = np.array([[np.sum((x.T @ y) ** 2) for y in centred[1]] for x in centred[0]]) / np.outer(*sizes)
        held = hl.compare(a, b, measures="covariance_share")
        np.testing.assert_allclose(held["covariance_share"], plain, rtol=1e-12)
        assert covariance_of(a, b) == pytest.approx(plain[0, 0], rel=1e-12)
        state = hl.Moments()
        for rows in np.array_split(np.arange(80), 7):
            state.update(*({name: x[rows] for name, x in side.items()} for side in (a, b)))
        np.testing.assert_allclose(state.finalise("covariance_share")["covariance_share"], plain, rtol=1e-10)
        for name, side in (("a", a), ("b", b)):
            hl.save(side, tmp_path / f"{name}.zarr")
        paths = tmp_path / "a.zarr", tmp_path / "b.zarr"
        with ThreadPoolExecutor(2) as executor:
            for how in ({"executor": executor}, {"memory": "33MiB"}):
                monkeypatch.setattr(Cost, "least", 1 << 60)
                assert "from disk" in str(hl.plan(*paths, measures="covariance_share", **how))
                stored = hl.compare(*paths, measures="covariance_share", **how)
                np.testing.assert_allclose(stored["covariance_share"], plain, rtol=1e-12)
    finally:
        sys.modules.pop("covariance", None)
        hl.unregister("covariance_share")


def test_a_formula_over_the_operands_of_a_family(tmp_path, monkeypatch):
    code = re.search(r"```python\n(# angle\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "angle.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    angle = __import__("angle")
    try:
        a, b = layers(0), layers(1)
        plan = hl.plan(a, b, measures=("cka", "cka_angle"))
        assert [list(group.measures) for group in plan.measure_groups] == [["cka", "cka_angle"]]
        result = hl.compare(a, b, measures=("cka", "cka_angle"))
        np.testing.assert_allclose(result["cka_angle"], np.arccos(result["cka"]), rtol=1e-12)
        assert "cka_angle_reversed" not in result
        with pytest.warns(hl.ConstantLayerWarning):
            assert np.isnan(angle.cka_angle(np.ones((9, 2)), a["layer 3"][:9]))
    finally:
        sys.modules.pop("angle", None)
        hl.unregister("cka_angle")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"range": 1}, "range of wrong must be"),
        ({"range": (1, 0)}, "range of wrong must be"),
        ({"symmetric": "yes"}, "symmetric of wrong must be True, False or None"),
        ({"minimal_n": "a"}, "minimal_n of wrong must be"),
        ({"invariances": "xy"}, "invariances of wrong must be"),
        ({"formula": None}, "formula of wrong must be"),
    ],
)
def test_a_wrong_record_is_refused_when_it_is_registered(wrong, said):
    record = {"kind": "similarity", "range": (0, 1), "symmetric": True, "formula": "c", "reference": "none"} | wrong
    with pytest.raises((TypeError, ValueError), match=said):
        hl.register(**record)(named_wrong)
    with pytest.raises(TypeError, match="must be an instance of a Family"):
        hl.register(hl.Family, **record)(named_wrong)


def named_wrong(x, y):
    return 0.0


named_wrong.__name__ = "wrong"


def covariance_of(a, b):
    return float(hl.measure("covariance_share")(a["layer 3"], b["layer 3"]))
