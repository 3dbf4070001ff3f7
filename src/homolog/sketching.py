"""Sketches of wide layers: two independent random projections, whose inner products are those of the layer on average.

A layer x (n, p) is kept as x S₁ and x S₂, (n, k) each, with E[S Sᵀ] = I and S₁ independent of S₂. Then

    E[x S₁ S₁ᵀ xᵀ] = x xᵀ = K,        E⟨x S₁ S₁ᵀ xᵀ, x S₂ S₂ᵀ xᵀ⟩ = ⟨K, K⟩,

while the product of a sketch with itself is too large. `operands.sketched_gram` takes products of unlike sketches only.

Every feature has `BLOCKS` numbers that are not 0 in each S: the features are divided at random into k / BLOCKS groups, and each
group is projected on BLOCKS columns of random signs, ±1/√BLOCKS. The blocks of columns are independent of each other and alike in
distribution, so that leaving out each of them in turn says how far a value may be off. Nothing of size p · k is held.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import Array, from_numpy, is_numpy, namespace, to_numpy, working_dtype
from homolog.names import quoted, shown
from homolog.rows import Rows, is_whole_map

BLOCKS = 16
"""Blocks of columns of each sketch, and numbers in each row of S that are not 0."""
SKETCHES = 2
ENOUGH_RUNS = 1 << 12
"""So many runs of features are divided at random, where there are as many; single features where there are fewer."""
LONGEST_RUN = 32
"""Features that may stay together, so that they are moved together."""
FEATURES_AT_ONCE, ROWS_AT_ONCE = 1 << 14, 64
"""What is moved at a time: so little that it stays near the processor, with the signs of the features as floats."""
MARK = " ~sketch of "
"""What stands between the name of a layer and what makes its sketches, where these lie outside of this package."""
_WRITTEN = re.compile(
    r"(?P<name>.+)"
    + re.escape(MARK)
    + r'(?P<layer>".*"), (?P<width>\d+) features, 2x(?P<columns>\d+), seed (?P<seed>\d+)',
    re.DOTALL | re.ASCII,
)
OLD_NOTE = "sketches of the layers"
"""Key under which files of a version that was never released said which of their columns are sketches."""


class Sketch(NamedTuple):
    """What makes the two projections of a layer, the same on every machine."""

    layer: str
    """The name that the layer had when it was extracted."""
    width: int
    """Its features."""
    columns: int
    """Columns of each of the two sketches, k."""
    seed: int

    @property
    def key(self) -> int:
        """128 bits of which the random numbers are made: layers of other names, widths, columns or seeds have other ones."""
        text = json.dumps([self.layer, self.width, self.columns, self.seed])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


class Projection:
    """The two projections of one sketch, as the indices and signs that they consist of."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self.groups = sketch.columns // BLOCKS
        self.run = _run_of(sketch.width)
        self.runs = sketch.width // self.run
        bits = np.random.Philox(key=sketch.key)
        shuffled = np.argsort(bits.random_raw(self.runs), kind="stable")
        each = -(-self.runs // self.groups)
        # Runs in random order are dealt out to the groups in turn; the last ones are filled up by runs that do not count.
        order = np.zeros(each * self.groups, dtype=np.int64)
        order[: self.runs] = shuffled
        self.order = np.ascontiguousarray(order.reshape(each, self.groups).T)
        """(groups, runs of a group)"""
        signs = _signs(bits, sketch.width)
        counted = self.runs > np.arange(each * self.groups).reshape(each, self.groups).T
        by_run = signs[: self.runs * self.run].reshape(self.runs, -1)[self.order]
        by_run[~counted] = 0
        self.signs = by_run.reshape(self.groups, -1, SKETCHES * BLOCKS)
        """(groups, features of a group, 2 · BLOCKS), 0 where a group is filled up."""
        self.rest = _of_rest(signs[self.runs * self.run :], self.groups)
        """(features that make no run, 2k): what is left at the end."""
        self._moved: dict[Any, tuple[Array, Array, Array]] = {}

    def of(self, x: Array) -> Array:
        """Return both sketches (n, 2k) of features (n, p), in the dtype of x, of at least 32 bits."""
        xp = namespace(x)
        if str(x.dtype).rpartition(".")[2] not in ("float32", "float64"):
            # Integers of more than 16 bits have more digits than float32.
            long = xp.isdtype(x.dtype, "integral") and xp.iinfo(x.dtype).bits > 16
            x = xp.astype(x, working_dtype(x) if long else xp.float32)
        _, _, rest = self._beside(x)
        parts = [self._of_runs(x[first : first + ROWS_AT_ONCE, :]) for first in range(0, x.shape[0], ROWS_AT_ONCE)]
        found = xp.concat(parts, axis=0)
        if rest.shape[0]:
            found = found + x[:, self.runs * self.run :] @ xp.astype(rest, x.dtype)
        return found / float(BLOCKS) ** 0.5

    def _of_runs(self, x: Array) -> Array:
        """Return what the features that are in runs add: several groups at a time, or a part of one."""
        xp, n = namespace(x), x.shape[0]
        order, signs, _ = self._beside(x)
        runs = xp.reshape(x[:, : self.runs * self.run], (n, self.runs, self.run))
        each, some = order.shape[1], max(1, FEATURES_AT_ONCE // self.run)
        many = max(1, some // each)
        parts = []
        for first in range(0, self.groups, many):
            groups, found = slice(first, first + many), 0
            for start in range(0, each, some):
                places = order[groups, start : start + some]
                moved = xp.reshape(xp.take(runs, xp.reshape(places, (-1,)), axis=1), (n, places.shape[0], -1))
                own = signs[groups, start * self.run : (start + some) * self.run, :]
                found = found + xp.permute_dims(moved, (1, 0, 2)) @ xp.astype(own, x.dtype)
            parts.append(found)
        # (groups, n, blocks) → (n, blocks, groups): every group has one column in a block.
        return xp.reshape(xp.permute_dims(xp.concat(parts, axis=0), (1, 2, 0)), (n, -1))

    def _beside(self, x: Array) -> tuple[Array, Array, Array]:
        """Return the indices and the signs where x is."""
        if is_numpy(x):
            return self.order, self.signs, self.rest
        place = (namespace(x).__name__, str(x.device))
        if place not in self._moved:
            self._moved[place] = from_numpy(self.order, x), from_numpy(self.signs, x), from_numpy(self.rest, x)
        return self._moved[place]


_SIGNS_OF_BYTES = (
    2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.int8) - 1
).view(np.uint64)[:, 0]
"""Eight signs, as one number, for every byte."""


def _signs(bits: np.random.Philox, width: int) -> np.ndarray:
    """Return (features, 2 · BLOCKS) random signs."""
    words = (
        bits.random_raw(width).astype("<u8", copy=False).view(np.uint8).reshape(width, 8)[:, : SKETCHES * BLOCKS // 8]
    )
    return _SIGNS_OF_BYTES[words].view(np.int8).reshape(width, SKETCHES * BLOCKS)


def _of_rest(signs: np.ndarray, groups: int) -> np.ndarray:
    """Return (features, 2k) columns of a few features, each in a group of its own."""
    found = np.zeros((len(signs), SKETCHES * BLOCKS, groups), dtype=np.int8)
    places = np.arange(len(signs))
    found[places, :, places % groups] = signs
    return found.reshape(len(signs), SKETCHES * BLOCKS * groups)


def _run_of(width: int) -> int:
    """Return how many neighbouring features stay together: more of wide layers, of which there are enough to divide."""
    run = 1
    while run < LONGEST_RUN and width // (2 * run) >= ENOUGH_RUNS:
        run *= 2
    return run


@lru_cache(maxsize=64)
def projection(sketch: Sketch) -> Projection:
    """Return the projections of a sketch."""
    return Projection(sketch)


class SketchedRows(Rows):
    """A layer (n, p) of which two sketches are kept: none of its own numbers can be read."""

    in_memory = True

    def __init__(self, kept: Any, sketch: Sketch, where: str) -> None:
        shape, k = tuple(kept.shape), sketch.columns
        if shape[1:] not in ((SKETCHES, k), (SKETCHES * k,)):
            raise ValueError(
                f"{where} must hold two sketches of {k} columns, got an array of shape {shape}: extract it again."
            )
        self.kept = kept if len(shape) == 2 else _side_by_side(kept)
        """(n, 2k) both sketches side by side, an array or rows that are read."""
        self.sketch, self.where = sketch, where
        self.shape = (int(shape[0]), sketch.width)
        self.dtype = kept.dtype if isinstance(kept, Rows) else np.dtype(str(kept.dtype).rpartition(".")[2])

    @property
    def columns(self) -> Any:
        """(n, 2, k) the columns of both sketches in memory: three axes, which nothing takes for features."""
        kept = self.kept[:] if isinstance(self.kept, Rows) else self.kept
        return namespace(kept).reshape(kept, (self.shape[0], SKETCHES, self.sketch.columns))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Refuse: there are no rows."""
        raise TypeError(sketches_refused(self.where, "its features"))

    @property
    def found_elsewhere(self) -> bool:
        """Whether the columns are."""
        return isinstance(self.kept, Rows) and self.kept.found_elsewhere

    @property
    def folder(self) -> str | None:
        """Where the file of the columns lies."""
        return self.kept.folder if isinstance(self.kept, Rows) else None

    def take(self, index: np.ndarray | slice) -> SketchedRows:
        """Return some of the examples."""
        return SketchedRows(self.kept[index], self.sketch, self.where)

    def named(self, where: str) -> SketchedRows:
        """Return the same as errors call it now; columns on disk are called after their file."""
        return SketchedRows(self.kept, self.sketch, self.kept.where if isinstance(self.kept, Rows) else where)

    @property
    def like(self) -> Any:
        """An empty array of the library of its columns."""
        return self.kept.like if isinstance(self.kept, Rows) else self.kept[:0, :]

    def loaded(self) -> SketchedRows:
        """Return the same with its columns in memory, as NumPy's."""
        return SketchedRows(
            self.kept[:] if isinstance(self.kept, Rows) else to_numpy(self.kept), self.sketch, self.where
        )

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) or (isinstance(index, np.ndarray | list) and np.ndim(index) == 1):
            return self.take(np.asarray(index) if isinstance(index, list) else index)
        raise TypeError(sketches_refused(self.where, "some of its numbers"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(sketches_refused(self.where, "its features"))

    def whole(self) -> Any:
        """Refuse: there are no rows."""
        raise TypeError(sketches_refused(self.where, "its features"))

    @property
    def nbytes(self) -> int:
        """Bytes of both sketches."""
        return int(self.kept.shape[0] * self.kept.shape[1] * self.dtype.itemsize)

    def __repr__(self) -> str:
        n, p = self.shape
        return f"<{self.where}: {n} × {p}, two sketches of {self.sketch.columns} columns, {self.dtype}>"


def _side_by_side(both: Any) -> Any:
    """Return both sketches (n, 2, k) as (n, 2k); what is a whole map of a file stays one."""
    n, width = int(both.shape[0]), SKETCHES * int(both.shape[2])
    if is_whole_map(both, axes=3):
        return np.memmap(str(both.filename), both.dtype, "r", both.offset, (n, width))
    return namespace(both).reshape(both, (n, width))


def kept_of(x: Any) -> Any:
    """Return the columns of the sketches that are kept of a layer; a layer that is no sketch as it is."""
    return x.kept if isinstance(x, SketchedRows) else x


def sketches_refused(title: str, what: str) -> str:
    """Word the error for a layer of which more was asked than sketches can tell."""
    return (
        f"{title} is kept as two sketches, from which compare estimates cka and hsic with kernel='linear' and nothing else, got "
        f"a request for {what}: extract the layer without sketch=, or with reduce='mean'."
    )


def refuse_sketches(layers: Mapping[str, Any], what: str) -> None:
    """Raise where only sketches are kept of a layer, for what needs features."""
    for array in layers.values():
        if isinstance(array, SketchedRows):
            raise ValueError(sketches_refused(array.where, what))


def check_columns(columns: Any, layer: str = "") -> int:
    """Return the number of columns of a sketch, or raise."""
    of = f" of layer {quoted(layer)}" if layer else ""
    if isinstance(columns, bool) or not isinstance(columns, int | np.integer) or columns < BLOCKS or columns % BLOCKS:
        got = quoted(columns) if isinstance(columns, str) else shown(str(columns))
        raise ValueError(
            f"sketch{of} must be a multiple of {BLOCKS}, the columns of each of two sketches, got {got}: 512 is a good start."
        )
    return int(columns)


def in_words(sketch: Sketch | None) -> str:
    """Say what is kept of a layer."""
    return "features" if sketch is None else f"two sketches of {sketch.columns} columns"


def check_seed(seed: Any) -> int:
    """Return the seed of sketches, or raise."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        got = quoted(seed) if isinstance(seed, str) else shown(str(seed))
        raise ValueError(
            f"rng must be the seed of the sketches, a whole number of at least 0, got {got}: leave it out for 0."
        )
    return int(seed)


def written_name(name: str, sketch: Sketch | None) -> str:
    """Return the name under which a layer is written: that of sketches says what these are, whatever copies them.

    >>> written_name("conv1", Sketch("conv1", 802816, 512, 0))
    'conv1 ~sketch of "conv1", 802816 features, 2x512, seed 0'
    """
    if read_name(name)[1] is not None:
        raise ValueError(f"layer {quoted(name)} has a name that homolog writes for two sketches: rename it.")
    return name if sketch is None else _written(name, sketch)


def _written(name: str, sketch: Sketch) -> str:
    # The layer as it was called when it was extracted: whoever renames it leaves its random numbers as they are.
    layer = json.dumps(sketch.layer, ensure_ascii=False)
    return f"{name}{MARK}{layer}, {sketch.width} features, {SKETCHES}x{sketch.columns}, seed {sketch.seed}"


def read_name(written: str) -> tuple[str, Sketch | None]:
    """Return the name of a layer and what makes its sketches, None where a name does not speak of any.

    >>> read_name('stem ~sketch of "conv1", 802816 features, 2x512, seed 0')
    ('stem', Sketch(layer='conv1', width=802816, columns=512, seed=0))
    >>> read_name("conv1")
    ('conv1', None)
    """
    said = _WRITTEN.fullmatch(written) if MARK in written else None
    if said is None:
        return written, None
    try:
        sketch = Sketch(json.loads(said["layer"]), *(int(said[number]) for number in ("width", "columns", "seed")))
    except ValueError:
        return written, None
    sound = sketch.width > 0 and sketch.columns > 0 and not sketch.columns % BLOCKS
    return (said["name"], sketch) if sound and _written(said["name"], sketch) == written else (written, None)


def as_written(layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what files and stores hold of layers, by the names that they have there: of sketches (n, 2k), or rows to read."""
    return {
        written_name(name, x.sketch if isinstance(x, SketchedRows) else None): kept_of(x) for name, x in layers.items()
    }


def axes_of_row(written: str, numbers: int) -> tuple[int, ...]:
    """Return in what axes a row of so many numbers is written under a name: (2, k) where it is both sketches of a layer."""
    sketch = read_name(written)[1]
    return (numbers,) if sketch is None else (SKETCHES, sketch.columns)


def restored(written: str, array: Any, where: str) -> Any:
    """Return the sketches that lie under the name that they were written with; any other array as it is."""
    sketch = read_name(written)[1]
    if sketch is None:
        return array
    shape = getattr(array, "shape", ())
    # Those of a store have looked at its axes themselves.
    if isinstance(array, SketchedRows) or (len(shape) != 3 and not isinstance(array, Rows)):
        got = "sketches already" if isinstance(array, SketchedRows) else f"shape {tuple(shape)}"
        raise ValueError(
            f"{where} has a name that homolog writes for two sketches, so it must be an array (examples, {SKETCHES}, columns), "
            f"got {got}: open the file that homolog wrote with homolog.open, or call a layer that holds no sketches otherwise."
        )
    return SketchedRows(array, sketch, where).named(where)


def check_no_sketches(columns: Iterable[Any], title: str) -> None:
    """Raise for a table of which some columns have names that homolog writes for sketches."""
    odd = next((name for name in columns if isinstance(name, str) and read_name(name)[1]), None)
    if odd is not None:
        raise ValueError(
            f"{title} must be a table of features, got the column {quoted(odd)}, which holds two sketches of a layer: write the "
            f"table to a file, such as one of Parquet, and open it with homolog.open."
        )


def check_old_note(provenance: Mapping[str, str]) -> None:
    """Raise for files of a version that was never released, whose sketches only their metadata told of."""
    if OLD_NOTE in provenance:
        raise ValueError(
            "sketches must have names that say what they are, got a file of a version of homolog that was never released: "
            "extract again."
        )
