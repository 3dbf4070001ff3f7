"""Long names beside pictures and tables: shortened so that different names stay different."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

_PARTS = re.compile(r"[^\W_]+|[\W_]")
"""A name as words and what stands between them."""


def shared_start(names: Sequence[str]) -> str:
    """Return the words with which all names begin, without the last word of any; empty for one name.

    >>> shared_start(["encoder.layer.0.mlp", "encoder.layer.11.mlp"])
    'encoder.layer.'
    """
    different = dict.fromkeys(names)
    if len(different) < 2:
        return ""
    start: list[str] = []
    for parts in zip(*(_PARTS.findall(name)[:-1] for name in different), strict=False):
        if len(set(parts)) > 1:
            break
        start.append(parts[0])
    return "".join(start)


def folded(names: Sequence[str], most: int) -> list[str]:
    """Shorten names if one is longer than `most` letters: a start that all share becomes "…", then what does not fit is cut.

    The end of a name is kept, unless two names would look alike: they keep the part in which they differ. Where nothing else
    tells two names apart, which takes names of thousands of letters or dots like ours in them, they are numbered.

    >>> folded(["encoder.layer.0.attention", "encoder.layer.1.attention"], 20)
    ['…0.attention', '…1.attention']
    >>> folded(["a.very.long.start.x.and.the.same.long.end", "a.very.long.start.y.and.the.same.long.end"], 16)
    ['…long.start.x…', '…long.start.y…']
    """
    different = list(dict.fromkeys(names))
    if max(map(len, different), default=0) <= most:
        return list(names)
    start = len(shared_start(different))
    rests = {name: f"…{name[start:]}" if start > 1 else name for name in different}
    labels = {name: rest if len(rest) <= most else f"…{rest[1 - most :]}" for name, rest in rests.items()}
    for group in _looking_alike(labels):
        labels |= _differing_parts(group, most)
    for group in _looking_alike(labels):  # they differ in two parts that are far from each other
        labels |= {
            name: (labels[name] + part).replace("……", "…") for name, part in _differing_parts(group, most // 2).items()
        }
    for group in _looking_alike(labels):
        labels |= {name: f"{labels[name]} ({place + 1})" for place, name in enumerate(group)}
    return [labels[name] for name in names]


def _looking_alike(labels: dict[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name, label in labels.items():
        groups.setdefault(label, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _equal_letters(names: list[str]) -> int:
    """Count the letters with which all names begin."""
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))


def _differing_parts(names: list[str], most: int) -> dict[str, str]:
    """Return for each name the part in which these names differ, with as many words before it as fit."""
    start = _equal_letters(names)
    end = _equal_letters([name[start:][::-1] for name in names])
    longest = max(len(name) - end - start for name in names)
    # Words before it, as many as fit; a number is not cut into digits.
    room, before = max(most - 2 - longest, 0), names[0][:start]
    words = (found.start() for found in _PARTS.finditer(before) if found[0].isalnum())
    fitting = [first for first in words if start - first <= room]
    digits = len(before) - len(before.rstrip("0123456789"))
    start = min(fitting, default=start - digits if digits <= room else start)
    labels = {name: "…" + name[start : len(name) - end][: most - 2] + "…" * bool(end) for name in names}
    for group in _looking_alike(labels):
        if len(group) < len(names):
            labels |= _differing_parts(group, most)
    return labels
