"""Models of Keras 3, whatever runs them: PyTorch, JAX or TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from homolog.extraction.digests import hashed, numbers
from homolog.extraction.frameworks.call_arguments import arguments_of, needed_arguments, output_of_part
from homolog.extraction.frameworks.class_digests import code_of_classes
from homolog.extraction.frameworks.heard_calls import OUTPUT, base_names, calls_of
from homolog.extraction.layer_values import AdaptedModel, Layer
from homolog.extraction.outputs import is_transformed
from homolog.extraction.tensors import is_torch, loaded_torch, numbers_of
from homolog.machine import optional
from homolog.names import quoted, shown

SUFFIXES = (".keras", ".h5", ".hdf5")
_LAST, _FIRST = "channels_last", "channels_first"


def is_model(model: Any) -> bool:
    """Say whether something is a model or a layer of Keras', or a path to a file of one."""
    if isinstance(model, str | os.PathLike):
        return Path(model).suffix in SUFFIXES
    return any(kind.__name__ == "Layer" and kind.__module__.startswith("keras.") for kind in type(model).__mro__)


def adapt(
    model: Any, *, device: Any = None, forward: Callable[[Any, Any], Any] | None = None, **_: Any
) -> AdaptedModel:
    """Return a model of Keras' as a function of batches."""
    if device is not None:
        raise ValueError(
            f"device must be left out for a model of Keras', got {quoted(str(device))}: Keras itself chooses where models run."
        )
    title = type(model).__name__
    if isinstance(model, str | os.PathLike):
        from homolog.extraction.frameworks.keras_files import load

        title = Path(model).name
        model = load(Path(model))
    keras = optional("keras", "keras", "extracting from a model of Keras'")
    if not model.built:
        raise ValueError(
            f"model must have its weights, got a {title} that was never built: call it on a batch, or call its build, before."
        )
    parts = _named_parts(model)
    default = {name for name, part in parts.items() if _is_usual(name, part, parts)}
    return AdaptedModel(
        run=partial(_run, keras, model, forward, parts, default),
        title=title,
        software={"keras": keras.__version__, **_backend_version(keras)},
        digest=partial(_digest, keras, model, parts),
        types={name: type(part).__name__ for name, part in parts.items()},
        default=default,
        channels=_channels(keras, parts.values()),
        features=_features(parts),
        inputs=None if forward is not None else _count_inputs(model),
        forward=True,
    )


def _backend_version(keras: Any) -> dict[str, str]:
    library = keras.backend.backend()
    return {library: str(optional(library, "keras", "running a model of Keras'").__version__)}


def _named_parts(model: Any) -> dict[str, Any]:
    """Return every layer inside a model by its path, such as "encoder.dense_1", in order; and the model itself as "output"."""
    found: dict[str, Any] = {}
    seen = {id(model)}

    def visit(parent: Any, before: str) -> None:
        for part in _children(parent):
            if id(part) in seen or type(part).__name__ == "InputLayer":
                continue
            seen.add(id(part))
            name = path = f"{before}{part.name}"
            number = 0
            while name in found:  # Keras allows equal names outside graphs
                number += 1
                name = f"{path}_{number}"
            found[name] = part
            visit(part, f"{name}.")

    visit(model, "")
    found.setdefault(OUTPUT, model)
    return found


def _children(part: Any) -> list[Any]:
    """Return the layers directly inside one, and the operations of a graph, such as the sum that x + y makes."""
    layers = part._flatten_layers(include_self=False, recursive=False) if hasattr(part, "_flatten_layers") else []
    operations = getattr(part, "operations", None)
    nodes = list(operations) if isinstance(operations, list | tuple) else []
    known = {id(node) for node in nodes}
    return nodes + [layer for layer in layers if id(layer) not in known]


def _is_usual(name: str, part: Any, parts: Mapping[str, Any]) -> bool:
    """Say whether a layer is taken where nobody names any: what Keras' summary lists, blocks of one's own and what is in them."""
    above = name.split(".")[:-1]
    outer = [parts.get(".".join(above[: end + 1])) for end in range(len(above))]
    if any(one is not None and _is_builtin(one) and not _is_graph(one) for one in outer):
        return False  # a part of a layer such as MultiHeadAttention
    if not hasattr(part, "_flatten_layers"):
        return _gives_rows(part)
    return not (_is_graph(part) and _is_builtin(part))


def _is_builtin(part: Any) -> bool:
    return type(part).__module__.startswith("keras.")


def _is_graph(part: Any) -> bool:
    """Say whether a layer is a model, which holds other layers as a user would."""
    return any(kind.__name__ == "Model" and kind.__module__.startswith("keras.") for kind in type(part).__mro__)


def _gives_rows(operation: Any) -> bool:
    """Say whether an operation of a graph gives floating numbers for each example, and not a shape or a constant."""
    nodes = getattr(operation, "_inbound_nodes", [])
    outputs = nodes[0].output_tensors if nodes else []
    return bool(outputs) and "float" in str(outputs[0].dtype) and outputs[0].shape[:1] == (None,)


def _channels(keras: Any, parts: Collection[Any]) -> Literal["first", "last"] | None:
    """Return where the layers of a model say that maps have their channels; None where they disagree."""
    said = {getattr(part, "data_format", None) for part in parts} & {_LAST, _FIRST}
    said = said or {keras.config.image_data_format()}
    if len(said) > 1:
        return None
    return "first" if said == {_FIRST} else "last"


_FEATURES_LAST = {
    "Dense",
    "EinsumDense",
    "Embedding",
    "LayerNormalization",
    "RMSNormalization",
    "RNN",
    "MultiHeadAttention",
}
"""Layers that put out one vector at every position."""


def _features(parts: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the axis that holds the features of every layer, where some have it first; nothing where all have it last."""
    if all(getattr(part, "data_format", None) != _FIRST for part in parts.values()):
        return {}
    axes = {_FIRST: 1, _LAST: -1}
    last = {
        name for name, part in parts.items() if not _FEATURES_LAST.isdisjoint(k.__name__ for k in type(part).__mro__)
    }
    return {
        name: -1 if name in last else axes.get(str(getattr(part, "data_format", None))) for name, part in parts.items()
    }


def _count_inputs(model: Any) -> int:
    inputs = getattr(model, "inputs", None)
    return len(inputs) if isinstance(inputs, list) and inputs else needed_arguments(model.call)


def _run(
    keras: Any,
    model: Any,
    forward: Callable[[Any, Any], Any] | None,
    parts: Mapping[str, Any],
    default: set[str],
    batch: Any,
    wanted: Collection[str] | None,
) -> Iterator[tuple[str, Any]]:
    """Run a model on a batch, layer by layer as a function, and yield what its layers put out."""
    names = default if wanted is None else base_names(wanted)
    chosen = {name: part for name, part in parts.items() if name in names}
    # One thread at a time from here on: settings of TensorFlow's are those of the process.
    with calls_of(chosen, partial(_taken, keras)) as heard, _plainly(keras), _unchanged(keras, model):
        _call(keras, model, batch, forward)
    default -= heard.repeated()  # before anything is taken of what is yielded
    for call in heard.calls:
        if wanted is not None or call.layer.split("#")[0] in default:
            yield call.layer, call.taken


@contextmanager
def _plainly(keras: Any) -> Iterator[None]:
    """Run without gradients, and functions of TensorFlow's operation by operation, so that layers in them can be heard."""
    backend = keras.backend.backend()
    if backend == "torch":
        with loaded_torch().no_grad():
            yield
    elif backend == "tensorflow":
        settings = optional("tensorflow", "keras", "running a model of Keras'").config
        before = settings.functions_run_eagerly()
        settings.run_functions_eagerly(True)
        try:
            yield
        finally:
            settings.run_functions_eagerly(before)
    else:
        yield


def _call(keras: Any, model: Any, batch: Any, forward: Callable[[Any, Any], Any] | None) -> None:
    if forward is not None:
        forward(model, batch)
        return
    inputs = getattr(model, "inputs", None)
    if isinstance(inputs, list) and inputs:
        model(_graph_inputs(keras, model, batch), training=False)
    else:
        arguments, named = arguments_of(batch, model.call)
        model(*arguments, **{"training": False} | named)


def _graph_inputs(keras: Any, model: Any, batch: Any) -> Any:
    """Return a batch in the structure that a graph takes: of a mapping the inputs by name, of a tuple as many as there are."""
    structure, count = getattr(model, "input", None), len(model.inputs)
    if isinstance(batch, tuple | list) and isinstance(batch[0], tuple | list | Mapping):
        batch = batch[0]  # inputs with labels
    if isinstance(batch, Mapping):
        names = list(structure) if isinstance(structure, Mapping) else [tensor.name for tensor in model.inputs]
        values = [batch[name] for name in names if name in batch]
        if count == len(batch) == 1:
            values = list(batch.values())
        if len(values) < count:
            raise ValueError(
                f"a batch must hold the inputs of the model, {', '.join(names)}, got {', '.join(map(shown, batch))}: rename its "
                f"keys, or say by forward=lambda model, batch: ... how the model is called."
            )
        if isinstance(structure, Mapping):
            return dict(zip(names, values, strict=True))
    else:
        values = list(batch[:count]) if isinstance(batch, tuple | list) else [batch]
        if len(values) < count:
            raise ValueError(
                f"a batch must hold the {count} inputs of the model, got {len(values)}: pass batches that are tuples of them, or "
                f"a mapping by their names, {', '.join(tensor.name for tensor in model.inputs)}."
            )
    if structure is None:  # of a sequence, which has one input
        return values[0]
    return keras.tree.pack_sequence_as(structure, values)


def _taken(keras: Any, output: Any) -> tuple[Any, Any] | None:
    """Return the output of a layer, and its numbers as they are now, with its mask."""
    # The public interface has no way to ask for a mask.
    backend = optional("keras.src.backend", "keras", "reading masks")
    tensor = output_of_part(output)
    if tensor is None or (is_torch(tensor) and is_transformed(tensor)):
        return None  # inside a map over examples it has no numbers yet
    values = _array(keras, tensor)
    mask = backend.get_keras_mask(tensor)
    if mask is None or values.ndim != 3:
        return tensor, values
    marks = _array(keras, mask).astype(bool)
    return tensor, Layer(values, mask=marks if marks.shape == values.shape[:2] else None)


def _array(keras: Any, tensor: Any) -> np.ndarray:
    if is_torch(tensor):
        return numbers_of(tensor).copy()  # they share their memory, and a later layer may work in place
    return numbers_of(keras.ops.convert_to_numpy(tensor))


@contextmanager
def _unchanged(keras: Any, model: Any) -> Iterator[None]:
    """Put back what a run changes beside weights: the states of recurrent layers, of random numbers and of statistics."""
    layers = model._flatten_layers()
    weights = {id(weight) for layer in layers for weight in layer._trainable_variables}
    states = [one for one in model.variables if id(one) not in weights and "int8" not in str(one.dtype)]
    # What a recurrent layer remembers is none of its variables.
    states += [one for layer in layers for one in keras.tree.flatten(getattr(layer, "states", None)) if one is not None]
    kept = [(state, _array(keras, state.value)) for state in states]
    try:
        yield
    finally:
        for state, before in kept:
            if not np.array_equal(_array(keras, state.value), before):
                state.assign(before)


def _digest(keras: Any, model: Any, parts: Mapping[str, Any]) -> str:
    """Digest what the layers are, how they are joined, and the weights."""
    written: list[str | bytes] = [_config(model), code_of_classes(type(part) for part in parts.values())]
    for name, part in parts.items():
        written += [f"{name}\0{type(part).__module__}.{type(part).__qualname__}", _config(part)]
    for variable in model.weights:
        written += [str(variable.dtype), *numbers(_array(keras, variable.value))]
    return hashed(*written).hex()


def _config(part: Any) -> str:
    """Write what Keras would save of a layer; nothing of those that cannot say it."""
    try:
        config = dict(part.get_config())
    except Exception:  # a layer of one's own need not be savable
        return ""
    config.pop("name", None)  # of the model: Keras counts those of a process
    return json.dumps(config, sort_keys=True, default=lambda value: type(value).__qualname__)
