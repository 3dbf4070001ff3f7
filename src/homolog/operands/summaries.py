"""What a family knows of a representation that stays on disk: a small operand, and rows to multiply with those of others.

Every meeting of these families is a function of one product, Σ over examples of f_i g_i^T, f and g the mapped rows of the two
sides: centred (linear structures), standardised (neurons) or whitened to the left singular vectors (subspaces).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from homolog.blocks.column_statistics import Columns, columns_of
from homolog.blocks.scan import stretches
from homolog.blocks.source import ArrayCache, Summary
from homolog.linalg import RANK_TOLERANCE, numerical_rank
from homolog.operands.condensed import PLACES, evenly, heavy, nearly_orthogonal
from homolog.operands.subspace import Subspace, prepare
from homolog.rows import Rows

FAINT = 1e-13
"""Eigenvalues of a Gram matrix below this fraction of the largest are rounding; the rank rule keeps those above 1e-12."""


class SubspaceRows(Summary):
    """Left singular vectors U = X V S^-1, row by row.

    X = U S V^T from three passes: the columns; the Gram matrix, whose eigenvectors whiten up to its rounding, the square of the
    condition number; then the whitened rows Q and their products with Q and X, which give S and V up to the condition number
    alone (Yamamoto et al., ETNA 2015). Directions that the Gram matrix cannot tell from rounding lie below the rank rule.
    """

    def __init__(self, rows: Rows, title: str, shelf: ArrayCache) -> None:
        n, width = rows.shape
        self._rows, self._map = rows, np.empty((0, 0))
        self._columns = columns = columns_of(rows, title, np.float64)
        small = rows.dtype.kind == "f" and rows.dtype.itemsize <= 4
        cutoff = max(n, width) * float(np.finfo(np.float32 if small else float).eps)
        self._u: Rows | None = None
        if width < n:
            s, v, dropped = _decomposed(rows, columns)
            scale = np.asarray(columns.scale)
        else:
            whole = prepare(rows[:].astype(np.float64))
            scale = whole.scale
            s, v, dropped = whole.s, whole.v, 1.0 if whole.cut else 0.0
            self._u = shelf.put(np.ascontiguousarray(whole.u))
        self.width = len(s)
        self._v = shelf.put(np.ascontiguousarray(v))
        none = np.empty((0, len(s)))
        self.operand = Subspace(n, none, s, none, np.asarray(columns.dead.all()), dropped > cutoff, scale)

    def begin(self) -> SubspaceRows:
        """Load the singular vectors."""
        opened, v = copy(self), self._v[:]
        opened.operand, opened._map = replace(self.operand, v=v), v / self.operand.s
        return opened

    def features(self, start: int, stop: int) -> np.ndarray:
        """Return rows of U."""
        if self._u is not None:
            return self._u[start:stop]
        found: np.ndarray = self._columns.centred(self._rows.read(start, stop)) @ self._map
        return found


def _decomposed(rows: Rows, columns: Columns) -> tuple[np.ndarray, np.ndarray, float]:
    """Return singular values and right singular vectors kept by the rank rule, and the largest that was cut, relatively."""
    width = rows.shape[1]
    gram = np.zeros((width, width))
    for first, last in stretches(rows):
        block = columns.centred(rows.read(first, last))
        gram += block.T @ block
    eigenvalues, vectors = np.linalg.eigh(gram)
    kept = eigenvalues > FAINT * max(float(eigenvalues[-1]), 0.0)
    del gram
    if not kept.any():
        return np.empty(0), np.empty((width, 0)), 0.0
    whitening = vectors[:, kept] / np.sqrt(eigenvalues[kept])
    del vectors
    own, mixed = np.zeros((whitening.shape[1],) * 2), np.zeros((whitening.shape[1], width))
    for first, last in stretches(rows):
        block = columns.centred(rows.read(first, last))
        q = block @ whitening
        own += q.T @ q
        mixed += q.T @ block
    lengths, axes = np.linalg.eigh(own)
    # A direction whose whitened rows are far from unit length was rounding.
    true = lengths > 0.1
    _, s, vt = np.linalg.svd((axes[:, true] / np.sqrt(lengths[true])).T @ mixed, full_matrices=False)
    rank = numerical_rank(s)
    cut = float(s[rank] / s[0]) if rank < len(s) else 0.0
    # What the first cut left out is not known exactly, but is above rounding where it is above that of the Gram matrix.
    faint = float(np.sqrt(max(eigenvalues[~kept].max(initial=0.0), 0.0) / eigenvalues[-1]))
    return s[:rank], vt[:rank].T, max(cut, faint if faint > RANK_TOLERANCE / 10 else 0.0)


class StructureRows(Summary):
    """Centred features of a linear structure, and the diagonal of its Gram matrix."""

    def __init__(self, rows: Rows, title: str, dtype: Any) -> None:
        self._rows, self.n, self.width, self.operand = rows, rows.shape[0], rows.shape[1], None
        self.no_width = False  # until a kernel of the distances is found to have none
        self.columns = columns_of(rows, title, dtype)
        self.diagonal, some = self._squared_norms()
        if dtype == np.float32 and (heavy(self.diagonal) or nearly_orthogonal(some, self.diagonal)):
            # As `halves.Points`: a few rows carry almost everything, or rows have hardly anything in common.
            self.columns = columns_of(rows, title, np.float64)
            self.diagonal, _ = self._squared_norms()

    def _squared_norms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return squared norms of rows, and some rows."""
        found, places, some = np.empty(self.n), evenly(self.n, PLACES), []
        for first, last in stretches(self._rows):
            block = self.columns.centred(self._rows.read(first, last))
            found[first:last] = np.einsum("ij,ij->i", block, block, dtype=float)
            some.append(block[places[(places >= first) & (places < last)] - first])
        return found, np.concatenate(some)

    def light(self) -> StructureRows:
        """Return the same without the diagonal, which tasks need not carry."""
        copied = copy(self)
        copied.diagonal = np.empty(0)
        return copied

    @property
    def constant(self) -> bool:
        """Whether nothing varies."""
        return bool(self.columns.dead.all())

    @property
    def dtype(self) -> np.dtype:
        """Of the features."""
        return self.columns.near.dtype

    def stretches(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Split rows so that what is read at a time is small and ends where chunks end."""
        return stretches(self._rows, start, stop)

    def features(self, start: int, stop: int) -> np.ndarray:
        """Return centred rows."""
        return self.columns.centred(self._rows.read(start, stop))
