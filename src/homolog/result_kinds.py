"""What a result is of: its title says it, and whoever reads one of another kind says so in one sentence."""

from __future__ import annotations

from typing import Any

from homolog.arrays import described
from homolog.names import shown

COMPARISON = "homolog comparison"
TRAJECTORY = "homolog trajectory"
MODEL_SIMILARITY = "homolog model similarity"
REDUNDANCY = "homolog redundancy"
MODEL_MAP = "homolog model map"
MODEL_CLUSTERS = "homolog model clusters"
CONSISTENCY = "homolog consistency"
IDENTIFICATION = "layer identification"
MADE_BY = {
    COMPARISON: "homolog.compare",
    TRAJECTORY: "homolog.compare_checkpoints",
    MODEL_SIMILARITY: "homolog.model_similarity",
    REDUNDANCY: "homolog.redundancy",
    MODEL_MAP: "homolog.embed",
    MODEL_CLUSTERS: "homolog.cluster",
    CONSISTENCY: "homolog.consistency",
}
"""Title → the function that makes such results."""
TAKEN_BY = {
    COMPARISON: "homolog.summary, homolog.report and homolog.plot.heatmap take that one",
    TRAJECTORY: "homolog.summary, homolog.report and homolog.plot.trajectory take that one",
    MODEL_SIMILARITY: "homolog.summary, homolog.report and homolog.plot.embedding take that one",
    REDUNDANCY: "homolog.summary, homolog.report and homolog.plot.redundancy take that one",
    MODEL_MAP: "homolog.plot.embedding draws that one",
    MODEL_CLUSTERS: "homolog.plot.dendrogram draws that one",
    CONSISTENCY: "homolog.summary, homolog.report and homolog.plot.consistency take that one",
}
"""Title → what reads such results, as the remedy of a sentence."""


def is_title(title: Any) -> bool:
    """Say whether a title is that of a result, which holds no activations."""
    title = title.decode(errors="replace") if isinstance(title, bytes) else title  # as some writers of HDF5 have it
    return isinstance(title, str) and (title in MADE_BY or title == IDENTIFICATION)


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
    return title if isinstance(title, str) and title in MADE_BY else COMPARISON


def check_kind(result: Any, kind: str) -> None:
    """Raise unless a result is of a kind."""
    wanted, _ = _made_and_taken_by(kind)
    if type(result).__name__ != "Dataset":
        raise ValueError(f"a result must be the Dataset that {wanted} returned, got {described(result)}.")
    # What is found may lack a title: its variables tell it.
    found = next((name for name, (*_, own) in FOUND_BY.items() if own <= set(result.variables)), kind_of(result))
    if found == kind:
        return
    if found == COMPARISON and "measures" not in result.attrs:
        names = ", ".join(map(shown, list(result.variables)[:3])) or "no variables"
        raise ValueError(f"this needs a result of {wanted}, got a Dataset of {names}.")
    made_by, takers = _made_and_taken_by(found)
    raise ValueError(f"this needs a result of {wanted}, got one of {made_by}: {takers}.")


def _made_and_taken_by(kind: str) -> tuple[str, str]:
    if kind in FOUND_BY:
        made_by, picture, _ = FOUND_BY[kind]
        return made_by, f"{picture} takes that one"
    return MADE_BY[kind], TAKEN_BY[kind]


def check_told(result: Any) -> None:
    """Raise for what is made of similarities of models, which no summary and no page tells of."""
    if kind_of(result) in (MODEL_MAP, MODEL_CLUSTERS):
        check_kind(result, COMPARISON)
