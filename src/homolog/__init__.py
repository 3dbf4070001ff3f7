"""homolog: which layers of two neural networks correspond, how alike they are, and how sure one may be of it."""

import importlib
import warnings
from typing import Any

from homolog import plot
from homolog.activations import Activations, common_rows
from homolog.analysis import (
    Diagnosis,
    Finding,
    between,
    correspondence,
    diagnose,
    explain_cka,
    layer_identification,
    mean_over_models,
    probe,
    shared_subspace,
    split_half,
    table,
)
from homolog.diagnostics import (
    BiasWarning,
    ConstantLayerWarning,
    DeadUnitWarning,
    ExtractionWarning,
    FewModelsWarning,
    FewPermutationsWarning,
    GradientWarning,
    HomologWarning,
    MissingInputsWarning,
    NoDirectionWarning,
    NothingLeftWarning,
    NullLevelWarning,
    OrderFreeWarning,
    RankWarning,
    SaturationWarning,
    SkippedPairWarning,
    TiesWarning,
    UndefinedValueWarning,
    UnknownPairingWarning,
)
from homolog.engine import Plan, compare, plan
from homolog.extraction import extract
from homolog.files import open, save
from homolog.inference import (
    ConfidenceInterval,
    PairedTest,
    PermutationTest,
    confidence_interval,
    null_level,
    paired_test,
    permutation_test,
)
from homolog.measures import (
    aligned_cosine,
    angular_shape_distance,
    bipartite_match,
    bures_similarity,
    canonical_ridge,
    cca,
    cka,
    cknna,
    concentricity_difference,
    deconfounded_cka,
    distance_correlation,
    eigenspace_overlap,
    gaussian_mutual_information,
    gulp_distance,
    hsic,
    jaccard_knn,
    linear_predictivity,
    linear_regression,
    magnitude_difference,
    maximum_match,
    mutual_knn,
    neuron_mutual_information,
    permutation_procrustes_distance,
    procrustes_distance,
    pwcca,
    rank_similarity,
    rsa,
    rsm_norm_difference,
    second_order_cosine,
    semi_match,
    size_and_shape_distance,
    soft_correlation_match,
    soft_matching_distance,
    svcca,
    uniformity_difference,
)
from homolog.measures.record import Measure
from homolog.measures.registry import measure, measures, register, unregister
from homolog.operands.family import Family, Invariances
from homolog.reporting import report
from homolog.rows import Rows
from homolog.states import MinibatchHSIC, Moments, compare_models

__version__ = "0.1.0"

__all__ = [
    "Activations",
    "BiasWarning",
    "ConfidenceInterval",
    "ConstantLayerWarning",
    "DeadUnitWarning",
    "Diagnosis",
    "ExtractionWarning",
    "Family",
    "FewModelsWarning",
    "FewPermutationsWarning",
    "Finding",
    "GradientWarning",
    "HomologWarning",
    "Invariances",
    "Measure",
    "MinibatchHSIC",
    "MissingInputsWarning",
    "Moments",
    "NoDirectionWarning",
    "NothingLeftWarning",
    "NullLevelWarning",
    "OrderFreeWarning",
    "PairedTest",
    "PermutationTest",
    "Plan",
    "RankWarning",
    "Rows",
    "SaturationWarning",
    "SkippedPairWarning",
    "TiesWarning",
    "UndefinedValueWarning",
    "UnknownPairingWarning",
    "aligned_cosine",
    "angular_shape_distance",
    "between",
    "bipartite_match",
    "bures_similarity",
    "canonical_ridge",
    "cca",
    "cka",
    "cknna",
    "common_rows",
    "compare",
    "compare_models",
    "concentricity_difference",
    "confidence_interval",
    "correspondence",
    "deconfounded_cka",
    "diagnose",
    "distance_correlation",
    "eigenspace_overlap",
    "explain_cka",
    "extract",
    "gaussian_mutual_information",
    "gulp_distance",
    "hsic",
    "jaccard_knn",
    "layer_identification",
    "linear_predictivity",
    "linear_regression",
    "magnitude_difference",
    "maximum_match",
    "mean_over_models",
    "measure",
    "measures",
    "mutual_knn",
    "neuron_mutual_information",
    "null_level",
    "open",
    "paired_test",
    "permutation_procrustes_distance",
    "permutation_test",
    "plan",
    "plot",
    "probe",
    "procrustes_distance",
    "pwcca",
    "rank_similarity",
    "register",
    "report",
    "rsa",
    "rsm_norm_difference",
    "save",
    "second_order_cosine",
    "semi_match",
    "shared_subspace",
    "size_and_shape_distance",
    "soft_correlation_match",
    "soft_matching_distance",
    "split_half",
    "svcca",
    "table",
    "uniformity_difference",
    "unregister",
]

_MOVED = {"cautions": "homolog.diagnostics", "registry": "homolog.measures.registry"}


def __getattr__(name: str) -> Any:
    """Give what was public before, for one release more."""
    if name not in _MOVED:
        raise AttributeError(f"module 'homolog' has no attribute {name!r}")
    message = f"homolog.{name} is no longer public: take what you need of it from homolog itself."
    warnings.warn(message, FutureWarning, stacklevel=2)
    return importlib.import_module(_MOVED[name])
