"""Which axis of the values of an ONNX graph holds their features, as far as the nodes tell: it moves with transpositions."""

from __future__ import annotations

from typing import Any

from homolog.extraction.frameworks.onnx_graphs import MICROSOFT, Graph

_SECOND = {
    "Conv", "ConvTranspose", "DeformConv", "FusedConv", "ConvInteger", "QLinearConv", "QLinearConvTranspose", "MaxPool",
    "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "Upsample",
    "Resize", "DepthToSpace", "SpaceToDepth"
}  # fmt: skip
"""Nodes whose features are on axis 1, by the standard."""
_MOVES_MAPS = {"Conv", "ConvTranspose", "DeformConv", "FusedConv", "ConvInteger", "QLinearConv", "QLinearConvTranspose"}
_PRODUCTS = {
    "MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "DynamicQuantizeMatMul",
    "MatMulNBits", "MatMulBnb4", "MatMulFpQ4"
}  # fmt: skip
_LAST = {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"}
_LAST |= {
    "SkipSimplifiedLayerNormalization",
    "EmbedLayerNormalization",
    "Attention",
    "MultiHeadAttention",
    "QAttention",
}
_SHAPING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Slice", "Split", "Pad", "Gather"}
_MIXING = {
    "Softmax",
    "LogSoftmax",
    "Shape",
    "Size",
    "LSTM",
    "GRU",
    "RNN",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "Einsum",
}


def feature_axes(graph: Graph) -> dict[str, int | None]:
    """Return value → 1 or -1, the axis of its features; None where nobody can tell, of graphs that have convolutions.

    Of a graph without convolutions nothing is said of values that no node tells of: they are (examples, positions, features).
    """
    found: dict[str, int] = {}
    for node in graph.nodes:
        axis = _axis_of(graph, node, found)
        if axis is not None:
            found |= {name: axis for name in node.output if name}
    if not any(node.op_type in _MOVES_MAPS for node in graph.nodes):
        return dict(found)
    return {name: found.get(name) for name in graph.producers}


def _axis_of(graph: Graph, node: Any, found: dict[str, int]) -> int | None:
    kind = node.op_type
    if kind in _SECOND:
        return 1
    if kind in _LAST:
        return -1 if next((each.i for each in node.attribute if each.name == "axis"), -1) == -1 else None
    if kind in _PRODUCTS:
        # Weights on the right make new features on the last axis; of a product of two values it has those of the second.
        right = node.input[3 if kind == "QLinearMatMul" else 1]
        return -1 if graph.is_constant(right) else (-1 if found.get(right) == -1 else None)
    if kind == "Transpose":
        return _transposed(node, found.get(node.input[0]))
    if kind == "Gather" and graph.is_constant(node.input[0]):
        return -1
    if kind in _SHAPING:
        return _reshaped(graph, node, found.get(node.input[0]))
    known = {found[name] for name in node.input if name in found}
    # What an operator of one's own, or a function of the model, does to axes is not known.
    mixes = kind in _MIXING or kind.startswith(("Reduce", "Arg")) or node.domain not in ("", "ai.onnx", MICROSOFT)
    return known.pop() if len(known) == 1 and not mixes else None


def _transposed(node: Any, axis: int | None) -> int | None:
    order = next((list(each.ints) for each in node.attribute if each.name == "perm"), None)
    if axis is None or order is None:
        return None
    place = order.index(axis % len(order)) if axis in (1, -1) else None
    return {1: 1, len(order) - 1: -1}.get(place) if place is not None else None


def _reshaped(graph: Graph, node: Any, axis: int | None) -> int | None:
    """Return the same axis where as many features lie there afterwards."""
    before, after = graph.shape_of(node.input[0]), graph.shape_of(node.output[0])
    if axis is None or min(len(before), len(after)) < 2:
        return None
    kept = isinstance(before[axis], int) and before[axis] == after[axis]
    return axis if kept else None
