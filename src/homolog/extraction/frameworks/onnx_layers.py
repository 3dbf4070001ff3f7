"""Which values of an ONNX graph are layers, and which of them are taken where nobody names any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homolog.extraction.frameworks.onnx_graphs import MICROSOFT, Graph
from homolog.names import quoted

WITHOUT_NUMPY = {
    f"tensor({name})" for name in ("bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
}
"""Floating numbers for which NumPy has no type."""
FLOATS = WITHOUT_NUMPY | {"tensor(float)", "tensor(double)", "tensor(float16)"}
QUANTISED = {f"tensor({name})" for name in ("uint8", "int8", "uint16", "int16", "uint4", "int4")}
_PRODUCTS = {
    "MatMul", "Gemm", "Einsum", "FusedMatMul", "FusedGemm", "TransposeMatMul", "MatMulInteger",
    "MatMulIntegerToFloat", "QLinearMatMul", "QGemm", "DynamicQuantizeMatMul", "MatMulNBits", "MatMulBnb4",
    "MatMulFpQ4"
}  # fmt: skip
"""Products of matrices: layers where one of the matrices is weights."""
_FACTORS = {"QLinearMatMul": (0, 3), "QGemm": (0, 3)}
_CONVOLUTIONS = {
    "Conv", "ConvTranspose", "DeformConv", "FusedConv", "NhwcConv", "ConvInteger", "QLinearConv", "NhwcFusedConv",
    "QLinearConvTranspose"
}  # fmt: skip
_NORMALISATIONS = {
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "LRN",
    "RMSNormalization", "SimplifiedLayerNormalization", "MeanVarianceNormalization", "LpNormalization"
}  # fmt: skip
_ACTIVATIONS = {
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh",
    "Softplus", "Softsign", "Mish", "Swish", "ThresholdedRelu", "LogSoftmax", "QLinearLeakyRelu", "QLinearSigmoid"
}  # fmt: skip
_POOLS = {
    "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool", "QLinearAveragePool",
    "QLinearGlobalAveragePool"
}  # fmt: skip
_SIMPLE = _CONVOLUTIONS | _NORMALISATIONS | _ACTIVATIONS | _POOLS | {"Attention"}
_RECURRENT = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
_MOVING = {"Transpose", "Reshape", "Squeeze", "Identity"}
_NO_LAYERS = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "RotaryEmbedding", "QLinearConcat", "QLinearMul"
}  # fmt: skip
_ELEMENTWISE = {
    "Erf", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Exp", "Add", "Mul", "Sub", "Div", "Pow", "Sqrt", "Neg",
    "Reciprocal", "Cast", "Identity", "Clip", "Relu"
}  # fmt: skip
_BENDING = {"Erf", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Exp", "Clip", "Relu"}
_GATED = 12
"""Most nodes between a value and what multiplies it, in an activation that a graph spells out, such as x · sigmoid(x)."""


def layer_types(graph: Graph) -> dict[str, str]:
    """Return value → kind of node, of all values that can be had as floats and depend on an input, in order."""
    made = ((name, node) for node in graph.nodes for name in node.output if name)
    scales = _scales(graph)
    return {
        name: node.op_type
        for name, node in made
        if name in graph.depending and name not in scales and is_layer(graph, name) and not _is_sum(graph, name)
    }


def _scales(graph: Graph) -> set[str]:
    """Return the values that are scales of quantised numbers found while the model runs, and products of such scales."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op_type == "DynamicQuantizeLinear":
            found.update(node.output[1:])
        elif node.op_type == "Mul" and all(name in found or graph.is_constant(name) for name in node.input):
            found.update(node.output if not found.isdisjoint(node.input) else ())
    return found


def _is_sum(graph: Graph, name: str) -> bool:
    """Say whether a value is a sum of quantised numbers that was not multiplied with their scale yet."""
    node = graph.producers[name]
    maker = graph.producers.get(node.input[0]) if node.op_type == "Cast" else None
    return maker is not None and maker.op_type.endswith("Integer")


def is_layer(graph: Graph, name: str) -> bool:
    """Say whether the numbers of a value are floats, or are quantised floats of known scale."""
    kind = graph.type_of(name)
    return kind in FLOATS or (kind in QUANTISED and name in graph.scales)


def why_no_layer(graph: Graph, name: str) -> str:
    """Say why a value of the graph cannot be extracted."""
    if name not in graph.depending:
        return "it is the same for every input"
    kind = graph.type_of(name)
    if kind in QUANTISED:
        return f"it holds quantised numbers, {kind}, and the graph does not say their scale"
    if name in graph.producers and (graph.producers[name].op_type.endswith("Integer") or _is_sum(graph, name)):
        return f"it holds sums of quantised numbers, whose float result is {quoted(_end(graph, name))}"
    if kind in FLOATS:
        return "it holds the scale of quantised numbers"
    return f"it holds {kind or 'values of unknown type'}, and no floating numbers"


def default_layers(graph: Graph, types: dict[str, str]) -> list[str]:
    """Return the outputs of nodes that compute what people call a layer, with the examples along their first axis."""
    found = {name for node in graph.nodes for name in _layers_of(graph, node)} | set(graph.outputs)
    found = {graph.dequantised(name) or name if graph.type_of(name) in QUANTISED else name for name in found}
    found -= {name for name in found if graph.dequantised(name) in found}
    return [name for name in types if name in found and name in graph.following and _may_lead(graph, name)]


def _layers_of(graph: Graph, node: Any) -> Iterator[str]:
    """Yield the layers that end in, or begin with, a node."""
    if not node.output or node.op_type in _NO_LAYERS:
        return
    name, kind = node.output[0], node.op_type
    if kind in _RECURRENT:
        yield _moved(graph, name)
    elif kind in _CONVOLUTIONS or (kind in _PRODUCTS and _has_weights(graph, node)):
        yield _end(graph, name)
    elif node.domain in (MICROSOFT, "ai.onnx.ml") and kind not in _SIMPLE | _PRODUCTS:
        yield name
        yield from node.output[3:4]  # SkipLayerNormalization: the residual sum
    elif kind in ("Add", "Sub", "Mul", "Div", "Sum"):
        yield from _arithmetic(graph, node)
    elif _is_alone(graph, node):
        yield name


def _has_weights(graph: Graph, node: Any) -> bool:
    """Say whether one of the factors of a product is the same for every input."""
    return any(graph.is_constant(node.input[i]) for i in _FACTORS.get(node.op_type, (0, 1)) if i < len(node.input))


def _is_alone(graph: Graph, node: Any) -> bool:
    """Say whether a node is a layer by itself, and not a part of an activation, a normalisation or attention."""
    name, kind = node.output[0], node.op_type
    if kind == "Gather":  # from a table of vectors
        return graph.is_constant(node.input[0]) and len(graph.sizes.get(node.input[0], (0, 0))) == 2
    if kind == "Softmax":
        return not _attends(graph, name)
    if kind in ("ReduceMean", "ReduceMax"):
        return not _is_statistic(graph, name)
    ends = len([each for each in node.input[1:] if each]) + len(node.attribute)  # of Clip, in old files attributes
    return (kind in _SIMPLE or (kind == "Clip" and ends == 2)) and not _is_gate(graph, name)


def _arithmetic(graph: Graph, node: Any) -> Iterator[str]:
    """Yield the result of a sum, or product, that is a layer: a residual, a shift and scale of features, an activation."""
    name = node.output[0]
    moving, constant = graph.operands(node)
    if len(moving) == 1 and len(constant) == 1 and not graph.is_single(constant[0]):
        yield _end(graph, name)
    elif len(moving) == 2 and node.op_type == "Mul" and _is_gated(graph, *moving):
        last = graph.sole_reader(name)
        moving, constant = ([], []) if last is None or last.op_type not in ("Mul", "Div") else graph.operands(last)
        scaled = len(moving) == 1 and len(constant) == 1 and graph.is_single(constant[0])
        yield last.output[0] if scaled else name
    elif len(moving) >= 2 and node.op_type in ("Add", "Sum") and _is_residual(graph, node, moving):
        yield name


def _is_residual(graph: Graph, node: Any, terms: list[str]) -> bool:
    """Say whether a sum of several values is of representations: not of scores and a mask, not inside an activation."""
    if _attends(graph, node.output[0]) or len(set(map(len, filter(None, map(graph.shape_of, terms))))) > 1:
        return False
    if any(graph.type_of(term) not in FLOATS | {""} for term in terms):
        return False
    first, second = terms[:2]
    if _way(graph, first, second, _GATED) is not None or _way(graph, second, first, _GATED) is not None:
        return False
    makers = [graph.producers.get(term) for term in terms]
    return not all(each is not None and each.op_type == "Mul" and not graph.operands(each)[1] for each in makers)


def _end(graph: Graph, name: str) -> str:
    """Return the value at which a layer ends that goes on with its bias, its scale, or casts of its sums."""
    while (node := graph.sole_reader(name)) is not None:
        moving, constant = graph.operands(node)
        cast = node.op_type == "Cast" and graph.type_of(name) == "tensor(int32)"
        scaled = node.op_type == "Mul" and _is_sum(graph, name)
        shifted = node.op_type in ("Add", "Mul", "Sub", "Div") and len(moving) == 1 and len(constant) == 1
        if not (cast or scaled or (shifted and not graph.is_single(constant[0]))):
            break
        name = node.output[0]
    return name


def _moved(graph: Graph, name: str) -> str:
    """Return a value after the nodes that only order its axes: recurrent layers put time first."""
    while (node := graph.sole_reader(name)) is not None and node.op_type in _MOVING:
        name = node.output[0]
    return name


def _is_gate(graph: Graph, name: str) -> bool:
    """Say whether a value only multiplies what it was computed from, perhaps after a scale: the product is the activation."""
    for _ in range(_GATED):
        node = graph.sole_reader(name)
        if node is None or node.op_type not in ("Add", "Sub", "Mul", "Div"):
            return False
        moving, constant = graph.operands(node)
        if len(moving) == 2:
            return node.op_type == "Mul" and _is_gated(graph, *moving)
        if not all(map(graph.is_single, constant)):
            return False
        name = node.output[0]
    return False


def _is_gated(graph: Graph, a: str, b: str) -> bool:
    """Say whether one of two values is a function, number by number and no polynomial, of the other."""
    ways = (_way(graph, a, b, _GATED), _way(graph, b, a, _GATED))
    return any(way is not None and not way.isdisjoint(_BENDING) for way in ways)


def _way(graph: Graph, name: str, of: str, steps: int) -> set[str] | None:
    """Return the kinds of the nodes by which a value is computed from another number by number; None where it is not."""
    if name == of:
        return set()
    node = graph.producers.get(name)
    if node is None or not steps or node.op_type not in _ELEMENTWISE:
        return None
    moving, constant = graph.operands(node)
    ways = [_way(graph, each, of, steps - 1) for each in moving]
    if not ways or not all(map(graph.is_single, constant)):
        return None
    found = {node.op_type}
    for way in ways:
        if way is None:
            return None
        found |= way
    return found


def _attends(graph: Graph, name: str, steps: int = 6) -> bool:
    """Say whether a value ends as scores or probabilities of attention: in a softmax, or in a product with other values."""
    for node in graph.readers.get(name, []):
        if node.op_type == "Softmax" or (
            node.op_type in ("MatMul", "FusedMatMul", "Einsum") and not graph.operands(node)[1]
        ):
            return True
        passing = ("Cast", "Where", "Dropout", "Identity", "IsNaN", "QuantizeLinear", "DequantizeLinear", "Clip", "Max")
        if steps and node.op_type in passing and _attends(graph, node.output[0], steps - 1):
            return True
    return False


def _is_statistic(graph: Graph, name: str) -> bool:
    """Say whether a mean belongs to a normalisation that the graph spells out."""
    return any(node.op_type in ("Sub", "Add", "Sqrt", "Pow", "Div", "Mul") for node in graph.readers.get(name, []))


def _may_lead(graph: Graph, name: str) -> bool:
    """Say whether the first axis of a value can be the examples, as far as shapes are known."""
    shape = graph.shape_of(name)
    if not shape:
        return True
    given = [graph.shape_of(each) for each in graph.inputs if graph.shape_of(each)]
    first, others = {each[0] for each in given}, {length for each in given for length in each[1:]}
    if len(shape) < 2:
        return False
    if isinstance(shape[0], int):
        return shape[0] in first
    return shape[0] in first or shape[0] not in others
