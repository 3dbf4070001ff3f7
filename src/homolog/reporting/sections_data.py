"""What the page of a result says that is no comparison: its sections, as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from homolog.analysis import Finding
from homolog.analysis.summarising import summary
from homolog.names import printable
from homolog.reporting import consistency_sections, model_similarity_sections, redundancy_sections, trajectory_sections
from homolog.reporting.measure_texts import about_measure, grouped
from homolog.reporting.sections import Section, rendered
from homolog.result_kinds import CONSISTENCY, MADE_BY, MODEL_SIMILARITY, REDUNDANCY, TRAJECTORY, check_told, kind_of
from homolog.results import measure_names, told_examples

if TYPE_CHECKING:
    import xarray

SECTIONS: dict[str, Callable[..., tuple[str, list[Section]]]] = {
    TRAJECTORY: trajectory_sections.sections_of,
    MODEL_SIMILARITY: model_similarity_sections.sections_of,
    REDUNDANCY: redundancy_sections.sections_of,
    CONSISTENCY: consistency_sections.sections_of,
}
"""Title of a result → what gives the line below its heading, and its sections, from the result and groups of models."""


def data_for_sections(
    result: xarray.Dataset, title: str | None, diagnosis: Iterable[Finding] | None, groups: Any
) -> dict[str, Any]:
    """Return everything that the page shows."""
    check_told(result)
    kind = kind_of(result)
    if diagnosis is not None:
        raise ValueError(f"a diagnosis is of a comparison, got one beside a result of {MADE_BY[kind]}: leave it out.")
    compared, sections = SECTIONS[kind](result, groups)
    return {
        "title": printable(title or title_of(result)),
        "compared": printable(compared),
        "summary": list(_on_page(summary(result))),
        "warnings": grouped(json.loads(result.attrs.get("warnings", "[]"))),
        "findings": None,
        "sections": rendered(sections),
        "measures": [about_measure(result, name) for name in measure_names(result)],
        "provenance": list(_origins(result)),
    }


def _on_page(sentences: Iterable[str]) -> Iterator[str]:
    """Leave out how to get what the page shows already."""
    for sentence in sentences:
        if not (sentence.startswith("Next, ") and ": homolog.plot." in sentence):
            yield sentence.partition("; homolog.report(")[0]


def title_of(result: xarray.Dataset) -> str:
    """Return what a result is called that is no comparison."""
    return kind_of(result).removeprefix("homolog ").capitalize()


def _origins(result: xarray.Dataset) -> Iterator[tuple[str, str]]:
    """Yield where the numbers come from, as pairs of what and how."""
    yield "made by", MADE_BY[kind_of(result)]
    if "n_examples" in result.attrs:
        yield "examples", told_examples(result).removesuffix(" examples")
    if "homolog_version" in result.attrs:
        yield "homolog", printable(str(result.attrs["homolog_version"]))
