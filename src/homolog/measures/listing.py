"""The measures as people look through them: a mapping that cannot be written to, shown in groups by subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from homolog.markup import table, title
from homolog.measures.record import Measure

OWN = "your own"
"""The subject of measures that were registered outside this package."""


class Listing(Mapping[str, Measure]):
    """Name → Measure in order of registration; it follows what is registered later, and nothing can be assigned to it."""

    def __init__(self, records: Mapping[str, Measure]) -> None:
        self._records = records

    def __getitem__(self, name: str) -> Measure:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def by_subject(self) -> dict[str, list[Measure]]:
        """Return the measures by what they are about, subjects and measures in order of registration."""
        found: dict[str, list[Measure]] = {}
        for record in self.values():
            found.setdefault(subject(record), []).append(record)
        return found

    def __repr__(self) -> str:
        lines = [f"{len(self)} measures"]
        for name, records in self.by_subject().items():
            lines.append(f"  {name}: {', '.join(record.name for record in records)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = {name: [_row(record) for record in records] for name, records in self.by_subject().items()}
        return title(f"{len(self)} measures") + table(
            ("measure", "kind", "range", "what it says", "unchanged by"), rows
        )


def subject(record: Measure) -> str:
    """Return what a measure is about: the name of its module in this package."""
    package, _, module = (getattr(record.function, "__module__", None) or "").rpartition(".")
    return module.replace("_", " ") if package == "homolog.measures" else OWN


def _row(record: Measure) -> tuple[str, ...]:
    said = " ".join((record.function.__doc__ or record.formula).strip().split("\n\n")[0].split())
    return record.name, record.kind, record.between, said, record.unchanged_by
