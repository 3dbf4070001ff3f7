"""How far the lists of nearest rows of two representations agree."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy

from homolog.arrays import Array, constant_like, namespace
from homolog.measures.registry import register
from homolog.operands.family import undefined_where
from homolog.operands.neighbors import NEIGHBORS, SHARING, TIES, Neighbors, Shared

NOTHING = 1e-10
"""Share of the squares of a Gram matrix below which its self-term is none."""
ROUNDING = 1e-13
"""Cosines up to this are 0."""
HUH_2024 = "Huh, Cheung, Wang & Isola, ICML 2024, arXiv:2405.07987"


def _value(x: Neighbors, y: Neighbors, value: float) -> Array:
    constant = x.constant | y.constant
    xp = namespace(constant)
    return undefined_where(constant, constant_like(float(value), xp.astype(constant, xp.float64)))


def _mutual_knn_null(x: Neighbors, y: Neighbors, shared: Shared) -> Array:
    return _value(x, y, float("nan") if x.tied or y.tied else x.k / (x.n - 1))


def _jaccard_knn_null(x: Neighbors, y: Neighbors, shared: Shared) -> Array:
    if x.tied or y.tied:
        return _value(x, y, float("nan"))
    # In a random order the neighbours of a row are any k of the others.
    both = np.arange(x.k + 1)
    return _value(x, y, np.sum(scipy.stats.hypergeom(x.n - 1, x.k, x.k).pmf(both) * both / (2 * x.k - both)))


def _similarities(x: Neighbors, other: Neighbors, part: slice) -> np.ndarray:
    """(rows, k) similarities in x of some rows to their neighbours in another representation."""
    found: np.ndarray = np.einsum("ip,ikp->ik", x.rows[part], x.rows[other.nearest[part]])
    return found


def _kept(x: Neighbors, values: np.ndarray, where: np.ndarray | None) -> scipy.sparse.csr_array:
    """Return the similarities to neighbours as a sparse (n, n) matrix."""
    kept = values.astype(float) if where is None else np.where(where, values, 0.0)
    starts = np.arange(x.n + 1) * x.k
    found = scipy.sparse.csr_array((kept.reshape(-1), x.nearest.reshape(-1), starts), shape=(x.n, x.n), copy=True)
    found.sort_indices()
    return found


def _unbiased(a: scipy.sparse.csr_array, b: scipy.sparse.csr_array) -> float:
    """Unbiased HSIC of two matrices with zero diagonals, as for symmetric ones; the mean over both orders of the factors."""
    n = a.shape[0]
    across = float(a.sum(axis=0) @ b.sum(axis=1)) + float(b.sum(axis=0) @ a.sum(axis=1))
    return float((a * b.T).sum()) + float(a.sum()) * float(b.sum()) / ((n - 1) * (n - 2)) - across / (n - 2)


K = Annotated[int, "neighbours of every example, not counting itself."]


@register(
    NEIGHBORS,
    null=_mutual_knn_null,
    range=(0.0, 1.0),
    formula="mean_i |N_k(x_i) ∩ N_k(y_i)| / k",
    reference=HUH_2024,
)
def mutual_knn(
    x: Neighbors, y: Neighbors, shared: Shared, *, k: K = 10
) -> Annotated[Array, "k / (n − 1) for independent data."]:
    """Mutual k nearest neighbours: the share of each example's neighbours that both representations agree on.

    mean_i |N_k(x_i) ∩ N_k(y_i)| / k, N_k the k other rows of largest cosine similarity; of equally near ones the first.

    Cost O(n²(p + q)) in bounded memory; similarities that differ by rounding tie. Rows of zeros have no direction: their cosines
    count as 0, and a NoDirectionWarning says so. Blind to everything but who is near: distances,
    clusters among each other, anything linear. Features are not centred: an offset makes all cosines alike. Not differentiable;
    computed on the host.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> float(hl.mutual_knn(x, 2 * x[:, ::-1])), round(float(hl.mutual_knn(x, x[:, :4])), 1)
    (1.0, 0.6)
    """
    return _value(x, y, shared.counts.mean() / x.k)


@register(
    NEIGHBORS,
    null=_jaccard_knn_null,
    range=(0.0, 1.0),
    formula="mean_i |N_k(x_i) ∩ N_k(y_i)| / |N_k(x_i) ∪ N_k(y_i)|",
    reference="Klabunde et al., ICLR 2025, arXiv:2408.00531; Wang, Rao, Guo, Wang, Liu & Guan, IEEE TKDE 2022",
)
def jaccard_knn(x: Neighbors, y: Neighbors, shared: Shared, *, k: K = 10) -> Array:
    """Jaccard similarity of the k nearest neighbours.

    mean_i |N_k(x_i) ∩ N_k(y_i)| / |N_k(x_i) ∪ N_k(y_i)|, N_k the k other rows of largest cosine similarity.

    Cost O(n²(p + q)) in bounded memory. With h shared neighbours an example counts h / (2k − h), against h / k for
    `mutual_knn`, which it orders pairs much as. Not differentiable; computed on the host.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> float(hl.jaccard_knn(x, 2 * x[:, ::-1]))
    1.0
    """
    return _value(x, y, np.mean(shared.counts / (2 * x.k - shared.counts)))


@register(
    NEIGHBORS,
    range=(0.0, 1.0),
    formula="mean_i Σ_j 2 / ((1 + |r_ij − s_ij|)(r_ij + s_ij)) / H(m_i), j one of the m_i shared, r, s ranks, H(m) = Σ 1/l",
    reference="Wang, Rao, Guo, Wang, Liu & Guan, IEEE TKDE 2022; Klabunde et al., ICLR 2025, arXiv:2408.00531",
)
def rank_similarity(x: Neighbors, y: Neighbors, shared: Shared, *, k: K = 10) -> Array:
    """Agreement of the order of the shared nearest neighbours, the nearest counting most.

    mean_i v_i with v_i = Σ_j 2 / ((1 + |r_j − s_j|)(r_j + s_j)) / H(m) over the m neighbours j that both lists of example i
    share, r and s their ranks in the two lists, H(m) = 1 + 1/2 + … + 1/m; 0 where they share none.

    Cost O(n²(p + q)) in bounded memory. Counts only neighbours that are shared, whose number it ignores: read it beside
    `jaccard_knn`. Not differentiable; computed on the host.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.rank_similarity(x, 2 * x[:, ::-1])), 12)
    1.0
    """
    harmonic = np.concatenate([[1.0], np.cumsum(1 / np.arange(1.0, x.k + 1))])
    return _value(x, y, np.mean(shared.ranks / harmonic[shared.counts]))


@register(
    NEIGHBORS,
    range=(-1.0, 1.0),
    formula="mean_i cos(s_i, t_i), s_i, t_i the cosines of x_i, y_i to the rows N_k(x_i) ∪ N_k(y_i)",
    reference="Hamilton, Leskovec & Jurafsky, EMNLP 2016, arXiv:1606.02821",
)
def second_order_cosine(x: Neighbors, y: Neighbors, shared: Shared, *, k: K = 10) -> Array:
    """Second-order cosine similarity: are examples as similar to their neighbours in one representation as in the other?

    mean_i cos(s_i, t_i), where s_i and t_i hold the cosine similarities of x_i and of y_i to the same rows, the union of the k
    nearest neighbours of example i in both.

    Cost O(n²(p + q)), and O(n·k·(p + q)) per pair. Where all cosines are positive, as after a ReLU, values lie near 1 for
    unrelated layers too: compare them with each other, or with permutations. Not differentiable; computed on the host.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.second_order_cosine(x, 2 * x[:, ::-1])), 12)
    1.0
    """
    common = shared.common
    step = max(1, SHARING // (8 * x.k * max(x.rows.shape[1], y.rows.shape[1])))
    total, counted = 0.0, 0
    for start in range(0, x.n, step):
        part = slice(start, start + step)
        # The union: all neighbours of y, and those of x that are not among them.
        only = np.where(common[part], 0.0, 1.0)
        sides = [
            (x.similar[part] * only, _similarities(x, y, part)),
            (_similarities(y, x, part) * only, y.similar[part]),
        ]
        first, second = (np.concatenate(side, axis=1, dtype=float) for side in sides)
        norms = [np.linalg.norm(side, axis=1) for side in (first, second)]
        # Cosines that are 0 but for rounding point nowhere.
        defined = (norms[0] > NOTHING) & (norms[1] > NOTHING)
        products = np.einsum("ij,ij->i", first, second)[defined]
        total += float(np.sum(products / norms[0][defined] / norms[1][defined]))
        counted += int(np.count_nonzero(defined))
    return _value(x, y, min(total / counted, 1.0) if counted else float("nan"))


@register(
    NEIGHBORS,
    range=(float("-inf"), float("inf")),
    minimal_n=4,
    formula="A(K, L) / sqrt(A(K, K) · A(L, L)), A the unbiased HSIC over pairs i, j with j in both N_k(x_i), N_k(y_i)",
    reference=HUH_2024,
    exceptions=TIES
    | {
        "optimum": "1 at identity, which is no bound: neighbours are not mutual, so that A is no inner product",
        "undefined": "NaN where A(K, K) <= 0, which neighbours that are not mutual allow in small samples",
    },
)
def cknna(
    x: Neighbors, y: Neighbors, shared: Shared, *, k: K = 10
) -> Annotated[
    Array,
    "1 for equal representations. NaN too if a self-term is not positive, or if the rows of a side are all at right angles to "
    "each other.",
]:
    """Centred kernel nearest-neighbour alignment: CKA that looks only at pairs of examples which both sides call neighbours.

    A(K, L) / sqrt(A(K, K) · A(L, L)). A(K, L) is the unbiased estimator of HSIC of the Gram matrices of the rows of norm 1, set
    to 0 wherever j is not among the k nearest rows of i in both representations.

    Cost O(n²(p + q)) for the neighbours, O(n·k) for the rest. With k = n − 1 it is debiased CKA of rows of norm 1. Rows are
    brought to norm 1 here, and nothing is added to the denominator. Not differentiable; computed on the host.

    >>> x = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(float(hl.cknna(x, 2 * x[:, ::-1])), 12)
    1.0
    """
    common = shared.common
    of_y = np.take_along_axis(y.similar, shared.places, axis=1)
    cross = _unbiased(_kept(x, x.similar, common), _kept(x, of_y, common))
    del of_y
    own = [_unbiased(kept, kept) for kept in (_kept(side, side.similar, None) for side in (x, y))]
    squares = [float(np.sum(side.similar**2, dtype=float)) for side in (x, y)]
    # Rows at right angles to all others have cosines of nothing but rounding; and where all terms cancel, it is what is left.
    something = min(squares) > x.n * max(x.k, y.k) * ROUNDING**2
    defined = something and all(term > NOTHING * square for term, square in zip(own, squares, strict=True))
    return _value(x, y, cross / np.sqrt(own[0]) / np.sqrt(own[1]) if defined else float("nan"))
