"""Stores larger than memory: python benchmarks/scale.py make|compare|floor|all FOLDER [--rows 20000] [--memory 1GiB] …

`make` writes two stores of 12 layers × 2,048 features, float32. `floor` prints the rate of a product of two different matrices,
and the time that the least floating-point operations take at it. `compare` prints how long linear CKA, biased and debiased,
takes, and by how much resident memory grew; one process per call, because a peak is never forgotten. `all` does everything: the
figures of docs/scaling.md come from it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import homolog as hl
from homolog.store import Writer

LAYERS, FEATURES, SHARED = 12, 2048, 100


def make(folder: Path, rows: int) -> None:
    """Layers that share signals, written block by block."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, LAYERS, SHARED, FEATURES)).astype(np.float32)
    for side, name in enumerate("ab"):
        shutil.rmtree(folder / f"{name}-{rows}.zarr", ignore_errors=True)
        signals = np.random.default_rng(1)
        with Writer(folder / f"{name}-{rows}.zarr", {}, resume=False) as writer:
            layers = {f"layer {i}": (FEATURES, np.dtype("float32")) for i in range(LAYERS)}
            writer.start(layers, {}, {"model": name})
            for start in range(0, rows, 1024):
                count = min(1024, rows - start)
                z = signals.normal(size=(count, SHARED)).astype(np.float32)
                noise = (4 * rng.standard_normal((count, FEATURES), dtype=np.float32) for _ in range(LAYERS))
                block = {n: z @ m + e for n, m, e in zip(layers, mixing[side], noise, strict=True)}
                writer.append(block, {})
            writer.finish()


def peak() -> int:
    """Most resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def floor(rows: int) -> dict[str, float]:
    """Least operations: the upper half of every structure, once."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(4096, FEATURES)).astype(np.float32) for _ in range(2))
    times = []
    for _ in range(7):
        start = time.perf_counter()
        x @ y.T
        times.append(time.perf_counter() - start)
    rate = 2 * 4096**2 * FEATURES / float(np.median(times))
    flops = rows**2 * 2 * LAYERS * FEATURES
    return {"rate": rate, "flops": flops, "seconds": flops / rate}


def compare(folder: Path, rows: int, memory: str, measures: list[str]) -> dict[str, float]:
    """Compare the two stores, in a process that has compared two small ones before."""
    small = {"x": np.random.default_rng(0).normal(size=(64, 4))}
    hl.save(small, folder / f"small-{memory}.zarr")
    hl.compare(hl.open(folder / f"small-{memory}.zarr"), small, measures=measures)
    before, start = peak(), time.perf_counter()
    hl.compare(folder / f"a-{rows}.zarr", folder / f"b-{rows}.zarr", measures=measures, memory=memory, progress=False)
    return {"seconds": time.perf_counter() - start, "growth": peak() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "compare", "floor", "all"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--measures", nargs="+", default=["cka", "cka(estimator=debiased)"])
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.rows)
    elif options.what == "floor":
        print(json.dumps(floor(options.rows)))
    elif options.what == "compare":
        print(json.dumps(compare(options.folder, options.rows, options.memory, options.measures)))
    else:
        everything(options.folder)


def run(*arguments: str) -> dict[str, float]:
    """Run one call of this script in a process of its own."""
    found = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return dict(json.loads(found.stdout or "{}"))


def everything(folder: Path) -> None:
    """Time against the floor, and memory against the number of rows."""
    for rows, memory in (("20000", "1GiB"), ("10000", "512MiB"), ("40000", "512MiB")):
        run("make", str(folder), "--rows", rows)
        least = run("floor", str(folder), "--rows", rows)
        found = run("compare", str(folder), "--rows", rows, "--memory", memory)
        ratio = found["seconds"] / least["seconds"]
        print(
            f"n = {rows}, memory = {memory}: {found['seconds']:.0f} s, {ratio:.2f} × the floor of {least['seconds']:.0f} s "
            f"({least['rate'] / 1e9:.0f} GFLOP/s); resident memory grew by {found['growth'] / 2**20:.0f} MiB"
        )
        for name in "ab":
            shutil.rmtree(folder / f"{name}-{rows}.zarr")


if __name__ == "__main__":
    main()
