"""A batch as the arguments of a model that is called like a function, and which of what it put out is its output."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from homolog.extraction.outputs import tensors_in
from homolog.extraction.tensors import is_floating

INFERENCE = {
    "training": False,
    "train": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
    "inference": True,
}
"""Arguments by which models are told that they are not being trained."""


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function; none where Python cannot tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def call_of(model: Any) -> Callable[..., Any]:
    """Return what is called when a model is called."""
    if not callable(model):
        raise TypeError(
            f"model must be one that is called, got {type(model).__name__} without __call__: say what is called, as in "
            f"forward=lambda model, batch: model.encode(batch)."
        )
    return model.__call__


def inference_flags(function: Callable[..., Any]) -> dict[str, bool]:
    """Return what tells a function that it is not being trained, by the names of its parameters.

    >>> inference_flags(lambda x, train: x)
    {'train': False}
    """
    return {name: INFERENCE[name] for name in parameters_of(function) if name in INFERENCE}


def arguments_of(
    batch: Any, function: Callable[..., Any], inputs: int | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a batch as arguments: a mapping by name where the parameters have these names, and a tuple by position.

    A function of one argument gets the first of a tuple, since the others are labels.

    >>> arguments_of({"x": 1}, lambda x: x), arguments_of({"x": 1}, lambda inputs: inputs)
    (((), {'x': 1}), (({'x': 1},), {}))
    >>> arguments_of((1, 2), lambda x: x), arguments_of((1, 2), lambda x, y: x)
    (((1,), {}), ((1, 2), {}))
    """
    parameters = parameters_of(function)
    if isinstance(batch, Mapping):
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        by_name = bool(batch) and all(takes_any or key in parameters for key in batch)
        return ((), dict(batch)) if by_name else ((batch,), {})
    if not isinstance(batch, tuple | list):
        return (batch,), {}
    return tuple(batch[: needed_arguments(function) if inputs is None else inputs]), {}


def needed_arguments(function: Callable[..., Any]) -> int:
    """Count the arguments that a function must be given by position, at least one: what follows in a batch are labels.

    >>> needed_arguments(lambda x, train: x), needed_arguments(lambda left, right, mask=None: left)
    (1, 2)
    """
    needed = [
        name
        for name, one in parameters_of(function).items()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        and one.default is one.empty
        and name not in INFERENCE
    ]
    return max(1, len(needed))


def output_of_part(output: Any, *, symbolic: bool = False) -> Any:
    """Return the output of a layer as for PyTorch's: the first floating tensor of two axes or more, else the first of one.

    Where none floats, the first tensor; None where there is no tensor, or none whose numbers are there, unless `symbolic` ones
    will do.
    """
    found = [tensor for tensor in tensors_in(output) if symbolic or not _is_symbolic(tensor)]
    floating = [tensor for tensor in found if is_floating(tensor)]
    matrix = next((tensor for tensor in floating if len(tensor.shape) >= 2), None)
    vector = next((tensor for tensor in floating if len(tensor.shape) == 1), None)
    return next((tensor for tensor in (matrix, vector, *found) if tensor is not None), None)


def _is_symbolic(value: Any) -> bool:
    """Say whether a tensor stands for numbers that are not there: where JAX or TensorFlow traces a function, or in a graph."""
    jax = sys.modules.get("jax")
    traced = jax is not None and isinstance(value, jax.core.Tracer)
    return traced or type(value).__name__ in ("KerasTensor", "SymbolicTensor")
