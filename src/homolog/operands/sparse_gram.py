"""Linear structures of sparse matrices: products of rows are formed without their zeros, and centred afterwards.

Centring the features would fill the zeros. Of the Gram matrix G = X X^T it subtracts what follows from the means m of its rows,

    (HGH)_ij = G_ij − m_i − m_j + mean of m,        m = X · (mean of the rows of X).

That loses no digit that matters as long as columns are mostly 0: with a share d of other numbers the variance of a column is at
least (1 − d) of its mean square. Columns with fewer zeros than other numbers are centred first, which at most doubles them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from homolog.linalg import power_of_two
from homolog.operands.structures import Gram
from homolog.sparse import SparseRows


@final
@dataclass(frozen=True, kw_only=True)
class SparseGram(Gram):
    """The Gram matrix of sparse features."""

    in_strips: ClassVar[bool] = True
    features: Any
    """(n, columns that vary) scipy.sparse.csr_array, of which few columns are centred."""
    means: np.ndarray
    """(n,) means of the rows of the Gram matrix before it is centred."""

    @property
    def held(self) -> np.ndarray:
        """What has the dtype of the features."""
        return self.means

    def formed(self) -> np.ndarray:
        """Return the whole matrix."""
        return self.strip(slice(0, self.n))

    def strip(self, rows: slice) -> np.ndarray:
        """Return some rows of it."""
        return self.tile(self.features[rows], self.features, (rows, slice(0, self.n)))

    def tile(self, x: Any, y: Any, at: tuple[slice, slice]) -> np.ndarray:
        """Return the part of it between some rows x and some rows y of the features."""
        found: np.ndarray = (x @ y.T).toarray()
        found -= self.means[at[0], None]
        found -= self.means[at[1]] - self.means.mean()
        return found


def sparse_gram(rows: SparseRows) -> SparseGram:
    """Return the centred structure of sparse rows."""
    columns, n = _mentioned_columns(rows.matrix.astype(float)), rows.shape[0]
    low, high = (ends.toarray() for ends in (columns.min(axis=0), columns.max(axis=0)))
    half_range = high / 2 - low / 2
    dead = half_range <= n * np.finfo(float).eps * (np.maximum(np.abs(low), np.abs(high)) / 2)
    scale = power_of_two(np.max(half_range))
    features = _with_few_means(columns, ~dead) / scale
    means = features @ features.mean(axis=0)
    diagonal = features.multiply(features).sum(axis=1) - 2 * means + means.mean()
    constant = np.asarray(dead.all())
    return SparseGram(features=features, means=means, diagonal=diagonal, scale=np.asarray(scale), constant=constant)


def _mentioned_columns(matrix: Any) -> Any:
    """Return, by columns, those with any number: there may be far more columns than numbers."""
    import scipy.sparse

    used, places = np.unique(matrix.indices, return_inverse=True)
    kept = scipy.sparse.csr_array((matrix.data, places, matrix.indptr), shape=(matrix.shape[0], max(len(used), 1)))
    return kept.tocsc()


def _with_few_means(columns: Any, alive: np.ndarray) -> Any:
    """Return the columns that vary, by rows; those with fewer zeros than other numbers are centred."""
    import scipy.sparse

    full = alive & (np.diff(columns.indptr) > columns.shape[0] / 2)
    kept = columns[:, np.flatnonzero(alive & ~full)]
    if not full.any():
        return kept.tocsr()
    dense = columns[:, np.flatnonzero(full)].toarray()
    for _ in range(2):  # the first means are rounded
        dense -= dense.mean(axis=0)
    return scipy.sparse.hstack([kept, scipy.sparse.csc_array(dense)], format="csr")
