"""What is found out of the layers while batches run: which are left out and why, and what cannot be known of the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from homolog.extraction.axis_sizes import shapes_of
from homolog.extraction.batches import Batch
from homolog.extraction.layer_selection import Selection, module_of
from homolog.extraction.objections import Objection, hint_for, not_first, padded_by_model
from homolog.extraction.options import Options
from homolog.extraction.reductions import LayerRows
from homolog.extraction.skipped_tokens import SkippedTokens, no_tokens
from homolog.extraction.suspected_padding import SuspectedPadding


@dataclass
class LayerFindings:
    """What one model's layers have shown so far."""

    selection: Selection
    options: Options
    skipped: dict[str, str]
    """Layers that nobody named and that were left out, and why."""
    proved: set[str] = field(default_factory=set)
    """Layers whose rows have been tried, and are the examples."""
    contradicted: dict[str, Objection] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Layer → the shape of its output, in the batch that is tried."""
    hint: str = ""
    """What else may help where the data may have their examples on another axis."""
    lengths: dict[str, dict[tuple[tuple[int, ...], ...], int]] = field(default_factory=dict)
    """Layer → shapes of the inputs → number of positions, where all count."""
    padded: set[str] = field(default_factory=set)
    """Layers that the model pads by itself."""
    mixing: list[str] = field(default_factory=list)
    """Quantised layers, whose values depend on the other examples."""
    random: list[str] = field(default_factory=list)
    """Layers that put out other values every time."""
    unmasked: dict[str, SuspectedPadding] = field(default_factory=dict)
    """Layers in which something that looks like padding counts."""
    tokenless: dict[str, str] = field(default_factory=dict)
    """Layers that have no tokens, and what was to leave some out of them."""
    stored: frozenset[str] | None = None
    """The layers of a store that is continued: what nobody named and was left out of it stays left out."""
    sizes: dict[str, set[int]] = field(default_factory=dict)
    """Layer → sizes of the axes beside its first one."""
    sizes_of_inputs: set[int] = field(default_factory=set)
    first: int = 0
    """Examples of the first batch."""
    _left_out: bool = False
    """Whether tokens were left out of any layer, as was asked."""

    def is_named(self, name: str) -> bool:
        """Say whether somebody asked for this very layer, not for many of which some may not fit."""
        return bool({name, module_of(name)} & self.selection.required)

    def leave_out_late(self, name: str, late: bool) -> None:
        """Leave out a layer that is `late`, since the batches before hold no rows of it, or of which a store holds none."""
        if late:
            self.skipped[name] = "ran in a later batch, not in the first"
        elif self.stored is not None and name not in self.stored:
            self.skipped[name] = "left out of the rows that are stored"

    def is_padded(self, name: str, length: int, shapes: tuple[tuple[int, ...], ...]) -> bool:
        """Say whether inputs of the same shape have given another number of positions: the model pads them itself."""
        if self.lengths.setdefault(name, {}).setdefault(shapes, length) == length:
            return False
        self.padded.add(name)
        return True

    def note_length(self, name: str, rows: LayerRows, batch: Batch) -> None:
        """Take note of how many positions part of a batch has."""
        if rows.length is not None and name in self.lengths:
            self.is_padded(name, rows.length, shapes_of(batch))

    def note_tokens(self, name: str, rows: LayerRows, skipped: SkippedTokens) -> None:
        """Take note of whether tokens were left out of a layer, where they were to be."""
        if skipped.asks(name):
            self._left_out |= rows.skips
            if not rows.skips:
                self.tokenless.setdefault(name, skipped.argument(name))

    def check_tokens(self, names: Iterable[str]) -> None:
        """Raise where tokens were to be left out, and no layer has any."""
        tokenless = {name: self.tokenless[name] for name in self.tokenless if name in names}
        if tokenless and not self._left_out:
            raise ValueError(no_tokens(tokenless))

    def drop_contradicted(self, main: Any) -> None:
        """Leave out, or refuse, the layers that do not follow the examples; `main` is the batch's own tensor."""
        for name in [name for name in self.padded if name not in self.skipped]:
            if self.is_named(name):
                raise ValueError(padded_by_model(name))
            self.contradicted[name] = Objection("padded inside the model, say where with mask=")
        for name, against in self.contradicted.items():
            self.hint = self.hint or hint_for(against, self.shapes.get(name, ()), main)
        named = [name for name in self.contradicted if self.is_named(name)]
        if named:
            raise ValueError(not_first(named[0], len(named) - 1, self.contradicted[named[0]], self.hint))
        self.skipped |= {name: against.reason for name, against in self.contradicted.items()}
        self.contradicted = {}  # said; a later batch has its own

    def unproved(self) -> list[str]:
        """Return the layers that could not be tried, and whose first axis could be another: it is as long as one beside it."""
        return [
            name
            for name in self.sizes
            if name not in self.proved | set(self.skipped)
            and self.options.axis_of(name) is None
            and self.first in self.sizes[name] | self.sizes_of_inputs
        ]
