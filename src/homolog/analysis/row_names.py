"""What a diagnosis calls single rows: examples, or tokens of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.names import shown


@dataclass(frozen=True)
class RowNames:
    """What is known of the rows of a model."""

    example_ids: Any = None
    positions: Any = None
    tokens: bool = False
    """Whether extraction saw the tokens of which rows are made."""

    @classmethod
    def of_model(cls, layers: Activations) -> RowNames:
        """Return what a model's layers know of their rows."""
        return cls(layers.example_ids, layers.positions, any(made.norms for made in layers.modules.values()))

    def of(self, row: int) -> str:
        """Return what to call a row: "example 5", "example 5 ('cat.png')", "row 7 (position 1 of example 'a')"."""
        named = self.example_ids is not None
        if self.positions is not None:
            whose = f" of example {_id(self.example_ids[row])}" if named else ""
            return f"row {row} (position {self.positions[row]}{whose})"
        if not named or str(self.example_ids[row]) == str(row):
            return f"example {row}"
        return f"example {row} (id {_id(self.example_ids[row])})"

    @property
    def remedy(self) -> str:
        """What to do about a row that decides a value."""
        if self.positions is None and not self.tokens:
            return "look at the example, and compare without it"
        what = "example" if self.positions is None else "row"
        return (
            f"look at the {what}, and compare without it; a token may outweigh all others (an attention sink, which need not "
            f"be the first token): leave it out with skip= of homolog.extract"
        )


def _id(value: Any) -> str:
    return repr(shown(value)) if isinstance(value, str | np.str_) else shown(value)
