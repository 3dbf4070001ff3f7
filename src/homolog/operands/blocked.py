"""Families on representations that stay on disk: what it takes, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from homolog.arrays import format_bytes
from homolog.blocks.budget import IndexPair, Round, Sizes, TooLittleError, WholeError, rounds, slabs_for
from homolog.blocks.median import sample
from homolog.blocks.products import linear_part, sum_products
from homolog.blocks.scan import Part, Slabs
from homolog.blocks.source import ArrayCache, Summary
from homolog.blocks.workers import Workers
from homolog.operands.condensed import single_suffices
from homolog.operands.radial import bell_part, bells_of, centred_products
from homolog.operands.summaries import StructureRows
from homolog.operands.walk import choose
from homolog.rows import Rows

Step = Callable[[float], None]


@dataclass(frozen=True)
class BlockedForm:
    """How a family works on representations that stay on disk."""

    walked: tuple[int, ...]
    """The layers whose structures are formed, tile by tile."""
    slabs: Slabs | None
    rounds: tuple[Round, ...]
    """The pairs that go through products of rows."""
    flops: float
    bytes: int
    bytes_read: int
    passes: float
    """Times that the representations are read, on average."""
    shelf: int = 0
    """Bytes of decompositions that stay in memory; more of them go to a temporary folder."""
    at_once: int = 1
    """Layers that are prepared at a time."""

    def __str__(self) -> str:
        how = []
        if self.walked and self.slabs is not None:
            staying, passing = self.slabs.staying, self.slabs.passing
            how.append(f"{len(self.walked)} structures in slabs of {staying} and {passing} rows")
        if self.rounds:
            pairs = sum(len(part.pairs) for part in self.rounds)
            how.append(f"{pairs} products of rows in {len(self.rounds)} rounds")
        read = f"{self.passes:.1f} passes, {format_bytes(self.bytes_read)} read"
        if not self.bytes_read:
            return f"block by block, {' and '.join(how)}"
        return f"from disk, {' and '.join(how)}; {read}"


@dataclass(frozen=True)
class Task:
    """What a plan on disk is made for."""

    shapes: Sequence[tuple[int, int]]
    itemsizes: Sequence[int]
    """Bytes per number in which each layer is computed."""
    stored: Sequence[int]
    """Bytes of each layer on disk."""
    needed: np.ndarray
    memory: int
    workers: int
    """Threads that share the memory."""
    spread: bool = False
    """Whether parts of the work go to an executor, which takes many small ones."""

    @property
    def largest(self) -> int:
        """Most rows that a slab holds."""
        return -(-self.n // 5) if self.spread else self.n

    @property
    def share(self) -> float:
        """Most of a walk that is one part."""
        return 1 / 24 if self.spread else 1.0

    @property
    def n(self) -> int:
        """Number of examples."""
        return self.shapes[0][0]

    def pairs(self) -> list[IndexPair]:
        """Every pair once."""
        i, j = np.nonzero(np.triu(self.needed | self.needed.T))
        return list(zip(i.tolist(), j.tolist(), strict=True))

    def read(self, layers: Sequence[int], share: float = 1.0) -> float:
        """Bytes that a pass over some layers reads."""
        return share * sum(self.stored[index] for index in layers)


def _form(asked: Task, walked: Any, slabs: Any, parts: Any, flops: float, read: float, **more: Any) -> BlockedForm:
    passes = read / max(sum(asked.stored), 1)
    return BlockedForm(tuple(walked), slabs, tuple(parts), flops, asked.memory, int(read), passes, **more)


def plan_structures(asked: Task, *, kernel: Any, **_: Any) -> BlockedForm:
    """Choose which structures walk, as `choose` does, and how many rows are held."""
    n, count = asked.n, len(asked.shapes)
    if callable(kernel) or kernel == "residual":
        what = "deconfounded_cka" if kernel == "residual" else "a kernel of one's own"
        instead = "" if kernel == "residual" else ", or use kernel='linear' or 'rbf'"
        raise WholeError(
            f"{what} takes a whole representation, got layers on disk that need more than memory="
            f"{format_bytes(asked.memory)}: raise memory{instead}."
        )
    form = choose(asked.shapes, asked.itemsizes, asked.needed, 1 << 62, kernel=kernel)
    left = asked.memory - _fixed(asked, kernel)
    if left <= 0:
        raise TooLittleError
    walked = form.walked
    everything = range(count)
    item = max([asked.itemsizes[index] for index in walked], default=8)
    row = sum(asked.shapes[index][1] for index in walked) * item
    slabs = slabs_for(n, row, len(walked), item, left, asked.workers, asked.largest) if walked else None
    read = asked.read(everything, 2) + (asked.read(walked, slabs.rows_read(n, asked.share) / n) if slabs else 0)
    if kernel != "linear":
        alone = [_slabs_alone(asked, index, left) for index in everything]
        # A sample twice, one walk for the median, and the means of rows; where the guess is poor the walk is repeated.
        median = kernel == "rbf"
        read += sum(asked.read([index], 3 + median * slabs.rows_read(n) / n) for index, slabs in enumerate(alone))
        more = median * n**2 * float(sum(p for _, p in asked.shapes))
        return _form(asked, walked, slabs, (), form.flops + more, read)
    pairs = sorted({*asked.pairs(), *((index, index) for index in everything)})
    others = [pair for pair in pairs if not set(pair) <= set(walked)]
    widths = [p for _, p in asked.shapes]
    parts = rounds(others, Sizes(widths, widths, False, max(asked.itemsizes)), left)
    read += sum(asked.read(part.layers) for part in parts)
    return _form(asked, walked, slabs, parts, form.flops, read)


def _slabs_alone(asked: Task, index: int, left: int) -> Slabs:
    width, item = asked.shapes[index][1], asked.itemsizes[index]
    return slabs_for(asked.n, width * item, 3, item, left - left // 4, asked.workers, asked.n)


def _fixed(asked: Task, kernel: Any) -> int:
    """Bytes that are kept per example and per column."""
    per_example = 8 * (1 if kernel == "linear" else 4) * len(asked.shapes)
    return asked.n * per_example + 8 * 5 * sum(p for _, p in asked.shapes)


def structures(
    rows: Sequence[Rows],
    titles: Sequence[str],
    asked: Task,
    form: BlockedForm,
    workers: Workers,
    step: Step,
    **options: Any,
) -> tuple[list[StructureRows], np.ndarray, np.ndarray]:
    """Return the summaries, off-diagonal inner products (layers, layers), and diagonals (layers, examples)."""
    dtypes = [np.float32 if item == 4 else np.float64 for item in asked.itemsizes]
    inputs = list(zip(rows, titles, dtypes, strict=True))
    prepare = _structure_rows if options["kernel"] == "linear" else _distant_rows
    summaries = list(workers.items(prepare, inputs, asked.workers))
    if options["kernel"] != "linear":
        fraction = options["median_fraction"] if options["kernel"] == "rbf" else None
        return summaries, *_radial(summaries, asked, form, workers, step, fraction)
    inner = np.full((len(rows), len(rows)), np.nan)
    walked = list(form.walked)
    light = [summary.light() for summary in summaries]
    if walked and form.slabs is not None:
        some = [light[index] for index in walked]
        work = partial(linear_part, layers=some, slabs=form.slabs, dtype=np.result_type(*(s.dtype for s in some)))
        found = _told(workers.parts(work, parts := form.slabs.parts(asked.n, asked.share)), parts, asked.n, step)
        inner[np.ix_(walked, walked)] = sum(found, np.zeros((len(walked), len(walked))))
    diagonals = np.stack([summary.diagonal for summary in summaries])
    rest = partial(round_part, summaries=light, n=asked.n, finish=_squared_norm)
    for finished in workers.parts(rest, form.rounds):
        for (i, j), squared in finished:
            inner[i, j] = inner[j, i] = squared - diagonals[i] @ diagonals[j]
        # Where structures walk, that is the main part of the work, and the bar follows it alone.
        step(0.0 if walked else 1 / len(form.rounds))
    return summaries, inner, diagonals


def _structure_rows(layer: tuple[Rows, str, Any]) -> StructureRows:
    return StructureRows(*layer)


def _distant_rows(layer: tuple[Rows, str, Any]) -> StructureRows:
    """Return rows in a dtype whose products tell the distances between them."""
    found = _structure_rows(layer)
    rows, title, _ = layer
    return found if single_suffices(sample(found, found.n)) else StructureRows(rows, title, np.float64)


def _told(found: Iterable[Any], parts: Sequence[Part], n: int, step: Step, most: float = 1.0) -> Iterator[Any]:
    """Pass on what was found of every part, and tell its share."""
    for part, value in zip(parts, found, strict=True):
        step(most * part.share(n))
        yield value


def _radial(
    summaries: Sequence[StructureRows],
    asked: Task,
    form: BlockedForm,
    workers: Workers,
    step: Step,
    median_fraction: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    assert form.slabs is not None  # all structures walk
    left = asked.memory - _fixed(asked, "rbf")
    # Kept distances are put together, and ordered: three copies.
    prepare = partial(bells_of, median_fraction=median_fraction, keep=left // 4 // 16)
    alone = [(summary.light(), _slabs_alone(asked, index, left)) for index, summary in enumerate(summaries)]
    bells = []
    for bell in workers.parts(prepare, alone):
        bells.append(bell)
        step(0.5 / len(alone))
    for summary, bell in zip(summaries, bells, strict=True):
        summary.no_width = bell.no_width
    dtype = np.result_type(*(summary.dtype for summary in summaries))
    work = partial(bell_part, bells=bells, n=asked.n, slabs=form.slabs, dtype=dtype)
    parts = form.slabs.parts(asked.n, asked.share)
    total, sums = np.zeros((len(bells), len(bells))), np.zeros((len(bells), asked.n))
    for some, of_rows in _told(workers.parts(work, parts), parts, asked.n, step, 0.5):
        total += some
        sums += of_rows
    return centred_products(bells, total, sums)


def _squared_norm(pair: IndexPair, x: Any, y: Any, product: np.ndarray) -> float:
    return float(np.vdot(product, product))


def round_part(part: Round, each: Any, *, summaries: Any, n: int, finish: Any) -> list[tuple[IndexPair, Any]]:
    """Return what `finish` makes of every pair of one round."""
    known = {index: summaries[index] for index in part.layers}
    return [(pair, finish(pair, x, y, product)) for pair, x, y, product in sum_products(known, part, n, each)]


def plan_pairs(asked: Task, *, mapped: bool, passes: int, needs: Callable[[int, int], int]) -> BlockedForm:
    """Plan a family whose pairs need one product of mapped rows each."""
    n = asked.n
    raw = [p for _, p in asked.shapes]
    widths = [min(n, p) for p in raw] if mapped else raw
    largest = max(needs(n, p) for p in raw)
    kept = sum(8 * (p * r + (n * r if p >= n else 0)) for p, r in zip(raw, widths, strict=True)) if mapped else 0
    shelf = 0 if asked.spread else min(kept, asked.memory // 4)
    if largest > asked.memory - shelf:
        raise TooLittleError
    at_once = max(1, min(asked.workers, (asked.memory - shelf) // largest))
    parts = rounds(asked.pairs(), Sizes(widths, raw, mapped, 8), asked.memory - shelf)
    read = asked.read(range(len(raw)), passes) + sum(asked.read(part.layers) for part in parts)
    return _form(asked, (), None, parts, 0.0, read, shelf=shelf, at_once=at_once)


def pairs(
    summarise: Callable[[Rows, str, ArrayCache], Summary],
    rows: Sequence[Rows],
    titles: Sequence[str],
    form: BlockedForm,
    workers: Workers,
    finish: Callable[..., Any],
    step: Step,
) -> tuple[list[Summary], list[tuple[IndexPair, Any]]]:
    """Return the summaries, and what `finish` makes of every pair, its operands and its product.

    Tasks of other processes leave what is large in a temporary folder beside the first file.
    """
    beside = None if form.shelf else next((row.folder for row in rows if row.folder is not None), None)
    with TemporaryDirectory(prefix=".homolog-", dir=beside) as folder:
        prepare = partial(_summary, summarise, ArrayCache(folder, form.shelf))
        summaries = []
        for summary in workers.items(prepare, list(zip(rows, titles, strict=True)), form.at_once):
            summaries.append(summary)
            step(1)
        found = []
        work = partial(round_part, summaries=summaries, n=rows[0].shape[0], finish=finish)
        for part, finished in zip(form.rounds, workers.parts(work, form.rounds), strict=True):
            found += finished
            step(len(part.pairs))
    return summaries, found


def _summary(summarise: Any, shelf: ArrayCache, layer: tuple[Rows, str]) -> Summary:
    made: Summary = summarise(*layer, shelf)
    return made
