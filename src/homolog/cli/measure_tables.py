"""The registry of measures as tables: by subject for people, one line a measure for pipes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from homolog.cli.output import print_table
from homolog.measures.record import Measure
from homolog.measures.registry import measure, measures

START = {
    "cka(estimator=debiased)": "first: of any two layers, 1 for equal ones and about 0 for independent ones",
    "mutual_knn": "are the same examples near each other? for clusters and neighbourhoods",
    "procrustes_distance": "a distance in the strict sense, for embeddings and clustering of networks",
    "linear_predictivity": "can one layer be computed from the other? on examples that were left out",
}
"""Measures to begin with → when."""
SUBJECTS = {
    "kernel_alignment": "Kernels: do both layers find the same examples alike?",
    "representational_similarity": "Dissimilarities: are the same examples far apart?",
    "canonical_correlation": "Canonical correlations: which directions do both layers hold?",
    "procrustes": "Shapes: how far apart are the layers after the best rotation?",
    "prediction": "Prediction: what does one layer say of the other?",
    "unit_matching": "Matching of units: has every neuron a partner?",
    "nearest_neighbors": "Neighbours: are the same examples near each other?",
    "descriptors": "Descriptors: numbers of each layer alone, whatever example is which",
}
"""Module of a measure → its subject."""
OWN = "Your own: registered by your code"

INVARIANCES = {
    "L": "invertible_linear",
    "O": "orthogonal",
    "P": "permutation",
    "S": "isotropic_scaling",
    "T": "translation",
}


def print_measures(names: Sequence[str]) -> None:
    """Print the registry, in a terminal what fits; or everything about some measures."""
    if names:
        for name in names:
            record = measure(name)
            lines = zip(_COLUMNS, _measure_row(record), strict=True)
            rows = [
                ["what", _summary_of(record)],
                *([key, value] for key, value in lines if value),
                ["source", record.reference],
            ]
            print_table(["field", "value"], rows, str(record))
        return
    records = list(measures().values())
    if not sys.stdout.isatty():
        rows = [[*_measure_row(record), _subject(record).split(":")[0]] for record in records]
        print_table([*_COLUMNS, "subject"], rows)
        return
    print_table(["measure", "when"], [[name, when] for name, when in START.items()], "Start here")
    for subject in dict.fromkeys(map(_subject, records)):
        group = [record for record in records if _subject(record) == subject]
        rows = [[record.name, _letters(record), record.kind, _summary_of(record)] for record in group]
        print_table(["measure", "unchanged by", "kind", "what it says"], rows, subject)
    letters = ", ".join(f"{letter} {name.replace('_', ' ')}" for letter, name in INVARIANCES.items())
    print(f"Unchanged by {letters} (of one side: x or y). Options, ranges and formulas: homolog measures NAME")


_COLUMNS = (
    "measure",
    "kind",
    "range",
    "symmetric",
    "unchanged by",
    "least n",
    "options",
    "formula",
    "also known as",
)


def _subject(record: Measure) -> str:
    package, _, module = str(record.function.__module__).rpartition(".")
    return SUBJECTS.get(module, OWN) if package == "homolog.measures" else OWN


def _summary_of(record: Measure) -> str:
    return " ".join((record.function.__doc__ or record.formula).strip().split("\n\n")[0].split())


def _letters(record: Measure) -> str:
    if record.invariances is None:
        return "not declared"
    sides_of = {letter: getattr(record.invariances, name) for letter, name in INVARIANCES.items()}
    return " ".join(letter if sides == "xy" else f"{letter}({sides})" for letter, sides in sides_of.items() if sides)


def _measure_row(record: Measure) -> list[str]:
    low, high = record.range
    options = []
    for name, default in record.defaults.items():
        choices = record.choices.get(name)
        options.append(f"{name}={'|'.join(choices) if choices else default}")
    return [
        record.name,
        record.kind,
        f"[{low:g}, {high:g}{')' if high == float('inf') else ']'}",
        "yes" if record.symmetric else "no",
        record.unchanged_by,
        str(record.minimal_n),
        ", ".join(options),
        record.formula,
        ", ".join(record.aliases),
    ]
