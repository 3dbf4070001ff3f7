"""How many directions a layer uses: effective rank and participation ratio, from sums over its rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from homolog.analysis.redundant.residual_stream import Part, forms
from homolog.analysis.redundant.row_sums import MOST_ROWS, spans_of
from homolog.machine import format_bytes
from homolog.rows import Rows


class Spread(NamedTuple):
    """How many directions a layer uses."""

    effective_rank: float
    participation_ratio: float


def needed(n: int, width: int) -> int:
    """Bytes that the spectrum of one layer takes: the products of its features, or of its rows where these are fewer."""
    side = min(n, width)
    return 8 * (4 * side * side + 64 * width)


def check_memory(n: int, width: int, memory: int) -> None:
    """Raise where the spectrum of a layer does not fit into the memory."""
    if needed(n, width) > memory:
        raise ValueError(
            f"the effective rank of layers of {width} features over {n} rows needs a memory of at least "
            f"{format_bytes(needed(n, width))}, got {format_bytes(memory)}: raise memory=."
        )


def spreads(rows: Rows, columns: np.ndarray | None, outlying: np.ndarray | None, memory: int) -> dict[str, Spread]:
    """Return the spread of a layer, and that of some of its columns, without outlying rows (a flag for each row), and both."""
    n, width = rows.shape
    kept = None if outlying is None else np.flatnonzero(~outlying)
    parts = forms(columns, kept)
    if n <= width:
        return {suffix: spread_of(_among_rows(Part(rows, *part), memory)) for suffix, part in parts.items()}
    ordinary, rest, counts = _among_features(rows, outlying, memory)
    whole = _centred(ordinary[0] + rest[0], ordinary[1] + rest[1], sum(counts))
    rowwise = whole if kept is None else _centred(*ordinary, counts[0])
    found = {}
    for suffix, (some, chosen) in parts.items():
        products = whole if chosen is None else rowwise
        found[suffix] = spread_of(products if some is None else products[np.ix_(some, some)])
    return found


Sums = tuple[np.ndarray, np.ndarray]
"""(p, p) Σ x x^T and (p,) Σ x, about a shift."""


def _among_features(rows: Rows, outlying: np.ndarray | None, memory: int) -> tuple[Sums, Sums, tuple[int, int]]:
    """Return the sums over ordinary rows and over outlying ones, about means of the first block, and how many there are."""
    n, width = rows.shape
    step = max(1, min(MOST_ROWS, memory // (8 * 8 * width)))
    sums = [(np.zeros((width, width)), np.zeros(width)) for _ in range(2)]
    shift: np.ndarray | None = None
    for first, last in spans_of(n, step):
        block = rows.read(first, last).astype(float)
        flags = np.zeros(len(block), dtype=bool) if outlying is None else outlying[first:last]
        if shift is None:
            shift = block[~flags].mean(axis=0) if not flags.all() else block.mean(axis=0)
        block -= shift
        for (product, total), chosen in zip(sums, (~flags, flags), strict=True):
            if chosen.any():
                part = block if chosen.all() else block[chosen]
                product += part.T @ part
                total += part.sum(axis=0)
    count = 0 if outlying is None else int(outlying.sum())
    return sums[0], sums[1], (n - count, count)


def _centred(product: np.ndarray, total: np.ndarray, count: int) -> np.ndarray:
    return product - np.outer(total, total) / count


def _among_rows(rows: Rows, memory: int) -> np.ndarray:
    """Return the products of centred rows with each other, which have the same eigenvalues."""
    n, width = rows.shape
    step = max(1, min(MOST_ROWS, memory // (8 * 8 * max(1, width))))
    found = np.empty((n, n))
    shift = rows.read(0, min(step, n)).mean(axis=0, dtype=float)
    for first, last in spans_of(n, step):
        block = rows.read(first, last) - shift
        for left, right in spans_of(last, step):
            other = block if left == first else rows.read(left, right) - shift
            found[first:last, left:right] = block @ other.T
            found[left:right, first:last] = found[first:last, left:right].T
    found -= found.mean(axis=0)
    found -= found.mean(axis=1)[:, None]
    return found


def spread_of(products: np.ndarray) -> Spread:
    """Return exp of the entropy of the shares of the singular values, and (Σ λ)² / Σ λ²; NaN where nothing varies."""
    diagonal = np.abs(np.diagonal(products)).max(initial=0)
    if not diagonal > 0:
        return Spread(np.nan, np.nan)
    values = np.linalg.eigvalsh(products / diagonal)
    values = values[values > len(values) * np.finfo(float).eps * values[-1]]
    singular = np.sqrt(values)
    shares = singular / singular.sum()
    return Spread(float(np.exp(-(shares * np.log(shares)).sum())), float(values.sum() ** 2 / np.square(values).sum()))
