"""Findings of one kind together, the most serious kind first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from homolog.analysis.diagnosis_checks import Finding
from homolog.diagnostics import listed
from homolog.names import printable, shown

SERIOUSNESS = (
    "pairing",
    "row identity",
    "same network",
    "constant",
    "duplicate examples",
    "outlier",
    "attention sink",
    "chance",
    "repeated tokens",
    "null level",
    "saturation",
    "dominant direction",
    "few features",
    "duplicate features",
    "dead features",
    "unchanged layers",
)
"""Kinds of findings: first what makes all numbers worthless, then what carries some, then what all of them must be read with."""
MOST_PLACES = 3
"""Places of a group that are named; the others are counted."""


def by_seriousness(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings by kind, the most serious first; of one kind, layers before pairs of layers, and then as they were found."""
    places = {kind: place for place, kind in enumerate(SERIOUSNESS)}
    return tuple(sorted(findings, key=lambda finding: (places.get(finding.kind, len(places)), finding.of)))


def grouped(findings: Iterable[Finding]) -> tuple[tuple[Finding, ...], ...]:
    """Return findings of one kind, about things of one sort, together."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in by_seriousness(findings):
        found.setdefault((finding.kind, finding.of), []).append(finding)
    return tuple(map(tuple, found.values()))


def as_row(group: Sequence[Finding]) -> tuple[str, str, str, str]:
    """Return the kind of a group, where, what and what to do; what is that of the worst where it differs."""
    first = group[0]
    if len(group) == 1:
        return first.kind, shown(first.where), first.message, first.remedy
    where = f"{sum(finding.count for finding in group)} {first.of}: {listed((finding.where for finding in group), MOST_PLACES)}"
    worst = max(group, key=lambda finding: finding.degree)
    same = all(finding.message == first.message for finding in group)
    message = f"each: {first.message}" if same else f"the worst, {shown(worst.where)}: {worst.message}"
    return first.kind, where, message, first.remedy if same else worst.remedy


def as_line(group: Sequence[Finding]) -> str:
    """Return a group as a sentence."""
    kind, where, message, remedy = as_row(group)
    return printable(f"{kind} | {where}{': ' if len(group) == 1 else '; '}{message}; {remedy}.")
