"""Which adapter takes a model: found by the names of its classes or of its file, before any framework is imported."""

from __future__ import annotations

import importlib
from os import PathLike
from pathlib import Path
from typing import Any

from homolog.arrays import described
from homolog.extraction.function_source import FunctionSource, source_of_function
from homolog.extraction.options import Options
from homolog.extraction.sources import Source
from homolog.extraction.tensors import is_module
from homolog.extraction.wrappers import unwrapped
from homolog.names import quoted

ADAPTERS: tuple[str, ...] = ("keras_models", "flax_models", "equinox_models", "onnx_models")
"""Modules of `frameworks`, each with `is_model(model)`, which imports nothing, and `adapt(model, ...)`; the first that fits."""


def adapter_of(model: Any) -> Any:
    """Return the adapter that takes a model, or the file of one; None where it is for none of them."""
    for name in ADAPTERS:
        adapter = importlib.import_module(f"homolog.extraction.frameworks.{name}")
        if adapter.is_model(model):
            return adapter
    return None


def source_of(model: Any, options: Options) -> Source:
    """Return a model, the file of one, or a function as what layers come from."""
    adapter = adapter_of(model)
    if adapter is not None:
        given = {name: getattr(options, name) for name in ("device", "memory", "batch_size", "forward")}
        return FunctionSource(adapter.adapt(model, **given))
    if isinstance(model, PathLike) or (isinstance(model, str) and Path(model).suffix):
        raise ValueError(_unknown_file(Path(model)))
    model = unwrapped(model)
    if is_module(model) or type(model).__module__.split(".")[0] == "torch":
        from homolog.extraction.module_source import ModuleSource

        return ModuleSource(model)
    if isinstance(model, type):
        raise TypeError(
            f"model must be made already, got the class {quoted(model.__name__)}: make one, with its weights, and pass it."
        )
    if callable(model):
        return source_of_function(model)
    raise TypeError(
        f"model must be a torch.nn.Module, a model of another framework that homolog knows, the path of an .onnx or .keras file, "
        f"or a function of a batch, got {described(model)}: pass a function that returns {{layer: array}}."
    )


def _unknown_file(path: Path) -> str:
    return (
        f"a model's file must end in .onnx, .keras or .h5, got {quoted(path.name)}: build the model and pass it, or open a file "
        f"of activations with homolog.open."
    )
