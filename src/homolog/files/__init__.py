"""Activations in files of many kinds, read without ever running code from them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from homolog.activations import Activations, unknown_among
from homolog.arrays import Array, described, widened
from homolog.diagnostics import HomologWarning, listed
from homolog.files.arrow_files import read_arrow, read_parquet, write_parquet
from homolog.files.contents import IDENTITIES, RESERVED, Contents, Entry, Refusal, Unknown
from homolog.files.folders import read_folder, split_of
from homolog.files.hdf5 import read_hdf5
from homolog.files.matlab import read_matlab
from homolog.files.netcdf import read_netcdf, write_netcdf
from homolog.files.numpy_files import read_npy, read_npz, write_npz
from homolog.files.other_files import instead
from homolog.files.safetensors_files import read_safetensors, write_safetensors
from homolog.files.selection import able_to_be_ids, layers_and_notes
from homolog.files.text_tables import read_text
from homolog.files.torch_files import read_torch
from homolog.names import first_line, quoted, shortened, shown, writable
from homolog.sketching import read_name, restored
from homolog.store import open_store, save_store
from homolog.store.disk import check_file, check_path, check_target, recover, write_whole
from homolog.store.layout import LOCK, SUFFIX

_READERS: dict[str, Callable[[Path], Contents]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".pt": read_torch,
    ".pth": read_torch,
    ".parquet": read_parquet,
    ".feather": read_arrow,
    ".arrow": read_arrow,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".mat": read_matlab,
    ".csv": read_text,
    ".tsv": read_text,
    ".nc": read_netcdf,
}
_WRITERS: dict[str, Callable[[Activations, str], None]] = {
    ".npz": write_npz,
    ".safetensors": write_safetensors,
    ".parquet": write_parquet,
    ".nc": write_netcdf,
}


def open(path: str | PathLike[str], key: str | None = None, *, ids: str | None = None) -> Activations:
    """Read activations from a file or a folder.

    Parameters
    ----------
    path
        `.npz`, `.safetensors`, `.parquet`, `.nc` or the folder `.zarr` of a store, as `homolog.save` writes them; or what others
        wrote: `.npy`, `.pt`/`.pth` (a tensor, or tensors in mappings and lists, read with `weights_only=True`), `.parquet`,
        `.feather`, `.arrow`, `.csv`, `.tsv`, `.h5`/`.hdf5`, `.mat`, `.nc`, a folder of `.npy` files, or a folder that
        `save_to_disk` of Hugging Face's `datasets` wrote. `"file.h5::name"` is the file and a key.
    key
        one of several layers by its name, or all of a group, such as the path of a group of HDF5 or the name of a split.
    ids
        what says who the rows are: the name of a column, or of an array with one entry per row. By default what is called
        `example_id`, `id` or `ids`; else the index of pandas, if it has a name or holds labels; else a single name that ends in
        `_id`; else the dimension of a netCDF file, or the row numbers that pandas left behind.

    Returns
    -------
    Activations
        The layers in the order of the file, as arrays of NumPy's (bfloat16 and float8 in float32, which holds them without loss),
        with row identity where the file has it. In a table a column of vectors is a layer, and all columns of numbers are
        together one, called after the file. The layers of a store stay on
        disk: slices, lists of rows and masks read what they ask for, `numpy.asarray` a whole layer. Arrays of 64 MiB or more stay
        in files that hold their numbers as they are (`.npy`, `.safetensors`, `.arrow`, HDF5 without chunks), mapped and
        read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If the file holds nothing of the name that `key` or `ids` gives.
    ValueError
        If the file is not of a known kind, is damaged, or holds anything but arrays (n, p): pickled objects, rows of
        different lengths, missing numbers.

    Warns
    -----
    LeftOutWarning
        If something is left out: text, dates, booleans, classes, single numbers, one number per row outside tables; or if row
        numbers that pandas left behind are taken for ids, where a column may hold better ones.

    Notes
    -----
    Nothing in a file is executed: pickled objects are refused.

    Examples
    --------
    >>> import numpy as np, homolog as hl, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "layers.npz"
    >>> hl.save({"early": np.eye(3), "late": np.ones((3, 2))}, path)
    >>> hl.open(path)
    <Activations of 2 layers over 3 rows: early: 3, late: 2>
    >>> list(hl.open(path, "late"))
    ['late']
    """
    for what, name in (("key", key), ("ids", ids)):
        if not isinstance(name, str | None):
            raise TypeError(f"{what} must be text, got {described(name)}: pass the name of one of what the file holds.")
    return _opened(path, key, lambda _: ids)


def open_by(path: str | PathLike[str], ids: Sequence[str]) -> tuple[Activations, list[str]]:
    """Read a file whose rows are known by the first of some names that it has, and say which of them it has."""
    has: list[str] = []

    def chosen(names: Sequence[str]) -> str | None:
        has.extend(name for name in ids if name in names)
        return has[0] if has else None

    return _opened(path, None, chosen), has


def _opened(path: str | PathLike[str], key: str | None, ids: Callable[[Sequence[str]], str | None]) -> Activations:
    """Read a file; `ids` returns, of the names of what may say who its rows are, the one that does."""
    path, key = _located(path, key)
    if path.suffix == SUFFIX:
        recover(path, LOCK)
    if _ending(path) == SUFFIX and path.is_dir():
        return _of_store(open_store(path), key, ids(()))
    if not path.is_dir():
        _check_readable(path)
    return _read(path, key, ids)


def title(source: str | PathLike[str]) -> str:
    """Return what a model is called whose activations lie in a file: the name of the file, and the key if there is one.

    >>> title("runs/a.npz"), title("tables/a.parquet::embedding")
    ('a', 'a::embedding')
    """
    path, key = _located(source, None)
    name = path.name if path.is_dir() and _ending(path) != SUFFIX else path.stem
    return writable(name if key is None else f"{name}::{key}")


def _located(path: Any, key: str | None) -> tuple[Path, str | None]:
    """Return where a file is and what is meant in it; a file whose name holds "::" comes before a key."""
    text, mark = str(path) if isinstance(path, str | PathLike) else "", "::"
    places = [place for place in range(1, len(text)) if text.startswith(mark, place)]
    if not places or _exists(text):
        return _path(path), key
    if key is not None:
        raise ValueError(f"what is meant must be named once, got {quoted(text)} and key={quoted(key)}: leave one out.")
    place = next((place for place in reversed(places) if _exists(text[:place])), places[0])
    return _path(text[:place]), text[place + len(mark) :]


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # longer than names can be, or no name at all
        return False


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check the name and the folder.")
    if _ending(path) not in (*_READERS, SUFFIX):
        raise ValueError(
            instead(path)
            or f"activations must be in a file ending in {', '.join(_READERS)} or {SUFFIX}, or in a folder of .npy files, got "
            f"{path.name!r}: write them with homolog.save, numpy.savez or safetensors."
        )
    check_file(path)
    if _ending(path) == SUFFIX:
        raise NotADirectoryError(f"a store must be a folder, got the file {str(path)!r}: unpack it.")


def _ending(path: Path) -> str:
    """Return what the name of a file ends in, in lower case: some systems and instruments write A.MAT."""
    return path.suffix.lower()


def _read(path: Path, key: str | None, ids: Callable[[Sequence[str]], str | None]) -> Activations:
    model = title(path) if key is None else f"{title(path)}::{writable(key)}"
    try:
        if path.is_dir():
            folder, key = split_of(path, key)
            contents = read_folder(folder)
        else:
            contents = _READERS[_ending(path)](path)
        with closing(contents):
            contents.entries = _by_layers(contents.entries)
            arrays, notes = layers_and_notes(contents, key, ids(able_to_be_ids(contents)), repr(str(path)))
        arrays = {name: widened(array) for name, array in arrays.items()}
        provenance = {"model": model} | _provenance(str(notes.get("provenance", "{}")))
    except (ImportError, PermissionError, IsADirectoryError, HomologWarning):
        raise
    except Unknown as error:
        raise KeyError(f"in {str(path)!r}, {error}") from None
    except Refusal as error:
        raise ValueError(f"in {str(path)!r}, {error}") from error
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} must be a readable {'folder' if path.is_dir() else f'{path.suffix} file'} of plain arrays, got: "
            f"{_what_is_wrong(error)} Write it again, for instance with homolog.save."
        ) from error
    identities = {name: notes.get(name) for name in IDENTITIES}
    try:
        return Activations(arrays, **identities, provenance=provenance)
    except (ValueError, TypeError) as error:
        raise type(error)(f"in {str(path)!r}, {_in_a_file(str(error), arrays)}") from error


def _by_layers(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return what a file holds by the names of the layers, where sketches lie under names that say what these are."""
    found: dict[str, Entry] = {}
    for written, entry in entries.items():
        name, sketch = read_name(written)
        if name in found:
            raise Refusal(
                f"a layer must be there once, got {quoted(name)} twice: rename one, or write it to another file."
            )
        found[name] = entry if sketch is None else Entry("layer", partial(_sketches, written, name, entry))
    return found


def _sketches(written: str, name: str, entry: Entry) -> Any:
    try:
        return restored(written, entry.read(), f"layer {quoted(name)}")
    except ValueError as error:
        raise Refusal(str(error)) from None


def _in_a_file(sentence: str, arrays: Mapping[str, Any]) -> str:
    """Return the error for layers with what helps where they lie in a file."""
    axes = {name: getattr(array, "ndim", 2) for name, array in arrays.items()}
    if set(axes.values()) == {2}:
        return sentence
    others = [name for name, count in axes.items() if count == 2]
    instead = f", or name another with key= ({listed(others)})" if others else ""
    return f"{sentence.removesuffix('.')}, before the file is written{instead}."


def _of_store(layers: Activations, key: str | None, ids: str | None) -> Activations:
    """Return what is meant in a store, which knows who its rows are."""
    if ids is not None:
        raise ValueError(f"ids name a column of other files, got ids={quoted(ids)} for a store: leave ids out.")
    if key is None:
        return layers
    named = [name for name in layers if name == key] or [
        name for name in layers if name.startswith((f"{key}.", f"{key}/"))
    ]
    if not named:
        raise KeyError(unknown_among("key", key, layers))
    return layers.holding({name: layers[name] for name in named})


def _provenance(text: str) -> dict[str, str]:
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("a provenance that is no text")
    return found


def _what_is_wrong(error: Exception) -> str:
    line = shown(first_line(error).split(". ")[0])
    if line.isdigit():  # pickle's own errors may be a single opcode
        line = "something that is no such file"
    if "pickle" in str(error).lower() or "weights_only" in str(error).lower().replace(" ", "_"):
        return "pickled Python objects, which are not read because reading them can run code."
    return f"{line}."


def save(activations: Activations | Mapping[str, Array], path: str | PathLike[str]) -> None:
    """Write activations with their row identity to a `.npz`, `.safetensors`, `.parquet` or `.nc` file, or to a `.zarr` store.

    Parameters
    ----------
    activations
        Activations, or a mapping layer name → array (n, p).
    path
        where to write; an existing file is replaced only when the new one is complete.

    Raises
    ------
    ValueError
        If the path ends in anything else.

    Notes
    -----
    Only stores and `.parquet` are written block by block: the other files need all layers in memory. In `.parquet` a layer is a
    column of vectors, and the ids are the column `example_id`. In `.nc` (netCDF) a layer is a variable, examples by features.

    Examples
    --------
    >>> import numpy as np, homolog as hl, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "layers.npz"
    >>> hl.save(hl.Activations({"late": np.eye(2)}, example_ids=["cat", "dog"]), path)
    >>> hl.open(path).example_ids
    array(['cat', 'dog'], dtype='<U3')
    """
    path = _path(path)
    layers = activations if isinstance(activations, Activations) else Activations(activations)
    if path.suffix not in (*_WRITERS, SUFFIX):
        raise ValueError(
            f"activations must be saved to a file ending in {', '.join(_WRITERS)} or {SUFFIX}, got {path.name!r}: change its "
            f"name."
        )
    if path.suffix == SUFFIX:
        save_store(layers, path)
        return
    check_target(path)
    odd = next((name for name in layers if "\0" in name), None)
    if odd is not None:
        raise ValueError(f"a layer name must not hold the character NUL in a file, got {quoted(odd)}: rename it.")
    reserved = next((name for name in layers if name.startswith(RESERVED)), None)
    if reserved is not None:
        raise ValueError(f"a layer name must not start with {RESERVED!r} in a file, got {quoted(reserved)}: rename it.")
    write_whole(path, lambda unfinished: _WRITERS[path.suffix](layers, unfinished))


def _path(path: Any) -> Path:
    if not isinstance(path, str | PathLike):
        raise TypeError(f"a path must be text or a pathlib.Path, got {described(path)}.")
    path = Path(path)
    check_path(path)
    try:
        path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise OSError(f"a name must not be longer than its folder allows, got {shortened(path.name)!r}.") from None
    return path
