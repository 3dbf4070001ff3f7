"""What a check asks for: thresholds of measures, for all layers or for some, in any of the accepted forms."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.activations import matching
from homolog.arrays import described
from homolog.measures.record import Measure
from homolog.measures.registry import OF_THE_CALLER, measure
from homolog.names import quoted

Thresholds = str | Sequence[str] | Mapping[Any, Any]
"""Text such as "cka=0.98", a list of such texts, or measure → number or {glob: number}."""

EVERYWHERE = "**"
"""The glob of all layers."""
_KINDS = {"at_least": "similarity", "at_most": "distance"}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FORM = re.compile(rf"\s*(?P<measure>.+?)\s*=\s*(?P<number>{_NUMBER})\s*(?:@\s*(?P<glob>.+?)\s*)?", re.DOTALL)


@dataclass(frozen=True)
class Requirement:
    """A measure, and what it must reach in which layers."""

    name: str
    """The variable of the measure in a result."""
    record: Measure
    rules: Mapping[str, float]
    """Glob → threshold; the first glob that matches a layer counts."""

    def by_layer(self, layers: Sequence[str]) -> dict[str, float]:
        """Return layer → threshold, of the layers that have one."""
        found: dict[str, float] = {}
        for glob, number in self.rules.items():
            matched = matching(layers, [glob])
            new = [layer for layer in matched if layer not in found]
            if not new:
                raise ValueError(
                    f"every threshold must decide some layer, got {quoted(glob)} for {self.name}, whose layers all have an "
                    f"earlier threshold: leave it out, or put it first."
                )
            found |= dict.fromkeys(new, number)
        return found


def split_threshold(text: str) -> tuple[str, float, str]:
    """Split "measure=number" or "measure=number@glob" into the measure, the number and the glob.

    >>> split_threshold("cka(estimator=debiased)=0.98")
    ('cka(estimator=debiased)', 0.98, '**')
    >>> split_threshold("cka(kernel=rbf,median_fraction=0.4)=0.9@encoder.*")
    ('cka(kernel=rbf,median_fraction=0.4)', 0.9, 'encoder.*')
    """
    match = _FORM.fullmatch(text)
    if match is None or match["measure"][-1] in "<>=!":
        raise ValueError(
            f"a threshold must be written as measure=number or measure=number@layers, such as "
            f"'cka(estimator=debiased)=0.98' or 'cka=0.9@encoder.*', got {quoted(text)}."
        )
    return match["measure"], float(match["number"]), match["glob"] or EVERYWHERE


def requirements(at_least: Thresholds | None, at_most: Thresholds | None) -> list[Requirement]:
    """Return what is asked for, checked against the measures."""
    found: dict[str, Requirement] = {}
    for argument, given in (("at_least", at_least), ("at_most", at_most)):
        for requirement in _read(argument, given):
            if requirement.name in found:
                raise ValueError(
                    f"a measure must be given once, got {requirement.name} twice: put its thresholds together."
                )
            _check(argument, requirement)
            found[requirement.name] = requirement
    if not found:
        raise ValueError(
            "a check must have a threshold, got none: pass at_least 'cka(estimator=debiased)=0.98', or at_most for a distance."
        )
    return list(found.values())


def _read(argument: str, given: Any) -> list[Requirement]:
    """Return the requirements of one argument."""
    if given is None:
        return []
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        records = [(_measure(argument, key), rules) for key, rules in given.items()]
        return [Requirement(str(record), record, _numbers(argument, record, rules)) for record, rules in records]
    if not isinstance(given, Sequence) or not all(isinstance(text, str) for text in given):
        raise TypeError(
            f"{argument} must be text such as 'cka=0.98', a list of such texts, or a mapping of measures to numbers, got "
            f"{described(given)}."
        )
    return collected((measure(form), number, glob) for form, number, glob in map(split_threshold, given))


def _measure(argument: str, key: Any) -> Measure:
    """Return the measure that a mapping names; globs of layers belong one level deeper."""
    try:
        return measure(key)
    except (KeyError, ValueError) as error:
        if not isinstance(key, str) or "(" in key:
            raise
        raise ValueError(
            f"{argument} must map measures to numbers, or to {{layers: number}} as in {{'cka': {{'encoder.*': 0.99}}}}, got "
            f"{quoted(key)}, which is no measure."
        ) from error


def collected(parts: Iterable[tuple[Measure, float, str]]) -> list[Requirement]:
    """Put (measure, number, glob) together by measure: what holds for all layers comes last, since the first match counts."""
    found: dict[str, tuple[Measure, dict[str, float]]] = {}
    for record, number, glob in parts:
        _, rules = found.setdefault(str(record), (record, {}))
        if glob in rules:
            where = "" if glob == EVERYWHERE else f" for {quoted(glob)}"
            raise ValueError(f"a threshold must be given once, got two of {record}{where}: leave one out.")
        rules[glob] = number
    return [
        Requirement(name, record, {glob: rules[glob] for glob in sorted(rules, key=lambda glob: glob == EVERYWHERE)})
        for name, (record, rules) in found.items()
    ]


def _numbers(argument: str, record: Measure, rules: Any) -> dict[str, float]:
    """Return glob → number, of a number or such a mapping."""
    rules = rules if isinstance(rules, Mapping) else {EVERYWHERE: rules}
    if not rules:
        raise ValueError(f"{argument} must have a threshold for {record}, got an empty mapping.")
    for glob, number in rules.items():
        if isinstance(number, bool) or not isinstance(number, int | float | np.integer | np.floating):
            raise TypeError(f"a threshold of {record} must be a number, got {described(number)} for {quoted(glob)}.")
    return {glob: float(number) for glob, number in rules.items()}


def _check(argument: str, requirement: Requirement) -> None:
    """Raise for thresholds that make no sense for the measure: the wrong way round, always held, or never."""
    record, (low, high) = requirement.record, requirement.record.range
    if record.kind != _KINDS[argument]:
        other = "at_most" if argument == "at_least" else "at_least"
        what = (
            "a distance, small where layers are alike" if record.kind == "distance" else "large where layers are alike"
        )
        if record.reference == OF_THE_CALLER:
            what = "a function of your own, taken for large where layers are alike"
            other = f"{other}, or register it with kind='distance'"
        raise ValueError(f"{argument} is for a {_KINDS[argument]}, got {record}, which is {what}: use {other}.")
    for number in requirement.rules.values():
        inside = low < number <= high if argument == "at_least" else low <= number < high
        if not inside or not math.isfinite(number):
            always = number <= low if argument == "at_least" else number >= high
            raise ValueError(
                f"a threshold of {record}, whose values lie between {low:g} and {high:g}, must be one that may hold or not, got "
                f"{number:g}, which {'always' if always else 'never'} holds."
            )
