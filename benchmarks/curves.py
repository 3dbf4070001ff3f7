"""What comparing stores costs, against rows, features, layers and models: python benchmarks/curves.py FOLDER docs/pictures

Every store is written, compared within 256 MiB, and removed. Draws scaling.png and prints the times.
"""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np

import homolog as hl

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BASE = {"rows": 4000, "features": 256, "layers": 6, "models": 2}
VARIED = {
    "rows": [2000, 4000, 8000, 16000, 32000],
    "features": [64, 128, 256, 512, 1024],
    "layers": [3, 6, 12, 24],
    "models": [2, 4, 8],
}
MEASURES = {"cka(estimator=debiased)": "debiased CKA", "cka(kernel=rbf)": "RBF CKA", "cca": "CCA"}
MOST = 15.0
"""Seconds that a case may be expected to take."""


def write(folder: Path, rows: int, features: int, layers: int, models: int) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(rows, 50))
    paths = {}
    for index in range(models):
        paths[f"model {index}"] = folder / f"model-{index}.zarr"
        mixing = (rng.normal(size=(50, features)) for _ in range(layers))
        made = {
            f"layer {i}": (shared @ mix + rng.normal(size=(rows, features))).astype("float32")
            for i, mix in enumerate(mixing)
        }
        hl.save(made, paths[f"model {index}"])
    return paths


def timed(folder: Path, measure: str, case: dict[str, int]) -> float:
    paths = write(folder, **case)
    start = time.perf_counter()
    hl.compare(paths, measures=measure, memory="256MiB", progress=False)
    seconds = time.perf_counter() - start
    for path in paths.values():
        shutil.rmtree(path)
    return seconds


def main(folder: Path, pictures: Path) -> None:
    warnings.simplefilter("ignore")
    folder.mkdir(exist_ok=True, parents=True)
    figure, axes = plt.subplots(1, len(VARIED), figsize=(11, 3), layout="constrained", sharey=True)
    for ax, (what, values) in zip(axes, VARIED.items(), strict=True):
        for measure, label in MEASURES.items():
            times: list[float] = []
            for value in values:
                growth = 4 if len(times) < 2 else max(times[-1] / times[-2], 1)
                if times and times[-1] * growth > MOST:
                    break
                times.append(timed(folder, measure, BASE | {what: value}))
            print(f"{what} {values[: len(times)]}, {label}: {', '.join(f'{t:.2f}' for t in times)} s", flush=True)
            ax.loglog(values[: len(times)], times, marker="o", markersize=3, label=label)
        ax.set_xlabel(what)
        ax.set_xticks(values, [str(value) for value in values])
        ax.minorticks_off()
    axes[0].set_ylabel("seconds")
    axes[0].legend(frameon=False)
    figure.savefig(pictures / "scaling.png", dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
