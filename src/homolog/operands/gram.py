"""The operand of the structure family: a centred n×n similarity structure, whole or by blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np

from homolog.arrays import (
    Array,
    check_finite,
    check_representation,
    detached,
    from_numpy,
    identity_like,
    is_numpy,
    machine_epsilon,
    namespace,
    precise,
    same_library,
    same_rows,
    scalar,
    to_numpy,
)
from homolog.gradients import EQUAL_ROWS, TIE, smooth_unless
from homolog.linalg import ROUNDINGS, Centred, centre, column_means, power_of_two, squared_distances_of, squared_norm
from homolog.operands.condensed import (
    PLACES,
    Points,
    centre_half,
    evenly,
    halved,
    heavy,
    nearly_orthogonal,
    row_sums,
    whole,
)

NEAR_ONE = 10
"""Fractions of the median distance above which an RBF kernel is near 1 for most pairs of rows."""
WIDEST = 1e100
"""Fractions beyond this, or below its inverse, are taken as this: what they make of a kernel is the same."""
Kernel = Annotated[
    Literal["linear", "rbf"] | Callable[[Any], Any],
    '"linear", "rbf" (σ = median_fraction × median distance), or a function X → (n, n) Gram matrix.',
]
MedianFraction = Annotated[
    float, "σ of the RBF kernel, as a fraction of the median over all n² distances, zero diagonal included."
]
"""The kernels one may ask for; "distance" and "residual" are those of distance correlation and of deconfounded CKA."""


@dataclass(frozen=True)
class Bell:
    """The RBF kernel; of one that is near 1 everywhere, what sets it apart from 1, times `enlarged` squared."""

    width: Array
    """0-d: 2σ²."""
    enlarged: float
    """1, or the fraction of the median where the kernel is near 1."""

    @property
    def peak(self) -> float:
        """The kernel of a row with itself."""
        return 0.0 if self.enlarged > 1 else 1.0

    def of(self, squared: Array) -> Array:
        """Return the kernel of squared distances."""
        xp = namespace(squared)
        if is_numpy(squared):  # in one array of its size
            found = squared / -np.asarray(self.width)
            if self.enlarged == 1:
                return np.exp(found, out=found)
            np.expm1(found, out=found)
            return np.multiply(found, self.enlarged**2, out=found)
        if self.enlarged == 1:
            return xp.exp(-squared / self.width)
        return xp.expm1(-squared / self.width) * self.enlarged**2


@dataclass(frozen=True)
class Radial:
    """A kernel of the distances between some points, formed block by block: nothing of size n² is held."""

    points: Array
    """(n, p) centred features."""
    bell: Bell | None
    """The RBF kernel; None for minus the distances themselves."""
    scale: Array
    """0-d power of two by which the Gram matrix is divided."""
    means: Array
    """(n,) means of the rows of the Gram matrix."""

    def block(self, rows: slice, columns: slice) -> Array:
        """Part of the centred Gram matrix."""
        raw = radial(squared_distances(self.points, rows, columns), self.bell) / self.scale
        return raw - self.means[rows, None] - self.means[None, columns] + namespace(self.points).mean(self.means)


@dataclass(frozen=True)
class Structure:
    """The centred similarity structure of a representation, divided by `scale` squared."""

    n: int
    features: Array | None
    """(n, p) centred features for the linear kernel, else None."""
    given_gram: Array | None
    """(n, n) centred Gram matrix for the other kernels, else None."""
    kernel: Radial | None
    """A kernel of distances where its Gram matrix is not held, else None."""
    diagonal: Array
    """(n,) diagonal of the centred Gram matrix, in float64 where the device has it."""
    scale: Array
    """0-d: the Gram matrix in the units of the input is gram · scale², squared only where HSIC needs it."""
    constant: Array
    """0-d bool: nothing varies."""
    half: Array | None = None
    """(n(n−1)/2,) the centred Gram matrix above its diagonal, row after row, where that is what is held."""
    explained: bool = False
    """Whether nothing is left because the inputs explain all of it."""
    no_width: bool = False
    """Whether an RBF kernel has no width, since over half of the distances are 0, although the layer varies."""
    lacks_inputs: bool = False
    """Whether what the inputs explain was to be removed, and nobody gave them."""

    @property
    def epsilon(self) -> float:
        """Spacing at 1 of the floats in which the Gram matrix is formed."""
        if self.kernel is not None:
            return machine_epsilon(self.kernel.points)
        if self.half is not None:
            return machine_epsilon(self.half)
        return machine_epsilon(self.given_gram if self.features is None else self.features)

    @cached_property
    def own(self) -> tuple[Array, Array]:
        """Off-diagonal part of ⟨K, K⟩, and k·k."""
        return products(self, self)

    @cached_property
    def gram(self) -> Array:
        """(n, n) centred Gram matrix."""
        return self.block(slice(None), slice(None))

    def block(self, rows: slice, columns: slice) -> Array:
        """Part of the centred Gram matrix."""
        if self.given_gram is not None:
            return self.given_gram[rows, columns]
        if self.kernel is not None:
            return self.kernel.block(rows, columns)
        if self.half is not None:
            return whole(self.half, self.diagonal)[rows, columns]
        assert self.features is not None  # one of the three is given
        return self.features[rows, :] @ self.features[columns, :].T


def prepare(
    x: Array,
    *,
    kernel: Kernel | Literal["distance", "residual"] = "linear",
    median_fraction: float = 1.0,
    inputs: Any = None,
    rebuilt: bool = False,
    shared: Points | None = None,
) -> Structure:
    """Centre the features (linear kernel) or the Gram matrix (any other kernel; `rebuilt` forgets it where it can be remade).

    `shared` is what other measures of the same representation have in common with this one.
    """
    points = shared or Points(x)
    if kernel == "linear":
        return _linear(x, points.centred)
    if is_numpy(x):
        points = points.exact if exact(kernel=kernel, median_fraction=median_fraction) else points
    else:
        points = Points(precise(x))
    x = points.x
    if not callable(kernel) and kernel != "residual":
        fraction = median_fraction if kernel == "rbf" else None
        if is_numpy(x):
            return _of_half(points.apart, fraction, rebuilt=rebuilt)
        centred = points.centred
        squared = squared_distances(centred.features)
        middle = None if fraction is None else median(squared)
        bell = None if middle is None or fraction is None else Bell(rbf_width_of(middle, fraction), enlarged(fraction))
        raw = radial(squared, bell)
        if bell is None:
            raw = smooth_unless(raw, lambda: _equal_rows(squared), EQUAL_ROWS)
        remade = Radial(centred.features, bell, centred.scale, x[:, 0]) if rebuilt else None
        found = _held(x, centred, raw, remade)
        found = found if bell is None else replace(found, scale=found.scale / bell.enlarged)
        return _without_width(found) if middle is not None and scalar(middle) == 0 else found
    centred = points.centred
    if kernel == "residual":
        found = _held(x, centred, residual(centred.features, inputs), None)
        explained = inputs is not None and bool(found.constant) and not bool(namespace(x).all(centred.dead))
        return replace(found, explained=explained, lacks_inputs=inputs is None)
    return _held(x, centred, _called(kernel, x), None)


def exact(*, kernel: Any, median_fraction: float = 1.0, **_: Any) -> bool:
    """Say whether float32 would be seen: what inputs leave, what a function makes of rows, and kernels near 0 or 1 everywhere."""
    return callable(kernel) or kernel == "residual" or (kernel == "rbf" and not 0.1 <= median_fraction <= 2)


def _linear(x: Array, centred: Centred) -> Structure:
    xp = namespace(x)
    features = centred.features
    diagonal = precise(xp.linalg.vecdot(features, features))
    if features.dtype != diagonal.dtype and not is_numpy(x):
        # As `Points` has it for NumPy's arrays.
        some = xp.take(features, from_numpy(evenly(x.shape[0], PLACES), features), axis=0)
        if heavy(to_numpy(diagonal)) or nearly_orthogonal(to_numpy(some), to_numpy(diagonal)):
            return prepare(precise(x))
    return Structure(x.shape[0], features, None, None, diagonal, centred.scale, xp.all(centred.dead))


def _of_half(points: Points, median_fraction: float | None, *, rebuilt: bool) -> Structure:
    """Return a kernel of distances, of which half is formed and, unless it is to be `rebuilt`, held."""
    n, features = points.x.shape[0], points.centred.features
    middle = None if median_fraction is None else _median_of_half(points.squared, n)
    bell = None
    if middle is not None and median_fraction is not None:
        bell = Bell(rbf_width_of(middle, median_fraction), enlarged(median_fraction))
    half = radial(points.squared, bell)
    peak = 0.0 if bell is None else bell.peak
    means = row_sums(half, n, peak) / n
    diagonal = centre_half(half, n, peak, means)
    constant = np.all(points.centred.dead) | ~(np.max(diagonal) > n * machine_epsilon(features))
    one = np.asarray(features.dtype.type(1))
    scale = one if bell is None else one / one.dtype.type(bell.enlarged)
    if rebuilt:
        kernel = Radial(features, bell, one, means.astype(features.dtype))
        found = Structure(n, None, None, kernel, diagonal, scale, constant)
    else:
        found = Structure(n, None, None, None, diagonal, scale, constant, half=half)
    return _without_width(found) if middle == 0 else found


def _without_width(x: Structure) -> Structure:
    """Return a structure of which no value is defined, for want of a width, unless it is constant anyway."""
    return replace(x, constant=namespace(x.constant).ones_like(x.constant), no_width=not bool(x.constant))


def _held(x: Array, centred: Centred, raw: Array, remade: Radial | None) -> Structure:
    """Return the structure of a Gram matrix; it is let go where it can be remade."""
    xp, n = namespace(x), x.shape[0]
    gram, scale = _centre_gram(raw)
    # The Gram matrix was scaled to about 1, so what centring leaves of a constant one is rounding.
    constant = xp.all(centred.dead) | ~(xp.max(xp.abs(gram)) > n * machine_epsilon(x))
    if remade is not None:
        remade = replace(remade, scale=scale, means=xp.reshape(column_means(raw / scale), (-1,)))
    diagonal = precise(xp.linalg.diagonal(gram))
    return Structure(n, None, gram if remade is None else None, remade, diagonal, xp.sqrt(scale), constant)


def radial(squared: Array, bell: Bell | None) -> Array:
    """Return a kernel of squared distances: RBF, or minus the distance where there is no bell."""
    if bell is None and is_numpy(squared):
        # As below, in one array of its size: squares are never negative.
        found = np.sqrt(squared)
        return np.negative(found, out=found)
    xp = namespace(squared)
    if bell is not None:
        return bell.of(squared)
    # The gradient of sqrt is infinite at 0: equal rows are a corner, not a slope.
    positive = squared > 0
    return -xp.where(positive, xp.sqrt(xp.where(positive, squared, xp.ones_like(squared))), xp.zeros_like(squared))


def residual(features: Array, inputs: Any) -> Array:
    """Return what a least-squares multiple of the inputs' Gram matrix leaves of a Gram matrix, both centred."""
    gram = features @ features.T
    if inputs is None:
        return gram
    array = getattr(inputs, "array", inputs)
    check_representation(array, "inputs")
    given = to_numpy(array) if is_numpy(features) else array
    given = from_numpy(given, features) if is_numpy(given) else given
    same_library(features, given, ("x", "inputs"))
    same_rows(features, given, ("x", "inputs"))
    check_finite(given, "inputs")
    centred = centre(namespace(features).astype(given, features.dtype))
    if bool(namespace(features).all(centred.dead)):
        raise ValueError(
            "inputs must vary over the examples, got constant ones: leave them out to compare all there is."
        )
    of_inputs = centred.features
    other = of_inputs @ of_inputs.T
    left = gram - namespace(gram).sum(gram * other) / squared_norm(other) * other
    # What is left of a Gram matrix that the inputs explain wholly is rounding.
    nothing = squared_norm(left) <= (gram.shape[0] * machine_epsilon(gram)) ** 2 * squared_norm(gram)
    return namespace(gram).where(nothing, namespace(gram).zeros_like(left), left)


def reorder(x: Structure, order: Array) -> Structure:
    """Return the structure of the same examples in another order."""
    return replace(
        x,
        features=None if x.features is None else x.features[order, :],
        given_gram=None if x.given_gram is None else x.given_gram[order, :][:, order],
        kernel=None
        if x.kernel is None
        else replace(x.kernel, points=x.kernel.points[order, :], means=x.kernel.means[order]),
        diagonal=x.diagonal[order],
        half=None if x.half is None else halved(lambda rows, columns: x.gram[order[rows], :][:, order[columns]], x.n),
    )


def _median_of_half(pairs: np.ndarray, n: int) -> Any:
    """Return the median of all n² squared distances from those of the pairs."""
    places = [(place - n) // 2 for place in ((n * n - 1) // 2, n * n // 2)]
    middle = [np.partition(pairs, max(place, 0))[place] if place >= 0 else 0 for place in dict.fromkeys(places)]
    return pairs.dtype.type((middle[0] + middle[-1]) / 2)


def _equal_rows(squared: Array) -> bool:
    """Say whether rows of a matrix of squared distances stand for the same point, up to rounding."""
    values = to_numpy(squared)
    least = 1e-14 * values.max(initial=0.0)
    return bool(np.any(values + (2 * least + 1) * np.eye(len(values)) <= least))


def _called(kernel: Callable[[Any], Any], x: Array) -> Array:
    xp = namespace(x)
    n = x.shape[0]
    gram = kernel(x)
    if getattr(gram, "shape", None) != (n, n):
        got = getattr(gram, "shape", None)
        raise ValueError(
            f"a kernel must map X of shape {tuple(x.shape)} to a Gram matrix of shape {(n, n)}, got "
            f"{'shape ' + str(tuple(got)) if got is not None else type(gram).__name__}: one entry per pair of examples."
        )
    check_finite(xp.reshape(gram, (n, n)), "the Gram matrix of the kernel")
    return xp.astype(gram, x.dtype)


def _centre_gram(gram: Array) -> tuple[Array, Array]:
    """Return HKH divided by a power of two, and that power."""
    xp = namespace(gram)
    scale = power_of_two(xp.max(xp.abs(detached(gram))))
    gram = gram / scale
    # Twice, because the first means are rounded: one entry may be much larger than what centring leaves.
    for _ in range(2):
        gram = gram - column_means(gram)
        gram = gram - column_means(gram.T).T
    return gram, scale


def squared_distances(points: Array, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
    """Return squared Euclidean distances between centred rows, 0 where rounding is left, those of a row to itself exactly 0.

    The two slices must be one or have no row in common.
    """
    xp = namespace(points)
    first, second = points[rows, :], points[columns, :]
    if is_numpy(points):
        return squared_distances_of(first, second, same=rows == columns)
    norms = [xp.linalg.vecdot(side, side) for side in (first, second)]
    together = norms[0][:, None] + norms[1][None, :]
    squared = together - 2 * (first @ second.T)
    left = squared > ROUNDINGS * machine_epsilon(points) * detached(together)
    positive = xp.where(left, squared, xp.zeros_like(squared))
    return positive * (1 - identity_like(first)) if rows == columns else positive


def rbf_width_of(middle: Array, median_fraction: float) -> Array:
    """Return 2σ² = 2·fraction²·median(d²), the median over all n×n squared distances, zero diagonal included.

    1 where the median is 0, for which no value is defined.
    """
    if scalar(middle) == 0:
        return namespace(middle).ones_like(middle)
    return 2 * min(max(median_fraction, 1 / WIDEST), WIDEST) ** 2 * middle


def enlarged(median_fraction: float | None) -> float:
    """Return by what a kernel is enlarged that is near 1 everywhere: float64 would keep few of its digits beside the 1."""
    return 1.0 if median_fraction is None or median_fraction <= NEAR_ONE else min(median_fraction, WIDEST)


def median(values: Array) -> Array:
    """Return NumPy's median (mean of the middle pair) of all entries, as a 0-d array that carries gradients."""
    xp = namespace(values)
    flat = xp.reshape(values, (-1,))
    low, high = (flat.shape[0] - 1) // 2, flat.shape[0] // 2
    # Selecting on the host costs O(n²), sorting O(n² log n); the two indices then pick from the array itself.
    order = np.argpartition(to_numpy(flat), [low, high])
    middle = (flat[int(order[low])] + flat[int(order[high])]) / 2
    return smooth_unless(
        middle, lambda: _tied_middle(to_numpy(flat), order[[low, high]]), "distances tie at their median"
    )


def _tied_middle(values: np.ndarray, places: np.ndarray) -> bool:
    """Say whether a middle value of a symmetric matrix stands in it more than twice."""
    near = np.abs(values[None, :] - values[places, None]) <= TIE * values[places, None]
    return bool(np.any(near.sum(axis=1) > 2))


def products(x: Structure, y: Structure) -> tuple[Array, Array]:
    """Return the off-diagonal part of ⟨K, L⟩, and k·l.

    Through features, ‖X^T Y‖², where both have at most n of them; else through Gram matrices.
    """
    xp = namespace(x.diagonal)
    diagonals = xp.sum(x.diagonal * y.diagonal)
    if x.half is not None and y.half is not None:
        return np.asarray(2 * np.vdot(precise(x.half), precise(y.half))), diagonals
    if x.features is not None and y.features is not None and max(x.features.shape[1], y.features.shape[1]) <= x.n:
        return squared_norm(precise(x.features.T @ y.features)) - diagonals, diagonals
    return xp.sum(precise(x.gram * y.gram)) - diagonals, diagonals
