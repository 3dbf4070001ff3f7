"""What pairs of structures share where some are of sketches, and how far values may be off for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from homolog.arrays import Array, scalar, to_numpy
from homolog.blocks.budget import Form
from homolog.blocks.products import Step, cross_products
from homolog.blocks.workers import Workers
from homolog.operands.block_variance import FIELDS, BlockTable, PairBlocks, bias_and_error, derivatives
from homolog.operands.gram_products import GramProducts, sums
from homolog.operands.sketched_gram import (
    SketchedGram,
    any_sketched,
    block_squares,
    blocks_of,
    of_one_random_source,
    products_of_blocks,
)
from homolog.operands.structures import Gram, products

ROUNDING = 1e-6
"""Errors below this, relative to the value, are rounding: of a layer with itself, for instance."""


def products_with_sketches(
    grams: Sequence[Any], needed: np.ndarray, form: Form, workers: Workers, step: Step, whole: np.ndarray
) -> GramProducts:
    """Return what all pairs share where some are of sketches, by products of features.

    `whole` are the off-diagonal inner products of the structures that were formed tile by tile.
    """
    count, tiled, plain = len(grams), list(form.tiled), np.stack([to_numpy(x.diagonal) for x in grams])
    found = np.full((FIELDS, count, count), np.nan)
    if tiled:
        traces = plain[tiled].sum(axis=1)
        found[np.ix_(range(FIELDS), tiled, tiled)] = [whole, plain[tiled] @ plain[tiled].T, np.outer(traces, traces)]
    own = {i: x.own_products for i, x in enumerate(grams) if isinstance(x, SketchedGram)}
    for i, blocks in own.items():
        found[:, i, i] = blocks.sum(axis=(1, 2))
    wanted = np.triu(needed | needed.T)
    missing = np.triu(needed | needed.T | np.eye(count, dtype=bool)) & np.isnan(found[0])
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(missing), strict=True)]
    squares = partial(_squares, counts=[blocks_of(x) for x in grams])
    features = [x.features for x in grams]
    across = {(i, i): blocks for i, blocks in own.items() if wanted[i, i]}
    for (i, j), squared in cross_products(features, _itself, pairs, form.rounds, workers, squares):
        blocks = products_of_blocks(grams[i], grams[j], squared)
        found[:, i, j] = found[:, j, i] = blocks.sum(axis=(1, 2))
        if i in own or j in own:
            across[i, j] = blocks
        step(0.0 if tiled else 1 / len(pairs))
    shared = GramProducts.of_all(grams[0].n, found, [sums(x, x.diagonal, x.diagonal) for x in grams])
    selves = [own.get(i, found[:, i, i, None, None]) for i in range(count)]
    return shared._replace(
        exact=False,
        blocks={
            (i, j): PairBlocks(blocks, selves[i], selves[j], of_one_random_source(grams[i], grams[j]))
            for (i, j), blocks in across.items()
        },
    )


def _itself(x: Any) -> Any:
    return x


def _squares(pair: tuple[int, int], x: Any, y: Any, product: Array, *, counts: Sequence[int]) -> np.ndarray:
    return block_squares(product, counts[pair[0]], counts[pair[1]])


def met_sketches(x: Gram, y: Gram) -> GramProducts:
    """Return the statistics of one pair of which at least one is of sketches."""

    def met(one: Any, other: Any) -> np.ndarray:
        if one is other and isinstance(one, SketchedGram):
            return one.own_products
        if not any_sketched((one, other)):
            trace = np.sum(to_numpy(one.diagonal)) * np.sum(to_numpy(other.diagonal))
            return np.array([*map(scalar, products(one, other)), trace])[:, None, None]
        return products_of_blocks(
            one, other, block_squares(one.features.T @ other.features, blocks_of(one), blocks_of(other))
        )

    blocks = PairBlocks(met(x, y), met(x, x), met(y, y), of_one_random_source(x, y))
    cross, *own = (part.sum(axis=(1, 2)) for part in (blocks.cross, blocks.x, blocks.y))
    first, second = (
        sums(side, each[0], each[1])._replace(squared_trace=each[2]) for side, each in zip((x, y), own, strict=True)
    )
    return GramProducts(x.n, cross[0], cross[1], cross[2], first, second, exact=False, blocks={(0, 0): blocks})


def slopes(value: Callable[[GramProducts], Array], shared: GramProducts) -> tuple[np.ndarray, np.ndarray]:
    """Return f′ (9,) and f″ (9, 9) of the value of a pair by its statistics."""
    return derivatives(lambda found: to_numpy(value(shared.with_statistics(found))), shared.statistics)


def off_by(value: Callable[[GramProducts], Array], shared: GramProducts) -> tuple[np.ndarray, np.ndarray]:
    """Return what sketches shift values by on average, and their standard errors over sketches, both like the values.

    A shift beyond the error is noise, and counts as none.
    """
    blocks = shared.blocks or {}
    found = np.zeros((2, *np.shape(shared.off_diagonal)))
    for (i, j), pair in blocks.items():
        one = shared.at(i, j)
        whole = float(value(one))
        bias, error = bias_and_error(BlockTable.of(pair), *slopes(value, one)) if np.isfinite(whole) else (0.0, np.nan)
        if error <= ROUNDING * abs(whole):
            bias = error = 0.0
        both = bias if abs(bias) <= error else 0.0, error
        if found.ndim == 1:
            return np.asarray(both[0]), np.asarray(both[1])
        found[:, i, j] = found[:, j, i] = both
    return found[0], found[1]
