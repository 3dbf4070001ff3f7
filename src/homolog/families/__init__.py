"""The measures, one file per family; importing this registers them all, in the order in which they are listed."""

from homolog.families.structure import cka, hsic
from homolog.families.subspace import cca, linear_regression, procrustes_distance, pwcca, svcca
from homolog.families.ridge import canonical_ridge, gaussian_mutual_information
from homolog.families.neurons import bipartite_match, semi_match
from homolog.families.spans import maximum_match
from homolog.families.information import neuron_mutual_information

__all__ = [
    "bipartite_match",
    "canonical_ridge",
    "cca",
    "cka",
    "gaussian_mutual_information",
    "hsic",
    "linear_regression",
    "maximum_match",
    "neuron_mutual_information",
    "procrustes_distance",
    "pwcca",
    "semi_match",
    "svcca",
]
