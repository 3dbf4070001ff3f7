"""Folders: of .npy files, as thingsvision writes them, and of tables, as Hugging Face's datasets writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from homolog.activations import unknown_among
from homolog.diagnostics import listed
from homolog.files.arrow_files import checked, mapped_table
from homolog.files.columns import contents_of
from homolog.files.contents import Contents, Entry, Refusal, Unknown
from homolog.files.numpy_files import entry_in, read_array
from homolog.machine import optional
from homolog.names import first_line, quoted, writable
from homolog.store.disk import read_json

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_NAMES = "file_names.txt"
_PIECE = re.compile(r"(?P<whole>features.*)_(?P<start>\d+)(-(?P<stop>\d+))?")
"""Rows from start up to stop of a layer, or its parts by number, as thingsvision writes them."""


def read_folder(path: Path) -> Contents:
    """Say what a folder holds."""
    if (path / _STATE).is_file():
        return _dataset(path)
    return _arrays(path)


# --- Arrays


def _arrays(path: Path) -> Contents:
    """Say which layers the .npy files of a folder and of the folders in it are, called after their files."""
    files = sorted([*path.glob("*.npy"), *path.glob("*/*.npy")], key=_natural)
    if not files:
        endings = sorted({child.suffix or child.name for child in path.iterdir()})[:5]
        raise IsADirectoryError(
            f"activations must be in a file, in a folder of .npy files or in one that datasets wrote, got the folder "
            f"{str(path)!r} with {', '.join(map(repr, endings)) or 'nothing'} in it."
        )
    names = path / _NAMES
    rows = names.read_text(encoding="utf-8").splitlines() if names.is_file() else None
    held = {file: _entry(file) for file in files}
    pieces = _pieces(path, files, held, None if rows is None else len(rows))
    within = {file for parts in pieces.values() for file, _, _ in parts}
    entries = {_layer(path, file): entry for file, entry in held.items() if file not in within}
    twice = next((name for name in pieces if name in entries), None)
    if twice is not None:
        raise Refusal(f"a layer must be whole or in pieces, got {quoted(twice)} as both: move one away.")
    entries |= {name: Entry("layer", _joined(name, parts)) for name, parts in pieces.items()}
    if rows is not None:
        entries["file_names"] = Entry("text", lambda: rows)
    return Contents(entries, index=("file_names",))


def _entry(file: Path) -> Entry:
    if not file.is_file():
        raise Refusal(f"{file.name!r} must be a file, got a folder, a pipe or a device: look at what lies there.")
    try:
        return entry_in(file)
    except Exception as error:  # whatever damaged bytes make NumPy stumble over
        raise Refusal(
            f"{file.name!r} must be a readable .npy file, got: {first_line(error)}; write it again."
        ) from None


def _pieces(
    path: Path, files: list[Path], held: dict[Path, Entry], rows: int | None
) -> dict[str, list[tuple[Path, int, int]]]:
    """Return which files are pieces of one layer: by the rows in their names, or numbered if their rows are as many as names."""
    found: dict[str, list[tuple[Path, int, int]]] = {}
    numbered: dict[str, list[Path]] = {}
    for file in files:
        match = _PIECE.fullmatch(file.stem)
        whole = _layer(path, file.with_name(f"{match['whole']}.npy")) if match else ""
        if match and match["stop"]:
            found.setdefault(whole, []).append((file, int(match["start"]), int(match["stop"])))
        elif match:
            numbered.setdefault(whole, []).append(file)
    for whole, parts in numbered.items():
        ends = list(accumulate(len(read_array(part)) for part in parts if held[part].kind == "layer"))
        if len(parts) > 1 and len(ends) == len(parts) and ends[-1] == rows:
            found[whole] = list(zip(parts, [0, *ends], ends, strict=False))
    return found


def _layer(path: Path, file: Path) -> str:
    """Return what a layer is called: thingsvision's name for all of them says nothing beside that of the folder."""
    parts = [*file.relative_to(path).parts[:-1], file.stem]
    if len(parts) > 1 and parts[-1] == "features":
        parts.pop()
    return writable("/".join(parts))


def _natural(path: Path) -> list[Any]:
    """Return what sorts layer2 before layer10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _joined(name: str, parts: list[tuple[Path, int, int]]) -> Callable[[], np.ndarray]:
    """Return what joins pieces of a layer, which must follow on one another."""

    def read() -> np.ndarray:
        arrays, end = [], 0
        for file, start, stop in sorted(parts, key=lambda part: part[1]):
            array = read_array(file)
            if start != end or stop - start != len(array):
                raise Refusal(
                    f"the pieces of {quoted(name)} must follow on one another, got {file.name!r} with {len(array)} rows after "
                    f"row {end}: look for the piece that is missing, or name the files otherwise if each is a layer."
                )
            arrays.append(array)
            end = stop
        return np.concatenate(arrays)

    return read


# --- Hugging Face's datasets


def split_of(path: Path, key: str | None) -> tuple[Path, str | None]:
    """Return the folder of the split that a key names, and what of the key is left; any other folder as it is."""
    if not (path / _SPLITS).is_file():
        return path, key
    names = read_json(path / _SPLITS).get("splits", [])
    for name in names:
        _check_inside(name)
    if key is None and len(names) != 1:
        raise Refusal(
            f"one of the splits must be named, got none: pass key= with one of {listed(names) or 'none'}, or "
            f"write it behind the folder, folder::split, and a column of it as folder::split/column."
        )
    if key is None:
        return path / names[0], None
    split, _, rest = key.partition("/")
    if split not in names:
        raise Unknown(unknown_among("split", key, names))
    return path / split, rest or None


def _dataset(path: Path) -> Contents:
    """Say what the columns of a dataset are, from its files in their order."""
    pyarrow = optional("pyarrow", "tables", "reading datasets")
    state = read_json(path / _STATE)
    if isinstance(state, dict) and state.get("_indices_data_files"):
        raise Refusal("the rows must lie in their order, got an index of them: save it again after flatten_indices().")
    try:
        files = [entry["filename"] for entry in state["_data_files"]]
    except (KeyError, TypeError):
        raise Refusal(f"{_STATE} must name the files of the dataset, got something else: save it again.") from None
    for name in files:
        _check_inside(name)
        if not (path / name).is_file():
            raise Refusal(f"the file {name!r} must be there, got none: save the dataset again.")
    tables = [mapped_table(path / name)[0] for name in files]
    if not tables:
        raise Refusal("there must be rows, got a dataset of none.")
    table = pyarrow.concat_tables(tables)
    return contents_of(table.schema, lambda name: checked(table, name), writable(path.name))


def _check_inside(name: Any) -> None:
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise Refusal(f"the parts of a dataset must lie in its folder, got {quoted(name)}.")
