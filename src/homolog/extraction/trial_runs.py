"""Runs of a model for nothing but what its layers put out, which leave it as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from homolog.extraction import batches
from homolog.extraction.batches import Batch
from homolog.extraction.options import Options
from homolog.extraction.outputs import is_transformed, output_of
from homolog.extraction.recorder import Recorder
from homolog.extraction.samples import as_numbers
from homolog.extraction.sources import Maker, Source
from homolog.extraction.tensors import loaded_torch


def run_trial(
    source: Source,
    batch: Batch,
    options: Options,
    recorders: Sequence[Recorder],
    listeners: Sequence[Callable[..., None]],
    seed: int = 0,
) -> bool:
    """Run a batch for nothing but its shapes and values; say whether the model took it."""
    with ExitStack() as stack:
        for recorder, listen in zip(recorders, listeners, strict=True):
            stack.enter_context(recorder.calls.listening(listen))
        stack.enter_context(source.unchanged(seed))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        try:
            source.run(batches.copied(batch).content, options)
        except Exception:  # a model may refuse batches of other sizes: then it cannot be tried
            return False
    return True


def outputs_of_layers(
    source: Source, batch: Batch, options: Options, recorders: Sequence[Recorder]
) -> list[dict[str, np.ndarray]] | None:
    """Return what the layers put out; None where the model does not take the batch."""
    found: list[dict[str, np.ndarray]] = [{} for _ in recorders]

    def listener(into: dict[str, np.ndarray]) -> Callable[[str, Any, Maker], None]:
        def listen(name: str, output: Any, maker: Maker) -> None:
            transformed = loaded_torch() is not None and is_transformed(output)
            tensor = None if transformed else output_of(output).tensor
            if tensor is not None:
                into[name] = as_numbers(tensor)

        return listen

    return found if run_trial(source, batch, options, recorders, [listener(into) for into in found]) else None
