"""Residual streams with blocks that do nothing, and with features and rows much larger than all others."""

from __future__ import annotations

import numpy as np

BLOCKS, IDENTITY = 10, (3, 6, 7)


def stream(n: int = 300, p: int = 24, noise: float = 1e-3, seed: int = 0) -> dict[str, np.ndarray]:
    """Ten residual blocks of random weights, three of which add next to nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    found = {"embed": x}
    for i in range(BLOCKS):
        weights = rng.normal(size=(p, p)) / np.sqrt(p)
        x = x + (noise * rng.normal(size=x.shape) if i in IDENTITY else np.maximum(x @ weights, 0) / 2)
        found[f"block.{i}"] = x
    return found


def with_feature(layers, feature, value, first=0, rows=slice(None)):
    """The same with one feature that has a value in some rows, from a layer on."""
    found = {}
    for place, (name, x) in enumerate(layers.items()):
        found[name] = x.copy()
        if place >= first:
            found[name][rows, feature] = value
    return found


def less_columns(layers, features):
    return {name: np.delete(x, features, axis=1) for name, x in layers.items()}


def less_rows(layers, rows):
    return {name: np.delete(x, rows, axis=0) for name, x in layers.items()}
