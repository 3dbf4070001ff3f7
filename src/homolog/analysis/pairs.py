"""Two representations as their thin SVDs: what the analyses of one pair start from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import check_finite, representation, same_library, same_rows, to_numpy
from homolog.operands.representation import ArrayRepresentation
from homolog.operands.subspace import prepare


@dataclass(frozen=True)
class DecomposedPair:
    """Centred X and Y of unit Frobenius norm, as U diag(weights) V^T, in float64 on the host."""

    x_u: np.ndarray
    x_weights: np.ndarray
    y_u: np.ndarray
    y_weights: np.ndarray

    @classmethod
    def of(cls, x: Any, y: Any) -> DecomposedPair:
        """Decompose two representations of the same examples."""
        checked = [representation(value, name, shifted=True) for value, name in ((x, "x"), (y, "y"))]
        same_library(checked[0], checked[1])
        same_rows(checked[0], checked[1])
        for value, name in zip(checked, "xy", strict=True):
            check_finite(value, name)
        decomposed = [prepare(ArrayRepresentation(value)) for value in checked]
        for name, subspace in zip("xy", decomposed, strict=True):
            if subspace.rank == 0:
                raise ValueError(
                    f"{name} must vary over the examples, got a constant one: nothing can be shared with it."
                )
        sides = [np.asarray(to_numpy(part), dtype=float) for s in decomposed for part in (s.u, s.weights)]
        return cls(*sides)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.x_u)

    @cached_property
    def overlap(self) -> np.ndarray:
        """U_X^T U_Y."""
        product: np.ndarray = self.x_u.T @ self.y_u
        return product

    @cached_property
    def contributions(self) -> np.ndarray:
        """What every pair of principal components adds to linear CKA: λ_X λ_Y ⟨u_X, u_Y⟩² over the norms of λ_X and λ_Y."""
        x, y = self.x_weights**2, self.y_weights**2
        return x[:, None] * y[None, :] * self.overlap**2 / (np.linalg.norm(x) * np.linalg.norm(y))

    @property
    def cka(self) -> float:
        """Linear CKA."""
        return float(min(self.contributions.sum(), 1.0))
