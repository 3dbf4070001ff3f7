"""Families on representations that stay on disk: what it takes, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.arrays import format_bytes
from homolog.families import walk
from homolog.families.bells import bell_products, bells_of
from homolog.families.pairing import Pair, Round, Sizes, products, rounds
from homolog.families.slabs import Slabs, inner_products, linear_tile, over_tiles, slabs_for
from homolog.families.summaries import Shelf, StructureRows, Summary, TooLittleError
from homolog.rows import Rows

Step = Callable[[float], None]


@dataclass(frozen=True)
class Form:
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

    @property
    def n(self) -> int:
        """Number of examples."""
        return self.shapes[0][0]

    def pairs(self) -> list[Pair]:
        """Every pair once."""
        i, j = np.nonzero(np.triu(self.needed | self.needed.T))
        return list(zip(i.tolist(), j.tolist(), strict=True))

    def read(self, layers: Sequence[int], share: float = 1.0) -> float:
        """Bytes that a pass over some layers reads."""
        return share * sum(self.stored[index] for index in layers)


def _form(asked: Task, walked: Any, slabs: Any, parts: Any, flops: float, read: float, **more: Any) -> Form:
    passes = read / max(sum(asked.stored), 1)
    return Form(tuple(walked), slabs, tuple(parts), flops, asked.memory, int(read), passes, **more)


def plan_structures(asked: Task, *, kernel: Any, **_: Any) -> Form:
    """Choose which structures walk, as `walk.choose` does, and how many rows are held."""
    n, count = asked.n, len(asked.shapes)
    if callable(kernel):
        raise ValueError(
            f"a kernel of one's own takes a whole representation, got layers on disk that need more than memory="
            f"{format_bytes(asked.memory)}: raise memory, or use kernel='linear' or 'rbf'."
        )
    form = walk.choose(asked.shapes, asked.itemsizes, asked.needed, 1 << 62, kernel=kernel)
    left = asked.memory - _fixed(asked, kernel)
    if left <= 0:
        raise TooLittleError
    walked = form.walked
    everything = range(count)
    item = max([asked.itemsizes[index] for index in walked], default=8)
    row = sum(asked.shapes[index][1] for index in walked) * item
    slabs = slabs_for(n, row, len(walked), item, left, asked.workers) if walked else None
    read = asked.read(everything, 2) + (asked.read(walked, slabs.rows_read(n) / n) if slabs else 0)
    if kernel == "rbf":
        alone = [_slabs_alone(asked, index, left) for index in everything]
        # One walk for the median, and one pass for the means of rows; where the guess is poor the walk is repeated.
        read += sum(asked.read([index], 1 + slabs.rows_read(n) / n) for index, slabs in enumerate(alone))
        return _form(asked, walked, slabs, (), form.flops + n**2 * float(sum(p for _, p in asked.shapes)), read)
    pairs = sorted({*asked.pairs(), *((index, index) for index in everything)})
    others = [pair for pair in pairs if not set(pair) <= set(walked)]
    widths = [p for _, p in asked.shapes]
    parts = rounds(others, Sizes(widths, widths, False, max(asked.itemsizes)), left)
    read += sum(asked.read(part.layers) for part in parts)
    return _form(asked, walked, slabs, parts, form.flops, read)


def _slabs_alone(asked: Task, index: int, left: int) -> Slabs:
    width, item = asked.shapes[index][1], asked.itemsizes[index]
    return slabs_for(asked.n, width * item, 3, item, left - left // 4, asked.workers)


def _fixed(asked: Task, kernel: Any) -> int:
    """Bytes that are kept per example and per column."""
    per_example = 8 * (1 if kernel == "linear" else 4) * len(asked.shapes)
    return asked.n * per_example + 8 * 5 * sum(p for _, p in asked.shapes)


def structures(
    rows: Sequence[Rows], titles: Sequence[str], asked: Task, form: Form, each: Any, step: Step, **options: Any
) -> tuple[list[StructureRows], np.ndarray, np.ndarray]:
    """Return the summaries, off-diagonal inner products (layers, layers), and diagonals (layers, examples)."""
    dtypes = [np.float32 if item == 4 else np.float64 for item in asked.itemsizes]
    summaries = list(each(lambda part: StructureRows(*part), zip(rows, titles, dtypes, strict=True)))
    n, count = asked.n, len(rows)
    dtype = np.result_type(*(summary.dtype for summary in summaries))
    if options["kernel"] == "rbf":
        assert form.slabs is not None  # all structures walk
        left = asked.memory - _fixed(asked, "rbf")
        # Kept distances are put together, and ordered: three copies.
        keep = left // 4 // 16
        bells = []
        for index, points in enumerate(summaries):
            slabs = _slabs_alone(asked, index, left)
            bells.append(bells_of(points, options["median_fraction"], slabs, keep, each))
            step(0.5 / count)
        inner, diagonals = bell_products(bells, n, form.slabs, dtype, each, lambda share: step(share / 2))
        return summaries, inner, diagonals
    inner = np.full((count, count), np.nan)
    walked = list(form.walked)
    if walked and form.slabs is not None:
        some = [summaries[index] for index in walked]
        dtype = np.result_type(*(summary.dtype for summary in some))
        parts = over_tiles(some, n, form.slabs, dtype, linear_tile, each, step)
        inner[np.ix_(walked, walked)] = inner_products(parts, len(walked))
    diagonals = np.stack([summary.diagonal for summary in summaries])
    apart = len(walked) == 0
    total = sum(len(part.pairs) for part in form.rounds)
    # Where structures walk, that is the main part of the work, and the bar follows it alone.
    told = (lambda share: step(share / total)) if apart else (lambda share: None)
    for (i, j), _, _, product in products(dict(enumerate(summaries)), form.rounds, n, each, told):
        inner[i, j] = inner[j, i] = np.vdot(product, product) - diagonals[i] @ diagonals[j]
    return summaries, inner, diagonals


def plan_pairs(asked: Task, *, mapped: bool, passes: int, needs: Callable[[int, int], int]) -> Form:
    """Plan a family whose pairs need one product of mapped rows each."""
    n = asked.n
    raw = [p for _, p in asked.shapes]
    widths = [min(n, p) for p in raw] if mapped else raw
    largest = max(needs(n, p) for p in raw)
    kept = sum(8 * (p * r + (n * r if p >= n else 0)) for p, r in zip(raw, widths, strict=True)) if mapped else 0
    shelf = min(kept, asked.memory // 4)
    if largest > asked.memory - shelf:
        raise TooLittleError
    at_once = max(1, min(asked.workers, (asked.memory - shelf) // largest))
    parts = rounds(asked.pairs(), Sizes(widths, raw, mapped, 8), asked.memory - shelf)
    read = asked.read(range(len(raw)), passes) + sum(asked.read(part.layers) for part in parts)
    return _form(asked, (), None, parts, 0.0, read, shelf=shelf, at_once=at_once)


@contextmanager
def pairs(
    summarise: Callable[[Rows, str, Shelf], Summary],
    rows: Sequence[Rows],
    titles: Sequence[str],
    form: Form,
    each: Any,
    prepared: Callable[[], Any],
    step: Step,
) -> Iterator[tuple[list[Summary], Iterator[tuple[Pair, Any, Any, np.ndarray]]]]:
    """Give the summaries, and an iterator over pairs, their operands and products."""
    shelf = Shelf(form.shelf)

    def one(part: tuple[Rows, str]) -> Summary:
        summary = summarise(*part, shelf)
        prepared()
        return summary

    some = each if form.at_once > 1 else map
    try:
        summaries = list(some(one, zip(rows, titles, strict=True)))
        yield summaries, products(dict(enumerate(summaries)), form.rounds, rows[0].shape[0], each, step)
    finally:
        shelf.close()
