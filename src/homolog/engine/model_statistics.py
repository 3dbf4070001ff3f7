"""What permutations and parts of the examples say of pairs of models, kept small: `homolog.model_similarity` reads it.

Each order of the examples is the same for all pairs of layers, so that what a maximum over them reaches by chance is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from homolog.engine.planning import Plan
from homolog.inference.calibrated_scores import thresholds
from homolog.inference.intervals import spread
from homolog.inference.model_aggregates import WAYS, Block, of_blocks
from homolog.inference.permutations import is_order_free
from homolog.inference.pvalues import pvalues
from homolog.inference.resampling import Resampled
from homolog.measures.record import Measure

ATTRIBUTE = "over_models"
"""The attribute of a measure that holds them, as JSON."""
DIGITS = 10
"""Significant digits that are kept, of numbers that p-values have judged already."""
Statistics = dict[str, dict[str, np.ndarray]]
"""By which way → what → one number for each pair of models."""


def blocks_of(plan: Plan, rows: np.ndarray, columns: np.ndarray, record: Measure) -> list[Block]:
    """Return the pairs of models, each once for a symmetric measure: both ways round are equal, or not known."""
    models = list(plan.models)
    if len(models) < 2:
        return []
    # What does not count belongs to no model.
    owner = np.array(
        [models.index(layer.model) if at else -1 for layer, at in zip(plan.layers, plan.counted, strict=True)]
    )
    names = np.array([layer.name for layer in plan.layers])
    once = plan.same and bool(record.symmetric)
    pairs = [(i, j) for i in range(len(models)) for j in range(len(models))] if plan.same else [(0, 1)]
    found = []
    for i, j in pairs:
        at, over = np.flatnonzero(owner[rows] == i), np.flatnonzero(owner[columns] == j)
        if (once and i > j) or not (len(at) and len(over)):
            continue
        namesakes = names[rows[at]][:, None] == names[columns[over]][None, :]
        complete = bool(plan.needed[np.ix_(owner == i, owner == j)].all())
        found.append(Block((i, j), at, over, namesakes, complete, mirrored=once and i == j))
    return found


def of_permutations(values: np.ndarray, record: Measure, blocks: list[Block], level: float) -> Statistics:
    """Return what (1 + K, layers, layers) values under permutation, the observed ones first, say of every pair of models."""
    if not blocks or is_order_free(values):
        return {}
    found: Statistics = {}
    for by in WAYS:
        each = of_blocks(values, by, record.kind, blocks)
        found[by] = {
            "value": each[0],
            "p": pvalues(each, record.kind),
            "null": each[1:].mean(axis=0),
            "threshold": thresholds(each, record.kind, level),
        }
    return found


def of_parts(part: Resampled, record: Measure, blocks: list[Block]) -> Statistics:
    """Return standard errors over examples, from values on parts of them."""
    if not blocks:
        return {}
    found: Statistics = {}
    for by in WAYS:
        # What has a value on all examples says what counts on parts of them.
        whole, *parts = of_blocks(np.concatenate([part.whole[None], part.values]), by, record.kind, blocks)
        error = spread(part._replace(whole=whole, values=np.array(parts), halves=None, beside=None))
        if part.beside is not None:
            # Errors of several pairs may go the same way: this is the most that they add up to.
            error = np.hypot(error, of_blocks((part.whole + part.beside)[None], by, record.kind, blocks)[0] - whole)
        found[by] = {"value": whole, "se": error}
    return found


def add(statistics: Statistics, others: Statistics) -> None:
    """Add what was found by other means."""
    for by, kinds in others.items():
        statistics.setdefault(by, {}).update(kinds)


def attribute(plan: Plan, record: Measure, statistics: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Write the statistics of a measure, with the models and layers that they are of."""
    everything = np.flatnonzero(plan.counted)
    rows, columns = (np.array([i for i in side if i in plan.used]) for side in (plan.rows, plan.columns))
    titles = dict(zip(plan.models, plan.titles, strict=True))
    layers = {
        titles[model]: [plan.layers[i].name for i in everything if plan.layers[i].model == model]
        for model in plan.models
    }
    content: dict[str, Any] = {
        "layers": layers,
        "pairs": [block.models for block in blocks_of(plan, rows, columns, record)],
    }
    if plan.asked.null:
        content |= {"n_permutations": plan.asked.n_permutations, "alpha": plan.asked.alpha}
    content |= {
        by: {what: list(map(_written, numbers)) for what, numbers in kinds.items()} for by, kinds in statistics.items()
    }
    return json.dumps(content, ensure_ascii=False)


def _written(number: float) -> float | None:
    """Return a number that JSON has."""
    return float(f"{number:.{DIGITS}g}") if np.isfinite(number) else None
