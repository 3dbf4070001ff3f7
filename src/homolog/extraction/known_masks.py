"""What is known of the masks of all batches: which inputs belong together, and which layers depend on them."""

from __future__ import annotations

from collections.abc import Mapping

from homolog.extraction.batch_contents import entries_of
from homolog.extraction.batches import Batch
from homolog.extraction.layer_selection import INPUT
from homolog.extraction.masks import Masks
from homolog.extraction.options import Options
from homolog.extraction.sequences import InputSequence, input_sequences
from homolog.extraction.skipped_tokens import SkippedTokens


class KnownMasks:
    """Makes the masks of a batch of what the first one has shown."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._sequences: tuple[InputSequence, ...] | None = None
        self._depends_on: Mapping[str, frozenset[int]] = {}
        self._foreign_masks: Mapping[str, frozenset[str]] = {}

    def learn(
        self,
        sequences: tuple[InputSequence, ...],
        depends_on: Mapping[str, frozenset[int]],
        foreign_masks: Mapping[str, frozenset[str]],
    ) -> None:
        """Take note of which inputs belong together, which layers depend on them, and which have not their positions."""
        self._sequences, self._depends_on, self._foreign_masks = sequences, depends_on, foreign_masks

    def forget_others(self, batch: Batch) -> None:
        """Forget what is known where a batch has other inputs than the first one."""
        if self._sequences is not None and input_sequences(batch.content, batch.size) != self._sequences:
            self._sequences, self._depends_on, self._foreign_masks = None, {}, {}

    def of(self, batch: Batch) -> Masks:
        """Return the masks of a batch."""
        sequences = input_sequences(batch.content, batch.size) if self._sequences is None else self._sequences
        depends_on = dict(self._depends_on)
        entries = entries_of(batch.content)
        if entries:
            main = next((key for key, value in entries.items() if value is batch.main), None)
            depends_on[INPUT] = frozenset(i for i, sequence in enumerate(sequences) if main in sequence.inputs)
        asked = self.options
        skipped = SkippedTokens(
            batch.content, batch.size, asked.skip_first, asked.skip, asked.ids, batch.ids, batch.start
        )
        known = sequences, depends_on, self._foreign_masks, skipped
        return Masks(batch.content, batch.size, asked.mask, *known, batch.given)
