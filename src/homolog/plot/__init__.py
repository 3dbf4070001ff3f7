"""Results as pictures: a result in, matplotlib Axes or a Figure out."""

from homolog.plot.curves import lines, probe
from homolog.plot.findings import explanation, identification, shared_subspace
from homolog.plot.heatmaps import colour_limits, heatmap, heatmaps, marks

__all__ = [
    "colour_limits",
    "explanation",
    "heatmap",
    "heatmaps",
    "identification",
    "lines",
    "marks",
    "probe",
    "shared_subspace",
]
