"""Kill extractions that are under way, go on with each, and compare with one that ran through: python benchmarks/kills.py [kills]

Every extraction is killed five times (SIGKILL), each time at another moment after it has committed more rows than before.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import homolog as hl

ROWS, KILLS_EACH = 40_000, 5


def extract(out: str) -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(512, 512), nn.ReLU()) for _ in range(6)]
    data = torch.randn(ROWS, 512, generator=torch.Generator().manual_seed(1))
    hl.extract(nn.Sequential(*blocks), data, out=out, resume=True, progress=False)


def rows_of(store: Path) -> int:
    try:
        return json.loads((store / "zarr.json").read_text())["attributes"].get("rows", 0)
    except (OSError, ValueError, KeyError):
        return -1


def content(store: Path) -> dict[str, bytes]:
    found = (path for path in store.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def kill_once(store: Path, moment: random.Random) -> int:
    """Start, wait until rows were committed, wait a little longer, kill; return the rows that are safe."""
    before = rows_of(store)
    process = subprocess.Popen([sys.executable, __file__, "--extract", str(store)])
    while rows_of(store) <= max(before, 0) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moment.random() * 0.25)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise SystemExit("the extraction ended before it was killed: raise ROWS")
    return rows_of(store)


def main(kills: int) -> None:
    folder = Path(tempfile.mkdtemp())
    moment = random.Random(0)
    extract(str(folder / "whole.zarr"))
    whole, equal = content(folder / "whole.zarr"), 0
    for index in range(-(-kills // KILLS_EACH)):
        store = folder / f"{index}.zarr"
        at = [kill_once(store, moment) for _ in range(KILLS_EACH)]
        extract(str(store))
        equal += content(store) == whole
        print(f"killed at {at} of {ROWS} rows: {'the same bytes' if content(store) == whole else 'DIFFERENT'}")
        shutil.rmtree(store)
    shutil.rmtree(folder)
    print(f"{kills} kills, {equal} of {-(-kills // KILLS_EACH)} stores equal")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--extract"]:
        extract(sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
