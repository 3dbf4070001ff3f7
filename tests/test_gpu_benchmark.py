"""The benchmark of a GPU, on the processor: it measures what it says, and needs no more than it says."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from device_waits import on_a_device

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
ABSENT = ("threadpoolctl", "tqdm", "cka", "matplotlib", "sklearn", "zarr", "torchvision", "array_api_extra", "netCDF4")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_benchmark"] = module
    spec.loader.exec_module(module)
    return module


def rows_of(part: str) -> dict[str, list[str]]:
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}


@pytest.mark.filterwarnings("ignore")
def test_every_value_is_that_of_float64(script, monkeypatch):
    monkeypatch.setattr(script, "pytorch_cka", lambda: None)
    tiny = script.Size(1030, (4, 9, 20) * 6, 64, 2, 32, 8, 2, 6, 1)
    with on_a_device():
        machine, pairs, models, extraction = script.measured(tiny, torch.device("cpu"))
    assert "the processor" in machine
    compared = rows_of(pairs)
    assert list(compared) == ["floor", "homolog, the tiles alone", "homolog, hl.compare", "plain lines"]
    assert float(compared["homolog, hl.compare"][-1]) < 1e-6
    assert float(rows_of(models)["homolog, hl.compare_models"][-1]) < 1e-3
    assert next(iter(rows_of(extraction))) == "forwards"
    assert len(rows_of(extraction)) == 5


def test_the_network_is_of_the_size_of_resnet_50(script):
    with torch.device("meta"):
        model, names = script.network(64, 0)
    assert len(names) == 18
    assert sum(weight.numel() for weight in model.parameters()) == 25_557_032


@pytest.mark.slow
def test_the_script_runs_from_a_checkout_with_few_packages(tmp_path):
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({ABSENT!r})); "
        f"sys.argv = ['gpu.py', '--device', 'cpu', '--small', '--out', 'table.md']; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "table.md").read_text().count("| --- |") >= 3
