"""What measures share: how a representation is prepared, and how two prepared ones meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from homolog.arrays import Array, namespace
from homolog.diagnostics import Caution

MANY_EXAMPLES = 1024
"""Fewer examples than this are cheap in float64, and too few for the rounding of float32 to average out."""


@dataclass(frozen=True)
class Cost:
    """What a comparison takes, to leading order; bytes are at most what is then used."""

    flops: float = 0.0
    held: int = 0
    """Bytes of the operands of all layers."""
    preparing: int = 0
    """Most bytes beyond its operand while one layer is prepared."""
    meeting: int = 0
    """Most bytes while one pair meets and its last lines are evaluated."""
    together: int = 0
    """Bytes that are taken once, however many threads there are, while pairs meet."""

    def at_once(self, memory: int, most: int) -> tuple[int, int]:
        """Return how many layers may be prepared at a time, and how many pairs may meet, in a memory; at least one."""
        left = memory - self.held
        counts = left // max(self.preparing, 1), (left - self.together) // max(self.meeting, 1)
        return max(1, min(counts[0], most)), max(1, min(counts[1], most))

    def bytes(self, memory: int, most: int) -> int:
        """Return what is used of a memory."""
        preparing, meeting = self.at_once(memory, most)
        return self.held + max(preparing * self.preparing, meeting * self.meeting + self.together)

    @property
    def least(self) -> int:
        """The least memory that will do: one layer, and one pair, after another."""
        return self.bytes(0, 1)


Shapes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class OnDisk:
    """How a family works on representations that are read block by block."""

    plan: Callable[..., Any]
    """plan(task, **options) → form"""
    meet_all: Callable[..., tuple[list[Any], Any]] | None = None
    """meet_all(rows, titles, task, form, workers, step, **options) → operands, and one meeting for all pairs."""
    summarise: Callable[..., Any] | None = None
    """summarise(rows, title, shelf) → summary, where pairs meet one by one."""
    meet: Callable[[Any], Any] = lambda product: product
    """meet(product of mapped rows) → what all measures of the family need of the pair."""


@dataclass(frozen=True)
class Family:
    """Measures that share what is computed once per representation and once per pair."""

    name: str
    prepare: Callable[..., Any]
    """prepare(x, **options) → operand, from a representation in the working dtype."""
    meet: Callable[[Any, Any], Any]
    """meet(operand of x, operand of y) → what all measures of the family need of the pair."""
    swap: Callable[[Any], Any]
    """The meeting of (y, x) from that of (x, y)."""
    examine: Callable[[Mapping[str, Any], Sequence[tuple[str, str]]], list[Caution]]
    """examine(operands by label, pairs of labels) → warnings, one per kind."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What holds of its measures unless they say otherwise; see `Measure`."""
    guard: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda formula: formula
    """guard(formula) → the formula, NaN where it is not defined for any measure of the family."""
    options: tuple[str, ...] = ()
    """The options that prepare takes; the others belong to the last line of each measure."""
    rank: Callable[[Any], int] | None = None
    """The numerical rank an operand retained, for families that cut at one."""
    cost: Callable[..., Cost] = lambda shapes, itemsizes, needed, form, **options: Cost()
    """cost(shapes, itemsizes, needed pairs, form, **options) → operations and bytes; without a form, where pairs meet alone."""
    choose: Callable[..., Any] | None = None
    """choose(shapes, itemsizes, needed pairs, memory, **options) → form, for families that meet all pairs at once."""
    meet_all: Callable[..., Any] | None = None
    """meet_all(operands, needed pairs, form, each, step) → one meeting whose fields stand for all pairs (layers, layers)."""
    reorder: Callable[[Any, Any], Any] = lambda operand, order: operand[order]
    """reorder(operand, order) → the operand of the same examples in another order, without preparing it again."""
    reordering: Callable[[int], int] = lambda n: 0
    """reordering(examples) → most bytes beyond its operand while one layer is reordered."""
    permuted: Callable[..., Callable[[Any], Any]] | None = None
    """permuted(operands of x, of y, needed pairs, memory) → order of the examples of y → one meeting over (x, y)."""
    float32: Literal["never", "all pairs", "as given"] = "never"
    """Whether `prepare` takes float32 input as it is: never, for the products of `meet_all`, or always."""
    exact: Callable[..., bool] = lambda **options: False
    """exact(**options) → whether `prepare` computes in float64 whatever it is given, for "all pairs"."""
    host: bool = False
    """Whether arrays on the host may be taken as NumPy's, whatever their library."""
    begin: Callable[[Any], Any] | None = None
    """begin(x) → `shared`, which prepare takes: what families with the same `begin` compute alike of a NumPy array."""
    on_disk: OnDisk | None = None
    """How to work on representations that stay on disk, or None where they must be in memory."""

    def single(self, examples: int) -> bool:
        """Say whether float32 input of so many examples is prepared as it is."""
        return self.float32 == "as given" or (self.float32 == "all pairs" and examples >= MANY_EXAMPLES)


Sides = Literal["xy", "x", "y", ""]


@dataclass(frozen=True)
class Invariances:
    """Which transformations of which side ("x", "y", "xy" or "") leave a measure unchanged.

    Isotropic scaling is by a positive factor, translation by one vector added to every example.
    """

    invertible_linear: Sides = ""
    orthogonal: Sides = ""
    permutation: Sides = "xy"
    isotropic_scaling: Sides = "xy"
    translation: Sides = "xy"


def function_family() -> Family:
    """Return the family of a measure that shares nothing: its operand is the array itself."""
    return Family(
        name="function",
        prepare=lambda x: x,
        meet=lambda x, y: None,
        swap=lambda meeting: meeting,
        examine=lambda operands, pairs: [],
    )


def undefined_where(constant: Array, value: Array) -> Array:
    """Return the value, or NaN where a side is constant."""
    xp = namespace(value)
    return xp.where(constant, xp.full_like(value, float("nan")), value)
