"""What a function of the caller's own returned → its layers by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.extraction.layer_selection import CALL, INPUT, OUTPUT
from homolog.extraction.layer_values import Layer
from homolog.extraction.tensors import is_packed, is_tensor, numbers_of
from homolog.names import quoted


def layers_of(found: Any, size: int | None) -> Iterator[tuple[str, Any]]:
    """Yield the layers that a function returned for a batch of so many examples; None where nobody knows how many.

    Mappings, tuples and lists inside each other are layers whose names are joined by dots, as `hidden_states.3`.
    """
    if isinstance(found, Layer) or is_tensor(found):
        yield OUTPUT, found
    elif isinstance(found, Mapping):
        if not found:
            raise ValueError(
                "a function must return at least one layer, got an empty mapping: return {name: array (examples, ...)}."
            )
        for name, value in found.items():
            yield from _named(name, value, size)
    elif isinstance(found, Iterator):
        for pair in found:
            yield from _named(*_checked_pair(pair), size)
    elif isinstance(found, np.ndarray) or hasattr(found, "toarray"):
        yield OUTPUT, found  # of text, or sparse: said where it is taken
    elif isinstance(found, list) and (rows := _rows_of(OUTPUT, found, size)) is not None:
        yield OUTPUT, rows
    else:
        raise TypeError(
            f"a function must return a mapping of layer names to arrays (examples, ...), or one array, got {described(found)}: "
            f"return {{name: array}}."
        )


def _named(name: Any, value: Any, size: int | None, around: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is under a name, and what is in it."""
    if not around:
        _check_name(name)
    whole = f"{around}.{name}" if around else name
    if CALL.search(whole):
        raise ValueError(
            f"a function must not end the name of a layer in # and a number, which tells calls of one layer apart, got "
            f"{quoted(whole)}: give it another name."
        )
    if isinstance(value, Layer) or is_tensor(value) or is_packed(value):
        yield whole, value
    elif isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _named(key, item, size, whole)
    elif isinstance(value, tuple | list) and value:
        rows = _rows_of(whole, value, size) if isinstance(value, list) else None
        if rows is not None:
            yield whole, rows
            return
        for number, item in enumerate(value):
            yield from _named(number, item, size, whole)
    else:
        yield whole, value


def _rows_of(name: str, values: list[Any], size: int | None) -> np.ndarray | None:
    """Return a list of numbers, of lists of numbers, or of one vector for each example as an array; None for any other list."""
    flat = values
    while flat and isinstance(flat[0], list):
        flat = flat[0]
    if flat is values and len(values) == size and all(is_tensor(value) and value.ndim == 1 for value in values):
        if {len(value) for value in values} == {size}:
            raise ValueError(
                f"layer {name!r} is a list of {size} vectors of {size} numbers, which could be examples or layers: put examples "
                f"into one array (examples, features), numpy.stack(list), or name the layers in a mapping."
            )
        return _array_of(name, [numbers_of(value) for value in values])
    if not flat or not all(isinstance(value, int | float) for value in flat):
        return None
    return _array_of(name, values)


def _array_of(name: str, rows: list[Any]) -> np.ndarray:
    try:
        return np.array(rows)
    except ValueError:
        raise ValueError(
            f"layer {name!r} must hold as many numbers for every example, got a list of unequal lengths: pad it, and say with "
            f"homolog.Layer(array, mask=...) which positions count."
        ) from None


def _checked_pair(pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"a function that yields must yield pairs (name, array), got {described(pair)}.")
    return pair


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"a function must name its layers by text, got {quoted(name)}: return {{name: array}}.")
    if name == INPUT:
        raise ValueError(
            "a function must not call a layer 'input', which is what the data are called: give it another name."
        )
