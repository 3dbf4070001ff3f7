"""What a value of CKA is made of: which principal components, and which examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.pairs import DecomposedPair
from homolog.measures.evaluation import prepared
from homolog.measures.registry import measure

if TYPE_CHECKING:
    import xarray


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
            "variance_x": ("component_x", pair.x_weights**2),
            "variance_y": ("component_y", pair.y_weights**2),
            "influence": ("example", pair.cka - without_each(pair)),
        },
        {**components, "example": np.arange(pair.n)},
        {"cka": pair.cka, "n_examples": pair.n},
    )


def without_each(pair: DecomposedPair) -> np.ndarray:
    """Return linear CKA without each example, NaN where nothing varies without it."""
    record = measure("cka")
    x, y = (prepared(record, u * weights) for u, weights in ((pair.x_u, pair.x_weights), (pair.y_u, pair.y_weights)))
    found = record.values_without_each(x, y, record.family.meet(x, y))
    assert found is not None  # linear CKA has a shortcut
    return found
