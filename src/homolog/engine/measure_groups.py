"""What measures that share operands take in memory, wherever the layers lie, and how they are computed within it.

The table of decisions is in `blocks.budget`; `Request.group` follows it from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import is_numpy, itemsize, on_host
from homolog.blocks.budget import Cost, Form, Sizes, TooLittleError, WholeError
from homolog.blocks.source import ArrayRows
from homolog.devices import is_elsewhere
from homolog.inference.uncertainty import Requested
from homolog.machine import format_bytes, usable_cores
from homolog.measures.record import Measure
from homolog.operands.family import Family, TogetherFamily
from homolog.operands.gram_permutations import AT_ONCE, bytes_of_grams
from homolog.rows import Rows
from homolog.sketching import SketchedRows, kept_of
from homolog.sparse import SparseRows

FLOOR = 32 << 20
"""Bytes below which nothing is refused of layers that are in memory already: less is hardly seen beside the libraries."""


class PairBatch(NamedTuple):
    """Some of the pairs."""

    needed: np.ndarray
    """(layers, layers) bool"""
    form: Form | None


@dataclass(frozen=True)
class MeasureGroup:
    """Measures that share operands, one family and equal options of its `prepare`, and how they are computed."""

    family: Family
    options: dict[str, Any]
    measures: Mapping[str, Measure]
    cost: Cost
    """What it takes with all layers in memory at once."""
    memory: int
    """Bytes that may be used."""
    bytes: int
    """Bytes that are used."""
    at_once: tuple[int, int]
    """Layers that are prepared at a time, and pairs that meet."""
    form: Form | None = None
    """How all pairs meet at once, or block by block; None where they meet one by one."""
    batches: tuple[PairBatch, ...] = ()
    """Pairs that meet before layers make room for others; none where all layers are held at once."""
    batch: int = 0
    """Layers that are held at a time, where there are batches."""
    items: tuple[int, ...] = ()
    """Bytes per number in which each layer is computed."""
    sparse: bool = False
    """Whether sparse layers are prepared without their zeros."""
    device: str = ""
    """Where the layers are, if not on the host."""
    copied: bool = False
    """Whether they are copied to the host since they are too large for their device."""

    @property
    def blocked(self) -> bool:
        """Whether layers are read block by block."""
        return self.form is not None and self.form.blocked

    @property
    def flops(self) -> float:
        """Floating-point operations, to leading order."""
        return self.cost.flops

    @property
    def ignores_offset(self) -> bool:
        """Whether no measure depends on what is added to all examples."""
        return all(record.ignores_offset for record in self.measures.values())

    @property
    def how(self) -> str:
        """How the pairs meet, in words."""
        if self.batches:
            how = f"{self.batch} of {len(self.items)} layers at a time"
        else:
            how = "pair by pair" if self.form is None else str(self.form)
        if self.copied:
            return f"{how}, on the host since {self.device} has not the memory"
        return f"{how}, on {self.device}" if self.device else how

    def __str__(self) -> str:
        cost = f"{self.flops:.2g} floating-point operations, {format_bytes(self.bytes)}"
        return f"{', '.join(self.measures)}: {self.family.name} family, {self.how}; {cost}"


@dataclass(frozen=True)
class Request:
    """What is asked of some layers by measures of one family with equal options."""

    measures: Mapping[str, Measure]
    arrays: Sequence[Any]
    needed: np.ndarray
    """(arrays, arrays) bool"""
    memory: int
    companions: Requested
    executor: Executor | None
    host_memory: int
    """Bytes that may be used on the host, of layers that are copied there."""
    filled: bool = False
    """Whether sparse layers are to be taken with their zeros."""

    @property
    def family(self) -> Family:
        """Of the measures."""
        return next(iter(self.measures.values())).family

    @property
    def options(self) -> dict[str, Any]:
        """Of the operands."""
        return next(iter(self.measures.values())).prepare_options

    @cached_property
    def sizes(self) -> Sizes:
        """What is asked in numbers."""
        family, n = self.family, self.arrays[0].shape[0]
        single = isinstance(family, TogetherFamily) and family.single(n) and not family.exact(**self.options)
        kept = [kept_of(array) for array in self.arrays]
        items = [itemsize(array, single=single) for array in kept]
        sketches = tuple(i for i, array in enumerate(self.arrays) if isinstance(array, SketchedRows))
        found = replace(Sizes.of(kept, items, self.needed, self.memory), sketches=sketches)
        found = replace(found, elsewhere=bool(self.device))
        if self.sparse:
            found = replace(found, widths=np.array(list(map(effective_width, self.arrays))), sparse=True)
        spread = self.executor is not None
        return replace(found, workers=1 if spread else self._cores, spread=spread)

    @property
    def sparse(self) -> bool:
        """Whether sparse layers are prepared without their zeros; parts of the examples are taken of dense ones."""
        some = any(isinstance(array, SparseRows) for array in self.arrays)
        some = some and not any(isinstance(array, SketchedRows) for array in self.arrays)
        dense = self.filled or self.companions.interval or self.executor is not None
        return some and not dense and self.family.takes_sparse(self.options)

    @cached_property
    def _cores(self) -> int:
        return usable_cores()

    @property
    def on_host(self) -> bool:
        """Whether the numbers are, or will be, NumPy's."""
        first = self.arrays[0]
        return isinstance(first, Rows) or is_numpy(on_host(first[:1, :]))

    @property
    def threads(self) -> int:
        """Layers or pairs that are worked on at a time, if the memory suffices."""
        return self._cores if self.family.host and self.on_host else 1

    @property
    def allowed(self) -> int:
        """Bytes that may be used."""
        exactly = bool(self.device) or any(isinstance(array, Rows) for array in self.arrays)
        return self.memory if exactly else max(self.memory, FLOOR)

    @property
    def counted(self) -> bool:
        """Whether what is used counts: on a device, operands of the size of the layers are the caller's own concern."""
        features = self.family.blockwise and self.options.get("kernel", "linear") == "linear"
        return self.on_host or bool(self.device) or not features

    @property
    def device(self) -> str:
        """The device of PyTorch's that the layers are on, if that is not the host."""
        first = self.arrays[0]
        return str(first.device) if is_elsewhere(first) else ""

    @property
    def elsewhere(self) -> bool:
        """Whether an executor does the work."""
        return self.executor is not None and self.family.blockwise

    def in_memory(self) -> tuple[Form | None, Cost]:
        """Return the form, and what all of it takes at once."""
        family, sizes = self.family, self.sizes
        form = family.choose(sizes, **self.options) if isinstance(family, TogetherFamily) else None
        cost = family.cost(sizes, **self.options) if form is None else form.cost
        numbers = [int(sizes.n * width * item) for width, item in zip(sizes.widths, sizes.items, strict=True)]
        if family.as_given:
            kinds = [f"float{8 * item}" for item in sizes.items]
            copied = [
                isinstance(x, Rows) or not str(x.dtype).endswith(kind)
                for x, kind in zip(self.arrays, kinds, strict=True)
            ]
            cost = replace(cost, held=cost.held + int(np.dot(numbers, copied)))
        else:
            cost = replace(cost, per_layer=cost.per_layer + _to_load(self.arrays, numbers))
        return form, _with_companions(self, cost)

    def least(self) -> int:
        """Return a memory that does for all at once; with more of it another form may be chosen, which needs that."""
        needed = self.in_memory()[1].least
        while (again := replace(self, memory=needed).in_memory()[1].least) > needed:
            needed = again
        return needed

    def group(self) -> MeasureGroup:
        """Choose how measures are computed: all layers at once, block by block, a few layers at a time, or not at all."""
        form, cost = self.in_memory()
        taken, at_once = cost.bytes(self.memory, self.threads), cost.at_once(self.memory, self.threads)
        items = tuple(self.sizes.items.tolist())
        group = MeasureGroup(
            self.family,
            self.options,
            self.measures,
            cost,
            self.allowed,
            taken,
            at_once,
            form,
            items=items,
            sparse=self.sparse,
            device=self.device,
        )
        if not self.elsewhere and (cost.least <= self.allowed or not self.counted):
            return group
        if self.sparse:
            return replace(self, filled=True).group()
        if self.device and not self.family.as_given:
            here = [ArrayRows(array, "a layer") for array in self.arrays]
            on_host = replace(self, arrays=here, memory=self.host_memory).group()
            return replace(on_host, device=self.device, copied=True)
        whole = self.least()
        self.companions.refuse_in_parts(whole, self.memory, elsewhere=self.elsewhere)
        blocked = self.blocked()
        if blocked is not None:
            return replace(group, form=blocked, bytes=self.memory, cost=blocked.cost)
        batch, two = (None, whole) if self.elsewhere else self._batch()
        if batch is None:
            raise ValueError(self._too_little(min(two, whole)))
        return self._in_batches(group, batch)

    def blocked(self, memory: int | None = None) -> Form | None:
        """Return the form in which layers are read block by block, or None where there is none or memory is too little."""
        family: Any = self.family
        if not family.blockwise or not self.on_host:
            return None
        sizes = self.sizes if memory is None else replace(self.sizes, memory=memory)
        try:
            return family.blocked(sizes, **self.options)
        except TooLittleError:
            return None
        except WholeError:
            if self.elsewhere:
                raise
            return None

    def _of(self, layers: Sequence[int]) -> Request:
        """Return the same of some of the layers, all pairs of them."""
        some = [self.arrays[i] for i in layers]
        return replace(self, arrays=some, needed=np.ones((len(some), len(some)), dtype=bool))

    def _batch(self) -> tuple[int | None, int]:
        """Return how many layers fit at a time; None, and what two take, where not even two do."""
        widest = sorted(range(len(self.arrays)), key=lambda i: -effective_width(self.arrays[i]))

        def fits(count: int) -> bool:
            return self._of(widest[:count]).in_memory()[1].least <= self.allowed

        if len(widest) < 2 or not fits(2):
            return None, self._of(widest[:2]).least()
        return _largest(fits, 2, len(widest)), 0

    def _in_batches(self, group: MeasureGroup, batch: int) -> MeasureGroup:
        """Return a group that holds so many layers at a time, and prepares those again that have to make room."""
        passing = max(1, batch // 4)
        staying, count = batch - passing, len(self.arrays)
        found, flops, taken = [], 0.0, 0
        for start in range(0, count, staying):
            first = np.arange(start, min(start + staying, count))
            for second in (first, *np.split(np.arange(first[-1] + 1, count), range(passing, count, passing))):
                asked = np.zeros_like(self.needed)
                asked[np.ix_(first, second)] = asked[np.ix_(second, first)] = True
                asked &= self.needed
                if asked.any():
                    used = np.flatnonzero(asked.any(axis=0) | asked.any(axis=1))
                    part = replace(self._of(used.tolist()), needed=asked[np.ix_(used, used)])
                    form, cost = part.in_memory()
                    found.append(PairBatch(asked, form))
                    flops, taken = flops + cost.flops, max(taken, cost.bytes(self.memory, self.threads))
        some = self._of(sorted(range(count), key=lambda i: -self.arrays[i].shape[1])[:batch]).in_memory()[1]
        cost, at_once = replace(group.cost, flops=flops), some.at_once(self.memory, self.threads)
        return replace(group, cost=cost, bytes=taken, at_once=at_once, batches=tuple(found), batch=batch)

    def _too_little(self, whole: int) -> str:
        """Say what memory would do."""
        most = max(whole, self.memory) * (64 if self.elsewhere else 1)
        least = min([*([] if self.elsewhere else [whole]), *self._least_blocked(most)], default=most)
        return (
            f"{', '.join(self.measures)} of these layers need a memory of {format_bytes(1.06 * least)}, got "
            f"{format_bytes(self.memory)}: raise memory, take fewer examples or narrower layers, or reduce their features when "
            f"extracting."
        )

    def _least_blocked(self, most: int) -> Iterator[int]:
        """Yield the least memory, to a few per cent, with which layers may be read block by block."""
        low, high = self.memory, most
        if self.blocked(high) is None:
            return
        while high > 1.02 * low:
            middle = (low + high) // 2
            low, high = (low, middle) if self.blocked(middle) is not None else (middle, high)
        yield high


def effective_width(array: Any) -> int:
    """Return the features of a layer, or how many would take the memory that a sparse one takes."""
    return array.width if isinstance(array, SparseRows) else int(kept_of(array).shape[1])


def _to_load(arrays: Sequence[Any], sizes: Sequence[int]) -> int:
    """Return the most bytes that it takes to load a layer from disk while it is prepared."""
    return 3 * max([size for array, size in zip(arrays, sizes, strict=True) if isinstance(array, Rows)], default=0)


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number below `high` that fits, where `low` does and more never fit better."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _with_companions(request: Request, cost: Cost) -> Cost:
    """Add what permutations and parts of the examples take."""
    asked = request.companions
    for wanted, more in ((asked.null, _of_permutations), (asked.interval, _of_parts)):
        if wanted:
            each, once = more(request, cost)
            cost = replace(cost, per_pair=max(cost.per_pair, each), together=max(cost.together, once))
    return cost


def _of_permutations(request: Request, cost: Cost) -> tuple[int, int]:
    """Return the bytes of one order of the examples, and those that are taken once."""
    sizes, count = request.sizes, len(request.arrays)
    once = 24 * (1 + request.companions.n_permutations) * count**2 * len(request.measures)
    if request.family.name != "structure":
        alone = request.family.cost(sizes, **request.options)
        return cost.held + alone.reordering + alone.per_pair, once
    if request.options["kernel"] == "linear":
        copies = 0 if int(sizes.items.min()) == 8 else 16 * sizes.n * int(sizes.widths.sum())
        return 8 * sizes.n * sizes.widest + 24 * sizes.widest**2, once + copies
    return 8 * AT_ONCE * (count + 4), once + bytes_of_grams(sizes.n, count, count)


def _of_parts(request: Request, cost: Cost) -> tuple[int, int]:
    """Return the bytes of one part of the examples, or of one pair without each, and those that are taken once."""
    sizes, count = request.sizes, len(request.arrays)
    n, widest = sizes.n, sizes.widest
    copies = 8 * n * int(sizes.widths.sum())
    alone = request.family.cost(replace(sizes, items=np.full(count, 8)), **request.options)
    once = copies + alone.held + 24 * n * count**2 * len(request.measures)
    if request.family.name == "structure":
        narrow = request.options["kernel"] == "linear" and widest <= n
        return alone.per_pair + (64 * n * widest if narrow else 40 * n * n), once
    return copies + alone.held + alone.per_layer + alone.per_pair + 64 * n * min(n, widest), once
