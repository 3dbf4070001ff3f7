"""Dissimilarities family: the distances between all pairs of examples, as one vector per representation, compared (RSA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, final

import numpy as np

from homolog.arrays import (
    Array,
    carries_gradient,
    constant_like,
    count,
    from_numpy,
    is_numpy,
    machine_epsilon,
    namespace,
    precise,
    scalar,
    to_numpy,
)
from homolog.blocks.budget import Cost, Form, Sizes
from homolog.blocks.products import PIECE, Step, stacked_products
from homolog.blocks.workers import Workers
from homolog.diagnostics import Caution
from homolog.gradients import factors
from homolog.linalg import (
    ROUNDINGS,
    UNIT_ROUNDINGS,
    column_space,
    inverse_root,
    squared_distances,
    squared_norm,
    unit_rows,
)
from homolog.operands import concordance
from homolog.operands.condensed import ROWS, condensed_squared_distances
from homolog.operands.family import Pairs, TogetherFamily, is_constant
from homolog.operands.radial_kernel import RadialKernel
from homolog.operands.representation import ArrayRepresentation
from homolog.warning_sentences import all_equal, without_direction

Dissimilarity = Annotated[
    Literal["correlation", "euclidean", "cosine", "mahalanobis"],
    'of two rows: "correlation" (1 − Pearson\'s, over the features), "euclidean", "cosine" (1 − cosine), or "mahalanobis" (the '
    "Euclidean distance of whitened features).",
]
Comparison = Annotated[
    Literal["spearman", "pearson", "kendall", "cosine"],
    'of the two vectors: "spearman", "pearson", "kendall" (τ_b) or "cosine" (not centred).',
]
RANKED = ("spearman", "kendall")
SPARED = {4: 5, 8: 14}
"""Last bits of a float, by its size in bytes, in which equal dissimilarities may differ by the rounding of products."""
MOST_PLACES = 1 << 24
"""Ranks are counted where so many different values are possible, else sorted."""
NEAR = 0.05
"""Share of ‖D‖² + ‖E‖² below which ‖D − E‖² is summed from differences, because subtracting ⟨D, E⟩ would cancel."""


@dataclass(frozen=True)
class Dissimilarities:
    """Dissimilarities of the pairs i < j of examples, made ready for one kind of comparison."""

    n: int
    values: Array
    """(n(n−1)/2,) of norm 1 where the comparison is an inner product; their ranks for Kendall's."""
    comparison: str
    constant: Array
    """0-d bool: the layer does not vary, or its dissimilarities leave nothing to compare."""
    left: str = ""
    """Why nothing is left although the layer varies: all dissimilarities are equal."""
    dissimilarity: str = "euclidean"
    equal_rows: bool = False
    """Whether a gradient flows through a distance of 0, which is a corner."""
    absent: Array | None = None
    """(n,) bool: examples without a direction, where the dissimilarity is of directions."""
    order: np.ndarray | None = None
    """(n(n−1)/2,) where the dissimilarities stand, the smallest first, for Kendall's; None of examples in another order."""
    tied: int = 0
    """Pairs of equal dissimilarities, for Kendall's,"""
    again: np.ndarray | None = None
    """and where in their order they are as the one before; see `concordance.Order`."""

    def reordered(self, order: np.ndarray) -> Dissimilarities:
        """Return the dissimilarities of the same examples in another order."""
        xp, n, order = namespace(self.values), self.n, to_numpy(order)
        step, parts = max(1, PIECE // n), []
        for top in range(0, n - 1, step):
            rows = order[top : top + step, None]
            columns = order[None, top:]
            low, high = np.minimum(rows, columns), np.maximum(rows, columns)
            # The pair (i, j) stands at i·n − i(i+1)/2 + j − i − 1.
            flat = (low * n - low * (low + 1) // 2 + high - low - 1)[np.triu(np.ones(low.shape, dtype=bool), 1)]
            parts.append(xp.take(self.values, from_numpy(flat, self.values), axis=0))
        return replace(self, values=xp.concat(parts), order=None, again=None)

    @property
    def by_rank(self) -> concordance.Order:
        """What Kendall's comparison looks at."""
        return concordance.Order(self.values, self.tied, self.order, self.again)


class Compared(NamedTuple):
    """One pair of representations, or all (fields over layers of x, layers of y)."""

    value: Array
    undefined: Array


def _squares(points: ArrayRepresentation, dissimilarity: str, *, ranked: bool) -> tuple[Array, Array | None]:
    """Return squares of dissimilarities, or their doubles, and which rows have no direction; for ranks from the host."""
    if is_numpy(points.array):
        return _half(points, dissimilarity)
    if not ranked:
        return _above_diagonal(points, dissimilarity)
    values, absent = _half(ArrayRepresentation(to_numpy(points.array)), dissimilarity)
    return from_numpy(values, points.array), absent


def _half(points: ArrayRepresentation, dissimilarity: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return squares, of which the dissimilarities of the pairs i < j are roots or halves, and which rows have no direction."""
    if dissimilarity == "mahalanobis":
        return _between_whitened(points.centred.features), None
    if dissimilarity == "euclidean":
        return points.squared, None
    return points.by_cosine if dissimilarity == "cosine" else points.by_correlation


def _between_whitened(centred: np.ndarray) -> np.ndarray:
    """Return squared distances between rows of an orthonormal basis of the columns."""
    n = len(centred)
    if n <= centred.shape[1]:
        gram = centred @ centred.T
        # The columns span all but the ones, if no eigenvalue but theirs is small: every pair is equally far apart.
        gram += np.trace(gram) / n**2
        if inverse_root(gram) is not None:
            return np.full(n * (n - 1) // 2, 2.0)
    basis = column_space(centred)
    # As many directions as centred rows can have: rounding would order pairs that are equally far apart.
    return np.full(n * (n - 1) // 2, 2.0) if basis.shape[1] == n - 1 else condensed_squared_distances(basis)


def _above_diagonal(given: ArrayRepresentation, dissimilarity: str) -> tuple[Array, Array | None]:
    """Return the same in the library of the points."""
    x, centred, absent = given.array, given.centred.features, None
    xp, n, epsilon = namespace(x), x.shape[0], machine_epsilon(x)
    if dissimilarity in ("euclidean", "mahalanobis"):
        points = centred if dissimilarity == "euclidean" else factors(centred).u
        squared, floor = squared_distances(points, points, same=True), 0.0
    else:
        rows = unit_rows(x, about_mean=dissimilarity == "correlation")
        absent = ~xp.any(rows != 0, axis=1)
        points = rows - xp.mean(rows, axis=0, keepdims=True)
        squared, floor = squared_distances(points, points, same=True), UNIT_ROUNDINGS * epsilon**2
        right_angle = absent[:, None] | absent[None, :]
        squared = xp.where(right_angle, xp.full_like(squared, 2.0), squared)
    norms = xp.linalg.vecdot(points, points)
    least = ROUNDINGS * epsilon * (norms[:, None] + norms[None, :]) + floor
    squared = xp.where(squared > least, squared, xp.zeros_like(squared))
    i, j = np.triu_indices(n, 1)
    return xp.take(xp.reshape(squared, (-1,)), from_numpy(i * n + j, x), axis=0), absent


def _ready(values: Array, comparison: str) -> Array:
    """Turn dissimilarities into what the comparison works on."""
    if comparison == "spearman":
        values = from_numpy(ranks(to_numpy(values)), values)
    xp = namespace(values)
    if comparison == "pearson":
        values = values - xp.astype(xp.mean(precise(values)), values.dtype)
    size = xp.max(xp.abs(values))
    values = values / xp.where(size > 0, size, xp.ones_like(size))
    norm = xp.astype(xp.sqrt(squared_norm(precise(values))), values.dtype)
    return values / xp.where(norm > 0, norm, xp.ones_like(norm))


def grid_places(values: np.ndarray) -> np.ndarray:
    """Return floats, none of them negative, as integers in the same order, those that rounding tells apart as one."""
    spared = SPARED[values.dtype.itemsize]
    bits = values.view(np.dtype(f"int{8 * values.dtype.itemsize}"))
    found: np.ndarray = bits + bits.dtype.type(1 << (spared - 1))
    found >>= spared
    return found


def ranks(values: np.ndarray) -> np.ndarray:
    """Return average ranks less their mean; by counting, without a sort, where few values are possible."""
    places = grid_places(values)
    # Beside 0 the values are far from it.
    greatest = np.iinfo(places.dtype).max
    least = np.min(places, where=places > 0, initial=greatest)
    places -= 0 if least == greatest else least - 1
    np.maximum(places, 0, out=places)
    if places.max() >= min(MOST_PLACES, 2 * len(places)):
        return _ranks_by_sorting(places).astype(values.dtype, copy=False)
    return _ranks_by_counting(places, values.dtype)


def _ranks_by_counting(places: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return average ranks less their mean, of places that are not many more than values."""
    places += 1
    below = np.bincount(places)
    np.cumsum(below, out=below)
    found = np.empty(len(places), dtype=dtype)
    for start in range(0, len(places), PIECE):
        some = places[start : start + PIECE]
        found[start : start + PIECE] = (below[some - 1] + below[some] - len(places)) / 2
    return found


def _ranks_by_sorting(places: np.ndarray) -> np.ndarray:
    """Return average ranks less their mean, with little more in memory than places, their order and the ranks."""
    order = np.argsort(places)
    ordered = places[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])
    del ordered
    found, again = np.empty(len(places)), np.flatnonzero(~new)
    if len(again) <= len(places) // concordance.FEW_TIES:
        middle, runs = np.arange(len(places)) - (len(places) - 1) / 2, concordance.runs_of(again)
        of_runs = middle[runs.starts] + (runs.sizes - 1) / 2
        middle[runs.starts], middle[again] = of_runs, of_runs[runs.numbers]
        found[order] = middle
        return found
    del again
    starts = np.flatnonzero(new)
    for first in range(0, len(starts) - 1, PIECE):
        bounds = starts[first : first + PIECE + 1]
        middle = (bounds[:-1] + bounds[1:] - len(places)) / 2
        found[order[bounds[0] : bounds[-1]]] = np.repeat(middle, np.diff(bounds))
    return found


def _distance(x: Array, y: Array) -> Array:
    """‖D − E‖_F: each pair of rows stands twice in the matrix."""
    if is_numpy(x):
        return np.asarray(_distance_by_pieces(x, y))
    xp = namespace(x)
    difference = precise(x - y)
    size = xp.max(xp.abs(difference))
    if not scalar(size) > 0:
        return 0 * xp.sum(difference)
    return size * xp.sqrt(2 * squared_norm(difference / size))


def _distance_by_pieces(x: np.ndarray, y: np.ndarray) -> float:
    """Return the same without forming the difference as a whole."""
    parts = [slice(start, start + PIECE) for start in range(0, len(x), PIECE)]
    size = 1.0
    if not x.dtype == y.dtype == np.float32:
        # Squares could leave the range of the dtype.
        size = max(float(np.max(np.abs(x[part] - y[part]))) for part in parts)
    if size == 0:
        return 0.0
    differences = ((x[part] - y[part]) / x.dtype.type(size) for part in parts)
    return size * math.sqrt(2 * sum(float(np.vdot(part, part)) for part in differences))


def _differences(
    vectors: Sequence[Dissimilarities], needed: np.ndarray, products: np.ndarray, workers: Workers
) -> np.ndarray:
    """Return the distances of all pairs from inner products, where nothing cancels, else one by one."""
    own = np.diag(products)
    both = own[:, None] + own[None, :]
    with np.errstate(invalid="ignore"):
        squared = both - 2 * products
    # Unequal dtypes would be stacked in the larger; infinite products are no use.
    safe = np.isfinite(products) & (squared > NEAR * both)
    found = np.sqrt(2 * np.where(safe, squared, 0.0))
    left = [(i, j) for i, j in zip(*np.nonzero(np.triu((needed | needed.T) & ~safe)), strict=True)]
    values = workers.items(lambda pair: scalar(_distance(*(vectors[k].values for k in pair))), left)
    for (i, j), value in zip(left, values, strict=True):
        found[i, j] = found[j, i] = value
    return found


@final
class DissimilarityFamily(TogetherFamily):
    """Measures of the distances between all pairs of examples."""

    name = "dissimilarities"
    options: ClassVar = {"dissimilarity": "correlation", "comparison": "spearman"}
    record: ClassVar = {"symmetric": True}
    shares = "distances"
    float32 = "all pairs"

    def exact(self, *, dissimilarity: str = "", comparison: str = "", **_: Any) -> bool:
        """Say whether float32 would be seen: whitened features, ties of ranks not averaged, differences of distances."""
        return dissimilarity == "mahalanobis" or comparison in ("kendall", "difference")

    def prepare(
        self, x: ArrayRepresentation, *, dissimilarity: str = "correlation", comparison: str = "spearman", **_: Any
    ) -> Dissimilarities:
        """Return the dissimilarities of all pairs of rows, made ready for a comparison."""
        if not is_numpy(x.array) or self.exact(dissimilarity=dissimilarity, comparison=comparison):
            x = x.exact
        values, absent = _squares(x, dissimilarity, ranked=comparison in RANKED)
        xp = namespace(values)
        low, high, dead = xp.min(values), xp.max(values), x.constant
        equal_rows = False
        # Ranks of squares are those of what they are squares of.
        if comparison not in RANKED:
            rooted = dissimilarity in ("euclidean", "mahalanobis")
            values = -RadialKernel().of(values) if rooted else values / 2
            equal_rows = carries_gradient(values) and rooted and count(values == 0) > 0
        if comparison == "difference":
            values = values * x.centred.scale
            return Dissimilarities(x.n, values, comparison, dead, equal_rows=equal_rows)
        size = max(x.array.shape) * machine_epsilon(values)
        equal = (high if comparison == "cosine" else high - low) <= 8 * size * high
        left = "all equal" if bool(equal) and not bool(dead) else ""
        if comparison == "kendall":
            found = concordance.order_of(grid_places(to_numpy(values)))
            plain = Dissimilarities(x.n, found.ranks, comparison, dead | equal, left, dissimilarity, absent=absent)
            return replace(plain, order=found.order, tied=found.tied, again=found.again)
        ready = _ready(values, comparison)
        return Dissimilarities(x.n, ready, comparison, dead | equal, left, dissimilarity, equal_rows, absent)

    def meet(self, x: Dissimilarities, y: Dissimilarities) -> Compared:
        """Compare one pair."""
        xp, undefined = namespace(x.constant), x.constant | y.constant
        if x.comparison == "difference":
            return Compared(_distance(x.values, y.values), undefined)
        if x.comparison == "kendall":
            value = 0.0 if bool(undefined) else concordance.tau_b(x.by_rank, y.by_rank)
            return Compared(constant_like(value, precise(xp.astype(undefined, xp.float32))), undefined)
        return Compared(xp.sum(precise(x.values) * precise(y.values)), undefined)

    def choose(self, sizes: Sizes, *, comparison: str = "", **options: Any) -> Form | None:
        """Multiply stacked vectors where the comparison is an inner product."""
        if comparison == "kendall":
            return None
        count, half = len(sizes.widths), sizes.n * (sizes.n - 1) // 2
        cost = self.cost(sizes, comparison=comparison, **options)
        stacked = replace(cost, per_pair=0, together=count * min(PIECE, half) * 8)
        return Form(stacked, tiled=tuple(range(count)))

    def meet_all(
        self, operands: Sequence[Dissimilarities], needed: np.ndarray, form: Form, workers: Workers, step: Step
    ) -> Compared:
        """Compare all pairs, piece by piece of the vectors."""
        found = stacked_products([to_numpy(vector.values) for vector in operands], step)
        if operands[0].comparison == "difference":
            found = _differences(operands, needed, found, workers)
        constant = np.array([is_constant(vector) for vector in operands])
        return Compared(found, constant[:, None] | constant[None, :])

    def permuted(self, xs: Any, ys: Any, needed: np.ndarray, memory: int) -> None:
        """Put vectors in other orders one by one."""

    def remarks(self, operands: Mapping[str, Dissimilarities], pairs: Pairs) -> list[Caution]:
        """Name the layers whose dissimilarities are all equal, and those with rows that have no direction."""
        which = next(iter(operands.values())).dissimilarity
        varying = {label: x.absent for label, x in operands.items() if x.absent is not None and not is_constant(x)}
        what = "have all features equal" if which == "correlation" else "are 0 in all features"
        taken = f"their {which} dissimilarity from all others is taken as 1"
        lost = without_direction({label: count(absent) for label, absent in varying.items()}, what, taken)
        return all_equal([label for label, x in operands.items() if x.left], which) + lost

    def cost(self, sizes: Sizes, *, dissimilarity: str = "", comparison: str = "", **_: Any) -> Cost:
        """Return what products of rows take, then of vectors."""
        n, half = sizes.n, sizes.n * (sizes.n - 1) // 2
        # Whitened rows are in float64.
        items = np.full_like(sizes.items, 8) if dissimilarity == "mahalanobis" else sizes.items
        item = int(items.max())
        flops = 1.0 * n * n * float(sizes.widths.sum()) + float(len(sizes.pairs()[0])) * n * n
        vectors = 40 if comparison in RANKED else 24 if item == 4 else 32
        per_layer = vectors * half + (4 * min(ROWS, n) + 6 * sizes.widest) * n * item
        per_pair = 24 * half if comparison != "kendall" else half * concordance.BYTES[concordance.is_compiled(half)]
        # Places are looked up some at a time.
        return Cost(flops, half * int(items.sum()), per_layer, per_pair, reordering=64 * max(n, PIECE))


DISSIMILARITIES = DissimilarityFamily()
