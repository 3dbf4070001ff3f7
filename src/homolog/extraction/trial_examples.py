"""Which examples of a batch are tried, and in which order.

A layer that exchanges examples looks like one that does not where it exchanges those that are tried alike. So no order here is
that of a layer that turns the batch round, moves all examples on, swaps neighbours or halves, or puts halves into each other.
"""

from __future__ import annotations

ORDER_OF_TWO = [0, 1, 0]
"""What is tried of two examples besides: no single order tells all exchanges of two apart from none."""


def tried_examples(size: int) -> list[int]:
    """Return which examples are looked at: the first, the last, and one in the middle.

    The first is among them, because sequences that are sorted by their lengths begin with the longest.
    """
    return [1, 2] if size == 3 else sorted({0, size // 2, size - 1})


def trial_orders(size: int) -> list[list[int]]:
    """Return what to try, of another number of examples than the batch holds: an odd number, and an even one if that fails."""
    if size == 1:
        return [[0, 0]]
    if size == 2:
        return [[1, 1, 0], [1, 1, 0, 0]]
    if size == 3:
        return [[2, 1], [2, 1, 1, 1]]
    orders = [[size - 1, 0, size // 2], [size - 1, 0, size // 2, size // 2], [size // 2, 0]]
    return [order for order in orders if len(order) != size]


def reordered(size: int) -> list[int]:
    """Return all examples, in other places."""
    if size < 4:
        return [[0], [1, 0], [0, 2, 1]][size - 1]
    first = [size - 1, 0, size // 2]
    return first + [i for i in range(size) if i not in first]


def repeated_examples(size: int) -> list[int]:
    """Return as many examples as the batch holds, of which there are only one or two: a mean over the batch is another."""
    return [1, 1] if size == 2 else [*[size - 1] * (size - 1), 0]
