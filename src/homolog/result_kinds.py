"""What a result is of: its title says it, and whoever reads one of another kind says so in one sentence."""

from __future__ import annotations

from typing import Any

from homolog.arrays import described

COMPARISON = "homolog comparison"
TRAJECTORY = "homolog trajectory"
MODEL_SIMILARITY = "homolog model similarity"
REDUNDANCY = "homolog redundancy"
MADE_BY = {
    COMPARISON: "homolog.compare",
    TRAJECTORY: "homolog.compare_checkpoints",
    MODEL_SIMILARITY: "homolog.model_similarity",
    REDUNDANCY: "homolog.redundancy",
}
"""Title → the function that makes such results."""
PICTURE_OF = {
    COMPARISON: "homolog.plot.heatmap",
    TRAJECTORY: "homolog.plot.trajectory",
    MODEL_SIMILARITY: "homolog.plot.embedding",
    REDUNDANCY: "homolog.plot.redundancy",
}
"""Title → what draws such results."""


def kind_of(result: Any) -> str:
    """Return the title of a result; one without a title of ours is taken for a comparison, which then says what it lacks."""
    title = result.attrs.get("title") if type(result).__name__ == "Dataset" else None
    return title if title in MADE_BY else COMPARISON


def check_kind(result: Any, kind: str) -> None:
    """Raise unless a result is of a kind."""
    if type(result).__name__ != "Dataset":
        raise ValueError(f"a result must be the Dataset that {MADE_BY[kind]} returned, got {described(result)}.")
    found = kind_of(result)
    if found != kind:
        raise ValueError(
            f"this needs a result of {MADE_BY[kind]}, got one of {MADE_BY[found]}: homolog.summary, homolog.report and "
            f"{PICTURE_OF[found]} take that one."
        )
