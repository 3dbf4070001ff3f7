"""Variables of netCDF: those that homolog wrote, and those of others, as xarray reads them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from homolog.activations import Activations
from homolog.diagnostics import listed
from homolog.files import hdf5
from homolog.files.contents import IDENTITIES, Contents, Entry, Refusal, entry_of, kept_open
from homolog.files.numpy_files import arrays_of
from homolog.machine import optional
from homolog.result_kinds import COMPARISON, MADE_BY, is_title
from homolog.sketching import read_name, written_name

_ABOUT = "homolog"
"""The variable that says in JSON which variables are layers, and where they come from: an attribute has no room for much."""
_EXAMPLE = "example"
_VARIABLES = {"example_ids": _EXAMPLE, "positions": "homolog_positions", "digests": "homolog_digests"}
_LONGEST = 100
"""Characters of the name of a variable; netCDF takes 256 bytes."""


def read_netcdf(path: Path) -> Contents:
    """Say what a file of netCDF holds."""
    with path.open("rb") as file:
        is_hdf5 = file.read(4) == b"\x89HDF"
    if not is_hdf5:
        return _of_others(path, "scipy")
    h5py = optional("h5py", "files", "reading .nc")
    optional("h5netcdf", "files", "reading .nc")
    with kept_open(h5py.File(path, "r")) as file:
        for name, item in hdf5.items(h5py, file):
            if isinstance(item, str) or (isinstance(item, h5py.Dataset) and hdf5.elsewhere(item)):
                raise Refusal(
                    f"variables must lie in the file itself, got a link or numbers elsewhere in {name[:60]!r}."
                )
        about = json.loads(file[_ABOUT][()]) if _ABOUT in file else {"layers": []}
        # Of variables that somebody renamed it says nothing any more.
        if about["layers"] and all(each["variable"] in file for each in about["layers"]):
            return _own(path, file, about)
        groups = [name for name in file if isinstance(file[name], h5py.Group)]
        if len(groups) == len(file) > 0:
            raise Refusal(
                f"variables must lie at the root of the file, got groups ({listed(groups)}): read one with "
                f"xarray.open_dataset(path, group={groups[0]!r}), and write it to a file of its own."
            )
    file.close()
    return _of_others(path, "h5netcdf")


def _own(path: Path, file: Any, about: Mapping[str, Any]) -> Contents:
    """Say what homolog wrote."""
    layers = {
        each["name"]: Entry("layer", partial(_layer, path, file[each["variable"]], each["dtype"]))
        for each in about["layers"]
    }
    notes = {name: hdf5.read(path, file[variable]) for name, variable in about["rows"].items()}
    if isinstance(notes.get("example_ids"), list):
        notes["example_ids"] = [text.decode() for text in notes["example_ids"]]
    return Contents(layers, notes | {"provenance": json.dumps(about["provenance"])}, close=file.close)


def _layer(path: Path, item: Any, dtype: str) -> np.ndarray:
    found: np.ndarray = hdf5.read(path, item).astype(dtype, copy=False)
    return found


def holds_activations(path: Path) -> bool:
    """Say whether a file of netCDF holds activations, and not a result, which names its measures."""
    try:
        with optional("h5py", "files", "reading .nc").File(path, "r") as file:
            if is_title(file.attrs.get("title")):
                return False
            return not ({"measures", "homolog_version"} & set(file.attrs) or "layer_a" in file)
    except OSError:
        return False


def _of_others(path: Path, engine: str) -> Contents:
    xarray = optional("xarray", "files", "reading .nc")
    # Times stay numbers, since they are left out; packed integers and fill values become what they stand for.
    with xarray.open_dataset(path, engine=engine, decode_times=False) as data:
        title = data.attrs.get("title")
        if is_title(title) and title != COMPARISON:
            made_by = MADE_BY.get(title, "homolog.identification")
            raise Refusal(
                f"the file must hold activations, got a result of {made_by}: read it with xarray.load_dataset."
            )
        if {"layer_a", "layer_b"} <= set(data.coords):
            raise Refusal(
                "the file must hold activations, got a result of homolog.compare: read it with xarray.load_dataset."
            )
        first = {data[name].dims[0] for name in data.variables if data[name].ndim > 1}
        # What says which feature is which stands along other dimensions, and is nothing of the rows.
        named = [name for name in data.variables if data[name].ndim != 1 or not first or data[name].dims[0] in first]
        named = [name for name in named if name not in (_ABOUT, *_VARIABLES.values()) or name == _EXAMPLE]
        entries = {_written_name(data[name]): _entry(path, engine, str(name), data[name].variable) for name in named}
    index = tuple(str(name) for name in first if name in entries and entries[str(name)].kind in ("numbers", "text"))
    return Contents(entries, index=tuple(name for name in index if _whole(entries[name])))


def _written_name(variable: Any) -> str:
    """Return what a variable is called: beside the columns of sketches stands what these are, whatever somebody calls them."""
    sketch = read_name(str(variable.attrs.get("long_name", "")))[1]
    return written_name(str(variable.name), sketch)


def _entry(path: Path, engine: str, name: str, variable: Any) -> Entry:
    """Say what a variable is by its shape and type; it is read when it is asked for."""
    if " since " in str(variable.attrs.get("units", "")):
        return Entry("other", what="dates or times")
    # xarray has text as objects.
    dtype = np.dtype("U1") if variable.dtype.kind == "O" else variable.dtype
    return entry_of(name, variable.shape, dtype, lambda: _values(path, engine, name))


def _whole(entry: Entry) -> bool:
    """Say whether the coordinate of a dimension may say who its rows are: floats are times, frequencies and the like."""
    return entry.kind == "text" or entry.read().dtype.kind in "iu"


def _values(path: Path, engine: str, name: str) -> np.ndarray:
    xarray = optional("xarray", "files", "reading .nc")
    with xarray.open_dataset(path, engine=engine, decode_times=False) as data:
        return np.asarray(data[name].values)


def write_netcdf(layers: Activations, path: str) -> None:
    """Write layers as variables, examples by the layer's own features; the coordinate `example` says who the rows are."""
    h5netcdf = optional("h5netcdf", "files", "writing .nc")
    # Formed in memory, since HDF5 may end the process where a disk is full.
    image = io.BytesIO()
    with h5netcdf.File(image, "w") as file:
        file.dimensions[_EXAMPLE] = layers.n
        written: list[dict[str, str]] = []
        for name, array in arrays_of(layers).items():
            variable = _variable(read_name(name)[0], {each["variable"] for each in written})
            sketched = array.ndim > 2
            axes = ["sketch", f"{variable}_feature"] if sketched else [f"{variable}_feature"]
            for axis, size in zip(axes, array.shape[1:], strict=True):
                file.dimensions.setdefault(axis, size)
            # netCDF knows no float16.
            kept = array.astype(np.float32) if array.dtype == np.float16 else array
            item = file.create_variable(variable, (_EXAMPLE, *axes), data=kept)
            item.attrs["long_name"] = name if sketched else name[:_LONGEST]
            written.append({"variable": variable, "name": name, "dtype": array.dtype.newbyteorder("=").name})
        rows = {name: _VARIABLES[name] for name in IDENTITIES if getattr(layers, name) is not None}
        for name, variable in rows.items():
            values = getattr(layers, name)
            _write_column(file, variable, (_EXAMPLE,), values.astype(str) if values.dtype.kind == "S" else values)
        about = {"format": "homolog-activations", "layers": written, "rows": rows, "provenance": layers.notes}
        _write_column(file, _ABOUT, (), np.asarray(json.dumps(about, ensure_ascii=False)))
    Path(path).write_bytes(image.getbuffer())


def _write_column(file: Any, name: str, dimensions: tuple[str, ...], values: np.ndarray) -> None:
    if values.dtype.kind != "U":
        file.create_variable(name, dimensions, data=values)
        return
    text = optional("h5py", "files", "writing .nc").string_dtype()
    file.create_variable(name, dimensions, text)[...] = values.astype(object)


def _variable(name: str, taken: set[str]) -> str:
    """Return the name of a variable, in letters that every reader of netCDF takes; what the layer is called stands beside it."""
    plain = quote(name, safe="")[:_LONGEST]
    if not re.match(r"[A-Za-z0-9_]", plain):
        plain = f"_{plain}"
    taken = {*taken, *(f"{other}_feature" for other in taken), _ABOUT, *_VARIABLES.values()}
    number, found = 1, plain
    while found in taken or f"{found}_feature" in taken:
        number += 1
        found = f"{plain}_{number}"
    return found
