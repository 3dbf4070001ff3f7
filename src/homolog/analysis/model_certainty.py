"""How sure the similarities of models are: what `homolog.compare` kept of permutations and parts of the examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.diagnostics import Caution
from homolog.engine.model_statistics import ATTRIBUTE
from homolog.inference.calibrated_scores import calibrated, is_beyond, rank_of
from homolog.inference.pvalues import false_discovery
from homolog.names import quoted
from homolog.warning_sentences import all_calibrated_zero

if TYPE_CHECKING:
    import xarray

MEANINGS = {
    "null": "mean of the number for the two models under random permutations of the examples, the same for all layers",
    "p": "probability of a number at least as alike if the two models were independent",
    "p_fdr": "the same, adjusted for all pairs of models (false discovery rate, Benjamini-Hochberg)",
    "threshold": "how far chance reaches: the order statistic at 1 - alpha of the number and those under random permutations",
    "calibrated": "how far the number lies beyond the threshold: 0 where it does not, 1 for equal models",
    "se": "standard error of the number over examples, and over random sketches where layers are kept as these",
}
KINDS = ("null", "p", "threshold", "se")
"""What is kept of each pair of models, beside the number that it was found for."""
SAME = 1e-6
"""Numbers this close, as a share of the largest, are the one that was judged: sums in another order."""


@dataclass(frozen=True)
class ModelStatistics:
    """What a result keeps of one measure."""

    layers: Mapping[str, Sequence[str]]
    pairs: Sequence[Sequence[int]]
    ways: Mapping[str, Mapping[str, Sequence[float | None]]]
    n_permutations: int
    alpha: float

    @classmethod
    def read(cls, result: xarray.Dataset, name: str) -> ModelStatistics | None:
        """Read what there is; None where there are neither permutations nor parts."""
        if ATTRIBUTE not in result[name].attrs:
            return None
        try:
            content = json.loads(result[name].attrs[ATTRIBUTE])
            ways = {by: kinds for by, kinds in content.items() if isinstance(kinds, dict) and by != "layers"}
            found = cls(
                {str(model): [str(layer) for layer in layers] for model, layers in content["layers"].items()},
                [(int(i), int(j)) for i, j in content["pairs"]],
                ways,
                int(content.get("n_permutations", 0)),
                float(content.get("alpha", 0.0)),
            )
            if any(len(numbers) != len(found.pairs) for kinds in ways.values() for numbers in kinds.values()):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError(
                f"a result must be as homolog.compare wrote it, got an altered {ATTRIBUTE!r} of {quoted(name)}: compare again."
            ) from None
        return found

    def of(
        self,
        by: str,
        models: Sequence[str],
        held: Mapping[str, Sequence[Sequence[str]]],
        values: np.ndarray,
        there: np.ndarray,
        *,
        symmetric: bool,
    ) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
        """Return kind → (models, models) matrix of what is known of these values; NaN where they are not those that were judged.

        Also the models of which the result holds other layers than were compared, and those of the pairs that are `there`,
        (models, models) bool, whose value is another.
        """
        known = list(self.layers)
        others = [
            model
            for model in models
            if any(sorted(layers) != sorted(self.layers.get(model, [])) for layers in held[model])
        ]
        places = {known.index(model): i for i, model in enumerate(models) if model in known and model not in others}
        kept = {what: self._matrix(by, what, places, len(models), symmetric) for what in ("value", *KINDS)}
        judged = kept.pop("value")
        scale = np.abs(judged[np.isfinite(judged)]).max(initial=0.0)
        same = np.isinf(values) | np.isclose(values, judged, rtol=0, atol=SAME * scale)
        told = np.any([~np.isnan(matrix) for matrix in kept.values()], axis=0)
        altered = told & ~same & there
        found = {what: np.where(same, matrix, np.nan) for what, matrix in kept.items()}
        pairs = [f"{models[i]} and {models[j]}" for i, j in np.argwhere(altered) if i <= j or not altered[j, i]]
        return {what: matrix for what, matrix in found.items() if not np.isnan(matrix).all()}, others, pairs

    def _matrix(self, by: str, what: str, places: Mapping[int, int], count: int, symmetric: bool) -> np.ndarray:
        """Return one kind of number over models, NaN where there is none."""
        matrix = np.full((count, count), np.nan)
        for (first, second), number in zip(self.pairs, self.ways.get(by, {}).get(what, ()), strict=False):
            if first in places and second in places and number is not None:
                matrix[places[first], places[second]] = number
                if symmetric:
                    matrix[places[second], places[first]] = number
        return matrix

    def few(self) -> list[Caution]:
        """Say that there are too few permutations for any score above 0."""
        few = rank_of(1 - self.alpha, self.n_permutations) > self.n_permutations
        return [all_calibrated_zero(self.n_permutations, self.alpha)] if few else []


def completed(
    kinds: Mapping[str, np.ndarray], values: np.ndarray, about: Mapping[str, Any], statistics: ModelStatistics
) -> dict[str, np.ndarray]:
    """Add adjusted p-values, and calibrated scores where the measure has a best value."""
    found = dict(kinds)
    if "p" in kinds:
        symmetric = int(about["symmetric"]) == 1
        different = ~np.eye(len(values), dtype=bool)
        together = np.triu(different) if symmetric else different
        adjusted = false_discovery(kinds["p"], together & ~np.isnan(kinds["p"]))
        adjusted = np.where(together, adjusted, np.nan)
        found["p_fdr"] = np.where(np.isnan(adjusted), adjusted.T, adjusted) if symmetric else adjusted
        low, high = json.loads(about["range"])
        best = high if about["kind"] == "similarity" else low
        # Where too many permutations have no value chance reaches without end, which is not written: no score is above 0.
        endless = np.where(np.isnan(kinds["p"]), np.nan, np.inf if about["kind"] == "similarity" else -np.inf)
        known = kinds.get("threshold", np.full_like(values, np.nan))
        found["threshold"] = np.where(np.isnan(known), endless, known)
        if best is not None:
            beyond = is_beyond(kinds["p"], 1 - statistics.alpha)
            found["calibrated"] = calibrated(values, found["threshold"], beyond, float(best))
    order = ("null", "p", "p_fdr", "threshold", "calibrated", "se")
    return {kind: found[kind] for kind in order if kind in found}


def described(name: str, kind: str, interval: str) -> dict[str, Any]:
    """Return the attributes of what stands beside the values of a measure."""
    about: dict[str, Any] = {"companion_of": name, "meaning": MEANINGS[kind]}
    if kind in ("p", "p_fdr"):
        about["method"] = "permutation"
    if kind == "se":
        about["method"] = interval
    if kind == "calibrated":
        about |= {"kind": "similarity", "range": "[0.0, 1.0]"}
    return about
