"""The checkpoints of a training, in order: what they are called, at which step they were saved, and where they are."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from homolog.arrays import described
from homolog.diagnostics import Caution, ExtractionWarning, give, listed
from homolog.names import quoted, shown, writable
from homolog.trajectories.steps import natural, places_of, step_twice, steps_of
from homolog.trajectories.weight_files import WEIGHT_FILES, check_parts, is_weights, main_file, part_in

FILES = (*WEIGHT_FILES, ".onnx", ".keras", ".npz", ".zarr")
"""What is taken from a folder."""
_FIRST = ("init", "start", "random", "untrained", "before")
"""How names begin of what was saved before training, which hold no number."""


@dataclass(frozen=True)
class Checkpoint:
    """One network at one moment of its training."""

    label: str
    source: Any
    """A path, a function that returns a model or activations, or one of these two itself."""
    step: float = math.nan


def checkpoints_of(given: Any, steps: Any = None, labels: Any = None) -> list[Checkpoint]:
    """Return the checkpoints that were given, sorted by step."""
    found = _found(given)
    if steps is None and isinstance(given, Mapping) and all(_is_number(key) for key in given):
        steps = list(given)
    named = (
        labels is not None or any(isinstance(one.source, str | PathLike) for one in found) or isinstance(given, Mapping)
    )
    if len(found) < 2:
        got = f"one, {shown(found[0].label)}" if found else "none"
        raise ValueError(
            f"checkpoints must be at least two, got {got}: name a folder or a glob that finds several, or a list."
        )
    if labels is not None:
        texts = [_label(label) for label in _one_each(labels, found, "labels")]
        found = [replace(one, label=text) for one, text in zip(found, texts, strict=True)]
    names = [one.label for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"labels of checkpoints must differ, got {quoted(twice)} twice: give others, labels=[...].")
    return sorted(_numbered(found, steps, named=named), key=lambda one: one.step)


def _numbered(found: list[Checkpoint], steps: Any, *, named: bool) -> list[Checkpoint]:
    """Return checkpoints with their steps: those given, those in their names, or their positions."""
    numbers: Sequence[float]
    if steps is not None:
        numbers = [_number(step) for step in _one_each(steps, found, "steps")]
        if len(set(numbers)) < len(numbers):
            twice = next(step for step in numbers if numbers.count(step) > 1)
            raise ValueError(f"steps must differ, got {twice:g} twice: one number for each checkpoint.")
    else:
        numbers = (_named(found) if named else None) or _positions(found, named=named)
    return [replace(one, step=step) for one, step in zip(found, numbers, strict=True)]


def _named(found: list[Checkpoint]) -> list[float] | None:
    """Return the steps in names, or None; refuse where some tell theirs and the place of others cannot be known."""
    names = [one.label for one in found]
    steps = steps_of(names)
    with_number = [name for name in names if any(letter.isdigit() for letter in name)]
    untold = [name for name in names if name not in with_number]
    known = steps_of(with_number) if untold and len(with_number) > 1 else None
    if steps is not None or known is None:
        return steps
    first = [name for name in untold if Path(name).name.lower().startswith(_FIRST)]
    if len(first) == len(untold) == 1 and min(known) > 0:
        message = f"checkpoint {shown(first[0])} is taken for the one before training, step 0, by its name."
        give([Caution(ExtractionWarning, message)])
        by_name = dict(zip(with_number, known, strict=True))
        return [by_name.get(name, 0) for name in names]
    raise ValueError(
        f"the names of all checkpoints must tell their steps, or none, got {listed(map(quoted, untold))} beside "
        f"{quoted(with_number[0])}: leave out what is no moment of its own{_glob_of(found, untold)}, or pass steps=."
    )


def _glob_of(found: list[Checkpoint], untold: list[str]) -> str:
    """Return by which glob the files are found whose names tell a step, as checkpoint-* in a folder beside a final model."""
    told = [one for one in found if one.label not in untold]
    if not all(isinstance(one.source, str | PathLike) for one in found):
        return ""
    folders = {Path(one.source).parent for one in told}
    starts = {re.split(r"\d", Path(one.source).name)[0] for one in told}
    start = starts.pop()
    if len(folders) > 1 or starts or not start or any(Path(name).name.startswith(start) for name in untold):
        return ""
    return f', as the glob "{writable(str(folders.pop() / start))}*" does'


def _positions(found: list[Checkpoint], *, named: bool) -> list[float]:
    """Return the places of checkpoints in the order of epoch and step, or in which they were given, under a warning."""
    labels = [one.label for one in found]
    found_places = places_of(labels) if named else None
    twice = step_twice(labels) if named else None
    numbers: list[float] = list(range(len(found)) if found_places is None else found_places[0])
    remedy = "or a mapping step → checkpoint"
    if found_places is not None:
        remedy = f"counted over all {found_places[1]}s"
        why = f"the steps in the names of the checkpoints begin anew in each {found_places[1]}"
    elif twice is not None:
        why = f"step {twice:g} is there twice, by the names of the checkpoints"
    else:
        why = "nothing tells at which step of training the checkpoints were saved"
    order = listed(label for _, label in sorted(zip(numbers, labels, strict=True)))
    message = f"{why}, so that they are numbered 0, 1, 2 … in this order: {order}; pass steps=, {remedy}."
    give([Caution(ExtractionWarning, message)])
    return numbers


def _is_number(key: Any) -> bool:
    return isinstance(key, int | float) and not isinstance(key, bool)


def _number(step: Any) -> float:
    try:
        number = float(step)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(step, bool) or not math.isfinite(number):
        raise ValueError(f"steps must be numbers, got {quoted(step)}: one for each checkpoint.")
    return number


def _one_each(given: Any, found: list[Checkpoint], what: str) -> list[Any]:
    """Return what is given for each checkpoint: a mapping by label, or a sequence in their order."""
    if isinstance(given, Mapping):
        missing = [one.label for one in found if one.label not in given]
        if missing:
            raise KeyError(f"{what} must say it for every checkpoint, got none for {listed(map(quoted, missing))}.")
        return [given[one.label] for one in found]
    values = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if len(values) != len(found):
        raise ValueError(
            f"{what} must be as many as the checkpoints ({len(found)}: {listed(one.label for one in found)}), got {len(values)}."
        )
    return values


def _found(given: Any) -> list[Checkpoint]:
    if isinstance(given, Mapping) and type(given).__name__ != "Activations":
        return [Checkpoint(_label(key), value) for key, value in given.items()]
    if isinstance(given, str | PathLike):
        return _of_paths(_paths_of(given))
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise TypeError(
            f"checkpoints must be a folder, a glob, a list of files or functions, or a mapping label → any of these, got "
            f"{described(given)}."
        )
    items = list(given)
    paths = [Path(item) for item in items if isinstance(item, str | PathLike)]
    if len(paths) == len(items):
        return _of_paths(paths)
    named = dict(zip(paths, _labels(paths), strict=True))
    names = [named[Path(item)] if isinstance(item, str | PathLike) else str(place) for place, item in enumerate(items)]
    return [Checkpoint(name, item) for name, item in zip(names, items, strict=True)]


def _label(key: Any) -> str:
    text = str(key)
    if (
        isinstance(key, bool)
        or not isinstance(key, str | int | float)
        or not text.strip()
        or writable(text) != text
        or "\0" in text
    ):
        raise TypeError(f"a checkpoint must be labelled by text or a number, got {quoted(key)}: rename it.")
    return text


def _paths_of(given: str | PathLike[str]) -> list[Path]:
    """Return the checkpoints in a folder, or the files that a glob finds, in natural order."""
    path = Path(given)
    if path.is_dir():
        found = [each for each in path.iterdir() if _is_checkpoint(each)]
        own = main_file(path)
        found += [own] if own is not None and own not in found else []
        what = "in the folder"
    elif glob.has_magic(os.fspath(given)):
        found = [Path(each) for each in glob.glob(os.fspath(given), recursive=True)]
        found = [each for each in found if each.is_file() or _is_checkpoint(each)]
        what = "named like"
    elif path.exists():
        return [path]
    else:
        raise FileNotFoundError(f"there is no folder, file or glob {str(path)!r}: check the name.")
    if not found:
        if path.is_dir():
            check_parts(path)
        raise FileNotFoundError(
            f"there are no checkpoints {what} {str(path)!r}: they end in {', '.join(FILES)}, or are folders with a "
            f"model.safetensors."
        )
    return sorted(found, key=lambda each: _in_training(each.name if what == "in the folder" else str(each)))


def _in_training(name: str) -> tuple[int, Any]:
    """Sort what was saved before training to the front, and what has no number to the end."""
    stem = Path(name).name.lower()
    has_number = any(letter.isdigit() for letter in stem)
    return (0 if stem.startswith(_FIRST) else 1 if has_number else 2), natural(name)


def _is_checkpoint(path: Path) -> bool:
    if path.is_dir():
        return path.suffix == ".zarr" or main_file(path) is not None or part_in(path) is not None
    return is_weights(path) or path.suffix in (".onnx", ".keras", ".npz")


def _of_paths(paths: list[Path]) -> list[Checkpoint]:
    return [Checkpoint(label, path) for label, path in zip(_labels(paths), paths, strict=True)]


def _labels(paths: list[Path]) -> list[str]:
    """Return names of files without ending, or with the folders in which they lie where these tell them apart."""
    short = [writable(path.name if path.is_dir() else path.stem) for path in paths]
    if len(set(short)) == len(short) or len(paths) < 2:
        return short
    within = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    relative = [os.path.relpath(os.path.abspath(path), within) for path in paths]
    endings = {path.name for path in paths}
    if len(endings) == 1 and len(paths) > 1:  # the same file in many folders
        relative = [os.path.dirname(name) or name for name in relative]
    return [writable(name) for name in relative]
