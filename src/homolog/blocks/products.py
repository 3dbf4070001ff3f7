"""The two reductions over rows: products of mapped rows, and inner products of structures tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from homolog.blocks.budget import IndexPair, Round
from homolog.blocks.scan import Part, Slabs, Tile, ahead, over_part
from homolog.blocks.source import Summary

PIECE = 1 << 18
"""Pairs of rows that are multiplied at a time: of one layer they stay in cache."""


def pieces(halves: Sequence[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the share of the work and the products of all halves with each other, piece by piece."""
    size = len(halves[0])
    # One buffer for all pieces: fresh memory costs more than the copy.
    buffer = np.empty((len(halves), min(PIECE, size)), dtype=np.result_type(*halves))
    for start in range(0, size, PIECE):
        stacked = buffer[:, : size - start]
        np.stack([half[start : start + PIECE] for half in halves], out=stacked)
        with np.errstate(over="ignore", invalid="ignore"):
            products = (stacked @ stacked.T).astype(float)
        yield stacked.shape[1] / size, products


def sum_products(
    summaries: Mapping[int, Summary], part: Round, n: int, each: Any
) -> Iterator[tuple[IndexPair, Any, Any, np.ndarray]]:
    """Yield the pairs of one round with both operands and the product, in float64."""
    opened = {index: summaries[index].begin() for index in part.layers}
    sums = {(i, j): np.zeros((opened[i].width, opened[j].width)) for i, j in part.pairs}
    with ahead(partial(_blocks, opened, part, n), range(0, n, part.rows)) as blocks:
        for _, features in blocks:
            list(each(partial(_add, sums, features), part.pairs))
    while sums:
        (i, j), product = sums.popitem()
        yield (i, j), opened[i].operand, opened[j].operand, product


def _blocks(summaries: Mapping[int, Summary], part: Round, n: int, start: int) -> dict[int, np.ndarray]:
    stop = min(start + part.rows, n)
    return {index: summaries[index].features(start, stop) for index in part.layers}


def _add(sums: dict[IndexPair, np.ndarray], features: dict[int, np.ndarray], pair: IndexPair) -> None:
    i, j = pair
    sums[pair] += features[i].T @ features[j]


def linear_part(part: Part, each: Any, *, layers: Sequence[Any], slabs: Slabs, dtype: Any) -> np.ndarray:
    """Add up the products of the tiles of one part, in order, so that the sum is the same on every run."""
    start = np.zeros((len(layers), len(layers)))
    return sum(over_part(part, layers, slabs, dtype, linear_tile, each), start)


def linear_tile(xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> np.ndarray:
    """Return Σ K_ij L_ij over a tile, i ≠ j, for all pairs of linear structures; twice above the diagonal."""
    stacked = np.empty((len(xs), len(xs[0]), len(ys[0])), dtype=xs[0].dtype)
    for x, y, structure in zip(xs, ys, stacked, strict=True):
        np.matmul(x, y.T, out=structure)
    return products_of(stacked, at)


def products_of(stacked: np.ndarray, at: Tile) -> np.ndarray:
    """Return the products of stacked tiles, without the diagonal, twice for a tile above it."""
    on_diagonal = at[0] == at[1]
    if on_diagonal:
        places = np.arange(stacked.shape[1])
        stacked[:, places, places] = 0
    flat = stacked.reshape(len(stacked), -1)
    return (1.0 if on_diagonal else 2.0) * (flat @ flat.T).astype(float)
