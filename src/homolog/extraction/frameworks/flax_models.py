"""Models of Flax: linen modules with their variables, and nnx modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from homolog.arrays import described
from homolog.extraction.digests import hashed
from homolog.extraction.frameworks.call_arguments import (
    arguments_of,
    call_of,
    inference_flags,
    needed_arguments,
    output_of_part,
)
from homolog.extraction.frameworks.class_digests import code_of_classes
from homolog.extraction.frameworks.heard_calls import OUTPUT, HeardCalls, base_names, calls_of, numbered
from homolog.extraction.frameworks.jax_arrays import as_jax, device_of, parts_of_tree, without_places
from homolog.extraction.layer_values import AdaptedModel
from homolog.extraction.tensors import numbers_of
from homolog.machine import optional

Forward = Callable[[Any, Any], Any] | None
_INTERMEDIATES = "intermediates"
"""The collection of variables into which linen modules put what is captured."""


def is_model(model: Any) -> bool:
    """Say whether something is a module of Flax', or a linen module with its variables."""
    first = model[0] if isinstance(model, tuple) and len(model) == 2 else model
    return _is_of(first, "flax.linen") or (first is model and _is_of(first, "flax.nnx")) or _is_split(model)


def _is_split(model: Any) -> bool:
    """Say whether something is what `nnx.split` makes of a module."""
    kind = type(model[0]) if isinstance(model, tuple) and len(model) > 1 else object
    return kind.__name__ == "GraphDef" and kind.__module__.startswith("flax.nnx")


def _is_of(model: Any, package: str) -> bool:
    return any(kind.__name__ == "Module" and kind.__module__.startswith(package) for kind in type(model).__mro__)


def adapt(model: Any, *, device: Any = None, forward: Forward = None, **_: Any) -> AdaptedModel:
    """Return a module of Flax' as a function of batches."""
    if _is_split(model):
        model = optional("flax.nnx", "flax", "extracting from a module of Flax'").merge(*model)
    if _is_of(model, "flax.nnx"):
        return _adapted_nnx(model, device_of(device), forward)
    return _adapted_linen(*_module_and_variables(model), device_of(device), forward)


def _software() -> dict[str, str]:
    return {name: str(optional(name, "flax", "running a model of Flax'").__version__) for name in ("flax", "jax")}


def call_module(module: Any, batch: Any, forward: Forward) -> Any:
    """Call a module on a batch, telling it that it is not being trained where it has an argument for that."""
    if forward is not None:
        return forward(module, batch)
    arguments, named = arguments_of(batch, module.__call__)
    return module(*arguments, **inference_flags(module.__call__) | named)


def _taken(output: Any) -> tuple[Any, Any] | None:
    """Return the output of a module and its numbers."""
    array = output_of_part(output)
    return None if array is None else (array, numbers_of(array))


# nnx


def _adapted_nnx(model: Any, device: Any, forward: Forward) -> AdaptedModel:
    parts = _parts_of(model)
    default = set(parts)
    return AdaptedModel(
        run=partial(_run_nnx, model, device, forward, default),
        title=type(model).__name__,
        software=_software(),
        digest=partial(_digest_of_nnx, model),
        types={name: type(part).__name__ for name, part in parts.items()},
        default=default,
        channels="last",
        inputs=None if forward is not None else needed_arguments(call_of(model)),
        forward=True,
    )


def _parts_of(model: Any) -> dict[str, Any]:
    """Return every module inside a module by its path, such as "layers.0", as far as it can be called; itself as "output"."""
    found = {name: part for name, part in _modules_of(model) if callable(part)}
    found.setdefault(OUTPUT, found.pop("", model))
    return found


def _modules_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield every module inside a module with its path, and itself with an empty one."""
    from flax import nnx

    for path, part in nnx.iter_graph(model):
        if isinstance(part, nnx.Module):
            yield ".".join(map(str, path)), part


def _run_nnx(
    model: Any, device: Any, forward: Forward, default: set[str], batch: Any, wanted: Collection[str] | None
) -> Iterator[tuple[str, Any]]:
    """Run a copy of a module on a batch, whatever it is told and whatever it changes, and yield what its parts put out."""
    import jax
    from flax import nnx

    copy = nnx.clone(model)
    if device is not None:
        nnx.update(copy, jax.device_put(nnx.state(copy), device))
    copy.eval()
    names = default if wanted is None else base_names(wanted)
    parts = {name: part for name, part in _parts_of(copy).items() if name in names}
    with calls_of(parts, _taken) as heard:
        call_module(copy, as_jax(batch, device), forward)
    default -= heard.repeated()
    for call in heard.calls:
        if wanted is not None or call.layer.split("#")[0] in default:
            yield call.layer, call.taken


def _digest_of_nnx(model: Any) -> str:
    from flax import nnx

    structure = [f"{name} {type(part).__qualname__} {_attributes(part)}" for name, part in _modules_of(model)]
    kinds = [type(part) for _, part in _modules_of(model)]
    return hashed(*structure, code_of_classes(kinds), *parts_of_tree(nnx.state(model))).hex()


def _attributes(part: Any) -> str:
    """Write the plain attributes of a module, such as its sizes and whether it is in training."""
    plain = (bool, int, float, str, tuple, type(None))
    own = {name: value for name, value in vars(part).items() if not name.startswith("_")}
    kept = {name: value for name, value in own.items() if isinstance(value, plain) or inspect.isroutine(value)}
    return without_places(sorted(kept.items(), key=lambda item: item[0]))


# linen


def _module_and_variables(model: Any) -> tuple[Any, Mapping[str, Any]]:
    if not isinstance(model, tuple):
        if model.scope is None:
            raise TypeError(
                f"a linen module must come with its weights, got {type(model).__name__} alone: pass (module, variables), where "
                f"variables is what module.init returned or what was trained."
            )
        model = model.unbind()
    module, variables = model
    if hasattr(variables, "params") and not isinstance(variables, Mapping):  # a state of training
        statistics = getattr(variables, "batch_stats", None)
        variables = {"params": variables.params} | ({} if statistics is None else {"batch_stats": statistics})
    if not isinstance(variables, Mapping):
        raise TypeError(
            f'the variables of a linen module must be a mapping such as {{"params": ...}}, got {described(variables)}: pass '
            f"(module, variables), where variables is what module.init returned or what was trained."
        )
    return module, {name: values for name, values in variables.items() if name != _INTERMEDIATES}


def _adapted_linen(module: Any, variables: Mapping[str, Any], device: Any, forward: Forward) -> AdaptedModel:
    import jax

    if device is not None:
        variables = jax.device_put(variables, device)
    run = _Linen(module, variables, device, forward)
    return AdaptedModel(
        run=run,
        title=type(module).__name__,
        software=_software(),
        digest=run.digest,
        default=run.default,
        channels="last",
        inputs=None if forward is not None else needed_arguments(call_of(module)),
        forward=True,
    )


class _Linen:
    """A linen module as a function of batches; which modules there are is known when it has run."""

    def __init__(self, module: Any, variables: Mapping[str, Any], device: Any, forward: Forward) -> None:
        self._module, self._variables, self._device, self._forward = module, variables, device, forward
        self._places: dict[str, float] = {}
        """Layer → its place in the order of the first run: a compiled part says nothing when it runs again."""
        self._repeated: set[str] = set()
        self.default: set[str] = set()
        """Filled by every run, before its layers are taken."""

    def __call__(self, batch: Any, wanted: Collection[str] | None) -> Iterator[tuple[str, Any]]:
        """Run the module on a batch, and yield what its modules put out and what they sowed: all of it, if nobody says what."""
        captured = self._captured(as_jax(batch, self._device))
        self.default |= {name.split("#")[0] for name in captured} - self._repeated
        for name in sorted(captured, key=lambda name: self._places[name]):
            values = output_of_part(captured[name])
            if values is not None and (wanted is None or name.split("#")[0] in base_names(wanted)):
                yield name, numbers_of(values)

    def _captured(self, batch: Any) -> dict[str, Any]:
        from flax import linen

        heard = HeardCalls(_known_by)

        def listen(call: Any, arguments: Any, named: Any, context: Any) -> Any:
            # Compiled and repeated parts call methods of other names.
            name = ".".join(context.module.path) if context.method_name == "__call__" else None
            return heard.hear(name, context.module, lambda: call(*arguments, **named))

        function = linen.apply(
            lambda bound, batch: call_module(bound, batch, self._forward),
            self._module,
            mutable=[_INTERMEDIATES],
            capture_intermediates=True,
        )
        with linen.intercept_methods(listen):
            _, state = _explained(partial(function, self._variables, batch), self._variables)
        for call in heard.calls:
            self._places.setdefault(call.layer, len(self._places))
        self._repeated |= heard.repeated()
        found, before, count = {}, "", 0
        for name, calls in _flattened(state.get(_INTERMEDIATES, {}), ()):
            for number, value in enumerate(calls, 1):
                found[numbered(name, number)] = value
                # What a module sowed comes after what was captured before it, in the same call of the module.
                last = numbered(before, number if len(calls) == count else count)
                self._places.setdefault(numbered(name, number), self._places.get(last, -1.0) + 2.0**-20)
            before, count = name, len(calls)
        return self._with_output(found)

    def _with_output(self, found: dict[str, Any]) -> dict[str, Any]:
        """Call what the module itself put out its output, unless a module inside it is called so."""
        whole = found.pop("", None)
        if OUTPUT not in found and whole is not None:
            found[OUTPUT], self._places[OUTPUT] = whole, self._places[""]
            self._repeated |= {OUTPUT} if "" in self._repeated else set()
        return found

    def digest(self) -> str:
        """Digest the structure of the module and its variables."""
        kinds = [
            type(self._module),
            *(type(value) for value in vars(self._module).values() if _is_of(value, "flax.linen")),
        ]
        return hashed(without_places(self._module), code_of_classes(kinds), *parts_of_tree(dict(self._variables))).hex()


def _known_by(output: Any) -> tuple[Any, None]:
    """Return what an output is known by: its tensor, also inside compiled code; something of its own where there is none."""
    tensor = output_of_part(output, symbolic=True)
    return (object() if tensor is None else tensor), None


def _flattened(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield each module, or name under which something was sowed, with what all its calls gave, from nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, (*path, key))
            continue
        name = ".".join(path if key == "__call__" else (*path, key))
        yield name, value if isinstance(value, tuple) else (value,)


def _explained(run: Callable[[], Any], variables: Mapping[str, Any]) -> Any:
    """Run a module; say what to do about what Flax raises where variables are missing, or a module would be trained."""
    from flax import errors

    try:
        return run()
    except (errors.ScopeParamNotFoundError, errors.ScopeCollectionNotFound) as error:
        raise ValueError(
            f'the variables of a linen module must hold all its weights, as {{"params": ...}}, got a mapping of '
            f"{', '.join(map(str, variables)) or 'nothing'}: pass what module.init returned or what was trained, with the "
            f"statistics of batch norms."
        ) from error
    except (errors.InvalidRngError, errors.ModifyScopeVariableError) as error:
        raise ValueError(
            "a linen module must run as it does when it is not being trained, got one that draws random numbers or changes its "
            "statistics: give the argument by which it is told, as in forward=lambda model, batch: model(batch, train=False)."
        ) from error
