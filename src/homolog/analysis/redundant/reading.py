"""Reading a result of `redundancy`: whether it is whole, and in which forms it has its numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from homolog.names import quoted
from homolog.result_kinds import REDUNDANCY, check_kind

if TYPE_CHECKING:
    import xarray

WITHOUT, WITHOUT_ROWS, WITHOUT_BOTH = "_without", "_without_rows", "_without_both"
FORMS = {
    "": "all",
    WITHOUT: "without the removed features",
    WITHOUT_ROWS: "without the outlying rows",
    WITHOUT_BOTH: "without these features and rows",
}
"""Ending of a variable → what it means."""
NEEDED = {
    "influence": {"block"},
    "angular_distance": {"block", "span"},
    "best_start": {"span"},
    "best_value": {"span"},
    "best_ties": {"span"},
    "norm": {"layer"},
    "effective_rank": {"layer"},
    "mean_share": {"layer"},
    "top_feature": {"layer", "place"},
    "top_share": {"layer", "place"},
}
ATTRIBUTES = ("caution", "criterion", "features", "massive_features", "measures", "n_examples")


def check_redundancy(result: xarray.Dataset) -> None:
    """Raise unless a result is what `redundancy` returned, whole."""
    check_kind(result, REDUNDANCY)
    missing = [name for name in ATTRIBUTES if name not in result.attrs]
    missing += [name for name, dims in NEEDED.items() if name not in result.data_vars or set(result[name].dims) != dims]
    missing += [name for name in ("block", "input", "layer", "span") if name not in result.coords]
    if not missing:
        try:
            (measure,) = json.loads(str(result.attrs["measures"]))
            features = json.loads(str(result.attrs["massive_features"]))
            missing += [] if measure in result.data_vars else [str(measure)]
            missing += (
                []
                if all({"feature", "share", "massive", "removed"} <= set(each) for each in features)
                else ["massive_features"]
            )
        except (ValueError, TypeError):
            missing = ["measures"]
    if missing:
        raise ValueError(
            f"a result must be as homolog.redundancy returned it, got one without a sound {quoted(missing[0])}: call it again, "
            f"or select nothing of its result."
        )


def forms_of(result: xarray.Dataset) -> dict[str, str]:
    """Return the endings of variables that a result has, and what they mean."""
    return {suffix: meaning for suffix, meaning in FORMS.items() if f"influence{suffix}" in result}
