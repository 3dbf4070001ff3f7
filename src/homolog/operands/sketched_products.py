"""What pairs of structures share where some are of sketches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from homolog.arrays import Array, scalar, to_numpy
from homolog.blocks.budget import Form
from homolog.blocks.products import Step, cross_products
from homolog.blocks.workers import Workers
from homolog.operands.gram_products import GramProducts, GramSums, sums
from homolog.operands.sketched_gram import SketchedGram, any_sketched, block_squares, blocks_of, products_of_blocks
from homolog.operands.structures import Gram, products
from homolog.sketching import BLOCKS


def products_with_sketches(
    grams: Sequence[Any], needed: np.ndarray, form: Form, workers: Workers, step: Step, whole: np.ndarray
) -> GramProducts:
    """Return what all pairs share where some are of sketches, by products of features.

    `whole` are the off-diagonal inner products of the structures that were formed tile by tile.
    """
    count, tiled, plain = len(grams), list(form.tiled), np.stack([to_numpy(x.diagonal) for x in grams])
    found = np.full((3, 1 + BLOCKS, count, count), np.nan)
    if tiled:
        traces = plain[tiled].sum(axis=1)
        known = np.stack([whole, plain[tiled] @ plain[tiled].T, np.outer(traces, traces)])
        found[np.ix_(range(3), range(1 + BLOCKS), tiled, tiled)] = known[:, None]
    for i, x in enumerate(grams):
        if isinstance(x, SketchedGram):
            found[:, :, i, i] = products_of_blocks(x, x, x.own_squares)
    left = np.triu(needed | needed.T | np.eye(count, dtype=bool)) & np.isnan(found[0, 0])
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(left), strict=True)]
    squares = partial(_squares, counts=[blocks_of(x) for x in grams])
    features = [x.features for x in grams]
    for (i, j), blocks in cross_products(features, _itself, pairs, form.rounds, workers, squares):
        found[:, :, i, j] = found[:, :, j, i] = products_of_blocks(grams[i], grams[j], blocks)
        step(0.0 if tiled else 1 / len(pairs))
    own = [sums(x, x.diagonal, x.diagonal) for x in grams]
    n = grams[0].n
    all_blocks, without = (GramProducts.of_all(n, part, own) for part in (found[:, 0], found[:, 1:]))
    return all_blocks._replace(exact=False, without_block=without._replace(exact=False))


def _itself(x: Any) -> Any:
    return x


def _squares(pair: tuple[int, int], x: Any, y: Any, product: Array, *, counts: Sequence[int]) -> np.ndarray:
    return block_squares(product, counts[pair[0]], counts[pair[1]])


def met_sketches(x: Gram, y: Gram) -> GramProducts:
    """Return the statistics of one pair of which at least one is of sketches."""

    def met(one: Any, other: Any) -> np.ndarray:
        if one is other and isinstance(one, SketchedGram):
            return products_of_blocks(one, one, one.own_squares)
        if not any_sketched((one, other)):
            trace = np.sum(to_numpy(one.diagonal)) * np.sum(to_numpy(other.diagonal))
            return np.tile(np.array([*map(scalar, products(one, other)), trace])[:, None], 1 + BLOCKS)
        squares = block_squares(one.features.T @ other.features, blocks_of(one), blocks_of(other))
        return products_of_blocks(one, other, squares)

    cross, own = met(x, y), [met(x, x), met(y, y)]
    sides = [sums(side, *each[:2])._replace(squared_trace=each[2]) for side, each in zip((x, y), own, strict=True)]

    def at(where: Any) -> GramProducts:
        return GramProducts(
            x.n, *cross[:, where], *(GramSums(a[where], b[where], t, q[where], *rest) for a, b, t, q, *rest in sides)
        )

    return at(0)._replace(exact=False, without_block=at(slice(1, None))._replace(exact=False))
