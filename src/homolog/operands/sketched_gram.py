"""Linear structures of layers of which two sketches are kept: every inner product is one of unlike sketches.

With the sketches U₁, U₂ of x and V₁, V₂ of y (`homolog.sketching`), and K₁ = U₁ U₁ᵀ after centring,

    ⟨K, L⟩ ≈ ½ (⟨K₁, L₂⟩ + ⟨K₂, L₁⟩)   where both sides have the same random numbers,
    ⟨K, L⟩ ≈ ¼ Σ ⟨K_s, L_t⟩             where they do not,       ⟨K, K⟩ ≈ ⟨K₁, K₂⟩.

Each has the right mean, since the two factors of a term are independent; so have products of diagonals and of traces, and hence
HSIC, biased and debiased. Of a layer that is no sketch there is one K. Each K_s is a sum over `BLOCKS` blocks of columns, which
are independent and alike: what pairs of them add says how far the sketches may be off (`block_variance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from homolog.arrays import Array, namespace, precise, to_numpy
from homolog.blocks.scan import stretches
from homolog.operands.block_variance import FIELDS, BlockTable, PairBlocks, variance
from homolog.operands.structures import Gram, LinearGram
from homolog.rows import Rows
from homolog.sketching import BLOCKS, SKETCHES, Sketch

UNLIKE = (1 - np.eye(SKETCHES)) / SKETCHES
"""What products of the two sketches of one source count: of a sketch with itself nothing."""
TOLD = 4.0
"""Errors by which what two sketches have in common must be above 0, or a reader is told that it is hardly more than noise."""


@final
@dataclass(frozen=True, kw_only=True)
class SketchedGram(Gram):
    """The Gram matrix of which two sketches are known; its `diagonal` is that of both together, divided by two."""

    features: Any
    """(n, 2k) centred columns of both sketches, or what reads them."""
    sketch: Sketch
    block_diagonals: np.ndarray
    """(n, 2 · BLOCKS) diagonals of the Gram matrices of the blocks."""
    own_products: np.ndarray
    """(3, 2 · BLOCKS, 2 · BLOCKS) what pairs of blocks add to the products of the structure with itself."""

    @property
    def held(self) -> Any:
        """The columns."""
        return self.features

    @property
    def halves(self) -> tuple[LinearGram, LinearGram]:
        """The Gram matrices of the two sketches."""
        k = self.sketch.columns
        parts = [self.features[:, :k], self.features[:, k:]]
        diagonals = [self.block_diagonals[:, :BLOCKS].sum(axis=1), self.block_diagonals[:, BLOCKS:].sum(axis=1)]
        first, second = (
            LinearGram(features=part, diagonal=diagonal, scale=self.scale, constant=self.constant)
            for part, diagonal in zip(parts, diagonals, strict=True)
        )
        return first, second

    @property
    def is_noise(self) -> bool:
        """Whether what the two sketches have in common, debiased, is hardly above its own error: CKA divides by its root."""
        if self.n < 4 or bool(self.constant):
            return False
        own = self.own_products
        table = BlockTable.of(PairBlocks(own, own, own, alike=True))
        debiased = np.array([1.0, -2 / (self.n - 2), 1 / ((self.n - 1) * (self.n - 2))])
        single, double = (np.tensordot(debiased, part[:FIELDS], 1) for part in table.effects())
        return not debiased @ own.sum(axis=(1, 2)) > TOLD * np.sqrt(variance(single, double))

    def formed(self) -> Array:
        """Return the mean of the Gram matrices of both sketches."""
        return self.features @ self.features.T / SKETCHES

    def strip(self, rows: slice) -> Array:
        """Return some rows of it."""
        return self.features[rows, :] @ self.features.T / SKETCHES


def sketched_gram(linear: LinearGram, sketch: Sketch) -> SketchedGram:
    """Return the operand of two sketches, whose columns were prepared as features."""
    diagonals, product = _of_blocks(linear.features, sketch.columns)
    squares = np.zeros((SKETCHES * BLOCKS,) * 2)
    squares[:BLOCKS, BLOCKS:] = block_squares(product, BLOCKS, BLOCKS)
    squares[BLOCKS:, :BLOCKS] = squares[:BLOCKS, BLOCKS:].T
    return SketchedGram(
        features=linear.features,
        diagonal=linear.diagonal / SKETCHES,
        scale=linear.scale,
        constant=linear.constant,
        sketch=sketch,
        block_diagonals=diagonals,
        own_products=_weighted(squares, diagonals, diagonals, UNLIKE),
    )


def _of_blocks(features: Any, k: int) -> tuple[np.ndarray, Array]:
    """Return (n, 2 · BLOCKS) squared norms of the rows of every block, and U₁ᵀ U₂."""
    if not isinstance(features, Rows):
        return _squared_rows(to_numpy(features)), features[:, :k].T @ features[:, k:]
    found, product = np.empty((features.shape[0], SKETCHES * BLOCKS)), np.zeros((k, k))
    for first, last in stretches(features):
        block = features.read(first, last)
        found[first:last] = _squared_rows(block)
        product += block[:, :k].T @ block[:, k:]
    return found, product


def _squared_rows(block: np.ndarray) -> np.ndarray:
    return np.einsum("ibc,ibc->ib", *[block.reshape(len(block), SKETCHES * BLOCKS, -1)] * 2, dtype=float)


def blocks_of(gram: Gram) -> int:
    """Return the parts whose sum, or mean, the features of a structure are."""
    return SKETCHES * BLOCKS if isinstance(gram, SketchedGram) else 1


def block_squares(product: Array, first: int, second: int) -> np.ndarray:
    """Return (first, second) sums of squares of the blocks of a product of features."""
    xp = namespace(product)
    parts = precise(xp.reshape(product, (first, product.shape[0] // first, second, product.shape[1] // second)))
    return to_numpy(xp.sum(parts * parts, axis=(1, 3)))


def diagonals_of(gram: Gram) -> np.ndarray:
    """Return (n, blocks) diagonals of the Gram matrices of the blocks; of no sketch that of its own."""
    return gram.block_diagonals if isinstance(gram, SketchedGram) else to_numpy(gram.diagonal)[:, None]


def weights_of(x: Gram, y: Gram) -> np.ndarray:
    """Return (sketches of x, sketches of y) what products of them count: of one sketch with itself nothing."""
    if of_one_random_source(x, y):
        return UNLIKE
    counts = [SKETCHES if isinstance(side, SketchedGram) else 1 for side in (x, y)]
    return np.full(counts, 1 / np.prod(counts))


def products_of_blocks(x: Gram, y: Gram, squares: np.ndarray) -> np.ndarray:
    """Return (3, blocks of x, blocks of y) what pairs of blocks add to the off-diagonal part of ⟨K, L⟩, k·l and tr K · tr L.

    `squares` are those of the products of all blocks; what does not count, of a sketch with itself, is 0.
    """
    return _weighted(squares, diagonals_of(x), diagonals_of(y), weights_of(x, y))


def _weighted(squares: np.ndarray, first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    diagonals, traces = first.T @ second, np.outer(first.sum(axis=0), second.sum(axis=0))
    size = [count // own for count, own in zip(squares.shape, weights.shape, strict=True)]
    found: np.ndarray = np.stack([squares - diagonals, diagonals, traces]) * np.kron(weights, np.ones(size))
    return found


def of_one_random_source(x: Gram, y: Gram) -> bool:
    """Say whether two structures are of sketches by the same random numbers."""
    return isinstance(x, SketchedGram) and isinstance(y, SketchedGram) and x.sketch.key == y.sketch.key


class Halves(NamedTuple):
    """Structures of two sides, sketched ones as their two halves."""

    xs: list[Gram]
    ys: list[Gram]
    weights: np.ndarray
    """(halves of x, halves of y) what the product of two halves counts for their pair."""
    starts: tuple[np.ndarray, np.ndarray]
    """The first half of every structure of x, and of y."""

    @classmethod
    def of(cls, xs: Sequence[Gram], ys: Sequence[Gram]) -> Halves:
        """Take sketched structures apart."""
        first, second = ([halves_of(x) for x in side] for side in (xs, ys))
        weights = np.block([[weights_of(x, y) for y in ys] for x in xs])
        starts = [np.cumsum([0, *map(len, side[:-1])]) for side in (first, second)]
        return cls(
            [half for x in first for half in x], [half for y in second for half in y], weights, (starts[0], starts[1])
        )

    def apart(self, needed: np.ndarray) -> np.ndarray:
        """Return which products of halves are needed, for pairs that are."""
        counts = [np.diff([*starts, size]) for starts, size in zip(self.starts, self.weights.shape, strict=True)]
        return np.repeat(np.repeat(needed, counts[0], axis=0), counts[1], axis=1) & (self.weights > 0)

    def together(self, values: np.ndarray) -> np.ndarray:
        """Return (…, x, y) products of structures from those of their halves."""
        counted = np.where(self.weights > 0, values * self.weights, 0.0)
        return np.add.reduceat(np.add.reduceat(counted, self.starts[0], axis=-2), self.starts[1], axis=-1)


def halves_of(x: Gram) -> tuple[Gram, ...]:
    """Return a structure, or the two of its sketches."""
    return x.halves if isinstance(x, SketchedGram) else (x,)


def any_sketched(grams: Sequence[Any] | Mapping[Any, Any]) -> bool:
    """Say whether some structures are of sketches."""
    some = grams.values() if isinstance(grams, Mapping) else grams
    return any(isinstance(gram, SketchedGram) for gram in some)
