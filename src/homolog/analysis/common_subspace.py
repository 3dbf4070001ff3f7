"""Which subspace two representations share, and of what rank (Kornblith et al. 2019, Figure 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.explaining import DecomposedPair
from homolog.conversion import repeated_ids
from homolog.inference.units import rows_of_others, units_of

if TYPE_CHECKING:
    import xarray


def shared_subspace(
    x: Any, y: Any, /, *, threshold: float = 0.99, n_permutations: int = 19, rng: int | np.random.Generator = 0
) -> xarray.Dataset:
    """Show how far the principal directions of one representation matter to another.

    For every eigenvector u of XX^T, with X and Y centred and scaled to unit Frobenius norm so that the eigenvalues of each sum
    to 1: ‖XX^T u‖, its eigenvalue; ‖YY^T u‖; and the cosine u^T YY^T u / ‖YY^T u‖, which is 1 where u is an eigenvector of YY^T
    as well.

    Parameters
    ----------
    x, y
        representations (n, p) and (n, q) of the same examples.
    threshold
        share of ‖Y^T X‖_F², CKA's numerator, for which the shared rank accounts.
    n_permutations
        how often the rows are permuted for the level of chance, the largest value that any of them reaches. Independent
        representations pass that of 19 with probability 1/20, which is why these are fewer than elsewhere: that of 999 they pass
        with 1/1000. Where rows are tokens and x or y is a table that says of which example, whole examples change places.
    rng
        seed or NumPy generator of the permutations.

    Returns
    -------
    xarray.Dataset
        Over `component` (principal components of x, from 1, descending): `x_norm`, `y_norm`, `cosine`. Over `direction`:
        `covariance`, the singular values of Y^T X. Attributes: `shared_rank`, the fewest leading singular directions of Y^T X
        that reach the threshold, of those above `chance`, the largest singular value that any permutation reached; `rank_x`,
        `rank_y`; `cka`.

    Raises
    ------
    ValueError, TypeError
        For input that cannot be compared, a constant representation, or a threshold outside (0, 1].

    Notes
    -----
    It is not symmetric: exchange x and y for the directions of the other. The shared rank is.
    Cost: two thin SVDs, O(n r_x r_y) for the overlap and each permutation.

    References
    ----------
    Kornblith et al. (2019), Figure 8.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> task = rng.normal(size=(500, 3))
    >>> x, y = (np.hstack([task @ rng.normal(size=(3, 9)), rng.normal(size=(500, 20))]) for _ in range(2))
    >>> shared = hl.shared_subspace(x, y)
    >>> shared.attrs["shared_rank"], shared.attrs["rank_x"]
    (3, 23)
    """
    import xarray

    if not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold!r}: 0.99 keeps 99 % of what is shared.")
    pair = DecomposedPair.of(x, y)
    overlap = pair.overlap
    projected = pair.y.weights[None, :] ** 2 * overlap
    y_norm = np.linalg.norm(projected, axis=1)
    along = np.sum(projected * overlap, axis=1)
    covariance = np.linalg.svd(pair.x.weights[:, None] * overlap * pair.y.weights[None, :], compute_uv=False)
    units = units_of(repeated_ids(x, y))
    chance = _largest_by_chance(pair, n_permutations, np.random.default_rng(rng), units)
    return xarray.Dataset(
        {
            "x_norm": ("component", pair.x.weights**2),
            "y_norm": ("component", y_norm),
            "cosine": ("component", np.divide(along, y_norm, out=np.full_like(along, np.nan), where=y_norm > 0)),
            "covariance": ("direction", covariance),
        },
        {"component": np.arange(1, len(pair.x.weights) + 1), "direction": np.arange(1, len(covariance) + 1)},
        {
            "shared_rank": shared_rank(covariance, chance, threshold),
            "threshold": threshold,
            "chance": chance,
            "rank_x": len(pair.x.weights),
            "rank_y": len(pair.y.weights),
            "cka": pair.cka,
            "n_examples": pair.n,
        },
    )


def shared_rank(covariance: np.ndarray, chance: float, threshold: float) -> int:
    """Count the leading singular values that make up the threshold of those above chance, in squares."""
    above = covariance[covariance > chance] ** 2
    if not len(above):
        return 0
    reached = np.cumsum(above) / above.sum()
    return int(np.searchsorted(reached, threshold * (1 - 1e-12)) + 1)


def _largest_by_chance(
    pair: DecomposedPair, n_permutations: int, rng: np.random.Generator, units: np.ndarray | None
) -> float:
    """Return the largest singular value of Y^T X that rows in a random order reach; units of rows change places as they are."""
    largest = 0.0
    for _ in range(n_permutations):
        shuffled = pair.x.u[rows_of_others(units, pair.n, rng), :].T @ pair.y.u
        product = pair.x.weights[:, None] * shuffled * pair.y.weights[None, :]
        small = product @ product.T if product.shape[0] <= product.shape[1] else product.T @ product
        largest = max(largest, float(np.sqrt(_largest_eigenvalue(small))))
    return largest


def _largest_eigenvalue(matrix: np.ndarray) -> float:
    from scipy.linalg import eigh

    last = len(matrix) - 1
    return float(max(eigh(matrix, eigvals_only=True, subset_by_index=(last, last))[0], 0.0))
