"""Datasets in files of HDF5, by their paths: nothing outside the file is followed, and nothing in it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from homolog.files.contents import Contents, Entry, Refusal, entry_of, kept_open, stacked
from homolog.files.numpy_files import mapped
from homolog.machine import optional

_KERAS = ("keras_version", "layer_names", "model_config", "_is_legacy")
_DEEPEST = 32
"""Groups within groups that are looked into."""
_TEXT = np.dtype("U1")
MODEL = (
    "the file must hold activations, got what looks like a Keras model or its weights: load it with Keras and take its layers "
    "with homolog.extract."
)


def read_hdf5(path: Path) -> Contents:
    """Say what a file of HDF5 holds; a dataset is read when it is asked for, and a large one without chunks is mapped."""
    h5py = optional("h5py", "files", f"reading {path.suffix}")
    with kept_open(h5py.File(path, "r")) as file:
        if _is_keras(file):
            raise Refusal(MODEL)
        if any("pandas_type" in group.attrs for group in file.values() if isinstance(group, h5py.Group)):
            raise Refusal(
                "the file must hold plain datasets, got a table that pandas wrote with to_hdf: read it with pandas.read_hdf and "
                "write it with to_parquet."
            )
        entries = {name: _entry(h5py, path, item, name) for name, item in items(h5py, file)}
        return Contents(entries, close=file.close)


def _is_keras(file: Any) -> bool:
    """Say whether a file is a model of Keras or its weights, in the form of any version."""
    groups = {"model_weights", "optimizer_weights", "_layer_checkpoint_dependencies"} & set(file)
    return bool(groups) or any(name in file.attrs for name in _KERAS) or {"layers", "vars"} <= set(file)


def items(
    h5py: Any,
    group: Any,
    prefix: str = "",
    within: Callable[[Any], bool] = lambda _: True,
    around: tuple[int, ...] = (),
) -> Iterator[tuple[str, Any]]:
    """Yield the paths of what lies in a group and in those within: each dataset, or a word for a link, which is not followed."""
    around = (*around, h5py.h5o.get_info(group.id).addr)
    for name in group:
        path = f"{prefix}{name}"
        item = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else "a link"
        if not isinstance(item, h5py.Group) or not within(item):
            yield path, item
        elif h5py.h5o.get_info(item.id).addr in around or len(around) > _DEEPEST:
            raise Refusal(
                f"groups must lie at most {_DEEPEST} deep in one another, and not in themselves, got {path[:60]!r}."
            )
        else:
            yield from items(h5py, item, f"{path}/", within, around)


def _entry(h5py: Any, path: Path, item: Any, name: str) -> Entry:
    if isinstance(item, str):
        return Entry("other", what="a link, which is not followed")
    kind = kind_of(h5py, item)
    if kind != "array":
        return Entry("refused", what=kind) if kind.startswith("must") else Entry("other", what=kind)
    if h5py.check_vlen_dtype(item.dtype) is not None and not _is_text(h5py, item):
        return Entry("layer", lambda: read(path, item))
    return entry_of(name, item.shape, _TEXT if _is_text(h5py, item) else item.dtype, lambda: read(path, item))


def _is_text(h5py: Any, item: Any) -> bool:
    return h5py.check_string_dtype(item.dtype) is not None


def elsewhere(item: Any) -> bool:
    """Say whether numbers of a dataset lie in other files."""
    return bool(item.external or item.is_virtual)


def kind_of(h5py: Any, item: Any) -> str:
    """Say whether what lies at a path is a plain array; else what it is, or, from "must" on, why it is refused."""
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return "nothing" if isinstance(item, h5py.Dataset) else "a type"
    if elsewhere(item):
        return "must hold its numbers in the file itself, got some in other files: copy them into one"
    if item.dtype.kind == "O" and not _is_text(h5py, item):
        inner = h5py.check_vlen_dtype(item.dtype)
        if inner is None or inner.kind not in "iuf":
            return "must hold numbers, got references to other objects: write the arrays themselves"
    if item.dtype.kind == "b" or h5py.check_enum_dtype(item.dtype) is not None:
        return "booleans" if item.dtype.kind == "b" else "names of categories"
    if item.dtype.kind == "V":
        return "a table of several types" if item.dtype.names else "bytes"
    return "array"


def read(path: Path, item: Any) -> Any:
    """Read a dataset of a file."""
    h5py = optional("h5py", "files", "reading HDF5")
    offset = item.id.get_offset() if item.chunks is None else None
    large = mapped(path, offset, item.shape, item.dtype) if offset is not None else None
    if large is not None:
        return large
    found = item[()]
    if h5py.check_vlen_dtype(item.dtype) is not None and not _is_text(h5py, item):
        return stacked(found, item.name.strip("/"))
    return list(found) if found.dtype.kind == "O" else np.asarray(found)
