"""Variables of netCDF: those that homolog wrote, and those of others, as xarray reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from homolog.activations import Activations
from homolog.files import hdf5
from homolog.files.contents import IDENTITIES, Contents, Entry, Refusal, entry_of
from homolog.files.numpy_files import arrays_of
from homolog.machine import optional

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
    with h5py.File(path, "r") as file:
        for name, item in hdf5.items(h5py, file):
            if isinstance(item, str) or hdf5.kind_of(h5py, item).startswith("must hold its numbers"):
                raise Refusal(
                    f"variables must lie in the file itself, got a link or numbers elsewhere in {name[:60]!r}."
                )
        about = json.loads(file[_ABOUT][()]) if _ABOUT in file else None
        there = set(file)
    if about is None:
        return _of_others(path, "h5netcdf")
    layers = {each["name"]: Entry("layer", _reader(path, each["variable"], each["dtype"])) for each in about["layers"]}
    notes = {name: hdf5.read(path, variable) for name, variable in _VARIABLES.items() if variable in there}
    if isinstance(notes.get("example_ids"), list):
        notes["example_ids"] = [text.decode() for text in notes["example_ids"]]
    return Contents(layers, notes | {"provenance": json.dumps(about["provenance"])})


def _reader(path: Path, variable: str, dtype: str) -> Any:
    return lambda: hdf5.read(path, variable).astype(dtype, copy=False)


def holds_activations(path: Path) -> bool:
    """Say whether a file is one that `homolog.save` wrote, and no result."""
    try:
        h5py = optional("h5py", "files", "reading .nc")
        with h5py.File(path, "r") as file:
            return _ABOUT in file
    except OSError:
        return False


def _of_others(path: Path, engine: str) -> Contents:
    xarray = optional("xarray", "files", "reading .nc")
    # Times stay numbers, since they are left out; packed integers and fill values become what they stand for.
    with xarray.open_dataset(path, engine=engine, decode_times=False) as data:
        if {"layer_a", "layer_b"} <= set(data.coords):
            raise Refusal(
                "the file must hold activations, got a result of homolog.compare: read it with xarray.load_dataset."
            )
        entries = {str(name): _entry(path, engine, str(name), data[name].variable) for name in data.variables}
        first = {data[name].dims[0] for name in data.variables if data[name].ndim > 1}
    index = tuple(str(name) for name in first if name in entries and entries[str(name)].kind in ("numbers", "text"))
    return Contents(entries, index=tuple(name for name in index if _whole(entries[name])))


def _entry(path: Path, engine: str, name: str, variable: Any) -> Entry:
    """Say what a variable is by its shape and type; it is read when it is asked for."""
    kind = (
        entry_of(np.broadcast_to(np.zeros((), variable.dtype), variable.shape)) if variable.dtype.kind != "O" else None
    )
    if kind is None and variable.ndim == 1:
        return Entry("text", lambda: _values(path, engine, name).tolist())
    if kind is None or kind.kind == "other" or variable.dtype.kind not in "iufU":
        return Entry("other", what="text" if kind is None else kind.what or "booleans")
    return Entry(kind.kind, lambda: _values(path, engine, name))


def _whole(entry: Entry) -> bool:
    """Say whether the coordinate of a dimension may say who its rows are: floats are times, frequencies and the like."""
    return entry.kind == "text" or entry.read().dtype.kind in "iu"


def _values(path: Path, engine: str, name: str) -> np.ndarray:
    xarray = optional("xarray", "files", "reading .nc")
    with xarray.open_dataset(path, engine=engine, decode_times=False) as data:
        return np.asarray(data[name].values)


def write_netcdf(layers: Activations, path: str) -> None:
    """Write layers as variables, examples by the layer's own features; the coordinate `example` says who the rows are."""
    xarray = optional("xarray", "files", "writing .nc")
    optional("h5netcdf", "files", "writing .nc")
    variables: dict[str, Any] = {}
    written = []
    for name, array in arrays_of(layers).items():
        # netCDF knows no float16.
        kept = array.astype(np.float32) if array.dtype == np.float16 else array
        variable = _variable(name, {*variables, *(f"{other}_feature" for other in variables)})
        variables[variable] = ((_EXAMPLE, f"{variable}_feature"), kept, {"long_name": name[:_LONGEST]})
        written.append({"variable": variable, "name": name, "dtype": array.dtype.newbyteorder("=").name})
    for name in IDENTITIES:
        if getattr(layers, name) is not None:
            values = getattr(layers, name)
            variables[_VARIABLES[name]] = (_EXAMPLE, values.astype(str) if values.dtype.kind == "S" else values)
    about = {"format": "homolog-activations", "layers": written, "provenance": layers.notes}
    variables[_ABOUT] = ((), json.dumps(about, ensure_ascii=False))
    data = xarray.Dataset(variables)
    plain = {
        name: {"_FillValue": None}
        for name, (_, values, *_) in variables.items()
        if name != _ABOUT and values.dtype.kind == "f"
    }
    data.to_netcdf(path, engine="h5netcdf", encoding=plain)


def _variable(name: str, taken: set[str]) -> str:
    """Return the name of a variable, in letters that every reader of netCDF takes; what the layer is called stands beside it."""
    plain = quote(name, safe="")[:_LONGEST]
    if not re.match(r"[A-Za-z0-9_]", plain):
        plain = f"_{plain}"
    taken = taken | {_ABOUT, *_VARIABLES.values()}
    number, found = 1, plain
    while found in taken or f"{found}_feature" in taken:
        number += 1
        found = f"{plain}_{number}"
    return found
