"""Who the rows of a batch are: digests of inputs, ids of examples, positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.extraction.batch_output import BatchOutput
from homolog.extraction.batches import Batch
from homolog.extraction.options import Options


class ExampleIds:
    """The ids of the examples: given as a list, carried by the batches, or none."""

    def __init__(self, options: Options, total: int | None) -> None:
        given = options.example_ids
        self.carried = isinstance(given, str) or callable(given)
        self.given = None if given is None or self.carried else np.asarray(given)
        self._whole = options.max_examples is None
        self._known_ids: set[Any] = set()
        self._until = 0
        if self.given is not None:
            _, counts = np.unique(self.given, return_counts=True)
            _refuse_twice(int((counts > 1).sum()))
            if total is not None:
                self.check(total)

    def of(self, batch: Batch, before: int, count: int) -> np.ndarray | None:
        """Return the ids of the examples of a batch."""
        if self.given is not None:
            self.check(before + count, at_least=True)
            return self.given[before : before + count]
        if not self.carried:
            return None
        assert batch.ids is not None  # the batch was read for them
        ids = batch.ids[:count]
        if before >= self._until:
            known, self._until = len(self._known_ids), before + count
            self._known_ids.update(ids.tolist())
            _refuse_twice(known + count - len(self._known_ids))
        return ids

    def check(self, examples: int, *, at_least: bool = False) -> None:
        """Raise unless there are as many ids given as examples; with max_examples, or `at_least`, enough of them."""
        if self.given is None:
            return
        enough = at_least or not self._whole
        if len(self.given) < examples or (not enough and len(self.given) != examples):
            raise ValueError(f"example_ids must give one id per example ({examples}), got {len(self.given)}.")


def _refuse_twice(count: int) -> None:
    if count:
        raise ValueError(f"example_ids must differ, got {count} of them more than once.")


def identities_of(output: BatchOutput, batch: Batch, before: int, ids: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return who the rows of a batch are."""
    found = {} if batch.digests is None else {"digests": batch.digests[output.example]}
    if ids is not None:
        found["example_ids"] = ids[output.example]
    if output.position is not None:
        found |= {"positions": output.position.astype(np.int64), "example": (output.example + before).astype(np.int64)}
    return found
