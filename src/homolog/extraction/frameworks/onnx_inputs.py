"""Batches as the inputs of an ONNX model: which array is which input, of what type and shape."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import HomologWarning
from homolog.names import quoted

_TYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool", "string": "str"}
_BESIDE = {
    "id", "ids", "idx", "index", "example_id", "example_ids", "label", "labels", "target", "targets", "text",
    "sentence", "special_tokens_mask", "offset_mapping", "overflow_to_sample_mapping", "length", "word_ids",
    "input_mask"
}  # fmt: skip
"""Keys of batches that tell something about the examples, and are no inputs of models."""
MASK, KINDS = "attention_mask", "token_type_ids"


class Inputs:
    """The inputs of a model, and how batches become them."""

    def __init__(self, required: Sequence[Any], optional: Sequence[Any], title: str) -> None:
        """Take what the runtime says of the inputs that must be given, and of those that may."""
        self.required = {each.name: each for each in required if not each.type.startswith("optional")}
        self.all = {each.name: each for each in (*required, *optional)}
        self.title = title
        self.told = False

    def feed(self, batch: Any) -> dict[str, np.ndarray]:
        """Return name → array of one batch: by name, or by position."""
        given = self._named(batch)
        self._complete(given)
        missing = [name for name in self.required if name not in given]
        if missing:
            raise ValueError(
                f"{self.title} must get its inputs {self._listed()}, got none for {', '.join(map(quoted, missing))}: give each "
                f"batch as a mapping from input to array, or as a tuple in this order."
            )
        return {name: self._fitted(name, value) for name, value in given.items()}

    def _named(self, batch: Any) -> dict[str, Any]:
        if isinstance(batch, Mapping):
            extra = [name for name in batch if name not in self.all]
            for name in extra:
                self._check_extra(name, batch[name])
            return {name: batch[name] for name in batch if name in self.all}
        parts = list(batch) if isinstance(batch, tuple | list) else [batch]
        if not parts:
            raise ValueError(f"{self.title} must get its inputs {self._listed()}, got an empty {type(batch).__name__}.")
        return dict(zip(self.required, parts, strict=False))  # labels may follow

    def _check_extra(self, name: Any, value: Any) -> None:
        """Raise for a key that the model has no input for, unless the model cannot miss it."""
        array = np.asarray(value) if isinstance(value, np.ndarray | list | tuple) else None
        if name in _BESIDE or array is None or array.dtype.kind in "USO":
            return
        if name == KINDS and not array.any():
            return
        if name == MASK:
            if not array.all() and not self.told:
                self.told = True
                message = f"{self.title} has no input {MASK!r}: padding counts in its layers, and reductions alone leave it out."
                warnings.warn(HomologWarning(message), stacklevel=2)
            return
        raise ValueError(
            f"a batch for {self.title} must hold its inputs {self._listed()}, got {quoted(name)} too: leave it out, or rename it."
        )

    def _complete(self, given: dict[str, Any]) -> None:
        """Add what Hugging Face's models take for granted: no padding, and sentences of the first kind."""
        if "input_ids" not in given or not isinstance(given["input_ids"], np.ndarray):
            return
        for name, filled in ((MASK, np.ones_like), (KINDS, np.zeros_like)):
            if name in self.required and name not in given:
                given[name] = filled(given["input_ids"])

    def _listed(self) -> str:
        return ", ".join(f"{quoted(name)} ({_sort(each)} {_shape(each)})" for name, each in self.required.items())

    def _fitted(self, name: str, value: Any) -> np.ndarray:
        """Return an array in the type of an input, if no number changes by more than float rounding, and in its shape."""
        expected, array = self.all[name], np.asarray(value)
        sort = _sort(expected)
        if sort == "str":
            return array.astype(object)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"input {quoted(name)} of {self.title} must be numbers, {sort}, got {described(value)}.")
        self._check_shape(name, array.shape)
        try:
            dtype = np.dtype(sort)
        except TypeError:
            raise TypeError(
                f"input {quoted(name)} of {self.title} must be of a type that NumPy has, got {expected.type}: export the model "
                f"with float32 inputs."
            ) from None
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(dtype)
        if dtype.kind == "f" and array.dtype.kind == "f":
            lossless = bool(np.array_equal(np.isfinite(cast), np.isfinite(array)))
        else:
            lossless = array.dtype.kind != "f" and bool(np.array_equal(cast, array))
        if not lossless:
            raise TypeError(
                f"input {quoted(name)} of {self.title} must be {sort}, got {array.dtype} with numbers that {sort} does not hold: "
                f"check that it is the input that is meant, and convert it."
            )
        return np.ascontiguousarray(cast)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        expected = tuple(self.all[name].shape)
        if not expected:
            return
        if len(shape) != len(expected):
            raise ValueError(
                f"input {quoted(name)} of {self.title} must have {len(expected)} axes, {_shape(self.all[name])}, got shape "
                f"{shape}."
            )
        fixed = [
            isinstance(length, int) and length >= 0 and length != got
            for length, got in zip(expected, shape, strict=True)
        ]
        if fixed[0] and not any(fixed[1:]):
            size = "1 example" if expected[0] == 1 else f"{expected[0]} examples"
            raise ValueError(
                f"{self.title} takes batches of {size}, as its file says, got {shape[0]}: extract with batch_size={expected[0]} "
                f"and a number of examples that it divides, or export the model with a free first axis."
            )
        if any(fixed):
            raise ValueError(
                f"input {quoted(name)} of {self.title} must have shape {_shape(self.all[name])}, got {shape}."
            )


def _sort(value: Any) -> str:
    """Return the name of the type of an input as NumPy has it: "float32"."""
    inner = value.type.rpartition("tensor(")[2].rstrip(")")
    return _TYPES.get(inner, inner)


def _shape(value: Any) -> str:
    return f"({', '.join('?' if length is None else str(length) for length in value.shape)})"
