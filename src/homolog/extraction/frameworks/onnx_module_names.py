"""Which value of an ONNX graph is the output of which module of the PyTorch model that it was exported from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from homolog.extraction.frameworks.onnx_graphs import MICROSOFT, Graph

_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
"""What PyTorch's exporter notes of a node: the modules around it, from the outermost in, and the operation; their classes."""
_COUNTED = re.compile(r"_\d+$")
_PART = re.compile(r"val_\d+")
"""What the exporter calls a value inside an operation: it is no module's output, though other modules may share it."""
_ROUNDING = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "QLinearConv", "QLinearMatMul", "QLinearAdd", "QGemm"}
_WITH_WEIGHT = {
    "LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "Gather",
    "BatchNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"
}  # fmt: skip

Scope = tuple[str, ...] | None
"""The modules around a node, from the outermost in; None where nothing tells."""


def module_names(graph: Graph) -> dict[str, str]:
    """Return name of a module → the value that it puts out, of all modules of which the graph tells it for certain.

    Exporters note the modules around each node, or make paths of them: "/encoder/layer.0/output/dense/Add". The output of a
    module is the one value that its nodes make and others read. A module that ran twice, or puts out several values, is left out.
    So is one that a normalisation or an activation was folded into. Where nothing is noted, names of weights tell linear layers
    with a bias, normalisations and embeddings.
    """
    scopes = {id(node): _scope(node) for node in graph.nodes}
    scopes |= {id(node): _scope_of_product(graph, node, scopes) for node in graph.nodes if scopes[id(node)] is None}
    inside: dict[str, dict[int, Any]] = {}
    for node in graph.nodes:
        for module in scopes[id(node)] or ():
            inside.setdefault(module, {})[id(node)] = node
    again, once = _repeated(graph, scopes)
    renamed = set() if any(_noted(node, _SCOPES) for node in graph.nodes) else _renamed(set(inside))
    found = {}
    for module, members in inside.items():
        value = _put_out(graph, members, scopes)
        within = {each for each in again | once if each == module or each.startswith(f"{module}.")}
        if value is None or module in again or module in renamed or (within and within <= again):
            continue
        own = {key: node for key, node in members.items() if (scopes[key] or ("",))[-1] == module}
        if id(graph.producers[value]) not in own or not (_is_renamed(own.values()) or _is_folded(graph, value)):
            found[module] = value
    return _by_weights(graph, {each for each in scopes if scopes[each] is None}) | found


def _scope(node: Any) -> Scope:
    """Return what the exporter noted of a node."""
    if node.op_type in _ROUNDING:
        return ()
    if noted := _noted(node, _SCOPES):
        return tuple(each for each in noted[:-1] if each and not each.startswith("_empty_nn_module"))
    # Quantisation renames outputs where it leaves an activation out: the value's own path is the right one.
    paths = [name for name in (*node.output[:1], node.name) if name.startswith("/")]
    return _of_path(paths[0]) if paths else None


def _noted(node: Any, key: str) -> list[str]:
    """Return a list of texts that the exporter noted of a node; an empty one where there is none."""
    return _listed(next((each.value for each in node.metadata_props if each.key == key), "[]"))


@lru_cache(maxsize=4096)
def _listed(text: str) -> list[str]:
    """Read a list of texts as Python writes it; an empty one where it is none."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else []


def _of_path(path: str) -> tuple[str, ...]:
    """Return the modules of a path, in which a module of a list repeats the name of the list.

    >>> _of_path("/layers/layers.0/body/body.1/Conv")
    ('layers', 'layers.0', 'layers.0.body', 'layers.0.body.1')
    """
    found: list[str] = []
    before, outer = "", ""
    for part in path.split("/")[1:-1]:
        if not before or not part.startswith(f"{before}."):
            outer = found[-1] if found else ""
        found.append(f"{outer}.{part}" if outer else part)
        before = part
    return tuple(found)


def _scope_of_product(graph: Graph, node: Any, scopes: dict[int, Scope]) -> Scope:
    """Return the scope of a node that a quantised product brought: of the bias that is added, or of those before and after it."""
    reader = graph.sole_reader(node.output[0]) if node.output else None
    while reader is not None and scopes[id(reader)] is None:
        reader = graph.sole_reader(reader.output[0])
    if reader is None:
        return None
    makers = [graph.producers[name] for name in node.input if name in graph.producers]
    within = scopes[id(reader)] in [scopes[id(maker)] for maker in makers if maker.op_type not in _ROUNDING]
    return scopes[id(reader)] if within or (reader.op_type == "Add" and graph.operands(reader)[1]) else None


def _put_out(graph: Graph, members: dict[int, Any], scopes: dict[int, Scope]) -> str | None:
    """Return the one value that some nodes make and others read, or the model puts out; rounding is looked through."""
    found = []
    for node in members.values():
        for name in node.output:
            outside = [each for each in _readers(graph, name) if each is None or id(each) not in members]
            shared = _noted(node, _SCOPES) and _PART.fullmatch(name)
            if name not in graph.following or not outside or shared:
                continue
            if any(each is not None and scopes[id(each)] is None for each in outside):
                return None  # nobody knows whether the reader belongs to the module
            found.append(name)
    return found[0] if len(found) == 1 else None


def _readers(graph: Graph, name: str) -> Iterator[Any]:
    """Yield the nodes that read a value; None for who runs the model."""
    if name in graph.outputs:
        yield None
    for node in graph.readers.get(name, []):
        if node.op_type in _ROUNDING:
            yield from _readers(graph, node.output[0])
        else:
            yield node


def _repeated(graph: Graph, scopes: dict[int, Scope]) -> tuple[set[str], set[str]]:
    """Return the modules that ran several times, and those with weights of their own that ran once.

    The weights of the first are read by several nodes of a kind, or what they do was noted several times.
    """
    ran: dict[tuple[str, str, str], int] = {}
    for node in graph.nodes:
        scope = scopes[id(node)]
        if not scope:
            continue
        own = [name for name in node.input if name in graph.sizes and name.rpartition(".")[0] == scope[-1]]
        noted = _noted(node, _SCOPES)[-1:] if _is_whole(graph, node) else []
        for what in (*own, *(_COUNTED.sub("", each) for each in noted)):
            key = (scope[-1], node.op_type, what)
            ran[key] = ran.get(key, 0) + 1
    again = {module for (module, _, _), times in ran.items() if times > 1}
    return again, {module for module, _, _ in ran} - again


def _renamed(modules: set[str]) -> set[str]:
    """Return the modules that ran several times by their paths, in which it is the modules inside them that are numbered.

    >>> sorted(_renamed({"block", "block.conv", "block.conv_1", "block.act", "block.act_1", "head", "head.fc"}))
    ['block']
    """
    inside: dict[str, set[str]] = {}
    for module in modules:
        outer = module
        while outer and (outer := outer.rpartition(".")[0]) not in modules:
            pass
        inside.setdefault(outer, set()).add(module)
    found: set[str] = set()
    for module in sorted(modules, key=len, reverse=True):  # what is inside comes before what it is in
        parts = inside.get(module, set())
        numbered = {part for part in parts if _COUNTED.sub("", part) in parts - {part} or f"{part}_1" in parts}
        if parts and parts <= numbered | found:
            found.add(module)
    return found


def _is_whole(graph: Graph, node: Any) -> bool:
    """Say whether one node is all that a module does: a product with weights, or what a module of PyTorch's own computes."""
    if node.op_type in _PRODUCTS - {"Add"}:
        return bool(graph.operands(node)[1])
    return "".join(_noted(node, _CLASSES)[-2:-1]).startswith("torch.nn.modules.") and node.op_type not in _SMALL


_SMALL = {
    "Add", "Mul", "Sub", "Div", "Cast", "Reshape", "Transpose", "Concat", "Shape", "Slice", "Gather", "Unsqueeze",
    "MatMul", "Squeeze", "Expand", "Where", "Constant"
}  # fmt: skip


def _is_renamed(nodes: Iterable[Any]) -> bool:
    """Say whether an exporter gave a convolution other weights than the module's, since it folded a normalisation into it."""
    return any(name.startswith("onnx::Conv") for node in nodes for name in node.input)


def _is_folded(graph: Graph, value: str) -> bool:
    """Say whether the numbers of a product may be those of an activation that was folded into it, or lack a bias."""
    node = graph.producers[value]
    if node.domain == MICROSOFT and "Fused" in node.op_type:
        return True
    if node.op_type not in _PRODUCTS:
        return False
    if any(each.domain == MICROSOFT and each.op_type not in _ROUNDING for each in graph.readers.get(value, [])):
        return True  # a fused node may have taken the bias over
    if value.startswith("/") and not value.rpartition("/")[2].startswith(
        node.op_type.removeprefix("QLinear").removeprefix("Q")
    ):
        return False  # the value has the name of the activation
    rounded = graph.sole_reader(value)
    name = rounded.output[0] if rounded is not None and rounded.op_type == "QuantizeLinear" else value
    scale = graph.scales.get(name)
    return scale is not None and not graph.lowest.isdisjoint(scale.inputs[1:])


def _by_weights(graph: Graph, unknown: set[int]) -> dict[str, str]:
    """Return module → value, of those nodes of which nothing is noted, by the names of weights that one node alone reads."""
    found = {}
    for name in graph.sizes:
        module, _, weight = name.rpartition(".")
        users = {id(node): node for node in _users(graph, name)} if module and weight in ("weight", "bias") else {}
        if len(users) != 1:
            continue
        ((key, node),) = users.items()
        if key in unknown and _is_last(graph, node, weight):
            found[module] = node.output[0]
    return found


def _users(graph: Graph, name: str) -> Iterator[Any]:
    """Yield the nodes that read a weight together with what depends on the input."""
    for node in graph.readers.get(name, []):
        if any(graph.is_constant(output) for output in node.output):
            yield from (each for output in node.output for each in _users(graph, output))
        else:
            yield node


def _is_last(graph: Graph, node: Any, weight: str) -> bool:
    """Say whether a node that reads the weight or the bias of a module is the last one of the module."""
    makers = [graph.producers.get(name) for name in graph.operands(node)[0]]
    if weight == "weight":
        reader = graph.sole_reader(node.output[0])
        around = [each for each in (*makers, reader) if each is not None and each.op_type == "Transpose"]
        return node.op_type in _WITH_WEIGHT and len(around) < 2  # a module may put the channels last, and back again
    kinds = {maker.op_type for maker in makers if maker is not None}
    return (
        node.op_type == "Add" and len(makers) == 1 and kinds <= {"MatMul", "Mul", "MatMulIntegerToFloat", "FusedMatMul"}
    )
