"""Tiles of structures on a device of PyTorch's: formed there, added up there, copied to the host once.

Products of rows are in the dtype of the features, and of the entries of tiles too; sums over more than `CHUNK` entries are in
float64. Every pair of examples stands in one tile only, since what lies on and below the diagonal is set to 0.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from homolog.arrays import to_numpy, working_dtype
from homolog.blocks.scan import Panels

CHUNK = 4096
"""Entries of a structure that are summed in the dtype of the tile: short sums lose few digits, and keep many processors busy."""
PIECE = 1 << 22
"""Entries of vectors that are stacked at a time."""
STREAMS = 4
"""Products that run side by side: the last blocks of one do not fill the device."""


def products_of_tiles(features: Sequence[Any], panels: Panels, step: Callable[[float], Any]) -> np.ndarray:
    """Return Σ K_ij L_ij, i ≠ j, of the products of rows of all pairs of layers, (layers, layers)."""
    torch, n, count, first = sys.modules["torch"], features[0].shape[0], len(features), features[0]
    dtype = max((x.dtype for x in features), key=lambda dtype: dtype.itemsize)
    tall, wide = sorted((panels.rows, panels.columns))
    room = torch.empty(count * tall * wide, dtype=dtype, device=first.device)
    above = torch.ones((tall, tall), dtype=dtype, device=first.device).triu_(1)
    total = torch.zeros((count, count), dtype=working_dtype(first), device=first.device)
    for rows, columns in strips(n, tall, wide):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        stacked = room[: count * height * width].view(count, height, width)
        with _side_by_side(first.device) as turn:
            for x, tile in zip(features, stacked, strict=True):
                with turn():
                    _form(torch, x[rows], x[columns], tile)
        if columns.start == rows.start:
            stacked[:, :, :height] *= above[:height, :height]
        total += sums_of_products(stacked.view(count, -1))
        step(_share(rows, columns, n))
    return 2 * to_numpy(total)


def products_of_vectors(vectors: Sequence[Any], step: Callable[[float], Any]) -> np.ndarray:
    """Return the (layers, layers) products of vectors with each other, piece by piece."""
    torch, size, total = sys.modules["torch"], vectors[0].shape[0], 0
    for start in range(0, size, PIECE):
        stacked = torch.stack([vector[start : start + PIECE] for vector in vectors])
        total = total + sums_of_products(stacked)
        step(stacked.shape[1] / size)
    return to_numpy(total)


def sums_of_products(stacked: Any) -> Any:
    """Return the (layers, layers) products of stacked vectors (layers, entries), in the dtype of sums, on their device."""
    count, size = stacked.shape
    whole = size - size % CHUNK
    wide = working_dtype(stacked)
    rest = stacked[:, whole:]
    total = (rest @ rest.T).to(wide)
    if whole:
        parts = stacked[:, :whole].reshape(count, -1, CHUNK).transpose(0, 1)
        total = total + (parts @ parts.transpose(1, 2)).sum(dim=0, dtype=wide)
    return total


def strips(n: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield tiles that cover what lies above the diagonal: of every strip of rows those from its own columns on."""
    assert columns >= rows  # so that the first tile of a strip holds its part of the diagonal
    for top in range(0, n, rows):
        for left in range(top, n, columns):
            yield slice(top, min(top + rows, n)), slice(left, min(left + columns, n))


def _share(rows: slice, columns: slice, n: int) -> float:
    """Return what part of the entries above the diagonal and on it a tile holds."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    below = height * (height - 1) / 2 if columns.start == rows.start else 0
    return (height * width - below) / (n * (n + 1) / 2)


def _form(torch: Any, x: Any, y: Any, tile: Any) -> None:
    if x.dtype == tile.dtype:
        torch.matmul(x, y.T, out=tile)
    else:
        tile.copy_(x @ y.T)


@contextmanager
def _side_by_side(device: Any) -> Iterator[Callable[[], Any]]:
    """Give contexts in which a GPU works on several products at a time; what comes after waits for all of them."""
    if device.type != "cuda":
        yield ExitStack
        return
    cuda = sys.modules["torch"].cuda
    own, others = cuda.current_stream(device), [cuda.Stream(device) for _ in range(STREAMS)]
    for other in others:
        other.wait_stream(own)
    turns = itertools.cycle(others)
    yield lambda: cuda.stream(next(turns))
    for other in others:
        own.wait_stream(other)
