"""Whether p-values and intervals keep what they promise: prints the tables of docs/inference.md.

python benchmarks/calibration.py        # some minutes
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

import homolog as hl

MEASURES = ("cka", "cka(estimator=debiased)", "procrustes_distance", "bipartite_match")


def draw(rng: np.random.Generator, n: int, strength: float, p: int = 4, q: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two representations with two directions in common."""
    shared = strength * rng.normal(size=(n, 2))
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    x[:, :2] += shared
    y[:, :2] += shared
    return x, y


def population(strength: float, p: int = 4, q: int = 3) -> dict[str, float]:
    """Values of the covariances from which `draw` draws."""
    cross = np.zeros((p, q))
    cross[0, 0] = cross[1, 1] = strength**2
    first, second = (np.diag([1 + strength**2] * 2 + [1.0] * (width - 2)) for width in (p, q))
    cka = np.sum(cross**2) / np.linalg.norm(first) / np.linalg.norm(second)
    cca = np.trace(np.linalg.solve(first, cross) @ np.linalg.solve(second, cross.T)) / min(p, q)
    return {"cka": float(cka), "cka(estimator=debiased)": float(cka), "cca": float(cca)}


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


def coverage(simulations: int = 1000, n: int = 150) -> None:
    """Share of 95 % intervals that hold the value of the population."""
    print(f"\nShare of 95 % intervals that hold the population's value, {simulations} pairs of n = {n}:\n")
    print("| measure | method | strength 0.75 | strength 1 | strength 2 |\n|---|---|---|---|---|")
    for measure in ("cka", "cka(estimator=debiased)", "cca"):
        for method in ("jackknife", "subsample"):
            shares = []
            for strength in (0.75, 1.0, 2.0):
                rng = np.random.default_rng(1)
                truth = population(strength)[measure]
                found = [
                    hl.confidence_interval(*draw(rng, n, strength), measure, method=method) for _ in range(simulations)
                ]
                shares.append(f"{np.mean([ci.low <= truth <= ci.high for ci in found]):.3f}")
            print(f"| {measure} | {method} | " + " | ".join(shares) + " |", flush=True)


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


if __name__ == "__main__":
    rejections()
    coverage()
    bias()
