"""Modules of Equinox, which take one example: they are run over a batch by `jax.vmap`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from homolog.extraction.digests import hashed
from homolog.extraction.frameworks.call_arguments import (
    arguments_of,
    call_of,
    needed_arguments,
    output_of_part,
    parameters_of,
)
from homolog.extraction.frameworks.class_digests import code_of_classes
from homolog.extraction.frameworks.heard_calls import OUTPUT, HeardCalls, base_names, calls_of
from homolog.extraction.frameworks.jax_arrays import as_jax, device_of, parts_of_tree, without_places
from homolog.extraction.layer_values import AdaptedModel
from homolog.extraction.tensors import is_floating, numbers_of
from homolog.machine import optional

Forward = Callable[[Any, Any], Any] | None


def is_model(model: Any) -> bool:
    """Say whether something is a module of Equinox', or one with its state."""
    return _is_module(model[0] if isinstance(model, tuple) and len(model) == 2 else model)


def _is_module(model: Any) -> bool:
    return any(kind.__name__ == "Module" and kind.__module__.startswith("equinox.") for kind in type(model).__mro__)


def adapt(model: Any, *, device: Any = None, forward: Forward = None, **_: Any) -> AdaptedModel:
    """Return a module of Equinox', or (module, state), as a function of batches; `forward` is given one example."""
    equinox = optional("equinox", "equinox", "extracting from a module of Equinox'")
    jax = optional("jax", "equinox", "extracting from a module of Equinox'")
    model, state = model if isinstance(model, tuple) else (model, None)
    while type(model).__name__ == "_JitWrapper":  # compiled code says nothing of what is in it
        model = model.__wrapped__
    model, device = equinox.nn.inference_mode(model), device_of(device)
    if device is not None:
        arrays, rest = equinox.partition((model, state), equinox.is_array)
        model, state = equinox.combine(jax.device_put(arrays, device), rest)
    parts = dict(_parts_of(model, ""))
    parts.setdefault(OUTPUT, parts.pop("", model))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(model) if is_floating(leaf)}
    place = partial(as_jax, device=device, dtype=dtypes.pop() if len(dtypes) == 1 else None)
    default = set(parts)
    kinds = [type(part) for part in parts.values()]
    return AdaptedModel(
        run=partial(_run, equinox, model, partial(_call, model, state, forward), place, parts, default),
        title=type(model).__name__,
        software={"equinox": equinox.__version__, "jax": jax.__version__},
        digest=lambda: hashed(without_places(model), code_of_classes(kinds), *parts_of_tree((model, state))).hex(),
        types={name: type(part).__name__ for name, part in parts.items()},
        default=default,
        channels="first",
        features=_features(parts),
        inputs=None if forward is not None else _count(model),
        forward=True,
    )


def _parts_of(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every module that can be called, by its path such as "layers.0"; the first one last."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        inside = {field.name: getattr(node, field.name, None) for field in dataclasses.fields(node)}
    elif isinstance(node, tuple | list):
        inside = {str(place): item for place, item in enumerate(node)}
    else:
        inside = {str(key): item for key, item in node.items()} if isinstance(node, Mapping) else {}
    for name, item in inside.items():
        yield from _parts_of(item, f"{path}.{name}" if path else name)
    if _is_module(node) and callable(node):
        yield path, node


def _required(model: Any) -> set[str]:
    return {name for name, one in parameters_of(model.__call__).items() if one.default is one.empty}


def _count(model: Any) -> int:
    """Count the inputs that a module takes beside its state and a key for random numbers."""
    return max(1, needed_arguments(call_of(model)) - len({"key", "state"} & _required(model)))


def _call(model: Any, state: Any, forward: Forward, example: Any) -> None:
    if forward is not None:
        forward(model, example)
        return
    arguments, named = arguments_of(example, model.__call__, _count(model))
    if state is not None and "state" in parameters_of(model.__call__):
        named["state"] = state
    if "key" in _required(model):
        named["key"] = None  # no random numbers are drawn in inference
    model(*arguments, **named)


def _run(
    equinox: Any,
    model: Any,
    call: Callable[[Any], None],
    place: Callable[[Any], Any],
    parts: Mapping[str, Any],
    default: set[str],
    batch: Any,
    wanted: Collection[str] | None,
) -> Iterator[tuple[str, Any]]:
    """Run a module over a batch, and yield what its parts put out for all examples."""
    import jax

    names = default if wanted is None else base_names(wanted)
    chosen = {name: part for name, part in parts.items() if name in names}
    runs: list[HeardCalls] = []

    def run_one(example: Any) -> list[Any]:
        levels = {getattr(array, "_trace", None) for array in jax.tree.leaves(example)}
        with calls_of(chosen, partial(_taken, jax, equinox, levels)) as heard:
            call(example)
        runs.append(heard)
        return [one.taken for one in heard.calls]

    outputs = equinox.filter_vmap(run_one)(place(batch))
    default -= runs[-1].repeated()
    for one, output in zip(runs[-1].calls, outputs, strict=True):
        base = one.layer.split("#")[0]
        if wanted is not None or base in default:
            yield one.layer, numbers_of(output_of_part(output))


def _taken(jax: Any, equinox: Any, levels: set[Any], output: Any) -> tuple[Any, Any] | None:
    """Return a tensor that an output is known by, and the arrays in it, which have no numbers before all examples have run.

    None for what a part puts out inside a further `jax.vmap` or `jax.jit` of the model's own, which nothing may leave.
    """
    arrays = equinox.filter(output, equinox.is_array)
    tensor = output_of_part(arrays, symbolic=True)
    elsewhere = {getattr(array, "_trace", None) for array in jax.tree.leaves(arrays)} - levels - {None}
    return None if tensor is None or elsewhere else (tensor, arrays)


_SECOND = ("Conv", "ConvTranspose", "Pool", "AdaptivePool", "BatchNorm", "GroupNorm")
"""Classes, with those that they are made of, whose features come before the positions."""
_LAST = ("Linear", "Embedding", "MLP", "MultiheadAttention", "RMSNorm", "RotaryPositionalEmbedding")
"""Classes that are run at every position, and put out one vector there."""


def _features(parts: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the axis that holds the features of every part, where a model has convolutions; nothing where it has none."""
    axes = {name: _axis_of(part) for name, part in parts.items()}
    return axes if 1 in axes.values() else {}


def _axis_of(part: Any) -> int | None:
    names = {kind.__name__ for kind in type(part).__mro__ if kind.__module__.startswith("equinox.")}
    if not names.isdisjoint(_SECOND):
        return 1
    return None if names.isdisjoint(_LAST) else -1
