"""Evaluating measures: on two arrays with every check and warning, on pairs of operands, or on what all pairs of layers share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device as device_of

from homolog.arrays import (
    Array,
    carries_gradient,
    check_finite,
    check_representation,
    converted,
    described,
    enough_rows,
    from_numpy,
    is_known,
    is_numpy,
    is_traced,
    itemsize,
    kept_dtype,
    namespace,
    needs_gradient,
    on_host,
    representation,
    same_library,
    same_rows,
    scalar,
    to_numpy,
    working_dtype,
)
from homolog.blocks.budget import Sizes
from homolog.conversion import filled_pair, taken_pair
from homolog.diagnostics import Caution, explain_nan, give
from homolog.machine import format_bytes, whole_memory
from homolog.measures.record import Measure
from homolog.operands.family import Family
from homolog.operands.representation import ArrayRepresentation
from homolog.sketching import SketchedRows
from homolog.sparse import SparseRows
from homolog.warning_sentences import undefined

SMALL = 1 << 28
"""Bytes that every machine has."""
Measures = Mapping[str, Measure]
"""Measures of one family, with equal options of its operands, by the names of their variables."""


def evaluate(record: Measure, x: Array, y: Array) -> Array:
    """Compute a measure of two arrays; the value of tensors and of JAX arrays has their dtype, of at least 32 bits."""
    value = None if record.quick is None else record.quick(x, y, **record.all_options)
    if value is not None:
        return value
    return kept_dtype(_evaluated(record, x, y), x, y, bounded=math.isfinite(record.range[1]))


def _evaluated(record: Measure, x: Array, y: Array) -> Array:
    same, names = y is x, record.sides
    x, y = taken_pair(x, y, names)
    if isinstance(x, SparseRows) or isinstance(y, SparseRows):
        return _of_sparse(record, x, y)
    single = record.family.float32 == "as given"
    shifted = record.ignores_offset
    x = representation(x, names[0], single=single, shifted=shifted)
    y = x if same else representation(y, names[1], single=single, shifted=shifted)
    same_library(x, y, names)
    same_rows(x, y, names)
    check_memory(record, x, y)
    check_finite(x, names[0])
    check_finite(y, names[1])
    enough_rows(x, record.minimal_n, str(record))
    first = prepared(record, x)
    second = first if same else prepared(record, y)
    value = record.value(first, second, record.family.meet(first, second))
    if isinstance(value, float | int | np.generic):  # NumPy makes numbers of 0-d arrays
        value = namespace(x).asarray(value, dtype=working_dtype(x), device=device_of(x))
    if (carries_gradient(x) or carries_gradient(y)) and is_known(value) and math.isnan(scalar(value)):
        # What is not defined has no gradient either.
        value = value + float("nan") * (namespace(x).sum(x) + namespace(y).sum(y))
    if is_traced(value):
        return value
    give(remarks(record, dict(zip(names, (first, second), strict=True)), scalar(value)))
    return value


def _of_sparse(record: Measure, x: Any, y: Any) -> Array:
    """Compute a measure of representations of which at least one is sparse, without its zeros where the family can."""
    names, same = record.sides, y is x
    if needs_gradient(x) or needs_gradient(y):
        return _evaluated(record, *filled_pair(x, y, names, f"the gradient of {record}"))
    if not record.family.takes_sparse(record.prepare_options):
        return _evaluated(record, *filled_pair(x, y, names, str(record)))
    same_library(x, y, names)
    same_rows(x, y, names)
    enough_rows(x, record.minimal_n, str(record))
    first = _operand(record, x, names[0])
    second = first if same else _operand(record, y, names[1])
    value = record.value(first, second, record.family.meet(first, second))
    give(remarks(record, dict(zip(names, (first, second), strict=True)), scalar(value)))
    return from_numpy(np.asarray(value), x.like if isinstance(x, SparseRows) else x)


def _operand(record: Measure, x: Any, name: str) -> Any:
    """Return the operand of sparse rows, or of an array beside them."""
    check_representation(x, name)
    if isinstance(x, SparseRows):
        return record.family.prepare(x, **record.prepare_options)
    array = to_numpy(converted(x, name, shifted=record.ignores_offset))
    check_finite(array, name)
    return prepared(record, array)


def prepared(record: Measure, x: Array) -> Any:
    """Return the operand of a representation in memory."""
    if isinstance(x, SketchedRows):
        return record.family.prepare(x, **record.prepare_options)
    return record.family.prepare(ArrayRepresentation(x), **record.prepare_options)


def remarks(record: Measure, operands: Mapping[str, Any], value: float) -> list[Caution]:
    """Return what a reader should know of the value of one pair of operands, by their labels."""
    first, second = operands
    found = examined(record.family, operands, [(first, second)], [record])
    if math.isnan(value) and not explain_nan(found):
        found += undefined(str(record), [f"{first} and {second}"])
    return found


def examined(
    family: Family, operands: Mapping[str, Any], pairs: Sequence[tuple[str, str]], measures: Iterable[Measure]
) -> list[Caution]:
    """Return the warnings of a family that concern some of these measures, and those of the measures alone."""
    asked = list(measures)
    free = all(record.free_of_rank for record in asked)
    shared = [caution for caution in family.examine(operands, pairs) if not (caution.of_ranks and free)]
    return shared + [caution for record in asked for caution in record.cautions(operands)]


class PairValues(NamedTuple):
    """What one measure says of a pair: (x, y) and (y, x), NaN where nobody asked."""

    value: float
    reversed: float
    null: float = math.nan
    null_reversed: float = math.nan


def values_of_pair(measures: Measures, x: Any, y: Any, shared: Any, *, same: bool, both: bool) -> dict[str, PairValues]:
    """Evaluate every measure on a pair; `both` says whether (y, x) was asked for."""
    found, transposed = {}, getattr(shared, "T", shared)
    for name, record in _in_order(measures):
        value = reverse = _number(name, record.value(x, y, shared))
        if not (record.symmetric or same):
            asked = record.symmetric is False or both
            reverse = _number(name, record.value(y, x, transposed)) if asked else math.nan
        levels = record.null_level(x, y, shared), record.null_level(y, x, transposed)
        found[name] = PairValues(value, reverse, *(math.nan if level is None else scalar(level) for level in levels))
    return found


def value_matrices(measures: Measures, xs: Sequence[Any], ys: Sequence[Any], needed: np.ndarray) -> np.ndarray:
    """Return (measures, x, y) values, pair by pair, NaN where not needed."""
    family, places = next(iter(measures.values())).family, {name: place for place, name in enumerate(measures)}
    found = np.full((len(measures), *needed.shape), np.nan)
    for i, j in zip(*np.nonzero(needed), strict=True):
        shared = family.meet(xs[i], ys[j])
        for name, record in _in_order(measures):
            found[places[name], i, j] = scalar(record.value(xs[i], ys[j], shared))
    return found


def values_of_all(measures: Measures, shared: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return (measures, x, y) values, from what all pairs share."""
    values = [to_numpy(record.value(None, None, shared)) for record in measures.values()]
    return np.array([np.broadcast_to(value, shape) for value in values])


def null_levels_of_all(measures: Measures, shared: Any) -> dict[str, np.ndarray]:
    """Return the null level of every pair, of measures that have a formula for it."""
    levels = {name: record.null_level(None, None, shared) for name, record in measures.items()}
    return {name: to_numpy(level) for name, level in levels.items() if level is not None}


def order_scores_of_all(measures: Measures, shared: Any) -> dict[str, np.ndarray]:
    """Return where the value of every pair lies among all orders of the examples, of measures that have a formula for it."""
    scores = {name: record.score_among_orders(shared) for name, record in measures.items()}
    return {name: to_numpy(score) for name, score in scores.items() if score is not None}


def _in_order(measures: Measures) -> list[tuple[str, Measure]]:
    """Return the measures, first those that decompose what is shared in a way that others use again."""
    return sorted(measures.items(), key=lambda item: not item[1].decomposes_first)


def _number(name: str, value: Any) -> float:
    """Return a value as a float; a function of the caller may have returned anything."""
    try:
        return scalar(value)
    except (TypeError, ValueError):
        got = f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else described(value)
        raise TypeError(f"measure {name!r} must return one number for two representations, got {got}.") from None


def check_memory(record: Measure, x: Array, y: Array) -> None:
    """Raise at once where two representations take more than this machine has; arrays on a device are left to it."""
    arrays = [x] if y is x else [x, y]
    if is_traced(x) or is_traced(y) or not is_numpy(on_host(x[:1, :])):
        return
    sizes = Sizes.of(arrays, [itemsize(array, single=True) for array in arrays])
    least = record.family.cost(sizes, **record.prepare_options).least
    if least > SMALL and least > (most := whole_memory()):
        raise ValueError(
            f"{record} of {sizes.n} examples needs about {format_bytes(least)} of memory, and this machine has "
            f"{format_bytes(most)}: take fewer examples or features, or a measure whose operands are smaller."
        )
