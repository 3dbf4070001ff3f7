"""Whether p-values and intervals keep what they promise: prints the tables of docs/inference.md.

python benchmarks/calibration.py                          # all of them, two hours on one core
python benchmarks/calibration.py rejections bias          # or some: rejections, detail, grid, differences, bias
python benchmarks/calibration.py grid shapes --draws 60   # and of the grid some families, with fewer draws
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Iterator
from functools import cache

import numpy as np
from scipy.stats import binom

import homolog as hl

MEASURES = ("cka", "cka(estimator=debiased)", "procrustes_distance", "bipartite_match")

FAMILIES = {
    "products": ("hsic", "hsic(estimator=debiased)", "cka", "cka(estimator=debiased)"),
    "kernels": ("hsic(kernel=rbf,estimator=debiased)", "cka(kernel=rbf,estimator=debiased)"),
    "distances": ("distance_correlation", "distance_correlation(estimator=debiased)"),
    "dissimilarities": ("rsa", "rsa(dissimilarity=euclidean)", "rsa(dissimilarity=euclidean,comparison=pearson)"),
    "correlations": ("cca", "cca(statistic=rho)", "svcca", "pwcca", "linear_regression", "eigenspace_overlap"),
    "ridges": ("canonical_ridge", "gulp_distance", "gaussian_mutual_information"),
    "shapes": ("procrustes_distance", "angular_shape_distance", "bures_similarity"),
    "predictions": ("linear_predictivity", "aligned_cosine"),
    "neurons": (
        "bipartite_match",
        "semi_match",
        "soft_correlation_match",
        "soft_matching_distance",
        "permutation_procrustes_distance",
    ),
    "spans": ("maximum_match",),
    "information": ("neuron_mutual_information",),
    "statistics": ("magnitude_difference", "concentricity_difference"),
}
"""The measures that have a value on infinitely many examples, in parts of the grid."""
SAMPLED = ("kernels", "distances", "dissimilarities", "information", "statistics")
"""Families whose values are not those of covariances: their value on infinitely many examples is a mean over large samples."""
OFFSETS = (1.0, 0.5)
"""Means of X and of Y and Z for the statistics of a single cloud of points: without any, both are alike."""
DISTRIBUTIONS = ("normal", "t3", "elliptical t3")
SHAPES = ((4, 3), (3, 30), (30, 30), (2, 2))
STRENGTHS = (0.5, 1.0, 2.0)
SIZES = (20, 60)
PAIRED = ("cka", "cka(estimator=debiased)", "procrustes_distance")
"""Measures of the table of differences."""


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


def rejections(simulations: int, _: list[str]) -> None:
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


def covering(strength: float, shape: tuple[int, int], variance: float, n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Two representations whose covariances are exactly those of the population."""
    p, q = shape
    whole = np.eye(p + q)
    for first, second in ((0, p), (1, p + 1)):
        pair = np.ix_((first, second), (first, second))
        whole[pair] += strength**2
    entries = np.random.default_rng(0).normal(size=(n, p + q))
    entries = np.linalg.qr(entries - entries.mean(axis=0))[0] * np.sqrt(n)
    entries = entries @ np.linalg.cholesky(variance * whole).T
    return entries[:, :p], entries[:, p:]


@cache
def truths(family: str, distribution: str, shape: tuple[int, int], strength: float) -> dict[str, float]:
    """Return the values on infinitely many examples."""
    # Entries of t3 have variance 3.
    variance = 1.0 if distribution == "normal" else 3.0
    if family not in SAMPLED:
        x, y = covering(strength, shape, variance)
        found = {measure: float(hl.measure(measure)(x, y)) for measure in FAMILIES[family]}
        # Of n examples the debiased estimators are not quite what the covariances say.
        exact = {"hsic": 2 * (variance * strength**2) ** 2, "cka": float(hl.cka(x, y))}
        return {measure: exact.get(measure.partition("(")[0], value) for measure, value in found.items()}
    rng = np.random.default_rng(77)
    # The absolute difference of two means has a bias in small samples.
    count, size = (1, 200_000) if family == "statistics" else (8, 1500)
    samples = [moved(family, three(rng, size, strength, shape, distribution))[:2] for _ in range(count)]
    found = {
        measure: float(np.mean([float(hl.measure(measure)(*sample)) for sample in samples]))
        for measure in FAMILIES[family]
    }
    if family == "distances":
        found["distance_correlation"] = np.sqrt(found["distance_correlation(estimator=debiased)"])
    return found


def moved(family: str, sides: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return X, Y and Z with the means that a family needs."""
    x, y, z = sides
    return (x + OFFSETS[0], y + OFFSETS[1], z + OFFSETS[1]) if family == "statistics" else sides


def kinds() -> Iterator[tuple[str, tuple[int, int], float]]:
    """All kinds of data."""
    return itertools.product(DISTRIBUTIONS, SHAPES, STRENGTHS)


def covered(
    family: str, kind: tuple[str, tuple[int, int], float], n: int, draws: int
) -> dict[str, tuple[float, float]]:
    """Return measure → how often its intervals hold the value of the population, and how often a warning is given with them.

    Every draw of X has two of Y.
    """
    distribution, shape, strength = kind
    measures, truth = FAMILIES[family], truths(family, *kind)
    rng = np.random.default_rng(4)
    held, told = np.zeros(len(measures)), np.zeros(len(measures))
    for _ in range(-(-draws // 2)):
        x, y, z = moved(family, three(rng, n, strength, shape, distribution))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = hl.compare({"x": x}, {"y": y, "z": z}, measures=measures, interval=True)
        for place, measure in enumerate(measures):
            low, high = (result[f"{measure}_{end}"].values[0] for end in ("low", "high"))
            rounding = 1e-7 * (1 + abs(truth[measure]))
            held[place] += np.mean((low - rounding <= truth[measure]) & (truth[measure] <= high + rounding))
            told[place] += np.mean([any(concerns(w, measure, side) for w in caught) for side in ("b: y", "b: z")])
    count = -(-draws // 2)
    return {measure: (held[i] / count, told[i] / count) for i, measure in enumerate(measures)}


def concerns(warning: warnings.WarningMessage, measure: str, side: str) -> bool:
    """Say whether a warning tells a reader not to trust the interval of a measure with one side."""
    if issubclass(warning.category, hl.SaturationWarning):
        return not hl.measure(measure).free_of_rank
    said = str(warning.message)
    named = said.startswith((f"{measure}:", f"{measure} has")) and side in said
    return named and issubclass(warning.category, hl.BiasWarning | hl.UndefinedValueWarning)


def detail(draws: int, _: list[str]) -> None:
    """Coverage of CKA and HSIC for every kind of data."""
    print(f"\nShare of 95 % intervals that hold the population's value, n = 20 / n = 60, {draws} draws:\n")
    print("| data | shapes | strength | " + " | ".join(FAMILIES["products"]) + " |\n|---|---|---|" + "---|" * 4)
    for kind in kinds():
        sizes = [covered("products", kind, n, draws) for n in SIZES]
        cells = [" / ".join(f"{size[measure][0]:.3f}" for size in sizes) for measure in FAMILIES["products"]]
        print(f"| {kind[0]} | {kind[1][0]}, {kind[1][1]} | {kind[2]:g} | " + " | ".join(cells) + " |", flush=True)


def grid(draws: int, families: list[str]) -> None:
    """Coverage for every shape and size, and how often a warning is given."""
    columns = list(itertools.product(SIZES, SHAPES))
    print(
        "\nShare of 95 % intervals that hold the population's value, over three kinds of data and three strengths, in brackets "
        "the lowest of the nine, of so many draws each, and after a stroke the share that have a warning:\n"
    )
    shapes = " | ".join(f"n = {n}, {p} × {q}" for n, (p, q) in columns)
    print(f"| measure | draws | {shapes} | below 0.90 | 0.93 and above |")
    print("|---|---|" + "---|" * (len(columns) + 2))
    for family in families or FAMILIES:
        found = {(n, kind): covered(family, kind, n, draws) for n in SIZES for kind in kinds()}
        for measure in FAMILIES[family]:
            cells = [str(draws)]
            for n, shape in columns:
                cell = [shares[measure] for (size, kind), shares in found.items() if size == n and kind[1] == shape]
                held, told = np.mean(cell, axis=0)
                cells.append(f"{held:.2f} ({min(cell)[0]:.2f}) / {told:.2f}")
            every = [shares[measure] for shares in found.values()]
            cells += [alarms([w for c, w in every if c < 0.9]), alarms([w for c, w in every if c >= 0.93])]
            print(f"| {measure} | " + " | ".join(cells) + " |", flush=True)


def alarms(told: list[float]) -> str:
    """Say of how many of the 72 kinds of data and sizes, and how often a warning is given there."""
    return f"{len(told)} ({np.mean(told):.2f})" if told else "0"


def differences(draws: int, _: list[str]) -> None:
    """Size of the test of a difference, of two sides of the same kind."""
    columns = list(itertools.product(SIZES, SHAPES))
    print(
        f"\nShare of p <= 0.05 where there is no difference, of {9 * draws} draws of three kinds of data and three strengths, "
        f"and in brackets the highest of the nine ({draws} draws each):\n"
    )
    print("| measure | " + " | ".join(f"n = {n}, {p} × {q}" for n, (p, q) in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for measure in PAIRED:
        cells = []
        for n, shape in columns:
            shares = [rejected(measure, kind, n, draws) for kind in kinds() if kind[1] == shape]
            cells.append(f"{np.mean(shares):.3f} ({max(shares):.2f})")
        print(f"| {measure} | " + " | ".join(cells) + " |", flush=True)


def rejected(measure: str, kind: tuple[str, tuple[int, int], float], n: int, draws: int) -> float:
    """Return how often a difference is found where there is none."""
    distribution, shape, strength = kind
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(draws):
        sides = three(rng, n, strength, shape, distribution)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            found += hl.paired_test(*sides, measure).pvalue <= 0.05
    return found / draws


def bias(simulations: int, _: list[str]) -> None:
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


TABLES = {
    "rejections": (rejections, 1000),
    "detail": (detail, 200),
    "grid": (grid, 200),
    "differences": (differences, 100),
    "bias": (bias, 1000),
}
"""Name → what prints it, and its draws."""


def main() -> None:
    """Print the tables that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="tables, and families of the grid")
    parser.add_argument(
        "--draws", type=int, help="simulated data sets of every kind, instead of each table's own number"
    )
    asked = parser.parse_args()
    families = [name for name in asked.names if name not in TABLES]
    if not set(families) <= set(FAMILIES):
        parser.error(f"names are of {', '.join([*TABLES, *FAMILIES])}.")
    for name in [name for name in asked.names if name in TABLES] or TABLES:
        table, draws = TABLES[name]
        table(asked.draws or draws, families)


if __name__ == "__main__":
    main()
