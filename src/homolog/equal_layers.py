"""Whether layers of two models are equal to rounding, which only the same network gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from homolog.arrays import to_numpy
from homolog.rows import Rows

ROUNDING = {2: 2.0, 4: 100.0, 8: 1000.0}
"""Bytes of a number → by how many units in the last place, of the largest in its column, equal layers may differ."""
_AT_ONCE = 1 << 20
"""Numbers that are looked at together, of layers that are not very wide."""


def equal_layers(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[list[tuple[str, str]], int]:
    """Return the pairs of layers that are equal to rounding, and how many were looked at.

    Layers of the same name are looked at, or one after the other where no name is in both and they are as many. The input of
    a model is the same for all models, and no layer of its own.
    """
    names = [[name for name in layers if name != "input"] for layers in (a, b)]
    shared = [(name, name) for name in names[0] if name in b]
    if not shared and len(names[0]) == len(names[1]):
        shared = list(zip(*names, strict=True))
    return [pair for pair in shared if are_equal(a[pair[0]], b[pair[1]])], len(shared)


def are_equal(x: Any, y: Any) -> bool:
    """Say whether two layers are equal to rounding, and vary over the examples; the first row mostly tells that they are not.

    >>> x = np.random.default_rng(0).normal(size=(9, 4))
    >>> are_equal(x, x * (1 + 1e-15)), are_equal(x, 2 * x), are_equal(x, -x[:, ::-1]), are_equal(0 * x, 0 * x)
    (True, False, False, False)
    """
    if tuple(x.shape) != tuple(y.shape):
        return False
    most = rounding(x, y)
    first, other = (_block(layer, slice(0, 1)) for layer in (x, y))
    if not _within(first, other, 100 * most, np.abs(first).max()):
        return False
    varies, largest = False, np.zeros(x.shape[1])
    for rows in _stretches(x.shape):
        one, other = _block(x, rows), _block(y, rows)
        largest = np.maximum(largest, np.abs(one).max(axis=0))
        if not _within(one, other, most, largest):
            return False
        varies = varies or bool((one != first).any())
    return varies


def rounding(*layers: Any) -> float:
    """Return by which part of the largest number equal layers may differ, from the coarsest of their types."""
    found = []
    for layer in layers:
        dtype = _block(layer, slice(0, 1)).dtype
        found.append(ROUNDING.get(dtype.itemsize, 1000.0) * float(np.finfo(dtype).eps))
    return max(found)


def _stretches(shape: tuple[int, int]) -> Iterator[slice]:
    step = max(64, _AT_ONCE // max(1, shape[1]))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _block(layer: Any, rows: slice) -> np.ndarray:
    found = np.asarray(layer[rows] if isinstance(layer, Rows) else to_numpy(layer[rows]))
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def _within(one: np.ndarray, other: np.ndarray, most: float, largest: Any) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(one.astype(np.float64) - other) <= most * largest).all())
