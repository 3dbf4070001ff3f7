"""What a value of CKA is made of: which principal components, and which examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.arrays import check_finite, representation, same_library, same_rows, to_numpy
from homolog.blocks.workers import computed_once
from homolog.conversion import filled_pair, taken_pair
from homolog.measures.evaluation import prepared
from homolog.measures.kernel_alignment import alignment
from homolog.measures.registry import measure
from homolog.operands.gram_products import GramSums
from homolog.operands.gram_statistics import sums_without_each, without_each
from homolog.operands.representation import ArrayRepresentation
from homolog.operands.subspace import subspace_of

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class DecomposedLayer:
    """A centred X of unit Frobenius norm, as U diag(weights) V^T, in float64 on the host."""

    u: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, x: Any) -> DecomposedLayer:
        """Decompose a representation in memory."""
        found = subspace_of(ArrayRepresentation(x))
        return cls(*(np.asarray(to_numpy(part), dtype=float) for part in (found.u, found.weights)))

    @computed_once
    def gram(self) -> Any:
        """The operand of linear CKA."""
        return prepared(measure("cka"), self.u * self.weights)

    @computed_once
    def without_each(self) -> GramSums:
        """What CKA needs of it without each example."""
        return sums_without_each(self.gram)


@dataclass(frozen=True)
class DecomposedPair:
    """Two layers over the same examples."""

    x: DecomposedLayer
    y: DecomposedLayer

    @classmethod
    def of(cls, x: Any, y: Any) -> DecomposedPair:
        """Decompose two representations of the same examples."""
        given = filled_pair(*taken_pair(x, y, ("x", "y")), ("x", "y"), "explaining a value")
        checked = [representation(value, name, shifted=True) for value, name in zip(given, "xy", strict=True)]
        same_library(checked[0], checked[1])
        same_rows(checked[0], checked[1])
        for value, name in zip(checked, "xy", strict=True):
            check_finite(value, name)
        decomposed = [DecomposedLayer.of(value) for value in checked]
        for name, layer in zip("xy", decomposed, strict=True):
            if not len(layer.weights):
                raise ValueError(
                    f"{name} must vary over the examples, got a constant one: nothing can be shared with it."
                )
        return cls(*decomposed)

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.x.u)

    @computed_once
    def overlap(self) -> np.ndarray:
        """U_X^T U_Y."""
        product: np.ndarray = self.x.u.T @ self.y.u
        return product

    @computed_once
    def contributions(self) -> np.ndarray:
        """What every pair of principal components adds to linear CKA: λ_X λ_Y ⟨u_X, u_Y⟩² over the norms of λ_X and λ_Y."""
        x, y = self.x.weights**2, self.y.weights**2
        return x[:, None] * y[None, :] * self.overlap**2 / (np.linalg.norm(x) * np.linalg.norm(y))

    @property
    def cka(self) -> float:
        """Linear CKA."""
        return float(min(self.contributions.sum(), 1.0))


def explain_cka(x: Any, y: Any, /) -> xarray.Dataset:
    """Take linear CKA apart: into pairs of principal components, and into examples.

    With u the left singular vectors and λ the squared singular values of the centred X and Y,

        CKA = Σ_ij λ_X^i λ_Y^j ⟨u_X^i, u_Y^j⟩² / (‖λ_X‖ ‖λ_Y‖),

    so that every pair (i, j) adds a part that is never negative.

    Parameters
    ----------
    x, y
        representations (n, p) and (n, q) of the same examples.

    Returns
    -------
    xarray.Dataset
        `contribution` (component_x, component_y), components from 1 in order of variance: the parts, which sum to the attribute
        `cka`. `variance_x`, `variance_y`: the share of each component in the variance. `influence` (example): CKA less its exact
        value without that example, NaN where nothing varies without it. An example with an influence near CKA itself carries it.

    Raises
    ------
    ValueError, TypeError
        For input that cannot be compared, or a constant representation.

    Notes
    -----
    Cost: two thin SVDs and O(n r_x r_y); leaving out each example needs no second decomposition.

    References
    ----------
    Kornblith et al. (2019), equation 14; on single examples that carry CKA, Davari et al. (2023).

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 300, 4))
    >>> x[7], y[7] = 100, 100
    >>> explained = hl.explain_cka(x, y)
    >>> explained.attrs["cka"] > 0.98, explained.influence.values.argmax().item()
    (True, 7)
    """
    import xarray

    pair = DecomposedPair.of(x, y)
    components = {f"component_{side}": np.arange(1, r + 1) for side, r in zip("xy", pair.overlap.shape, strict=True)}
    return xarray.Dataset(
        {
            "contribution": (("component_x", "component_y"), pair.contributions),
            "variance_x": ("component_x", pair.x.weights**2),
            "variance_y": ("component_y", pair.y.weights**2),
            "influence": ("example", pair.cka - cka_without_each(pair)),
        },
        {**components, "example": np.arange(pair.n)},
        {"cka": pair.cka, "n_examples": pair.n},
    )


def cka_without_each(pair: DecomposedPair) -> np.ndarray:
    """Return linear CKA without each example, NaN where nothing varies without it."""
    x, y = pair.x, pair.y
    return np.asarray(alignment(without_each(x.gram, y.gram, (x.without_each, y.without_each)), "biased"))
