"""Loops over ranks, written so that numba compiles them; `concordance` says what they count.

All numbers in them are unsigned, since numba gives a sum of signed and unsigned ones in floats.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

DIGIT, LANES, PIECE, SMALL = 6, 8, 255, 16
"""Bits of a digit; counts of eight bits in a word; numbers that cannot overflow them; numbers that are compared one by one."""
DIGITS = 1 << DIGIT
AHEAD = np.array([0x0101010101010101 & ((1 << (8 * lane)) - 1) for lane in range(LANES)], dtype=np.uint64)
"""Words that add 1 to the counts of all lower lanes."""
ONE, HALF, LAST, BYTE, WITHIN = (np.uint64(value) for value in (1, 3, LANES - 1, 255, DIGITS - 1))


def gather(order: Any, ranks: Any, found: Any) -> None:
    """Put the ranks into an order."""
    for i in range(len(order)):
        found[i] = ranks[np.uint64(order[i])]


def settle(found: Any, again: Any) -> Any:
    """Put in order each run that goes on at the places `again`; return how many pairs in one run are equal."""
    equal, k = np.uint64(0), 0
    while k < len(again):
        start = np.uint64(again[k]) - ONE
        end = start + ONE
        while k < len(again) and np.uint64(again[k]) == end:
            own, i = found[end], end
            while i > start and found[i - ONE] > own:
                found[i] = found[i - ONE]
                i -= ONE
            found[i] = own
            end += ONE
            k += 1
        equal += equal_pairs(found[start:end])
    return equal


def equal_pairs(some: Any) -> Any:
    """Return how many pairs of some numbers in order are equal."""
    found, run = np.uint64(0), np.uint64(0)
    for i in range(1, len(some)):
        run = run + ONE if some[i] == some[i - 1] else np.uint64(0)
        found += run
    return found


def arrange(order: Any, ranks: Any, groups: Any, starts: Any, found: Any) -> Any:
    """Put the ranks into the order of their groups, and in each group in order; return how many pairs in one are equal.

    `starts` has a 0 for every group, and one more.
    """
    for group in groups:
        starts[np.uint64(group) + ONE] += ONE
    for k in range(1, len(starts)):
        starts[k] += starts[k - 1]
    for place in order:
        # In order, each goes to the next place in its group.
        to = np.uint64(groups[np.uint64(place)])
        found[np.uint64(starts[to])] = ranks[np.uint64(place)]
        starts[to] += ONE
    equal, begin = np.uint64(0), np.uint64(0)
    for end in starts[:-1]:
        equal += equal_pairs(found[begin : np.uint64(end)])
        begin = np.uint64(end)
    return equal


def inversions(numbers: Any, bits: int, ahead: Any) -> Any:
    """Return how many pairs of the first of two rows of numbers stand in falling order; the second is room to move them."""
    found = np.uint64(0)
    # What is left to do: parts of the numbers that agree in all bits but the last.
    parts = np.zeros((DIGITS * (bits // DIGIT + 2), 3), dtype=np.int64)
    parts[0, 1], parts[0, 2], left = numbers.shape[1], 0, 1
    counts, above = np.zeros(DIGITS, dtype=np.uint64), np.zeros(DIGITS, dtype=np.uint64)
    low = np.zeros(LANES, dtype=np.uint64)
    while left:
        left -= 1
        start, stop, level = parts[left]
        some = numbers[level & 1, start:stop]
        if stop - start <= SMALL:
            found += pairs_of_few(some)
            continue
        shift = max(bits - DIGIT * (level + 1), 0)
        found += pairs_of_digits(some, shift, ahead, low, above, counts)
        if shift == 0:
            continue
        move(some, numbers[1 - (level & 1), start:stop], shift, counts, above)
        for d in range(DIGITS):
            if counts[d] > ONE:
                parts[left, 0], parts[left, 1], parts[left, 2] = start, start + np.int64(counts[d]), level + 1
                left += 1
            start += np.int64(counts[d])
    return found


def pairs_of_few(some: Any) -> Any:
    """Return how many pairs stand in falling order, by looking at all."""
    found = np.uint64(0)
    for i in range(1, len(some)):
        own = some[i]
        for j in range(i):
            found += np.uint64(some[j] > own)
    return found


def pairs_of_digits(some: Any, shift: int, ahead: Any, low: Any, above: Any, counts: Any) -> Any:
    """Return how many pairs have digits in falling order, and in `counts` how often each digit is there.

    A digit is two halves of three bits. Of a few numbers at a time, a word has the counts of those whose first half is larger
    than each value, and eight words those of equal first halves whose second is larger: it takes two shifts to look one up.
    """
    found, by = np.uint64(0), np.uint64(shift)
    above[:], counts[:] = 0, 0
    for begin in range(0, len(some), PIECE):
        end = min(begin + PIECE, len(some))
        high = np.uint64(0)
        low[:] = 0
        for i in range(begin, end):
            digit = (np.uint64(some[i]) >> by) & WITHIN
            first, second = digit >> HALF, digit & LAST
            beside = low[first]
            found += ((high >> (first << HALF)) & BYTE) + ((beside >> (second << HALF)) & BYTE)
            high += ahead[first]
            low[first] = beside + ahead[second]
        if shift == 0 and end == len(some) <= PIECE:
            break  # nothing comes after, and nothing is moved
        found += add_piece(np.uint64(end - begin), high, low, above, counts)
    return found


def add_piece(size: Any, high: Any, low: Any, above: Any, counts: Any) -> Any:
    """Add the counts of a piece to those of all before it, and return how many pairs of both have digits in falling order."""
    found, left = np.uint64(0), size
    for first in range(LANES):
        larger = (high >> np.uint64(8 * first)) & BYTE
        here, left = left - larger, larger
        for second in range(LANES):
            digit = first * LANES + second
            beyond = (low[first] >> np.uint64(8 * second)) & BYTE
            found += above[digit] * (here - beyond)
            counts[digit] += here - beyond
            above[digit] += larger + beyond
            here = beyond
    return found


def move(some: Any, to: Any, shift: int, counts: Any, places: Any) -> None:
    """Put numbers in the order of their digits; those of one digit stay in theirs."""
    by, place = np.uint64(shift), np.uint64(0)
    for digit in range(DIGITS):
        places[digit] = place
        place += counts[digit]
    for number in some:
        where = (np.uint64(number) >> by) & WITHIN
        to[places[where]] = number
        places[where] += ONE


@cache
def compiled() -> Any:
    """Return the four loops as numba compiles them, in its cache on disk where it has a place for one."""
    import numba
    from numba.extending import register_jitable

    inner: list[Any] = [equal_pairs, pairs_of_few, add_piece, pairs_of_digits, move]
    outer: list[Any] = [gather, settle, arrange, inversions]
    for loop in inner:
        register_jitable(loop)
    found = []
    for loop in outer:
        try:
            found.append(numba.njit(nogil=True, cache=True)(loop))
        except RuntimeError:  # no folder can be written
            found.append(numba.njit(nogil=True)(loop))
    return found
