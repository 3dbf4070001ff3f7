"""Activations: an ordered mapping layer → representation over the same rows, with the identity of the rows."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import Array, check_representation, described
from homolog.conversion import is_table, taken, taken_layer
from homolog.diagnostics import Caution, give, listed
from homolog.frames.frame import Table
from homolog.id_columns import ID_NAMES
from homolog.markup import paragraphs, table, title
from homolog.names import LONGEST, check_text, layer_of, quoted, shown, writable
from homolog.pairing import NUMBERED, check_identities
from homolog.position_norms import PositionNorms
from homolog.sketching import Sketch, SketchedRows, check_old_note, in_words, read_name, restored
from homolog.sparse import SparseRows

MODULES = "modules of the layers"
"""Key under which files keep what made each layer, beside its provenance."""


class Module(NamedTuple):
    """What made a layer: the class of the module, such as "Conv2d", and the shape of its output for one example, "64 × 8 × 8"."""

    type: str
    shape: str
    norms: str = ""
    """Of a layer of tokens, how long its vectors are at the first of them, as `position_norms` writes it."""


UNKNOWN_MODULE = Module("", "")


class Activations(Mapping[str, Array]):
    """Representations of several layers over the same examples.

    Parameters
    ----------
    arrays
        mapping layer name → array (n, p), in the order the layers should keep. A DataFrame of numbers, a DataArray, a list of
        vectors and a sparse matrix are layers, too; a DataFrame by itself has one layer per column of vectors, or one,
        "features", of its columns of numbers.
    example_ids
        n identifiers (integers or strings), one per row; by default the index, or the column `id`, of DataFrames.
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

    Warns
    -----
    LeftOutWarning
        If a DataFrame has columns that are no features, such as text.

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
        check_old_note(provenance or {})
        self._hold(_checked_layers(arrays, lambda name: f"layer {quoted(name)}"))
        if example_ids is not None:  # rather than those of DataFrames
            self.example_ids = _checked_identity(example_ids, self.n, "example_ids")
            self.positions = None
            self.provenance.clear()
        if positions is not None:
            self.positions = _checked_identity(positions, self.n, "positions")
        self.digests = _checked_identity(digests, self.n, "digests")
        # Of where layers come from nothing is refused: names of files may be of any encoding.
        self.provenance |= {
            writable(key): writable(note) if isinstance(note, str) else note for key, note in (provenance or {}).items()
        }
        known = modules_of(self.provenance.pop(MODULES, "{}")) | dict(modules or {})
        self.modules = {name: known[name] for name in self._arrays if name in known}

    @classmethod
    def of_model(cls, arrays: Mapping[str, Array], model: str) -> Activations:
        """Return layers whose errors name the model, too."""
        found = cls.__new__(cls)
        found._hold(_checked_layers(arrays, lambda name: layer_of(name, model)))
        found.digests, found.modules = None, {}
        return found

    @classmethod
    def of_table(cls, given: Table, model: str) -> Activations:
        """Return the layers of a DataFrame with the identities of its rows."""
        found = cls.__new__(cls)
        give(given.cautions)
        found._hold(replace(given, layers=_sound(given.layers, lambda name: layer_of(name, model))))
        found.digests, found.modules = None, {}
        return found

    def _hold(self, given: Table) -> None:
        """Hold checked layers, with what DataFrames among them say of the rows."""
        self._arrays = dict(given.layers)
        self.n = next(iter(self._arrays.values())).shape[0]
        self.example_ids = _checked_identity(given.example_ids, self.n, "example_ids")
        self.positions = _checked_identity(given.positions, self.n, "positions")
        self.provenance = {"index": given.index} if given.index else {}
        if given.positions is not None:
            self.provenance["example_ids"] = "given"

    @property
    def index(self) -> str:
        """Where ids from a DataFrame come from, as `pairing.Identities` has it."""
        return self.provenance.get("index", "")

    @property
    def notes(self) -> dict[str, str]:
        """What a file keeps of where layers come from, as text: the provenance, and what made each layer."""
        made = {MODULES: json.dumps(self.modules, ensure_ascii=False)} if self.modules else {}
        return self.provenance | made

    @property
    def sketches(self) -> dict[str, Sketch]:
        """What makes the sketches of the layers of which these are kept: layer → sketch."""
        return {name: array.sketch for name, array in self._arrays.items() if isinstance(array, SketchedRows)}

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
        kept = f"; {len(self.sketches)} of them kept as sketches" if self.sketches else ""
        return f"<Activations of {len(self)} layers over {self.n} rows: {shapes}{more}{kept}>"

    def _repr_html_(self) -> str:
        sketched = ("kept as",) if self.sketches else ()
        heads = ("layer", "features", "dtype", *sketched, *(("module", "shape") if self.modules else ()))
        rows = [
            (
                *(name, array.shape[1], str(array.dtype).rpartition(".")[2]),
                *(in_words(self.sketches.get(name)) for _ in sketched),
                *self.modules.get(name, UNKNOWN_MODULE)[:2],
            )
            for name, array in self.items()
        ]
        notes = ", ".join(f"{key}: {note}" for key, note in self.provenance.items())
        first = title(f"{len(self)} layers over {self.n} rows")
        return first + table(heads, {"": [row[: len(heads)] for row in rows]}) + paragraphs([notes] * bool(notes))

    def select(self, *patterns: str | Sequence[str]) -> Activations:
        """Keep the layers whose names match any of these, or of lists of these: `*` stays in one dotted part, `**` crosses."""
        parts = [[each] if isinstance(each, str) or not isinstance(each, Iterable) else list(each) for each in patterns]
        kept = matching(self._arrays, [name for part in parts for name in part])
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
        return self.chosen(
            index, lambda array: array.take(index) if isinstance(array, SparseRows | SketchedRows) else array[index]
        )

    def chosen(self, index: np.ndarray, of_layer: Callable[[Array], Array]) -> Activations:
        """Return the rows of an index, which `of_layer` takes of every layer."""
        kept = [None if ids is None else ids[index] for ids in (self.example_ids, self.positions, self.digests)]
        provenance = {key: note for key, note in self.provenance.items() if (key, note) != ("index", NUMBERED)}
        return Activations(
            {name: of_layer(array) for name, array in self._arrays.items()},
            example_ids=kept[0],
            positions=kept[1],
            digests=kept[2],
            provenance=provenance,
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


def with_norms(modules: Mapping[str, Module], norms: Mapping[str, PositionNorms]) -> dict[str, Module]:
    """Return what made each layer, with what is known of the norms of its tokens."""
    return {name: made._replace(norms=norms[name].text) if name in norms else made for name, made in modules.items()}


def modules_of(text: str) -> dict[str, Module]:
    """Return what made each layer, as a file says it; nothing where a file says it otherwise."""
    try:
        found = json.loads(text)
        pairs = {name: Module(*map(str, made)) for name, made in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return pairs


def _checked_layers(arrays: Any, title: Callable[[str], str]) -> Table:
    """Return layers that are sound and have the same rows, with the identities that DataFrames among them give."""
    if is_table(arrays):
        whole = taken(arrays, "the table", "features")
        give(whole.cautions)
        return replace(whole, layers=_sound(whole.layers, title))
    if not isinstance(arrays, Mapping):
        raise TypeError(f"activations must be a mapping of layer name to array (n, p), got {described(arrays)}.")
    made = str(getattr(arrays, "attrs", {}).get("title", ""))
    if made.startswith("homolog "):
        kind = made.removeprefix("homolog ")
        raise TypeError(
            f"activations must hold layers, got the result of a {kind}: pass what was compared, or write the result with "
            f"result.to_netcdf."
        )
    arrays = _of_sketches(arrays, title)
    names = {name: title(name) if isinstance(name, str) else str(name) for name in arrays}
    tables = {name: taken_layer(array, names[name]) for name, array in arrays.items()}
    known = Table({})
    cautions: list[Caution] = []
    for name, each in tables.items():
        if each.example_ids is not None and known.example_ids is None:
            known, first = each, names[name]
        elif each.example_ids is not None:
            check_identities(known, each, (first, names[name]))
        elif each.index and not known.index:
            known = replace(known, index=each.index)
        cautions += each.cautions
    give(dict.fromkeys(cautions))
    return replace(known, layers=_sound({name: next(iter(t.layers.values())) for name, t in tables.items()}, title))


def _of_sketches(arrays: Mapping[Any, Any], title: Callable[[str], str]) -> Mapping[Any, Any]:
    """Return layers of which those that lie under the names of sketches are these."""
    plain = {name: read_name(name)[0] if isinstance(name, str) else name for name in arrays}
    twice = next((name for written, name in plain.items() if name != written and name in arrays), None)
    if twice is not None or len(set(plain.values())) < len(plain):
        twice = twice or next(name for name in plain.values() if list(plain.values()).count(name) > 1)
        raise ValueError(f"a layer must be there once, got {quoted(twice)} twice: rename one, or leave it out.")
    return {
        plain[name]: restored(name, array, title(plain[name])) if plain[name] != name else array
        for name, array in arrays.items()
    }


def _sound(arrays: Mapping[str, Array], title: Callable[[str], str]) -> dict[str, Array]:
    if not arrays:
        raise ValueError("activations must hold at least one layer, got an empty mapping.")
    first = None
    for name, array in arrays.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"a layer name must be non-empty text, got {quoted(name)}: rename the layer.")
        if writable(name) != name:
            raise ValueError(f"a layer name must be text that UTF-8 can hold, got {quoted(name)}: rename the layer.")
        if name.lower() in ID_NAMES and getattr(array, "ndim", 1) == 1:
            raise TypeError(
                f"{title(name)} must be an array (n, p), got {described(array)} of one entry per row: if it says whose the rows "
                f"are, pass it as example_ids=."
            )
        check_representation(array, title(name))
        if first is None:
            first = name
        elif array.shape[0] != arrays[first].shape[0]:
            raise ValueError(
                f"layer {quoted(name)} must have as many rows as layer {quoted(first)} ({arrays[first].shape[0]}), got "
                f"{array.shape[0]}: all layers hold the same examples in the same order."
            )
    return {
        name: array.named(title(name)) if isinstance(array, SketchedRows) else array for name, array in arrays.items()
    }


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


def unknown_layers(names: Sequence[str], known: Sequence[str] | Mapping[str, Any]) -> str:
    """Word the error for layers nobody knows, with the names near the first.

    >>> unknown_layers(["bloc", "tail", "stem"], ["block", "head"])
    "unknown layer 'bloc', did you mean block? The layers are block, head; unknown, too, are 'tail', 'stem'."
    """
    first, *others = dict.fromkeys(names)
    sentence = _stopped_at_a_dot(first, known) or unknown_layer(first, known)
    if not others:
        return sentence
    are = "are" if len(others) > 1 else "is"
    return f"{sentence.removesuffix('.')}; unknown, too, {are} {listed(map(quoted, others), most=20)}."


def _stopped_at_a_dot(pattern: str, known: Iterable[str]) -> str:
    """Word the error for a glob that would match names if its stars crossed dots; "" where it would not."""
    wider = re.sub(r"\*+", "**", pattern)
    expression = glob_expression(wider)
    found = [name for name in known if expression.fullmatch(name)] if wider != pattern else []
    if not found:
        return ""
    return f"no layer matches {quoted(pattern)}: * stops at a dot, and ** crosses dots; {quoted(wider)} matches {listed(found)}."


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
    unknown = []
    for pattern in patterns:
        expression = glob_expression(pattern)
        found = {name for name in names if expression.fullmatch(name)}
        unknown += [pattern] * (not found)
        kept |= found
    if unknown:
        raise KeyError(unknown_layers(unknown, names))
    return [name for name in names if name in kept]


def glob_expression(pattern: str) -> re.Pattern[str]:
    """Translate a glob over dotted names to a regular expression."""
    if not isinstance(pattern, str):
        raise TypeError(f"a layer must be selected by name or glob, got {described(pattern)}: write it as text.")
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meaning = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.DOTALL)


def identified(side: Activations) -> bool:
    """Say whether activations say anything of who their rows are, if only that nobody can tell."""
    return side.example_ids is not None or side.digests is not None or side.provenance.get("inputs") == NOT_DIGESTED


NOT_DIGESTED = "cannot be digested"
"""What the provenance says of inputs that hold something of which equality cannot be told."""
