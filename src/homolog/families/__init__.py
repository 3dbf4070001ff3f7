"""The measures, one file per family; importing this registers them all, in the order in which they are listed."""

from homolog.families.structure import cka, hsic
from homolog.families.subspace import cca, linear_regression, procrustes_distance, pwcca, svcca
from homolog.families.neurons import bipartite_match, semi_match

__all__ = [
    "bipartite_match",
    "cca",
    "cka",
    "hsic",
    "linear_regression",
    "procrustes_distance",
    "pwcca",
    "semi_match",
    "svcca",
]
