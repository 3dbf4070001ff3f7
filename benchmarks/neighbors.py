"""Nearest neighbours in bounded memory: python benchmarks/neighbors.py [EXAMPLES FEATURES]

Prints what all measures of the neighbors family take for two layers, beside the products of all rows with all rows of both in
float32, which rounds are interleaved with, and by how much resident memory grows meanwhile. (Half of those products are enough,
since distances are symmetric: told as well.)
"""

from __future__ import annotations

import resource
import statistics
import sys
import time

import numpy as np

import homolog as hl

MEASURES = ("mutual_knn", "jaccard_knn", "rank_similarity", "second_order_cosine", "cknna")
ROUNDS, ROWS = 3, 2000


def products(layers: tuple[np.ndarray, ...]) -> None:
    """Form all products of rows, some rows at a time."""
    for x in layers:
        for start in range(0, len(x), ROWS):
            x[start : start + ROWS] @ x.T


def timed(work) -> tuple[float, float]:
    """Return wall time and processor time."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def main(n: int = 20_000, p: int = 512) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p)).astype(np.float32)
    y = x + rng.normal(size=(n, p)).astype(np.float32)
    hl.compare({"x": x[:500]}, {"y": y[:500]}, measures=MEASURES)
    plan = hl.plan({"x": x}, {"y": y}, measures=MEASURES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = hl.compare({"x": x}, {"y": y}, measures=MEASURES, progress=False)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rounds = [
        (
            timed(lambda: products((x, y))),
            timed(lambda: hl.compare({"x": x}, {"y": y}, measures=MEASURES, progress=False)),
        )
        for _ in range(ROUNDS)
    ]
    for kind, name in enumerate(("wall", "processor")):
        floor, whole = (statistics.median(each[work][kind] for each in rounds) for work in (0, 1))
        print(
            f"n = {n}, p = {p}, two layers, {name} time: {whole:.2f} s, products {floor:.2f} s, {whole / floor:.2f} × "
            f"({2 * whole / floor:.2f} × half of them)"
        )
    print(f"resident memory grew by {grown:.0f} MiB; the plan said {plan.bytes / 2**20:.0f} MiB")
    print({name: round(result[name].item(), 4) for name in MEASURES})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
