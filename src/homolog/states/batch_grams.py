"""The Gram matrix of one batch of a layer: it stands for the features, of which nothing is kept.

It is formed at once, because what runs later may change an output in place. On a host its numbers are looked at, so that features
are centred first only where that is needed. Elsewhere looking would wait for the device, so that features are always centred and
scaled first, and what is wrong with a batch is read together with its terms.
"""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import device as device_of
from array_api_compat import is_torch_array

from homolog.arrays import (
    Array,
    check_finite,
    detached,
    has_float64,
    identity_like,
    machine_epsilon,
    namespace,
    precise,
    scalar,
    to_numpy,
)
from homolog.blocks.device_tiles import sums_of_products
from homolog.devices import exact_products, is_elsewhere
from homolog.linalg import column_means, power_of_two
from homolog.operands.gram_products import inner_product
from homolog.states.compared_layers import check_magnitude

TINY = 1e-30
"""Gram matrices below this are formed again from scaled features: float32 ends at 1e-38."""
OFFSET = 0.05
"""Centring may leave this much of a Gram matrix before features are centred first."""
SMALL, LARGE = 1e-12, 1e15
"""Features between these need no scaling: their products are far from the ends of float32."""
LARGEST = 1e140
"""Entries of a Gram matrix end at 1e308."""
SPLIT = 192
"""Rows from which two smaller products are faster than a whole one."""
PIECE = 2**19
"""Features that are centred at a time: as many stay in cache, and fresh memory would cost as much as their product."""
FEW_ROWS = 48
"""Below these oneDNN's product is no faster than any other."""


class BatchGram:
    """The Gram matrix of one batch of one layer, in whatever floats centring it leaves enough digits."""

    def __init__(self, gram: Array, width: int) -> None:
        self.gram, self.shape = gram, (int(gram.shape[0]), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> BatchGram:
        return BatchGram(self.gram[rows, rows], self.shape[1])


class BatchGrams:
    """Makes the Gram matrices of batches, and remembers of which layers an offset has to go first."""

    def __init__(self) -> None:
        self._shifted: set[str] = set()

    def of(self, features: Array, name: str) -> BatchGram:
        """Return the Gram matrix of a batch, in the library and on the device of its features where these have float64."""
        x = at_least_single(features)
        if is_far(x):
            gram = unread_gram(x)
        elif name in self._shifted or (found := raw_gram(x)) is None:
            gram = near_gram(x, name)
            self._shifted.add(name)  # which a batch that is refused does not show
        else:
            gram = found
        return BatchGram(where_float64_is(gram), int(x.shape[1]))


def is_far(x: Array) -> bool:
    """Say whether looking at a number would wait for a device, which has float64."""
    return is_elsewhere(x) and has_float64(namespace(x), x.device)


def at_least_single(x: Array) -> Array:
    """Return a batch in a dtype of at least 32 bits, without its gradient."""
    xp = namespace(x)
    small = xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits <= 32
    return xp.astype(detached(x), xp.float32, copy=False) if small else precise(detached(x))


def raw_gram(x: Array) -> Array | None:
    """Return X X^T, unless an offset, or the size of the features, leaves it too few digits once it is centred.

    Features are not centred first, which would write them once more: centring X X^T does not care what was added to all rows.
    """
    xp, n = namespace(x), x.shape[0]
    with np.errstate(over="ignore", invalid="ignore"):
        gram = product(x)
        size, total = scalar(xp.linalg.trace(gram)) / n, scalar(xp.sum(gram))
    enough = size > TINY and size - total / n**2 > OFFSET * size  # which NaN and infinity are not
    return gram if enough else None


def near_gram(x: Array, name: str) -> Array:
    """Return the Gram matrix of centred features, in float64; 0 where nothing but rounding is left."""
    gram, size = _near_product(x)
    if not SMALL < size < LARGE:
        check_finite(x, name)
        check_magnitude(x, name, LARGEST)
    if not math.isfinite(size):  # a sum was not, of numbers that are
        return near_gram(x / 2.0**64, name) * 2.0**128
    scale, offset = scalar(power_of_two(np.asarray(size))), scalar(namespace(x).max(namespace(x).abs(x[:1, :])))
    # A unit that never varies differs from its mean by the rounding of both.
    if scale <= 4 * machine_epsilon(x) * (offset + size):
        return 0 * gram
    return gram if SMALL < size < LARGE else _near_product(x, scale)[0] * scale**2


def _near_product(x: Array, scale: float = 1.0) -> tuple[Array, float]:
    """Return the Gram matrix of features that are centred, and divided by a number, and the largest of them, piece by piece."""
    xp, columns = namespace(x), max(1, PIECE // x.shape[0])
    total: Any = 0
    sizes = []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, x.shape[1], columns):
            near = x[:, start : start + columns]
            for _ in range(2):  # a mean is rounded
                near = near - xp.mean(near, axis=0, keepdims=True)
            sizes.append(scalar(xp.max(xp.abs(near))))
            total = total + in_float64(product(near if scale == 1 else near / scale))
    return total, float(np.max(sizes))


def unread_gram(x: Array) -> Array:
    """Return the same without looking at any number: NaN where features are not finite, or are too large."""
    xp = namespace(x)
    mean = column_means(x)
    near = x - mean
    low, high = xp.min(near), xp.max(near)
    size = xp.maximum(-low, high)
    scale = power_of_two(size)
    with exact_products():
        # In pieces: one product of few rows and many columns would keep few processors of a GPU busy.
        gram = sums_of_products(near / scale)
    offset = xp.max(xp.abs(mean)) + size
    factor = precise(xp.where(scale <= 4 * machine_epsilon(x) * offset, xp.zeros_like(size), scale)) ** 2
    return gram * xp.where(factor <= LARGEST**2, factor, xp.full_like(factor, math.nan))


def product(x: Array) -> Array:
    """Return X X^T, of many rows three of its four blocks, since it is symmetric.

    In the library of x: threads of another one would fight with those that run the model.
    """
    n, xp = int(x.shape[0]), namespace(x)
    times = _times(x)
    with exact_products():  # the model runs with the precision that PyTorch was told, products of its layers do not
        if times is None and n < SPLIT:
            return x @ x.T
        times = times or _plain_times
        above, below = times(x[: n // 2, :], x), times(x[n // 2 :, :], x[n // 2 :, :])
    return xp.concat([above, xp.concat([above[:, n // 2 :].T, below], axis=1)], axis=0)


def _plain_times(x: Array, y: Array) -> Array:
    return x @ y.T


def _times(x: Array) -> Callable[[Array, Array], Array] | None:
    """Return oneDNN's X Y^T where the general product would mostly copy features; None where there is none.

    PyTorch has no public name for it, so that it is looked for.
    """
    few = x.shape[0] < FEW_ROWS or x.shape[0] * x.shape[1] < PIECE
    torch = sys.modules.get("torch")
    if few or torch is None or type(x) is not torch.Tensor or x.device.type != "cpu":
        return None
    fits = x.dtype == torch.float32 and x.is_contiguous() and not x.requires_grad
    return _one_dnn() if fits and torch.backends.mkldnn.enabled else None


@cache
def _one_dnn() -> Callable[[Array, Array], Array] | None:
    torch = sys.modules["torch"]
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    known = platform.machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()
    return (lambda x, y: linear(x, y, None, "none", [], "")) if known and linear is not None else None


def where_float64_is(gram: Array) -> Array:
    """Return a small array where it is, if it is PyTorch's and its device has float64; any other in NumPy."""
    return gram if is_torch_array(gram) and has_float64(namespace(gram), device_of(gram)) else to_numpy(gram)


def in_float64(gram: Array) -> Array:
    """Return a small array in float64."""
    return precise(where_float64_is(gram))


def stacked(grams: list[BatchGram]) -> Array:
    """Return centred Gram matrices in float64, (layers, n, n), where they are; in NumPy where they are in several places."""
    arrays = [one.gram for one in grams]
    if len({(type(array), str(device_of(array))) for array in arrays}) > 1:
        arrays = [to_numpy(array) for array in arrays]
    xp = namespace(arrays[0])
    found = xp.stack([precise(array) for array in arrays])
    for _ in range(2):  # the first means are rounded: one entry may be much larger than what centring leaves
        found = found - xp.mean(found, axis=1, keepdims=True)
        found = found - xp.mean(found, axis=2, keepdims=True)
    return found


def unbiased_products(grams: Array) -> Array:
    """Return ⟨Ã, B̃⟩ of the U-centred Gram matrices of all pairs, n(n − 3) times their HSIC, from centred ones (layers, n, n)."""
    xp = namespace(grams)
    diagonals = xp.linalg.diagonal(grams)
    traces = xp.sum(diagonals, axis=1)
    flat = xp.reshape(grams * (1 - identity_like(grams[0, ...])), (grams.shape[0], -1))
    products = diagonals @ diagonals.T
    return inner_product(grams.shape[1], flat @ flat.T, products, traces[:, None] * traces[None, :], "debiased")
