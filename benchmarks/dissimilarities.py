"""Kendall's τ_b and Mahalanobis distances, all pairs of layers, beside what each must do: python benchmarks/dissimilarities.py

Takes the number of rounds. Two models of 12 layers, 2,000 examples, 768 features, m = 1,999,000 dissimilarities a layer. The
floor is done in the same run, in as many threads as the comparison has:

- of Kendall's per layer products of rows (the upper half, float64) and one argsort of m numbers, per pair of layers one sort of m
  numbers: as an argsort, which carries the ranks of the other layer along, and also as a sort of float32 numbers alone;
- of Mahalanobis distances per layer one product of features with themselves, one Cholesky decomposition, one product that
  whitens, products of rows and, for Spearman's ranks, one argsort; for all pairs together one product of stacked vectors.

Rounds are interleaved. Told are medians of wall time, and of processor time, which other work on the machine changes less.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from structures import LAYERS, WIDTH, N, model
from threadpoolctl import threadpool_limits

import homolog as hl
from homolog.machine import usable_cores

NUMBERS = N * (N - 1) // 2
ROWS = 512


def products(x: np.ndarray) -> None:
    """Form the upper half of the products of rows."""
    for start in range(0, N, ROWS):
        x[start : start + ROWS] @ x[start:].T


def whitened(x: np.ndarray) -> np.ndarray:
    """Whiten as if the condition were no matter: one product that whitens, of any lower triangle."""
    return x @ np.linalg.cholesky(x.T @ x)


def spread(work, items) -> None:
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(work, items))


def medians(works: dict, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the wall time and the processor time of each, interleaved, after a round that is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(1 + rounds):
        for name, work in works.items():
            started = time.perf_counter(), time.process_time()
            work()
            times[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return {
        name: tuple(statistics.median(kind) for kind in zip(*found[1:], strict=True)) for name, found in times.items()
    }


def main(rounds: int = 3) -> None:
    warnings.simplefilter("ignore", hl.HomologWarning)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(N, 50))
    a, b = model(1, inputs), model(2, inputs)
    exact = [layer.astype(float) for side in (a, b) for layer in side.values()]
    double, single = rng.normal(size=NUMBERS), rng.normal(size=NUMBERS).astype(np.float32)
    pairs = range(LAYERS * LAYERS)

    def stacked() -> None:
        some = np.ones((2 * LAYERS, NUMBERS // 8))
        for _ in range(8):
            some @ some.T

    found = medians(
        {
            "layers": lambda: spread(lambda x: (products(x), np.argsort(double)), exact),
            "argsorts": lambda: spread(lambda _: np.argsort(single), pairs),
            "sorts": lambda: spread(lambda _: np.sort(single), pairs),
            "whitening": lambda: spread(lambda x: (products(whitened(x)), np.argsort(double)), exact),
            "stacked": stacked,
            "kendall": lambda: hl.compare(a, b, measures="rsa(comparison=kendall)", progress=False),
            "mahalanobis": lambda: hl.compare(a, b, measures="rsa(dissimilarity=mahalanobis)", progress=False),
        },
        rounds,
    )
    for name, parts in {
        "kendall": (("layers", "argsorts"), ("layers", "sorts")),
        "mahalanobis": (("whitening", "stacked"),),
    }.items():
        for floor in parts:
            sums = [sum(found[part][kind] for part in floor) for kind in (0, 1)]
            wall, processor = found[name]
            print(
                f"{name}: {wall:.2f} s, {wall / sums[0]:.2f} × {' + '.join(floor)}; "
                f"processor {processor:.2f} s, {processor / sums[1]:.2f} ×"
            )
    print(", ".join(f"{name} {wall:.2f} s ({processor:.2f})" for name, (wall, processor) in found.items()))
    print(f"{N} examples, {WIDTH} features, {usable_cores()} cores")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
