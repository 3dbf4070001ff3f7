"""What is warned of once for all checkpoints, since they warn much alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from homolog import diagnostics
from homolog.diagnostics import Caution, ExtractionWarning, HomologWarning, give, listed

NOT_FINITE = "NaN or infinity in checkpoint"
"""How it is said of a checkpoint that its training diverged."""


def tell(told: Iterable[warnings.WarningMessage], rows: Sequence[Mapping[str, Any]]) -> list[Caution]:
    """Give the warnings of all extractions and comparisons, of each kind the first with the number of the others."""
    kinds: dict[type[HomologWarning], list[str]] = {}
    for each in told:
        if issubclass(each.category, HomologWarning):
            kinds.setdefault(each.category, []).append(str(each.message))
        else:  # of the model, or of a library
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    for row in rows:
        for name, message in row["warnings"]:
            kinds.setdefault(getattr(diagnostics, name, HomologWarning), []).append(message)
    cautions = [Caution(kind, _first(list(dict.fromkeys(messages)))) for kind, messages in kinds.items()]
    cautions += _not_finite(rows)
    give(cautions)
    return cautions


def _not_finite(rows: Sequence[Mapping[str, Any]]) -> list[Caution]:
    """Name every checkpoint that holds NaN or infinity, as the one that is at fault."""
    broken = {row["checkpoint"]: row["not finite"] for row in rows if row["not finite"]}
    if not broken:
        return []
    layers = list(dict.fromkeys(name for names in broken.values() for name in names))
    one, single = len(broken) == 1, len(layers) == 1
    message = (
        f"layer{'' if single else 's'} {listed(layers)} hold{'s' if single else ''} {NOT_FINITE}"
        f"{'' if one else 's'} {listed(broken)}, as where training diverged, so that values with "
        f"{'it' if one else 'them'} are NaN: leave {'this checkpoint' if one else 'these checkpoints'} out."
    )
    return [Caution(ExtractionWarning, message)]


def _first(messages: Sequence[str]) -> str:
    more = len(messages) - 1
    if not more:
        return messages[0]
    return f"{messages[0].removesuffix('.')} (and {more} more warning{'s' * (more > 1)} of this kind)."
