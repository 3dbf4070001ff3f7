"""Pairs of representations at which a decomposition has no derivative, or nearly none."""

from __future__ import annotations

import numpy as np


def orthonormal(rng, n, p):
    """Orthonormal columns of mean 0."""
    u = rng.normal(size=(n, p))
    return np.linalg.qr(u - u.mean(axis=0))[0]


def rotation(rng, p):
    return np.linalg.qr(rng.normal(size=(p, p)))[0]


def of_spectrum(rng, values, n=10):
    """Features with these singular values, away from the origin, in a basis of their own."""
    columns = orthonormal(rng, n, len(values)) * values
    return columns @ rotation(rng, len(values)) + rng.normal(size=len(values))


def akin(rng, x, q=4):
    return x @ rng.normal(size=(x.shape[1], q)) + rng.normal(size=(len(x), q))


def with_gap(gap):
    def make(rng):
        x = of_spectrum(rng, [1.0, 1.0 + gap, 0.4])
        return x, akin(rng, x)

    return make


def whitened(rng):
    return of_spectrum(rng, np.ones(3)), of_spectrum(rng, np.ones(4))


def one_hot(rng):
    labels = np.repeat(np.eye(3), 4, axis=0)
    return labels, akin(rng, labels)


def two_labellings(rng):
    first = np.repeat(np.eye(3), 4, axis=0)
    return first, np.tile(np.eye(4), (3, 1)) + 0.3 * first[:, [0, 1, 2, 2]]


def wide(rng):
    return rng.normal(size=(6, 9)), rng.normal(size=(6, 3))


def both_wide(rng):
    return rng.normal(size=(6, 9)), rng.normal(size=(6, 8))


def half_saturated(rng):
    return rng.normal(size=(7, 4)), rng.normal(size=(7, 4))


def duplicated_rows(rng):
    x = rng.normal(size=(8, 3))
    y = akin(rng, x)
    return np.vstack([x, x[:3]]), np.vstack([y, y[:3]])


def deficient(rng):
    x = rng.normal(size=(10, 3)) @ rng.normal(size=(3, 5))
    return x, akin(rng, x)


def orthogonal_columns(rng):
    x = orthonormal(rng, 10, 3) * [3.0, 2.0, 2.0] + 1
    return x, akin(rng, x)


def cut(rng):
    """Directions that the rank rule leaves out, though they are more than rounding."""
    x = of_spectrum(rng, [1.0, 1.0, 2e-6, 6e-7])
    return x, akin(rng, x)


def itself(rng):
    x = rng.normal(size=(10, 3))
    return x, x.copy()


def half_orthogonal(rng):
    """One canonical correlation of 0."""
    u = orthonormal(rng, 10, 5)
    y = np.column_stack([u[:, 0] + 0.5 * u[:, 3], u[:, 2] + u[:, 3]])
    return (u[:, :2] * [2.0, 1.1]) @ rotation(rng, 2) + 1, y @ rotation(rng, 2) - 0.5


CASES = {f"gap_{gap:g}": with_gap(gap) for gap in (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6)}
CASES |= {
    make.__name__: make
    for make in (
        whitened,
        one_hot,
        two_labellings,
        wide,
        both_wide,
        half_saturated,
        duplicated_rows,
        deficient,
        orthogonal_columns,
        cut,
        itself,
        half_orthogonal,
    )
}
