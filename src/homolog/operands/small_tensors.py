"""Linear CKA of small PyTorch tensors, as a loss needs it: in few calls of the library, most of whose time is not arithmetic.

The value is that of `measures.kernel_alignment.alignment` on `operands.gram_products`, which takes twenty times as long at
64 × 64 because it also serves kernels, other libraries, rows on disk and all pairs at once. What is unusual (constant, infinite,
huge or tiny data, means far above what varies) is left to it: it knows the warnings and errors.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from homolog.arrays import Array
from homolog.linalg import at_most_one
from homolog.operands.gram_products import Estimator, inner_product

MOST_NUMBERS = 1 << 20
"""Larger tensors take so long that calls do not count."""
LEAST, MOST = 1e-100, 1e100
"""Norms of Gram matrices whose squares and products stay far from the ends of float64."""
LOST = 1e-13
"""Rounding of the means that may be left in the features, as a share of what varies."""


def quick_alignment(x: Array, y: Array, estimator: Estimator) -> Array | None:
    """Return linear CKA in the wider of both dtypes, at least float32, or None: other arrays, large ones, unusual ones."""
    torch = sys.modules.get("torch")
    if torch is None or not _suitable(torch, x, y, 2 if estimator == "biased" else 4):
        return None
    n, through_rows = x.shape[0], max(x.shape[1], y.shape[1]) > x.shape[0]
    a, mean_a = _centred(x)
    b, mean_b = (a, mean_a) if y is x else _centred(y)
    if through_rows:
        own_a, own_b = a @ a.T, b @ b.T
        between = (own_a * own_b).sum()
    else:
        own_a, own_b, product = a.T @ a, b.T @ b, a.T @ b
        between = (product * product).sum()
    norm_a, norm_b = torch.linalg.vector_norm(own_a), torch.linalg.vector_norm(own_b)
    if estimator == "biased":
        left = None
        value = between / norm_a / norm_b
    else:
        left = _debiased(torch, n, (a, b), (norm_a**2, between, norm_b**2))
        value = left[1] / left[0].sqrt() / left[2].sqrt()
    known, norms = value.item(), (norm_a.item(), norm_b.item())
    means = [mean for mean, given in ((mean_a, x), (mean_b, y)) if given.dtype == torch.float64]
    if not _usual(n, known, norms, [torch.linalg.vector_norm(mean).item() for mean in means], left):
        return None
    if known > 1 and estimator == "biased":
        value = at_most_one(value)
    return value if torch.float64 in (x.dtype, y.dtype) else value.float()


def _suitable(torch: Any, x: Any, y: Any, least: int) -> bool:
    """Say whether two arrays are small dense matrices of floats on one device that has float64."""
    plain = (torch.Tensor, torch.nn.Parameter)
    if type(x) not in plain or type(y) not in plain or x.ndim != 2 or y.ndim != 2:
        return False
    floats = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    return (
        x.dtype in floats
        and y.dtype in floats
        and x.device == y.device
        and x.device.type in ("cpu", "cuda")
        and x.layout == y.layout == torch.strided
        and least <= x.shape[0] == y.shape[0]
        and 0 < x.numel() <= MOST_NUMBERS
        and 0 < y.numel() <= MOST_NUMBERS
    )


def _centred(x: Any) -> tuple[Any, Any]:
    """Return the columns less their means, and the means. Narrower floats are exact in float64, and so is nearly all of this."""
    exact = x.double()
    mean = exact.mean(0)
    return exact - mean, mean


def _debiased(torch: Any, n: int, features: tuple[Any, Any], inner: tuple[Any, Any, Any]) -> Any:
    """Return the debiased inner products (x, x), (x, y) and (y, y)."""
    own, other = ((side * side).sum(1) for side in features)
    first, second = torch.stack((own, own, other)), torch.stack((own, other, other))
    diagonals = (first * second).sum(1)
    return inner_product(n, torch.stack(inner) - diagonals, diagonals, first.sum(1) * second.sum(1), "debiased")


def _usual(n: int, value: float, norms: tuple[float, float], means: list[float], left: Any) -> bool:
    """Say whether nothing was lost, by the norms of Gram matrices, of the means of float64 tensors, and what U-centring left."""
    least, most, epsilon = min(norms), max(norms), sys.float_info.epsilon
    if not (math.isfinite(value) and least > LEAST and most < MOST):
        return False
    if any(epsilon * mean * math.sqrt(n) >= LOST * math.sqrt(least) for mean in means):
        return False
    if left is None:
        return True
    # What is left may be rounding alone, as `gram_products.norm` has it.
    first, _, second = left.tolist()
    return first > n * epsilon * norms[0] ** 2 and second > n * epsilon * norms[1] ** 2
