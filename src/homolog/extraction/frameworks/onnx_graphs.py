"""The graph of an ONNX model as it is read: who makes a value, who reads it, what it depends on, what dequantises it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

MICROSOFT = "com.microsoft"
_SHAPE_ONLY = {"Shape", "Size"}
"""Nodes that read the shape of a value and not its numbers."""
_SCALES = {
    "QLinearConv": (6, 7),
    "QLinearMatMul": (6, 7),
    "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7),
    "QGemm": (7, 8),
    "QLinearConcat": (0, 1),
    "QLinearAveragePool": (3, 4),
    "QLinearGlobalAveragePool": (3, 4),
    "QLinearLeakyRelu": (3, 4),
    "QLinearSigmoid": (3, 4),
    "QLinearSoftmax": (3, 4),
    "QLinearReduceMean": (3, 4),
    "QuantizeLinear": (1, 2),
}
"""Node that puts out quantised numbers → which of its inputs are their scale and their zero point."""
_KEEPING_SCALE = {
    "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity", "Split",
    "Relu", "Clip", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Pad", "Resize", "Dropout"
}  # fmt: skip
"""Nodes that move quantised numbers about without another scale."""

_ONE_BY_ONE = {
    "Cast",
    "Sqrt",
    "Mul",
    "Add",
    "Sub",
    "Div",
    "Neg",
    "Reciprocal",
    "Pow",
    "Exp",
    "Log",
    "Identity",
    "Unsqueeze",
}
"""Nodes that make one number of one number."""


@dataclass(frozen=True)
class Scale:
    """How the numbers of a quantised value become floats, as the inputs and attributes of a node DequantizeLinear."""

    inputs: tuple[str, ...]
    """Names of the scale and, where there is one, of the zero point."""
    domain: str = ""
    attributes: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A graph without what its weights are. Names of values are text that is never empty."""

    proto: Any
    """onnx.ModelProto; its initialisers have no numbers."""
    sizes: Mapping[str, tuple[int, ...]]
    """Initialiser → shape."""
    lowest: frozenset[str] = frozenset()
    """Initialisers that are one integer, the lowest of its type."""
    values: dict[str, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)
    """Value → type as the runtime says it, such as "tensor(float)", and shape, with text where an axis has no fixed length;
    () where nobody knows the shape, or it is one number."""

    @cached_property
    def nodes(self) -> list[Any]:
        """All nodes, in an order in which they can run: that of the file, as far as it is one."""
        left, ordered = list(self.proto.graph.node), []
        pending = {name for node in left for name in node.output}
        while left:
            waiting = []
            for node in left:
                if pending.isdisjoint(read(node)):
                    ordered.append(node)
                    pending.difference_update(node.output)
                else:
                    waiting.append(node)
            if len(waiting) == len(left):
                return ordered + waiting  # a circle, which the runtime refuses
            left = waiting
        return ordered

    @cached_property
    def inputs(self) -> list[str]:
        """Names of what must be given."""
        return [value.name for value in self.proto.graph.input if value.name not in self.sizes]

    @cached_property
    def outputs(self) -> list[str]:
        """Names of what the model puts out."""
        return [value.name for value in self.proto.graph.output]

    @cached_property
    def producers(self) -> dict[str, Any]:
        """Value → the node that makes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def readers(self) -> dict[str, list[Any]]:
        """Value → the nodes that read it, in their order."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(read(node)):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def depending(self) -> set[str]:
        """The values that depend on an input, if only on its shape."""
        return self._reached(through_shapes=True)

    @cached_property
    def following(self) -> set[str]:
        """The values that depend on the numbers of an input."""
        return self._reached(through_shapes=False)

    def _reached(self, through_shapes: bool) -> set[str]:
        found = set(self.inputs)
        for node in self.nodes:
            if (through_shapes or node.op_type not in _SHAPE_ONLY) and not found.isdisjoint(read(node)):
                found.update(name for name in node.output if name)
        return found

    def is_constant(self, name: str) -> bool:
        """Say whether a value is the same whatever is put in."""
        return name not in self.depending

    def sole_reader(self, name: str) -> Any:
        """Return the only node that reads a value; None where there are more, or the model puts it out."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def operands(self, node: Any) -> tuple[list[str], list[str]]:
        """Return the inputs of a node that depend on the model's inputs, and those that do not."""
        given = [name for name in node.input if name]
        return [name for name in given if name in self.depending], [name for name in given if self.is_constant(name)]

    def is_single(self, name: str) -> bool:
        """Say whether a constant is known to be one number."""
        if name in self.sizes:
            return prod(self.sizes[name]) == 1
        node = self.producers.get(name)
        if node is None or not self.is_constant(name):
            return False
        if node.op_type == "Constant":
            return all(prod(each.t.dims) == 1 and len(each.floats) + len(each.ints) <= 1 for each in node.attribute)
        return node.op_type in _ONE_BY_ONE and all(map(self.is_single, node.input))

    def type_of(self, name: str) -> str:
        """Return the type of a value as the runtime says it; "" where nobody knows."""
        return self.values.get(name, ("", ()))[0]

    def shape_of(self, name: str) -> tuple[Any, ...]:
        """Return the shape of a value; () where nobody knows."""
        return self.values.get(name, ("", ()))[1]

    @cached_property
    def scales(self) -> dict[str, Scale]:
        """Quantised value → what dequantises it, by the node that reads it or by the one that made it."""
        found: dict[str, Scale] = {}
        for node in self.nodes:
            if node.op_type == "DynamicQuantizeLinear":
                found[node.output[0]] = Scale((node.output[1], node.output[2]), self.quantising_domain)
            elif node.op_type in _SCALES:
                given = [node.input[i] for i in _SCALES[node.op_type] if i < len(node.input) and node.input[i]]
                if given:
                    found[node.output[0]] = self._scale(node, given)
            elif node.op_type in _KEEPING_SCALE and node.input and (scale := found.get(node.input[0])) is not None:
                found |= {name: scale for name in node.output if name and self._is_one(scale)}
        for node in self.nodes:
            if node.op_type == "DequantizeLinear":
                found[node.input[0]] = self._scale(node, [name for name in node.input[1:3] if name])
        return found

    def _is_one(self, scale: Scale) -> bool:
        """Say whether one number is the scale of all: several belong to an axis, which may be moved."""
        return not self.is_constant(scale.inputs[0]) or self.is_single(scale.inputs[0])

    def dequantised(self, name: str) -> str | None:
        """Return the value that holds the numbers of a quantised one as floats, or of one that is rounded at once; None for none.

        Quantisation leaves activations out that rounding to a range makes superfluous: only the rounded numbers are the layer's.
        """
        if name not in self.scales:
            reader = self.sole_reader(name)
            if reader is None or reader.op_type != "QuantizeLinear" or name != reader.input[0]:
                return None
            name = reader.output[0]
        readers = (node for node in self.readers.get(name, []) if node.op_type == "DequantizeLinear")
        return next((node.output[0] for node in readers if node.input[0] == name), None)

    def _scale(self, node: Any, inputs: list[str]) -> Scale:
        linear = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        kept = [each for each in node.attribute if linear and each.name in ("axis", "block_size")]
        return Scale(tuple(inputs), node.domain if linear else self.quantising_domain, tuple(kept))

    @cached_property
    def quantising_domain(self) -> str:
        """The domain whose DequantizeLinear this model may use."""
        version = {each.domain: each.version for each in self.proto.opset_import}.get("", 0)
        return "" if version >= 10 else MICROSOFT

    def needed(self, names: list[str]) -> list[Any]:
        """Return the nodes without which some values cannot be computed, in order."""
        wanted, kept = set(names), []
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.output):
                kept.append(node)
                wanted.update(read(node))
        return kept[::-1]


def read(node: Any) -> list[str]:
    """Return the values that a node reads, with those that the graphs inside it may read."""
    return [name for name in node.input if name] + [
        name for inner in inner_graphs(node) for name in _read_inside(inner)
    ]


def inner_graphs(node: Any) -> Iterator[Any]:
    """Yield the graphs that a node holds, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _read_inside(graph: Any) -> Iterator[str]:
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from read(node)
