"""Running parts of an ONNX graph, so that the values asked for come out, in as many passes as the memory demands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from homolog.extraction.frameworks.onnx_graphs import MICROSOFT, Graph
from homolog.extraction.frameworks.onnx_layers import QUANTISED, WITHOUT_NUMPY
from homolog.machine import optional, usable_cores
from homolog.names import printable, shortened

FOLDER = "session.model_external_initializers_file_folder_path"
"""The runtime's option: where the files with weights lie of a model that is given as bytes."""
PART = 4
"""A pass may hold a quarter of the memory: what comes out is reduced and kept beside it."""
FLOAT = 1
"""TensorProto.FLOAT"""
_SUFFIX = ":homolog"


@dataclass
class Running:
    """Sessions of a graph, made as they are needed."""

    graph: Graph
    weights: bytes
    """The initialisers, as a serialised model."""
    held: int
    """Bytes of all weights, with those in files of their own: every session holds them."""
    memory: int
    title: str
    providers: Sequence[Any] = ("CPUExecutionProvider",)
    folder: str | None = None
    options: Any = None
    """SessionOptions of the user's own session."""
    sessions: dict[tuple[str, ...], tuple[Any, list[str]]] = field(default_factory=dict)
    sizes: list[tuple[dict[str, tuple[int, ...]], dict[str, int]]] = field(default_factory=list)
    """Shapes of the inputs → bytes of each value, as measured."""

    def values(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield values one after the other, as floats; those that need more memory than there is come in further passes."""
        for group in self.passes(names, feed):
            session, fetched = self._session(group)
            arrays = dict(zip(dict.fromkeys(fetched), self._run(session, feed), strict=True))
            for name, source in zip(group, fetched, strict=True):
                array = arrays.pop(source) if fetched.count(source) == 1 else arrays[source]
                yield name, array.astype(np.float32) if array.dtype == np.float16 else array

    def passes(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[tuple[str, ...]]:
        """Return groups of values that fit into their part of the memory, in order."""
        bytes_of: Mapping[str, int] = self._sizes(names, feed) if len(names) > 1 else dict.fromkeys(names, 0)
        groups: list[list[str]] = []
        held = 0
        for name in names:
            held += bytes_of[name]
            if not groups or held > self.memory // PART:
                groups.append([])
                held = bytes_of[name]
            groups[-1].append(name)
        return [tuple(group) for group in groups]

    def _sizes(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Return how many bytes values have at most, from a run that puts out their shapes instead of their numbers."""
        shapes = {name: array.shape for name, array in feed.items()}
        for known, sizes in self.sizes:
            if sizes.keys() >= set(names) and _covers(known, shapes):
                return sizes
        session = self.session([self._added(name, shape=True) for name in names], shapes=True)
        widths = [8 if self.graph.type_of(name) == "tensor(double)" else 4 for name in names]
        made = zip(names, widths, self._run(session, feed), strict=True)
        found = {name: width * int(np.prod(shape)) for name, width, shape in made}
        self.sizes.append((shapes, found))
        return found

    def _session(self, group: tuple[str, ...]) -> tuple[Any, list[str]]:
        if group not in self.sessions:
            if (len(self.sessions) + 1) * self.held > self.memory // PART:
                self.sessions.clear()
            added = [self._added(name) for name in group]
            self.sessions[group] = self.session(added), [source for _, source in added]
        return self.sessions[group]

    def _added(self, name: str, shape: bool = False) -> tuple[list[Any], str]:
        """Return nodes to add to the graph, and the value in which a layer then is as floats, or its shape."""
        onnx = optional("onnx", "onnx", "extracting from ONNX models")
        made = []
        kind, source = self.graph.type_of(name), self.graph.dequantised(name)
        if source is None and kind in QUANTISED:
            scale, source = self.graph.scales[name], f"{name}{_SUFFIX}:float"
            node = onnx.helper.make_node("DequantizeLinear", [name, *scale.inputs], [source], domain=scale.domain)
            node.attribute.extend(scale.attributes)
            made.append(node)
        source = source or name
        if shape:
            made.append(onnx.helper.make_node("Shape", [source], [f"{name}{_SUFFIX}"]))
        elif self.graph.type_of(source) in WITHOUT_NUMPY:
            made.append(onnx.helper.make_node("Cast", [source], [f"{name}{_SUFFIX}"], to=FLOAT))
        return made, made[-1].output[0] if made else source

    def session(self, added: Sequence[tuple[list[Any], str]], *, shapes: bool = False) -> Any:
        """Return a session of the nodes that some values need. Nothing is fused: each node is computed as the file has it.

        So no value depends on which others are asked for, which fusion would let happen.
        """
        onnx = optional("onnx", "onnx", "extracting from ONNX models")
        runtime = optional("onnxruntime", "onnx", "extracting from ONNX models")
        whole, model = self.graph.proto, onnx.ModelProto()
        model.ir_version = whole.ir_version
        model.opset_import.extend(whole.opset_import)
        nodes = [node for made, _ in added for node in made]
        if any(node.domain == MICROSOFT for node in nodes) and all(
            each.domain != MICROSOFT for each in whole.opset_import
        ):
            model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
        model.graph.name = whole.graph.name or "graph"
        model.graph.input.extend(whole.graph.input)
        model.graph.value_info.extend(whole.graph.value_info)
        sources = [name for node in nodes for name in node.input] + [name for _, name in added]
        model.graph.node.extend([*self.graph.needed(sources), *nodes])
        known = {value.name: value for value in whole.graph.output}
        outputs = dict.fromkeys(name for _, name in added)
        model.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in outputs)
        model.functions.extend(whole.functions)
        # Two serialised messages, one after the other, are the message of both: so weights are written once.
        content = model.SerializeToString() + self.weights
        try:
            with _unoptimised(self.options or _own_options(runtime), self.folder, shapes) as options:
                has_own = getattr(options, "has_providers", lambda: False)()
                return runtime.InferenceSession(content, options, providers=None if has_own else list(self.providers))
        except Exception as error:
            raise ValueError(refusal(self.title, error)) from None

    def _run(self, session: Any, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        runtime = optional("onnxruntime", "onnx", "extracting from ONNX models")
        options = runtime.RunOptions()
        if self.options is None:  # what the run itself needed is given back
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        names = {each.name for each in (*session.get_inputs(), *session.get_overridable_initializers())}
        try:
            return session.run(None, {name: array for name, array in feed.items() if name in names}, options)
        except Exception as error:
            raise ValueError(f"{self.title} could not run this batch: {_message(error)}.") from None


def _covers(known: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Say whether inputs of some shapes are no larger, along any axis, than those of others."""
    return known.keys() == shapes.keys() and all(
        len(known[name]) == len(shape) and all(a >= b for a, b in zip(known[name], shape, strict=True))
        for name, shape in shapes.items()
    )


def _own_options(runtime: Any) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = usable_cores()  # the runtime counts the machine's
    options.log_severity_level = 4  # what goes wrong is raised
    return options


@contextmanager
def _unoptimised(options: Any, folder: str | None, shapes: bool) -> Iterator[Any]:
    """Give options for one session: nothing is fused, no file is written. They are put back afterwards, but for the folder."""
    changed = ("graph_optimization_level", "optimized_model_filepath", "enable_profiling", "execution_order")
    kept = {name: getattr(options, name) for name in changed}
    if folder is not None:
        options.add_session_config_entry(FOLDER, folder)
    try:
        options.graph_optimization_level = type(kept["graph_optimization_level"]).ORT_DISABLE_ALL
        options.optimized_model_filepath, options.enable_profiling = "", False
        if shapes:  # they are taken at once, so that what has them is let go
            options.execution_order = type(kept["execution_order"]).PRIORITY_BASED
        yield options
    finally:
        for name, value in kept.items():
            setattr(options, name, value)


def _message(error: Exception) -> str:
    """Return what the runtime says, without its numbers and names of files."""
    text = " ".join(str(error).split())
    text = re.sub(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )?(Load model from .*? failed:)?", "", text)
    text = re.sub(r"\S*/onnxruntime/\S*(:\d+)? ", "", text).strip()
    return shortened(printable(text), 300).rstrip(".") or type(error).__name__


def refusal(title: str, error: Exception) -> str:
    """Word why the runtime does not take a model."""
    said = _message(error)
    if "is not a registered function/op" in said or "No Op registered" in said or "NOT_IMPLEMENTED" in str(error):
        remedy = "hand over an InferenceSession that was made with the library of the operator, which homolog itself never loads"
    elif "opset" in said.lower() or "IR version" in said:
        remedy = "install a newer onnxruntime, or convert the model with onnx.version_converter"
    else:
        remedy = "check the file with onnx.checker, or export it again"
    return f"{title} must be a model that onnxruntime can run, got: {said}; {remedy}."
