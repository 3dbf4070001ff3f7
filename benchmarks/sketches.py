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
from typing import NamedTuple

import numpy as np

import homolog as hl
from homolog.sketching import Sketch, SketchedRows, projection

EXAMPLES, FEATURES, SHARED = 600, 40_000, 20
STRENGTHS = {"strong": 1.0, "middle": 6.0, "weak": 14.0, "alike": 1.0}
"""What the noise is multiplied by; the shared directions have variance 1 each."""
ALIKE = 0.2
"""What the noise is multiplied by in which two layers differ that are alike."""
MEASURE = "cka(estimator=debiased)"


class Parts(NamedTuple):
    """What layers are sums of: rows over the features, and by how much of each row every example has."""

    rows: tuple[np.ndarray, np.ndarray]
    """Of both layers: shared directions, directions of its own, noise of every example."""
    shares: tuple[np.ndarray, np.ndarray]
    """Of both layers (examples, shared and own directions)."""

    @classmethod
    def drawn(cls) -> Parts:
        """Draw them, the same every time."""
        rng = np.random.default_rng(0)
        count = SHARED + SHARED // 2
        rows = [rng.normal(size=(count + EXAMPLES, FEATURES)).astype(np.float32) for _ in range(2)]
        shared = rng.normal(size=(EXAMPLES, SHARED))
        own = [np.hstack([shared, rng.normal(size=(EXAMPLES, SHARED // 2))]).astype(np.float32) for _ in range(2)]
        return cls((rows[0], rows[1]), (own[0], own[1]))

    def layers(self, strength: str, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return two layers of rows, or of sketches of rows, that share directions, or all but a little."""
        count, noise = self.shares[0].shape[1], np.float32(STRENGTHS[strength])
        x, y = (
            own @ rows[:count] + noise * rows[count:] for own, rows in zip(self.shares, (first, second), strict=True)
        )
        return (x, x + np.float32(ALIKE) * (y - x)) if strength == "alike" else (x, y)


def sketches(name: str, rows: np.ndarray, columns: int, seed: int) -> np.ndarray:
    """Return both sketches of rows; a sketch of a sum is the sum of the sketches."""
    return projection(Sketch(name, FEATURES, columns, seed)).of(rows)


def estimates(parts: Parts, columns: int, seeds: int) -> dict[str, np.ndarray]:
    """Return strength → (seeds, 3) the estimate, its standard error, and what one sketch gives."""
    found: dict[str, list[tuple[float, float, float]]] = {strength: [] for strength in STRENGTHS}
    for seed in range(seeds):
        first = sketches("a", parts.rows[0], columns, seed)
        seconds = {name: sketches(name, parts.rows[1], columns, seed) for name in "ab"}
        for strength in STRENGTHS:
            name = "a" if strength == "alike" else "b"
            pair = zip("a" + name, parts.layers(strength, first, seconds[name]), strict=True)
            a, b = (SketchedRows(x, Sketch(own, FEATURES, columns, seed), own) for own, x in pair)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hl.HomologWarning)
                result = hl.compare({"layer": a}, {"layer": b}, measures={"value": MEASURE}, progress=False)
            single = float(hl.cka(a.columns[:, :columns], b.columns[:, :columns], estimator="debiased"))
            found[strength].append((float(result["value"].item()), float(result["value_se_sketch"].item()), single))
    return {strength: np.array(each) for strength, each in found.items()}


def line(strength: str, exact: float, columns: int, found: np.ndarray) -> str:
    """Return one line of the table."""
    values, errors, single = found.T
    off = (np.nanmean(values) - exact) / (np.nanstd(values, ddof=1) / np.sqrt(np.isfinite(values).sum()))
    held = np.mean(np.abs(values - exact) <= 1.96 * errors)
    digits = 4 if strength == "alike" else 3
    return (
        f"| {strength} | {exact:.{digits}f} | {columns} | {single.mean():.{digits}f} ± {single.std(ddof=1):.{digits}f} "
        f"| {np.nanmean(values):.{digits}f} ± {np.nanstd(values, ddof=1):.{digits}f} | {off:+.1f} "
        f"| {np.nanmean(errors):.{digits}f} | {100 * held:.0f} % |"
    )


def main() -> None:
    """Print one line for every strength and number of columns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--columns", type=int, nargs="+", default=[128, 512])
    asked = parser.parse_args()
    parts = Parts.drawn()
    exact = {s: float(hl.cka(*parts.layers(s, *parts.rows), estimator="debiased")) for s in STRENGTHS}
    print("| noise | exact | columns | one sketch | two sketches | off by | mean se | within 1.96 se |")
    print("|---|---|---|---|---|---|---|---|")
    for columns in asked.columns:
        start = time.process_time()
        for strength, found in estimates(parts, columns, asked.seeds).items():
            print(line(strength, exact[strength], columns, found), flush=True)
        print(f"{time.process_time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
