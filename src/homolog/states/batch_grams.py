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
from homolog.linalg import double_centred, power_of_two
from homolog.operands.gram_products import inner_product
from homolog.states.compared_layers import check_magnitude

TINY = 1e-30
"""Gram matrices below this are formed again from scaled features: float32 ends at 1e-38."""
OFFSET = 0.05
"""Centring may leave this much of a Gram matrix before features are centred first."""
LARGEST = 1e140
"""Entries of a Gram matrix end at 1e308."""


class BatchGram:
    """The centred Gram matrix of one batch of one layer, in float64."""

    def __init__(self, gram: Array, width: int) -> None:
        self.gram, self.shape = gram, (int(gram.shape[0]), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> BatchGram:
        return BatchGram(double_centred(self.gram[rows, rows]), self.shape[1])


def batch_gram(features: Array, name: str) -> BatchGram:
    """Return the Gram matrix of a batch, in the library and on the device of its features where these have float64."""
    x = at_least_single(features)
    gram = unread_gram(x) if is_far(x) else centred_gram(x, name)
    return BatchGram(gram, int(x.shape[1]))


def is_far(x: Array) -> bool:
    """Say whether looking at a number would wait for a device, which has float64."""
    return is_elsewhere(x) and has_float64(namespace(x), x.device)


def at_least_single(x: Array) -> Array:
    """Return a batch in a dtype of at least 32 bits, without its gradient."""
    xp = namespace(x)
    small = xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits <= 32
    return xp.astype(detached(x), xp.float32, copy=False) if small else precise(detached(x))


def centred_gram(x: Array, name: str) -> Array:
    """Return the centred Gram matrix of a batch, in float64; 0 where nothing but rounding is left.

    Features are not centred first, which would write them once more, unless an offset, or their size, leaves the Gram matrix too
    few digits: centring it does not care what was added to all rows.
    """
    raw, gram = _centred(product(x))
    if not TINY < raw < math.inf or gram is None or _largest(gram) < OFFSET * raw:
        check_finite(x, name)
        xp = namespace(x)
        near = x - xp.mean(x, axis=0, keepdims=True)
        near = near - xp.mean(near, axis=0, keepdims=True)
        check_magnitude(near, name, LARGEST)
        size = scalar(power_of_two(xp.max(xp.abs(near))))
        raw, gram = _centred(product(near / size))
        assert gram is not None  # its entries are about 1
        offset = scalar(xp.max(xp.abs(x)))
        # A unit that never varies differs from its mean by the rounding of both.
        nothing = size <= 4 * machine_epsilon(x) * offset
        gram = namespace(gram).zeros_like(gram) if nothing else gram * size**2
    return gram


def unread_gram(x: Array) -> Array:
    """Return the same without looking at any number: NaN where features are not finite, or are too large."""
    xp = namespace(x)
    mean = xp.mean(x, axis=0, keepdims=True)
    near = x - mean
    low, high = xp.min(near), xp.max(near)
    size = xp.maximum(-low, high)
    scale = power_of_two(size)
    gram = double_centred(precise(product(near / scale)))
    offset = xp.max(xp.abs(mean)) + size
    factor = precise(xp.where(size <= 4 * machine_epsilon(x) * offset, xp.zeros_like(size), scale)) ** 2
    return gram * xp.where(factor <= LARGEST**2, factor, xp.full_like(factor, math.nan))


def _largest(gram: Array) -> float:
    return scalar(namespace(gram).max(namespace(gram).abs(gram)))


def _centred(gram: Array) -> tuple[float, Array | None]:
    """Return the largest entry of a Gram matrix, and the matrix centred; None where it is not finite."""
    raw = _largest(gram)
    if not math.isfinite(raw):
        return math.inf, None
    return raw, double_centred(gram)


def product(x: Array) -> Array:
    """Return X X^T in float64: three of its four blocks, since it is symmetric.

    In the library of x: threads of another one would fight with those that run the model.
    """
    half = x.shape[0] // 2
    # The model runs with the precision that PyTorch was told, products of its layers do not.
    with np.errstate(over="ignore", invalid="ignore"), exact_products():
        above, below = (in_float64(part) for part in (x[:half, :] @ x.T, x[half:, :] @ x[half:, :].T))
    xp = namespace(above)
    return xp.concat([above, xp.concat([above[:, half:].T, below], axis=1)], axis=0)


def in_float64(x: Array) -> Array:
    """Return a small array in float64: PyTorch's where it is, if its device has that; any other in NumPy."""
    if is_torch_array(x) and has_float64(namespace(x), device_of(x)):
        return precise(x)
    return np.array(to_numpy(x), dtype=float)


def stacked(grams: list[Array]) -> Array:
    """Return Gram matrices as one array, where the first of them is; in NumPy where they are of several libraries or devices."""
    if len({(type(gram), str(device_of(gram))) for gram in grams}) > 1:
        return np.stack([to_numpy(gram) for gram in grams])
    return namespace(grams[0]).stack(grams)


def unbiased_products(grams: Array) -> Array:
    """Return ⟨Ã, B̃⟩ of the U-centred Gram matrices of all pairs, n(n − 3) times their HSIC, from centred ones (layers, n, n)."""
    xp = namespace(grams)
    diagonals = xp.linalg.diagonal(grams)
    traces = xp.sum(diagonals, axis=1)
    flat = xp.reshape(grams * (1 - identity_like(grams[0, ...])), (grams.shape[0], -1))
    products = diagonals @ diagonals.T
    return inner_product(grams.shape[1], flat @ flat.T, products, traces[:, None] * traces[None, :], "debiased")
