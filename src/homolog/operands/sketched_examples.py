"""How much of what single examples do to an estimate from sketches is noise of the sketches.

The value without example i is a function of the same blocks of columns as the value. What it changes, Δᵢ = f′ · (T without i
less T), is a sum over pairs of blocks, and so has a variance over sketches, M − Q of `block_variance`. The jackknife over
examples adds up Δᵢ², and with them these variances, which the error over sketches holds already. Their sum is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import to_numpy
from homolog.operands.block_variance import FIELDS, LOST
from homolog.operands.leave_one_out import RowTotals, without_rows
from homolog.operands.sketched_gram import SketchedGram, block_squares, of_one_random_source
from homolog.operands.structures import Gram
from homolog.sketching import BLOCKS, SKETCHES

AT_ONCE = 256
"""Examples whose tables are held at a time."""
Single = dict[Any, Any]
"""Of each sketch (examples, blocks)."""
Double = dict[tuple[Any, Any], Any]
"""Of two sketches (examples, blocks, blocks)."""


class Part(NamedTuple):
    """One sketch of a layer, or a layer that is none."""

    source: Any
    """Which random numbers it has; None of a layer that is no sketch."""
    features: np.ndarray
    """(n, columns)"""
    diagonals: np.ndarray
    """(n, blocks)"""


class Term(NamedTuple):
    """The inner product of two parts, and what of the value follows from its statistics."""

    x: Part
    y: Part
    slope: np.ndarray
    """(3,)"""


def noise_over_examples(slope: np.ndarray, x: Gram, y: Gram, units: np.ndarray | None) -> float:
    """Return what of the jackknife variance over examples, or over units of them, is noise of sketches.

    `slope` is f′ (9,) of the value.
    """
    terms = list(_terms(slope, x, y))
    order = np.arange(x.n) if units is None else np.argsort(units, kind="stable")
    starts = np.arange(x.n) if units is None else np.flatnonzero(np.diff(units[order], prepend=-1))
    count, ends = len(starts), [*starts[1:], x.n]
    prepared = [(term, _totals(term)) for term in terms]
    noise, first = 0.0, 0
    sums: tuple[Single, Double] = {}, {}
    while first < count:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + AT_ONCE)))
        rows, inside = order[starts[first] : ends[last - 1]], starts[first:last] - starts[first]
        changes = _changes(prepared, rows, inside)
        noise += _variances(*changes)
        for total, found in zip(sums, changes, strict=True):
            for key, part in found.items():
                total[key] = total.get(key, 0.0) + part.sum(axis=0, keepdims=True)
        first = last
    return (count - 1) / count * (noise - _variances(*sums) / count)


def _terms(slope: np.ndarray, x: Gram, y: Gram) -> Iterator[Term]:
    """Yield the products of which ⟨K, L⟩, ⟨K, K⟩ and ⟨L, L⟩ are means, but for those that know no sketch."""
    xs, ys = _parts(x, "x"), _parts(y, "x" if of_one_random_source(x, y) else "y")
    pairs = [(one, other) for one in xs for other in ys if one.source is None or one.source != other.source]
    for one, other in pairs:
        yield Term(one, other, slope[:FIELDS] / len(pairs))
    for own, at in ((xs, FIELDS), (ys, 2 * FIELDS)):
        if len(own) == SKETCHES:
            yield Term(own[0], own[1], slope[at : at + FIELDS])


def _parts(x: Gram, side: str) -> list[Part]:
    if not isinstance(x, SketchedGram):
        linear: Any = x
        return [Part(None, to_numpy(linear.features), to_numpy(x.diagonal)[:, None])]
    features, k = to_numpy(x.features), x.sketch.columns
    return [
        Part(
            (side, half),
            features[:, half * k : (half + 1) * k],
            x.block_diagonals[:, half * BLOCKS : (half + 1) * BLOCKS],
        )
        for half in range(SKETCHES)
    ]


class _Totals(NamedTuple):
    rows: RowTotals
    product: np.ndarray
    """(columns of x, columns of y)"""
    x_of_h: np.ndarray
    """(columns of x, blocks of y)"""
    y_of_k: np.ndarray


def _totals(term: Term) -> _Totals:
    x, y, _ = term
    product = x.features.T @ y.features
    k, h = x.diagonals, y.diagonals
    squares = block_squares(product, k.shape[1], h.shape[1])
    traces = k.sum(axis=0)[:, None], h.sum(axis=0)[None, :]
    x_of_h, y_of_k = x.features.T @ h.astype(x.features.dtype), y.features.T @ k.astype(y.features.dtype)
    return _Totals(RowTotals(squares, k.T @ h, *traces), product, x_of_h, y_of_k)


def _changes(prepared: list[tuple[Term, _Totals]], rows: np.ndarray, starts: np.ndarray) -> tuple[Single, Double]:
    """Return what is changed by leaving out each unit of some rows, to first order the sum over its rows."""
    single: Single = {}
    double: Double = {}
    for term, totals in prepared:
        found = np.add.reduceat(_changes_of(term, totals, rows), starts, axis=0)
        one, other = term.x.source, term.y.source
        for key, part in ((one, found.sum(axis=2)), (other, found.sum(axis=1))):
            if key is not None:
                single[key] = single.get(key, 0.0) + part
        if one is not None and other is not None:
            both, part = ((one, other), found) if one < other else ((other, one), np.swapaxes(found, 1, 2))
            double[both] = double.get(both, 0.0) + part
    return single, double


def _changes_of(term: Term, totals: _Totals, rows: np.ndarray) -> np.ndarray:
    """Return (rows, blocks of x, blocks of y) what one product changes without each of the rows."""
    x, y, slope = term
    n, m = len(x.features), len(x.features) - 1
    u, v, k, h = x.features[rows], y.features[rows], x.diagonals[rows][:, :, None], y.diagonals[rows][:, None, :]
    blocks = [(len(rows), side.diagonals.shape[1], -1) for side in (x, y)]
    # Of each block of x the columns of its rows, times the product: (blocks, rows, columns of y).
    through = np.swapaxes(u.reshape(blocks[0]), 0, 1) @ totals.product.reshape(blocks[0][1], -1, v.shape[1])
    shared = np.einsum("aibc,ibc->iab", through.reshape(blocks[0][1], *blocks[1]), v.reshape(blocks[1]))
    x_of_h = np.einsum("iac,acb->iab", u.reshape(blocks[0]), totals.x_of_h.reshape(blocks[0][1], -1, blocks[1][1]))
    y_of_k = np.einsum("ibc,bca->iab", v.reshape(blocks[1]), totals.y_of_k.reshape(blocks[1][1], -1, blocks[0][1]))
    whole, diagonals = without_rows(k, h, shared, x_of_h, y_of_k, totals.rows, m)
    traces = (totals.rows.k - k * n / m) * (totals.rows.h - h * n / m)
    changed = slope[0] * (whole - diagonals) + slope[1] * diagonals + slope[2] * traces
    before = slope[0] * (totals.rows.shared - totals.rows.both) + slope[1] * totals.rows.both
    difference: np.ndarray = changed - before - slope[2] * totals.rows.k * totals.rows.h
    return difference


def _variances(single: Mapping[Any, np.ndarray], double: Mapping[Any, np.ndarray]) -> float:
    """Return the sum of the variances over sketches, M − Q, of what is changed."""
    found = 0.0
    for part in single.values():
        found += LOST * float(np.sum((part - part.mean(axis=1, keepdims=True)) ** 2))
    for part in double.values():
        rest = part - part.mean(axis=1, keepdims=True)
        found -= LOST**2 * float(np.sum((rest - rest.mean(axis=2, keepdims=True)) ** 2))
    return found
