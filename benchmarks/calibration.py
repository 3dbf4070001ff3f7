"""Whether p-values and intervals keep what they promise: prints the tables of docs/inference.md.

python benchmarks/calibration.py            # all of them, some ten minutes on one core
python benchmarks/calibration.py few        # or one: rejections, few, bias
"""

from __future__ import annotations

import itertools
import sys
import warnings

import numpy as np
from scipy.stats import binom

import homolog as hl

MEASURES = ("cka", "cka(estimator=debiased)", "procrustes_distance", "bipartite_match")


INTERVALS = ("cka", "cka(estimator=debiased)")
"""Measures of the tables of few examples."""
DISTRIBUTIONS = ("normal", "t3", "elliptical t3")
SHAPES = ((4, 3), (3, 30))
STRENGTHS = (1.0, 2.0)


def draw(rng: np.random.Generator, n: int, strength: float, p: int = 4, q: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two representations with two directions in common."""
    x, y, _ = three(rng, n, strength, (p, q), "normal")
    return x, y


def three(
    rng: np.random.Generator, n: int, strength: float, shape: tuple[int, int], distribution: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, and Y and Z that are alike to it, with entries that are normal or of t3, or rows scaled to be of t3."""

    def entries(width: int) -> np.ndarray:
        return rng.standard_t(3, size=(n, width)) if distribution == "t3" else rng.normal(size=(n, width))

    shared = strength * entries(2)
    sides = [entries(width) for width in (shape[0], shape[1], shape[1])]
    for side in sides:
        side[:, :2] += shared
    scale = np.sqrt(3 / rng.chisquare(3, size=(n, 1))) if distribution == "elliptical t3" else 1.0
    x, y, z = (side * scale for side in sides)
    return x, y, z


def population(strength: float, p: int = 4, q: int = 3) -> dict[str, float]:
    """Values of the covariances from which `draw` draws."""
    cross = np.zeros((p, q))
    cross[0, 0] = cross[1, 1] = strength**2
    first, second = (np.diag([1 + strength**2] * 2 + [1.0] * (width - 2)) for width in (p, q))
    cka = np.sum(cross**2) / np.linalg.norm(first) / np.linalg.norm(second)
    cca = np.trace(np.linalg.solve(first, cross) @ np.linalg.solve(second, cross.T)) / min(p, q)
    procrustes = np.sqrt(2 - 2 * np.trace(cross) / np.sqrt(np.trace(first) * np.trace(second)))
    return {
        "cka": float(cka),
        "cka(estimator=debiased)": float(cka),
        "cca": float(cca),
        "procrustes_distance": float(procrustes),
    }


def rejections(simulations: int = 1000) -> None:
    """Type-I error and power of the permutation test at 0.05, n = 25, 39 permutations."""
    low, high = binom.ppf([0.025, 0.975], simulations, 0.05) / simulations
    print(
        f"Share of p <= 0.05, {simulations} pairs of n = 25 (at strength 0 within {low:.3f} to {high:.3f} if exact):\n"
    )
    strengths = (0.0, 0.5, 0.75, 1.0, 1.5)
    print("| measure | " + " | ".join(f"strength {s}" for s in strengths) + " |\n|---|" + "---|" * len(strengths))
    for measure in MEASURES:
        shares = []
        for strength in strengths:
            rng = np.random.default_rng(0)
            found = [
                hl.permutation_test(*draw(rng, 25, strength), measure, n_permutations=39, rng=seed).pvalue
                for seed in range(simulations)
            ]
            shares.append(f"{np.mean(np.array(found) <= 0.05):.3f}")
        print(f"| {measure} | " + " | ".join(shares) + " |", flush=True)


def held(measure: str, n: int, simulations: int) -> list[tuple[float, float]]:
    """Return, for every kind of data, how often intervals hold the value of the population, and differences of none are found."""
    found = []
    for distribution, shape, strength in itertools.product(DISTRIBUTIONS, SHAPES, STRENGTHS):
        truth = population(strength, *shape)[measure]
        rng = np.random.default_rng(4)
        covered = rejected = 0
        for _ in range(simulations):
            x, y, z = three(rng, n, strength, shape, distribution)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hl.HomologWarning)
                interval = hl.confidence_interval(x, y, measure)
                rejected += hl.paired_test(x, y, z, measure).pvalue <= 0.05
            covered += interval.low <= truth <= interval.high
        found.append((covered / simulations, rejected / simulations))
    return found


def few(simulations: int = 200) -> None:
    """Coverage of intervals and size of the test of a difference, by the jackknife, with 20 and 60 examples."""
    told = {measure: [held(measure, n, simulations) for n in (20, 60)] for measure in INTERVALS}
    kinds = list(itertools.product(DISTRIBUTIONS, SHAPES, STRENGTHS))
    for place, what in enumerate(
        ("95 % intervals that hold the population's value", "p <= 0.05 where there is no difference")
    ):
        print(f"\nShare of {what}, n = 20 / n = 60, {simulations} draws:\n")
        print("| data | shapes | strength | " + " | ".join(INTERVALS) + " |\n|---|---|---|" + "---|" * len(INTERVALS))
        for row, (distribution, (p, q), strength) in enumerate(kinds):
            cells = [f"{small[row][place]:.3f} / {large[row][place]:.3f}" for small, large in told.values()]
            print(f"| {distribution} | {p}, {q} | {strength:g} | " + " | ".join(cells) + " |", flush=True)


def bias(simulations: int = 1000) -> None:
    """Mean of both estimators over sizes."""
    print(f"\nMean over {simulations} pairs, and in brackets its standard error; the population has HSIC 2:\n")
    print(
        "| n | p | HSIC | HSIC debiased | CKA | CKA debiased | CKA of the population |\n|---|---|---|---|---|---|---|"
    )
    forms = ("hsic", "hsic(estimator=debiased)", "cka", "cka(estimator=debiased)")
    for n, p in ((20, 4), (20, 40), (80, 4), (80, 40)):
        rng = np.random.default_rng(2)
        pairs = [draw(rng, n, 1.0, p=p) for _ in range(simulations)]
        cells = []
        for form in forms:
            values = np.array([float(hl.measure(form)(*pair)) for pair in pairs])
            cells.append(f"{values.mean():.3f} ({values.std() / np.sqrt(simulations):.3f})")
        print(f"| {n} | {p} | " + " | ".join(cells) + f" | {population(1.0, p=p)['cka']:.3f} |", flush=True)


TABLES = {"rejections": rejections, "few": few, "bias": bias}

if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        TABLES[name]()
