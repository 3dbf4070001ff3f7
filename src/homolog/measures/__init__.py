"""The measures, one file per subject; importing this registers them all, in the order in which they are listed."""

from homolog.measures.kernel_alignment import cka, deconfounded_cka, distance_correlation, hsic
from homolog.measures.representational_similarity import rsa, rsm_norm_difference
from homolog.measures.canonical_correlation import (
    canonical_ridge,
    cca,
    eigenspace_overlap,
    gaussian_mutual_information,
    pwcca,
    svcca,
)
from homolog.measures.procrustes import (
    aligned_cosine,
    angular_shape_distance,
    bures_similarity,
    permutation_procrustes_distance,
    procrustes_distance,
    size_and_shape_distance,
)
from homolog.measures.prediction import gulp_distance, linear_predictivity, linear_regression
from homolog.measures.unit_matching import (
    bipartite_match,
    maximum_match,
    neuron_mutual_information,
    semi_match,
    soft_correlation_match,
    soft_matching_distance,
)
from homolog.measures.nearest_neighbors import cknna, jaccard_knn, mutual_knn, rank_similarity, second_order_cosine
from homolog.measures.descriptors import concentricity_difference, magnitude_difference, uniformity_difference

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
