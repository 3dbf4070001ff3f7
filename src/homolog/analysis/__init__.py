"""After comparing: which layers correspond, how sure the index is of it, what two layers share and what a value is made of."""

from homolog.analysis.averaging import mean_over_models
from homolog.analysis.check_result import Check, CheckedLayer
from homolog.analysis.checking import check
from homolog.analysis.common_subspace import shared_subspace
from homolog.analysis.corresponding_layers import correspondence
from homolog.analysis.dataset_consistency import consistency
from homolog.analysis.diagnosis import Diagnosis, diagnose
from homolog.analysis.diagnosis_checks import Finding
from homolog.analysis.explaining import explain_cka
from homolog.analysis.identification import layer_identification
from homolog.analysis.logging_values import log_dict
from homolog.analysis.model_clusters import cluster
from homolog.analysis.model_embedding import embed
from homolog.analysis.model_groups import GroupTest, permanova
from homolog.analysis.model_similarities import model_similarity
from homolog.analysis.probing import probe
from homolog.analysis.redundant.measuring import redundancy
from homolog.analysis.split_halves import split_half
from homolog.analysis.summarising import Summary, summary
from homolog.analysis.tables import table
from homolog.results import between

__all__ = [
    "Check",
    "CheckedLayer",
    "Diagnosis",
    "Finding",
    "GroupTest",
    "Summary",
    "between",
    "check",
    "cluster",
    "consistency",
    "correspondence",
    "diagnose",
    "embed",
    "explain_cka",
    "layer_identification",
    "log_dict",
    "mean_over_models",
    "model_similarity",
    "permanova",
    "probe",
    "redundancy",
    "shared_subspace",
    "split_half",
    "summary",
    "table",
]
