"""One number for each pair of models, from the values of all pairs of their layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis import same_networks
from homolog.analysis.model_certainty import ModelStatistics, completed, described
from homolog.analysis.sketched_layers import sketched_attribute
from homolog.diagnostics import Caution, give
from homolog.engine.model_statistics import ATTRIBUTE
from homolog.inference.model_aggregates import FORMULAS, By, aggregated, check_way
from homolog.inference.pvalues import ROUNDING
from homolog.result_kinds import MODEL_SIMILARITY
from homolog.results import UNITS, arranged, chosen_measure, companion, measure_names, no_order_tells
from homolog.warning_sentences import left_out_inputs, no_value_in_models, other_layers, other_values

if TYPE_CHECKING:
    import xarray


def model_similarity(
    result: xarray.Dataset, measure: str | None = None, by: By = "best_match", *, with_input: bool = False
) -> xarray.Dataset:
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
    with_input
        count layers that are the input itself, as a first Flatten is. It is the same for all models, whatever they learned.

    Returns
    -------
    xarray.Dataset
        Variables (model_a, model_b), with the same models in the same order on both sides. On the diagonal stands each model with
        itself, NaN where its layers were not compared with each other. With null="permutation" in the comparison there are
        `<measure>_p`, the probability of a number at least as alike for independent models; `<measure>_p_fdr`, adjusted for all
        pairs of models (Benjamini-Hochberg); `<measure>_null`, the mean by chance; `<measure>_threshold`, how far chance reaches;
        and `<measure>_calibrated`, in [0, 1], of measures with a best value. All of these are of the number itself: each random
        order of the examples is the same for all layers, so that a maximum over many pairs is judged by maxima over as many. With
        interval=True there is `<measure>_se`, over examples.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, is not one of several models, or does not have the pairs of layers that `by` needs.

    Warns
    -----
    UndefinedValueWarning
        Where a layer has no value with any layer of another model, as one that never varies: the numbers are those of the others.
    LeftOutWarning
        Where a layer is the input itself, as digests of the inputs tell, or its name "input": it is left out, unless nothing else
        is there, or with_input=True. Where layers were selected or renamed after the comparison, or counted with_input=True, or
        values masked or changed: the numbers are of what is there, and p-values, calibrated scores and standard errors, which
        were of other numbers, are left out.
    FewPermutationsWarning
        Where there were too few permutations for a calibrated score above 0.
    EqualLayersWarning
        Where different models have other equal layers: these count as alike.

    Notes
    -----
    All four ways are the same either way round, so that the matrix is symmetric where the measure is. Of a measure that is not,
    number (A, B) is of the values measure(layer of A, layer of B); of two models alone the other way round has no p-value.

    Equal layers that are not known to be the input count, since they may be weights that two models share: two fine-tuned copies
    with frozen layers are alike there, and without these layers would look less like each other than like other models. A first
    layer that scales the input, and layers of plain arrays, of which no input is known, count for the same reason. Where that is
    not what you ask, leave them out of the activations (`Activations.select`).

    References
    ----------
    Gröger, Wen & Brbić 2026, "Revisiting the Platonic Representation Hypothesis: An Aristotelian View", arXiv:2602.14486, section
    5.2; `level` of `homolog.compare` is 1 - alpha there.

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
    inputs = same_networks.inputs_in(result)
    names = measure_names(result) if measure is None else [chosen_measure(result, measure)]
    found = _Blocks.of(result, by, {} if with_input else inputs)
    cautions: list[Caution] = [] if with_input else left_out_inputs(inputs)
    cautions += same_networks.shared_layers(result)
    variables: dict[str, Any] = {}
    for name in names:
        variables |= found.variables(result, name, cautions)
    cautions = list(dict.fromkeys(cautions))
    give(cautions)
    attributes = {
        "title": MODEL_SIMILARITY,
        "homolog_version": version("homolog"),
        "by": by,
        "n_examples": np.int32(result.attrs["n_examples"]),
        **{name: result.attrs[name] for name in UNITS if name in result.attrs},
        "measures": json.dumps(names),
        **_permutations(result, names),
        **{name: result.attrs[name] for name in ("equal_layers",) if same_networks.equalities_in(result)},
        **sketched_attribute(result),
        "warnings": json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False),
    }
    coordinates = {side: ("model_" + side[-1], found.models) for side in ("model_a", "model_b")}
    return xarray.Dataset(variables, coordinates, attributes)


def _permutations(result: xarray.Dataset, names: list[str]) -> dict[str, Any]:
    """Say how probabilities and calibrated scores were made, where there are any."""
    for name in names:
        statistics = ModelStatistics.read(result, name)
        if statistics is not None and statistics.n_permutations:
            few = {"n_orders": np.int32(result.attrs["n_orders"])} if no_order_tells(result) else {}
            return {"n_permutations": np.int32(statistics.n_permutations), "alpha": statistics.alpha} | few
    return {}


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
    def of(cls, result: xarray.Dataset, by: By, without: Mapping[str, Sequence[str]]) -> _Blocks:
        """Return the blocks of a result of several models, but for some layers of each."""
        sides = same_networks.models_of(result)
        models = list(dict.fromkeys([*sides[0].tolist(), *sides[1].tolist()]))
        if len(models) < 2 or int(result.attrs.get("same_model", 0)) > ("a" in result.dims):
            raise ValueError(
                f"model_similarity needs two models or more, got a result of {models[0]!r} alone: compare a mapping of models."
            )
        layers = (result.layer_a.values.astype(str), result.layer_b.values.astype(str))
        places = [
            [np.flatnonzero((side == model) & ~np.isin(names, without.get(model, []))) for model in models]
            for side, names in zip(sides, layers, strict=True)
        ]
        return cls(by, models, places[0], places[1], layers, bool(int(result.attrs.get("all_pairs", 0))))

    def variables(self, result: xarray.Dataset, name: str, cautions: list[Caution]) -> dict[str, Any]:
        """Return the values of one measure, and what is known of how sure they are."""
        values = self.values(result, name)
        cautions += no_value_in_models(name, self._without_value(result[name].values))
        about = {key: value for key, value in result[name].attrs.items() if key != ATTRIBUTE}
        dimensions = ("model_a", "model_b")
        found = {name: (dimensions, values, {**about, "aggregate": FORMULAS[self.by], **sketched_attribute(result)})}
        statistics = ModelStatistics.read(result, name)
        if statistics is None:
            return found
        symmetric = int(about["symmetric"]) == 1
        there = np.outer([len(rows) > 0 for rows in self.rows], [len(columns) > 0 for columns in self.columns])
        kinds, others, altered = statistics.of(
            self.by, self.models, self.held(), values, there | (there.T & symmetric), symmetric=symmetric
        )
        cautions += [*other_layers(name, others), *other_values(name, altered)]
        for kind, matrix in completed(kinds, values, about, statistics).items():
            found[f"{name}_{kind}"] = (dimensions, matrix, described(name, kind, str(result.attrs.get("interval", ""))))
        if f"{name}_calibrated" in found:
            cautions += statistics.few()
        return found

    def held(self) -> dict[str, list[list[str]]]:
        """Return the layers of each model in rows and in columns, where it has any."""
        both = zip(self.models, self.rows, self.columns, strict=True)
        return {
            model: [layers[at].tolist() for layers, at in zip(self.layers, (rows, columns), strict=True) if len(at)]
            for model, rows, columns in both
        }

    def values(self, result: xarray.Dataset, name: str) -> np.ndarray:
        """Return (models, models) values; the other way round where that alone was compared."""
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
        # The two halves differ by rounding, unless other layers were chosen in rows than in columns.
        equal = symmetric and np.allclose(found, found.T, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
        return np.triu(found) + np.triu(found, 1).T if equal else found

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
        """Name the layers that have no value with any other model, or alone of their model have none with one.

        Where no layer of one model has a value with another, either may be the reason, and the other models tell which.
        """
        if not self.complete:
            return []
        lost: dict[str, list[bool]] = {}
        alone: dict[str, bool] = {}
        for i, j in np.ndindex(len(self.models), len(self.models)):
            block = np.isnan(values[np.ix_(self.rows[i], self.columns[j])])
            if i == j or not block.size:
                continue
            for model, layers, empty in (
                (i, self.layers[0][self.rows[i]], block.all(axis=1)),
                (j, self.layers[1][self.columns[j]], block.all(axis=0)),
            ):
                for layer, is_empty in zip(layers, empty, strict=True):
                    name = f"{self.models[model]}: {layer}"
                    lost.setdefault(name, []).append(bool(is_empty))
                    alone[name] = alone.get(name, False) or bool(is_empty and not empty.all())
        return [name for name, empty in lost.items() if all(empty) or alone[name]]
