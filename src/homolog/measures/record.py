"""One frozen record per measure: what it is, what it is invariant to, and how it is computed."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from homolog.arrays import Array, is_array, to_numpy
from homolog.diagnostics import Caution
from homolog.markup import named_values
from homolog.measures.spec import option_text, write
from homolog.names import quoted, unknown
from homolog.operands.family import Family, Invariances

KORNBLITH_2019 = "Kornblith, Norouzi, Lee & Hinton, ICML 2019, arXiv:1905.00414"
"""The paper whose indexes stand here."""


@dataclass(frozen=True, eq=False)
class ArrayOption:
    """An array as the value of an option; its text form tells two apart."""

    array: Any

    @cached_property
    def digest(self) -> str:
        """Eight digits that follow from the numbers."""
        content = np.ascontiguousarray(to_numpy(self.array))
        return hashlib.blake2b(content.tobytes() + str(content.shape).encode(), digest_size=4).hexdigest()

    def __repr__(self) -> str:
        return f"array-{self.digest}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayOption) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Variant:
    """What changes in a record when an option has a value."""

    option: str
    value: Any
    changes: Mapping[str, Any]

    def applies(self, options: Mapping[str, Any]) -> bool:
        """Say whether the options select this variant; a value of `callable` stands for any function."""
        given = options.get(self.option)
        return callable(given) if self.value is callable else bool(given == self.value)


def when(option: str, value: Any, **changes: Any) -> Variant:
    """Declare what changes in a record when `option` is `value`."""
    return Variant(option, value, MappingProxyType(changes))


@dataclass(frozen=True, repr=False)
class Measure:
    """A measure with options bound: callable on two representations, and its record.

    Attributes
    ----------
    name
        the function's name; `str(measure)` is the text form with the bound options.
    kind
        "similarity" (larger is more alike) or "distance".
    range
        lowest and highest value.
    symmetric
        whether f(x, y) = f(y, x); None where nobody said.
    invariances
        see Invariances.
    minimal_n
        fewest examples for which the value is defined.
    differentiable
        whether gradients flow; where the value has a corner or a jump they are NaN, and a GradientWarning says so.
    formula, reference
        for documentation and for the attributes of a result.
    exceptions
        law → why it does not hold for this measure.
    """

    name: str
    function: Callable[..., Any]
    family: Family
    compute: Callable[..., Array]
    """compute(X, Y, what they share, **formula options) → value"""
    kind: Literal["similarity", "distance"]
    range: tuple[float, float]
    symmetric: bool | None
    formula: str
    reference: str
    invariances: Invariances | None = None
    minimal_n: int = 2
    differentiable: bool = False
    null: Callable[..., Array | None] | None = None
    """null(X, Y, shared, **formula options) → mean over permutations of the examples, or None where there is no formula."""
    quick: Callable[..., Array | None] | None = None
    """quick(array, array, **options) → the value where a shortcut has it without any warning, else None."""
    order_score: Callable[..., Array] | None = None
    """order_score(shared, **formula options) → where the value lies among those of all orders of the examples, in standard
    deviations above their mean, infinite where no order changes it; with `order_matrix` it gives p-values without permuting."""
    order_matrix: Callable[..., np.ndarray] | None = None
    """order_matrix(operand, **formula options) → (n, n) matrix K with rows and diagonal of sum 0 and norm 1; over all orders of
    the examples of L, ⟨K, L⟩ lies as the value does."""
    without_each: Callable[..., Array | None] | None = None
    """without_each(X, Y, shared, **formula options) → (n,) values without each example, or None where there is no shortcut."""
    unbiased: Mapping[str, Any] = field(default_factory=dict)
    """Options of the estimator without bias that has the same value on infinitely many examples."""
    rooted: bool = False
    """Whether that estimator is of the square of the value."""
    long_tailed: bool = False
    """Whether it is a product of variances, whose distribution has a long tail, so that intervals reach further."""
    caution: Callable[..., list[Caution]] | None = None
    """caution(operands by label, **formula options) → warnings of this measure alone, beside those of its family."""
    decomposes_first: bool = False
    """Whether it decomposes what is shared in a way that its family's other measures can reuse, and so comes first."""
    free_of_rank: bool = False
    """Of the subspace family: whether no value is forced where the ranks reach the number of examples."""
    metric: bool = False
    """Whether the triangle inequality holds."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options of `prepare` that this measure does not leave to the caller."""
    aliases: tuple[str, ...] = ()
    """Other names under which the field knows it; `measure` takes them."""
    exceptions: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    needs: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    """Options whose lower bound is allowed."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return write(self.name, self.options, self.defaults)

    def __repr__(self) -> str:
        return f"<Measure {self}: {self.kind}, {self.between}>"

    def _repr_html_(self) -> str:
        said = {
            "kind": self.kind,
            "range": self.between,
            "formula": self.formula,
            "unchanged by": self.unchanged_by,
            "symmetric": "not declared" if self.symmetric is None else self.symmetric,
            "gradients": self.differentiable,
            "fewest examples": str(self.minimal_n),
            "options": ", ".join(f"{key}={option_text(value)}" for key, value in self.all_options.items()) or "none",
            "reference": self.reference,
        }
        return named_values(self, said)

    def __call__(self, x: Array, y: Array, /) -> Array:
        """Compute the measure of two representations."""
        return self.function(x, y, **self.options)

    def __hash__(self) -> int:
        # The mappings of a record have no hash; equal measures have the same name and options.
        return hash((self.name, *sorted(self.options)))

    @property
    def without_bias(self) -> Measure | None:
        """The same measure by the estimator that has no bias, or None where this is it or there is none."""
        bound = self.all_options
        if all(bound[name] == value for name, value in self.unbiased.items()):
            return None
        return self.bind(**self.unbiased)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The options in signature order with their default values."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    @cached_property
    def sides(self) -> tuple[str, str]:
        """The names of the two representations."""
        x, y = list(inspect.signature(self.function).parameters)[:2]
        return x, y

    @property
    def between(self) -> str:
        """The range in words."""
        return "{:g} to {:g}".format(*self.range).replace("inf", "∞").replace("-", "−")

    @cached_property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The options that choose among names, with these names."""
        hints = get_type_hints(self.function)
        return {name: _literal_values(hints[name]) for name in self.defaults if _literal_values(hints[name])}

    @property
    def unchanged_by(self) -> str:
        """The invariances in words, naming the side where one holds for one side only."""
        if self.invariances is None:
            return "not declared"
        words = []
        for name, sides in vars(self.invariances).items():
            if sides:
                words.append(name.replace("_", " ") + ("" if sides == "xy" else f" ({sides})"))
        return ", ".join(words)

    @property
    def ignores_offset(self) -> bool:
        """Whether a vector that is added to every example of either side changes nothing."""
        return self.invariances is not None and self.invariances.translation == "xy"

    @cached_property
    def prepare_options(self) -> dict[str, Any]:
        """The options that determine the operand: bound, default, or as the family has them."""
        chosen = {name: value for name, value in self.all_options.items() if name in self.family.options}
        return {**self.family.options, **chosen, **self.fixed}

    @cached_property
    def formula_options(self) -> dict[str, Any]:
        """The bound or default options that belong to the formula."""
        return {name: value for name, value in self.all_options.items() if name not in self.family.options}

    @cached_property
    def all_options(self) -> dict[str, Any]:
        """Every option, bound or default."""
        return self.defaults | dict(self.options)

    def value(self, x: Any, y: Any, shared: Any) -> Array:
        """Evaluate the formula on two operands and what they share, or on what all pairs of layers share."""
        return self.compute(x, y, shared, **self.formula_options)

    def null_level(self, x: Any, y: Any, shared: Any) -> Array | None:
        """Return the mean over permutations of the examples, or None where there is no formula."""
        return None if self.null is None else self.null(x, y, shared, **self.formula_options)

    def score_among_orders(self, shared: Any) -> Array | None:
        """Return where the value lies among those of all orders of the examples, or None where there is no formula."""
        return None if self.order_score is None else self.order_score(shared, **self.formula_options)

    def matrix_of_orders(self, operand: Any) -> np.ndarray:
        """Return the matrix whose inner products lie among those of all orders of the examples as the values do."""
        assert self.order_matrix is not None  # others are not asked
        return self.order_matrix(operand, **self.formula_options)

    def values_without_each(self, x: Any, y: Any, shared: Any) -> np.ndarray | None:
        """Return the (n,) values without each example, or None where there is no shortcut."""
        found = None if self.without_each is None else self.without_each(x, y, shared, **self.formula_options)
        return None if found is None else to_numpy(found)

    def cautions(self, operands: Mapping[str, Any]) -> list[Caution]:
        """Say what a reader should know of operands by their labels, beside what the family says."""
        return [] if self.caution is None else self.caution(operands, **self.formula_options)

    def bind(self, **options: Any) -> Measure:
        """Return this measure with options bound, checked, and the record adapted to them."""
        merged = {key: _held(value) for key, value in {**self.options, **options}.items()}
        check_options(self, merged)
        defaults = self.defaults
        bound = {name: merged[name] for name in defaults if name in merged and merged[name] != defaults[name]}
        changes: dict[str, Any] = {}
        for variant in self.variants:
            if variant.applies(defaults | bound):
                changes |= variant.changes
        return replace(self, options=MappingProxyType(bound), **changes)

    def of_rows(self, rows: np.ndarray) -> Measure:
        """Return this measure for some of the examples: options that are arrays over the examples keep these rows alone."""
        parts = {
            key: ArrayOption(value.array[rows]) for key, value in self.options.items() if isinstance(value, ArrayOption)
        }
        return replace(self, options=MappingProxyType({**self.options, **parts})) if parts else self

    def forms(self) -> list[Measure]:
        """Return the measure under every combination of its named choices."""
        choices = self.choices
        found: dict[str, Measure] = {}
        for values in itertools.product(*choices.values()):
            form = self.bind(**dict(zip(choices, values, strict=True)))
            found[str(form)] = form
        return list(found.values())


def _held(value: Any) -> Any:
    """Return the value of an option: an array wrapped, a number of NumPy's as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    return ArrayOption(value) if is_array(value) else value


def _literal_values(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(itertools.chain.from_iterable(_literal_values(part) for part in get_args(hint)))


def typed(measure: Measure, written: Mapping[str, str]) -> dict[str, Any]:
    """Turn options read as text into values of the type of their defaults."""
    defaults = measure.defaults
    values: dict[str, Any] = {}
    for key, text in written.items():
        default = defaults.get(key)
        if key in defaults and default is None:
            raise ValueError(
                f"{key} of {measure.name} must be an array, got the text {quoted(text)}: bind it with "
                f"homolog.measure({measure.name!r}, {key}=x)."
            )
        try:
            values[key] = type(default)(text) if isinstance(default, int | float) else text
        except ValueError:
            what = "whole number" if isinstance(default, int) else "number"
            raise ValueError(f"{key} of {measure.name} must be a {what}, got {quoted(text)}.") from None
    return values


def check_options(measure: Measure, options: Mapping[str, Any]) -> None:
    """Raise unless every option exists, has an admissible value, and has an effect."""
    defaults, choices = measure.defaults, measure.choices
    for key, value in options.items():
        if key not in defaults:
            takes = f"it takes {', '.join(defaults)}" if defaults else "it takes none"
            raise TypeError(unknown(f"option of {measure.name}", key, defaults, takes))
        if key in choices and not callable(value) and value not in choices[key]:
            allowed = " or ".join(repr(choice) for choice in choices[key])
            or_callable = " or a function X → Gram matrix" if key == "kernel" else ""
            raise ValueError(f"{key} of {measure.name} must be {allowed}{or_callable}, got {quoted(value)}.")
        if key in measure.bounds:
            _check_bounds(measure, key, value)
    merged = defaults | dict(options)
    for key, (other, required) in measure.needs.items():
        if merged[key] != defaults[key] and merged[other] != required:
            raise ValueError(
                f"{key} of {measure.name} has an effect only with {other}={required}, got {other}="
                f"{option_text(merged[other])}: add {other}={required}, or leave {key} out."
            )


def _check_bounds(measure: Measure, key: str, value: Any) -> None:
    low, high = measure.bounds[key]
    whole = isinstance(measure.defaults[key], int)
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    closed = key in measure.closed
    if not number or not (low <= value if closed else low < value) or not value <= high or math.isinf(value):
        what = "whole number" if whole else "number"
        least = f"{'of at least' if closed else 'above'} {low:g}"
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise ValueError(f"{key} of {measure.name} must be a {what} {least}{most}, got {quoted(value)}.")
