"""One and two workers of dask, one BLAS thread each: python benchmarks/cluster.py FOLDER

All pairs of linear CKA, biased and debiased, of two stores of 12 layers × 1,024 features and 12,000 rows; the order
alternates, and medians are printed. With the time of this process, whose threads share two cores, for comparison.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import scale
from distributed import Client, LocalCluster

import homolog as hl

ROWS, MEMORY, ROUNDS = 12_000, "512MiB", 3


def timed(folder: Path, executor: object | None) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    names = [folder / f"{name}-{ROWS}.zarr" for name in "ab"]
    found = hl.compare(*names, executor=executor, memory=MEMORY, progress=False)
    return time.perf_counter() - start, found["cka(estimator=debiased)"].values


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    scale.FEATURES = 1024
    scale.make(folder, ROWS)
    times: dict[int, list[float]] = {0: [], 1: [], 2: []}
    values = {}
    clusters = {
        count: LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        for count in (1, 2)
    }
    for _ in range(ROUNDS):
        for count, cluster in clusters.items():
            with Client(cluster) as client, client.get_executor() as executor:
                seconds, values[count] = timed(folder, executor)
                times[count].append(seconds)
        seconds, values[0] = timed(folder, None)
        times[0].append(seconds)
    for cluster in clusters.values():
        cluster.close()
    for count, some in times.items():
        print(
            f"{f'{count} workers' if count else 'this process'}: {np.median(some):.1f} s ({min(some):.1f} to {max(some):.1f})"
        )
    print(f"two workers / one: {np.median(np.array(times[2]) / np.array(times[1])):.2f}")
    equal, apart = np.array_equal(values[1], values[2]), abs(values[0] - values[1]).max()
    print(f"values equal: {equal}; differ from this process by {apart:.0e}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
