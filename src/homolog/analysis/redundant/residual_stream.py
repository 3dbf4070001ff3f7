"""The residual stream: the input of the first block, then the output of each block, in the order in which they run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.activations import Activations, matching
from homolog.analysis.redundant.reading import WITHOUT, WITHOUT_BOTH, WITHOUT_ROWS
from homolog.arrays import described, on_disk
from homolog.blocks.source import ArrayRows
from homolog.diagnostics import Caution, LeftOutWarning, listed
from homolog.engine.inputs import models_of
from homolog.names import quoted, shown
from homolog.rows import Rows, RowsOfOthers
from homolog.sketching import refuse_sketches

HOW = (
    "choose the input of the first block and the outputs of all blocks by blocks=, such as "
    "['model.embed_tokens', 'model.layers.*'] (of '*', one dotted part)"
)


@dataclass(frozen=True)
class Stream:
    """Representations of equal width over the same rows."""

    layers: Activations
    """The first is the input of the first block, every other the output of a block."""
    notes: tuple[str, ...]
    """What a reader must know of how they were chosen."""
    cautions: tuple[Caution, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the layers."""
        return list(self.layers)

    @property
    def width(self) -> int:
        """Features of every layer."""
        return int(next(iter(self.layers.values())).shape[1])

    def rows(self) -> list[Rows]:
        """Return what reads the rows of each layer, wherever they are."""
        return [on_disk(array) or ArrayRows(array, f"layer {quoted(name)}") for name, array in self.layers.items()]


class Part(RowsOfOthers):
    """Some rows, nearly all, and some columns of a representation."""

    def __init__(self, rows: Rows, columns: np.ndarray | None, kept: np.ndarray | None) -> None:
        width = rows.shape[1] if columns is None else len(columns)
        super().__init__(rows, (rows.shape[0] if kept is None else len(kept), width))
        self._columns, self._kept = columns, kept

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows from start up to stop; between them little is read in vain."""
        if self._kept is None:
            found = self._rows.read(start, stop)
        elif start == stop:
            found = self._rows.read(0, 0)
        else:
            places = self._kept[start:stop]
            found = self._rows.read(int(places[0]), int(places[-1]) + 1)[places - places[0]]
        return found if self._columns is None else found[:, self._columns]


Form = tuple[np.ndarray | None, np.ndarray | None]
"""The columns and the rows that are kept; None for all."""


def forms(columns: np.ndarray | None, kept: np.ndarray | None) -> dict[str, Form]:
    """Return the ending of a variable → what is kept for it."""
    found: dict[str, Form] = {"": (None, None)}
    found |= {WITHOUT: (columns, None)} if columns is not None else {}
    found |= {WITHOUT_ROWS: (None, kept)} if kept is not None else {}
    return found | ({WITHOUT_BOTH: (columns, kept)} if columns is not None and kept is not None else {})


def stream_of(activations: Any, blocks: str | Sequence[str] | None) -> Stream:
    """Return the residual stream among the layers of a model."""
    title = str(getattr(activations, "attrs", {}).get("title", ""))
    if title.startswith("homolog "):
        raise TypeError(
            f"redundancy needs the activations of one model, got a {title.removeprefix('homolog ')}: pass what was compared."
        )
    _check_named(activations)
    models, _ = models_of(activations, None, called="activations")
    if len(models) > 1:
        raise ValueError(
            f"redundancy is asked of one model, got {len(models)} ({listed(models)}): call it once for each of them."
        )
    (layers,) = models.values()
    refuse_sketches(layers, "redundancy")
    chosen, notes = _ordered(layers, blocks)
    _check_apart(chosen)
    kept, cautions = _of_equal_width(layers, chosen, blocks is None)
    if len(kept) < 2:
        raise ValueError(
            f"redundancy needs at least two layers of equal width, the input and the output of one block, got "
            f"{_among(kept, layers)}: {HOW}."
        )
    notes += [*_of_first(kept), *_of_parts(kept), *_of_another_kind(kept), *(caution.message for caution in cautions)]
    found = layers.holding({name: layers[name] for name in kept})
    return Stream(found, tuple(notes), tuple(cautions))


def _check_named(activations: Any) -> None:
    """Raise for layers without names: an array, or several."""
    several = isinstance(activations, list | tuple) and all(getattr(each, "ndim", 0) > 1 for each in activations)
    if several or (not isinstance(activations, Mapping) and getattr(activations, "ndim", 0) > 1):
        raise TypeError(
            f"activations must be layers by their names, got {described(activations)}: give each a name, the input of the first "
            f"block first, {{'embed': x[0], 'block.0': x[1]}}."
        )


def _among(kept: Sequence[str], layers: Iterable[str]) -> str:
    every = list(layers)
    if len(every) == 1:
        return f"{shown(every[0])} alone"
    return f"{listed(kept, most=20)} of {listed(every, most=20)}"


def _ordered(layers: Activations, blocks: str | Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the names of the chosen layers in the order of their blocks, and a word where that is not the given one."""
    if not isinstance(blocks, str | Sequence | None):
        raise TypeError(f"blocks must be names or globs of layers, got {described(blocks)}: {HOW}.")
    patterns = ["**"] if blocks is None else [blocks] if isinstance(blocks, str) else list(blocks)
    if not patterns:
        raise ValueError(f"blocks must name at least two layers, got an empty list: {HOW}.")
    given: list[str] = []
    moved = False
    for pattern in patterns:
        found = [name for name in matching(layers, [pattern]) if name not in given]
        by_number = _by_number(found)
        moved |= by_number != found
        given += by_number
    note = "the layers were put into the order of the numbers in their names, which was not the given one"
    return given, [note] * moved


def _by_number(names: list[str]) -> list[str]:
    """Sort names that differ in numbers alone by these numbers, in the places that they hold together.

    >>> _by_number(["embed", "h.0", "h.1", "h.10", "h.2"])
    ['embed', 'h.0', 'h.1', 'h.2', 'h.10']
    """
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    in_order = {kind: iter(sorted(these, key=_numbers)) for kind, these in kinds.items()}
    return [next(in_order[re.sub(r"\d+", "#", name)]) for name in names]


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _check_apart(names: list[str]) -> None:
    """Raise where two layers lie in one block, so that they are not the outputs of blocks that follow one another."""
    owners: dict[str, str] = {}
    for place, name in enumerate(names):
        parts = name.split(".")
        around = next((end for end in range(1, len(parts)) if ".".join(parts[:end]) in names), None)
        other = None if around is None else ".".join(parts[:around])
        if place and _block_of(name):  # what goes into the first block may be called after it
            other = owners.setdefault(_block_of(name), name) if other is None else other
        if other not in (None, name):
            raise ValueError(
                f"the layers must be the outputs of blocks that follow one another, got {quoted(other)} and {quoted(name)}, "
                f"which lie in one block: {HOW}."
            )


def _block_of(name: str) -> str:
    """Return what stands before and in the last part of a dotted name that is a number; nothing where none is.

    >>> _block_of("model.layers.3.mlp"), _block_of("stem")
    ('model.layers.3', '')
    """
    found = re.match(r"(?:.*\.)?\d+(?=\.|$)", name)
    return found[0] if found else ""


def _of_first(names: list[str]) -> list[str]:
    """Say of a first layer that is called as the others, so that it may be a block, too, that it is not looked at."""
    kinds = {re.sub(r"\d+", "#", name) for name in names}
    if len(kinds) > 1 or "#" not in kinds.pop():
        return []
    return [
        f"{shown(names[0])} counts as the input of the first block, and is not looked at itself; if it is a block, give what "
        f"goes into it, too"
    ]


def _of_parts(names: list[str]) -> list[str]:
    """Say of layers that are all called after the same part of their blocks that they may not be what blocks put out."""
    ends = {name[len(_block_of(name)) :] for name in names[1:] if _block_of(name)}
    if len(ends) != 1 or "" in ends:
        return []
    (end,) = ends
    return [
        f"all layers are called {quoted(end.lstrip('.'))} of a block: the numbers are about blocks only if these are what goes "
        f"into the next block, and not what a part of it adds"
    ]


def _of_another_kind(names: list[str]) -> list[str]:
    """Say which layers are called otherwise than the other blocks, as a last layer norm is, or an embedding that came last."""
    kinds = [re.sub(r"\d+", "#", name) for name in names]
    most = max(kinds, key=kinds.count)
    odd = [name for name, kind in zip(names[1:], kinds[1:], strict=True) if kind != most]
    if "#" not in most or not odd or len(odd) >= kinds.count(most):
        return []
    what = "a block" if len(odd) == 1 else "blocks"
    return [
        f"called otherwise than the other blocks, and counted as {what}: {listed(odd)}; if that is wrong, say the layers by "
        f"blocks=: what goes into the first block first, such as an embedding, and no last layer norm"
    ]


def _of_equal_width(layers: Activations, names: list[str], choose: bool) -> tuple[list[str], list[Caution]]:
    """Return the longest run of neighbours of equal width; where layers were named, all must have it."""
    widths = {name: int(layers[name].shape[1]) for name in names}
    runs: list[list[str]] = []
    for name in names:
        if runs and widths[runs[-1][0]] == widths[name]:
            runs[-1].append(name)
        else:
            runs.append([name])
    runs.sort(key=len, reverse=True)
    if len(runs) == 1:
        return names, []
    each = [f"{shown(name)} ({width})" for name, width in widths.items()]
    if not choose or len(runs[0]) == len(runs[1]):
        raise ValueError(f"the layers of a residual stream must have one width, got {listed(each, most=20)}: {HOW}.")
    left = [each[place] for place, name in enumerate(names) if name not in runs[0]]
    message = f"left out, since their width is not {widths[runs[0][0]]} as that of the longest run of neighbours: {listed(left)}"
    return runs[0], [Caution(LeftOutWarning, message)]
