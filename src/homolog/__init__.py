"""homolog: which layers of two neural networks correspond, how alike they are, and how sure one may be of it."""

from homolog import cautions, plot, registry
from homolog.activations import Activations
from homolog.analysis import (
    between,
    correspondence,
    diagnose,
    explain_cka,
    layer_identification,
    mean_over_models,
    probe,
    shared_subspace,
    split_half,
)
from homolog.cautions import (
    BiasWarning,
    ConstantLayerWarning,
    DeadUnitWarning,
    ExtractionWarning,
    FewPermutationsWarning,
    HomologWarning,
    NullLevelWarning,
    RankWarning,
    SaturationWarning,
    UndefinedValueWarning,
)
from homolog.engine import compare, plan
from homolog.extraction import extract
from homolog.families import (
    bipartite_match,
    canonical_ridge,
    cca,
    cka,
    gaussian_mutual_information,
    hsic,
    linear_regression,
    maximum_match,
    neuron_mutual_information,
    procrustes_distance,
    pwcca,
    semi_match,
    svcca,
)
from homolog.files import open, save
from homolog.inference import confidence_interval, null_level, paired_test, permutation_test
from homolog.registry import Invariances, Measure, measure, measures, register
from homolog.reporting import report
from homolog.streaming import MinibatchHSIC, Moments, compare_models

__version__ = "0.1.0"

__all__ = [
    "Activations",
    "BiasWarning",
    "ConstantLayerWarning",
    "DeadUnitWarning",
    "ExtractionWarning",
    "FewPermutationsWarning",
    "HomologWarning",
    "Invariances",
    "Measure",
    "MinibatchHSIC",
    "Moments",
    "NullLevelWarning",
    "RankWarning",
    "SaturationWarning",
    "UndefinedValueWarning",
    "between",
    "bipartite_match",
    "canonical_ridge",
    "cautions",
    "cca",
    "cka",
    "compare",
    "compare_models",
    "confidence_interval",
    "correspondence",
    "diagnose",
    "explain_cka",
    "extract",
    "gaussian_mutual_information",
    "hsic",
    "layer_identification",
    "linear_regression",
    "maximum_match",
    "mean_over_models",
    "measure",
    "measures",
    "neuron_mutual_information",
    "null_level",
    "open",
    "paired_test",
    "permutation_test",
    "plan",
    "plot",
    "probe",
    "procrustes_distance",
    "pwcca",
    "register",
    "registry",
    "report",
    "save",
    "semi_match",
    "shared_subspace",
    "split_half",
    "svcca",
]
