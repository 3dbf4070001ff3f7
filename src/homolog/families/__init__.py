"""The measures, one file per family; importing this registers them all, in the order in which they are listed."""

from homolog.families.structure import cka, hsic
from homolog.families.distances import deconfounded_cka, distance_correlation
from homolog.families.dissimilarities import rsa, rsm_norm_difference
from homolog.families.subspace import cca, linear_regression, procrustes_distance, pwcca, svcca
from homolog.families.ridge import canonical_ridge, gaussian_mutual_information
from homolog.families.shapes import (
    angular_shape_distance,
    bures_similarity,
    eigenspace_overlap,
    gulp_distance,
    size_and_shape_distance,
)
from homolog.families.predictions import aligned_cosine, linear_predictivity
from homolog.families.neurons import bipartite_match, semi_match
from homolog.families.matching import permutation_procrustes_distance, soft_correlation_match, soft_matching_distance
from homolog.families.spans import maximum_match
from homolog.families.information import neuron_mutual_information
from homolog.families.neighbors import cknna, jaccard_knn, mutual_knn, rank_similarity, second_order_cosine
from homolog.families.statistics import concentricity_difference, magnitude_difference, uniformity_difference

__all__ = [
    "aligned_cosine",
    "angular_shape_distance",
    "bipartite_match",
    "bures_similarity",
    "canonical_ridge",
    "cca",
    "cka",
    "cknna",
    "concentricity_difference",
    "deconfounded_cka",
    "distance_correlation",
    "eigenspace_overlap",
    "gaussian_mutual_information",
    "gulp_distance",
    "hsic",
    "jaccard_knn",
    "linear_predictivity",
    "linear_regression",
    "magnitude_difference",
    "maximum_match",
    "mutual_knn",
    "neuron_mutual_information",
    "permutation_procrustes_distance",
    "procrustes_distance",
    "pwcca",
    "rank_similarity",
    "rsa",
    "rsm_norm_difference",
    "second_order_cosine",
    "semi_match",
    "size_and_shape_distance",
    "soft_correlation_match",
    "soft_matching_distance",
    "svcca",
    "uniformity_difference",
]
