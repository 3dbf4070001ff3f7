"""All inner products of many structures: which form is cheaper for whom, and one walk over tiles of examples.

A pair of linear structures costs 2·n·p·q through its features. A structure, once formed, serves all its pairs: n²·p for its
upper half, and n² for each pair of structures. The walk never holds a whole structure: it forms the same tile of every layer,
stacks the tiles as rows T, and adds T T^T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.arrays import Array, identity_like, namespace, precise, scalar, to_numpy
from homolog.blocks.products import PIECE, pieces
from homolog.blocks.scan import COLUMNS, ROWS, tiles
from homolog.machine import usable_cores
from homolog.operands.condensed import ROWS as HALF_ROWS
from homolog.operands.family import Cost
from homolog.operands.gram import Structure, products

Shapes = Sequence[tuple[int, int]]
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class WalkForm:
    """How the inner products of some structures are computed."""

    walked: tuple[int, ...]
    """The layers whose structures are formed, tile by tile; every other pair goes through features."""
    rows: int
    columns: int
    flops: float
    bytes: int
    """Workspace of the walk beyond the operands."""
    rebuilt: bool = False
    """Whether structures that can be remade are not held between preparing and walking."""

    def __str__(self) -> str:
        if not self.walked:
            return "through features"
        twice = ", formed twice to hold none" if self.rebuilt else ""
        return f"{len(self.walked)} structures in tiles of {self.rows} × {self.columns}{twice}"


def choose(
    shapes: Shapes, itemsizes: Sequence[int], needed: np.ndarray, memory: int, *, kernel: Any, **_: Any
) -> WalkForm:
    """Choose the cheapest form by its floating-point operations.

    Parameters
    ----------
    shapes
        (examples, features) per layer.
    itemsizes
        bytes per number in which each layer is held.
    needed
        (layers, layers) bool, the pairs asked for; self-terms are always computed.
    memory
        most bytes of workspace.
    kernel
        for other kernels than the linear one there are no features, and all layers walk.

    Layers are ordered by width, and the k widest walk, for the k of least total cost:

    | form | cost |
    |---|---|
    | walk | n²·p per layer (its upper half), n² per pair of walked layers |
    | features | 2·n·p·q per pair, n·p² per layer for its self-term; only where p, q <= n |

    Halves of Gram matrices of distances are held where they fit into half of the memory, and formed a second time, tile by tile,
    where they do not.
    """
    n = shapes[0][0]
    sizes = np.array([p for _, p in shapes], dtype=float)
    order = np.argsort(-sizes, kind="stable")
    pairs = np.triu(needed | needed.T, 1)
    fewest = int(np.sum(sizes > n)) if kernel == "linear" else len(order)
    best = min(range(fewest, len(order) + 1), key=lambda k: _flops(n, sizes, pairs, order[:k]))
    walked = tuple(sorted(int(i) for i in order[:best]))
    item = max(itemsizes)
    workers = usable_cores()
    rebuilt = kernel in ("rbf", "distance") and n**2 // 2 * sum(itemsizes) > memory // 2
    held = _held(shapes, itemsizes, kernel, rebuilt=rebuilt)
    rows, columns = _tile(n, len(walked), item, (memory - held) // workers)
    workspace = (2 * len(walked) + 1) * rows * columns * item * workers if walked else 0
    flops = _flops(n, sizes, pairs, order[:best])
    if kernel in ("rbf", "distance"):
        # Halves of Gram matrices are formed once and held, or formed a second time, tile by tile.
        flops = _flops(n, 0 * sizes, pairs, order) + n**2 * float(np.sum(sizes)) * (2 if rebuilt else 1)
        workspace = workspace if rebuilt else len(walked) * min(PIECE, n * n // 2) * item
    return WalkForm(walked, rows, columns, flops, workspace, rebuilt)


def _flops(n: int, sizes: np.ndarray, pairs: np.ndarray, walked: np.ndarray) -> float:
    inside = np.zeros(len(sizes), dtype=bool)
    inside[walked] = True
    # The stacked product forms all pairs of walked layers, wanted or not.
    walk = n**2 * float(np.sum(sizes[inside]) + inside.sum() ** 2)
    i, j = np.nonzero(pairs & ~(inside[:, None] & inside[None, :]))
    return walk + 2 * n * float(sizes[i] @ sizes[j]) + n * float(np.sum(sizes[~inside] ** 2))


def cost(
    shapes: Shapes, itemsizes: Sequence[int], needed: np.ndarray, form: WalkForm | None, *, kernel: Any, **_: Any
) -> Cost:
    """Return what it takes, the operands included."""
    n, item, width = shapes[0][0], max(itemsizes), max(p for _, p in shapes)
    rebuilt = form is not None and form.rebuilt
    half, rows = n * (n - 1) // 2 * item, 4 * (min(HALF_ROWS, n) + width) * n * item
    through = 24 * min(width, n) ** 2
    if kernel == "linear":
        # A pair without a form goes through Gram matrices where features outnumber examples.
        preparing, meeting = 2 * n * width * item, through if form is not None or width <= n else 24 * n * n
    elif callable(kernel) or kernel == "residual":
        preparing, meeting = (6 if kernel == "residual" else 3) * n * n * item, 24 * n * n
    else:
        # Squared distances, and the kernel of them; both are let go where the structure is lean.
        preparing, meeting = (3 if rebuilt else 2) * half + rows, 16 * n * n // 2
    flops = _flops(n, np.array([p for _, p in shapes], dtype=float), needed, np.arange(len(shapes)))
    held = _held(shapes, itemsizes, kernel, rebuilt=rebuilt)
    if form is None:
        return Cost(flops, held, preparing, meeting)
    alone = kernel == "linear" and len(form.walked) < len(shapes)
    return Cost(form.flops, held, preparing, through if alone else 0, form.bytes)


def _held(shapes: Shapes, itemsizes: Sequence[int], kernel: Any, *, rebuilt: bool) -> int:
    """Return the bytes of the operands."""
    n = shapes[0][0]
    numbers = n * n if callable(kernel) or kernel == "residual" else n * (n - 1) // 2
    by_features = kernel == "linear" or rebuilt
    held = sum(item * (n * p if by_features else numbers) for (_, p), item in zip(shapes, itemsizes, strict=True))
    return held + 16 * n * len(shapes)


def _tile(n: int, layers: int, itemsize: int, memory: int) -> tuple[int, int]:
    """Shrink the tile until the stacked tiles, and the copies they are stacked from, fit."""
    rows, columns = min(ROWS, n), min(COLUMNS, n)
    while (2 * layers + 1) * rows * columns * itemsize > memory and max(rows, columns) > 16:
        rows, columns = (rows, -(-columns // 2)) if columns >= rows else (-(-rows // 2), columns)
    return rows, columns


def inner_products(
    structures: Sequence[Structure], needed: np.ndarray, form: WalkForm, each: Each, step: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (layers, layers) off-diagonal parts of ⟨K, L⟩, and k·l, NaN where not needed.

    `each` is a map, perhaps of a pool of threads; `step` is told the share of the work that was done.
    """
    count = len(structures)
    found = np.full((count, count), np.nan)
    xp = namespace(structures[0].diagonal)
    diagonals = xp.stack([structure.diagonal for structure in structures])
    walked = np.array(form.walked, dtype=int)
    if len(walked):
        found[np.ix_(walked, walked)] = to_numpy(_walk([structures[i] for i in walked], form, each, step))
    left = np.triu(needed | needed.T | np.eye(count, dtype=bool)) & np.isnan(found)
    pairs = list(zip(*np.nonzero(left), strict=True))

    def one(pair: tuple[int, int]) -> float:
        i, j = pair
        value = scalar((structures[i].own if i == j else products(structures[i], structures[j]))[0])
        step(0.0 if len(walked) else 1 / len(pairs))
        return value

    for (i, j), value in zip(pairs, each(one, pairs), strict=True):
        found[i, j] = found[j, i] = value
    return found, to_numpy(diagonals @ diagonals.T)


def _walk(structures: Sequence[Structure], form: WalkForm, each: Each, step: Callable[[float], None]) -> Array:
    """Σ over i ≠ j of K_ij L_ij for all pairs of layers: tiles above the diagonal count twice."""
    n = structures[0].n
    if all(structure.half is not None for structure in structures):
        total = np.zeros((len(structures), len(structures)))
        for share, found in pieces([structure.half for structure in structures if structure.half is not None]):
            total += 2 * found
            step(share)
        return total

    def one(tile: tuple[slice, slice]) -> Array:
        value = _tile_products(structures, *tile)
        rows, columns = tile
        weight = 1 if rows == columns else 2
        step(weight * (rows.stop - rows.start) * (columns.stop - columns.start) / n**2)
        return weight * value

    # In order, so that the sum is the same on every run.
    return sum(each(one, list(tiles(n, form.rows, form.columns))))


def _tile_products(structures: Sequence[Structure], rows: slice, columns: slice) -> Array:
    blocks = [structure.block(rows, columns) for structure in structures]
    xp = namespace(blocks[0])
    if len({block.dtype for block in blocks}) > 1:
        blocks = [precise(block) for block in blocks]
    if rows == columns:
        off_diagonal = 1 - identity_like(blocks[0])
        blocks = [block * off_diagonal for block in blocks]
    stacked = xp.stack([xp.reshape(block, (-1,)) for block in blocks])
    return precise(stacked @ stacked.T)
