"""Arrays in files of safetensors: a length of 8 bytes, a header of JSON, then the numbers."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.files.contents import RESERVED, Contents, entry_of, members
from homolog.files.numpy_files import arrays_of, is_large, mapped
from homolog.machine import optional

_SMALL = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""Types of which safetensors makes no arrays of NumPy's."""
_PLAIN = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"} | {
    "U8": "u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
}
"""Types that can be mapped."""


def read_safetensors(path: Path) -> Contents:
    """Read arrays by name, in the order in which homolog wrote them or else that of the file."""
    safetensors = optional("safetensors", "files", "reading .safetensors")
    optional("ml_dtypes", "files", "reading .safetensors")
    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {name: _tensor(path, file, name) for name in file.offset_keys()}
        about = file.metadata() or {}
    held = {name: entry_of(name, array.shape, array.dtype, partial(_as_it_is, array)) for name, array in arrays.items()}
    found = members(held)
    found.notes["provenance"] = about.get(f"{RESERVED}provenance", "{}")
    if f"{RESERVED}example_ids" in about:
        found.notes["example_ids"] = json.loads(about[f"{RESERVED}example_ids"])
    order = json.loads(about.get(f"{RESERVED}layers", "[]"))
    found.entries = {name: found.entries[name] for name in order} or found.entries
    return found


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def _tensor(path: Path, file: Any, name: str) -> np.ndarray:
    about = file.get_slice(name)
    dtype = about.get_dtype()
    if dtype in _SMALL:
        offset, size, shape = _place(path, name)
        with path.open("rb") as raw:
            raw.seek(offset)
            small = getattr(optional("ml_dtypes", "files", "float8"), _SMALL[dtype])
            return np.frombuffer(raw.read(size), small).reshape(shape)
    plain = np.dtype(_PLAIN[dtype]) if dtype in _PLAIN else None
    if plain is not None and is_large(tuple(about.get_shape()), plain):
        offset, _, shape = _place(path, name)
        large = mapped(path, offset, shape, plain)
        if large is not None:
            return large
    return file.get_tensor(name)


def _place(path: Path, name: str) -> tuple[int, int, tuple[int, ...]]:
    """Return where the numbers of a tensor are, which the library has checked: the first byte, how many, and their shape."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(length))[name]
    start, stop = about["data_offsets"]
    return 8 + length + start, stop - start, tuple(about["shape"])


def write_safetensors(layers: Activations, path: str) -> None:
    """Write arrays by name, with the identity of the rows beside them."""
    numpy_door = optional("safetensors.numpy", "files", "writing .safetensors")
    tensors = arrays_of(layers)
    about = {
        f"{RESERVED}layers": json.dumps(list(tensors), ensure_ascii=False),
        f"{RESERVED}provenance": json.dumps(layers.notes, ensure_ascii=False),
    }
    for name in ("positions", "digests"):
        if getattr(layers, name) is not None:
            tensors[f"{RESERVED}{name}"] = getattr(layers, name)
    if layers.example_ids is not None:
        ids = layers.example_ids.astype(str) if layers.example_ids.dtype.kind == "S" else layers.example_ids
        about[f"{RESERVED}example_ids"] = json.dumps(ids.tolist(), ensure_ascii=False)
    try:
        numpy_door.save_file(tensors, path, metadata=about)
    except Exception as error:
        # The library has no OSError: the number stands in its sentence.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
