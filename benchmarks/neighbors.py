"""Nearest neighbours in bounded memory: python benchmarks/neighbors.py [EXAMPLES FEATURES]

Prints what all measures of the neighbors family take for two layers, and by how much resident memory grows meanwhile.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

import homolog as hl

MEASURES = ("mutual_knn", "jaccard_knn", "rank_similarity", "second_order_cosine", "cknna")


def main(n: int = 20_000, p: int = 512) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p)).astype(np.float32)
    y = x + rng.normal(size=(n, p)).astype(np.float32)
    hl.compare({"x": x[:500]}, {"y": y[:500]}, measures=MEASURES)
    plan = hl.plan({"x": x}, {"y": y}, measures=MEASURES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    result = hl.compare({"x": x}, {"y": y}, measures=MEASURES, progress=False)
    seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    floor = 2 * 2.0 * n * n * p / rate()
    print(f"n = {n}, p = {p}, two layers: {seconds:.1f} s, of which products at full rate {floor:.1f} s")
    print(f"resident memory grew by {grown:.0f} MiB; the plan said {plan.bytes / 2**20:.0f} MiB")
    print({name: round(result[name].item(), 4) for name in MEASURES})


def rate() -> float:
    """Operations per second of a product of two float32 matrices."""
    x, y = np.random.default_rng(0).normal(size=(2, 2000, 2000)).astype(np.float32)
    x @ y
    started = time.perf_counter()
    x @ y
    return 2 * 2000.0**3 / (time.perf_counter() - started)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
