"""Every measure on one real pair of networks: the demo's network, trained on digits from two seeds.

    pip install "homolog[demo,transport]"
    python examples/all_measures.py [folder for the picture and the result]

Draws all measures side by side and prints, of each, how many layers find their counterpart in the other network (both ways) and
how long it took. About three minutes on two cores.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import homolog as hl
from homolog.paper.data import load
from homolog.paper.demo import LAYERS, train


def main(folder: Path) -> None:
    warnings.simplefilter("ignore", hl.HomologWarning)
    digits = load("digits")
    a, b = (
        hl.extract(train(digits, seed), digits.whole, layers=LAYERS, batch_size=512).described(model=f"seed {seed}")
        for seed in (0, 1)
    )
    inputs = digits.whole.reshape(len(digits.whole), -1)
    results, found = {}, {}
    for name in hl.measures():
        measure = hl.measure(name, inputs=inputs) if name == "deconfounded_cka" else hl.measure(name)
        started = time.perf_counter()
        results[name] = hl.compare(a, b, measures={name: measure}, progress=False)
        seconds = time.perf_counter() - started
        accuracy = hl.layer_identification(results[name]).accuracy.item()
        found[name] = {"accuracy": round(accuracy, 4), "seconds": round(seconds, 1)}
        print(f"{name}: {accuracy:.0%}, {seconds:.1f} s", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "all_measures.json").write_text(json.dumps(found, indent=1) + "\n")
    figure = hl.plot.heatmaps(results, columns=6)
    figure.savefig(folder / "all_measures.png", dpi=60)
    print(f"written: {folder / 'all_measures.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
