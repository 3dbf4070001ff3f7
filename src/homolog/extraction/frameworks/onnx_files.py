"""Reading ONNX models: files, messages and sessions, checked, with the weights apart from the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from os import PathLike, fspath
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from homolog.extraction.frameworks.onnx_graphs import Graph, inner_graphs
from homolog.machine import optional
from homolog.names import first_line, quoted, shown

PURPOSE = "extracting from ONNX models"
_LOWEST = {2: 0, 3: -(2**7), 4: 0, 5: -(2**15)}
"""TensorProto's number of a quantised type → its lowest number."""
_EXTERNAL = 1
"""TensorProto.EXTERNAL"""
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Opened:
    """A model as it was read."""

    proto: Any
    title: str
    digest: Callable[[], str]
    folder: Path | None = None
    """Where files with weights lie that belong to the model."""


def opened(model: Any) -> Opened:
    """Read a path, an onnx.ModelProto or an onnxruntime.InferenceSession."""
    if isinstance(model, str | PathLike):
        return _of_file(Path(fspath(model)))
    if not hasattr(model, "get_session_options"):
        return _of_message(model)
    path, content = getattr(model, "_model_path", None), getattr(model, "_model_bytes", None)
    if path:
        return _of_file(Path(path))
    if content:
        return _checked(
            _parsed(bytes(content), "the model of the session"),
            "onnxruntime.InferenceSession",
            _digest_of(content),
            None,
        )
    raise ValueError(
        "a session must know the file or the bytes that it was made from, got an onnxruntime.InferenceSession without them: "
        "hand over the path of the model."
    )


def _of_file(path: Path) -> Opened:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check the name and the folder.")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} must be an ONNX file, got a folder: name the file ending in .onnx in it.")
    name = quoted(path.name)
    if path.stat().st_size >= 2**31:
        raise ValueError(
            f"{name} must be smaller than 2 GiB, as ONNX files are: export it with its weights in files of their own."
        )
    content = path.read_bytes()
    if content[4:8] == b"ORTM":
        raise ValueError(
            f"{name} must be an ONNX file, got one of onnxruntime's own format: hand over the .onnx file it was made from."
        )
    if content.startswith(_POINTER):
        raise ValueError(
            f"{name} must be an ONNX file, got the pointer that Git LFS keeps in its place: run `git lfs pull`."
        )

    proto = _parsed(content, name)
    files = [path, *(path.parent / each for each in _external_files(proto))]

    def digest() -> str:
        state = hashlib.sha256()
        for each in files:
            with each.open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest())
        return state.hexdigest()

    return _checked(proto, shown(path.name), digest, path.parent)


def _of_message(model: Any) -> Opened:
    def digest() -> str:
        return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()

    return _checked(model, "onnx.ModelProto", digest, None)


def _digest_of(content: bytes) -> Callable[[], str]:
    return lambda: hashlib.sha256(content).hexdigest()


def _parsed(content: bytes, name: str) -> Any:
    onnx = optional("onnx", "onnx", PURPOSE)
    try:
        return onnx.ModelProto.FromString(content)
    except Exception:  # protobuf has several implementations, each with errors of its own
        raise ValueError(
            f"{name} must be an ONNX model, got bytes that are none, or only a part of one: export or download it again."
        ) from None


def _checked(proto: Any, title: str, digest: Callable[[], str], folder: Path | None) -> Opened:
    """Raise unless there is a graph with nodes and inputs, and the files that its weights are in."""
    if not proto.ir_version or not proto.graph.node or not proto.opset_import:
        raise ValueError(
            f"{title} must be an ONNX model with a graph of nodes, got none: check that it is the right file."
        )
    initialised = {each.name for each in proto.graph.initializer}
    if all(each.name in initialised for each in proto.graph.input):
        raise ValueError(f"{title} must have an input, got a graph that needs none: nothing in it depends on data.")
    for location in _external_files(proto):
        if folder is None:
            raise ValueError(
                f"{title} must hold its weights, got a reference to {quoted(location)} in no folder: hand over the path of the "
                f"model, or load it with its data, onnx.load(path)."
            )
        outside = any(
            kind(location).is_absolute() or ".." in kind(location).parts for kind in (PurePosixPath, PureWindowsPath)
        )
        if outside or not location:
            raise ValueError(
                f"{title} must have its weights beside it, got a reference to {quoted(location)}, which is not read."
            )
        if not (folder / location).is_file():
            raise FileNotFoundError(
                f"{title} needs the file {quoted(location)} beside it, which is missing: keep both together."
            )
    return Opened(proto, title, digest, folder)


def _external_files(proto: Any) -> list[str]:
    """Return the files in which weights are, as the model names them."""
    tensors = (tensor for tensor in _tensors(proto.graph) if tensor.data_location == _EXTERNAL)
    entries = (entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location")
    return list(dict.fromkeys(entries))


def size_of(model: Opened, weights: bytes) -> int:
    """Return the bytes of all weights, with those in files of their own."""
    files = [] if model.folder is None else [model.folder / each for each in _external_files(model.proto)]
    return len(weights) + sum(each.stat().st_size for each in files)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        yield from (each.t for each in node.attribute if each.HasField("t"))
        for inner in inner_graphs(node):
            yield from _tensors(inner)


def parted(model: Opened) -> tuple[Graph, bytes]:
    """Return the graph, with functions of the model's own written out, and its initialisers as a serialised model."""
    onnx = optional("onnx", "onnx", PURPOSE)
    whole = model.proto
    if whole.functions:
        try:
            whole = optional("onnx.inliner", "onnx", PURPOSE).inline_local_functions(whole)
        except Exception as error:
            raise ValueError(
                f"{model.title} has functions of its own that cannot be written out, got: {first_line(error)}."
            ) from None
    weights = onnx.ModelProto()
    weights.graph.initializer.extend(whole.graph.initializer)
    weights.graph.sparse_initializer.extend(whole.graph.sparse_initializer)
    bare = onnx.ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import, functions=whole.functions)
    for name in ("name", "node", "input", "output", "value_info"):
        part = getattr(whole.graph, name)
        setattr(bare.graph, name, part) if name == "name" else getattr(bare.graph, name).extend(part)
    sizes = {each.name: tuple(each.dims) for each in whole.graph.initializer}
    sizes |= {each.values.name: tuple(each.dims) for each in whole.graph.sparse_initializer}
    lowest = frozenset(each.name for each in whole.graph.initializer if _is_lowest(each, onnx))
    try:
        return Graph(bare, sizes, lowest), weights.SerializeToString()
    except Exception:  # protobuf's own limit
        raise ValueError(
            f"{model.title} must be smaller than 2 GiB: save it with its weights in files of their own."
        ) from None


def _is_lowest(tensor: Any, onnx: Any) -> bool:
    lowest = _LOWEST.get(tensor.data_type)
    return lowest is not None and prod(tensor.dims) == 1 and int(onnx.numpy_helper.to_array(tensor).item()) == lowest
