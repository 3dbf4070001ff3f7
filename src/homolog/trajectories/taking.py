"""The activations of a checkpoint, and what tells it from others."""

from __future__ import annotations

import hashlib
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from inspect import Parameter, signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.arrays import described, to_numpy
from homolog.equal_layers import rounding
from homolog.extraction import extract
from homolog.extraction.adapters import source_of
from homolog.extraction.computation_record import record_of
from homolog.extraction.digests import hashed
from homolog.extraction.into_store import request_of
from homolog.extraction.options import Options
from homolog.extraction.session import run_extraction
from homolog.machine import parse_bytes
from homolog.names import shown, unknown
from homolog.rows import Rows
from homolog.store.disk import room_for
from homolog.trajectories.rounded_weights import rounded_digests

_NOT_HERE = ("model", "data", "out", "resume", "progress", "memory", "sketch", "rng")
"""What `extract` takes and a trajectory decides itself."""
GIVEN = "activations "
"""What the digest of activations begins with, of which nobody knows the weights."""
PRINT = (4, 16)
"""Sums over rows, and over columns, that are kept of a layer to tell equal outputs."""


@dataclass
class Taken:
    """One checkpoint, extracted."""

    activations: Any
    """Activations; None where nobody needs them."""
    digest: str
    """Of its weights, of what a function of the caller's computes, or of activations that were given."""
    made: bool
    """Whether the activations were extracted here, and take memory as long as they are kept."""
    rounded: dict[str, str] = field(default_factory=dict)
    """Digests of its weights as narrower types hold them."""


@dataclass
class Taking:
    """Extracts each checkpoint alike."""

    data: Any
    given: Mapping[str, Any]
    """The options of `homolog.extract`."""
    memory: int
    told: dict[tuple[type[Warning], str], Any] = field(default_factory=dict)
    """Warnings so far, each once."""

    def __post_init__(self) -> None:
        if isinstance(self.data, Iterator):
            raise TypeError(
                f"data must be something that can be read again for each checkpoint, got {described(self.data)}: pass all "
                f"examples as one array, a DataLoader, or list(batches)."
            )
        self.options = _options(self.given, self.memory)
        self.of_models = False
        """Whether a checkpoint was a model, for which there are data and options."""

    def taken(self, content: Any, label: str, digest: str) -> Taken:
        """Extract a model, or take activations as they are."""
        if isinstance(content, Activations):
            if not self.of_models:
                self._check_unused(label)
            layers = self.given.get("layers")
            chosen = content.select(*([layers] if isinstance(layers, str) else layers)) if layers else content
            return Taken(chosen, digest, made=False)
        if self.data is None:
            raise TypeError(f"data must be the examples on which checkpoint {shown(label)} is run, got None.")
        self.of_models = True
        with self.noted():
            found = run_extraction(content, self.data, self.options)
            return Taken(found, digest, made=True, rounded=rounded_digests(content))

    def _check_unused(self, label: str) -> None:
        """Raise where something was given that only says how models are run."""
        usual = {name: each.default for name, each in signature(extract).parameters.items()}
        unused = ["data"] * (self.data is not None)
        unused += [name for name, value in self.given.items() if name != "layers" and _differs(value, usual.get(name))]
        if unused:
            raise TypeError(
                f"{', '.join(unused)} must be left out where checkpoints are activations, as {shown(label)} is: only models "
                f"are run with {'it' if len(unused) == 1 else 'them'}."
            )

    def digest(self, content: Any) -> str:
        """Digest the weights of a model, or activations; of a function of the caller's own what it computes."""
        if isinstance(content, Activations):
            return f"{GIVEN}{_digest_of(content)}"
        source = source_of(content, self.options)
        digest = source.digest()
        if digest == "none of its own":
            return hashed(*(f"{key} {text}" for key, text in sorted(request_of(source, self.options).items()))).hex()
        return digest

    def code_of(self, function: Any) -> dict[str, str]:
        """Record the code of a function of the caller's, and the values that it reads."""
        return record_of(function, self.options)

    def request(self, content: Any) -> dict[str, str]:
        """Say what must be the same for a trajectory to be continued."""
        if isinstance(content, Activations):
            return {"layers": str(self.given.get("layers")), "activations": "given"}
        source = source_of(content, self.options)
        options = source.settled(self.options)
        software = " ".join(f"{name} {version}" for name, version in sorted(source.software.items()))
        return {**request_of(source, options), "batch_size": str(options.batch_size), "software": software}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep warnings, which are much the same at every checkpoint, to give each once at the end."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for each in caught:
            self.told.setdefault((each.category, str(each.message)), each)


def _differs(value: Any, usual: Any) -> bool:
    simple = isinstance(value, str | int | float | None)
    return value is not usual and not (simple and value == usual)


def _options(given: Mapping[str, Any], memory: int) -> Options:
    """Return the options of an extraction, those not given as `homolog.extract` has them."""
    known = {name: each.default for name, each in signature(extract).parameters.items() if name not in _NOT_HERE}
    odd = next((name for name in given if name not in known), None)
    if odd in ("sketch", "rng"):
        raise TypeError(
            f"compare_checkpoints compares the features themselves, of a few checkpoints at a time, got {odd}=: leave it out and "
            f'take wide layers with reduce="mean", or take each checkpoint with homolog.extract(..., sketch=512) and compare '
            f"these with homolog.compare."
        )
    if odd is not None:
        remedy = "homolog.extract tells what its options mean"
        raise TypeError(unknown("option of compare_checkpoints", odd, known, remedy))
    chosen = {name: value for name, value in known.items() if value is not Parameter.empty} | dict(given)
    names = {each.name for each in fields(Options)}
    kept = {name: value for name, value in chosen.items() if name in names}
    return Options(**kept, memory=parse_bytes(memory), progress=False)


def _digest_of(layers: Activations) -> str:
    """Digest the numbers of activations that were given."""
    state = hashlib.blake2b(digest_size=8)
    for name, array in layers.items():
        state.update(f"{name} {tuple(array.shape)}".encode())
        step = max(1, (1 << 20) // max(1, array.shape[1]))
        for start in range(0, array.shape[0], step):
            state.update(np.ascontiguousarray(block_of(array, slice(start, start + step))).data)
    return state.hexdigest()


def block_of(array: Any, rows: Any) -> np.ndarray:
    """Return rows of a layer, wherever it is."""
    return np.asarray(array[rows] if isinstance(array, Rows) else to_numpy(array[rows]))


def is_finite(array: Any) -> bool:
    """Say whether a layer holds neither NaN nor infinity."""
    return all(bool(np.isfinite(block_of(array, part)).all()) for part in _parts(*array.shape))


def print_of(layers: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return a few numbers of each layer that every row and every column has a part in.

    Rows and columns are added up with random weights that are always the same, each column after division by its largest
    number, so that none hides another. First stands by how much the sums of equal layers may differ; NaN alone stands for a
    layer that is constant, which networks that differ may share.
    """
    return {name: _sums(array) for name, array in layers.items()}


def _sums(array: Any) -> list[float]:
    rows, columns = map(int, array.shape)
    largest, varies, first = np.zeros(columns), False, block_of(array, slice(0, 1))
    for part in _parts(rows, columns):
        block = block_of(array, part)
        largest = np.maximum(largest, np.abs(block).max(axis=0, initial=0.0))
        varies = varies or bool((block != first).any())
    if not varies:
        return [float("nan"), *map(float, first[0, : PRINT[1]] if rows else ())]
    largest[largest == 0] = 1.0
    left, right = (
        np.random.default_rng(seed).normal(size=size)
        for seed, size in ((0, (rows, PRINT[0])), (1, (columns, PRINT[1])))
    )
    sums = np.zeros(PRINT)
    with np.errstate(invalid="ignore", over="ignore"):
        for part in _parts(rows, columns):
            sums += left[part].T @ ((block_of(array, part) / largest) @ right)
    return [rounding(array) * math.sqrt(rows * columns), *map(float, sums.ravel())]


def _parts(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, (1 << 18) // max(1, columns))
    return (slice(start, start + step) for start in range(0, rows, step))


def data_digest(layers: Activations) -> str:
    """Digest who the rows are; where nothing says it, what the first checkpoint makes of them."""
    known = [ids for ids in (layers.example_ids, layers.positions, layers.digests) if ids is not None]
    if not known:
        return _digest_of(layers)
    return hashed(*(part for ids in known for part in (str(ids.dtype), np.ascontiguousarray(ids).tobytes()))).hex()


def _write(path: Path, array: np.ndarray) -> None:
    """Write an array; on a full disk say where it is, and how to choose another."""
    remedy = "make room there, or name another folder for temporary files in the environment variable TMPDIR"
    with room_for(path, remedy), path.open("wb") as file:
        # Not the file itself: NumPy would leave out of its error why the disk did not take the numbers.
        np.lib.format.write_array(SimpleNamespace(write=file.write), array, allow_pickle=False)


class OnDisk(Mapping[str, Any]):
    """Activations on disk, read layer by layer, with all that is known of their rows."""

    def __init__(self, layers: Activations) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="homolog-")
        self._files = {name: Path(self._folder.name) / f"{place}.npy" for place, name in enumerate(layers)}
        try:
            for name, path in self._files.items():
                _write(path, block_of(layers[name], slice(None)))
        except BaseException:
            self.close()
            raise
        self.n, self.example_ids, self.positions = layers.n, layers.example_ids, layers.positions
        self.digests, self.index, self.provenance = layers.digests, layers.index, layers.provenance
        self.modules = layers.modules

    def __getitem__(self, name: str) -> Any:
        return np.load(self._files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files  # without reading it

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()
