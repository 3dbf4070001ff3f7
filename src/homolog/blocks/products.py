"""The two reductions over the examples: products of mapped rows, and inner products of structures tile by tile.

Both work on arrays and on rows that are read, in one block or in many, in threads or in the workers of an executor. Sums are
added up in order, so that they are the same on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import identity_like, is_numpy, namespace, precise, to_numpy
from homolog.blocks.budget import IndexPair, Round
from homolog.blocks.device_tiles import products_of_tiles, products_of_vectors
from homolog.blocks.scan import Panels, Part, Tile, ahead, over_part, panel
from homolog.blocks.workers import Workers
from homolog.devices import is_elsewhere

PIECE = 1 << 18
"""Pairs of rows that are multiplied at a time: of one layer they stay in cache."""
SQUARE = 512
"""Rows whose products with themselves are formed at once: of more, half of the work would be in vain."""
STRIP = 128
"""Rows of stacked tiles whose products are added up together."""
Step = Callable[[float], Any]
"""Told the share of the work that was done."""


def stacked_products(vectors: Sequence[Any], step: Step) -> np.ndarray:
    """Return the (layers, layers) products of vectors with each other, in float64, piece by piece."""
    if is_elsewhere(vectors[0]):
        return products_of_vectors(vectors, step)
    size, total = vectors[0].shape[0], np.zeros((len(vectors), len(vectors)))
    # One buffer for all pieces: fresh memory costs more than the copy.
    buffer = np.empty((len(vectors), min(PIECE, size)), np.result_type(*vectors)) if is_numpy(vectors[0]) else None
    for start in range(0, size, PIECE):
        some = [vector[start : min(start + PIECE, size)] for vector in vectors]
        with np.errstate(over="ignore", invalid="ignore"):
            out = {} if buffer is None else {"out": buffer[:, : size - start]}
            stacked = namespace(*some).stack(some, **out)
            total += to_numpy(precise(stacked @ stacked.T))
        step(stacked.shape[1] / size)
    return total


def cross_products(
    layers: Sequence[Any],
    rows: Callable[[Any], Any],
    pairs: Sequence[IndexPair],
    rounds: Sequence[Round],
    workers: Workers,
    formulas: Callable[[IndexPair, Any, Any, Any], Any],
) -> Iterator[tuple[IndexPair, Any]]:
    """Yield every pair of layers with formulas(pair, x, y, Σ_i f_i g_iᵀ), f and g being `rows` of x and y.

    Block by block in `rounds`, where there are any; else pair by pair, of arrays.
    """
    if rounds:
        work = partial(_of_round, layers=layers, rows=rows, formulas=formulas)
        for found in workers.parts(work, rounds):
            yield from found
        return

    def one(pair: IndexPair) -> Any:
        x, y = (layers[index] for index in pair)
        return formulas(pair, x, y, rows(x).T @ rows(y))

    yield from zip(pairs, workers.items(one, pairs), strict=True)


def _of_round(part: Round, each: Any, *, layers: Any, rows: Any, formulas: Any) -> list[tuple[IndexPair, Any]]:
    """Return what `formulas` make of every pair of one round."""
    known = {index: opened(layers[index]) for index in part.layers}
    read = {index: rows(layer) for index, layer in known.items()}
    sums = {(i, j): np.zeros((read[i].shape[1], read[j].shape[1])) for i, j in part.pairs}
    n, found = next(iter(read.values())).shape[0], []
    with ahead(partial(_block, read, part.rows), range(0, n, part.rows)) as blocks:
        for _, block in blocks:
            list(each(partial(_add, sums, block), part.pairs))
    while sums:
        (i, j), product = sums.popitem()
        found.append(((i, j), formulas((i, j), known[i], known[j], product)))
    return found


def opened(layer: Any) -> Any:
    """Return a layer with what a cache holds of it in memory."""
    return layer.opened() if hasattr(layer, "opened") else layer


def _block(rows: Mapping[int, Any], size: int, start: int) -> dict[int, np.ndarray]:
    return {index: panel(some, start, min(start + size, some.shape[0])) for index, some in rows.items()}


def _add(sums: dict[IndexPair, np.ndarray], block: dict[int, np.ndarray], pair: IndexPair) -> None:
    i, j = pair
    sums[pair] += block[i].T @ block[j]


class Structure(NamedTuple):
    """A matrix of all pairs of examples, formed tile by tile."""

    rows: Any
    """(n, p) array, or what reads one."""
    kernel: Any = None
    """Its `tile(rows, columns, their examples)` is the structure between two blocks of rows; None for their products."""


def tile_products(
    structures: Sequence[Structure],
    panels: Panels,
    workers: Workers,
    step: Step,
    share: float = 1.0,
    across: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ K_ij L_ij, i ≠ j, of all pairs of structures (layers, layers), and the sums (layers, n) of their rows.

    Structures are symmetric: tiles above the diagonal count twice. Sums are of kernels, which estimated means have centred. No
    part of the work is more than a share of all. Where `across` is not 0, no pair is wanted but those of one of the first so
    many structures with one of the others, and each with itself; others are then NaN.
    """
    if is_elsewhere(structures[0].rows):
        return products_of_tiles([structure.rows for structure in structures], panels, step), _nothing(structures)[1]
    n = structures[0].rows.shape[0]
    total, sums = _nothing(structures)
    parts = panels.parts(n, share)
    work = partial(_of_part, structures=structures, panels=panels, across=across, step=step if workers.here else None)
    for part, (products, along) in zip(parts, workers.parts(work, parts), strict=True):
        total += products
        sums += along
        if not workers.here:
            step(part.share(n))
    return total, sums


def _nothing(structures: Sequence[Structure]) -> tuple[np.ndarray, np.ndarray]:
    count, n = len(structures), structures[0].rows.shape[0]
    return np.zeros((count, count)), np.zeros((count, 0 if structures[0].kernel is None else n))


def _of_part(
    part: Part, each: Any, *, structures: Sequence[Structure], panels: Panels, across: int, step: Step | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the products of the tiles of one part, and the sums of what it holds of each row.

    The tiles follow one another, and each of them is worked on by all threads: they share one stack of tiles.
    """
    total, sums = _nothing(structures)
    rows, n = [structure.rows for structure in structures], structures[0].rows.shape[0]
    one = _Tiles(structures, across, each).one
    for at, products, along in over_part(part, rows, panels, one, each, in_turn=True):
        total += products
        for side, axis in zip(at, along, strict=False):
            sums[:, side] += axis
        if step is not None:
            step((1 + (at[0] != at[1])) * (at[0].stop - at[0].start) * (at[1].stop - at[1].start) / n**2)
    return total, sums


class _Tiles:
    """Forms the tile of every structure, stacked, and what is wanted of it."""

    def __init__(self, structures: Sequence[Structure], across: int, each: Any) -> None:
        self._structures, self._across, self._each = structures, across, each
        self._room = np.empty(0)
        # The widest first, so that no thread is left with it at the end.
        self._order = sorted(range(len(structures)), key=lambda i: -structures[i].rows.shape[1])

    def one(self, xs: list[Any], ys: list[Any], at: Tile) -> Any:
        """Return the tile, its products for all pairs of layers without the diagonal, and the sums along its rows and columns."""
        on_diagonal = at[0] == at[1]
        if not is_numpy(xs[0]) and all(structure.kernel is None for structure in self._structures):
            return at, _of_any_library(xs, ys, on_diagonal), []
        stacked, along = self._stacked(xs, ys, at), []
        if self._structures[0].kernel is not None:
            along = [stacked.sum(axis=axis, dtype=float) for axis in ((2,) if on_diagonal else (2, 1))]
        return at, 2 * pair_products(stacked, self._across, self._each, above=on_diagonal), along

    def _stacked(self, xs: list[np.ndarray], ys: list[np.ndarray], at: Tile) -> np.ndarray:
        """Return the tile of every structure (layers, rows, columns); of products on the diagonal the half above it."""
        shape, dtype = (len(xs), xs[0].shape[0], ys[0].shape[0]), np.result_type(*[x.dtype for x in xs])
        if self._room.size < prod(shape) or self._room.dtype != dtype:
            self._room = np.empty(prod(shape), dtype)  # fresh memory for every tile would cost more than writing it
        stacked = self._room[: prod(shape)].reshape(shape)

        def form(index: int) -> None:
            kernel, block = self._structures[index].kernel, stacked[index]
            if kernel is not None:
                block[:] = kernel.tile(xs[index], ys[index], at)
            else:
                form_products(xs[index], ys[index], block, same=at[0] == at[1])

        list(self._each(form, self._order))
        return stacked


def form_products(x: np.ndarray, y: np.ndarray, out: np.ndarray, *, same: bool) -> None:
    """Write the products of rows x yᵀ; of rows with themselves the half above the diagonal, and some of what is below."""
    if x.dtype != out.dtype:
        out[:] = x @ y.T
    elif same and len(x) > SQUARE:
        half = len(x) // 2
        np.matmul(x[:half], x[half:].T, out=out[:half, half:])
        for part in (slice(0, half), slice(half, len(x))):
            form_products(x[part], x[part], out[part, part], same=True)
    else:
        np.matmul(x, y.T, out=out)


def pair_products(stacked: np.ndarray, across: int = 0, each: Any = map, *, above: bool = False) -> np.ndarray:
    """Return Σ K_ij L_ij of tiles (layers, rows, columns), in float64; with `above` of squares the part above the diagonal.

    Some rows at a time, which stay in cache. With `above` the diagonal and some of what is below are set to 0.
    """
    strips = [slice(top, min(top + STRIP, stacked.shape[1])) for top in range(0, stacked.shape[1], STRIP)]
    parts = list(each(partial(_of_strip, stacked, across, above), strips))
    total: np.ndarray = sum(parts[1:], start=parts[0])
    return total


def _of_strip(stacked: np.ndarray, across: int, above: bool, rows: slice) -> np.ndarray:
    some = stacked[:, rows, rows.start if above else 0 :]
    if above:
        height = some.shape[1]
        some[:, :, :height][:, np.tri(height, dtype=bool)] = 0
    # Row by row: short products, which add up in float64.
    tall = some.transpose(1, 0, 2)
    if not across:
        return np.matmul(tall, tall.transpose(0, 2, 1)).sum(axis=0, dtype=float)
    found = np.full((len(stacked),) * 2, np.nan)
    np.fill_diagonal(found, np.linalg.vecdot(tall, tall).sum(axis=0, dtype=float))
    between = np.matmul(tall[:, :across], tall[:, across:].transpose(0, 2, 1)).sum(axis=0, dtype=float)
    found[:across, across:], found[across:, :across] = between, between.T
    return found


def off_diagonal_products(stacked: Any) -> np.ndarray:
    """Return Σ K_ij L_ij, i ≠ j, of square tiles (layers, rows, rows); NumPy's lose their diagonals."""
    if not is_numpy(stacked):
        return _flat_products(stacked * (1 - identity_like(stacked[0, ...])))
    places = np.arange(stacked.shape[1])
    stacked[:, places, places] = 0
    return _flat_products(stacked)


def _of_any_library(xs: list[Any], ys: list[Any], on_diagonal: bool) -> np.ndarray:
    """Return the products of the tiles of products of rows, for all pairs of layers, without the diagonal."""
    blocks = [x @ y.T for x, y in zip(xs, ys, strict=True)]
    several = len({block.dtype for block in blocks}) > 1
    stacked = namespace(blocks[0]).stack([precise(block) for block in blocks] if several else blocks)
    return off_diagonal_products(stacked) if on_diagonal else 2 * _flat_products(stacked)


def _flat_products(stacked: Any) -> np.ndarray:
    flat = namespace(stacked).reshape(stacked, (stacked.shape[0], -1))
    return to_numpy(precise(flat @ flat.T))
