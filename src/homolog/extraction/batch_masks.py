"""Masks as a batch holds them, or as a caller's rule makes them of it: arrays that are true where a position counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.extraction.batch_contents import entries_of
from homolog.extraction.mask_recognition import is_added, is_binary, kept_of
from homolog.extraction.sequences import TRUE_IS_PADDING
from homolog.extraction.tensors import is_plain, numbers_of


class AmbiguousMaskError(ValueError):
    """It cannot be known which positions of a layer are padding."""


@dataclass(frozen=True)
class BatchMasks:
    """What reads the masks of one batch, each array but once."""

    content: Any
    size: int
    called: Callable[[int], str]
    """Row of the batch → what sentences call it."""

    def by_rule(self, rule: Any) -> np.ndarray:
        """Return the mask that a rule of the caller's gives: a key of the batch, or a function of it."""
        if callable(rule):
            return self.checked(rule_name(rule), rule(self.content), turned=False)
        entries = entries_of(self.content)
        if rule not in entries:
            keys = f"the keys {', '.join(entries)}" if entries else described(self.content)
            raise KeyError(
                f"mask={rule!r} must be a key of every batch, got {keys}: name one of them, or pass a function of the batch."
            )
        return self.named(rule)

    def named(self, key: str) -> np.ndarray:
        """Return a mask of the batch, true where a position counts."""
        return self.checked(key, entries_of(self.content)[key], self.read)

    @cached_property
    def _numbers(self) -> dict[int, np.ndarray]:
        return {}

    def read(self, value: Any) -> np.ndarray:
        """Return the numbers of something in the batch, which many layers ask for and may be on another device."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = numbers_of(value)
        return self._numbers[id(value)]

    def checked(
        self, name: str, mask: Any, numbers: Callable[[Any], np.ndarray] = numbers_of, *, turned: bool = True
    ) -> np.ndarray:
        """Return a mask, true where a position counts; one is `turned` whose name says that it is true at padding."""
        mask = _from_lists(mask) if isinstance(mask, list) else mask
        if not is_plain(mask) or mask.ndim != 2 or len(mask) != self.size:
            got = f"shape {tuple(mask.shape)}" if is_plain(mask) else described(mask)
            raise AmbiguousMaskError(
                f"{name} must say of every position of the {self.size} examples whether it is padding, got {got}: pass "
                f'mask=function(batch) → (examples, positions), true where a position counts, or mask={{"**": None}} for none.'
            )
        mask = numbers(mask)
        if not is_added(mask) and not is_binary(mask):
            values = listed(dict.fromkeys(str(value) for value in mask.ravel().tolist()))
            raise AmbiguousMaskError(
                f"{name} must hold nothing but 0 and 1, or 0 and large negative numbers to add to attention scores, got "
                f"{values}: pass mask=function(batch) → (examples, positions), true where a position counts."
            )
        return kept_of(mask, true_is_padding=turned and name.endswith(TRUE_IS_PADDING))

    def fitting(self, layer: str, name: str, keep: np.ndarray, positions: int | None) -> np.ndarray | None:
        """Return a mask that fits a layer and keeps something of every example; None where all counts."""
        if bool(keep.all()):
            return None
        if positions is not None and keep.shape[1] != positions:
            raise AmbiguousMaskError(
                f"layer {layer!r} has {positions} positions, but {name} has shape {tuple(keep.shape)}: pass "
                f'mask={{"{layer}": function(batch) → (examples, positions)}} for it, mask={{"{layer}": None}} if it has no '
                f"padding, or leave it out of layers."
            )
        empty = ~keep.any(axis=1)
        if bool(empty.any()):
            raise ValueError(
                f"{name} must keep a position of every example, got none in {self.called(int(empty.argmax()))}: take that "
                f"example out of the data, or say what is padding, mask=function(batch) → (examples, positions)."
            )
        return keep


def _from_lists(mask: list[Any]) -> Any:
    """Return the array that lists stand for; the lists themselves where their rows are of unequal lengths."""
    try:
        return np.asarray(mask)
    except ValueError:
        return mask


def rule_name(rule: Any) -> str:
    """Return what sentences call a rule of the caller's."""
    return f"mask function {getattr(rule, '__name__', type(rule).__name__)}" if callable(rule) else str(rule)
