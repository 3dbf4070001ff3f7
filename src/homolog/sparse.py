"""Sparse matrices of SciPy and PyTorch as rows that are filled with their zeros only where they are read."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from homolog.diagnostics import Caution, DenseWarning, listed
from homolog.machine import format_bytes
from homolog.names import shown
from homolog.rows import Rows

DENSE_ENOUGH = 0.1
"""Share of numbers that are not 0 from which on nothing is saved by leaving out the zeros."""
TOLD = 1 << 20
"""Bytes of a dense matrix from which on its size is told."""


class SparseRows(Rows):
    """A sparse matrix (n, p): rows that are read are dense, and nothing else is."""

    in_memory = True

    def __init__(self, matrix: Any, where: str, torch: Any = None) -> None:
        self.matrix, self.where, self._torch = matrix, where, torch
        """A scipy.sparse.csr_array of float32 or float64, and the library of a tensor."""
        self.shape, self.dtype = (int(matrix.shape[0]), int(matrix.shape[1])), np.dtype(matrix.dtype)

    @property
    def found_elsewhere(self) -> bool:
        """It would have to be sent."""
        return False

    @property
    def width(self) -> int:
        """Features that would take as much memory if they were dense."""
        return math.ceil(1.5 * self.matrix.nnz / self.shape[0]) + 1

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from start up to stop with their zeros."""
        found: np.ndarray = self.matrix[start:stop].toarray()
        return found

    def take(self, index: np.ndarray) -> SparseRows:
        """Return some of the rows, as sparse as they are."""
        return SparseRows(self.matrix[index], self.where, self._torch)

    @property
    def like(self) -> Any:
        """An empty array of the library that it was given in."""
        empty = np.empty(0, dtype=self.dtype)
        return empty if self._torch is None else self._torch.from_numpy(empty)

    def whole(self) -> Any:
        """Return the matrix with its zeros."""
        return self[:] if self._torch is None else self._torch.from_numpy(self[:])

    def __repr__(self) -> str:
        return (
            f"<{self.where}: {self.shape[0]} × {self.shape[1]} {self.dtype}, {self.matrix.nnz} numbers that are not 0>"
        )


def is_sparse(x: Any) -> bool:
    """Say whether an object is a sparse matrix of a library that is known here."""
    home = type(x).__module__.split(".")[0]
    if home == "torch":
        return str(getattr(x, "layout", "torch.strided")) in LAYOUTS
    return (home == "scipy" and hasattr(x, "tocsr")) or home == "sparse"


LAYOUTS = ("torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc")


def sparse_rows(x: Any, title: str) -> Any:
    """Return a sparse matrix as rows, or as an array where little of it is 0, or where it is PyTorch's and needs a gradient."""
    if len(x.shape) != 2:
        return _dense(x)  # refused for its shape by who looks at arrays
    entries = x.shape[0] * x.shape[1]
    count = x._nnz() if hasattr(x, "_nnz") else x.nnz
    if count > DENSE_ENOUGH * entries or _stays(x):
        return _dense(x)
    matrix = _compressed(x)
    if matrix.dtype.kind not in "iuf":
        raise TypeError(
            f"{title} must hold real numbers, got a sparse matrix of {matrix.dtype}: convert it first, for instance with "
            f".astype('float32')."
        )
    if matrix.dtype not in (np.float32, np.float64):
        if (
            matrix.dtype.itemsize == 8
            and matrix.nnz
            and max(abs(int(matrix.data.max())), abs(int(matrix.data.min()))) > 2**53
        ):
            raise ValueError(
                f"{title} must hold integers that float64 holds, got larger ones: divide them by a number."
            )
        matrix = matrix.astype(float)
    bad = ~np.isfinite(matrix.data)
    if bad.any():
        row = int(np.searchsorted(matrix.indptr, int(np.argmax(bad)), side="right")) - 1
        raise ValueError(
            f"{title} must be finite, got NaN or infinity first in row {row}: leave such examples out on both sides, or look for "
            f"an overflow in the model."
        )
    return SparseRows(matrix, title, sys.modules["torch"] if hasattr(x, "to_dense") else None)


def _stays(x: Any) -> bool:
    """Say whether a tensor stays where it is: on its device, or in the graph of a gradient."""
    return hasattr(x, "to_dense") and (bool(x.requires_grad) or x.device.type != "cpu")


def _dense(x: Any) -> Any:
    return next(getattr(x, name)() for name in ("to_dense", "toarray", "todense") if hasattr(x, name))


def _compressed(x: Any) -> Any:
    """Return a matrix of SciPy's by rows."""
    import scipy.sparse

    if hasattr(x, "to_dense"):
        x = x.detach().to_sparse_coo().coalesce()
        values, places = x.values(), x.indices().numpy()
        small = values.is_floating_point() and str(values.dtype) not in ("torch.float32", "torch.float64")
        values = (values.float() if small else values).numpy()
        return scipy.sparse.csr_array((values, (places[0], places[1])), shape=tuple(x.shape))
    if hasattr(x, "to_scipy_sparse"):
        x = x.to_scipy_sparse()
    matrix = scipy.sparse.csr_array(x)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # it is the caller's
        matrix.sum_duplicates()
    return matrix


def made_dense(sizes: Mapping[str, Rows], why: str) -> list[Caution]:
    """Say which sparse layers are made dense, and how large they are then; nothing of small ones."""
    large = {name: rows for name, rows in sizes.items() if rows.nbytes >= TOLD}
    if not large:
        return []
    each = listed(f"{shown(name)} ({format_bytes(rows.nbytes)})" for name, rows in large.items())
    message = f"sparse matrices are made dense for {why}: {each}; values of linear CKA and HSIC alone do not need it."
    return [Caution(DenseWarning, message)]
