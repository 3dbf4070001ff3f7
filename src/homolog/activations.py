"""Activations: an ordered mapping layer → representation over the same rows, with the identity of the rows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from homolog.arrays import Array, check_representation, described
from homolog.cautions import listed
from homolog.names import LONGEST, quoted, shown


class Activations(Mapping[str, Array]):
    """Representations of several layers over the same examples.

    Parameters
    ----------
    arrays
        mapping layer name → array (n, p), in the order the layers should keep.
    example_ids
        n identifiers (integers or strings), one per row.
    positions
        n integers, the position of a row within its example, where rows are tokens or pixels.
    digests
        n unsigned 64-bit integers, a digest of the input that made each row.
    provenance
        text → text, how the activations were made.

    Raises
    ------
    TypeError, ValueError
        If a value is not a real array (n, p), or the rows differ between layers or from the identities.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> layers = hl.Activations({"blocks.0": np.eye(4), "blocks.1": np.eye(4), "head": np.ones((4, 2))})
    >>> list(layers.select("blocks.*"))
    ['blocks.0', 'blocks.1']
    >>> layers.take([0, 2])["head"].shape
    (2, 2)
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        *,
        example_ids: Sequence[Any] | np.ndarray | None = None,
        positions: Sequence[int] | np.ndarray | None = None,
        digests: np.ndarray | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        self._arrays = _checked_layers(arrays)
        self.n = next(iter(self._arrays.values())).shape[0]
        self.example_ids = _identity(example_ids, self.n, "example_ids")
        self.positions = _identity(positions, self.n, "positions")
        self.digests = _identity(digests, self.n, "digests")
        self.provenance = dict(provenance or {})

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(unknown_layer(name, self._arrays)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{shown(name)}: {array.shape[1]}" for name, array in list(self.items())[:6])
        more = f", … {len(self) - 6} more" if len(self) > 6 else ""
        return f"<Activations of {len(self)} layers over {self.n} rows: {shapes}{more}>"

    def select(self, *patterns: str) -> Activations:
        """Keep the layers whose names match: `*` stays within one dotted part, `**` crosses."""
        kept = matching(self._arrays, patterns)
        return self.holding({name: self._arrays[name] for name in kept})

    def rename(self, names: Mapping[str, str] | Callable[[str], str]) -> Activations:
        """Rename layers by a mapping old → new, or by a function of the name."""
        if isinstance(names, Mapping):
            for old in names:
                if old not in self._arrays:
                    raise KeyError(unknown_layer(old, self._arrays))
        new = [names(name) if callable(names) else names.get(name, name) for name in self]
        if len(set(new)) < len(new):
            twice = next(name for name in new if new.count(name) > 1)
            raise ValueError(f"new layer names must differ, got {quoted(twice)} twice: give each layer its own name.")
        return self.holding(dict(zip(new, self._arrays.values(), strict=True)))

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> Activations:
        """Keep rows by index, by slice, or by a boolean mask, on every layer."""
        index = np.arange(self.n)[rows]
        kept = [None if ids is None else ids[index] for ids in (self.example_ids, self.positions, self.digests)]
        return Activations(
            {name: array[index] for name, array in self._arrays.items()},
            example_ids=kept[0],
            positions=kept[1],
            digests=kept[2],
            provenance=self.provenance,
        )

    def described(self, **notes: str) -> Activations:
        """Return the same activations with notes added to their provenance, such as model="my fine-tuned net"."""
        copy = self.holding(self._arrays)
        copy.provenance |= notes
        return copy

    def holding(self, arrays: Mapping[str, Array]) -> Activations:
        """Return other arrays over the same rows."""
        return Activations(
            arrays,
            example_ids=self.example_ids,
            positions=self.positions,
            digests=self.digests,
            provenance=self.provenance,
        )


def _checked_layers(arrays: Mapping[str, Array]) -> dict[str, Array]:
    if not isinstance(arrays, Mapping):
        raise TypeError(f"activations must be a mapping of layer name to array (n, p), got {described(arrays)}.")
    if not arrays:
        raise ValueError("activations must hold at least one layer, got an empty mapping.")
    first = None
    for name, array in arrays.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"a layer name must be non-empty text, got {quoted(name)}: rename the layer.")
        check_representation(array, f"layer {quoted(name)}")
        if first is None:
            first = name
        elif array.shape[0] != arrays[first].shape[0]:
            raise ValueError(
                f"layer {quoted(name)} must have as many rows as layer {quoted(first)} ({arrays[first].shape[0]}), got "
                f"{array.shape[0]}: all layers hold the same examples in the same order."
            )
    return dict(arrays)


def _identity(values: Any, n: int, name: str) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name} must hold one entry per row ({n}), got shape {array.shape}.")
    if array.dtype.kind not in "iuSU":
        raise TypeError(f"{name} must be integers or text, got {array.dtype}: convert them, for instance with str.")
    return array


def unknown_layer(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Word the error for a layer nobody knows, with the nearest names.

    >>> unknown_layer("block.1", ["blocks.1", "head"])
    "unknown layer 'block.1', did you mean blocks.1? The layers are blocks.1, head."
    """
    return unknown("layer", name, known)


def unknown(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Word the error for a name that nobody knows, with the nearest ones."""
    known = list(dict.fromkeys(known))
    # Comparing very long names takes hours and finds nothing.
    near = difflib.get_close_matches(name[:LONGEST], [k for k in known if len(k) <= LONGEST], n=3, cutoff=0.5)
    guess = f", did you mean {' or '.join(map(shown, near))}? The" if near else ": the"
    return f"unknown {what} {quoted(name)}{guess} {what}s are {listed(known, most=20)}."


def matching(names: Sequence[str] | Mapping[str, Any], patterns: Sequence[str]) -> list[str]:
    """Return the names that match any pattern, in their own order; a pattern without a match is an error.

    >>> matching(["a.0", "a.0.b", "c"], ["a.*"])
    ['a.0']
    >>> matching(["a.0", "a.0.b", "c"], ["a.**"])
    ['a.0', 'a.0.b']
    """
    names = list(names)
    kept: set[str] = set()
    for pattern in patterns:
        expression = glob_expression(pattern)
        found = {name for name in names if expression.fullmatch(name)}
        if not found:
            raise KeyError(unknown_layer(pattern, names))
        kept |= found
    return [name for name in names if name in kept]


def glob_expression(pattern: str) -> re.Pattern[str]:
    """Translate a glob over dotted names to a regular expression."""
    if not isinstance(pattern, str):
        raise TypeError(f"a layer must be selected by name or glob, got {described(pattern)}: write it as text.")
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meaning = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.DOTALL)


def check_pairing(a: Activations, b: Activations, names: tuple[str, str] = ("a", "b")) -> None:
    """Raise unless the rows of both are, as far as known, the same examples in the same order."""
    if a.n != b.n:
        raise ValueError(
            f"{names[1]} must have as many rows as {names[0]} ({a.n}), got {b.n}: both must hold the same examples in "
            f"the same order."
        )
    for what, first, second in (
        ("example ids", a.example_ids, b.example_ids),
        ("positions", a.positions, b.positions),
    ):
        if first is not None and second is not None and not np.array_equal(first, second):
            row = int(np.argmax(first != second))
            same = np.array_equal(np.sort(first), np.sort(second)) if first.dtype.kind == second.dtype.kind else False
            sort = "sort both by id, a.take(numpy.argsort(a.example_ids))"
            remedy = sort if same else "extract both from the same examples"
            raise ValueError(
                f"{names[0]} and {names[1]} must hold the same examples in the same order, got {what} that differ first in "
                f"row {row} ({first[row]} and {second[row]}): {remedy}."
            )
    if a.example_ids is None or b.example_ids is None:
        _check_digests(a.digests, b.digests, names)


def _check_digests(first: np.ndarray | None, second: np.ndarray | None, names: tuple[str, str]) -> None:
    if first is None or second is None or np.array_equal(first, second):
        return
    if np.array_equal(np.sort(first), np.sort(second)):
        row = int(np.argmax(first != second))
        raise ValueError(
            f"{names[0]} and {names[1]} must hold the same examples in the same order, got the same inputs in another "
            f"order (first in row {row}): extract both without shuffling, or pass example_ids and sort by them with .take."
        )
