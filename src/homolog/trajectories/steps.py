"""The steps of training that names of checkpoints tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:([kKmM])(?![a-zA-Z]))?")
_FACTORS = {"": 1, "k": 10**3, "m": 10**6}
_WORD = re.compile(r"([a-z]+)[^a-z0-9]*$")
STEPS = ("step", "steps", "globalstep", "iter", "iters", "iteration", "iterations", "batch", "update", "updates")
EPOCHS = ("epoch", "epochs", "ep")


def steps_of(names: Sequence[str]) -> list[float] | None:
    """Return the step in each name; None where names tell none, or not surely.

    A number after "step" or a word like it comes first, then the only number that differs between the names, then one after
    "epoch". Steps of different names must differ.

    >>> steps_of(["epoch=0-step=500", "epoch=1-step=1000"]), steps_of(["v2_10k", "v2_2k"]), steps_of(["best", "last"])
    ([500, 1000], [10000, 2000], None)
    """
    parts = [_parts(name) for name in names]
    for found in (_after(parts, STEPS), _only_varying(parts), _after(parts, EPOCHS)):
        if found is not None and len(set(found)) == len(found):
            return found
    return None


def natural(name: str) -> tuple[tuple[int, float, str], ...]:
    """Return a key that sorts numbers in names by their size.

    >>> sorted(["step_10", "step_9"], key=natural)
    ['step_9', 'step_10']
    """
    texts, numbers = _parts(name)
    key: list[tuple[int, float, str]] = []
    for place, text in enumerate(texts):
        key += [(1, 0.0, text)] * bool(text) + [(0, number, "") for number in numbers[place : place + 1]]
    return tuple(key)


def _parts(name: str) -> tuple[list[str], list[float]]:
    """Return the texts around the numbers of a name, in lower case, and the numbers."""
    texts, numbers, end = [], [], 0
    for match in _NUMBER.finditer(name):
        texts.append(name[end : match.start()].lower())
        value = float(match[1]) * _FACTORS[(match[2] or "").lower()]
        numbers.append(int(value) if value.is_integer() else value)
        end = match.end()
    return [*texts, name[end:].lower()], numbers


def _after(parts: Sequence[tuple[list[str], list[float]]], words: Sequence[str]) -> list[float] | None:
    """Return the first number that follows one of some words in every name."""
    found = []
    for texts, numbers in parts:
        before = [_WORD.search(text) for text in texts[: len(numbers)]]
        places = [place for place, word in enumerate(before) if word is not None and word[1] in words]
        if not places:
            return None
        found.append(numbers[places[0]])
    return found


def _only_varying(parts: Sequence[tuple[list[str], list[float]]]) -> list[float] | None:
    """Return the one number that differs between names that are otherwise alike."""
    if any(texts != parts[0][0] for texts, _ in parts):
        return None
    columns = [column for column in zip(*(numbers for _, numbers in parts), strict=True) if len(set(column)) > 1]
    return list(columns[0]) if len(columns) == 1 else None
