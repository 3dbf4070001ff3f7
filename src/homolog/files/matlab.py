"""Arrays of MATLAB's, in both kinds of its files: rows stay rows, and only numbers and text are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from homolog.files import hdf5
from homolog.files.contents import Contents, Entry, kept_open, of_shape, stacked, warn
from homolog.machine import optional

_OBJECT = "must be a plain array, got {kind}: write its numbers as a matrix, such as {remedy}"
_NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def read_matlab(path: Path) -> Contents:
    """Say what a file of MATLAB's holds, with fields of structs as names with dots."""
    with path.open("rb") as file:
        start = file.read(520)
    if start[:8] == b"\x89HDF\r\n\x1a\n" or start[512:520] == b"\x89HDF\r\n\x1a\n":
        return _read_newer(path)
    found = _loaded(path)
    entries = [pair for name, value in found.items() if not name.startswith("__") for pair in _older(name, value)]
    return Contents(dict(entries))


def _loaded(path: Path) -> dict[str, Any]:
    """Return the variables of a file in the types that MATLAB knows them by; complex ones would lose a part by that."""
    io = optional("scipy.io", "files", "reading .mat")
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            return dict(io.loadmat(path, mat_dtype=True))
        except np.exceptions.ComplexWarning:
            return dict(io.loadmat(path))


def _older(name: str, value: Any) -> Iterator[tuple[str, Entry]]:
    """Yield what a variable of versions 4 to 7 holds."""
    if hasattr(value, "tocsr"):
        yield name, Entry("refused", what=_OBJECT.format(kind="a sparse one", remedy="full(x)"))
    elif type(value) is not np.ndarray:
        yield name, Entry("refused", what=_OBJECT.format(kind="an object or a function", remedy="table2array(x)"))
    elif value.dtype.names is not None and value.size == 1:
        for field in value.dtype.names:
            yield from _older(f"{name}.{field}", value.reshape(-1)[0][field])
    elif value.dtype.names is not None:
        yield name, Entry("refused", what=_OBJECT.format(kind="an array of structs", remedy="vertcat(x.field)"))
    elif value.dtype.kind == "O":
        yield name, _cells([cell for cell in value.reshape(-1, order="F")], name)
    elif value.dtype.kind == "U":
        yield name, _texts(list(value.reshape(-1)))
    elif value.dtype.kind == "b":
        yield name, Entry("other", what="booleans")
    else:
        yield name, of_shape(value.shape, lambda: value)


def _texts(texts: list[str]) -> Entry:
    return (
        Entry("text", lambda: [text.rstrip() for text in texts]) if len(texts) > 1 else Entry("other", what="one text")
    )


def _cells(cells: list[Any], name: str) -> Entry:
    """Say what a cell array is: texts, vectors of numbers, or objects."""
    if not cells:
        return Entry("other", what="nothing")
    kinds = {cell.dtype.kind if type(cell) is np.ndarray and cell.dtype.names is None else "O" for cell in cells}
    if kinds == {"U"}:
        return _texts([str(cell.reshape(-1)[0]) if cell.size else "" for cell in cells])
    if kinds and kinds <= set("iuf") and all(max(cell.shape, default=1) == cell.size > 1 for cell in cells):
        return Entry("layer", lambda: stacked(cells, name))
    return Entry("refused", what=_OBJECT.format(kind="a cell array of any objects", remedy="cell2mat(x)"))


def _read_newer(path: Path) -> Contents:
    """Say what a file of version 7.3 holds, which is one of HDF5 with all axes in the opposite order."""
    h5py = optional("h5py", "files", "reading .mat of version 7.3")
    entries, plain = {}, []
    with kept_open(h5py.File(path, "r")) as file:
        for name, item in _variables(h5py, file):
            entries[name.replace("/", ".")] = _newer(h5py, path, name, item)
            if isinstance(item, h5py.Dataset) and "MATLAB_class" not in item.attrs and item.ndim > 1:
                plain.append(name)
        if plain:
            warn(
                f"in {str(path)!r}, {plain[0]!r} is read as MATLAB would, with its axes in the opposite order of HDF5's, "
                f"although MATLAB did not write it: name the file .h5 if its rows are the examples."
            )
        return Contents(entries, close=file.close)


def _variables(h5py: Any, file: Any) -> Iterator[tuple[str, Any]]:
    """Yield paths of variables and of fields of structs; a group that is no struct comes as it is."""
    for name, item in hdf5.items(h5py, file, within=_is_struct):
        if not name.startswith("#"):
            yield name, item


def _is_struct(group: Any) -> bool:
    return not group.name.startswith("/#") and "MATLAB_sparse" not in group.attrs and _class_of(group) in ("struct", "")


def _class_of(item: Any) -> str:
    kind = item.attrs.get("MATLAB_class", b"")
    return kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)


def _newer(h5py: Any, path: Path, name: str, item: Any) -> Entry:
    if isinstance(item, str):
        return Entry("other", what="a link, which is not followed")
    kind = _class_of(item)
    if isinstance(item, h5py.Group):
        sparse = "MATLAB_sparse" in item.attrs
        what = "a sparse one" if sparse else f"an object of class {kind[:40]}"
        return Entry("refused", what=_OBJECT.format(kind=what, remedy="full(x)" if sparse else "struct(x)"))
    found = hdf5.kind_of(h5py, item)
    if "MATLAB_empty" in item.attrs:
        return Entry("other", what="nothing")
    if hdf5.elsewhere(item):
        return Entry("refused", what=found)
    if kind == "cell":
        return _newer_cells(h5py, item, name)
    if kind == "char":
        return _texts(_text_rows(item))
    if kind == "logical":
        return Entry("other", what="booleans")
    if (kind and kind not in _NUMBERS) or item.dtype.kind == "V" or "MATLAB_object_decode" in item.attrs:
        what = (
            "complex numbers"
            if item.dtype.names == ("real", "imag")
            else f"an object of class {kind[:40] or 'unknown'}"
        )
        remedy = "[real(x), imag(x)]" if item.dtype.names == ("real", "imag") else "table2array(x)"
        return Entry("refused", what=_OBJECT.format(kind=what, remedy=remedy))
    if found != "array":
        return Entry("refused", what=found) if found.startswith("must") else Entry("other", what=found)
    if item.dtype.kind == "O":
        return Entry("text", lambda: hdf5.read(path, item))
    return of_shape(item.shape[::-1], lambda: hdf5.read(path, item).T)


def _newer_cells(h5py: Any, item: Any, name: str) -> Entry:
    if h5py.check_ref_dtype(item.dtype) is not h5py.Reference:
        return Entry("refused", what=_OBJECT.format(kind="a cell array of any objects", remedy="cell2mat(x)"))
    return _cells([_cell(h5py, item.file[reference]) for reference in np.asarray(item[()]).reshape(-1)], name)


def _cell(h5py: Any, item: Any) -> np.ndarray | None:
    """Return the text or the numbers in a cell; None for anything else."""
    kind = _class_of(item) if isinstance(item, h5py.Dataset) and not hdf5.elsewhere(item) else ""
    if kind == "char":
        return np.asarray(["".join(_text_rows(item))])
    return np.asarray(item[()]) if kind in _NUMBERS else None


def _text_rows(item: Any) -> list[str]:
    """Return the rows of a matrix of characters, which are codes of UTF-16."""
    if "MATLAB_empty" in item.attrs or item.dtype.kind not in "iu" or item.ndim != 2:
        return [""]
    codes = np.asarray(item[()]).astype("<u2").T
    return [np.ascontiguousarray(row).tobytes().decode("utf-16-le", "replace") for row in codes]
