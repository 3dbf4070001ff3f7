"""Gradients where a decomposition has none: singular values that tie, ranks that are not full, and corners, which are told."""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest
import torch

import homolog as hl

FORMS = [form for record in hl.measures().values() for form in record.forms() if form.differentiable]
OPTIONS = [
    "svcca(threshold=0.8)",
    "svcca(threshold=0.8,statistic=rho)",
    "canonical_ridge(regularization=0.1)",
    "canonical_ridge(regularization=30)",
    "angular_shape_distance(alpha=0)",
    "angular_shape_distance(alpha=0.3)",
    "gulp_distance(regularization=0.5)",
    "linear_predictivity(regularization=2)",
    "cka(kernel=rbf,median_fraction=0.4)",
]
FORMS += [hl.measure(spec) for spec in OPTIONS]
GAPS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6)


def spectrum(rng, n, values):
    """Centred features with these singular values, in a basis of their own."""
    u, _ = np.linalg.qr(rng.normal(size=(n, len(values))) - np.zeros((n, 1)))
    u, _ = np.linalg.qr(u - u.mean(axis=0))
    v, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return (u * values) @ v


def other(rng, x, q=4):
    return x @ rng.normal(size=(x.shape[1], q)) + rng.normal(size=(len(x), q))


def with_gap(gap):
    def make(rng):
        x = spectrum(rng, 10, np.array([1.0, 1.0 + gap, 0.4]))
        return x, other(rng, x)

    return make


def whitened(rng):
    x = spectrum(rng, 10, np.ones(3))
    return x, spectrum(rng, 10, np.ones(4)) + 0.0


def one_hot(rng):
    labels = np.repeat(np.eye(3), 4, axis=0)
    return labels, other(rng, labels)


def labels_twice(rng):
    rng.normal()
    return np.repeat(np.eye(3), 4, axis=0), np.tile(np.eye(4), (3, 1)) + 0.3 * np.repeat(np.eye(3), 4, axis=0)[:, [0, 1, 2, 2]]


def wide(rng):
    x = rng.normal(size=(6, 9))
    return x, rng.normal(size=(6, 3))


def both_wide(rng):
    return rng.normal(size=(6, 9)), rng.normal(size=(6, 8))


def half_saturated(rng):
    return rng.normal(size=(7, 4)), rng.normal(size=(7, 4))


def duplicated_rows(rng):
    x = rng.normal(size=(8, 3))
    y = other(rng, x)
    return np.vstack([x, x[:3]]), np.vstack([y, y[:3]])


def deficient(rng):
    x = rng.normal(size=(10, 3))
    x = x @ rng.normal(size=(3, 5))
    return x, other(rng, x)


def orthogonal_columns(rng):
    u, _ = np.linalg.qr(rng.normal(size=(10, 4)) - 0)
    u, _ = np.linalg.qr(u - u.mean(axis=0))
    return u[:, :3] * [3.0, 2.0, 2.0], other(rng, u[:, :3])


def cut(rng):
    """Directions that the rank rule leaves out, though they are more than rounding."""
    x = spectrum(rng, 10, np.array([1.0, 1.0, 2e-6, 6e-7]))
    return x, other(rng, x)


CASES = {f"gap_{gap:g}": with_gap(gap) for gap in GAPS} | {
    f.__name__: f
    for f in (
        whitened,
        one_hot,
        labels_twice,
        wide,
        both_wide,
        half_saturated,
        duplicated_rows,
        deficient,
        orthogonal_columns,
        cut,
    )
}


def along(rng, x):
    """A path through x on which the rank stays as it is: t → features."""
    n, p = x.shape
    mean = x.mean(axis=0)
    rows, columns = rng.normal(size=(n, n)) / n, rng.normal(size=(p, p)) / p
    shift = rng.normal(size=p)
    return lambda t: mean + t * shift + (np.eye(n) + t * rows) @ (x - mean) @ (np.eye(p) + t * columns)


def quiet(form, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        return float(form(*given))


def difference(function):
    """Derivative at 0 by central differences of fourth order."""
    h = 1e-3
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def torch_gradients(form, x, y):
    given = [torch.tensor(side, requires_grad=True) for side in (x, y)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        value = form(*given)
    value.backward()
    return float(value), [side.grad.numpy() for side in given], [w for w in told if w.category is hl.GradientWarning]


def slope(path):
    """The derivative of a path, which is quadratic in t."""
    return (path(0.5) - path(-0.5)) / 1.0
