"""Results as pictures: a result in, matplotlib Axes or a Figure out."""

from homolog.plot.curves import lines, probe
from homolog.plot.findings import explanation, identification, shared_subspace
from homolog.plot.heatmaps import heatmap, heatmaps
from homolog.plot.trajectories import trajectory

__all__ = [
    "explanation",
    "heatmap",
    "heatmaps",
    "identification",
    "lines",
    "probe",
    "shared_subspace",
    "trajectory",
]
