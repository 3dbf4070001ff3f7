"""How far sketches are off: python benchmarks/sketches.py [--seeds 200] [--columns 128 512]

Two layers of 600 examples and 40,000 features share 20 directions; the rest is noise of three strengths. In a fourth case the
second layer is the first, hardly changed, with the same random numbers, as layers of one name in two models have. Their debiased
CKA is known. Each seed makes new sketches of both layers. The first of the two sketches by itself, which is what a random
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
STRENGTHS = {"strong": 1.0, "middle": 6.0, "weak": 14.0, "alike": 1.0}
"""What the noise is multiplied by; the shared directions have variance 1 each."""
ALIKE = 0.2
"""What the noise is multiplied by in which two layers differ that are alike."""
MEASURE = "cka(estimator=debiased)"


def layers(strength: str) -> tuple[np.ndarray, np.ndarray]:
    """Return two layers that share directions, or all but a little noise."""
    noise = STRENGTHS[strength]
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(EXAMPLES, SHARED))
    sides = [
        shared @ rng.normal(size=(SHARED, FEATURES)) + noise * rng.normal(size=(EXAMPLES, FEATURES)) for _ in range(2)
    ]
    # Each layer has directions of its own, too.
    own = [rng.normal(size=(EXAMPLES, SHARED // 2)) @ rng.normal(size=(SHARED // 2, FEATURES)) for _ in range(2)]
    if strength == "alike":
        sides[1], own[1] = sides[0] + ALIKE * (sides[1] - sides[0]) / noise, own[0]
    return (sides[0] + own[0]).astype(np.float32), (sides[1] + own[1]).astype(np.float32)


def sketched(name: str, x: np.ndarray, columns: int, seed: int) -> SketchedRows:
    """Return both sketches of a layer, as extraction makes them."""
    sketch = Sketch(name, x.shape[1], columns, seed)
    return SketchedRows(projection(sketch).of(x), sketch, name)


def estimates(
    x: np.ndarray, y: np.ndarray, columns: int, seeds: int, names: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the estimates of every seed, their standard errors, and what one sketch gives."""
    found, errors, single = [], [], []
    for seed in range(seeds):
        a, b = sketched(names[0], x, columns, seed), sketched(names[1], y, columns, seed)
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
    for strength in STRENGTHS:
        x, y = layers(strength)
        exact = float(hl.cka(x, y, estimator="debiased"))
        for columns in asked.columns:
            start = time.process_time()
            found, errors, single = estimates(x, y, columns, asked.seeds, "aa" if strength == "alike" else "ab")
            off = (np.nanmean(found) - exact) / (np.nanstd(found, ddof=1) / np.sqrt(np.isfinite(found).sum()))
            held = np.mean(np.abs(found - exact) <= 1.96 * errors)
            digits = 4 if strength == "alike" else 3
            print(
                f"| {strength} | {exact:.{digits}f} | {columns} | {single.mean():.3f} ± {single.std(ddof=1):.3f} "
                f"| {np.nanmean(found):.{digits}f} ± {np.nanstd(found, ddof=1):.{digits}f} | {off:+.1f} "
                f"| {np.nanmean(errors):.{digits}f} "
                f"| {100 * held:.0f} % |",
                flush=True,
            )
            print(f"{time.process_time() - start:.0f} s, {np.isnan(found).sum()} without a value", flush=True)


if __name__ == "__main__":
    main()
