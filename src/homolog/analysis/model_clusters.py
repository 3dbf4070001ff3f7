"""Models that are merged step by step, the most alike first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy

from homolog.analysis.model_embedding import spectrum
from homolog.analysis.model_pairs import ModelPairs, model_pairs
from homolog.diagnostics import give
from homolog.result_kinds import MODEL_CLUSTERS

if TYPE_CHECKING:
    import xarray

Linkage = Literal["average", "complete", "single", "weighted", "ward"]
LINKAGES = ("average", "complete", "single", "weighted", "ward")
NOT_EUCLIDEAN = 1e-6
"""Share of the spread that must be negative before distances count as those of no points at all."""


def cluster(
    similarities: Any,
    *,
    method: Linkage = "average",
    n_clusters: int | None = None,
    distance: float | None = None,
    measure: str | None = None,
    calibrated: bool = False,
    names: Iterable[Any] | None = None,
) -> xarray.Dataset:
    """Cluster models: the two nearest are merged, then the two nearest of what is left, until all are one.

    Parameters
    ----------
    similarities, measure, calibrated, names
        as for `embed`, with the same distances.
    method
        what the distance of two clusters is: the mean over their pairs of models ("average"), the largest ("complete"), the
        smallest ("single"), the mean of the distances of the last two merged ("weighted"), or Ward's growth of variance.
    n_clusters, distance
        cut the tree into so many clusters, or at this distance; at most one of the two.

    Returns
    -------
    xarray.Dataset
        `linkage` (merge, part) as SciPy has it: the two clusters merged, their distance and the number of models in them.
        `leaf_order` (place) names the models in the order of a dendrogram, in which neighbours are as near as they can be.
        With n_clusters or distance, `cluster` (model) numbers the clusters from 1 as models come. The attribute
        `cophenetic_correlation` says how well the tree shows the distances: 1 is perfect.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `embed`; for an unknown method, for Ward's with distances that no points have, for both n_clusters and distance, or
        for a number of clusters that the tree does not have.

    Warns
    -----
    AsymmetryWarning
        Where the two directions differ; their mean is taken.

    Notes
    -----
    Clustering always finds clusters, also in noise: `permanova` tests groups that were known before. Cost: n² for n models, and
    up to n⁴ for the order of the leaves, which is left as merged above 200 models.

    References
    ----------
    Sokal & Michener, University of Kansas Science Bulletin 1958 (average); Bar-Joseph et al., Bioinformatics 2001 (order).

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> similar = np.array([[1, 0.2, 0.9], [0.2, 1, 0.3], [0.9, 0.3, 1]])
    >>> found = hl.cluster(similar, names=["seed 0", "untrained", "seed 1"], n_clusters=2)
    >>> found.cluster.sel(model=["seed 0", "seed 1"]).values
    array([1, 1], dtype=int32)
    """
    if n_clusters is not None and distance is not None:
        raise ValueError("give n_clusters or distance, got both: leave one out.")
    pairs = model_pairs(similarities, measure=measure, calibrated=calibrated, names=names)
    found = clustered(pairs, method)
    if n_clusters is not None or distance is not None:
        found["cluster"] = ("model", _cut(found, n_clusters, distance))
    found.attrs["warnings"] = json.dumps([[c.category.__name__, c.message] for c in pairs.cautions], ensure_ascii=False)
    give(pairs.cautions)
    return found


def clustered(pairs: ModelPairs, method: str = "average") -> xarray.Dataset:
    """Return the tree of models."""
    import xarray

    if method not in LINKAGES:
        raise ValueError(f"method must be one of {', '.join(LINKAGES)}, got {method!r}.")
    distances = pairs.distances
    if method == "ward":
        _check_euclidean(distances)
    hierarchy, condensed = scipy.cluster.hierarchy, distances[pairs.upper]
    linkage = hierarchy.linkage(condensed, method, optimal_ordering=len(pairs.names) <= 200)
    leaves = hierarchy.leaves_list(linkage)
    drawn = hierarchy.cophenet(linkage)
    varies = min(np.ptp(drawn), np.ptp(condensed)) > 1e-9 * condensed.max()
    attributes = {
        "title": MODEL_CLUSTERS,
        "measure": pairs.label,
        "distance": "as given" if pairs.kind == "distance" else "sqrt(2 (1 - s))",
        "method": method,
        "cophenetic_correlation": float(np.corrcoef(drawn, condensed)[0, 1]) if varies else float("nan"),
    }
    return xarray.Dataset(
        {"linkage": (("merge", "part"), linkage), "leaf_order": ("place", [pairs.names[leaf] for leaf in leaves])},
        {"model": list(pairs.names), "part": ["first", "second", "height", "size"]},
        attributes,
    )


def _check_euclidean(distances: np.ndarray) -> None:
    values, _ = spectrum(distances)
    negative = float(-values[values < 0].sum())
    if negative > NOT_EUCLIDEAN * np.abs(values).sum():
        raise ValueError(
            f"method='ward' needs distances of points, got some that no points have ({negative / np.abs(values).sum():.1%} of "
            f"their spread): take method='average'."
        )


def _cut(found: xarray.Dataset, n_clusters: int | None, distance: float | None) -> np.ndarray:
    """Return the cluster of every model, numbered as models come."""
    models = [str(name) for name in found.model.values]
    if n_clusters is not None:
        whole = isinstance(n_clusters, int | np.integer) and not isinstance(n_clusters, bool)
        if not whole or not 1 <= n_clusters <= len(models):
            raise ValueError(f"n_clusters must be a whole number from 1 to {len(models)}, got {n_clusters!r}.")
    elif not isinstance(distance, int | float | np.number) or not distance >= 0:
        raise ValueError(f"distance must be a distance of at least 0, got {distance!r}.")
    criterion, at = ("distance", distance) if n_clusters is None else ("maxclust", n_clusters)
    numbers = scipy.cluster.hierarchy.fcluster(found.linkage.values, at, criterion)
    if n_clusters is not None and len(set(numbers)) != n_clusters:
        raise ValueError(
            f"n_clusters={n_clusters} cannot be had, since several merges are at one distance, got {len(set(numbers))}: ask for "
            f"another number, or cut at a distance."
        )
    new = {old: number for number, old in enumerate(dict.fromkeys(numbers), 1)}
    return np.array([new[number] for number in numbers], dtype=np.int32)
