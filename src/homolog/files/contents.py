"""What a file holds before it is read: which of it may be layers, who its rows are, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from homolog.activations import unknown_among
from homolog.arrays import Array
from homolog.diagnostics import Caution, FileWarning, give, listed
from homolog.names import quoted

IDENTITIES = ("example_ids", "positions", "digests")
"""What files that homolog wrote hold of the rows, beside the layers."""
RESERVED = "homolog:"
"""How the names of what is no layer begin, in files that homolog wrote."""
ID_NAMES = ("example_id", "example_ids", "id", "ids", "index", "__index_level_0__", "unnamed: 0", "")
"""What columns of ids are called, in lower case; an empty name is that of the index in a table that pandas wrote as text."""
OBJECTS = "must hold numbers, got pickled Python objects, which are not read because reading them can run code"
_UNNAMED = "__index_level_"
"""How pandas calls an index without a name."""
_ENDS_OF_IDS = ("_id", "_ids", " id")
_LABELS = ("label", "labels", "class", "target", "targets")
"""What columns of numbers are called that say what a row is, in lower case."""
_ENDS_OF_WEIGHTS = ("weight", "bias", "kernel", "kernel:0", "running_mean", "running_var", "num_batches_tracked")


class Refusal(ValueError):
    """What a file holds cannot be read: the rest of a sentence that begins with the file."""


class Unknown(LookupError):
    """A file holds nothing of the name that was asked for."""


class Entry(NamedTuple):
    """Something that a file holds under a name."""

    kind: Literal["layer", "numbers", "text", "other", "refused"]
    """What may be a layer (n, p); one number per row; one text per row; what is left out; what is not read, for a reason."""
    read: Callable[[], Any] = lambda: None
    what: str = ""
    """What sentences call it; for what is refused: what must be, what was got, and the remedy."""


@dataclass
class Contents:
    """What a file holds, by name, in its order."""

    entries: dict[str, Entry]
    notes: dict[str, Any] = field(default_factory=dict)
    """What homolog wrote beside the layers."""
    index: tuple[str, ...] = ()
    """Which entries the file itself says are the index of its rows."""
    gathered: str | None = None
    """What the one layer is called whose features are all entries of one number per row; None where these are no features."""


def members(held: Mapping[str, Entry]) -> Contents:
    """Return entries by name, of which some may be what homolog wrote beside the layers."""
    notes = {name.removeprefix(RESERVED): entry.read() for name, entry in held.items() if name.startswith(RESERVED)}
    return Contents({name: entry for name, entry in held.items() if not name.startswith(RESERVED)}, notes)


def entry_of(name: str, shape: tuple[int, ...], dtype: np.dtype, read: Callable[[], Any]) -> Entry:
    """Say what an array may be by its name, shape and type, in a format where arrays have any number of axes."""
    if dtype.hasobject:
        return Entry("refused", what=OBJECTS)
    if len(shape) == 0:
        return Entry("other", read, "one number" if dtype.kind in "iufb" else "one text")
    if len(shape) == 2 and 1 in shape and dtype.kind in "iuSUT" and looks_like_ids(name):
        return entry_of(name, (max(shape),), dtype, lambda: np.asarray(read()).reshape(-1))
    if dtype.kind == "b":
        return Entry("other", read, "booleans")
    if dtype.kind in "SUT":
        return Entry("text", read) if len(shape) == 1 else Entry("other", read, "text")
    return Entry("numbers" if len(shape) == 1 and dtype.kind in "iuf" else "layer", read)


def of_shape(shape: tuple[int, ...], read: Callable[[], Any]) -> Entry:
    """Say what an array may be in a format where every array has two axes: vectors and single numbers have them, too."""
    if 0 in shape:
        return Entry("other", what="nothing")
    if len(shape) > 2 or min(shape, default=1) > 1:
        return Entry("layer", read)
    return (
        Entry("numbers", lambda: np.asarray(read()).reshape(-1))
        if max(shape, default=1) > 1
        else Entry("other", what="one number")
    )


def stacked(rows: Sequence[Any], name: str) -> np.ndarray:
    """Return vectors, one for each row, as an array (n, p)."""
    vectors = [np.asarray(row).reshape(-1) for row in rows]
    odd = next((row for row, vector in enumerate(vectors) if vector.shape != vectors[0].shape), None)
    if odd is not None:
        raise Refusal(
            f"{quoted(name)} must hold vectors of one length, got {len(vectors[0])} numbers in row 0 and {len(vectors[odd])} in "
            f"row {odd}: average or cut them to one length first."
        )
    return np.stack(vectors)


def layers_and_notes(
    contents: Contents, key: str | None, ids: str | None, warned: str
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the layers that are asked for, and who their rows are; what is left out is told under a warning."""
    names = list(contents.entries) if key is None else _named(contents, key)
    for name in names:
        if contents.entries[name].kind == "refused":
            raise Refusal(_why_not(contents.entries, name))
    identity = None if "example_ids" in contents.notes and ids is None else _identity(contents, names, ids)
    if identity is not None and ids is None and not _whole(contents.entries[identity]):
        identity = None  # times and the like
    kept = {name: contents.entries[name] for name in names if name != identity or name == key}
    layers = {name: entry.read() for name, entry in kept.items() if entry.kind == "layer"}
    numbers = {name: entry for name, entry in kept.items() if entry.kind == "numbers"}
    used = {name: entry for name, entry in numbers.items() if name == key or _is_feature(contents, name)}
    if used:
        layers |= _features(used, contents.gathered, key, layers)
    left_out = {name: _called(entry) for name, entry in kept.items() if entry.kind != "layer" and name not in used}
    if identity is not None:
        left_out = {name: what for name, what in left_out.items() if name not in contents.index}
    if not layers:
        raise Refusal(_nothing(contents.entries, left_out, identity))
    _check_weights(layers, left_out)
    _check_rows(layers)
    notes = dict(contents.notes)
    if identity is not None:
        notes["example_ids"] = _checked_ids(contents.entries[identity].read(), identity)
        _tell_odd_ids(notes, identity, layers, warned, given=ids is not None)
    if left_out:
        what = listed([f"{quoted(name)} ({what})" for name, what in left_out.items()], most=8)
        warn(
            f"in {warned}, no layer is made of {what}, but of arrays and columns of numbers; ids= names what says who rows are."
        )
    return layers, notes


def warn(sentence: str) -> None:
    """Say that something is left out."""
    give([Caution(FileWarning, sentence)])


def _called(entry: Entry) -> str:
    return entry.what or {"numbers": "one number per row", "text": "text"}.get(entry.kind, "no array")


def _named(contents: Contents, key: str) -> list[str]:
    """Return what a key names: one entry, all of a group, or all columns that are features together."""
    entries = contents.entries
    together = [name for name, entry in entries.items() if entry.kind == "numbers" and _is_feature(contents, name)]
    known = [*([contents.gathered] if contents.gathered is not None and together else []), *entries]
    plain = key.strip("/") or key
    for name in (key, plain):
        if name in entries:
            return [name]
    if key == contents.gathered and together:
        return together
    within = [name for name in entries if name.startswith((f"{plain}/", f"{plain}."))]
    if not within:
        raise Unknown(unknown_among("key", key, known))
    return within


def _why_not(entries: Mapping[str, Entry], name: str) -> str:
    others = [other for other, entry in entries.items() if entry.kind in ("layer", "numbers")]
    instead = f", or name another with key= ({listed(others)})" if others else ""
    return f"{quoted(name)} {entries[name].what}{instead}."


def _is_feature(contents: Contents, name: str) -> bool:
    """Say whether a column of numbers is a feature: ids and classes are numbers, too."""
    aside = name in contents.index or looks_like_ids(name) or name.lower() in _LABELS or name.startswith(RESERVED)
    return contents.gathered is not None and not aside


def _features(
    numbers: Mapping[str, Entry], gathered: str | None, key: str | None, layers: Mapping[str, Any]
) -> dict[str, Array]:
    """Return columns of numbers side by side as one layer; a single one, if it is asked for, under its own name."""
    if key is not None and key in numbers:
        return {key: np.asarray(numbers[key].read()).reshape(-1, 1)}
    assert gathered is not None  # who calls has looked
    columns = {name: np.asarray(entry.read()) for name, entry in numbers.items()}
    together = np.result_type(*(column.dtype for column in columns.values()))
    for name, column in columns.items():
        if together.kind == "f" and column.dtype.kind in "iu" and np.any(np.abs(column.astype(float)) >= 2.0**53):
            raise Refusal(
                f"the column {quoted(name)} must hold integers below 2**53, which floats can tell, beside columns of "
                f"floats, got larger ones: name the columns apart with key=, or leave it out of the file."
            )
    name = gathered if gathered not in layers else f"{gathered}.columns"
    return {name: np.stack([column.astype(together, copy=False) for column in columns.values()], axis=1)}


# --- Who the rows are


def _identity(contents: Contents, names: list[str], ids: str | None) -> str | None:
    """Return the name of what says who the rows are: as asked for, as the file says, or as it is called."""
    entries = contents.entries
    able = [name for name, entry in entries.items() if entry.kind in ("numbers", "text")]
    if ids is not None:
        if ids not in able:
            raise Unknown(unknown_among("id column", ids, able))
        return ids
    said = [name for name in contents.index if name in able]
    if len(said) == 1 and not said[0].startswith(_UNNAMED):
        return said[0]
    able = [name for name in able if name not in contents.index or len(contents.index) == 1]
    around = [{"", *_parents(name)} for name in names if entries[name].kind == "layer"]
    near = [name for name in able if _parent(name) in set.intersection({"", *_parents(name)}, *around)]
    for rank in range(len(ID_NAMES)):
        found = [name for name in near if _rank(name) == rank]
        if found:
            return max(found, key=len)  # the nearest: that of the group before that of the file
    ending = [name for name in near if _last(name).lower().endswith(_ENDS_OF_IDS)]
    return ending[0] if len(ending) == 1 else None


def _rank(name: str) -> int:
    last = _last(name).lower()
    return ID_NAMES.index(last) if last in ID_NAMES else len(ID_NAMES)


def _whole(entry: Entry) -> bool:
    """Say whether what is called ids may be ids: text, or whole numbers."""
    values = entry.read() if entry.kind == "numbers" else None
    return not (isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.any(values != np.rint(values)))


def looks_like_ids(name: str) -> bool:
    """Say whether numbers under a name are those of rows, and no feature."""
    return _rank(name) < len(ID_NAMES) or _last(name).lower().endswith(_ENDS_OF_IDS)


def _last(name: str) -> str:
    return name.rpartition("/")[2] if "/" in name else name.rpartition(".")[2]


def _parent(name: str) -> str:
    return name[: -len(_last(name))].rstrip("/.")


def _parents(name: str) -> Iterable[str]:
    parent = _parent(name)
    while parent:
        yield parent
        parent = _parent(parent)


def _checked_ids(values: Any, name: str) -> np.ndarray:
    """Return ids as integers or text; text that files hold as bytes is UTF-8."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.all(values == np.rint(values)):
        values = values.astype(np.int64)  # where a format knows no integers
    found = values if isinstance(values, np.ndarray) and values.dtype.kind in "iuU" else list(values)
    if isinstance(found, list):
        texts = [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in found]
        whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in texts)
        odd = next((row for row, value in enumerate(texts) if not (whole or isinstance(value, str))), None)
        if odd is not None:
            raise Refusal(
                f"the ids {quoted(name)} must be integers or text, got {quoted(texts[odd])} in row {odd}: fill what is missing, "
                f"or name other ids with ids=."
            )
        found = np.asarray(texts) if texts else np.asarray([], dtype=str)
    return found


def _tell_odd_ids(notes: dict[str, Any], name: str, layers: Mapping[str, Any], warned: str, *, given: bool) -> None:
    """Say where ids are not those of the rows, or occur again."""
    found, first = notes["example_ids"], next(iter(layers.values()))
    n = first.shape[0] if getattr(first, "shape", ()) else 0
    if len(found) != n and not given:
        del notes["example_ids"]
        sides = (
            "; if the layers have their examples in columns, turn them with .T"
            if first.shape[1:] == (len(found),)
            else ""
        )
        warn(f"in {warned}, {quoted(name)} holds {len(found)} ids for {n} rows, and is not taken for theirs{sides}.")
    elif len(np.unique(found)) < len(found):
        warn(f"in {warned}, the ids {quoted(name)} hold some ids again: rows cannot be matched by them.")


# --- What is no activations


def look_like_weights(names: Iterable[str]) -> bool:
    """Say whether names are those of a model's weights."""
    return any(_last(name).lower() in _ENDS_OF_WEIGHTS for name in names)


WEIGHTS = "it looks like the weights of a model: load them into the model and take its layers with homolog.extract"


def _check_weights(layers: Mapping[str, Any], left_out: Mapping[str, str]) -> None:
    counts = {getattr(array, "shape", (0,))[0] for array in layers.values()}
    if look_like_weights(layers) and (len(counts) > 1 or look_like_weights(left_out)):
        raise Refusal(f"the arrays must be activations with equal rows, got {listed(layers)}; {WEIGHTS}.")


def _check_rows(layers: Mapping[str, Any]) -> None:
    """Raise where layers are of different examples, as in files that hold more than one model, or examples in columns."""
    shapes = {name: array.shape for name, array in layers.items() if len(getattr(array, "shape", ())) == 2}
    first = next(iter(shapes), "")
    odd = next((name for name, shape in shapes.items() if shape[0] != shapes[first][0]), None)
    if odd is not None:
        sideways = (
            "; if the examples are in columns, turn the arrays with .T"
            if len({q for _, q in shapes.values()}) == 1
            else ""
        )
        raise Refusal(
            f"layer {quoted(odd)} must have as many rows as layer {quoted(first)} ({shapes[first][0]}), got {shapes[odd][0]}: "
            f"all layers hold the same examples, so name some with key={sideways}."
        )


def _nothing(entries: Mapping[str, Entry], left_out: Mapping[str, str], identity: str | None) -> str:
    """Say that there is no layer, and what there is."""
    held = [f"{quoted(name)} ({left_out.get(name, 'ids')})" for name in (*left_out, *([identity] if identity else []))]
    if look_like_weights(left_out):
        return f"there must be an array (examples, features), got {listed(held)}; {WEIGHTS}."
    numbers = [name for name in left_out if entries[name].kind == "numbers"]
    others = [name for name, entry in entries.items() if entry.kind == "layer"]
    remedy = "write arrays or columns of numbers, a row for each example"
    if numbers or others:
        remedy = (
            f"name another with key= ({listed(others)})" if others else f"a single feature is named, key={numbers[0]!r}"
        )
    return f"there must be an array (examples, features), got {listed(held, most=8) or 'nothing'}: {remedy}."
