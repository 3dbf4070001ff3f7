"""Which of what a file holds are the layers that are asked for, and who their rows are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from homolog.activations import unknown_among
from homolog.arrays import Array
from homolog.diagnostics import give, listed
from homolog.files.contents import (
    RESERVED,
    WEIGHTS,
    Contents,
    Entry,
    Refusal,
    Unknown,
    last_part,
    look_like_weights,
    warn,
)
from homolog.id_columns import (
    NUMBER,
    TEXT,
    Identity,
    doubts,
    identity_of,
    is_kept_index,
    is_no_feature,
    looks_like_ids,
    outweighing,
    positions_of,
)
from homolog.names import quoted


def layers_and_notes(
    contents: Contents, key: str | None, ids: str | None, warned: str
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the layers that are asked for, and who their rows are; what is left out is told under a warning."""
    names = list(contents.entries) if key is None else _named(contents, key)
    for name in names:
        if contents.entries[name].kind == "refused":
            raise Refusal(_why_not(contents.entries, name))
    who = None if "example_ids" in contents.notes and ids is None else _identity(contents, names, ids)
    if who is None and "example_ids" not in contents.notes:
        who = _identity_of_groups(contents, names)
    identity, positions = None if who is None else who.name, _positions(contents, who)
    kept = {name: contents.entries[name] for name in names if name not in (identity, positions) or name == key}
    layers, left_out = _layers(contents, kept, key, f"in {warned}")
    if identity is not None:
        left_out = {name: what for name, what in left_out.items() if name not in contents.index}
    if not layers:
        raise Refusal(_nothing(contents.entries, left_out, identity))
    _check_weights(layers, left_out)
    _check_rows(layers, warned)
    notes = dict(contents.notes)
    if positions is not None:
        notes["positions"] = _checked_ids(contents, positions)
    if identity is not None:
        notes["example_ids"] = _checked_ids(contents, identity)
        _tell_odd_ids(notes, identity, layers, warned, given=ids is not None)
        others = [name for name in able_to_be_ids(contents) if name not in (identity, *contents.index)]
        if said := doubts(who, others, partial(_texts, contents), lambda name: f"pass ids={quoted(name)}"):
            warn(f"in {warned}, {said}.")
    if left_out:
        what = listed([f"{quoted(name)} ({what})" for name, what in left_out.items()], most=8)
        warn(
            f"in {warned}, no layer is made of {what}, but of arrays and columns of numbers; ids= names the one that says whose "
            f"the rows are."
        )
    return layers, notes


def _layers(
    contents: Contents, kept: Mapping[str, Entry], key: str | None, warned: str
) -> tuple[dict[str, Array], dict[str, str]]:
    """Read what is a layer; and say what is none."""
    layers = {name: entry.read() for name, entry in kept.items() if entry.kind == "layer"}
    numbers = {name: entry for name, entry in kept.items() if entry.kind == "numbers"}
    used = {name: entry for name, entry in numbers.items() if name == key or _is_feature(contents, name)}
    if used:
        layers |= _features(used, contents.gathered, key, layers, warned)
    return layers, {name: _called(entry) for name, entry in kept.items() if entry.kind != "layer" and name not in used}


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
    aside = name in contents.index or is_no_feature(name) or name.startswith(RESERVED)
    return contents.gathered is not None and not aside


def _features(
    numbers: Mapping[str, Entry], gathered: str | None, key: str | None, layers: Mapping[str, Any], warned: str
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
    features = np.stack([column.astype(together, copy=False) for column in columns.values()], axis=1)
    give(outweighing(list(columns), features, warned))
    return {name: features}


# --- Who the rows are


def able_to_be_ids(contents: Contents) -> list[str]:
    """Return the names of what has one number or one text per row."""
    return [name for name, entry in contents.entries.items() if entry.kind in ("numbers", "text")]


def _identity(contents: Contents, names: list[str], ids: str | None) -> Identity | None:
    """Return what says who the rows are: as asked for, or by the rule of all tables."""
    able = able_to_be_ids(contents)
    if ids is not None:
        if ids not in able:
            raise Unknown(unknown_among("id column", ids, able))
        return Identity(ids)
    index = {name: _kind(contents, name) for name in contents.index if name in able}
    index = index if len(index) == len(contents.index) else {}
    near, short = (able, str) if contents.gathered is not None else (_near(contents, able, names), last_part)
    known = [name for name in near if name not in contents.index and looks_like_ids(short(name))]
    kinds = {name: _kind(contents, name, short(name)) for name in known}
    of_table = index if contents.gathered is not None else {}
    while (found := identity_of(kinds, of_table, short)) is not None:
        if found.is_index or _whole(contents.entries[found.name]):
            break
        del kinds[found.name]
    # Outside tables the first dimension always has a name, which says less than what is called as ids are.
    return identity_of({}, index) if index and (found is None or found.only_numbers) else found


def _identity_of_groups(contents: Contents, names: list[str]) -> Identity | None:
    """Return the ids that all groups of layers have in common; raise where groups have ids of their own that differ."""
    if contents.gathered is not None:
        return None
    able, groups = able_to_be_ids(contents), {}
    for group in dict.fromkeys(_parent(name) for name in names if contents.entries[name].kind == "layer"):
        own = {
            name: _kind(contents, name, last_part(name))
            for name in able
            if _parent(name) == group and looks_like_ids(last_part(name))
        }
        found = identity_of(own, {}, last_part)
        if found is not None and _whole(contents.entries[found.name]):
            groups[group] = found
    values = [np.asarray(contents.entries[found.name].read()) for found in groups.values()]
    if any(not np.array_equal(values[0], other) for other in values[1:]):
        raise Refusal(
            f"layers must have the same rows in the same order, got ids that differ between {listed(map(quoted, groups))}: open "
            f"each by itself with key=, and put them into one order with homolog.common_rows."
        )
    layers = {_parent(name) for name in names if contents.entries[name].kind == "layer"}
    return next(iter(groups.values())) if groups and layers == set(groups) else None


def _near(contents: Contents, able: list[str], names: list[str]) -> list[str]:
    """Return what lies, outside tables, in the group of all layers that are asked for, or around it."""
    around = [{"", *_parents(name)} for name in names if contents.entries[name].kind == "layer"]
    return [name for name in able if _parent(name) in set.intersection({"", *_parents(name)}, *around)]


def _kind(contents: Contents, name: str, short: str = "") -> str:
    """Return the kind of what may be ids; what may be an index is looked at, whether it holds integers or labels."""
    entry = contents.entries[name]
    if name in contents.index or is_kept_index(short):
        try:
            values = entry.read()
        except Refusal:  # which is raised again where these are the ids
            return NUMBER
        if isinstance(values, np.ndarray):
            return NUMBER if values.dtype.kind in "iuf" and bool(np.all(values == np.rint(values))) else TEXT
        return NUMBER if all(isinstance(value, int) for value in values) else TEXT
    return NUMBER if entry.kind == "numbers" else TEXT


def _texts(contents: Contents, name: str) -> Sequence[Any] | None:
    """Return the entries of a column of text."""
    entry = contents.entries[name]
    return list(entry.read()) if entry.kind == "text" and not entry.what else None  # dates are text, too


def _positions(contents: Contents, who: Identity | None) -> str | None:
    """Return the column of a table that says where in its example a row is, beside that which says of which example."""
    entries = contents.entries if contents.gathered is not None else {}
    return positions_of((name for name, entry in entries.items() if entry.kind == "numbers"), who)


def _whole(entry: Entry) -> bool:
    """Say whether what is called ids may be ids: text, or whole numbers."""
    values = entry.read() if entry.kind == "numbers" else None
    return not (isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.any(values != np.rint(values)))


def _parent(name: str) -> str:
    return name[: -len(last_part(name))].rstrip("/.")


def _parents(name: str) -> Iterator[str]:
    parent = _parent(name)
    while parent:
        yield parent
        parent = _parent(parent)


def _checked_ids(contents: Contents, name: str) -> np.ndarray:
    """Return ids as integers or text; text that files hold as bytes is UTF-8, other numbers of an index are text."""
    values, indexed = contents.entries[name].read(), name in contents.index
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.all(values == np.rint(values)):
        values = values.astype(np.int64)  # where a format knows no integers
    if indexed and isinstance(values, np.ndarray) and values.dtype.kind == "f":
        values = [str(value) for value in values.tolist()]
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
    elif len(set(zip(found.tolist(), notes.get("positions", found), strict=False))) < len(found):
        warn(
            f"in {warned}, the ids {quoted(name)} hold some ids again, for other rows: rows cannot be matched by them."
        )


# --- What is no activations


def _check_weights(layers: Mapping[str, Any], left_out: Mapping[str, str]) -> None:
    counts = {getattr(array, "shape", (0,))[0] for array in layers.values()}
    if look_like_weights(layers) and (len(counts) > 1 or look_like_weights(left_out)):
        raise Refusal(f"the arrays must be activations with equal rows, got {listed(layers)}; {WEIGHTS}.")


def _check_rows(layers: Mapping[str, Any], path: str) -> None:
    """Raise where layers are of different examples, as in files that hold more than one model, or examples in columns."""
    shapes = {name: array.shape for name, array in layers.items() if len(getattr(array, "shape", ())) == 2}
    first = next(iter(shapes), "")
    odd = next((name for name, shape in shapes.items() if shape[0] != shapes[first][0]), None)
    if odd is not None:
        sideways = (
            f"; if the examples are in columns, turn the arrays with .T, as in homolog.open({path}, {quoted(odd)})"
            f"[{quoted(odd)}].T"
            if len({q for _, q in shapes.values()}) == 1
            else ""
        )
        raise Refusal(
            f"layer {quoted(odd)} must have as many rows as layer {quoted(first)} ({shapes[first][0]}), got {shapes[odd][0]}: "
            f"all layers hold the same examples, so name some with key={sideways}."
        )


def _nothing(entries: Mapping[str, Entry], left_out: Mapping[str, str], identity: str | None) -> str:
    """Say that there is no layer, and what there is."""
    held = [
        f"{quoted(name)} ({left_out.get(name, 'ids')})"
        for name in dict.fromkeys((*left_out, *([identity] if identity else [])))
    ]
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
