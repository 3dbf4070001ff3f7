"""How much longer CKA takes as a loss than three plain lines of PyTorch: both in turn, in one process on one thread.

    python benchmarks/loss.py

The times are of the processor, so that other processes weigh little; each figure is the lower quartile of 60 rounds of 60 calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

import homolog as hl

ROUNDS, CALLS = 60, 60
SHAPES = ((64, 64), (256, 64), (64, 256))


def plain(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    between, own_x, own_y = y.T @ x, x.T @ x, y.T @ y
    return (between * between).sum() / ((own_x * own_x).sum() * (own_y * own_y).sum()).sqrt()


def seconds(*functions: Callable[[], object]) -> list[float]:
    """Return the seconds of a call of each function, called in turn."""
    found = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, found, strict=True):
            start = time.process_time()
            for _ in range(CALLS):
                function()
            times.append((time.process_time() - start) / CALLS)
    return [float(np.quantile(times, 0.25)) for times in found]


def descent(measure, x, y) -> Callable[[], None]:
    """Return a step: the value of copies that require a gradient, and backward."""

    def step() -> None:
        measure(x.clone().requires_grad_(), y.clone().requires_grad_()).backward()

    return step


def main() -> None:
    torch.set_num_threads(1)
    print("| tensors | estimator | forward | plain lines | ratio | and backward | plain lines | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.float64):
        for shape in SHAPES:
            x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) for seed in (0, 1))
            for estimator in ("biased", "debiased") if shape == (64, 64) else ("biased",):
                measure = hl.measure("cka", estimator=estimator)
                values = seconds(lambda x=x, y=y, measure=measure: measure(x, y), lambda x=x, y=y: plain(x, y))
                steps = seconds(descent(measure, x, y), descent(plain, x, y))
                cells = [f"{1e6 * t:.0f} µs | {1e6 * p:.0f} µs | {t / p:.2f}" for t, p in (values, steps)]
                print(f"| {shape[0]} × {shape[1]}, {str(dtype)[6:]} | {estimator} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
