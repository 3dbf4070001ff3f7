"""Where an inner product of structures lies among those of all orders of the examples.

What adds the same to ⟨K, L⟩ in every order is taken off first: of the centred Gram matrix its part along H, the centring matrix,
since ⟨H, L⟩ = tr L for every order; of the U-centred one nothing. Both are then matrices whose rows and diagonal sum to zero, as
`order_moments` wants them, and ⟨K, L⟩ has the mean 0 over all orders.
"""

from __future__ import annotations

import numpy as np

from homolog.arrays import Array, identity_like, namespace, to_numpy, working_dtype
from homolog.operands.family import undefined_where
from homolog.operands.gram_products import Estimator, GramProducts, GramSums, inner_product
from homolog.operands.order_moments import variance_weights
from homolog.operands.structures import Gram

ROUNDING = 1e-12
EXACT_EXAMPLES = 256
"""So many are cheap in float64."""


def order_score(shared: GramProducts, estimator: Estimator) -> Array:
    """Return ⟨K, L⟩ less its mean over all orders of the examples, in standard deviations.

    NaN where a side is constant, infinite where no order changes the value.
    """
    n, xp = shared.n, namespace(shared.off_diagonal)
    sides = [_own(side, n, estimator) for side in (shared.x, shared.y)]
    weights = variance_weights(n).tolist()
    terms = [
        weights[i][j] * first * second for i, first in enumerate(sides[0][:2]) for j, second in enumerate(sides[1][:2])
    ]
    variance = sum(terms)
    traces = shared.traces
    top = inner_product(n, shared.off_diagonal, shared.diagonals, traces, estimator)
    if estimator == "biased":
        top = top - traces / (n - 1)
    # Where the terms cancel, what is left is rounding.
    fixed = sides[0][2] | sides[1][2] | ~(variance > ROUNDING * sum(xp.abs(term) for term in terms))
    score = top / xp.sqrt(xp.where(fixed, xp.ones_like(top), variance))
    score = xp.where(fixed, xp.full_like(score, float("inf")), score)
    return undefined_where(shared.x.constant | shared.y.constant, score)


def _own(side: GramSums, n: int, estimator: Estimator) -> tuple[Array, Array, Array]:
    """Return Σ K_ii² and Σ K_ij² of what an order can change, and whether it is nothing but rounding."""
    whole = side.off_diagonal + side.diagonals
    if estimator == "debiased":
        rest = inner_product(n, side.off_diagonal, side.diagonals, side.squared_trace, "debiased")
        diagonals = 0.0 * rest
    else:
        # Where features outnumber examples nearly all lies on the diagonal and is the same for all: it is taken off by itself.
        diagonals = side.diagonals - side.squared_trace / n
        rest = side.off_diagonal + diagonals - side.squared_trace / (n * (n - 1))
    return diagonals, rest, rest <= n * side.epsilon * whole


def order_matrix(x: Gram, estimator: Estimator) -> np.ndarray:
    """Return the (n, n) matrix, divided by its norm, of which orders of the examples give ⟨K, L⟩ less its mean."""
    formed = to_numpy(x.formed())
    n = len(formed)
    # Of many examples six digits are enough for what the shape of a distribution is used for.
    gram = np.array(formed, dtype=np.float32 if n > EXACT_EXAMPLES else float)
    own = np.diagonal(gram).astype(float)
    if estimator == "debiased":
        added = (own / (n - 2) - own.sum() / (2 * (n - 1) * (n - 2))).astype(gram.dtype)
        gram += added[:, None]
        gram += added[None, :]
        np.fill_diagonal(gram, 0.0)
    else:
        gram += own.sum() / (n * (n - 1))
        gram[np.diag_indices(n)] -= own.sum() / (n - 1)
    size = np.linalg.norm(gram)
    if size > 0:
        gram /= size
    return gram


def order_matrices(grams: Array, estimator: Estimator) -> Array:
    """Return the same of the centred Gram matrices (layers, n, n) of many layers, where they are, in float32."""
    xp, n, wide = namespace(grams), grams.shape[1], working_dtype(grams)
    own = xp.astype(xp.linalg.diagonal(grams), wide)
    total, diagonal = xp.sum(own, axis=1)[:, None], identity_like(grams[0, ...])
    if estimator == "debiased":
        added = xp.astype(own / (n - 2) - total / (2 * (n - 1) * (n - 2)), xp.float32)
        found = (grams + added[:, :, None] + added[:, None, :]) * (1 - diagonal)
    else:
        less = xp.astype(total / (n - 1), xp.float32)[:, :, None]
        found = grams + less / n - less * diagonal
    sizes = xp.linalg.vector_norm(xp.reshape(found, (found.shape[0], -1)), axis=1)[:, None, None]
    return found / xp.where(sizes > 0, sizes, xp.ones_like(sizes))
