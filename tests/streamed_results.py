"""What a state of a stream must give: the results of all rows at once."""

from __future__ import annotations

import numpy as np
from representation_pairs import ROOTS

FORMS = (
    "cka",
    "cka(estimator=debiased)",
    "hsic",
    "hsic(estimator=debiased)",
    "cca",
    "svcca",
    "pwcca",
    "linear_regression",
    "procrustes_distance",
    "bipartite_match",
    "semi_match",
    "size_and_shape_distance",
    "permutation_procrustes_distance",
    "gulp_distance",
)
"""Measures whose values follow from moments."""
DEBIASED = "cka(estimator=debiased)"


def assert_results_agree(streamed, held, rtol=1e-8, atol=1e-9):
    # Skewness and kurtosis over all orders of the examples take rows, of which a stream keeps none.
    held = held.drop_vars([name for name in held.data_vars if held[name].attrs.get("method") == "moments"])
    assert list(streamed.data_vars) == list(held.data_vars)
    for name in held.data_vars:
        power = 2 if name.split("(")[0] in ROOTS else 1
        np.testing.assert_allclose(streamed[name] ** power, held[name] ** power, rtol=rtol, atol=atol, err_msg=name)
    for name in held.coords:
        np.testing.assert_array_equal(streamed[name], held[name], err_msg=name)
