"""Rows that are tokens, and say where they stand in their texts: which of them outweigh all others of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from homolog.position_norms import FIRST, SINK_SHARE, Sink, norms_of_ranked

if TYPE_CHECKING:
    from homolog.activations import Activations

LONG = 10.0
"""Times the median norm of the rows of its layer from which on a row is long by itself, wherever it stands."""
SOME_TEXTS = 0.1
"""Share of the texts that must have long rows, so that these are tokens of a kind, and not a few odd texts."""
FEW_ROWS = 8
"""Long rows at no position of their own are at most one in so many: of many, the others may be the odd ones."""
NEARLY_ALL = 0.9
"""Share of the long rows that positions must have which are named for them."""
CLEARLY = 0.1
"""Share of the squared norm by which long rows must hold more than the first tokens to be told instead of them."""


@dataclass(frozen=True)
class TokenRows:
    """Where rows stand in their texts."""

    text: np.ndarray | None
    """Number of the text of every row; None where it is not known."""
    texts: int
    countings: tuple[np.ndarray, ...]
    """Ways to count the tokens of a text, each from 0: by position, and from the first row of each text, as behind padding."""

    @classmethod
    def of(cls, known: Activations) -> TokenRows | None:
        """Return what is known of rows; None where their positions are none, or no whole numbers."""
        if known.positions is None or known.positions.dtype.kind not in "iu" or not known.n:
            return None
        position = known.positions.astype(np.int64)
        # Who counts from 1 has no token 0; extraction counts from 0, and may have left tokens out.
        counted = position - int(position.min() == 1 and "reduce" not in known.provenance)
        if known.example_ids is None:
            return cls(None, int(np.unique(position, return_counts=True)[1].max()), (counted,))
        _, text = np.unique(known.example_ids, return_inverse=True)
        text = text.reshape(-1)
        lowest = np.full(int(text.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(lowest, text, position)
        from_first = position - lowest[text]
        same = np.array_equal(from_first, counted)
        return cls(text, len(lowest), (counted,) if same else (counted, from_first))

    def first_tokens(self, norms: np.ndarray, chosen: np.ndarray | None = None) -> tuple[Sink, np.ndarray] | None:
        """Return the first tokens that outweigh the others, and the counting that tells them, by the norms of (chosen) rows."""
        found: list[tuple[Sink, np.ndarray]] = []
        for numbers in self.countings:
            counted = numbers if chosen is None else numbers[chosen]
            sink = norms_of_ranked(norms, 1 + np.minimum(counted, 2 * FIRST), 1).sink
            if sink is not None and (not found or sink.share > found[0][0].share + CLEARLY):
                found.insert(0, (sink, numbers))
        return found[0] if found else None

    def places(self, long: np.ndarray, noted: bool = False) -> tuple[int, ...] | None:
        """Return at which positions long rows stand, () for many; None where they are not single tokens of several texts.

        `noted` says that extraction saw first tokens outweigh the others, of which there may be many.
        """
        count = int(np.count_nonzero(long))
        having, rows = count, len(long)
        if self.text is not None:
            texts = np.unique(self.text[long])
            having, rows = len(texts), int(np.isin(self.text, texts).sum())
        if having < max(2, SOME_TEXTS * self.texts) or 2 * count > rows:
            return None
        named = min((_most(numbers, long) for numbers in self.countings), key=len)
        several = len(np.unique(self.countings[0]))
        if len(named) <= FIRST and 2 * len(named) <= several:
            return named
        return () if noted or count * FEW_ROWS <= len(long) else None


def sink_of_rows(norms: np.ndarray, rows: TokenRows, noted: bool = False) -> Sink | None:
    """Return the tokens of a layer that outweigh its others: the first ones, else rows that are long by themselves."""
    first = rows.first_tokens(norms)
    middle = float(np.median(norms))
    long = norms > LONG * middle if middle > 0 else np.zeros(len(norms), dtype=bool)
    share = float(np.square(norms[long]).sum() / np.square(norms).sum()) if long.any() else 0.0
    if share <= SINK_SHARE or (first is not None and share <= first[0].share + CLEARLY):
        return None if first is None else first[0]
    places = rows.places(long, noted)
    if places is None:
        return None if first is None else first[0]
    return Sink(places, round(share, 6), round(float(norms.max()) / middle, 2))


def as_extracted(found: Mapping[str, Sink], noted: Mapping[str, Sink]) -> dict[str, Sink]:
    """Return the sinks of rows, called as extraction noted them where it knows more: where documents begin within a row."""
    told = {}
    for layer, sink in found.items():
        known = noted.get(layer)
        fuller = known is not None and (not sink.positions or known.share > sink.share + CLEARLY)
        told[layer] = known if known is not None and fuller else sink
    return told


def _most(numbers: np.ndarray, long: np.ndarray) -> tuple[int, ...]:
    """Return the fewest numbers that nearly all long rows have."""
    values, counts = np.unique(numbers[long], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    last = int(np.searchsorted(np.cumsum(counts[order]), NEARLY_ALL * counts.sum()))
    return tuple(sorted(int(value) for value in values[order[: last + 1]]))
