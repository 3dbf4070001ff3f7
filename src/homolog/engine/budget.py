"""What a group of measures takes in memory, wherever the layers lie, and how few layers at a time will do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from homolog.arrays import is_numpy, itemsize, on_host
from homolog.inference.uncertainty import Requested
from homolog.machine import usable_cores
from homolog.measures.record import Measure
from homolog.operands.family import Cost, Family
from homolog.operands.permuted import AT_ONCE, bytes_of_grams
from homolog.rows import Rows

FLOOR = 32 << 20
"""Bytes below which nothing is refused of layers that are in memory already: less is hardly seen beside the libraries."""
AS_GIVEN = ("function", "statistics")
"""Families whose operand is the array itself."""


@dataclass(frozen=True)
class Asking:
    """What is asked of some layers by the measures of one family."""

    family: Family
    options: dict[str, Any]
    measures: Mapping[str, Measure]
    arrays: Sequence[Any]
    needed: np.ndarray
    """(arrays, arrays) bool"""
    memory: int
    asked: Requested

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(examples, features) of every layer."""
        return [tuple(array.shape) for array in self.arrays]

    @property
    def sizes(self) -> list[int]:
        """Bytes per number in which each layer is computed."""
        family, n = self.family, self.arrays[0].shape[0]
        single = family.float32 == "all pairs" and family.single(n) and not family.exact(**self.options)
        return [itemsize(array, single=single) for array in self.arrays]

    @property
    def on_host(self) -> bool:
        """Whether the numbers are, or will be, NumPy's."""
        first = self.arrays[0]
        return isinstance(first, Rows) or is_numpy(on_host(first[:1, :]))

    @property
    def threads(self) -> int:
        """Layers or pairs that are worked on at a time, if the memory suffices."""
        return usable_cores() if self.family.host and self.on_host else 1

    @property
    def allowed(self) -> int:
        """Bytes that may be used."""
        return self.memory if any(isinstance(array, Rows) for array in self.arrays) else max(self.memory, FLOOR)

    @property
    def counted(self) -> bool:
        """Whether what is used counts: on a device, operands of the size of the layers are the caller's own concern."""
        blocked = self.family.on_disk is not None and self.options.get("kernel", "linear") == "linear"
        return self.on_host or not blocked

    def in_memory(self) -> tuple[Any, Cost]:
        """Return the form, and what all of it takes at once."""
        family, shapes, sizes = self.family, self.shapes, self.sizes
        form = None if family.choose is None else family.choose(shapes, sizes, self.needed, self.memory, **self.options)
        cost = family.cost(shapes, sizes, self.needed, form, **self.options)
        stored = [n * p * size for (n, p), size in zip(shapes, sizes, strict=True)]
        converted = [
            number * (isinstance(array, Rows) or not str(array.dtype).endswith(f"float{8 * size}"))
            for number, array, size in zip(stored, self.arrays, sizes, strict=True)
        ]
        if family.name in AS_GIVEN:
            cost = replace(cost, held=cost.held + sum(converted))
        else:
            cost = replace(cost, preparing=cost.preparing + _to_load(self.arrays, stored))
        return form, _with_companions(self, cost)

    def least(self) -> int:
        """Return a memory that does for all at once; with more of it another form may be chosen, which needs that."""
        needed = self.in_memory()[1].least
        while (again := replace(self, memory=needed).in_memory()[1].least) > needed:
            needed = again
        return needed

    def of(self, layers: Sequence[int]) -> Asking:
        """Return the same of some of the layers, all pairs of them."""
        some = [self.arrays[i] for i in layers]
        return replace(self, arrays=some, needed=np.ones((len(some), len(some)), dtype=bool))

    def batch(self) -> tuple[int | None, int]:
        """Return how many layers fit at a time; None, and what two take, where not even two do."""
        widest = sorted(range(len(self.arrays)), key=lambda i: -self.arrays[i].shape[1])

        def fits(count: int) -> bool:
            return self.of(widest[:count]).in_memory()[1].least <= self.allowed

        if len(widest) < 2 or not fits(2):
            return None, self.of(widest[:2]).least()
        return _largest(fits, 2, len(widest)), 0


def _to_load(arrays: Sequence[Any], sizes: Sequence[int]) -> int:
    """Return the most bytes that it takes to load a layer from disk while it is prepared."""
    return 3 * max([size for array, size in zip(arrays, sizes, strict=True) if isinstance(array, Rows)], default=0)


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number below `high` that fits, where `low` does and more never fit better."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _with_companions(asking: Asking, cost: Cost) -> Cost:
    """Add what permutations and parts of the examples take."""
    for wanted, more in ((asking.asked.null, _of_permutations), (asking.asked.interval, _of_parts)):
        if wanted:
            each, once = more(asking, cost)
            cost = replace(cost, meeting=max(cost.meeting, each), together=max(cost.together, once))
    return cost


def _of_permutations(asking: Asking, cost: Cost) -> tuple[int, int]:
    """Return the bytes of one order of the examples, and those that are taken once."""
    family, shapes, sizes, count = asking.family, asking.shapes, asking.sizes, len(asking.arrays)
    n, widest = shapes[0][0], max(p for _, p in shapes)
    once = 24 * (1 + asking.asked.n_permutations) * count**2 * len(asking.measures)
    if family.permuted is None:
        alone = family.cost(shapes, sizes, asking.needed, None, **asking.options)
        # Neighbours that tie are looked for again.
        again = alone.preparing if family.name == "neighbors" else family.reordering(n)
        return cost.held + again + alone.meeting, once
    if asking.options["kernel"] == "linear":
        copies = 0 if min(sizes) == 8 else 16 * n * sum(p for _, p in shapes)
        return 8 * n * widest + 24 * widest**2, once + copies
    return 8 * AT_ONCE * (count + 4), once + bytes_of_grams(n, count, count)


def _of_parts(asking: Asking, cost: Cost) -> tuple[int, int]:
    """Return the bytes of one part of the examples, or of one pair without each, and those that are taken once."""
    shapes, count = asking.shapes, len(asking.arrays)
    n, widest = shapes[0][0], max(p for _, p in shapes)
    copies = 8 * n * sum(p for _, p in shapes)
    alone = asking.family.cost(shapes, [8] * count, asking.needed, None, **asking.options)
    values = 24 * n * count**2 * len(asking.measures)
    if asking.family.name == "structure":
        narrow = asking.options["kernel"] == "linear" and widest <= n
        return alone.meeting + (64 * n * widest if narrow else 40 * n * n), copies + alone.held + values
    part = copies + alone.held + alone.preparing + alone.meeting
    return part + 64 * n * min(n, widest), copies + alone.held + values
