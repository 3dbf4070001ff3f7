"""Results as pictures: a result in, matplotlib Axes or a Figure out."""

from homolog.plot.curves import lines, probe
from homolog.plot.dataset_pictures import consistency
from homolog.plot.findings import explanation, identification, shared_subspace
from homolog.plot.group_pictures import permanova
from homolog.plot.heatmaps import heatmap, heatmaps
from homolog.plot.model_maps import dendrogram, embedding, model_heatmap
from homolog.plot.redundancy_pictures import redundancy
from homolog.plot.trajectories import trajectory

__all__ = [
    "consistency",
    "dendrogram",
    "embedding",
    "explanation",
    "heatmap",
    "heatmaps",
    "identification",
    "lines",
    "model_heatmap",
    "permanova",
    "probe",
    "redundancy",
    "shared_subspace",
    "trajectory",
]
