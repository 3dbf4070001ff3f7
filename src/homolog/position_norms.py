"""How long the vectors of a layer are at the first tokens, and whether one of them outweighs the rest: an attention sink."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

FIRST = 4
"""Tokens at the beginning that are looked at one by one."""
SINK_SHARE = 0.5
"""Share of the squared norm from which on the first tokens outweigh the others: in a mean over tokens whose directions are
unrelated, they add as much as all the others together."""
SINK_RATIO = 3.0
"""Times the norm of the others that a token must have, so that the half that one of two equal tokens holds is no sink."""

MILLION = 1_000_000


class Sink(NamedTuple):
    """Tokens that outweigh the others of a layer."""

    positions: tuple[int, ...]
    share: float
    """What they hold of the squared norm of all tokens."""
    ratio: float
    """The largest of their norms, over the norm of the others."""


@dataclass(frozen=True)
class PositionNorms:
    """Norms of the vectors at the first tokens, means over batches; a token is counted from the first that is no padding.

    Sums are whole numbers, so that they are the same whatever the order in which batches are added.
    """

    examples: int
    sums: tuple[int, ...]
    """Times the examples, in millionths: length, shares, ratios, counted."""

    @classmethod
    def of(
        cls, examples: int, length: float, shares: Sequence[float], ratios: Sequence[float], counted: Sequence[float]
    ) -> PositionNorms:
        """Return what holds of so many examples."""
        values = (length, *shares, *ratios, *counted)
        return cls(examples, tuple(round(value * examples * MILLION) for value in values))

    def __add__(self, other: PositionNorms) -> PositionNorms:
        sums = tuple(one + two for one, two in zip(self.sums, other.sums, strict=True))
        return PositionNorms(self.examples + other.examples, sums)

    def _part(self, start: int, stop: int) -> tuple[float, ...]:
        return tuple(one / self.examples / MILLION for one in self.sums[start:stop])

    @property
    def length(self) -> float:
        """Tokens of an example."""
        return self._part(0, 1)[0]

    @property
    def shares(self) -> tuple[float, ...]:
        """What the tokens 0, 1, 2, 3 hold of the squared norm of all."""
        return self._part(1, 1 + FIRST)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Their median norm over that of the others; 0 where there are none."""
        return self._part(1 + FIRST, 1 + 2 * FIRST)

    @property
    def counted(self) -> tuple[float, ...]:
        """In what part of the examples the rows of the layer hold them: 0 where a reduction leaves them out."""
        return self._part(1 + 2 * FIRST, 1 + 3 * FIRST)

    @property
    def text(self) -> str:
        """The same as text."""
        return json.dumps([self.examples, *self.sums])

    @classmethod
    def read(cls, text: str) -> PositionNorms | None:
        """Return what a text says; None where it says nothing of the kind."""
        try:
            examples, *sums = json.loads(text)
            known = examples > 0 and len(sums) == 1 + 3 * FIRST and all(isinstance(one, int) for one in sums)
        except (ValueError, TypeError):
            return None
        return cls(int(examples), tuple(sums)) if known else None

    @property
    def sink(self) -> Sink | None:
        """The tokens that outweigh the others, of those that the rows of the layer hold."""
        found = [r for r in range(FIRST) if self.ratios[r] > SINK_RATIO and self.counted[r] > 0]
        share = sum(self.shares[r] for r in found)
        if share <= SINK_SHARE:
            return None
        return Sink(tuple(found), round(share, 6), round(max(self.ratios[r] for r in found), 2))


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
    return PositionNorms.of(len(norms), float((rank > 0).sum() / len(norms)), shares, ratios, held)


def norms_of_ranked(norms: np.ndarray, rank: np.ndarray, examples: int) -> PositionNorms:
    """Return the same of the norms of rows that are tokens, and which tokens of their examples they are."""
    found = norms_of_tokens(norms[None], rank[None], (rank > 0)[None])
    return PositionNorms.of(examples, len(norms) / examples, found.shares, found.ratios, found.counted)


def sums_by_layer(first: Mapping[str, PositionNorms], second: Mapping[str, PositionNorms]) -> dict[str, PositionNorms]:
    """Return what is known of two parts of the data together."""
    both = {name: first[name] + second[name] for name in first if name in second}
    return {**first, **second, **both}


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
