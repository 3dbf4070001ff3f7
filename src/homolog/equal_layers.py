"""Whether layers of two models are equal to rounding, which only the same network gives, and which layers are the input."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import to_numpy
from homolog.pairing import digest_of_row
from homolog.rows import Rows
from homolog.sketching import SketchedRows, kept_of

ROUNDING = {2: 2.0, 4: 100.0, 8: 1000.0}
"""Bytes of a number → by how many units in the last place, of the largest in its column, equal layers may differ."""
INPUT = "input"
"""How extraction calls the input of a model."""
_AT_ONCE = 1 << 17
"""Numbers that are looked at together, of layers that are not very wide."""


class Equality(NamedTuple):
    """Layers of two models that are equal."""

    a: str
    b: str
    equal: tuple[str, ...]
    """Layers, as the first model calls them."""
    compared: int
    """How many were looked at that vary in one of the two at least."""
    apart: bool = False
    """Whether each of the two has layers that the other lacks, which nothing can be said of."""

    @property
    def whole(self) -> bool:
        """Whether all layers are equal, so that the models are one network as far as anybody can see."""
        return len(self.equal) == self.compared and not self.apart


def equal_models(models: Mapping[str, Mapping[str, Any]]) -> Iterator[Equality]:
    """Yield pairs of models of which any layers are equal to rounding.

    Layers of the same name are looked at, or one after the other where no name is in both and they are as many. The input of
    a model is no layer of its own, and the same for all; a layer that is constant, and equal in both, says nothing of who made
    it, and does not count. Cost: the first row of each layer, and all of those that agree in it.
    """
    own = {}
    for model, layers in models.items():
        inputs = input_layers(layers)
        own[model] = {name: x for name, x in layers.items() if name not in inputs}
    held: dict[tuple[str, str], np.ndarray] = {}

    def first(model: str, name: str) -> np.ndarray:
        # Once for all pairs, and of layers alone that have another of their shape: sparse ones may be very wide.
        if (model, name) not in held:
            held[model, name] = _block(kept_of(own[model][name]), slice(0, 1))
        return held[model, name]

    for a, b in itertools.combinations(own, 2):
        pairs = [(name, name) for name in own[a] if name in own[b]]
        if not pairs and len(own[a]) == len(own[b]):
            pairs = list(zip(own[a], own[b], strict=True))
        alike = [(x, y) for x, y in pairs if _of_one_kind(own[a][x], own[b][y])]
        near = [(x, y) for x, y in alike if _may_be_equal(first(a, x), first(b, y))]
        found = {x: _compared(kept_of(own[a][x]), kept_of(own[b][y])) for x, y in near}
        equal = tuple(x for x, (same, varies) in found.items() if same and varies)
        constant = sum(same and not varies for same, varies in found.values())
        if equal:
            yield Equality(a, b, equal, len(pairs) - constant, min(len(own[a]), len(own[b])) > len(pairs))


def _of_one_kind(x: Any, y: Any) -> bool:
    """Say whether two layers may be equal: of one shape, and where sketches are kept of them made of the same random numbers."""
    keys = {layer.sketch.key if isinstance(layer, SketchedRows) else None for layer in (x, y)}
    return tuple(x.shape) == tuple(y.shape) and len(keys) == 1


def input_layers(layers: Mapping[str, Any]) -> list[str]:
    """Name the layers that are the input of the model itself: called so by extraction, or equal to it in every row.

    Such as a Flatten before the first weights. The digests of the inputs tell it, which extraction makes; of plain arrays, and
    where a layer scales the input or puts its numbers in another order, nothing does. Cost: the first row of each layer, and all
    of those that are the input in it.
    """
    digests = getattr(layers, "digests", None)
    return [name for name, x in layers.items() if name == INPUT or (digests is not None and _has(x, digests))]


def _has(layer: Any, digests: np.ndarray) -> bool:
    """Say whether the digests of inputs are those of the rows of a layer, of which the first one most often tells."""
    if isinstance(layer, SketchedRows):
        return False
    for rows in itertools.chain([slice(0, 1)], _stretches(layer.shape)):
        block = np.asarray(layer[rows] if isinstance(layer, Rows) else to_numpy(layer[rows, :]))
        if [int.from_bytes(digest_of_row(row.tobytes()), "little") for row in block] != digests[rows].tolist():
            return False
    return True


def are_equal(x: Any, y: Any) -> bool:
    """Say whether two layers are equal to rounding, and vary over the examples.

    >>> x = np.random.default_rng(0).normal(size=(9, 4))
    >>> are_equal(x, x * (1 + 1e-15)), are_equal(x, 2 * x), are_equal(x, -x[:, ::-1]), are_equal(0 * x, 0 * x)
    (True, False, False, False)
    """
    return all(_compared(x, y))


def _compared(x: Any, y: Any) -> tuple[bool, bool]:
    """Say whether two layers are equal to rounding, and whether they vary over the examples that were looked at."""
    if tuple(x.shape) != tuple(y.shape):
        return False, True
    most, first = rounding(x, y), _block(x, slice(0, 1))
    varies, largest = False, np.zeros(x.shape[1])
    for rows in _stretches(x.shape):
        one, other = _block(x, rows), _block(y, rows)
        largest = np.maximum(largest, np.abs(one).max(axis=0))
        if not _within(one, other, most, largest):
            return False, True
        varies = varies or bool((one != first).any())
    return True, varies


def rounding(*layers: Any) -> float:
    """Return by which part of the largest number equal layers may differ, from the coarsest of their types."""
    return max(_rounding(_block(layer, slice(0, 1))) for layer in layers)


def _rounding(block: np.ndarray) -> float:
    return ROUNDING.get(block.dtype.itemsize, 1000.0) * float(np.finfo(block.dtype).eps)


def _may_be_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Say whether first rows leave it open; of a column the largest number is not known yet, but that of the row is near it."""
    most = 100 * max(_rounding(one), _rounding(other))
    return one.shape == other.shape and _within(one, other, most, np.abs(one).max())


def _stretches(shape: tuple[int, int]) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, shape[1]))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _block(layer: Any, rows: slice) -> np.ndarray:
    found = np.asarray(layer[rows] if isinstance(layer, Rows) else to_numpy(layer[rows, :]))
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def _within(one: np.ndarray, other: np.ndarray, most: float, largest: Any) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(one.astype(np.float64) - other) <= most * largest).all())
