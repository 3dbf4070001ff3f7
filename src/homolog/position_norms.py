"""How long the vectors of a layer are at the first tokens, and whether one of them outweighs the rest: an attention sink."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np

FIRST = 4
"""Tokens at the beginning that are looked at one by one."""
SINK_SHARE = 0.5
"""Share of the squared norm from which on the first tokens outweigh the others: in a mean over tokens whose directions are
unrelated, they add as much as all the others together."""
SINK_RATIO = 3.0
"""Times the norm of the others that a token must have, so that the half that one of two equal tokens holds is no sink."""


class Sink(NamedTuple):
    """Tokens that outweigh the others of a layer."""

    positions: tuple[int, ...]
    share: float
    """What they hold of the squared norm of all tokens."""
    ratio: float
    """The largest of their norms, over the norm of the others."""


@dataclass(frozen=True)
class PositionNorms:
    """Norms of the vectors at the first tokens, means over batches; a token is counted from the first that is no padding."""

    examples: int
    length: float
    """Tokens of an example."""
    shares: tuple[float, ...]
    """What the tokens 0, 1, 2, 3 hold of the squared norm of all."""
    ratios: tuple[float, ...]
    """Their median norm over that of the others; 0 where there are none."""
    counted: tuple[float, ...]
    """In what part of the examples the rows of the layer hold them: 0 where a reduction leaves them out."""

    def __add__(self, other: PositionNorms) -> PositionNorms:
        examples = self.examples + other.examples
        parts = [np.array([one.length, *one.shares, *one.ratios, *one.counted]) for one in (self, other)]
        mean = (parts[0] * self.examples + parts[1] * other.examples) / examples
        return _of_values(examples, mean.tolist())

    @property
    def text(self) -> str:
        """The same as text, to four digits."""
        examples, *values = astuple(self)
        flat = [values[0], *(value for part in values[1:] for value in part)]
        return json.dumps([examples, *(float(f"{value:.4g}") for value in flat)])

    @classmethod
    def read(cls, text: str) -> PositionNorms | None:
        """Return what a text says; None where it says nothing of the kind."""
        try:
            examples, *values = map(float, json.loads(text))
        except (ValueError, TypeError):
            return None
        return _of_values(int(examples), values) if len(values) == 1 + 3 * FIRST else None

    @property
    def sink(self) -> Sink | None:
        """The tokens that outweigh the others, of those that the rows of the layer hold."""
        found = [r for r in range(FIRST) if self.ratios[r] > SINK_RATIO and self.counted[r] > 0]
        share = sum(self.shares[r] for r in found)
        return Sink(tuple(found), share, max(self.ratios[r] for r in found)) if share > SINK_SHARE else None


def with_norms(before: str, now: str) -> str:
    """Return the norms of two parts of the data together, as text."""
    parts = [one for one in map(PositionNorms.read, (before, now)) if one is not None]
    return sum(parts[1:], parts[0]).text if parts else ""


def _of_values(examples: int, values: list[float]) -> PositionNorms:
    parts = (tuple(values[1 + k * FIRST : 1 + (k + 1) * FIRST]) for k in range(3))
    return PositionNorms(examples, values[0], *parts)


def norms_of_tokens(norms: np.ndarray, rank: np.ndarray, counted: np.ndarray) -> PositionNorms:
    """Return what the norms (examples, tokens) of a batch say.

    Parameters
    ----------
    rank
        1, 2, 3 … of the tokens of an example, in order; 0 at padding.
    counted
        which tokens the rows of the layer hold.
    """
    squares = np.where(rank > 0, norms.astype(float), 0.0) ** 2
    total, others = squares.sum(), norms[rank > FIRST]
    shares, ratios, held = [], [], []
    for number in range(1, FIRST + 1):
        at = rank == number
        there = bool(at.any())
        shares.append(float(squares[at].sum() / total) if total > 0 else 0.0)
        rest = others if others.size else norms[(rank > 0) & ~at]
        middle = float(np.median(rest)) if rest.size else 0.0
        ratios.append(float(np.median(norms[at])) / middle if there and middle > 0 else 0.0)
        held.append(float(counted[at].mean()) if there else 0.0)
    return PositionNorms(len(norms), float((rank > 0).sum() / len(norms)), tuple(shares), tuple(ratios), tuple(held))


def norms_of_rows(array: Any, example: np.ndarray, position: np.ndarray) -> PositionNorms:
    """Return the same of rows that are tokens, which say what example they are of and at what position."""
    norms = np.linalg.norm(np.asarray(array, dtype=float), axis=1)
    _, place, length = np.unique(example, return_inverse=True, return_counts=True)
    order = np.lexsort((position, place))
    column = np.arange(len(order)) - np.repeat(np.cumsum(length) - length, length)
    rank = np.zeros((len(length), int(length.max())), dtype=int)
    padded = np.zeros(rank.shape)
    # A token keeps its number where those before it are left out.
    first = _lowest(position, place[order], order)
    rank[place[order], column] = 1 + position[order] - first
    padded[place[order], column] = norms[order]
    return norms_of_tokens(padded, rank, rank > 0)


def _lowest(position: np.ndarray, place: np.ndarray, order: np.ndarray) -> Any:
    """Return from where positions are counted: 0; with padding on the left, from the first of each example."""
    lowest = np.full(int(place.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, place, position[order])
    left_padded = len(np.unique(lowest)) > 1
    return lowest[place] if left_padded else 0


def sinks_of(norms: Mapping[str, str]) -> dict[str, Sink]:
    """Return layer → sink of those that have one, from layer → norms as text."""
    known = {layer: PositionNorms.read(text) for layer, text in norms.items() if text}
    return {layer: said.sink for layer, said in known.items() if said is not None and said.sink is not None}


def runs_of(layers: Sequence[str], chosen: Mapping[str, Any]) -> list[list[str]]:
    """Return the chosen layers in runs of neighbours, in order."""
    runs: list[list[str]] = []
    last = None
    for index, layer in enumerate(layers):
        if layer in chosen:
            if last is not None and last == index - 1:
                runs[-1].append(layer)
            else:
                runs.append([layer])
            last = index
    return runs
