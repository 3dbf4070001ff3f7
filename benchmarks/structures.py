"""All measures of similarity structures in one call, against what each must cost: python benchmarks/structures.py

Two models of 12 layers, 2,000 examples, 768 features. A measure's least cost is forming the upper half of its structure of every
layer (n²·p operations at the rate of a product of two different matrices), multiplying all pairs of them (n² operations a pair),
and, where the measure is of ranks, sorting n²/2 numbers per layer.
"""

from __future__ import annotations

import statistics
import time
import warnings

import numpy as np

import homolog as hl

N, WIDTH, LAYERS = 2000, 768, 12
ROUNDS = 5


def model(seed: int, inputs: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    layers = {}
    for index in range(LAYERS):
        mixed = np.tanh(0.2 * inputs @ rng.normal(size=(inputs.shape[1], WIDTH)))
        layers[f"layer {index}"] = (mixed + 0.3 * rng.normal(size=mixed.shape)).astype(np.float32)
    return layers


def seconds(work) -> float:
    """Median of several rounds, after one that is not counted."""
    work()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    warnings.simplefilter("ignore", hl.HomologWarning)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(N, 50))
    a, b = model(1, inputs), model(2, inputs)
    ranked = hl.measure("rsa")
    measures = [
        "hsic",
        "cka",
        "cka(kernel=rbf)",
        "distance_correlation",
        hl.measure("deconfounded_cka", inputs=inputs),
        ranked,
        "rsm_norm_difference",
    ]
    x, y = rng.normal(size=(2, N, N)).astype(np.float32)
    rate = 2.0 * N**3 / seconds(lambda: x @ y)
    numbers = rng.normal(size=N * (N - 1) // 2).astype(np.float32)
    sorting = 2 * LAYERS * seconds(lambda: np.argsort(numbers))
    least = (2 * LAYERS * N**2 * WIDTH + N**2 * (2 * LAYERS) ** 2) / rate
    floor = least * len(measures) + sorting
    together = seconds(lambda: hl.compare(a, b, measures=measures, progress=False))
    apart = {str(m): seconds(lambda m=m: hl.compare(a, b, measures=m, progress=False)) for m in measures}
    print(f"least operations of one measure {least:.2f} s at {rate / 1e9:.0f} GFLOP/s; sorts {sorting:.2f} s")
    print(f"together {together:.2f} s, {together / floor:.2f} × the sum of {floor:.2f} s")
    print(
        f"one by one {sum(apart.values()):.2f} s: " + ", ".join(f"{name} {value:.2f}" for name, value in apart.items())
    )


if __name__ == "__main__":
    main()
