"""The Gram matrix of one batch of a layer: it stands for the features, of which nothing is kept.

It is formed at once, because what runs later may change an output in place. On a host its numbers are looked at, so that features
are centred first only where that is needed. Elsewhere looking would wait for the device, so that features are always centred and
scaled first, and what is wrong with a batch is read together with its terms.
"""

from __future__ import annotations

import math

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
from homolog.devices import exact_products, is_elsewhere
from homolog.linalg import power_of_two
from homolog.operands.gram_products import inner_product
from homolog.states.compared_layers import check_magnitude

TINY = 1e-30
"""Gram matrices below this are formed again from scaled features: float32 ends at 1e-38."""
OFFSET = 0.05
"""Centring may leave this much of a Gram matrix before features are centred first."""
SPLIT = 192
"""Rows from which two smaller products are faster than a whole one."""
LARGEST = 1e140
"""Entries of a Gram matrix end at 1e308."""


class BatchGram:
    """The Gram matrix of one batch of one layer, in whatever floats centring it leaves enough digits."""

    def __init__(self, gram: Array, width: int) -> None:
        self.gram, self.shape = gram, (int(gram.shape[0]), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> BatchGram:
        return BatchGram(self.gram[rows, rows], self.shape[1])


def batch_gram(features: Array, name: str) -> BatchGram:
    """Return the Gram matrix of a batch, in the library and on the device of its features where these have float64."""
    x = at_least_single(features)
    gram = unread_gram(x) if is_far(x) else checked_gram(x, name)
    return BatchGram(where_float64_is(gram), int(x.shape[1]))


def is_far(x: Array) -> bool:
    """Say whether looking at a number would wait for a device, which has float64."""
    return is_elsewhere(x) and has_float64(namespace(x), x.device)


def at_least_single(x: Array) -> Array:
    """Return a batch in a dtype of at least 32 bits, without its gradient."""
    xp = namespace(x)
    small = xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits <= 32
    return xp.astype(detached(x), xp.float32, copy=False) if small else precise(detached(x))


def checked_gram(x: Array, name: str) -> Array:
    """Return the Gram matrix of a batch, which need not be centred; 0 where nothing but rounding is left.

    Features are not centred first, which would write them once more, unless an offset, or their size, leaves the Gram matrix too
    few digits: centring it does not care what was added to all rows.
    """
    xp, n = namespace(x), x.shape[0]
    with np.errstate(over="ignore", invalid="ignore"):
        gram = product(x)
        size, total = scalar(xp.linalg.trace(gram)) / n, scalar(xp.sum(gram))
    if size > TINY and size - total / n**2 > OFFSET * size:  # which NaN and infinity are not
        return gram
    check_finite(x, name)
    near = x - xp.mean(x, axis=0, keepdims=True)
    near = near - xp.mean(near, axis=0, keepdims=True)
    check_magnitude(near, name, LARGEST)
    scale, offset = scalar(power_of_two(xp.max(xp.abs(near)))), scalar(xp.max(xp.abs(x)))
    gram = in_float64(product(near / scale))
    # A unit that never varies differs from its mean by the rounding of both.
    return gram * (0 if scale <= 4 * machine_epsilon(x) * offset else scale**2)


def unread_gram(x: Array) -> Array:
    """Return the same without looking at any number: NaN where features are not finite, or are too large."""
    xp = namespace(x)
    mean = xp.mean(x, axis=0, keepdims=True)
    near = x - mean
    low, high = xp.min(near), xp.max(near)
    size = xp.maximum(-low, high)
    scale = power_of_two(size)
    gram = precise(product(near / scale))
    offset = xp.max(xp.abs(mean)) + size
    factor = precise(xp.where(size <= 4 * machine_epsilon(x) * offset, xp.zeros_like(size), scale)) ** 2
    return gram * xp.where(factor <= LARGEST**2, factor, xp.full_like(factor, math.nan))


def product(x: Array) -> Array:
    """Return X X^T: of many rows three of its four blocks, since it is symmetric.

    In the library of x: threads of another one would fight with those that run the model.
    """
    n, xp = x.shape[0], namespace(x)
    with exact_products():  # the model runs with the precision that PyTorch was told, products of its layers do not
        if n < SPLIT:
            return x @ x.T
        above, below = x[: n // 2, :] @ x.T, x[n // 2 :, :] @ x[n // 2 :, :].T
    return xp.concat([above, xp.concat([above[:, n // 2 :].T, below], axis=1)], axis=0)


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
