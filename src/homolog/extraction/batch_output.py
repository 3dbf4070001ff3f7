"""What the layers put out for one batch, and whose the rows are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from homolog.activations import Module
from homolog.extraction.reductions import LayerRows
from homolog.extraction.tensors import numbers_of
from homolog.position_norms import PositionNorms
from homolog.sketching import Sketch


class PlacedRows(NamedTuple):
    """Rows of a layer that have gone where they go."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


class BatchOutput(NamedTuple):
    """What the layers put out for one batch."""

    features: dict[str, Any]
    """Layer → (rows, features), in order of execution; or rows that are placed."""
    example: np.ndarray
    """(rows,) the example of the batch each row came from."""
    position: np.ndarray | None
    examples: int
    modules: dict[str, Module]
    """Layer → what made it."""
    norms: dict[str, PositionNorms]
    """Layer of tokens → how long the vectors of this batch are."""
    sketches: dict[str, Sketch]
    """Layer → what makes the sketches whose columns stand for its features, where these are kept."""


def identity_of(layers: Mapping[str, LayerRows], size: int, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return example and position of every row of the first `count` of `size` examples, the same for all layers."""
    first: tuple[str, np.ndarray, np.ndarray | None] | None = None
    for name, rows in layers.items():
        example = np.arange(size) if rows.example is None else numbers_of(rows.example)
        kept = example < count
        position = None if rows.position is None else numbers_of(rows.position)[kept]
        if first is None:
            first = name, example[kept], position
        elif len(first[1]) != int(kept.sum()):
            raise ValueError(
                f"layer {name!r} must give as many rows as layer {first[0]!r} ({len(first[1])}), got "
                f'{int(kept.sum())}: choose layers with the same number of positions, or use reduce="mean".'
            )
    assert first is not None  # who asks has a layer
    return first[1], first[2]
