"""The steps of training that names of checkpoints tell."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

STEPS = ("step", "steps", "globalstep", "iter", "iters", "iteration", "iterations", "update", "updates", "batch")
EPOCHS = ("epoch", "epochs", "ep")
STAGES = ("stage", "phase", "part", "cycle", "round")
"""Parts of a training, in each of which steps may begin anew."""
RUNS = ("run", "seed", "fold", "trial", "job")
"""Trainings: their numbers are no steps."""
_GROUPED = re.compile(rf"(?:{'|'.join(STEPS)})[_=-]?\d{{1,3}}(?:_\d{{3}})*_\d(?:00|50)(?!\d|_\d)", re.IGNORECASE)
"""1_000 after a word such as "step" is one number; other digits, as in step_100_256, are rather two."""
_NUMBER = re.compile(
    r"((?:(?<=[_=:\s-])|^)-)?(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(\.\d+)?"
    r"(?:([eE][+-]?\d{1,3})(?![a-zA-Z0-9])|([kKmMbBtT])(?![a-zA-Z0-9]))?"
)
_UNSURE = re.compile(rf"(?:^|(?:{'|'.join(STEPS)})[_=-]?)\d+[kmbt]\d", re.IGNORECASE)
"""1k5 may be 1500, or 1000 of something."""
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_WORD = re.compile(r"([a-z]+)[^a-z0-9]*$")
_Parts = tuple[list[str], list[float]]


def steps_of(names: Sequence[str]) -> list[float] | None:
    """Return the step in each name; None where names tell none, or not surely.

    A number after "step" or a word like it comes first, then the only number that differs between the names, then one after
    "epoch". Steps of different names must differ, and may not begin anew in each epoch, stage or run.

    >>> steps_of(["epoch=0-step=500", "epoch=1-step=1000"]), steps_of(["v2_10k", "v2_2k"]), steps_of(["best", "last"])
    ([500, 1000], [10000, 2000], None)
    """
    parts = [_parts(name) for name in names]
    steps, outer = _told(parts), _outer(parts)
    if any(map(_UNSURE.search, names)):
        return None
    if steps is not None and not all(_agree(column, steps) for column in outer.values()):
        return None
    epochs = _after(parts, EPOCHS)
    for found in (steps, _only_varying(parts) if steps is None else None, epochs):
        if found is not None and len(set(found)) == len(found) and all(map(math.isfinite, found)):
            return found
    return None


def places_of(names: Sequence[str]) -> tuple[list[int], str] | None:
    """Return the place of each name in the order of stage, epoch and step, and in what steps begin anew; None if not told.

    >>> places_of(["epoch1_step100", "epoch0_step900"]), places_of(["step1", "step2"])
    (([1, 0], 'epoch'), None)
    """
    parts = [_parts(name) for name in names]
    steps, outer = _told(parts), _outer(parts)
    if steps is None or not outer:
        return None
    moments = list(zip(*outer.values(), steps, strict=True))
    order = sorted(moments)
    if len(set(moments)) < len(moments):
        return None
    return [order.index(each) for each in moments], next(iter(outer))


def step_twice(names: Sequence[str]) -> float | None:
    """Return a step that several names tell.

    >>> step_twice(["step_10.pt", "step_10.safetensors"]), step_twice(["step1", "step2"])
    (10, None)
    """
    steps = _told([_parts(name) for name in names]) or []
    return next((step for step in steps if steps.count(step) > 1), None)


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


def _parts(name: str) -> _Parts:
    """Return the texts around the numbers of a name, in lower case, and the numbers."""
    texts, numbers, end = [], [], 0
    name = _GROUPED.sub(lambda found: re.sub(r"(?<=\d)_", "", found[0]), name)
    for match in _NUMBER.finditer(name):
        texts.append(name[end : match.start()].lower())
        sign, whole, fraction, exponent, factor = (part or "" for part in match.groups())
        value = float(f"{sign}{whole.replace(',', '')}{fraction}{exponent}") * _FACTORS[factor.lower()]
        numbers.append(int(value) if value.is_integer() else value)
        end = match.end()
    return [*texts, name[end:].lower()], numbers


def _after(parts: Sequence[_Parts], words: Sequence[str]) -> list[float] | None:
    """Return the first number that follows one of some words in every name."""
    found = []
    for texts, numbers in parts:
        before = [_WORD.search(text) for text in texts[: len(numbers)]]
        places = [place for place, word in enumerate(before) if word is not None and word[1] in words]
        if not places:
            return None
        found.append(numbers[places[0]])
    return found


def _told(parts: Sequence[_Parts]) -> list[float] | None:
    """Return the number after "step" or a word like it in every name."""
    return _after(parts, STEPS[:-1]) or _after(parts, STEPS)


def _outer(parts: Sequence[_Parts]) -> dict[str, list[float]]:
    """Return the numbers in which steps may begin anew: word before them → number in each name, where these differ."""
    found = {kind[0]: _after(parts, kind) for kind in (*((word,) for word in (*RUNS, *STAGES)), EPOCHS)}
    return {word: column for word, column in found.items() if column is not None and len(set(column)) > 1}


def _agree(epochs: Sequence[float], steps: Sequence[float]) -> bool:
    """Say whether steps go on from epoch to epoch."""
    in_order = [step for _, step in sorted(zip(epochs, steps, strict=True))]
    return in_order == sorted(in_order)


def _only_varying(parts: Sequence[_Parts]) -> list[float] | None:
    """Return the one number that differs between names that are otherwise alike."""
    if any(texts != parts[0][0] for texts, _ in parts):
        return None
    columns = list(zip(*(numbers for _, numbers in parts), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1:
        return None
    word = _WORD.search(parts[0][0][varying[0]])
    return None if word is not None and word[1] in RUNS else list(columns[varying[0]])
