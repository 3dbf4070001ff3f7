"""How far sketches are off: python benchmarks/sketches.py [--seeds 200] [--columns 128 512]

Two layers of 600 examples and 40,000 features share 20 directions; the rest is noise of three strengths. Their debiased CKA
is known. Each seed makes new sketches of both layers. The first of the two sketches by itself, which is what a random
projection gives, stands beside the estimate from both. Printed are means and standard deviations over the seeds, how many
standard errors the mean is from the exact value, the mean of `_se_sketch`, and how many of the intervals hold the exact value.
The figures of docs/sketching.md come from it.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

import homolog as hl
from homolog.sketching import Sketch, SketchedRows, projection

EXAMPLES, FEATURES, SHARED = 600, 40_000, 20
STRENGTHS = {"strong": 1.0, "middle": 6.0, "weak": 14.0}
"""What the noise is multiplied by; the shared directions have variance 1 each."""
MEASURE = "cka(estimator=debiased)"


def layers(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two layers that share directions."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(EXAMPLES, SHARED))
    sides = [
        shared @ rng.normal(size=(SHARED, FEATURES)) + noise * rng.normal(size=(EXAMPLES, FEATURES)) for _ in range(2)
    ]
    # Each layer has directions of its own, too.
    own = [rng.normal(size=(EXAMPLES, SHARED // 2)) @ rng.normal(size=(SHARED // 2, FEATURES)) for _ in range(2)]
    return (sides[0] + own[0]).astype(np.float32), (sides[1] + own[1]).astype(np.float32)


def sketched(name: str, x: np.ndarray, columns: int, seed: int) -> SketchedRows:
    """Return both sketches of a layer, as extraction makes them."""
    sketch = Sketch(name, x.shape[1], columns, seed)
    return SketchedRows(projection(sketch).of(x), sketch, name)


def estimates(x: np.ndarray, y: np.ndarray, columns: int, seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the estimates of every seed, their standard errors, and what one sketch gives."""
    found, errors, single = [], [], []
    for seed in range(seeds):
        a, b = sketched("a", x, columns, seed), sketched("b", y, columns, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            result = hl.compare({"layer": a}, {"layer": b}, measures={"value": MEASURE}, progress=False)
        found.append(float(result["value"].item()))
        errors.append(float(result["value_se_sketch"].item()))
        single.append(float(hl.cka(a.columns[:, :columns], b.columns[:, :columns], estimator="debiased")))
    return np.array(found), np.array(errors), np.array(single)


def main() -> None:
    """Print one line for every strength and number of columns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--columns", type=int, nargs="+", default=[128, 512])
    asked = parser.parse_args()
    print("| noise | exact | columns | one sketch | two sketches | off by | mean se | within 1.96 se |")
    print("|---|---|---|---|---|---|---|---|")
    for strength, noise in STRENGTHS.items():
        x, y = layers(noise)
        exact = float(hl.cka(x, y, estimator="debiased"))
        for columns in asked.columns:
            start = time.process_time()
            found, errors, single = estimates(x, y, columns, asked.seeds)
            off = (np.nanmean(found) - exact) / (np.nanstd(found, ddof=1) / np.sqrt(np.isfinite(found).sum()))
            held = np.mean(np.abs(found - exact) <= 1.96 * errors)
            print(
                f"| {strength} | {exact:.3f} | {columns} | {single.mean():.3f} ± {single.std(ddof=1):.3f} "
                f"| {np.nanmean(found):.3f} ± {np.nanstd(found, ddof=1):.3f} | {off:+.1f} | {np.nanmean(errors):.3f} "
                f"| {100 * held:.0f} % |",
                flush=True,
            )
            print(f"{time.process_time() - start:.0f} s, {np.isnan(found).sum()} without a value", flush=True)


if __name__ == "__main__":
    main()
