"""Pairs of representations of every kind the laws must survive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TwoRepresentations = tuple[np.ndarray, np.ndarray]


def related(rng: np.random.Generator, n: int = 60, p: int = 5, q: int = 7, noise: float = 1.0) -> TwoRepresentations:
    shared = rng.normal(size=(n, 3)) * [3.0, 2.0, 1.0]
    x = shared @ rng.normal(size=(3, p)) + noise * rng.normal(size=(n, p))
    y = shared @ rng.normal(size=(3, q)) + noise * rng.normal(size=(n, q))
    return x, y


def rank_deficient(rng: np.random.Generator) -> TwoRepresentations:
    x, y = related(rng)
    return np.hstack([x, x[:, :2] + x[:, 2:4]]), y


def wide(rng: np.random.Generator) -> TwoRepresentations:
    return related(rng, n=12, p=30, q=25)


def shifted(rng: np.random.Generator) -> TwoRepresentations:
    x, y = related(rng)
    return x + 1000.0, y - 300.0


def scaled(rng: np.random.Generator) -> TwoRepresentations:
    x, y = related(rng)
    return x * 1e9, y * 1e-9


def tiny(rng: np.random.Generator) -> TwoRepresentations:
    return related(rng, n=5, p=2, q=2)


def one_column(rng: np.random.Generator) -> TwoRepresentations:
    return related(rng, p=1, q=1)


def duplicated_rows(rng: np.random.Generator) -> TwoRepresentations:
    x, y = related(rng, n=30)
    return np.vstack([x, x[:10]]), np.vstack([y, y[:10]])


def constant_column(rng: np.random.Generator) -> TwoRepresentations:
    x, y = related(rng)
    x[:, 1] = 7.0
    return x, y


CASES: dict[str, Callable[[np.random.Generator], TwoRepresentations]] = {
    f.__name__: f
    for f in (
        related,
        rank_deficient,
        wide,
        shifted,
        scaled,
        tiny,
        one_column,
        duplicated_rows,
        constant_column,
    )
}
ROOTS = {
    "angular_shape_distance",
    "gulp_distance",
    "permutation_procrustes_distance",
    "procrustes_distance",
    "size_and_shape_distance",
    "soft_matching_distance",
}
"""A root of a difference has half of the digits near 0: its square is what has them all."""
