"""Activations: an ordered mapping layer → representation over the same rows, with the identity of the rows."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import Array, check_representation, described
from homolog.diagnostics import listed
from homolog.markup import paragraphs, table, title
from homolog.names import LONGEST, check_text, layer_of, quoted, shown, writable

MODULES = "modules of the layers"
"""Key under which files keep what made each layer, beside its provenance."""


class Module(NamedTuple):
    """What made a layer: the class of the module, such as "Conv2d", and the shape of its output for one example, "64 × 8 × 8"."""

    type: str
    shape: str


UNKNOWN_MODULE = Module("", "")


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
    modules
        layer name → Module, what made it, where that is known; results carry it on.

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
        modules: Mapping[str, Module] | None = None,
    ) -> None:
        self._arrays = _checked_layers(arrays, lambda name: f"layer {quoted(name)}")
        self.n = next(iter(self._arrays.values())).shape[0]
        self.example_ids = _checked_identity(example_ids, self.n, "example_ids")
        self.positions = _checked_identity(positions, self.n, "positions")
        self.digests = _checked_identity(digests, self.n, "digests")
        # Of where layers come from nothing is refused: names of files may be of any encoding.
        self.provenance = {
            writable(key): writable(note) if isinstance(note, str) else note for key, note in (provenance or {}).items()
        }
        known = _modules_of(self.provenance.pop(MODULES, "{}")) | dict(modules or {})
        self.modules = {name: known[name] for name in self._arrays if name in known}

    @classmethod
    def of_model(cls, arrays: Mapping[str, Array], model: str) -> Activations:
        """Return layers whose errors name the model, too."""
        found = cls.__new__(cls)
        found._arrays = _checked_layers(arrays, lambda name: layer_of(name, model))
        found.n = next(iter(found._arrays.values())).shape[0]
        found.example_ids = found.positions = found.digests = None
        found.provenance, found.modules = {}, {}
        return found

    @property
    def notes(self) -> dict[str, str]:
        """What a file keeps of where layers come from, as text: the provenance, and what made each layer."""
        return self.provenance | ({MODULES: json.dumps(self.modules, ensure_ascii=False)} if self.modules else {})

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

    def _repr_html_(self) -> str:
        heads = ("layer", "features", "dtype", *(("module", "shape") if self.modules else ()))
        rows = [
            (name, array.shape[1], str(array.dtype).rpartition(".")[2], *self.modules.get(name, UNKNOWN_MODULE))
            for name, array in self.items()
        ]
        notes = ", ".join(f"{key}: {note}" for key, note in self.provenance.items())
        first = title(f"{len(self)} layers over {self.n} rows")
        return first + table(heads, {"": [row[: len(heads)] for row in rows]}) + paragraphs([notes] * bool(notes))

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
        made = {name: self.modules[old] for old, name in zip(self, new, strict=True) if old in self.modules}
        return self.holding(dict(zip(new, self._arrays.values(), strict=True)), made)

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
            modules=self.modules,
        )

    def described(self, **notes: str) -> Activations:
        """Return the same activations with notes added to their provenance, such as model="my fine-tuned net"."""
        copy = self.holding(self._arrays)
        copy.provenance |= notes
        return copy

    def holding(self, arrays: Mapping[str, Array], modules: Mapping[str, Module] | None = None) -> Activations:
        """Return other arrays over the same rows."""
        return Activations(
            arrays,
            example_ids=self.example_ids,
            positions=self.positions,
            digests=self.digests,
            provenance=self.provenance,
            modules=self.modules if modules is None else modules,
        )


def _modules_of(text: str) -> dict[str, Module]:
    """Return what made each layer, as a file says it; nothing where a file says it otherwise."""
    try:
        found = json.loads(text)
        pairs = {name: Module(*map(str, made)) for name, made in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return pairs


def _checked_layers(arrays: Mapping[str, Array], title: Callable[[str], str]) -> dict[str, Array]:
    if not isinstance(arrays, Mapping):
        raise TypeError(f"activations must be a mapping of layer name to array (n, p), got {described(arrays)}.")
    if not arrays:
        raise ValueError("activations must hold at least one layer, got an empty mapping.")
    first = None
    for name, array in arrays.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"a layer name must be non-empty text, got {quoted(name)}: rename the layer.")
        if writable(name) != name:
            raise ValueError(f"a layer name must be text that UTF-8 can hold, got {quoted(name)}: rename the layer.")
        check_representation(array, title(name))
        if first is None:
            first = name
        elif array.shape[0] != arrays[first].shape[0]:
            raise ValueError(
                f"layer {quoted(name)} must have as many rows as layer {quoted(first)} ({arrays[first].shape[0]}), got "
                f"{array.shape[0]}: all layers hold the same examples in the same order."
            )
    return dict(arrays)


def _checked_identity(values: Any, n: int, name: str) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name} must hold one entry per row ({n}), got shape {array.shape}.")
    if array.dtype.kind not in "iuSU":
        raise TypeError(f"{name} must be integers or text, got {array.dtype}: convert them, for instance with str.")
    check_text(array, name)
    return array


def unknown_layer(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Word the error for a layer nobody knows, with the nearest names.

    >>> unknown_layer("block.1", ["blocks.1", "head"])
    "unknown layer 'block.1', did you mean blocks.1? The layers are blocks.1, head."
    """
    return unknown_among("layer", name, known)


def unknown_among(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Word the error for a name that nobody knows, with the nearest ones."""
    known = list(dict.fromkeys(known))
    # Comparing very long names takes hours and finds nothing.
    near = difflib.get_close_matches(name[:LONGEST], [k for k in known if len(k) <= LONGEST], n=3, cutoff=0.5)
    guess = f", did you mean {' or '.join(map(shown, near))}? The" if near else ": the"
    return f"unknown {what} {quoted(name)}{guess} {what}s are {listed(known, most=20) or 'none'}."


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
    names = (shown(names[0]), shown(names[1]))
    if a.n != b.n:
        matched = _both_have(a, b, "example_ids") or _both_have(a, b, "digests")
        remedy = f"homolog.common_rows({', '.join(names)}) keeps the rows of both" if matched else "extract both alike"
        raise ValueError(
            f"{names[1]} must have as many rows as {names[0]} ({a.n}), got {b.n}: both must hold the same examples in "
            f"the same order; {remedy}."
        )
    for what, first, second in (
        ("example ids", a.example_ids, b.example_ids),
        ("positions", a.positions, b.positions),
    ):
        if first is not None and second is not None and not np.array_equal(first, second):
            row = int(np.argmax(first != second))
            same = first.dtype.kind == second.dtype.kind and len(np.intersect1d(first, second)) > 1
            common = f"homolog.common_rows({', '.join(names)}) keeps the rows of both, in one order"
            remedy = common if same else "extract both from the same examples"
            raise ValueError(
                f"{names[0]} and {names[1]} must hold the same examples in the same order, got {what} that differ first in "
                f"row {row} ({quoted(first[row].item())} and {quoted(second[row].item())}): {remedy}."
            )
    if a.digests is not None and b.digests is not None:
        _check_digests(_inputs(a), _inputs(b), names)


def _inputs(side: Activations) -> np.ndarray:
    """Return a number for the input of every row, another for every position of an example."""
    assert side.digests is not None  # who asks has looked
    if side.positions is None:
        return side.digests
    return side.digests.astype(np.uint64) ^ (side.positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _check_digests(first: np.ndarray, second: np.ndarray, names: tuple[str, str]) -> None:
    """Raise where the same inputs stand in other rows, whatever the ids say."""
    if not np.array_equal(first, second) and _same_inputs_elsewhere(first, second):
        row = int(np.argmax(first != second))
        raise ValueError(
            f"{names[0]} and {names[1]} must hold the same examples in the same order, got the same inputs in another "
            f"order, or others among them (first in row {row}): extract both without shuffling, pass example_ids, or keep the "
            f"rows of both with homolog.common_rows({', '.join(names)})."
        )


def _same_inputs_elsewhere(first: np.ndarray, second: np.ndarray) -> bool:
    """Say whether an input that either side has once stands in different rows; or all inputs do, however often they occur."""
    singles, rows = [], []
    for values in (first, second):
        found, where, counts = np.unique(values, return_index=True, return_counts=True)
        singles.append(found[counts == 1])
        rows.append(where[counts == 1])
    _, i, j = np.intersect1d(singles[0], singles[1], assume_unique=True, return_indices=True)
    return bool(np.any(rows[0][i] != rows[1][j])) or np.array_equal(np.sort(first), np.sort(second))


def row_identity(models: Sequence[Activations]) -> str:
    """Say how it is known that rows of models that were checked are the same examples."""
    if len(models) < 2:
        return "one model"
    pairs = list(itertools.pairwise(models))
    if all(_says_who(a) and _says_who(b) for a, b in pairs):
        return "example ids"
    if all((_says_who(a) and _says_who(b)) or _are_equal(a.digests, b.digests) for a, b in pairs):
        return "digests of inputs"
    return "unknown"


def _says_who(side: Activations) -> bool:
    """Say whether example ids tell examples apart; the numbers that extraction gives the examples of positions do not."""
    ids = side.example_ids
    given = side.provenance.get("example_ids") == "given"
    if ids is None or side.positions is None or ids.dtype.kind not in "iu" or given:
        return ids is not None
    kinds = np.unique(ids)
    return not np.array_equal(kinds, np.arange(len(kinds)))


def identified(side: Activations) -> bool:
    """Say whether activations say anything of who their rows are, if only that nobody can tell."""
    return side.example_ids is not None or side.digests is not None or side.provenance.get("inputs") == NOT_DIGESTED


NOT_DIGESTED = "cannot be digested"
"""What the provenance says of inputs that hold something of which equality cannot be told."""


def _are_equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    return first is not None and second is not None and np.array_equal(first, second)


def common_rows(a: Activations, b: Activations) -> tuple[Activations, Activations]:
    """Keep the rows that both hold, matched by who they are, in the order of a.

    Parameters
    ----------
    a, b
        Activations (open a file with `homolog.open` first) that both carry example ids, with positions where rows are tokens or
        pixels; or else digests of their inputs, each of which occurs once.

    Returns
    -------
    tuple of Activations
        a and b, over the same rows in the same order.

    Raises
    ------
    TypeError
        If a or b is not Activations.
    ValueError
        If nothing identifies the rows of both, an identity occurs twice on a side, or fewer than 2 rows are common.

    Notes
    -----
    Layers of a store are read into memory.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> a = hl.Activations({"x": np.arange(8.0).reshape(4, 2)}, example_ids=["d", "a", "c", "b"])
    >>> b = hl.Activations({"y": np.arange(6.0).reshape(3, 2)}, example_ids=["a", "b", "d"])
    >>> a, b = hl.common_rows(a, b)
    >>> a.example_ids, b["y"][:, 0]
    (array(['d', 'a', 'b'], dtype='<U1'), array([4., 0., 2.]))
    """
    for name, side in (("a", a), ("b", b)):
        if not isinstance(side, Activations):
            raise TypeError(
                f"{name} must be Activations, which say whose their rows are, got {described(side)}: use homolog.extract, "
                f"homolog.open, or homolog.Activations(layers, example_ids=...)."
            )
    return matched_rows(a, b, ("a", "b"))


def matched_rows(a: Activations, b: Activations, names: tuple[str, str]) -> tuple[Activations, Activations]:
    """Keep the rows that both hold, in the order of the first; errors call the sides by these names."""
    names = (shown(names[0]), shown(names[1]))
    ids, digests = _both_have(a, b, "example_ids"), _both_have(a, b, "digests")
    if not ids and not digests:
        raise ValueError(
            f"the rows of {names[0]} and {names[1]} are matched by example ids or by digests of their inputs, got none that both "
            f"carry ({names[0]}: {_carried(a)}; {names[1]}: {_carried(b)}): pass example_ids to homolog.extract or "
            f"homolog.Activations for both."
        )
    by_ids = ids and (not digests or (_says_who(a) and _says_who(b)))
    rows = [_numbered(side, name, by_ids=by_ids) for side, name in zip((a, b), names, strict=True)]
    common = [key for key in rows[0] if key in rows[1]]
    if len(common) < 2:
        raise ValueError(
            f"{names[0]} and {names[1]} must have at least 2 rows in common, got {len(common)} of {a.n} and {b.n}: extract both "
            f"from the same examples, with the same example_ids."
        )
    first, second = (side.take([found[key] for key in common]) for side, found in zip((a, b), rows, strict=True))
    return first, second


def _carried(side: Activations) -> str:
    """Say what identifies rows."""
    return "example ids" if side.example_ids is not None else "digests" if side.digests is not None else "neither"


def _both_have(a: Activations, b: Activations, name: str) -> bool:
    return getattr(a, name) is not None and getattr(b, name) is not None


def _numbered(side: Activations, name: str, *, by_ids: bool) -> dict[Any, int]:
    """Return identity → number of the row."""
    identity = side.example_ids if by_ids else side.digests
    assert identity is not None  # who asks has looked
    keys: list[Any] = identity.tolist()
    if side.positions is not None:
        keys = list(zip(keys, side.positions.tolist(), strict=True))
    found = {key: row for row, key in enumerate(keys)}
    if len(found) < len(keys):
        what = "example ids" if by_ids else "inputs"
        raise ValueError(
            f"{name} must hold every row once to be matched, got {len(keys) - len(found)} {what} again: pass example_ids that "
            f"differ, or drop the copies with .take."
        )
    return found
