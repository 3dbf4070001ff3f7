"""Whether p-values without permuting keep what they promise: prints the tables of docs/inference.md.

python benchmarks/moment_pvalues.py            # both, a quarter of an hour on one core
python benchmarks/moment_pvalues.py sizes      # or one: sizes, tails, speed
"""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial

import numpy as np
from scipy.stats import binom

import homolog as hl
from homolog.inference.pearson import upper_tail
from homolog.inference.permutations import orders
from homolog.operands.gram_orders import order_matrix, order_score
from homolog.operands.gram_statistics import STRUCTURE
from homolog.operands.order_moments import shapes, sums_over_examples
from homolog.operands.representation import ArrayRepresentation

MEASURES = ("cka(estimator=debiased)", "cka", "cka(kernel=rbf)", "distance_correlation")
DATA = [(kind, n, p) for kind in ("normal", "t3") for n in (20, 200) for p in (3, 300)]
PAIRS, DRAWS = 2000, 10
LEVELS = (0.05, 0.01, 0.001)


def draw(rng: np.random.Generator, kind: str, n: int, p: int) -> np.ndarray:
    """A representation that has nothing to do with any other."""
    return rng.normal(size=(n, p)) if kind == "normal" else rng.standard_t(3, size=(n, p))


def sizes() -> None:
    """Print how often p is at most 0.05 and 0.01 of independent layers."""
    low, high = zip(*(binom.ppf([0.005, 0.995], PAIRS, level) / PAIRS for level in LEVELS[:2]), strict=True)
    print(
        f"{PAIRS} pairs; if exact {low[0]:.4f} to {high[0]:.4f} and {low[1]:.4f} to {high[1]:.4f} in 99 of 100 cells\n"
    )
    print("| data |", " | ".join(MEASURES), "|\n|---|" + "---|" * len(MEASURES))
    for kind, n, p in DATA:
        rng, found = np.random.default_rng(0), []
        for _ in range(PAIRS // 50):
            a, b = ({str(k): draw(rng, kind, n, p) for k in range(50)} for _ in range(2))
            result = hl.compare(a, b, measures=MEASURES, pairs="same_name", progress=False)
            found.append([np.diagonal(result[f"{measure}_p"].values) for measure in MEASURES])
        values = np.concatenate(found, axis=1)
        cells = [f"{np.mean(v <= 0.05):.4f}, {np.mean(v <= 0.01):.4f}" for v in values]
        print(f"| {kind}, n = {n}, p = {p} |", " | ".join(cells), "|", flush=True)


def tails(n_permutations: int = 100_000) -> None:
    """Print how far log10 p lies from that of permutations, where these give 0.05, 0.01 and 0.001."""
    print("| data | estimator | at 0.05 | at 0.01 | at 0.001 | mean at 0.001, with its error |")
    print("|---|---|---|---|---|---|")
    for kind, n, p in DATA:
        rng = np.random.default_rng(1)
        xs, ys = ([_gram(draw(rng, kind, n, p)) for _ in range(DRAWS)] for _ in range(2))
        inner = STRUCTURE.permuted(xs, ys, np.eye(DRAWS, dtype=bool), 1 << 30)
        order = orders(n, 0)
        for estimator in ("debiased", "biased"):
            scores = np.array([np.diagonal(order_score(inner(order(k)), estimator)) for k in range(1, n_permutations)])
            sums = [[sums_over_examples(order_matrix(side, estimator)) for side in part] for part in (xs, ys)]
            skewness, kurtosis = (np.diagonal(matrix) for matrix in shapes(n, *sums))
            errors = []
            for level in LEVELS:
                at = np.quantile(scores, 1 - level, axis=0)
                errors.append(np.log10(upper_tail(at, skewness, kurtosis) / level))
            noise = 1 / np.log(10) / np.sqrt(LEVELS[2] * n_permutations)
            cells = [f"{np.abs(error).max():.2f}" for error in errors]
            print(
                f"| {kind}, n = {n}, p = {p} | {estimator} |",
                " | ".join(cells),
                f"| {errors[2].mean():+.2f} ± {noise / DRAWS**0.5:.2f} |",
                flush=True,
            )


def _gram(x: np.ndarray) -> object:
    return STRUCTURE.prepare(ArrayRepresentation(x))


def speed() -> None:
    """Print what p-values of 144 pairs cost, beside permutations."""
    rng = np.random.default_rng(0)
    for n, p in ((500, 256), (1000, 256), (2000, 768)):
        a, b = ({str(k): rng.normal(size=(n, p)).astype(np.float32) for k in range(12)} for _ in range(2))
        work = partial(hl.compare, a, b, measures="cka(estimator=debiased)", progress=False)
        whole, tested = _median(work), _median(partial(work, null="permutation", n_permutations=1000), 1)
        print(
            f"n = {n}, p = {p}: {whole:.2f} s in all, with 1,000 permutations {tested:.1f} s: {tested / whole:.0f} times"
        )


def _median(work, rounds: int = 5) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


if __name__ == "__main__":
    warnings.simplefilter("ignore", hl.HomologWarning)
    for name in sys.argv[1:] or ["sizes", "tails", "speed"]:
        {"sizes": sizes, "tails": tails, "speed": speed}[name]()
