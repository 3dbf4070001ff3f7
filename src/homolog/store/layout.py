"""What lies where in a store, and what its attributes say. The written form is docs/fileformat.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from homolog.machine import optional
from homolog.names import first_line, quoted, shown
from homolog.sketching import read_name
from homolog.store.disk import read_json

SUFFIX = ".zarr"
FORMAT, VERSION, OF_SKETCHES = "homolog-activations", 1, 2
"""Version 2 is version 1 with layers of which sketches are kept, which readers of version 1 would take for features."""
LAYERS, ROWS, LOCK = "layers", "rows", ".lock"
IDENTITIES = {"digests": "uint64", "positions": "int64", "example": "int64", "example_ids": None}
"""Identity of the rows → dtype, None where it is the one of the ids: integers or text."""
CHUNK_BYTES, CHUNK_ROWS = 4 << 20, 1024
"""A chunk holds at most so many bytes, where one row does not hold more, and at most so many rows."""
CHECKSUM = 4
"""Bytes of a checksum, at the end of every chunk."""
CODECS = {"bytes", "crc32c", "vlen-utf8"}
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(frozen=True)
class Contents:
    """The attributes of a store."""

    layers: Mapping[str, str]
    """Name under which a layer is written → key of its array."""
    rows: int
    """Rows that are committed: whatever lies beyond was not finished."""
    complete: bool
    provenance: Mapping[str, str]
    request: Mapping[str, str]
    """What was asked for when the store was begun, so that it is continued only by the same."""

    def attributes(self) -> dict[str, Any]:
        """Return the attributes as they are written."""
        return {
            "format": FORMAT,
            "format_version": OF_SKETCHES if any(read_name(name)[1] for name in self.layers) else VERSION,
            "layers": [{"name": name, "key": key} for name, key in self.layers.items()],
            "rows": self.rows,
            "complete": self.complete,
            "provenance": dict(self.provenance),
            "request": dict(self.request),
        }


def zarr_library() -> Any:
    """Return zarr, or say what to install."""
    return optional("zarr", "store", "a .zarr store")


def contents_of(path: Path) -> Contents | None:
    """Read the attributes of a store; None where nobody has begun one."""
    try:
        content = read_json(path / "zarr.json")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise PermissionError(f"{str(path / 'zarr.json')!r} must be readable, got: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} must be a store, got a damaged zarr.json ({shown(first_line(error))}): extract again."
        ) from error
    attributes = content.get("attributes", {}) if isinstance(content, dict) else {}
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT:
        return None
    version = attributes.get("format_version")
    if type(version) is not int or version not in (VERSION, OF_SKETCHES):
        raise ValueError(
            f"{str(path)!r} must be of format version {VERSION} or {OF_SKETCHES}, got "
            f"{'none' if version is None else quoted(version)}: read it with the version of homolog that wrote it, or a "
            f"later one."
        )
    try:
        return _checked_attributes(attributes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} must hold what docs/fileformat.md says in the attributes of its zarr.json, got "
            f"{type(error).__name__}({shown(first_line(error))}): it was altered, so extract again."
        ) from error


def _checked_attributes(attributes: dict[str, Any]) -> Contents:
    layers, rows, complete = (attributes[key] for key in ("layers", "rows", "complete"))
    named = {layer["name"]: layer["key"] for layer in layers}
    texts = [attributes["provenance"], attributes.get("request", {}), named]
    if not all(isinstance(text, str) for part in texts for item in part.items() for text in item):
        raise ValueError("names, provenance or request that are no text")
    if type(rows) is not int or type(complete) is not bool or len(named) < len(layers):
        raise ValueError("rows, complete or layers of another kind")
    return Contents(named, rows, complete, dict(texts[0]), dict(texts[1]))


def chunk_rows(width: int, dtype: np.dtype) -> int:
    """Return the rows of a chunk: the largest power of two within the limits.

    >>> chunk_rows(2048, np.dtype("float32")), chunk_rows(10, np.dtype("float32")), chunk_rows(10**7, np.dtype("float32"))
    (512, 1024, 1)
    """
    fitting = max(1, min(CHUNK_ROWS, CHUNK_BYTES // (width * dtype.itemsize)))
    return 1 << (fitting.bit_length() - 1)
