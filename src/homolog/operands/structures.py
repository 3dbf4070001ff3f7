"""Centred n×n similarity structures as operands.

What is held differs: centred features, the half above the diagonal, the whole matrix, or nothing but what forms it tile by tile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from homolog.arrays import Array, machine_epsilon, namespace, precise
from homolog.blocks.scan import ROWS
from homolog.blocks.workers import computed_once
from homolog.linalg import squared_norm
from homolog.operands.condensed import whole
from homolog.operands.radial_kernel import RadialKernel


@dataclass(frozen=True, kw_only=True)
class Gram(ABC):
    """The centred similarity structure of a representation, divided by `scale` squared."""

    diagonal: Array
    """(n,) diagonal of the centred Gram matrix, in float64 where the device has it."""
    scale: Array
    """0-d: the Gram matrix in the units of the input is gram · scale², squared only where HSIC needs it."""
    constant: Array
    """0-d bool: nothing varies."""
    left: Literal["", "explained", "no width"] = ""
    """Why nothing is left although the layer varies: the inputs explain it, or over half of the distances are 0."""
    in_strips: ClassVar[bool] = False
    """Whether products with it are summed strip by strip, since the whole matrix takes more than what it is formed of."""
    lacks_inputs: bool = False
    """Whether what the inputs explain was to be removed, and nobody gave them."""

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.diagonal.shape[0])

    @property
    @abstractmethod
    def held(self) -> Array:
        """What the Gram matrix is formed of, in the dtype in which it is."""

    @abstractmethod
    def formed(self) -> Array:
        """Return the (n, n) centred Gram matrix without keeping it."""

    @abstractmethod
    def strip(self, rows: slice) -> Array:
        """Return some rows of the centred Gram matrix."""

    @final
    @computed_once
    def gram(self) -> Array:
        """(n, n) centred Gram matrix."""
        return self.formed()

    @final
    @property
    def epsilon(self) -> float:
        """Spacing at 1 of the floats in which the Gram matrix is formed."""
        return float(np.finfo(self.held.dtype).eps) if hasattr(self.held, "read") else machine_epsilon(self.held)

    @final
    @computed_once
    def own(self) -> tuple[Array, Array]:
        """Off-diagonal part of ⟨K, K⟩, and k·k."""
        return products(self, self)


@final
@dataclass(frozen=True, kw_only=True)
class LinearGram(Gram):
    """The Gram matrix of features."""

    features: Any
    """(n, p) centred features, or what reads them."""

    @property
    def held(self) -> Any:
        """The features."""
        return self.features

    def formed(self) -> Array:
        """Return the products of rows."""
        return self.features @ self.features.T

    def strip(self, rows: slice) -> Array:
        """Return some rows of it."""
        return self.features[rows, :] @ self.features.T


@final
@dataclass(frozen=True, kw_only=True)
class CondensedGram(Gram):
    """A Gram matrix on the host."""

    condensed: np.ndarray
    """(n(n−1)/2,) what is above its diagonal, row after row."""

    @property
    def held(self) -> np.ndarray:
        """The half."""
        return self.condensed

    def formed(self) -> np.ndarray:
        """Return both halves and the diagonal."""
        return whole(self.condensed, self.diagonal)

    def strip(self, rows: slice) -> np.ndarray:
        """Return some rows of it."""
        return self.gram[rows]


@final
@dataclass(frozen=True, kw_only=True)
class DenseGram(Gram):
    """A Gram matrix as it is."""

    matrix: Array
    """(n, n) centred Gram matrix."""

    @property
    def held(self) -> Array:
        """The matrix."""
        return self.matrix

    def formed(self) -> Array:
        """Return the matrix."""
        return self.matrix

    def strip(self, rows: slice) -> Array:
        """Return some rows of it."""
        return self.matrix[rows, :]


@final
@dataclass(frozen=True, kw_only=True)
class RadialGram(Gram):
    """A kernel of the distances between rows that are read, formed tile by tile; its diagonal is that of estimated means."""

    points: Any
    """What reads (n, p) centred features."""
    kernel: RadialKernel

    @property
    def held(self) -> Any:
        """The features."""
        return self.points

    def formed(self) -> Array:
        """Refuse: it may be larger than the memory."""
        raise NotImplementedError("a kernel of rows that are read is formed tile by tile.")

    def strip(self, rows: slice) -> Array:
        """Refuse, as well."""
        raise NotImplementedError("a kernel of rows that are read is formed tile by tile.")


def products(x: Gram, y: Gram) -> tuple[Array, Array]:
    """Return the off-diagonal part of ⟨K, L⟩, and k·l.

    Through features, ‖X^T Y‖², where both have at most n of them; else through Gram matrices.
    """
    xp = namespace(x.diagonal)
    diagonals = xp.sum(x.diagonal * y.diagonal)
    if x.in_strips or y.in_strips:
        strips = (slice(first, first + ROWS) for first in range(0, x.n, ROWS))
        return np.asarray(sum(float(np.sum(x.strip(rows) * y.strip(rows))) for rows in strips)) - diagonals, diagonals
    if isinstance(x, CondensedGram) and isinstance(y, CondensedGram):
        return np.asarray(2 * np.vdot(precise(x.condensed), precise(y.condensed))), diagonals
    features = [side.features for side in (x, y) if isinstance(side, LinearGram)]
    if len(features) == 2 and max(side.shape[1] for side in features) <= x.n:
        return squared_norm(precise(features[0].T @ features[1])) - diagonals, diagonals
    return xp.sum(precise(x.gram * y.gram)) - diagonals, diagonals
