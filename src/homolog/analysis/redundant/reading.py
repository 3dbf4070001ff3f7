"""Reading a result of `redundancy`: in which forms it has its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def forms_of(result: xarray.Dataset) -> dict[str, str]:
    """Return the endings of variables that a result has, and what they mean."""
    return {suffix: meaning for suffix, meaning in FORMS.items() if f"influence{suffix}" in result}
