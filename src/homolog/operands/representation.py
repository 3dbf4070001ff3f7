"""One representation, centred, and what is computed of it whatever becomes of it: in memory, or on disk.

Families of products (`family.ProductFamily`) ask for nothing but what `Representation` has, and so work wherever the rows are: on
an array, on rows that are read block by block, or on the sums of a stream (`states.summed`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np

from homolog.arrays import Array, is_numpy, machine_epsilon, namespace, precise
from homolog.blocks.column_statistics import CentredRows, centred_array, columns_of
from homolog.blocks.scan import stretches
from homolog.blocks.source import ArrayCache
from homolog.blocks.workers import computed_once
from homolog.gradients import Factors, factors
from homolog.linalg import RANK_TOLERANCE, UNIT_ROUNDINGS, Centred, centre, numerical_rank, squared_norms
from homolog.operands.condensed import (
    PLACES,
    condensed_squared_distances,
    evenly,
    few_rows_dominate,
    near_units,
    nearly_orthogonal,
    row_starts,
    single_suffices,
)
from homolog.rows import Rows

FAINT = 1e-13
"""Eigenvalues of a Gram matrix below this fraction of the largest are rounding; the rank rule keeps those above 1e-12."""


class Representation(ABC):
    """A centred representation of n examples."""

    n: int

    @property
    @abstractmethod
    def exact(self) -> Representation:
        """The same in float64, where the device has it."""

    @property
    @abstractmethod
    def centred(self) -> Centred:
        """The centred features (n, p), an array or what stands for one, the scale they are divided by, and which never vary."""

    @property
    @abstractmethod
    def norms(self) -> Array:
        """(p,) norms of the centred features; 0 for those that never vary."""

    @property
    @abstractmethod
    def svd(self) -> Factors:
        """The thin SVD of the centred features, cut by the rank rule, in float64."""

    @property
    @abstractmethod
    def epsilon(self) -> float:
        """Spacing at 1 of the floats that were given."""

    @final
    @property
    def constant(self) -> Array:
        """0-d bool: whether nothing varies."""
        return namespace(self.centred.dead).all(self.centred.dead)

    @abstractmethod
    def divided(self, norms: Array) -> Any:
        """Return the centred features divided by numbers (p,)."""


@final
class ArrayRepresentation(Representation):
    """A representation in memory."""

    def __init__(self, array: Array) -> None:
        self.array, self.n = array, array.shape[0]

    @property
    def epsilon(self) -> float:
        """Spacing at 1 of the floats that were given."""
        return machine_epsilon(self.array)

    @property
    def centred(self) -> Centred:
        """Centred features; in float64 where float32 would round away what a few heavy rows leave to the others."""
        return self._centred[0]

    @property
    def squared_rows(self) -> Array:
        """(n,) squared norms of the centred rows, in float64 where the device has it."""
        return self._centred[1]

    @computed_once
    def _centred(self) -> tuple[Centred, Array]:
        if not is_numpy(self.array):
            found = centre(self.array)
            return found, squared_norms(found.features)
        found, norms = centred_array(self.array, self.array.dtype)
        if found.features.dtype == np.float32 and (
            few_rows_dominate(norms) or nearly_orthogonal(found.features[evenly(self.n, PLACES)], norms)
        ):
            return centred_array(self.array, float)
        return found, norms

    # What is kept must not be the representation itself: a circle would hold it until the collector comes.
    @property
    def exact(self) -> ArrayRepresentation:
        """The same in float64, where the device has it."""
        return self if precise(self.array).dtype == self.array.dtype else self._in_float64

    @property
    def apart(self) -> ArrayRepresentation:
        """The same in a dtype whose products tell the distances between rows."""
        return self if self._single_suffices else self.exact

    @computed_once
    def _in_float64(self) -> ArrayRepresentation:
        return ArrayRepresentation(precise(self.array))

    @computed_once
    def _single_suffices(self) -> bool:
        return single_suffices(self.centred.features)

    @computed_once
    def norms(self) -> Array:
        """(p,) norms of the centred features."""
        features = self.centred.features
        xp = namespace(features)
        # Each column to its own largest magnitude first: squares of a faint unit beside a strong one would vanish.
        largest = xp.max(xp.abs(features), axis=0)
        columns = features / xp.where(largest > 0, largest, xp.ones_like(largest))[None, :]
        squared = xp.sum(columns * columns, axis=0)
        norms = xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))
        return xp.where(squared > 0, norms * largest, xp.zeros_like(norms))

    def divided(self, norms: Array) -> Array:
        """Return the centred features divided by numbers (p,)."""
        return self.centred.features / norms[None, :]

    @computed_once
    def svd(self) -> Factors:
        """The thin SVD of the centred features."""
        return factors(self.exact.centred.features) if self.exact is self else self.exact.svd

    @computed_once
    def squared(self) -> np.ndarray:
        """(n(n−1)/2,) squared distances between centred rows, of NumPy's arrays as the two below."""
        return condensed_squared_distances(self.centred.features) if self.apart is self else self.apart.squared

    @computed_once
    def by_cosine(self) -> tuple[np.ndarray, np.ndarray]:
        """(n(n−1)/2,) 2(1 − cosine) of rows, and (n,) which of them have no direction."""
        return self._between_units(about_mean=False)

    @computed_once
    def by_correlation(self) -> tuple[np.ndarray, np.ndarray]:
        """(n(n−1)/2,) 2(1 − correlation) of rows over the features, and (n,) which of them have no direction."""
        return self._between_units(about_mean=True)

    def _between_units(self, *, about_mean: bool) -> tuple[np.ndarray, np.ndarray]:
        units, absent = near_units(self.array, about_mean=about_mean)
        found = condensed_squared_distances(units, floor=UNIT_ROUNDINGS * machine_epsilon(units) ** 2)
        starts = row_starts(len(units))
        for i in np.flatnonzero(absent):
            # A row without direction is at a right angle to all.
            found[starts[i] : starts[i + 1]] = 2
            found[starts[:i] + i - 1 - np.arange(i)] = 2
        return found, absent


@final
class StoredRepresentation(Representation):
    """A representation whose rows are read block by block, in a dtype; what is large of it goes to a cache."""

    def __init__(
        self, rows: Rows, title: str, dtype: Any, cache: ArrayCache, panels: Any = None, keep: int = 0, each: Any = map
    ) -> None:
        self.rows, self.title, self.cache, self.n = rows, title, cache, rows.shape[0]
        self.panels, self.keep, self.each = panels, keep, each
        """How tiles of its own are formed, how many numbers may be kept meanwhile, and who works."""
        self._columns = columns_of(rows, title, dtype)

    @property
    def exact(self) -> StoredRepresentation:
        """The same in float64."""
        return self if self._columns.near.dtype == np.float64 else self.again(np.float64)

    def again(self, dtype: Any) -> StoredRepresentation:
        """Return the same, to be read in another dtype."""
        return StoredRepresentation(self.rows, self.title, dtype, self.cache, self.panels, self.keep, self.each)

    @property
    def epsilon(self) -> float:
        """Spacing at 1 of the floats that are stored."""
        small = self.rows.dtype.kind == "f" and self.rows.dtype.itemsize <= 4
        return float(np.finfo(np.float32 if small else float).eps)

    @property
    def centred(self) -> Centred:
        """What reads the centred features."""
        return CentredRows(self.rows, self._columns).centred()

    def blocks(self) -> Any:
        """Yield the first row and the centred rows of every block."""
        features = self.centred.features
        return ((first, features.read(first, last)) for first, last in stretches(features))

    @computed_once
    def norms(self) -> np.ndarray:
        """(p,) norms of the centred features, in two passes."""
        largest, squared = np.zeros(self.rows.shape[1]), np.zeros(self.rows.shape[1])
        for _, block in self.blocks():
            np.maximum(largest, np.abs(block).max(axis=0), out=largest)
        # As of an array.
        size = np.where(largest > 0, largest, 1)
        for _, block in self.blocks():
            squared += np.sum((block / size) ** 2, axis=0)
        return np.sqrt(squared) * largest

    def divided(self, norms: np.ndarray) -> CentredRows:
        """Return what reads the centred features divided by numbers (p,)."""
        return CentredRows(self.rows, self._columns, norms=norms)

    @computed_once
    def svd(self) -> Factors:
        """The thin SVD of the centred features, its large parts in the cache."""
        if self.rows.shape[1] >= self.n:
            found = ArrayRepresentation(self.rows[:].astype(float)).svd
            u = self.cache.put(np.ascontiguousarray(found.u))
            return found._replace(u=u, v=self.cache.put(np.ascontiguousarray(found.v)))
        s, v, dropped = self._whitened()
        right = self.cache.put(np.ascontiguousarray(v))
        u = CentredRows(self.rows, self._columns, by=right, over=s)
        return Factors(u, s, right, np.asarray(dropped), s, None)

    def _whitened(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return S and V that the rank rule keeps, and the largest singular value that was cut, relatively.

        X = U S V^T from three passes: the columns; the Gram matrix, whose eigenvectors whiten up to its rounding, the square of
        the condition number; then the whitened rows Q and their products with Q and X, which give S and V up to the condition
        number alone (Yamamoto et al., ETNA 2015). Directions that the Gram matrix cannot tell from rounding lie below the rank
        rule.
        """
        width = self.rows.shape[1]
        gram = np.zeros((width, width))
        for _, block in self.blocks():
            gram += block.T @ block
        eigenvalues, vectors = np.linalg.eigh(gram)
        kept = eigenvalues > FAINT * max(float(eigenvalues[-1]), 0.0)
        del gram
        if not kept.any():
            return np.empty(0), np.empty((width, 0)), 0.0
        whitening = vectors[:, kept] / np.sqrt(eigenvalues[kept])
        del vectors
        own, mixed = np.zeros((whitening.shape[1],) * 2), np.zeros((whitening.shape[1], width))
        for _, block in self.blocks():
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
