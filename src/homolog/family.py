"""What measures share: how a representation is prepared, and how two prepared ones meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from homolog.cautions import Caution

MANY_EXAMPLES = 1024
"""Fewer examples than this are cheap in float64, and too few for the rounding of float32 to average out."""


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
    options: tuple[str, ...] = ()
    """The options that prepare takes; the others belong to the last line of each measure."""
    rank: Callable[[Any], int] | None = None
    """The numerical rank an operand retained, for families that cut at one."""
    cost: Callable[..., tuple[float, int]] = lambda shapes, itemsizes, needed, form, **options: (0.0, 0)
    """cost(shapes, itemsizes, needed pairs, form, **options) → floating-point operations and bytes, to leading order."""
    choose: Callable[..., Any] | None = None
    """choose(shapes, itemsizes, needed pairs, memory, **options) → form, for families that meet all pairs at once."""
    meet_all: Callable[..., Any] | None = None
    """meet_all(operands, needed pairs, form, each, step) → one meeting whose fields stand for all pairs (layers, layers)."""
    reorder: Callable[[Any, Any], Any] = lambda operand, order: operand[order]
    """reorder(operand, order) → the operand of the same examples in another order, without preparing it again."""
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
