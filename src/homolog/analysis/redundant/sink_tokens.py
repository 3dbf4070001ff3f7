"""Tokens that outweigh the others of some layer of a stream, and whether all numbers are given without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from homolog.activations import Activations
from homolog.analysis.redundant.row_sums import Look
from homolog.position_norms import SINK_SHARE, Sink, sinks_of
from homolog.token_rows import CLEARLY, TokenRows, as_extracted

ROWS_SHARE, FEW_ROWS = 0.1, 0.05
"""Outlying rows are left out where they hold such a share of the squared norm of a layer and are at most such a share of rows."""
FEWEST_ROWS = 4
"""Rows that must be left without those of an attention sink: debiased CKA needs as many."""


@dataclass(frozen=True)
class Positions:
    """Where rows stand in their examples, where that is known."""

    names: np.ndarray
    codes: np.ndarray
    rows: TokenRows


def positions_of(layers: Activations) -> Positions | None:
    """Return the positions of rows."""
    rows = TokenRows.of(layers)
    if rows is None or layers.positions is None:
        return None
    names, codes = np.unique(layers.positions, return_inverse=True)
    return Positions(names, codes.reshape(-1), rows)


class SinkTokens:
    """Layers of which a few tokens outweigh the others: of rows that are tokens as they are, else as extraction noted."""

    def __init__(self, look: Look, names: list[str], layers: Activations, positions: Positions | None) -> None:
        self._look, self._names, self._positions = look, names, positions
        self._noted = sinks_of({name: layers.modules[name].norms for name in names if name in layers.modules})
        self.left_out = False
        """Whether they are among the rows without which all numbers are given, too."""
        self.first = np.zeros(layers.n, dtype=bool)
        """Flags of the rows of first tokens that outweigh the others."""
        self.sinks = {} if positions is not None else self._noted
        if positions is not None:
            self._look_at_first(positions.rows)

    def _look_at_first(self, rows: TokenRows) -> None:
        found = {}
        for name, parts in zip(self._names, self._look.norms, strict=True):
            told = rows.first_tokens(np.concatenate(parts), self._look.measured)
            if told is not None:
                found[name], numbers = told
                self.first |= np.isin(numbers, found[name].positions)
        self.sinks = found
        if np.count_nonzero(~self.first) < FEWEST_ROWS:
            self.first[:] = False
        self.left_out = bool(self.first.any())

    def add_long(self, flags: np.ndarray, share: np.ndarray) -> None:
        """Add the layers of which rows that are long by themselves hold most; `share` is what flagged rows hold."""
        if self._positions is None:
            return
        places = self._positions.rows.places(flags, noted=bool(self._noted))
        if places is not None:
            medians = self._look.medians()
            for at in np.flatnonzero(np.nan_to_num(share) > SINK_SHARE):
                first = self.sinks.get(self._names[at])
                if first is None or share[at] > first.share + CLEARLY:
                    ratio = float(self._look.longest[at][0][0]) / medians[at] if medians[at] > 0 else np.inf
                    self.sinks[self._names[at]] = Sink(places, round(float(share[at]), 6), round(ratio, 2))
                    self.left_out = True
        self.sinks = as_extracted({name: self.sinks[name] for name in self._names if name in self.sinks}, self._noted)

    def are_left_out(self, flags: np.ndarray, share: np.ndarray) -> bool:
        """Say whether all numbers are given without outlying rows, too: where these are few and weigh much, or a sink."""
        if self.left_out:
            return bool(np.count_nonzero(~flags) >= FEWEST_ROWS)
        return bool(flags.any() and flags.mean() <= FEW_ROWS and np.nan_to_num(share).max() >= ROWS_SHARE)
