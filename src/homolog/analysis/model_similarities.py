"""One number for each pair of models, from the values of all pairs of their layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.diagnostics import Caution, give, no_value_in_models
from homolog.inference.model_aggregates import FORMULAS, By, aggregated, check_way
from homolog.results import arranged, chosen_measure, companion, measure_names, two_models

if TYPE_CHECKING:
    import xarray

TITLE = "homolog model similarity"


def model_similarity(result: xarray.Dataset, measure: str | None = None, by: By = "best_match") -> xarray.Dataset:
    """Return one number for each pair of models.

    Parameters
    ----------
    result
        what `homolog.compare` returned for a mapping of models, or for two.
    measure
        which of its measures; all by default.
    by
        how the values of all pairs of layers become one number. "best_match": the mean over the layers of one model of their
        best value in the other, averaged with the same the other way round. "same_name": the mean over layers that have the
        same name in both. "max": the best value of all pairs of layers. "assignment": the mean over the pairs of the best
        one-to-one assignment, as many as the shorter model has layers. Best is largest for a similarity, smallest for a distance.

    Returns
    -------
    xarray.Dataset
        Variables (model_a, model_b), with the same models in the same order on both sides; on the diagonal each model with
        itself, NaN where that was not compared.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, is not one of several models, or does not have the pairs of layers that `by` needs.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> task = rng.normal(size=(200, 4))
    >>> models = {name: {"layer": task + rng.normal(size=(200, 4))} for name in ("one", "two")}
    >>> models["other"] = {"layer": rng.normal(size=(200, 4))}
    >>> hl.model_similarity(hl.compare(models, measures="cka")).cka.values.round(1)
    array([[1. , 0.3, 0. ],
           [0.3, 1. , 0. ],
           [0. , 0. , 1. ]])
    """
    import xarray

    check_way(by)
    result = arranged(result)
    names = measure_names(result) if measure is None else [chosen_measure(result, measure)]
    found = _Blocks.of(result, by)
    cautions: list[Caution] = []
    variables = {name: found.variable(result, name, cautions) for name in names}
    give(cautions)
    attributes = {
        "title": TITLE,
        "homolog_version": version("homolog"),
        "by": by,
        "n_examples": np.int32(result.attrs["n_examples"]),
        "measures": json.dumps(names),
        "warnings": json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False),
    }
    coordinates = {side: ("model_" + side[-1], found.models) for side in ("model_a", "model_b")}
    return xarray.Dataset(variables, coordinates, attributes)


@dataclass(frozen=True)
class _Blocks:
    """Where the layers of each model stand in a result."""

    by: By
    models: list[str]
    rows: list[np.ndarray]
    columns: list[np.ndarray]
    layers: tuple[np.ndarray, np.ndarray]
    complete: bool
    """Whether every pair of layers was compared, so that one without a value has none."""

    @classmethod
    def of(cls, result: xarray.Dataset, by: By) -> _Blocks:
        """Return the blocks of a result of several models."""
        if "a" in result.dims:
            sides = [result[f"model_{side}"].values.astype(str) for side in "ab"]
        else:
            two_models(result)
            sides = [np.full(result.sizes[f"layer_{side}"], str(result.attrs[f"model_{side}"])) for side in "ab"]
        models = list(dict.fromkeys([*sides[0].tolist(), *sides[1].tolist()]))
        if len(models) < 2 or int(result.attrs.get("same_model", 0)) > ("a" in result.dims):
            raise ValueError(
                f"model_similarity needs two models or more, got a result of {models[0]!r} alone: compare a mapping of models."
            )
        places = [[np.flatnonzero(side == model) for model in models] for side in sides]
        layers = (result.layer_a.values.astype(str), result.layer_b.values.astype(str))
        return cls(by, models, places[0], places[1], layers, bool(int(result.attrs.get("all_pairs", 0))))

    def variable(self, result: xarray.Dataset, name: str, cautions: list[Caution]) -> Any:
        """Return the values of one measure; the other way round where that alone was compared."""
        about = result[name].attrs
        symmetric, kind = int(about["symmetric"]) == 1, about["kind"]
        found = self.over_models(result[name].values, kind)
        if np.isnan(found[~np.eye(len(found), dtype=bool)]).all():
            raise ValueError(self._nothing(name))
        reverse = companion(result, name, "reversed")
        other = found if symmetric else np.full_like(found, np.nan)
        if reverse is not None:
            other = self.over_models(reverse.values, kind)
        found = np.where(np.isnan(found), other.T, found)
        without = self._without_value(result[name].values)
        if without:
            cautions += [no_value_in_models(name, without)]
        about = {**about, "aggregate": FORMULAS[self.by], "symmetric": np.int32(symmetric)}
        return ("model_a", "model_b"), found, about

    def over_models(self, values: np.ndarray, kind: str) -> np.ndarray:
        """Return (models, models) numbers, NaN where pairs of layers that are needed were not compared."""
        found = np.full((len(self.models), len(self.models)), np.nan)
        for i, j in np.ndindex(found.shape):
            at = np.ix_(self.rows[i], self.columns[j])
            block = values[at]
            if block.size and (self.complete or self.by == "same_name" or not np.isnan(block).any()):
                namesakes = self.layers[0][self.rows[i], None] == self.layers[1][None, self.columns[j]]
                found[i, j] = aggregated(block[None], self.by, kind, namesakes)[0]
        return found

    def _nothing(self, name: str) -> str:
        if self.by == "same_name":
            return (
                f"by='same_name' needs layers of the same name in two models that have a value of {name}, got none: rename "
                f"corresponding layers with Activations.rename, or take by='best_match'."
            )
        return (
            f"by={self.by!r} needs the values of all pairs of layers of two models, got a result that lacks some for every two: "
            f"compare with pairs='all', or take by='same_name'."
        )

    def _without_value(self, values: np.ndarray) -> list[str]:
        """Name the layers that were compared and have no value with any other."""
        if not self.complete:
            return []
        sides = ((self.rows, 1, self.layers[0]), (self.columns, 0, self.layers[1]))
        found: dict[str, None] = {}
        for places, axis, layers in sides:
            lost = np.isnan(values).all(axis=axis)
            for model, where in zip(self.models, places, strict=True):
                found |= {f"{model}: {layers[place]}": None for place in where[lost[where]]}
        return list(found)
