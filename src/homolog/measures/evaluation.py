"""A measure of two arrays: validate, prepare, meet, and the formula; warn where a reader needs it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import device as device_of

from homolog.arrays import (
    Array,
    carries_gradient,
    check_finite,
    enough_rows,
    format_bytes,
    is_known,
    is_numpy,
    is_traced,
    itemsize,
    namespace,
    on_host,
    representation,
    same_library,
    same_rows,
    scalar,
    working_dtype,
)
from homolog.diagnostics import Caution, explain_nan, give, undefined
from homolog.machine import whole_memory
from homolog.measures.record import Measure
from homolog.operands.family import Family

SMALL = 1 << 28
"""Bytes that every machine has."""


def evaluate(record: Measure, x: Array, y: Array) -> Array:
    """Compute a measure of two arrays."""
    same = y is x
    names = record.sides
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
    family = record.family
    first = family.prepare(x, **record.prepare_options)
    second = first if same else family.prepare(y, **record.prepare_options)
    value = record.finish(first, second, family.meet(first, second), **record.finish_options)
    if isinstance(value, float | int | np.generic):  # NumPy makes numbers of 0-d arrays
        value = namespace(x).asarray(value, dtype=working_dtype(x), device=device_of(x))
    if (carries_gradient(x) or carries_gradient(y)) and is_known(value) and math.isnan(scalar(value)):
        # What is not defined has no gradient either.
        value = value + float("nan") * (namespace(x).sum(x) + namespace(y).sum(y))
    if is_traced(value):
        return value
    found = examined(family, {names[0]: first, names[1]: second}, [names], [record])
    if math.isnan(scalar(value)) and not explain_nan(found):
        found += undefined(str(record), [" and ".join(names)])
    give(found, stacklevel=2)
    return value


def examined(
    family: Family, operands: Mapping[str, Any], pairs: Sequence[tuple[str, str]], measures: Iterable[Measure]
) -> list[Caution]:
    """Return the warnings of a family that concern some of these measures, and those of the measures alone."""
    asked = list(measures)
    free = all(record.free_of_rank for record in asked)
    shared = [caution for caution in family.examine(operands, pairs) if not (caution.of_ranks and free)]
    return shared + [caution for record in asked for caution in record.cautions(operands)]


def check_memory(record: Measure, x: Array, y: Array) -> None:
    """Raise at once where two representations take more than this machine has; arrays on a device are left to it."""
    arrays = [x] if y is x else [x, y]
    if is_traced(x) or is_traced(y) or not is_numpy(on_host(x[:1, :])):
        return
    shapes, sizes = [tuple(array.shape) for array in arrays], [itemsize(array, single=True) for array in arrays]
    needed = np.ones((len(arrays), len(arrays)), dtype=bool)
    least = record.family.cost(shapes, sizes, needed, None, **record.prepare_options).least
    if least > SMALL and least > (most := whole_memory()):
        raise ValueError(
            f"{record} of {shapes[0][0]} examples needs about {format_bytes(least)} of memory, and this machine has "
            f"{format_bytes(most)}: take fewer examples or features, or a measure whose operands are smaller."
        )
