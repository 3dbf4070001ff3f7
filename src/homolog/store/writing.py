"""Rows → a store, so that whatever ends the writing leaves every committed row where it was.

Rows wait in memory until a chunk is whole; a commit, one small file replaced at once, then says how many rows all arrays hold.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import to_numpy
from homolog.machine import optional
from homolog.names import check_text, quoted, shown
from homolog.rows import READ_AT_ONCE, Rows
from homolog.sketching import as_written, axes_of_row
from homolog.store.chunk_files import ChunkFiles
from homolog.store.disk import locked, put_in_place, recover, room_for, temporary_path
from homolog.store.layout import (
    DTYPES,
    IDENTITIES,
    LAYERS,
    LOCK,
    ROWS,
    Contents,
    chunk_rows,
    contents_of,
    zarr_library,
)

PARTIAL = "*.partial"
"""What zarr calls files that it has not finished; a process that was killed leaves them behind."""


GROWTH = 16
"""Times the rows so far that an array has room for: its file is written again whenever it grows."""


class Column:
    """One array of a store that grows by whole chunks; what does not fill one waits in memory."""

    def __init__(self, folder: Path, key: str, rows: int) -> None:
        zarr = zarr_library()
        # A chunk of zeros that is left out would look like one that was lost.
        with zarr.config.set({"array.write_empty_chunks": True}):
            self.array = zarr.open_array(str(folder / key), mode="r+")
        self._files = ChunkFiles(folder / key, self.array) if self.array.dtype.name in DTYPES else None
        self.written = rows - rows % self.step
        self.waiting: list[np.ndarray] = []
        # Rows of the last chunk, if it is not whole, are written again with those that come.
        self.waiting_rows = rows - self.written
        if self.waiting_rows:
            self.waiting.append(np.asarray(self.array[self.written : rows]))
        if self.array.shape[0] != rows:
            self._resize(rows)

    @property
    def step(self) -> int:
        """Rows of a chunk."""
        return int(self.array.chunks[0])

    def append(self, rows: np.ndarray) -> None:
        """Take rows, and write the chunks that they make whole."""
        self.waiting.append(rows.reshape(-1, *self.array.shape[1:]))
        self.waiting_rows += len(rows)
        self._write(self.waiting_rows // self.step)
        # A copy, because a view would keep all of them, and they may be written over.
        self.waiting = [part.copy() if part.base is not None or part is rows else part for part in self.waiting]

    def finish(self) -> None:
        """Write what waits, as a chunk that is not whole, and leave no room behind it."""
        if self.waiting_rows:
            self._write(1)
        if self.array.shape[0] != self.written:
            self._resize(self.written)

    def _write(self, chunks: int) -> None:
        rows = self.written + min(chunks * self.step, self.waiting_rows)
        if self.array.shape[0] < rows:
            self._resize(GROWTH * rows)
        while self.written < rows:
            parts = self._taken(min(self.step, self.waiting_rows))
            if self._files is None:
                self.array[self.written : self.written + sum(map(len, parts))] = np.concatenate(parts)
            else:
                self._files.write(self.written // self.step, parts)
            self.written += sum(map(len, parts))

    def _taken(self, count: int) -> list[np.ndarray]:
        """Return the first rows that wait, which wait no longer."""
        parts, self.waiting_rows = [], self.waiting_rows - count
        while count:
            first = self.waiting.pop(0)
            parts.append(first[:count])
            if len(first) > count:
                self.waiting.insert(0, first[count:])
            count -= len(parts[-1])
        return parts

    def _resize(self, rows: int) -> None:
        self.array.resize((rows, *self.array.shape[1:]))


def check_type(name: str, now: np.dtype[Any], begun: np.dtype[Any]) -> None:
    """Raise where rows do not fit into the type with which their layer was begun."""
    if now != begun and np.result_type(now, begun) != begun:
        raise ValueError(
            f"layer {quoted(name)} must have one type in all batches ({begun} in the first), got {now}: make it the same in all "
            f'of them, or pass dtype="float32".'
        )


class Writer:
    """Writes one store, alone, and says after every row how many are safe.

    Parameters
    ----------
    path
        the folder.
    request
        what is asked for; a store is continued only by an equal request.
    resume
        continue what is there.
    unsaid
        what requests of earlier versions do not say, and what it was then; None where nobody knows, which is presumed to be
        the same and kept in `presumed`.
    apart
        what the caller compares itself.
    """

    def __init__(
        self,
        path: Path,
        request: Mapping[str, str],
        *,
        resume: bool,
        unrecorded: Mapping[str, str | None] = MappingProxyType({}),
        compared_by_caller: Collection[str] = (),
    ) -> None:
        recover(path, LOCK)
        self.path, self.request, self._unrecorded, self._compared_by_caller = (
            path,
            dict(request),
            unrecorded,
            {*compared_by_caller, "limit"},
        )
        self.presumed: list[str] = []
        self.notes_of: Callable[[int], Mapping[str, str]] = lambda rows: {}
        """Gives what is to be written beside so many rows of how the activations were made."""
        self.contents: Contents | None = None
        self._columns: dict[str, Column] = {}
        self._keys: dict[str, str] = {}
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"a store must be a folder, got the file {str(path)!r}: choose another name.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {str(path.parent)!r}: make it first.")
        if path.is_dir() and contents_of(path) is None and any(child.name != LOCK for child in path.iterdir()):
            self._check_abandoned()
        path.mkdir(exist_ok=True)
        self._lock = locked(path, LOCK, path)
        with ExitStack() as undo:
            undo.callback(self._lock.release)
            for partial in path.rglob(PARTIAL):
                partial.unlink(missing_ok=True)
            self._find(resume)
            undo.pop_all()  # nothing went wrong: the lock is held until close()

    def _check_abandoned(self) -> None:
        """Refuse a folder of anything else; a store that was killed before it had attributes is no loss."""
        known = {LOCK, "zarr.json", LAYERS, ROWS}
        odd = next((c.name for c in self.path.iterdir() if c.name not in known and not c.match(PARTIAL)), None)
        if odd is not None:
            raise FileExistsError(
                f"{str(self.path)!r} must be a store or a new name, got a folder that holds {odd!r}: choose another name."
            )

    def _find(self, resume: bool) -> None:
        self.contents = contents_of(self.path)
        if self.contents is None:
            return
        if not resume:
            raise FileExistsError(
                f"{str(self.path)!r} holds a store of {self.contents.rows} rows: pass resume=True to go on with it, or remove it."
            )
        for what, now in self.request.items():
            found = self.contents.request.get(what, self._unrecorded.get(what))
            if found is None and self.contents.request and what in self._unrecorded:
                self.presumed.append(what)
            elif found != now and what not in self._compared_by_caller:
                self.refuse(what, found, now)

    def refuse(self, what: str, begun: str | None, now: str) -> None:
        """Refuse to go on with another request."""
        raise ValueError(
            f"{str(self.path)!r} must be continued as it was begun, with {_described_choice(what, begun)}, got "
            f"{_described_choice(what, now)}: use the same model, layers, functions, inputs and dtype, or another name."
        )

    @property
    def rows(self) -> int:
        """Rows that are committed."""
        return 0 if self.contents is None else self.contents.rows

    @property
    def complete(self) -> bool:
        """Whether the store is finished."""
        return self.contents is not None and self.contents.complete

    @property
    def layers(self) -> list[str]:
        """Names under which the layers that it holds are written."""
        return [] if self.contents is None else list(self.contents.layers)

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the activations were made."""
        return {} if self.contents is None else self.contents.provenance

    def leave_out(self, names: Sequence[str]) -> None:
        """Forget layers of which rows were written before it showed that they are none of examples."""
        if not names:
            return
        assert self.contents is not None  # it holds them
        gone = [self.contents.layers[name] for name in names]
        self._commit(replace(self.contents, layers={n: k for n, k in self.contents.layers.items() if n not in names}))
        for name in names:
            self._columns.pop(name, None)
        for key in gone:
            shutil.rmtree(self.path / key, ignore_errors=True)

    def start(
        self,
        layers: Mapping[str, tuple[int, np.dtype]],
        identities: Mapping[str, np.dtype | str],
        provenance: Mapping[str, str],
    ) -> None:
        """Make the arrays, or find those that are there: layer → features and dtype, identity → dtype."""
        if self.contents is None or (self.contents.rows == 0 and not self.contents.complete):
            # Nothing is safe yet, not even which identities the rows have.
            with self._room():
                self._make(layers, identities, provenance)
        assert self.contents is not None  # _make() sees to it
        self._check_layers(layers)
        self.contents = replace(self.contents, request=self.request)
        self._keys = {name: key for name, key in self.contents.layers.items()}
        self._keys |= {_identity_key(name): f"{ROWS}/{name}" for name in identities}
        self._columns = {name: Column(self.path, key, self.rows) for name, key in self._keys.items()}

    def _make(self, layers: Any, identities: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
        for child in (self.path / LAYERS, self.path / ROWS):
            shutil.rmtree(child, ignore_errors=True)
        root = zarr_library().open_group(str(self.path), mode="a", zarr_format=3)
        steps = {name: chunk_rows(width, dtype) for name, (width, dtype) in layers.items()}
        digits = len(str(len(layers)))
        keys = {name: f"{LAYERS}/{str(index).zfill(digits)}" for index, name in enumerate(layers)}
        for name, (width, dtype) in layers.items():
            axes = axes_of_row(name, width)
            _make_array(root, keys[name], (0, *axes), (steps[name], *axes), dtype, name)
        for name, dtype in identities.items():
            _make_array(root, f"{ROWS}/{name}", (0,), (max(steps.values()),), dtype, name)
        self._commit(Contents(keys, 0, False, provenance, self.request))

    def _check_layers(self, layers: Mapping[str, tuple[int, np.dtype]]) -> None:
        assert self.contents is not None
        known = {name: zarr_library().open_array(str(self.path / key)) for name, key in self.contents.layers.items()}
        stored = {name: (math.prod(array.shape[1:]), array.dtype) for name, array in known.items()}
        found = {name: (width, np.dtype(dtype)) for name, (width, dtype) in layers.items()}
        if list(stored.items()) != list(found.items()):
            odd = next((n for n in [*stored, *found] if stored.get(n) != found.get(n)), "their order")
            raise ValueError(
                f"{str(self.path)!r} must be continued with the layers it holds, got others (first {quoted(odd)}: "
                f"{stored.get(odd, 'none')} there, {found.get(odd, 'none')} now): use the same model and layers, or another name."
            )

    def place(self, layer: str, rows: np.ndarray) -> bool:
        """Take rows of a layer before those of the others, which `append` commits; say whether they fit as they are."""
        column = self._columns.get(layer)
        if column is None or (rows.dtype, rows.shape[1:]) != (column.array.dtype, column.array.shape[1:]):
            return False
        with self._room():
            column.append(rows)
        return True

    def append(self, layers: Mapping[str, np.ndarray], identities: Mapping[str, np.ndarray]) -> None:
        """Take rows of every layer and who they are; commit what is whole."""
        with self._room():
            for name, rows in layers.items():
                check_type(name, rows.dtype, self._columns[name].array.dtype)
                self._columns[name].append(rows)
            for name, rows in identities.items():
                self._columns[_identity_key(name)].append(rows)
            self._commit_rows(min(column.written for column in self._columns.values()), False)

    def note(self, request: Mapping[str, str]) -> None:
        """Write down what was learnt of a request while it was carried out."""
        self.request = dict(request)
        if self.contents is not None and self.contents.request != self.request:
            self._commit(replace(self.contents, request=self.request))

    def finish(self) -> None:
        """Write what waits, and call the store complete."""
        with self._room():
            for column in self._columns.values():
                column.finish()
            self._commit_rows(min(column.written for column in self._columns.values()), True)

    def _room(self) -> AbstractContextManager[None]:
        if not self.request:  # a copy, of which nothing stays
            return nullcontext()
        return room_for(self.path, f"make room and run it again with resume=True, {self.rows} rows are safe")

    def _commit_rows(self, rows: int, complete: bool) -> None:
        assert self.contents is not None  # start() came first
        if (rows, complete) != (self.contents.rows, self.contents.complete):
            provenance = {**self.contents.provenance, **self.notes_of(rows)}
            self._commit(replace(self.contents, rows=rows, complete=complete, provenance=provenance))

    def _commit(self, contents: Contents) -> None:
        # zarr replaces the file of the attributes as a whole.
        zarr_library().open_group(str(self.path), mode="r+").attrs.put(contents.attributes())
        self.contents = contents

    def close(self) -> None:
        """Let others write."""
        self._lock.release()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _described_choice(what: str, value: str | None) -> str:
    """Say how an extraction was asked for, by what the store or this call records of it."""
    if value is None:
        return f"no record of its {what}"
    return f"{what} by default" if value == "None" else f"{what} {shown(value)}"


def _identity_key(name: str) -> str:
    # Apart from a layer of the same name.
    return f"{ROWS}\0{name}"


def _make_array(root: Any, key: str, shape: tuple, chunks: tuple, dtype: Any, name: str) -> None:
    codecs = optional("zarr.codecs", "store", "writing a store")
    text = dtype == "string"
    root.create_array(
        key,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        serializer="auto" if text else codecs.BytesCodec(endian="little"),
        filters="auto" if text else None,
        compressors=[codecs.Crc32cCodec()],
        attributes={"name": name},
    )


def save_store(layers: Activations, path: Path) -> None:
    """Write activations to a new store; an older one of the same name is replaced when the new one is complete."""
    if path.is_symlink():
        path = path.resolve()  # what a link names is replaced, not the link
    recover(path, LOCK)
    if path.exists() and (not path.is_dir() or contents_of(path) is None):
        raise FileExistsError(f"{str(path)!r} must be a store or a new name, got something else: choose another name.")
    unfinished = temporary_path(path)
    with ExitStack() as cleanup:
        if path.is_dir():
            # Whoever writes the old one would go on in a folder that is gone.
            cleanup.callback(locked(path, LOCK, path).release)
        cleanup.callback(shutil.rmtree, unfinished, ignore_errors=True)
        with room_for(path, "make room, or choose another disk; what was there before is unchanged"):
            with Writer(unfinished, {}, resume=False) as writer:
                _copy(layers, writer)
            put_in_place(unfinished, path)


def _copy(layers: Activations, writer: Writer) -> None:
    identities = {name: getattr(layers, name, None) for name in IDENTITIES}
    kept = {name: ids for name, ids in identities.items() if ids is not None}
    kinds: dict[str, Any] = {name: IDENTITIES[name] or id_dtype(ids) for name, ids in kept.items()}
    arrays = as_written(layers)
    shapes = {name: (int(array.shape[1]), _stored_dtype(array)) for name, array in arrays.items()}
    writer.start(shapes, kinds, layers.notes)
    step = max(1, READ_AT_ONCE // max(width * dtype.itemsize for width, dtype in shapes.values()))
    for start in range(0, layers.n, step):
        part = slice(start, min(start + step, layers.n))
        block = {name: to_numpy(array[part]).astype(shapes[name][1], copy=False) for name, array in arrays.items()}
        writer.append(block, {name: as_stored(ids[part], kinds[name]) for name, ids in kept.items()})
    writer.finish()


def id_dtype(ids: np.ndarray) -> str:
    """Return the dtype in which ids are stored."""
    return "string" if ids.dtype.kind in "US" else "int64" if ids.dtype.kind == "i" else "uint64"


def as_stored(ids: np.ndarray, kind: Any) -> np.ndarray:
    """Return identities in the dtype of their array."""
    check_text(ids, "example_ids")
    return ids.astype(np.str_).astype(object) if kind == "string" else ids.astype(kind)


def _stored_dtype(array: Any) -> np.dtype:
    if isinstance(array, Rows):
        return array.dtype.newbyteorder("=")
    dtype = to_numpy(array[:1]).dtype
    # bfloat16 and its kin are no types of zarr; float32 holds them without loss.
    return dtype.newbyteorder("=") if dtype.kind in "fiu" else np.dtype("float32")
