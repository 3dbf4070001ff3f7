"""The docstring of a measure's public function: what its formula says of itself, and the sections that follow from the record."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from homolog.measures.record import Measure, Variant

WIDTH = 120
_SHOWN = {math.inf: "∞", -math.inf: "−∞", math.sqrt(2): "√2", math.pi / 2: "π/2"}


def descriptions_of(formula: Callable[..., Any]) -> dict[str, str]:
    """Return what the annotations of a formula's parameters say of them: `Annotated[type, "description"]`."""
    found = dict.fromkeys(inspect.signature(formula).parameters, "")
    for name, hint in get_type_hints(formula, include_extras=True).items():
        texts = [part for part in get_args(hint)[1:] if isinstance(part, str)] if get_origin(hint) is Annotated else []
        found[name] = " ".join(texts)
    return found


def docstring(record: Measure, formula: Callable[..., Any]) -> str:
    """Return the whole docstring of a measure whose formula this is.

    A formula's own docstring is a line on what the measure says, a paragraph on how it is defined, any number of notes, and one
    example. What a reader needs beside these follows from the record.
    """
    written, _, example = (inspect.getdoc(formula) or "").partition(">>> ")
    what, defined, *notes = [*written.strip().split("\n\n"), ""]
    texts = descriptions_of(formula)
    sections = [
        ("Parameters", "\n".join(_parameters(record, texts))),
        ("Returns", _wrapped(_returned(record, texts.get("return", "")))),
        ("Raises", "ValueError, TypeError\n" + textwrap.indent(_wrapped(_raised(record)), "    ")),
        ("Notes", "\n\n".join(filter(None, notes))),
        ("References", _wrapped(f"{record.reference}.")),
        ("Examples", f">>> import numpy as np, homolog as hl\n>>> {example}" if example else ""),
    ]
    titled = [f"{title}\n{'-' * len(title)}\n{text}" for title, text in sections if text]
    return "\n\n".join(filter(None, [what, defined, *titled])) + "\n"


def _parameters(record: Measure, texts: dict[str, str]) -> Iterator[str]:
    x, y = record.sides
    yield f"{x} : (n, p) array" + (f", {texts[x]}" if texts[x] else "")
    yield f"{y} : (n, q) array, " + (texts[y] or "the same examples in the same order.")
    for option in record.defaults:
        yield option
        yield textwrap.indent(_wrapped(texts[option]), "    ")


def _returned(record: Measure, more: str) -> str:
    parts = [f"0-d array of the library of the inputs, in {range_text(record.range)}"]
    for variant in record.variants:
        if "range" in variant.changes:
            parts.append(f"in {range_text(variant.changes['range'])} with {_chosen(variant)}")
    ranged = "; ".join(parts) + "."
    metric = "A metric: the triangle inequality holds." if record.metric else ""
    missing = "NaN, with a warning, if a side is constant."
    return " ".join(filter(None, (ranged, more, metric, missing)))


def _raised(record: Measure) -> str:
    wrong = ["arrays that are not two real (n, ·) representations of the same examples"]
    least = max([record.minimal_n, *(variant.changes.get("minimal_n", 0) for variant in record.variants)])
    if least > 2:
        some = "" if record.minimal_n > 2 else f" with {_first_of(record, 'minimal_n')}"
        wrong.append(f"fewer than {least} examples{some}")
    if record.defaults:
        wrong.append("a wrong option")
    return f"For {', or '.join(', '.join(wrong).rsplit(', ', 1))}."


def _first_of(record: Measure, changed: str) -> str:
    return _chosen(next(variant for variant in record.variants if changed in variant.changes))


def _chosen(variant: Variant) -> str:
    value = f'"{variant.value}"' if isinstance(variant.value, str) else variant.value
    return f"{variant.option}={value}"


def range_text(ends: tuple[float, float]) -> str:
    """Write a range as the field does.

    >>> range_text((0.0, float("inf"))), range_text((-1.0, 1.0))
    ('[0, ∞)', '[−1, 1]')
    """
    low, high = (_SHOWN.get(end) or f"{end:g}".replace("-", "−") for end in ends)
    return f"{'(' if math.isinf(ends[0]) else '['}{low}, {high}{')' if math.isinf(ends[1]) else ']'}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)
