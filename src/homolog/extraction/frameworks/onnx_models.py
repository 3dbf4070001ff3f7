"""ONNX models: the values of their graphs as layers."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from os import PathLike, fspath
from typing import Any

from homolog.arrays import described
from homolog.diagnostics import HomologWarning
from homolog.extraction.frameworks import onnx_files
from homolog.extraction.frameworks.onnx_feature_axes import feature_axes
from homolog.extraction.frameworks.onnx_inputs import Inputs
from homolog.extraction.frameworks.onnx_layers import default_layers, layer_types, why_no_layer
from homolog.extraction.frameworks.onnx_module_names import module_names
from homolog.extraction.frameworks.onnx_runs import Running
from homolog.extraction.layer_values import AdaptedModel
from homolog.machine import optional
from homolog.names import quoted

_ROUNDING = {"QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QAttention", "QGemm"}


def is_model(model: Any) -> bool:
    """Say whether something is an ONNX model, its session, or the name of its file; nothing is imported for it."""
    if isinstance(model, str | PathLike):
        return str(fspath(model)).lower().endswith((".onnx", ".ort"))
    kinds = {(each.__module__.partition(".")[0], each.__name__) for each in type(model).__mro__}
    return not kinds.isdisjoint({("onnx", "ModelProto"), ("onnxruntime", "InferenceSession")})


def adapt(model: Any, *, device: Any = None, memory: int = 2**33, **_: Any) -> AdaptedModel:
    """Return a model whose layers are the values of its graph, also under names of PyTorch's modules where the file tells them.

    Loading runs nothing from the file, and loads no library of operators. The file stays as it is: what is asked for becomes an
    output of a copy in memory. Each node is computed as the graph has it, without fusion, so that no value depends on which
    others are asked for.
    """
    onnx = optional("onnx", "onnx", onnx_files.PURPOSE)
    runtime = optional("onnxruntime", "onnx", onnx_files.PURPOSE)
    opened = onnx_files.opened(model)
    graph, weights = onnx_files.parted(opened)
    folder = None if opened.folder is None else str(opened.folder.resolve())
    held = onnx_files.size_of(opened, weights)
    providers = _providers(runtime, model, device)
    running = Running(graph, weights, held, memory, opened.title, providers, folder)
    if hasattr(model, "get_session_options"):
        running.options = model.get_session_options()
    inspected = running.session([([], name) for name in graph.producers if name in graph.depending])
    told = [*inspected.get_inputs(), *inspected.get_outputs()]
    graph.values.update({each.name: (each.type, tuple(each.shape or ())) for each in told})
    layers = _Layers(running, Inputs(inspected.get_inputs(), inspected.get_overridable_initializers(), opened.title))
    return AdaptedModel(
        run=layers.run,
        title=opened.title,
        software={"onnx": onnx.__version__, "onnxruntime": runtime.__version__},
        digest=opened.digest,
        types=layers.types,
        refusal=layers.refusal,
        default=layers.default,
        channels="first",  # as the standard has them
        features=layers.features,
        inputs=len(layers.inputs.required),
        on_host=providers[0] == "CPUExecutionProvider" or providers[0][0] == "CPUExecutionProvider",
        inexact=any(
            each.op_type in _ROUNDING or each.op_type.startswith(("QLinear", "DynamicQ")) for each in graph.nodes
        ),
    )


class _Layers:
    """The layers of a model, by the names of values and of modules."""

    def __init__(self, running: Running, inputs: Inputs) -> None:
        self.running, self.inputs, self.graph = running, inputs, running.graph
        values = layer_types(self.graph)
        self.default = default_layers(self.graph, values)
        modules = {module: value for module, value in module_names(self.graph).items() if value in values}
        self.other = {name: value for name, value in modules.items() if name in values and value != name}
        """Modules that have the name of another value."""
        self.modules = {name: value for name, value in modules.items() if name not in values}
        of_value: dict[str, list[str]] = {}
        for name, value in self.modules.items():
            of_value.setdefault(value, []).append(name)
        axes = feature_axes(self.graph)
        self.features = {
            name: axes[value] for name, value in {**modules, **{v: v for v in values}}.items() if value in axes
        }
        self.types = {name: kind for value, kind in values.items() for name in (value, *of_value.get(value, []))}

    def run(self, batch: Any, wanted: Collection[str] | None) -> Iterator[tuple[str, Any]]:
        """Yield the layers that are wanted, in order of execution."""
        names = [name for name in self.types if name in wanted] if wanted is not None else list(self.default)
        for name in names:
            self._tell_apart(name)
        of_value: dict[str, list[str]] = {}
        for name in names:
            of_value.setdefault(self.modules.get(name, name), []).append(name)
        for value, array in self.running.values(list(of_value), self.inputs.feed(batch)):
            yield from ((name, array) for name in of_value[value])

    def refusal(self, name: str) -> str | None:
        """Say why a value of the graph is no layer."""
        if name not in self.graph.producers and name not in self.graph.sizes:
            return None
        return (
            f"layer {quoted(name)} of {self.running.title} must be floating numbers that depend on the input, but "
            f"{why_no_layer(self.graph, name)}."
        )

    def _tell_apart(self, name: str) -> None:
        """Warn once of a name that stands for a value and for the output of another module."""
        if name in self.other:
            message = (
                f"layer {quoted(name)} of {self.running.title} is the value of this name, and not what the module of this name "
                f"puts out, which is the value {quoted(self.other.pop(name))}: choose the one that is meant by the value's name."
            )
            warnings.warn(HomologWarning(message), stacklevel=2)


def _providers(runtime: Any, model: Any, device: Any) -> list[Any]:
    """Return where to run: the session's own place, or the device that is asked for."""
    if device is None:
        if not hasattr(model, "get_provider_options"):
            return ["CPUExecutionProvider"]
        options = model.get_provider_options()
        return [(name, options.get(name, {})) for name in model.get_providers()]
    name, _, index = str(device).partition(":")
    if name == "cpu":
        return ["CPUExecutionProvider"]
    if name != "cuda" or (index and not index.isdigit()):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:1' for an ONNX model, got {described(device)}.")
    available = runtime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise ValueError(
            f"device={str(device)!r} needs an onnxruntime that runs on CUDA, got one for {', '.join(available)}: install "
            f"onnxruntime-gpu instead, or leave device out."
        )
    return [("CUDAExecutionProvider", {"device_id": index or "0"}), "CPUExecutionProvider"]
