"""homolog: which layers of two neural networks correspond, how alike they are, and how sure one may be of it."""

from homolog import cautions, plot, registry
from homolog.activations import Activations
from homolog.analysis import (
    between,
    correspondence,
    explain_cka,
    layer_identification,
    mean_over_models,
    probe,
    shared_subspace,
)
from homolog.cautions import (
    ConstantLayerWarning,
    DeadUnitWarning,
    ExtractionWarning,
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
from homolog.registry import Invariances, Measure, measure, measures, register
from homolog.reporting import report

__version__ = "0.1.0"

__all__ = [
    "Activations",
    "ConstantLayerWarning",
    "DeadUnitWarning",
    "ExtractionWarning",
    "HomologWarning",
    "Invariances",
    "Measure",
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
    "correspondence",
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
    "open",
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
    "svcca",
]
