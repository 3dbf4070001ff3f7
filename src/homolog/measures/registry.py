"""The measures by their names, and the decorator that registers one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints, overload

from homolog.arrays import Array, needs_gradient
from homolog.measures.docstrings import docstring
from homolog.measures.evaluation import evaluate
from homolog.measures.listing import Listing
from homolog.measures.record import Measure, typed
from homolog.measures.spec import read
from homolog.names import SHORT_NAMES, plain_name, quoted, unknown
from homolog.operands.family import FUNCTION, Family, Invariances

_MEASURES: dict[str, Measure] = {}
MOST_BOUND = 64
"""Choices of options that are remembered of a measure."""
OF_THE_CALLER = "given by the caller"
"""The reference of a function that nobody registered, and of which nobody said whether it is a distance."""
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
    >>> hl.unregister("norm_difference")
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        if family is not None and not isinstance(family, Family):
            raise TypeError(f"the family of {name} must be an instance of a Family, got {family!r}: call its class.")
        whole = record if family is None else {**family.record, **record}
        _check_record(name, whole)
        public = function if family is None else _of_arrays(function)
        compute = _call(function) if family is None else family.guard(function)
        if family is not None and "null" in whole:
            whole = {**whole, "null": family.guard(whole["null"])}
        _MEASURES[name] = Measure(name, public, family or FUNCTION, compute, **whole)
        if family is not None:
            public.__doc__ = docstring(_MEASURES[name], function)
        return public

    return add


def _check_record(name: str, record: Mapping[str, Any]) -> None:
    """Raise unless a measure of this name can be registered with this record."""
    known = {field.name: field for field in fields(Measure)}
    strange = set(record) - set(known)
    if strange:
        raise TypeError(unknown("field of a record", min(strange), known, "see Measure"))
    for key in ("kind", "range", "symmetric", "formula", "reference"):
        if key not in record:
            raise TypeError(f"a measure must be registered with {key}=, got none for {name}: see homolog.register.")
    if record["kind"] not in ("similarity", "distance"):
        raise ValueError(f"kind of {name} must be 'similarity' or 'distance', got {record['kind']!r}.")
    low_and_high = record["range"]
    if not isinstance(low_and_high, tuple | list) or len(low_and_high) != 2 or not low_and_high[0] < low_and_high[1]:
        raise ValueError(f"range of {name} must be (lowest, highest), such as (0, 1), got {low_and_high!r}.")
    if record["symmetric"] not in (True, False, None):
        raise ValueError(f"symmetric of {name} must be True, False or None, got {record['symmetric']!r}.")
    for key, kind in (("invariances", Invariances | None), ("minimal_n", int), ("formula", str), ("reference", str)):
        if not isinstance(record.get(key, known[key].default), kind) and key in record:
            raise TypeError(f"{key} of {name} must be of type {kind}, got {record[key]!r}.")
    if name in _MEASURES:
        raise ValueError(f"a measure must have a new name, got {name!r}, which is registered: rename the function.")


def _of_arrays(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of two arrays whose value is a formula over what a family prepares of them."""
    signature = inspect.signature(formula)
    hints = get_type_hints(formula)
    x, y, _, *options = signature.parameters.values()
    sides = [side.replace(kind=side.POSITIONAL_ONLY, annotation=Array) for side in (x, y)]
    options = [option.replace(annotation=hints.get(option.name, Any)) for option in options]

    bound: dict[Any, tuple[Measure, Measure]] = {}

    def measured(x: Array, y: Array, /, **options: Any) -> Array:
        base = _MEASURES[formula.__name__]
        # Options are checked once: a loss asks for the same ones at every step. What only looks equal, as True and 1, is not.
        plain = all(isinstance(value, str | int | float) for value in options.values())
        key = tuple((name, type(value), value) for name, value in options.items())
        found = bound.get(key) if plain else None
        if found is None or found[0] is not base:
            found = base, base.bind(**options)
            if plain and len(bound) < MOST_BOUND:
                bound[key] = found
        if not found[1].differentiable and (needs_gradient(x) or needs_gradient(y)):
            raise TypeError(_no_gradient(found[1]))
        return evaluate(found[1], x, y)

    # Not as `functools.wraps` does it, which tells tools to look through the function at the formula.
    for name in ("__module__", "__name__", "__qualname__"):
        setattr(measured, name, getattr(formula, name))
    measured.__annotations__ = {each.name: each.annotation for each in (*sides, *options)} | {"return": Array}
    measured.__signature__ = signature.replace(parameters=[*sides, *options], return_annotation=Array)  # type: ignore[attr-defined]
    return measured


def _no_gradient(record: Measure) -> str:
    # Of a measure of which only some options have gradients, the first that has.
    forms = [
        next((form for form in (other, *other.forms()) if form.differentiable), None) for other in _MEASURES.values()
    ]
    having = ", ".join(str(form) for form in forms if form is not None)
    return (
        f"{record} has no gradient, got arrays that require one: detach them (x.detach() in PyTorch, jax.lax.stop_gradient(x) in "
        f"JAX), or take a measure that has gradients ({having})."
    )


def unregister(name: str) -> None:
    """Forget a registered measure; for tests and notebooks that register one twice."""
    _MEASURES.pop(name, None)


def _call(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda x, y, shared, **options: function(x, y, **options)


def measures() -> Mapping[str, Measure]:
    """Return the registry: name → Measure, in order of registration.

    It is read-only, and holds what is registered later too. A notebook shows it as a table in groups by subject.

    Examples
    --------
    >>> import homolog as hl
    >>> hl.measures()["cka"].kind
    'similarity'
    """
    return Listing(_MEASURES)


def measure(spec: str | Measure | Callable[..., Any], /, **options: Any) -> Measure:
    """Return a measure with options bound.

    Parameters
    ----------
    spec
        a name ("cka"), a text form ("cka(estimator=debiased)"), what people call it for short ("debiased_cka", "rbf_cka",
        "CKA", "procrustes"), a Measure, or any function of two arrays.
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
        name, written = read(spec)
        found = _named(name)
        if found is None:
            aliases = [alias for record in _MEASURES.values() for alias in record.aliases]
            raise KeyError(
                unknown("measure", name, [*_MEASURES, *aliases, *SHORT_NAMES], "homolog.measures() lists them")
            )
        record, meant = found
        for option, value in meant.items():
            if written.get(option, value) != value or str(options.get(option, value)) != value:
                other = written.get(option, options.get(option))
                raise ValueError(
                    f"{quoted(name)} stands for {SHORT_NAMES[plain_name(name)]}, got {option}={other} beside it: write "
                    f"{record.name}({option}={other})."
                )
        return record.bind(**typed(record, meant | written) | options)
    if callable(spec):
        registered = _MEASURES.get(getattr(spec, "__name__", ""))
        if registered is not None and registered.function is spec:
            return registered.bind(**options)
        return _anonymous(spec).bind(**options)
    raise TypeError(
        f"a measure must be text such as 'cka(estimator=debiased)', a homolog.measure(...) or a function of two "
        f"arrays, got {type(spec).__name__} {spec!r}."
    )


def _named(name: str) -> tuple[Measure, dict[str, str]] | None:
    """Return the measure of a name, of an alias, or of what people call it for short, and the options that this means."""
    if name in _MEASURES:
        return _MEASURES[name], {}
    plain = plain_name(name)
    for known, record in _MEASURES.items():
        if plain == known.lower() or plain in record.aliases:
            return record, {}
    if plain in SHORT_NAMES:
        meant, options = read(SHORT_NAMES[plain])
        return _MEASURES[meant], options
    return None


def _anonymous(function: Callable[..., Any]) -> Measure:
    return Measure(
        name=getattr(function, "__name__", type(function).__name__),
        function=function,
        family=FUNCTION,
        compute=_call(function),
        kind="similarity",
        range=(float("-inf"), float("inf")),
        symmetric=None,
        formula="f(X, Y)",
        reference=OF_THE_CALLER,
    )
