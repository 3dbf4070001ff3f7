"""What says more than a small change: the accuracy of a probe on every layer, and the caller's own loss without blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from homolog.analysis.probing import probe
from homolog.analysis.redundant.residual_stream import Stream
from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.names import shown
from homolog.progress import progress_bar

Loss = Callable[[tuple[str, ...]], float]


def probed(stream: Stream, labels: Any, progress: bool | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the accuracy of a linear probe on every layer, as variables and attributes."""
    found = probe(stream.layers, labels, progress=progress)
    about = {"long_name": "held-out accuracy of a linear probe", "range": "[0, 1]"}
    variables = {
        "accuracy": ("layer", found.accuracy.values, about),
        "accuracy_se": ("layer", found.accuracy_se.values, {"companion_of": "accuracy"}),
    }
    return variables, {"chance": float(found.attrs["chance"])}


def losses(
    loss: Loss, blocks: Sequence[str], best: Sequence[int], progress: bool | None
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return the caller's loss without each block, and without the best run of blocks of each length, as variables, attributes
    and words of what is no finite number.

    `best` holds the first block of the best run of each length, −1 where there is none.
    """
    runs = [tuple(blocks[start : start + span]) for span, start in enumerate(best, 1) if start >= 0]
    asked: list[tuple[str, ...]] = list(dict.fromkeys([(), *((block,) for block in blocks), *runs]))
    found: dict[tuple[str, ...], float] = {}
    with progress_bar("losses", len(asked), progress) as shown:
        for removed in asked:
            found[removed] = _number(loss(removed), removed)
            shown.update()
    single = np.array([found[block,] for block in blocks])
    of_best = [
        found[tuple(blocks[start : start + span])] if start >= 0 else np.nan for span, start in enumerate(best, 1)
    ]
    variables = {
        "loss": ("block", single, {"long_name": "loss without this block alone"}),
        "best_loss": ("span", np.array(of_best), {"long_name": "loss without the best run of so many blocks"}),
    }
    return variables, {"baseline_loss": found[()]}, _not_finite(found)


def _not_finite(found: Mapping[tuple[str, ...], float]) -> list[str]:
    """Say for which removals the caller's function returned no finite number."""
    without = [_which(removed) for removed in found]
    kinds = {"NaN": math.isnan, "an infinite number": math.isinf}
    said = {
        kind: [which for which, value in zip(without, found.values(), strict=True) if is_so(value)]
        for kind, is_so in kinds.items()
    }
    return [f"your loss function returned {kind} {listed(which)}" for kind, which in said.items() if which]


def _which(removed: tuple[str, ...]) -> str:
    if len(removed) < 2:
        return f"without {shown(removed[0])}" if removed else "for the whole network"
    return f"without {shown(removed[0])} to {shown(removed[-1])}"


def _number(value: Any, removed: tuple[str, ...]) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        without = f"without {', '.join(removed)}" if removed else "of the whole network"
        raise TypeError(f"loss must return one number, got {described(value)} {without}: return a float.") from None
