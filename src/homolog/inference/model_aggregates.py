"""Many values, one for each pair of layers of two models, as one number: the ways to do so, for any number of such blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy

By = Literal["best_match", "same_name", "max", "assignment"]
WAYS: tuple[By, ...] = get_args(By)
FORMULAS = {
    "best_match": "mean over the layers of one model of their best value in the other, averaged over both ways round",
    "same_name": "mean over the layers that have the same name in both models",
    "max": "best value of all pairs of layers",
    "assignment": "mean over the pairs of the best one-to-one assignment of layers; of the longer model some stay alone",
}


class Block(NamedTuple):
    """Where the pairs of layers of two models stand in a matrix of values of layers."""

    models: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray
    namesakes: np.ndarray
    """(rows, columns) bool, which pairs have the same name."""
    complete: bool
    """Whether the pairs were all asked for."""
    mirrored: bool = False
    """Whether only the half above the diagonal is there, of a model with itself by a symmetric measure."""

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return (..., rows, columns) values of this block."""
        found = values[..., self.rows[:, None], self.columns[None, :]]
        if not self.mirrored:
            return found
        upper = np.triu(np.ones(found.shape[-2:], dtype=bool))
        return np.where(upper, found, np.swapaxes(found, -1, -2))

    def serves(self, by: By) -> bool:
        """Say whether the pairs that were asked for are those that are needed."""
        return self.complete or by == "same_name"


def of_blocks(values: np.ndarray, by: By, kind: str, blocks: Sequence[Block]) -> np.ndarray:
    """Return one number for each block of each of (..., layers, layers) values, the first of which say what counts."""
    found = np.full((len(values), len(blocks)), np.nan)
    for place, block in enumerate(blocks):
        if block.serves(by):
            found[:, place] = aggregated(block.of(values), by, kind, block.namesakes)
    return found


def check_way(by: str) -> None:
    """Raise for a way that there is not."""
    if by not in WAYS:
        raise ValueError(f"by must be one of {', '.join(map(repr, WAYS))}, got {by!r}.")


def aggregated(values: np.ndarray, by: By, kind: str, namesakes: np.ndarray) -> np.ndarray:
    """Return one number for each block of values.

    A pair of layers that has no value in the first block, such as that of a layer that never varies, counts in none. A block
    that lacks any of the others has no number (NaN).

    Parameters
    ----------
    values
        (blocks, layers, layers).
    kind
        "similarity" or "distance": the best value is the largest or the smallest.
    namesakes
        (layers, layers) bool, which pairs have the same name.
    """
    counted = ~np.isnan(values[0]) & (namesakes if by == "same_name" else True)
    counted_rows, counted_columns = counted.any(axis=1), counted.any(axis=0)
    if not counted.any():
        return np.full(len(values), np.nan)
    sign = 1.0 if kind == "similarity" else -1.0
    kept = np.ix_(counted_rows, counted_columns)
    counted = counted[kept]
    signed = sign * values[:, counted_rows][:, :, counted_columns]
    lost = np.isnan(signed[:, counted]).any(axis=1)
    found = _REDUCTIONS[by](np.where(counted, signed, -np.inf), counted)
    return np.where(lost, np.nan, sign * found)


def _best_match(signed: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return (signed.max(axis=2).mean(axis=1) + signed.max(axis=1).mean(axis=1)) / 2


def _same_name(signed: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return signed[:, counted].mean(axis=1)


def _largest(signed: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return signed.max(axis=(1, 2))


def _assignment(signed: np.ndarray, counted: np.ndarray) -> np.ndarray:
    finite = np.isfinite(signed)
    # Whatever is infinite weighs more than all that is not, and a pair that does not count more than that.
    much = (1 + np.abs(signed[finite]).max(initial=0.0)) * (1 + min(counted.shape))
    solvable = np.clip(np.nan_to_num(signed, nan=-much), -much, much)
    solvable = np.where(counted, solvable, -much * (1 + min(counted.shape)))
    found = np.empty(len(signed))
    for k, block in enumerate(solvable):
        rows, columns = scipy.optimize.linear_sum_assignment(block, maximize=True)
        real = counted[rows, columns]
        found[k] = signed[k, rows[real], columns[real]].mean()
    return found


_REDUCTIONS = {"best_match": _best_match, "same_name": _same_name, "max": _largest, "assignment": _assignment}
