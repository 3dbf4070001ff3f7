"""A map of models: points whose distances are those of the models, as far as so few dimensions can show them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import scipy

from homolog.analysis.model_pairs import ModelPairs, model_pairs
from homolog.diagnostics import Caution, DistortedMapWarning, give
from homolog.inference.permutations import random_of
from homolog.machine import optional
from homolog.result_kinds import MODEL_MAP

if TYPE_CHECKING:
    import xarray

POOR = 0.2
"""Kruskal (1964) calls a map of this stress poor."""
ROUNDING = 1e-9
"""Distances this close, as a share of the largest, are equal."""
RANDOM_STARTS = 4
"""Beside the start from the classical map."""
Method = Literal["classical", "nonmetric"]


def embed(
    similarities: Any,
    n_components: int = 2,
    *,
    method: Method = "classical",
    measure: str | None = None,
    calibrated: bool = False,
    names: Iterable[Any] | None = None,
    rng: int | np.random.Generator = 0,
) -> xarray.Dataset:
    """Draw up a map of models: models that are alike lie near each other.

    A similarity s becomes the distance d = √(2(1 − s)); distances are taken as they are. How badly the map shows their order is
    its stress, Kruskal's stress-1:

        stress = √(Σ (f(d_ij) − m_ij)² / Σ m_ij²),

    m_ij the distances on the map, and f the rising curve that fits them best. 0 is perfect, 0.1 fair and 0.2 poor.

    Parameters
    ----------
    similarities
        what `homolog.model_similarity` returned; or a square DataArray, DataFrame or array of similarities (1 on the diagonal)
        or of distances (0 on the diagonal).
    n_components
        dimensions of the map.
    method
        "classical" multidimensional scaling (principal coordinates), or "nonmetric".
    measure
        which measure of the Dataset; the first by default.
    calibrated
        take the calibrated values of the Dataset.
    names
        of the models, for a plain array.
    rng
        seed or NumPy generator, for the random starts of the non-metric map.

    Returns
    -------
    xarray.Dataset
        `position` (model, component), centred, with the most spread along the first component. The attributes `stress` and
        `method` say how good the map is. The classical map has `share` (component) too: how much of the models' whole spread
        each component shows. `negative_share` is the part of it that no map shows, in any number of dimensions.

    Raises
    ------
    ValueError, TypeError, KeyError
        For fewer than two models, missing or infinite values, values beyond those of a model with itself, a diagonal that is
        not 1 (or 0, of distances), or a similarity without an upper end of 1.
    ImportError
        For the non-metric map without scikit-learn, naming what to install.

    Warns
    -----
    DistortedMapWarning
        Where the stress is above 0.2: do not read distances off such a map.
    AsymmetryWarning
        Where the two directions differ; their mean is taken.

    Notes
    -----
    Turning or mirroring a map changes nothing, and its axes have no meaning. The side to which an axis points is chosen so that
    the point farthest out is on the positive side. The non-metric map is scaled to the spread of the distances. It is the best
    of scikit-learn's SMACOF from the classical map and from four random starts. With fewer than about four models per
    dimension its stress is small whatever the data, and models in tight groups may be drawn as single points.

    Cost: n³ for n models, and some hundred times n² for the non-metric map.

    References
    ----------
    Torgerson, Psychometrika 1952; Gower, Biometrika 1966; Kruskal, Psychometrika 1964.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> similar = np.array([[1, 0.9, 0.2], [0.9, 1, 0.2], [0.2, 0.2, 1]])
    >>> found = hl.embed(similar, names=["seed 0", "seed 1", "untrained"])
    >>> found.position.sel(model="untrained").values.round(2)
    array([0.83, 0.  ])
    >>> round(found.attrs["stress"], 4)
    0.0
    """
    if method not in ("classical", "nonmetric"):
        raise ValueError(f"method must be 'classical' or 'nonmetric', got {method!r}.")
    whole = isinstance(n_components, int | np.integer) and not isinstance(n_components, bool)
    if not whole or n_components < 1:
        raise ValueError(f"n_components must be a positive whole number, got {n_components!r}.")
    pairs = model_pairs(similarities, measure=measure, calibrated=calibrated, names=names)
    found = placed(pairs, int(n_components), method, rng)
    cautions = [*pairs.cautions, *_distorted(found.attrs["stress"], int(n_components))]
    found.attrs["warnings"] = json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False)
    give(cautions)
    return found


def dimensions(count: int) -> str:
    """Write a number of dimensions."""
    return f"{count} dimension{'s' if count != 1 else ''}"


def _distorted(stress: float, n_components: int) -> list[Caution]:
    if stress <= POOR:
        return []
    message = (
        f"the map has a stress of {stress:.2f} and misleads: {dimensions(n_components)} cannot show these distances; read the "
        f"similarities themselves or a dendrogram, or take more components."
    )
    return [Caution(DistortedMapWarning, message)]


class Points(NamedTuple):
    """Positions on a map, and what is known of each dimension."""

    positions: np.ndarray
    share: np.ndarray
    negative_share: float


def placed(pairs: ModelPairs, n_components: int, method: str, rng: int | np.random.Generator) -> xarray.Dataset:
    """Return a map, without a word on whether it is good."""
    import xarray

    largest = float(pairs.distances.max()) or 1.0
    distances = pairs.distances / largest  # whatever the scale, neither too large nor too small to be squared
    points = classical(distances, n_components)
    variables: dict[str, Any] = {}
    if method == "classical":
        positions, stress = points.positions, stress_of(distances, points.positions)
        variables["share"] = ("component", points.share)
    else:
        positions, stress = _nonmetric(distances, points.positions, random_of(rng))
    positions = positions * largest
    variables["position"] = (("model", "component"), positions)
    attributes = {
        "title": MODEL_MAP,
        "measure": pairs.label,
        "distance": "as given" if pairs.kind == "distance" else "sqrt(2 (1 - s))",
        "method": method,
        "stress": stress,
    }
    attributes |= {"negative_share": points.negative_share} if method == "classical" else {}
    coordinates = {"model": list(pairs.names), "component": np.arange(1, n_components + 1, dtype=np.int32)}
    return xarray.Dataset(variables, coordinates, attributes)


def spectrum(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, largest first, and eigenvectors of −½ J D² J, the Gram matrix of points with these distances."""
    squares = distances**2
    centred = squares - squares.mean(axis=0) - squares.mean(axis=1)[:, None] + squares.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    rounding = len(values) * np.finfo(float).eps * np.abs(values).max(initial=0)
    return np.where(np.abs(values) > rounding, values, 0)[::-1], vectors[:, ::-1]


def classical(distances: np.ndarray, n_components: int) -> Points:
    """Return the classical map (Torgerson; scikit-learn has one from version 1.8 on only)."""
    values, vectors = spectrum(distances)
    kept = np.zeros(n_components)
    count = min(n_components, len(values))
    kept[:count] = np.maximum(values[:count], 0)
    positions = np.zeros((len(distances), n_components))
    positions[:, :count] = vectors[:, :count] * np.sqrt(kept[:count])
    whole = np.abs(values).sum() or 1.0
    return Points(_pointing(positions), kept / whole, float(np.abs(values[values < 0]).sum() / whole))


def _pointing(positions: np.ndarray) -> np.ndarray:
    """Turn each axis so that the point farthest out is on its positive side, the first one among equals."""
    size = np.abs(positions)
    farthest = np.argmax(size >= size.max(axis=0) * (1 - 1e-9), axis=0)
    signs = np.sign(positions[farthest, np.arange(positions.shape[1])])
    return positions * np.where(signs == 0, 1, signs) + 0.0  # no negative zero


def between_points(positions: np.ndarray) -> np.ndarray:
    """Return the distances of points, (n, n)."""
    return np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(axis=-1))


def stress_of(distances: np.ndarray, positions: np.ndarray) -> float:
    """Return Kruskal's stress-1 of a map; 0 where all points, and all models, are one."""
    upper = np.triu_indices(len(distances), 1)
    drawn = between_points(positions)[upper]
    whole = float((drawn**2).sum())
    if not whole:
        return 0.0 if not distances.any() else float("inf")
    return float(np.sqrt(((rising(distances[upper], drawn) - drawn) ** 2).sum() / whole))


def rising(distances: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the values nearest to the drawn distances that rise with the given ones; equal distances stay equal.

    >>> rising(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 1.0, 3.0, 1.0])).round(2)
    array([0.  , 1.67, 1.67, 1.67])
    """
    grid = np.round(distances / (ROUNDING * distances.max() or 1.0))
    _, places, counts = np.unique(grid, return_inverse=True, return_counts=True)
    means = np.bincount(places, drawn) / counts
    fitted: np.ndarray = scipy.optimize.isotonic_regression(means, weights=counts).x[places]
    return fitted


def _nonmetric(distances: np.ndarray, start: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the non-metric map of least stress from several starts, and its stress."""
    manifold = optional("sklearn.manifold", "probe", "a non-metric map")
    if not distances.any():
        return start, 0.0
    # scikit-learn takes a distance of 0 for a missing one: any value below all others has the same place in the order.
    positive = np.where(distances > 0, distances, 1e-3 * distances[distances > 0].min())
    np.fill_diagonal(positive, 0)
    spread = np.sqrt((start**2).mean()) or 1.0
    starts = [start, *(spread * random.normal(size=start.shape) for _ in range(RANDOM_STARTS))]
    options = {"metric": False, "n_init": 1, "max_iter": 1000, "eps": 1e-9, "normalized_stress": True}
    best, least = start, np.inf
    for init in starts:
        found, _ = manifold.smacof(positive, n_components=start.shape[1], init=init, **options)
        stress = stress_of(distances, found)
        if stress < least - 1e-6:
            best, least = found, stress
    return _in_place(best, distances), float(least)


def _in_place(positions: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Centre a map, turn it to its principal axes, and scale it to the spread of the distances."""
    centred = positions - positions.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    turned = centred @ axes.T
    drawn = np.sqrt((between_points(turned) ** 2).sum())
    return _pointing(turned * np.sqrt((distances**2).sum()) / drawn)
