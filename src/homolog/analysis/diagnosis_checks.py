"""What each check of a diagnosis looks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.explaining import DecomposedPair, cka_without_each
from homolog.analysis.row_names import RowNames
from homolog.diagnostics import percent
from homolog.linalg import centre
from homolog.measures import cka
from homolog.names import printable, shown
from homolog.operands.representation import ArrayRepresentation
from homolog.operands.subspace import subspace_of

if TYPE_CHECKING:
    import xarray

DOMINANT = 0.8
"""Share of the variance in one direction that is worth a word."""
FEW = 10
"""Layers with fewer features are asked whether these are enough."""
BETWEEN_DRAWS = 0.8
"""CKA that two draws of as many features should reach."""
INFLUENCE = 0.05
"""Change of CKA by one example that is worth a word, where examples are many."""
NULL_LEVEL = 0.1
"""Null level that is worth a word."""
ALPHA = 0.05
DEBIASED = "cka(estimator=debiased)"
ALONE = 0.5
"""Share of a direction that one row makes alone, and is named for."""
PAIRS = "pairs of layers"
"""What findings about a pair are about."""


@dataclass(frozen=True)
class Finding:
    """Something suspicious, and what to do about it."""

    kind: str
    where: str
    message: str
    remedy: str
    of: str = field(default="layers", repr=False)
    """What it is about, in the plural: layers, models, pairs of layers."""
    degree: float = field(default=0.0, repr=False)
    """How bad it is among those of its kind: larger is worse."""
    count: int = field(default=1, repr=False)
    """Of how many of them, where neighbours are told as one."""

    def __str__(self) -> str:
        return printable(f"{self.kind} | {shown(self.where)}: {self.message}; {self.remedy}.")


def layer_findings(where: str, array: np.ndarray, rows: RowNames) -> Iterator[Finding]:
    """Find what is wrong with one representation."""
    n, p = array.shape
    centred = centre(array)
    dead = int(np.sum(centred.dead))
    if dead == p:
        yield Finding("constant", where, "no feature varies over the examples", "look for a dead layer in the model")
        return
    if dead:
        yield Finding(
            "dead features",
            where,
            f"{dead} of {p} features never vary; CKA and CCA ignore them, matches of neurons count them as 0",
            "drop them for a match of neurons",
            degree=dead / p,
        )
    copies = _copies(centred.features[:, ~centred.dead])
    if copies:
        yield Finding(
            "duplicate features",
            where,
            f"{copies} of {p} features are copies of others, up to scale, and weigh in CKA as often as they occur",
            "drop them if they are an artefact, as of padding or tied weights",
            degree=copies / p,
        )
    subspace = subspace_of(ArrayRepresentation(array))
    if subspace.rank >= n - 1:
        yield Finding(
            "saturation",
            where,
            f"its rank is n − 1 = {n - 1}, so that CCA and regression fit anything perfectly",
            "use more examples, or debiased CKA",
        )
    share = float(np.asarray(subspace.weights)[0] ** 2)
    if share > DOMINANT and p > 1:
        yield _dominant(where, share, np.asarray(subspace.u)[:, 0], rows)
    if 1 < p < FEW and subspace.rank < n - 1:
        yield from _few_features(where, array)


def _dominant(where: str, share: float, direction: np.ndarray, rows: RowNames) -> Finding:
    """Say of a direction that holds nearly all variance whether one row makes it; `direction` is of unit length."""
    row = int(np.argmax(np.abs(direction)))
    alone = float(direction[row] ** 2)
    if alone <= ALONE:
        return Finding(
            "dominant direction",
            where,
            f"one direction holds {percent(share)} of the variance, and linear CKA sees little else",
            "look at it with homolog.explain_cka; CCA and RBF kernels of small width see more",
            degree=share,
        )
    return Finding(
        "dominant direction",
        where,
        f"one direction holds {percent(share)} of the variance, and {rows.of(row)} alone makes {percent(alone)} of it: linear "
        f"CKA sees little else",
        rows.remedy,
        degree=share,
    )


def _copies(features: np.ndarray) -> int:
    """Count the columns that are another one times a number."""
    units = features / np.linalg.norm(features, axis=0)
    first = np.argmax(np.abs(units) > 0.5 * np.abs(units).max(axis=0), axis=0)
    signed = units * np.sign(units[first, np.arange(units.shape[1])])
    return signed.shape[1] - len(np.unique(np.round(signed, 6), axis=1).T)


def _few_features(where: str, array: np.ndarray) -> Iterator[Finding]:
    """Compare random halves of the features; r between halves of p features is 2r/(1+r) between two draws of p."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(10):
        order = rng.permutation(array.shape[1])
        half = array.shape[1] // 2
        parts = array[:, order[:half]], array[:, order[half : 2 * half]]
        if all(np.ptp(part, axis=0).max() > 0 for part in parts):
            values.append(float(cka(*parts, estimator="debiased")))
    values = [value for value in values if not np.isnan(value)]
    between = max(float(np.mean(values)), 0.0) if values else 1.0
    if 2 * between / (1 + between) < BETWEEN_DRAWS:
        yield Finding(
            "few features",
            where,
            f"random halves of its {array.shape[1]} features reach a CKA of {between:.2f} with each other: if they are a "
            f"sample of a layer's units, values are biased down",
            "take more units of the layer, where there are more",
            degree=-between,
        )


def pairing_findings(result: xarray.Dataset, where: str) -> list[Finding]:
    """Ask whether anything at all is more alike than under permutation."""
    p = _of_all_pairs(result)
    if np.isnan(p).all() or np.nanmin(p) <= max(ALPHA, _smallest(result)):
        return []
    return [
        Finding(
            "pairing",
            where,
            f"no pair of layers is more alike than with the rows of one side shuffled (smallest p = {np.nanmin(p):.2g})",
            "check that both sides hold the same examples in the same order (a shuffling loader?)",
        )
    ]


def _of_all_pairs(result: xarray.Dataset) -> np.ndarray:
    """Return p-values that are adjusted for all pairs of two models: those of permutations, or by their number (Bonferroni)."""
    if f"{DEBIASED}_p_fwer" in result:
        return np.asarray(result[f"{DEBIASED}_p_fwer"].values, dtype=float)
    p = np.asarray(result[f"{DEBIASED}_p"].values, dtype=float)
    return np.minimum(p * np.count_nonzero(~np.isnan(p)), 1.0)


def pair_findings(
    where: str,
    pair: DecomposedPair,
    x: np.ndarray,
    y: np.ndarray,
    result: xarray.Dataset,
    at: tuple[int, int],
    *,
    none_related: bool,
    rows: RowNames,
) -> Iterator[Finding]:
    """Find what is wrong with the value of one pair; `none_related` where nothing is more alike than by chance."""
    value, null_level, p = (float(result[name].values[at]) for name in ("cka", "cka_null", f"{DEBIASED}_p"))
    if null_level > NULL_LEVEL:
        yield Finding(
            "null level",
            where,
            f"independent layers of these spectra would reach a CKA of {null_level:.2f}, this pair has {value:.2f}",
            "use more examples, or debiased CKA, whose level is 0",
            of=PAIRS,
            degree=null_level,
        )
    ranks = len(pair.x.weights), len(pair.y.weights)
    if sum(ranks) > pair.n - 1 and max(ranks) < pair.n - 1:
        yield Finding(
            "saturation",
            where,
            f"their ranks, {ranks[0]} and {ranks[1]}, together exceed n − 1 = {pair.n - 1}, so that some canonical "
            f"correlations are 1",
            "use more examples, or debiased CKA",
            of=PAIRS,
            degree=sum(ranks),
        )
    yield from _outlier(where, pair, x, y, rows)
    if p > max(ALPHA, _smallest(result)) and not none_related:
        yield Finding(
            "chance",
            where,
            f"no more alike than independent layers (debiased CKA, p = {p:.2g})",
            "do not read anything into the value, or use more examples",
            of=PAIRS,
            degree=p,
        )


def _outlier(where: str, pair: DecomposedPair, x: np.ndarray, y: np.ndarray, rows: RowNames) -> Iterator[Finding]:
    """Find the example that moves CKA most, where that is much."""
    moved = np.abs(pair.cka - cka_without_each(pair))
    example = int(np.argmax(np.where(np.isnan(moved), np.inf, moved)))
    if moved[example] <= max(INFLUENCE, 5 / pair.n):
        return
    # Anew: what an example thousands of times as long leaves of the others is lost where it is subtracted.
    without = float(cka(np.delete(x, example, axis=0), np.delete(y, example, axis=0)))
    if abs(pair.cka - without) <= max(INFLUENCE, 5 / pair.n):
        return
    what = "nothing varies" if np.isnan(without) else f"CKA is {without:.2f} instead of {pair.cka:.2f}"
    yield Finding(
        "outlier",
        where,
        f"without {rows.of(example)} {what}",
        rows.remedy,
        of=PAIRS,
        degree=np.inf if np.isnan(without) else abs(pair.cka - without),
    )


def _smallest(result: xarray.Dataset) -> float:
    """Return the smallest p-value that as many permutations can give; 0 of p-values by formula."""
    return 1 / (1 + int(result.attrs["n_permutations"])) if "n_permutations" in result.attrs else 0.0
