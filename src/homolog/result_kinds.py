"""What a result is of: its title says it, and whoever reads one of another kind says so in one sentence."""

from __future__ import annotations

from typing import Any

from homolog.arrays import described
from homolog.names import shown

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

IDENTIFICATION = "layer identification"
EXPLANATION = "explanation of a value"
SHARED_SUBSPACE = "shared subspace"
FOUND_BY = {
    IDENTIFICATION: (
        "homolog.layer_identification",
        "homolog.plot.identification",
        {"accuracy", "accuracy_se", "chance"},
    ),
    EXPLANATION: ("homolog.explain_cka", "homolog.plot.explanation", {"contribution", "influence"}),
    SHARED_SUBSPACE: (
        "homolog.shared_subspace",
        "homolog.plot.shared_subspace",
        {"x_norm", "y_norm", "cosine", "covariance"},
    ),
}
"""What is found in a result, or in two layers → the function that makes it, what draws it, and the variables that it has."""


def kind_of(result: Any) -> str:
    """Return the title of a result; one without a title of ours is taken for a comparison, which then says what it lacks."""
    title = result.attrs.get("title") if type(result).__name__ == "Dataset" else None
    return title if title in MADE_BY else COMPARISON


def check_kind(result: Any, kind: str) -> None:
    """Raise unless a result is of a kind."""
    wanted, _ = _made_and_drawn_by(kind)
    if type(result).__name__ != "Dataset":
        raise ValueError(f"a result must be the Dataset that {wanted} returned, got {described(result)}.")
    # What is found may lack a title: its variables tell it.
    found = next((name for name, (*_, own) in FOUND_BY.items() if own <= set(result.variables)), kind_of(result))
    if found == kind:
        return
    if found == COMPARISON and "measures" not in result.attrs:
        names = ", ".join(map(shown, list(result.variables)[:3])) or "no variables"
        raise ValueError(f"this needs a result of {wanted}, got a Dataset of {names}.")
    made_by, picture = _made_and_drawn_by(found)
    takers = f"{picture} takes" if found in FOUND_BY else f"homolog.summary, homolog.report and {picture} take"
    raise ValueError(f"this needs a result of {wanted}, got one of {made_by}: {takers} that one.")


def _made_and_drawn_by(kind: str) -> tuple[str, str]:
    return FOUND_BY[kind][:2] if kind in FOUND_BY else (MADE_BY[kind], PICTURE_OF[kind])
