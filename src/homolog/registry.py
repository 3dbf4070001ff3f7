"""One frozen record per measure: what it is, what it is invariant to, how it is computed, and its text form.

Tests, documentation, the command line and the engine read these records; nothing about a measure is written twice.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints, overload

import numpy as np

from homolog import spelling
from homolog.arrays import (
    Array,
    carries_gradient,
    check_finite,
    enough_rows,
    format_bytes,
    is_array,
    is_known,
    is_numpy,
    is_traced,
    itemsize,
    namespace,
    on_host,
    representation,
    same_library,
    same_rows,
    scalar,
    to_numpy,
)
from homolog.cautions import Caution, explain_nan, give, undefined
from homolog.docstrings import docstring
from homolog.family import Family
from homolog.machine import whole_memory

SMALL = 1 << 28
"""Bytes that every machine has."""
KORNBLITH_2019 = "Kornblith, Norouzi, Lee & Hinton, ICML 2019, arXiv:1905.00414"
"""The paper whose indexes stand here."""

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


@dataclass(frozen=True, eq=False)
class Given:
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
        return isinstance(other, Given) and self.digest == other.digest

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


@dataclass(frozen=True)
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
    finish: Callable[..., Array]
    kind: Literal["similarity", "distance"]
    range: tuple[float, float]
    symmetric: bool | None
    formula: str
    reference: str
    invariances: Invariances | None = None
    minimal_n: int = 2
    differentiable: bool = False
    null: Callable[..., Array | None] | None = None
    """null(X, Y, meeting, **finish options) → mean over permutations of the examples, or None where there is no formula."""
    without_each: Callable[..., Array | None] | None = None
    """without_each(X, Y, meeting, **finish options) → (n,) values without each example, or None where there is no shortcut."""
    unbiased: Mapping[str, Any] = field(default_factory=dict)
    """Options of the estimator without bias that has the same value on infinitely many examples."""
    rooted: bool = False
    """Whether that estimator is of the square of the value."""
    long_tailed: bool = False
    """Whether it is a product of variances, whose distribution has a long tail, so that intervals reach further."""
    caution: Callable[..., list[Caution]] | None = None
    """caution(operands by label, **finish options) → warnings of this measure alone, beside those of its family."""
    leads: bool = False
    """Whether it decomposes the meeting in a way that its family's other measures can reuse, and so comes first."""
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
        return spelling.write(self.name, self.options, self.defaults)

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

    @property
    def defaults(self) -> dict[str, Any]:
        """The options in signature order with their default values."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    @property
    def sides(self) -> tuple[str, str]:
        """The names of the two representations."""
        x, y = list(inspect.signature(self.function).parameters)[:2]
        return x, y

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The options that choose among names, with these names."""
        hints = get_type_hints(self.function)
        return {name: _literal_values(hints[name]) for name in self.defaults if _literal_values(hints[name])}

    @property
    def unchanged_by(self) -> str:
        """The invariances in words, naming the side where one holds for one side only."""
        if self.invariances is None:
            return "not declared"
        told = []
        for name, sides in vars(self.invariances).items():
            if sides:
                told.append(name.replace("_", " ") + ("" if sides == "xy" else f" ({sides})"))
        return ", ".join(told)

    @property
    def ignores_offset(self) -> bool:
        """Whether a vector that is added to every example of either side changes nothing."""
        return self.invariances is not None and self.invariances.translation == "xy"

    @property
    def prepare_options(self) -> dict[str, Any]:
        """The bound or default options that determine the operand."""
        chosen = {name: value for name, value in self.all_options.items() if name in self.family.options}
        return {**chosen, **self.fixed}

    @property
    def finish_options(self) -> dict[str, Any]:
        """The bound or default options that belong to the last line."""
        return {name: value for name, value in self.all_options.items() if name not in self.family.options}

    @property
    def all_options(self) -> dict[str, Any]:
        """Every option, bound or default."""
        return self.defaults | dict(self.options)

    def cautions(self, operands: Mapping[str, Any]) -> list[Caution]:
        """Say what a reader should know of operands by their labels, beside what the family says."""
        return [] if self.caution is None else self.caution(operands, **self.finish_options)

    def bind(self, **options: Any) -> Measure:
        """Return this measure with options bound, checked, and the record adapted to them."""
        merged = {key: _held(value) for key, value in {**self.options, **options}.items()}
        spelling.check_options(self, merged)
        defaults = self.defaults
        bound = {name: merged[name] for name in defaults if name in merged and merged[name] != defaults[name]}
        changes: dict[str, Any] = {}
        for variant in self.variants:
            if variant.applies(defaults | bound):
                changes |= variant.changes
        return replace(self, options=MappingProxyType(bound), **changes)

    def of_rows(self, rows: np.ndarray) -> Measure:
        """Return this measure for some of the examples: options that are arrays over the examples keep these rows alone."""
        parts = {key: Given(value.array[rows]) for key, value in self.options.items() if isinstance(value, Given)}
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
    return Given(value) if is_array(value) else value


def _literal_values(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(itertools.chain.from_iterable(_literal_values(part) for part in get_args(hint)))


_MEASURES: dict[str, Measure] = {}


Options = ParamSpec("Options")
Plain = TypeVar("Plain", bound=Callable[..., Any])


@overload
def register(
    family: Family, **record: Any
) -> Callable[
    [Callable[Concatenate[Any, Any, Any, Options], Array | None]], Callable[Concatenate[Array, Array, Options], Array]
]: ...


@overload
def register(family: None = None, **record: Any) -> Callable[[Plain], Plain]: ...


def register(family: Family | None = None, **record: Any) -> Callable[[Any], Any]:
    """Register a function of two representations, or a formula over what a family prepares, as a measure.

    Parameters
    ----------
    family
        Without one the decorated function takes two arrays, and is called once per pair. With one it is a formula
        f(operand of x, operand of y, what they share, *, options), for measures that share work with others.
    **record
        kind, range, symmetric, formula, reference; and, where they are not what `Measure` has by default, invariances, minimal_n,
        differentiable and its other fields. What holds of all measures of a family may stand in the family's `record`. The laws
        of the test-suite execute it.

    Returns
    -------
    A decorator. Without a family it returns the function unchanged. With one it returns the function of two arrays, whose
    docstring has the summary, notes and examples of the formula, the parameters of its annotations (`Annotated[type,
    "description"]`), and all else of the record.

    Raises
    ------
    ValueError, TypeError
        If the name is taken, or a field of the record is missing, unknown or wrong.

    Examples
    --------
    >>> import homolog as hl, numpy as np
    >>> @hl.register(kind="distance", range=(0, float("inf")), symmetric=True,
    ...              formula="|‖X‖ − ‖Y‖|", reference="an example")
    ... def norm_difference(x, y, /):
    ...     return abs(np.linalg.norm(x) - np.linalg.norm(y))
    >>> str(hl.measure("norm_difference"))
    'norm_difference'
    >>> hl.registry.unregister("norm_difference")
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        told = record if family is None else {**family.record, **record}
        _check_record(name, told)
        public = function if family is None else _of_arrays(function)
        finish = _call(function) if family is None else family.guard(function)
        _MEASURES[name] = Measure(name, public, family or function_family(), finish, **told)
        if family is not None:
            public.__doc__ = docstring(_MEASURES[name], function)
        return public

    return add


def _check_record(name: str, record: Mapping[str, Any]) -> None:
    """Raise unless a measure of this name can be registered with this record."""
    known = {field.name: field for field in fields(Measure)}
    unknown = set(record) - set(known)
    if unknown:
        raise TypeError(spelling.unknown("field of a record", min(unknown), known, "see Measure"))
    for key in ("kind", "range", "symmetric", "formula", "reference"):
        if key not in record:
            raise TypeError(f"a measure must be registered with {key}=, got none for {name}: see homolog.register.")
    if record["kind"] not in ("similarity", "distance"):
        raise ValueError(f"kind of {name} must be 'similarity' or 'distance', got {record['kind']!r}.")
    if name in _MEASURES:
        raise ValueError(f"a measure must have a new name, got {name!r}, which is registered: rename the function.")


def _of_arrays(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of two arrays whose value is a formula over what a family prepares of them."""
    signature = inspect.signature(formula)
    hints = get_type_hints(formula)
    x, y, _, *options = signature.parameters.values()
    sides = [side.replace(kind=side.POSITIONAL_ONLY, annotation=Array) for side in (x, y)]
    options = [option.replace(annotation=hints[option.name]) for option in options]

    def measured(x: Array, y: Array, /, **options: Any) -> Array:
        return evaluate(formula.__name__, x, y, **options)

    # Not as `functools.wraps` does it, which tells tools to look through the function at the formula.
    for name in ("__module__", "__name__", "__qualname__"):
        setattr(measured, name, getattr(formula, name))
    measured.__annotations__ = {each.name: each.annotation for each in (*sides, *options)} | {"return": Array}
    measured.__signature__ = signature.replace(parameters=[*sides, *options], return_annotation=Array)  # type: ignore[attr-defined]
    return measured


def unregister(name: str) -> None:
    """Forget a registered measure; for tests and notebooks that register one twice."""
    _MEASURES.pop(name, None)


def function_family() -> Family:
    """Return the family of a measure that shares nothing: its operand is the array itself."""
    return Family(
        name="function",
        prepare=lambda x: x,
        meet=lambda x, y: None,
        swap=lambda meeting: meeting,
        examine=lambda operands, pairs: [],
    )


def _call(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda x, y, meeting, **options: function(x, y, **options)


def measures() -> Mapping[str, Measure]:
    """Return the registry: name → Measure, in order of registration.

    Examples
    --------
    >>> import homolog as hl
    >>> hl.measures()["cka"].kind
    'similarity'
    """
    return MappingProxyType(_MEASURES)


def measure(spec: str | Measure | Callable[..., Any], /, **options: Any) -> Measure:
    """Return a measure with options bound.

    Parameters
    ----------
    spec
        a name ("cka"), a text form ("cka(estimator=debiased)"), a Measure, or any function of two arrays.
    **options
        options to bind.

    Returns
    -------
    Measure
        Callable on two representations; `str` gives its text form, the name of its variable in a result.

    Raises
    ------
    KeyError
        If no measure has the name.
    ValueError, TypeError
        If an option is unknown, has a wrong value, or is without effect.

    Examples
    --------
    >>> import homolog as hl
    >>> str(hl.measure("cka", kernel="rbf", median_fraction=0.4))
    'cka(kernel=rbf,median_fraction=0.4)'
    >>> hl.measure("cka(estimator=debiased)").range
    (-1.0, 1.0)
    """
    if isinstance(spec, Measure):
        return spec.bind(**options)
    if isinstance(spec, str):
        name, written = spelling.read(spec)
        name = next((known for known, record in _MEASURES.items() if name in record.aliases), name)
        if name not in _MEASURES:
            known = [*_MEASURES, *(alias for record in _MEASURES.values() for alias in record.aliases)]
            raise KeyError(spelling.unknown("measure", name, known, "homolog.measures() lists them"))
        record = _MEASURES[name]
        return record.bind(**spelling.typed(record, written) | options)
    if callable(spec):
        registered = _MEASURES.get(getattr(spec, "__name__", ""))
        if registered is not None and registered.function is spec:
            return registered.bind(**options)
        return _anonymous(spec).bind(**options)
    raise TypeError(
        f"a measure must be text such as 'cka(estimator=debiased)', a homolog.measure(...) or a function of two "
        f"arrays, got {type(spec).__name__} {spec!r}."
    )


def _anonymous(function: Callable[..., Any]) -> Measure:
    return Measure(
        name=getattr(function, "__name__", type(function).__name__),
        function=function,
        family=function_family(),
        finish=_call(function),
        kind="similarity",
        range=(float("-inf"), float("inf")),
        symmetric=None,
        formula="f(X, Y)",
        reference="given by the caller",
    )


def evaluate(name: str, x: Array, y: Array, **options: Any) -> Array:
    """Compute a registered measure on two arrays: validate, prepare, meet, finish; warn where a reader needs it."""
    record, same = _MEASURES[name].bind(**options), y is x
    names = record.sides
    single = record.family.float32 == "as given"
    shifted = record.ignores_offset
    x = representation(x, names[0], single=single, shifted=shifted)
    y = x if same else representation(y, names[1], single=single, shifted=shifted)
    same_library(x, y, names)
    same_rows(x, y, names)
    check_memory(record, x, y)
    check_finite(x, names[0])
    check_finite(y, names[1])
    enough_rows(x, record.minimal_n, str(record))
    family = record.family
    first = family.prepare(x, **record.prepare_options)
    second = first if same else family.prepare(y, **record.prepare_options)
    value = record.finish(first, second, family.meet(first, second), **record.finish_options)
    if (carries_gradient(x) or carries_gradient(y)) and is_known(value) and math.isnan(scalar(value)):
        # What is not defined has no gradient either.
        value = value + float("nan") * (namespace(x).sum(x) + namespace(y).sum(y))
    if is_traced(value):
        return value
    found = examined(family, {names[0]: first, names[1]: second}, [names], [record])
    if math.isnan(scalar(value)) and not explain_nan(found):
        found += undefined(str(record), [" and ".join(names)])
    give(found, stacklevel=2)
    return value


def examined(
    family: Family, operands: Mapping[str, Any], pairs: Sequence[tuple[str, str]], measures: Iterable[Measure]
) -> list[Caution]:
    """Return the warnings of a family that concern some of these measures, and those of the measures alone."""
    asked = list(measures)
    free = all(record.free_of_rank for record in asked)
    shared = [caution for caution in family.examine(operands, pairs) if not (caution.of_ranks and free)]
    return shared + [caution for record in asked for caution in record.cautions(operands)]


def check_memory(record: Measure, x: Array, y: Array) -> None:
    """Raise at once where two representations take more than this machine has; arrays on a device are left to it."""
    arrays = [x] if y is x else [x, y]
    if is_traced(x) or is_traced(y) or not is_numpy(on_host(x[:1, :])):
        return
    shapes, sizes = [tuple(array.shape) for array in arrays], [itemsize(array, single=True) for array in arrays]
    needed = np.ones((len(arrays), len(arrays)), dtype=bool)
    least = record.family.cost(shapes, sizes, needed, None, **record.prepare_options).least
    if least > SMALL and least > (most := whole_memory()):
        raise ValueError(
            f"{record} of {shapes[0][0]} examples needs about {format_bytes(least)} of memory, and this machine has "
            f"{format_bytes(most)}: take fewer examples or features, or a measure whose operands are smaller."
        )


def undefined_where(constant: Array, value: Array) -> Array:
    """Return the value, or NaN where a side is constant."""
    xp = namespace(value)
    return xp.where(constant, xp.full_like(value, float("nan")), value)
