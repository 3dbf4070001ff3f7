"""Centred n×n similarity structures are made: of features, of kernels of distances, or of any kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from homolog.arrays import (
    Array,
    all_to_numpy,
    check_finite,
    check_representation,
    detached,
    from_numpy,
    is_numpy,
    machine_epsilon,
    namespace,
    precise,
    same_library,
    same_rows,
    scalar,
    to_numpy,
)
from homolog.blocks.median import median_of_condensed, median_of_rows, sample
from homolog.blocks.scan import ROWS
from homolog.gradients import EQUAL_ROWS, TIE, smooth_unless
from homolog.linalg import (
    Centred,
    centre,
    double_centred,
    power_of_two,
    squared_distances,
    squared_norm,
)
from homolog.operands.condensed import (
    PLACES,
    apart,
    centre_condensed,
    dominated,
    evenly,
    few_rows_dominate,
    nearly_orthogonal,
    row_sums,
    single_suffices,
)
from homolog.operands.radial_kernel import RadialKernel
from homolog.operands.representation import ArrayRepresentation, Representation, StoredRepresentation
from homolog.operands.structures import CondensedGram, DenseGram, Gram, LinearGram, RadialGram

Kernel = Annotated[
    Literal["linear", "rbf"] | Callable[[Any], Any],
    '"linear", "rbf" (σ = median_fraction × median distance), or a function X → (n, n) Gram matrix.',
]
"""The kernels one may ask for; "distance" and "residual" are those of distance correlation and of deconfounded CKA."""
MedianFraction = Annotated[
    float, "σ of the RBF kernel, as a fraction of the median over all n² distances, zero diagonal included."
]


def gram_of(
    x: Representation,
    *,
    kernel: Kernel | Literal["distance", "residual"] = "linear",
    median_fraction: float = 1.0,
    inputs: Any = None,
) -> Gram:
    """Centre the features (linear kernel) or the Gram matrix (any other kernel)."""
    fraction = median_fraction if kernel == "rbf" else None
    if isinstance(x, StoredRepresentation):
        return _linear_of_rows(x) if kernel == "linear" else _radial_of_rows(x, fraction)
    assert isinstance(x, ArrayRepresentation)  # structures are of rows
    if kernel == "linear":
        return _linear(x)
    x = x.exact if not is_numpy(x.array) or exact(kernel=kernel, median_fraction=median_fraction) else x
    if callable(kernel):
        return _dense(x.centred, _called(kernel, x.array))
    if kernel == "residual":
        found = _dense(x.centred, residual(x.centred.features, inputs))
        explained = inputs is not None and bool(found.constant) and not bool(x.constant)
        return replace(found, left="explained" if explained else "", lacks_inputs=inputs is None)
    return _condensed(x.apart, fraction) if is_numpy(x.array) else _of_distances(x, fraction)


def exact(*, kernel: Any, median_fraction: float = 1.0, **_: Any) -> bool:
    """Say whether float32 would be seen: what inputs leave, what a function makes of rows, and kernels near 0 or 1 everywhere."""
    return callable(kernel) or kernel == "residual" or (kernel == "rbf" and not 0.1 <= median_fraction <= 2)


def _linear(x: ArrayRepresentation) -> LinearGram:
    features, diagonal = x.centred.features, x.squared_rows
    xp = namespace(features)
    if features.dtype != diagonal.dtype and not is_numpy(features):
        # As `ArrayRepresentation.centred` has it for NumPy's arrays.
        places = evenly(x.n, PLACES)
        some = xp.take(features, from_numpy(places, features), axis=0)
        gram = precise(some @ some.T)
        own = xp.linalg.diagonal(gram)
        sums = [xp.sum(diagonal), xp.sum(diagonal * diagonal), xp.sum(gram * gram) - xp.sum(own * own)]
        # Together, since each copy from a device waits for it.
        total, squares, between = all_to_numpy(sums).tolist()
        between /= len(places) * (len(places) - 1)
        if dominated(x.n, total, squares) or apart(x.n, between, squares, machine_epsilon(features)):
            return _linear(x.exact)
    return LinearGram(features=features, diagonal=diagonal, scale=x.centred.scale, constant=x.constant)


def _linear_of_rows(x: StoredRepresentation) -> LinearGram:
    features, places, some = x.centred.features, evenly(x.n, PLACES), []
    diagonal = np.empty(x.n)
    for first, block in x.blocks():
        diagonal[first : first + len(block)] = np.einsum("ij,ij->i", block, block, dtype=float)
        some.append(block[places[(places >= first) & (places < first + len(block))] - first])
    if features.dtype == np.float32 and (
        few_rows_dominate(diagonal) or nearly_orthogonal(np.concatenate(some), diagonal)
    ):
        return _linear_of_rows(x.again(np.float64))
    return LinearGram(features=features, diagonal=diagonal, scale=np.asarray(x.centred.scale), constant=x.constant)


def _condensed(x: ArrayRepresentation, median_fraction: float | None) -> CondensedGram:
    """Return a kernel of distances, of which half is formed and held."""
    n, features, middle, kernel = x.n, x.centred.features, None, RadialKernel()
    if median_fraction is not None:
        middle = median_of_condensed(x.squared, n)
        kernel = RadialKernel.of_median(middle, median_fraction)
    condensed = kernel.of(x.squared)
    diagonal = centre_condensed(condensed, n, kernel.peak, row_sums(condensed, n, kernel.peak) / n)
    constant = x.constant | ~(np.max(diagonal) > n * machine_epsilon(features))
    scale = np.asarray(features.dtype.type(1) / features.dtype.type(kernel.enlarged))
    return _with_width(CondensedGram(condensed=condensed, diagonal=diagonal, scale=scale, constant=constant), middle)


def _of_distances(x: ArrayRepresentation, median_fraction: float | None) -> DenseGram:
    """Return the same in the library of the points."""
    features = x.centred.features
    squared = squared_distances(features, features, same=True)
    middle, kernel = None, RadialKernel()
    if median_fraction is not None:
        middle = median_of_matrix(squared)
        kernel = RadialKernel.of_median(middle, median_fraction)
    raw = kernel.of(squared)
    if median_fraction is None:
        raw = smooth_unless(raw, lambda: _equal_rows(squared), EQUAL_ROWS)
    found = _dense(x.centred, raw)
    assert isinstance(found, DenseGram)  # it is not NumPy's
    return _with_width(replace(found, scale=found.scale / kernel.enlarged), middle)


def _radial_of_rows(x: StoredRepresentation, median_fraction: float | None) -> RadialGram:
    """Return a kernel of distances between rows that are read."""
    assert x.panels is not None  # planned so
    points, n = x.centred.features, x.n
    some = sample(points)
    if not single_suffices(some):
        return _radial_of_rows(x.again(np.float64), median_fraction)
    kernel, middle = RadialKernel(), None
    if median_fraction is not None:
        middle = points.dtype.type(median_of_rows(points, some, x.panels, x.keep, x.each))
        kernel = RadialKernel.of_median(middle, median_fraction)
    near = np.empty(n)
    for first, block in x.blocks():
        for start in range(0, len(block), ROWS):
            squared = squared_distances(block[start : start + ROWS], some, same=False)
            near[first + start : first + start + len(squared)] = kernel.of(squared, out=squared).mean(axis=1)
    kernel = replace(kernel, near=near)
    own = kernel.peak - 2 * near + near.mean()
    scale = np.asarray(1 / kernel.enlarged)
    return _with_width(RadialGram(points=points, kernel=kernel, diagonal=own, scale=scale, constant=x.constant), middle)


def _with_width(x: Any, middle: Any) -> Any:
    """Return a structure, of which no value is defined where it wants a width, unless it is constant anyway."""
    if middle is None or scalar(middle) != 0:
        return x
    left = "" if bool(x.constant) else "no width"
    return replace(x, constant=namespace(x.constant).ones_like(x.constant), left=left)


def _dense(centred: Centred, raw: Array) -> Gram:
    """Return the structure of a Gram matrix."""
    xp, n = namespace(raw), raw.shape[0]
    gram, scale = _centre_gram(raw)
    # The Gram matrix was scaled to about 1, so what centring leaves of a constant one is rounding.
    constant = xp.all(centred.dead) | ~(xp.max(xp.abs(gram)) > n * machine_epsilon(raw))
    return DenseGram(matrix=gram, diagonal=precise(xp.linalg.diagonal(gram)), scale=xp.sqrt(scale), constant=constant)


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


def median_of_matrix(values: Array) -> Array:
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
    return double_centred(gram / scale), scale
