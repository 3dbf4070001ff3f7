"""Tables in files of Parquet, Feather and Arrow, and activations as such a table."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import Array, to_numpy
from homolog.files.columns import contents_of
from homolog.files.contents import IDENTITIES, RESERVED, Contents, Entry, Refusal
from homolog.files.numpy_files import mapped
from homolog.machine import optional
from homolog.names import writable
from homolog.sketching import OLD_NOTE, as_written, axes_of_row

_ABOUT = b"homolog"
"""Under which name the metadata of a table say what homolog wrote."""
_IDS = "example_id"
_OPTIONS = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
_ROWS_TOGETHER = 64 << 20
"""Bytes that are written at a time."""


def read_parquet(path: Path) -> Contents:
    """Say what a file of Parquet holds; columns are read when asked for, and their checksums compared if there are any."""
    pyarrow = optional("pyarrow", "tables", "reading .parquet")
    parquet = optional("pyarrow.parquet", "tables", "reading .parquet")
    # One reader for all: making one goes through all that a file says of its columns, which may be thousands.
    file = parquet.ParquetFile(pyarrow.BufferReader(_mapped_bytes(path)), page_checksum_verification=True)
    schema = file.schema_arrow
    numbers = {field.name for field in schema if pyarrow.types.is_primitive(field.type)}

    @cache
    def read(*names: str) -> dict[str, Any]:
        table = file.read(columns=names)
        return dict(zip(table.schema.names, table.columns, strict=True))

    def column(name: str) -> Any:
        return read(*numbers)[name] if name in numbers else read(name)[name]

    return _as_written(contents_of(schema, column, writable(path.stem)), schema)


def _mapped_bytes(path: Path) -> Any:
    """Return the bytes of a file as a buffer over its map; Arrow itself would take only names in UTF-8."""
    if not path.stat().st_size:
        raise Refusal("there must be a table, got an empty file: write it again.")
    return optional("pyarrow", "tables", f"reading {path.suffix}").py_buffer(np.memmap(path, "u1", "r"))


def read_arrow(path: Path) -> Contents:
    """Say what a file of Arrow or Feather holds, mapped: vectors of one piece that is not compressed are never copied."""
    table, start = mapped_table(path)
    found = contents_of(table.schema, lambda name: checked(table, name), writable(path.stem))
    for name, entry in found.entries.items():
        if entry.kind == "layer":
            found.entries[name] = Entry("layer", lambda entry=entry: _as_map(path, start, entry.read()))  # type: ignore[misc]
    return _as_written(found, table.schema)


def mapped_table(path: Path) -> tuple[Any, int]:
    """Return a table over the memory map of a file, in either of Arrow's forms, and where in memory the map begins."""
    pyarrow = optional("pyarrow", "tables", f"reading {path.suffix}")
    whole = _mapped_bytes(path)
    magic = whole[:6].to_pybytes()
    if magic[:4] == b"FEA1":
        raise Refusal("the file must be of Feather's version 2, got version 1: read it with pandas and write it again.")
    reader = pyarrow.ipc.open_file(whole) if magic == b"ARROW1" else pyarrow.ipc.open_stream(whole)
    return reader.read_all(), whole.address


def checked(table: Any, name: str) -> Any:
    """Return a column whose offsets were compared with its lengths: those of a damaged file may point anywhere."""
    column = table.column(name)
    column.validate(full=True)
    return column


def _as_map(path: Path, start: int, array: np.ndarray) -> np.ndarray:
    """Return an array that lies in the map of a file as a map of NumPy's, which says where it lies, if it is large."""
    place = array.__array_interface__["data"][0] - start
    if not array.flags.c_contiguous or not 0 <= place <= path.stat().st_size - array.nbytes:
        return array
    large = mapped(path, place, array.shape, array.dtype)
    return array if large is None else large


def _as_written(found: Contents, schema: Any) -> Contents:
    """Tell what homolog wrote: which columns are layers, and what the others say of the rows."""
    about = (schema.metadata or {}).get(_ABOUT)
    if about is None:
        return found
    said = json.loads(about)
    if {*said["layers"], *(said[name] for name in IDENTITIES if name in said)} != set(found.entries):
        # What somebody made of a table that homolog wrote.
        old = {OLD_NOTE: ""} if OLD_NOTE in said["provenance"] else {}
        return replace(found, notes={"provenance": json.dumps(old)})
    identities = {name: found.entries[said[name]].read() for name in IDENTITIES if name in said}
    notes = {"provenance": json.dumps(said["provenance"])} | {
        name: values if name == "example_ids" else np.asarray(values) for name, values in identities.items()
    }
    return Contents({name: found.entries[name] for name in said["layers"]}, notes)


def write_parquet(layers: Activations, path: str) -> None:
    """Write layers as columns of vectors, some rows at a time; the column `example_id` says who the rows are."""
    pyarrow = optional("pyarrow", "tables", "writing .parquet")
    parquet = optional("pyarrow.parquet", "tables", "writing .parquet")
    identities = {name: getattr(layers, name) for name in IDENTITIES if getattr(layers, name) is not None}
    columns = {name: f"{RESERVED}{name}" for name in identities}
    if "example_ids" in identities and _IDS not in layers:
        columns["example_ids"] = _IDS
    arrays = as_written(layers)
    about = {"layers": list(arrays), "provenance": layers.notes} | columns
    step = max(1, _ROWS_TOGETHER // (8 * sum(array.shape[1] for array in arrays.values())))

    def table(start: int) -> Any:
        rows = slice(start, min(start + step, layers.n))
        found = {columns[name]: _column(pyarrow, values[rows]) for name, values in identities.items()}
        return pyarrow.table(found | {name: _vectors(pyarrow, name, array[rows]) for name, array in arrays.items()})

    first = table(0)
    schema = first.schema.with_metadata({_ABOUT: json.dumps(about, ensure_ascii=False)})
    with Path(path).open("wb") as file, parquet.ParquetWriter(file, schema, **_OPTIONS) as writer:
        writer.write_table(first.cast(schema))
        for start in range(step, layers.n, step):
            writer.write_table(table(start).cast(schema))


def _column(pyarrow: Any, values: np.ndarray) -> Any:
    if values.dtype.kind in "iu":
        return pyarrow.array(values.astype(values.dtype.newbyteorder("=")))
    return pyarrow.array(values.astype(str).tolist(), pyarrow.string())


def _vectors(pyarrow: Any, name: str, rows: Array) -> Any:
    """Return a column of vectors; of sketches one of pairs of vectors."""
    part = np.ascontiguousarray(to_numpy(rows))
    part = part.astype(part.dtype.newbyteorder("="), copy=False)
    found = pyarrow.array(part.reshape(-1))
    for length in reversed(axes_of_row(name, part.shape[1])):
        found = pyarrow.FixedSizeListArray.from_arrays(found, length)
    return found
