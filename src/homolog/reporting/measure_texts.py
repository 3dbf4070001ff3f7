"""What pages say of measures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray


def grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Return what belongs to each kind, in the order in which kinds come first, without what is there already."""
    found: dict[str, list[Any]] = {}
    for kind, content in pairs:
        group = found.setdefault(kind, [])
        if content not in group:
            group.append(content)
    return found


def about_measure(result: xarray.Dataset, name: str) -> dict[str, Any]:
    """Return what is said of a measure: its formula, its range, and how it is read."""
    about = result[name].attrs
    low, high = (_written_end(*end) for end in zip(json.loads(about["range"]), ("−∞", "∞"), strict=True))
    symmetric = {1: "symmetric", 0: "not symmetric: rows are x, columns are y"}.get(int(about["symmetric"]), "")
    return {
        "name": name,
        "kind": about["kind"],
        "reading": "larger is more alike" if about["kind"] == "similarity" else "smaller is more alike",
        "range": f"{low} to {high}",
        "symmetric": symmetric,
        "unchanged_by": about.get("unchanged_by", ""),
        "formula": about["formula"],
        "reference": about["reference"],
    }


def _written_end(end: float | None, infinite: str) -> str:
    return infinite if end is None else f"{end:g}"
