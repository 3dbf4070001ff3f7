"""What measures share: how a representation is prepared, once, and how two prepared ones meet, once per pair.

Three kinds of family, by what a pair needs of the examples:

| kind | a pair needs | so that it works |
|---|---|---|
| `Family` | both operands | in memory, pair by pair |
| `ProductFamily` | one product Σ_i f_i g_iᵀ of mapped rows | in memory, block by block, by an executor, in a stream |
| `TogetherFamily` | a sum over pairs of examples | in memory, all pairs of layers at once; structures also block by block |

Methods are abstract, or final and never overridden; what is only said of a family is an attribute.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import numpy as np

from homolog.arrays import Array, is_array, namespace
from homolog.blocks.budget import Cost, Form, Sizes, by_products
from homolog.blocks.products import Step
from homolog.blocks.workers import Workers
from homolog.diagnostics import Caution
from homolog.warning_sentences import constant_layers

MANY_EXAMPLES = 1024
"""Fewer examples than this are cheap in float64, and too few for the rounding of float32 to average out."""
Pairs = Sequence[tuple[str, str]]
"""Labels of the layers that are compared."""


class Family(ABC):
    """Measures that share what is computed once per representation, its operand, and once per pair.

    An operand says whether its representation is `constant`, and takes another order of the examples by `reordered`. What a pair
    shares has a transpose `T` where it differs for (y, x).
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    """The options that `prepare` takes, with what they are where a measure has none; others belong to the formula."""
    record: ClassVar[Mapping[str, Any]] = {}
    """What holds of its measures unless they say otherwise; see `Measure`."""
    guard: ClassVar[Any] = staticmethod(lambda formula: formula)
    """guard(formula) → the formula, NaN where it is not defined for any measure of the family."""
    float32: ClassVar[Literal["never", "all pairs", "as given"]] = "never"
    """Whether `prepare` takes float32 input as it is: never, of many examples, or always."""
    host: ClassVar[bool] = True
    """Whether arrays on the host may be taken as NumPy's, whatever their library."""
    as_given: ClassVar[bool] = False
    """Whether the operand holds the array itself."""
    shares: ClassVar[str] = ""
    """What families that are prepared together compute of a representation but once."""
    ranked: ClassVar[bool] = False
    """Whether operands retain a numerical `rank`."""
    sparse: ClassVar[Mapping[str, Any] | None] = None
    """With which options `prepare` takes sparse rows without their zeros; None where never."""
    sketches: ClassVar[Mapping[str, Any] | None] = None
    """With which options `prepare` takes layers of which sketches are kept; None where never."""
    blockwise: ClassVar[bool] = False
    """Whether it works on rows that are read block by block: `blocked(sizes, **options)` is then how."""

    @abstractmethod
    def prepare(self, x: Any, **options: Any) -> Any:
        """Return the operand of a representation; see `representation`."""

    @abstractmethod
    def meet(self, x: Any, y: Any) -> Any:
        """Return what all measures of the family need of a pair of operands."""

    @abstractmethod
    def remarks(self, operands: Mapping[str, Any], pairs: Pairs) -> list[Caution]:
        """Return warnings, one per kind, beside those of constant layers."""

    @abstractmethod
    def cost(self, sizes: Sizes, **options: Any) -> Cost:
        """Return what layers take, where pairs meet one by one."""

    @final
    def examine(self, operands: Mapping[str, Any], pairs: Pairs) -> list[Caution]:
        """Return what a reader should know of operands by their labels."""
        explained = [label for label, x in operands.items() if getattr(x, "left", "")]
        constant = [label for label, x in operands.items() if label not in explained and is_constant(x)]
        return constant_layers(constant) + self.remarks(operands, pairs)

    @final
    def takes_sparse(self, options: Mapping[str, Any]) -> bool:
        """Say whether `prepare` with these options takes sparse rows without their zeros."""
        return _holds(self.sparse, options)

    @final
    def takes_sketches(self, options: Mapping[str, Any]) -> bool:
        """Say whether `prepare` with these options takes layers of which sketches are kept."""
        return _holds(self.sketches, options)

    @final
    def single(self, examples: int) -> bool:
        """Say whether float32 input of so many examples is prepared as it is."""
        return self.float32 == "as given" or (self.float32 == "all pairs" and examples >= MANY_EXAMPLES)


def _holds(wanted: Mapping[str, Any] | None, options: Mapping[str, Any]) -> bool:
    return wanted is not None and all(
        options[name] is value or options[name] == value for name, value in wanted.items()
    )


class ProductFamily(Family):
    """A family whose pairs need one product Σ over examples of f_i g_iᵀ, f and g rows of each side mapped to what it needs."""

    passes: ClassVar[int]
    """Times that `prepare` reads a representation on disk."""
    squares: ClassVar[bool]
    """Whether a matrix (features, columns) maps the rows; else their columns are only scaled."""
    blockwise = True

    @abstractmethod
    def rows(self, x: Any) -> Any:
        """Return the mapped rows (n, columns) of an operand: an array, or what reads or stands for one."""

    @abstractmethod
    def shared(self, product: Any) -> Any:
        """Return what all measures of the family need of a pair, of the product of its mapped rows."""

    @abstractmethod
    def workspace(self, n: int, width: int) -> int:
        """Return the bytes that it takes to prepare a representation on disk."""

    @final
    def meet(self, x: Any, y: Any) -> Any:
        """Return what a pair shares where all of its mapped rows are at hand."""
        return self.shared(self.rows(x).T @ self.rows(y))

    @final
    def blocked(self, sizes: Sizes, **_: Any) -> Form:
        """Return how pairs meet block by block."""
        workspace = max(self.workspace(sizes.n, int(width)) for width in sizes.widths)
        form = by_products(sizes, squares=self.squares, passes=self.passes, workspace=workspace)
        return replace(form, cost=replace(form.cost, flops=self.cost(sizes).flops))


class TogetherFamily(Family):
    """A family that meets all pairs of layers at once: what they share has fields over (layers, layers)."""

    @abstractmethod
    def exact(self, **options: Any) -> bool:
        """Say whether `prepare` computes in float64 whatever it is given."""

    @abstractmethod
    def choose(self, sizes: Sizes, **options: Any) -> Form | None:
        """Return the form in which all pairs meet, or None where they meet one by one."""

    @abstractmethod
    def meet_all(self, operands: Sequence[Any], needed: np.ndarray, form: Form, workers: Workers, step: Step) -> Any:
        """Return what all pairs share."""

    @abstractmethod
    def permuted(self, xs: Sequence[Any], ys: Sequence[Any], needed: np.ndarray, memory: int) -> Any:
        """Return order of the examples of y → what pairs share over (x, y); None where they are reordered one by one."""


def is_constant(operand: Any) -> bool:
    """Say whether a representation does not vary."""
    return bool(getattr(operand, "constant", False))


def reordered(operand: Any, order: np.ndarray) -> Any:
    """Return the operand of the same examples in another order, without preparing it again."""
    return operand[order] if is_array(operand) else operand.reordered(order)


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


@final
class FunctionFamily(Family):
    """Measures that share nothing: the operand is the array itself."""

    name = "function"
    host = False
    as_given = True

    def prepare(self, x: Any, **_: Any) -> Array:
        """Return the array."""
        return x.array

    def meet(self, x: Array, y: Array) -> None:
        """Share nothing."""

    def remarks(self, operands: Mapping[str, Any], pairs: Pairs) -> list[Caution]:
        """Know nothing."""
        return []

    def cost(self, sizes: Sizes, **_: Any) -> Cost:
        """Count nothing: what a function takes is its own."""
        return Cost()


FUNCTION = FunctionFamily()


def undefined_where(constant: Array, value: Array) -> Array:
    """Return the value, or NaN where a side is constant."""
    xp = namespace(value)
    return xp.where(constant, xp.full_like(value, float("nan")), value)
