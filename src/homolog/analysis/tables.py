"""Results as tables: one row per pair of layers, or per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.consistency_lines import dataset_table
from homolog.analysis.model_similarity_lines import pair_table
from homolog.analysis.redundant.tabulating import redundancy_table
from homolog.analysis.trajectory_summary import trajectory_table
from homolog.result_kinds import CONSISTENCY, MODEL_SIMILARITY, REDUNDANCY, TRAJECTORY, kind_of
from homolog.results import arranged, chosen_measure, companion, is_supported, is_tested, of_many

if TYPE_CHECKING:
    import pandas
    import xarray

COMPANIONS = ("reversed", "null", "p", "p_fdr", "p_fwer", "threshold", "calibrated", "se", "se_sketch", "low", "high")
ABOUT_LAYERS = ("type", "shape", "features", "sketch", "rank")


def table(result: xarray.Dataset, measure: str | None = None) -> pandas.DataFrame:
    """Return a result as a table with one row per pair of layers, or a correspondence with one row per layer of a.

    Parameters
    ----------
    result
        what `homolog.compare`, `correspondence`, `compare_checkpoints`, `model_similarity`, `consistency` or `redundancy`
        returned.
    measure
        which measure of a comparison; the first by default.

    Returns
    -------
    pandas.DataFrame
        Of a comparison: `layer_a`, `layer_b` (with `model_a`, `model_b` of many models), `value`, and what the result has of
        `reversed`, `null`, `p`, `p_fdr`, `p_fwer`, `threshold`, `calibrated`, `se`, `se_sketch`, `low`, `high`; `supported`,
        whether the pair is more alike than by chance; and of each layer `type`, `shape`, `features`, `sketch` and `rank`, as
        `type_a`, `type_b` and so on.
        Each pair stands once where the measure is symmetric and one model was compared with itself, or many with each other,
        and no layer stands with itself there. Pairs that were not asked for are left out.

        Of `homolog.redundancy`: one row per number of blocks, the run of least angular distance (`blocks`, `first`, `last`,
        `angular_distance`, `ties`, the same without features or rows, `loss`); with `measure` the values of that variable.

        Of `homolog.model_similarity`: one row per pair of models, the most alike first: `model`, `other model`, and of every
        measure, or of the one asked for, its value and what stands beside it. Of `homolog.consistency`: one row per pair of data
        sets, the most alike first: `data set`, `other data set`, `correlation`, `p`, `standard error`.

        Of checkpoints: `against`, `step`, `checkpoint`, `layer`, `value`, and `null` and `reversed` where the result has them.

        Of a correspondence: `layer_a`, `best_b`, `value_b`, `mutual_a`, `supported_b`, `assigned_b`, `path_b`.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, or is not one.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> layers = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> result = hl.compare(layers, layers | {"early": -layers["early"]})
    >>> hl.table(result)[["layer_a", "layer_b", "value", "supported"]].round(1).values.tolist()
    [['early', 'early', 1.0, True], ['early', 'late', ..., False], ['late', 'early', ..., False], ['late', 'late', 1.0, True]]
    >>> hl.table(hl.correspondence(result))["best_b"].tolist()
    ['early', 'late']
    """
    import pandas

    own = {
        REDUNDANCY: redundancy_table,
        TRAJECTORY: trajectory_table,
        MODEL_SIMILARITY: pair_table,
        CONSISTENCY: dataset_table,
    }.get(kind_of(result))
    if own is not None:
        return own(result, measure)
    if type(result).__name__ == "Dataset" and "best_b" in result:
        return pandas.DataFrame(_of_layers(result))
    result = arranged(result)
    many = of_many(result)
    name = chosen_measure(result, measure)
    rows, columns = _shown(result, name, many)
    found: dict[str, Any] = {}
    for side, places in (("a", rows), ("b", columns)):
        for what in ("model", "layer") if many else ("layer",):
            found[f"{what}_{side}"] = result[f"{what}_{side}"].values[places]
    found["value"] = result[name].values[rows, columns]
    for kind in COMPANIONS:
        matrix = companion(result, name, kind)
        if matrix is not None:
            found[kind] = matrix.values[rows, columns]
    if is_tested(result, name):
        found["supported"] = is_supported(result, name)[rows, columns]
    for side, places in (("a", rows), ("b", columns)):
        for what in ABOUT_LAYERS:
            if f"{what}_{side}" in result.coords:
                found[f"{what}_{side}"] = result[f"{what}_{side}"].values[places]
    return pandas.DataFrame(found)


def _shown(result: xarray.Dataset, name: str, many: bool) -> tuple[list[int], list[int]]:
    """Return the rows and columns of the pairs that the table has, in order."""
    values = result[name].values
    asked = np.ones(values.shape, dtype=bool) if int(result.attrs.get("all_pairs", 0)) else ~np.isnan(values)
    within = many or bool(int(result.attrs["same_model"]))
    symmetric = int(result[name].attrs["symmetric"]) == 1
    what = ("model", "layer") if many else ("layer",)
    sides = [list(zip(*(result[f"{part}_{side}"].values for part in what), strict=True)) for side in "ab"]
    pairs = [(i, j, sides[0][i], sides[1][j]) for i, j in np.argwhere(asked).tolist()]
    if within and any(a != b for *_, a, b in pairs):  # pairs="same_name" of a model with itself asks for nothing else
        pairs = [pair for pair in pairs if pair[2] != pair[3]]
    seen, places = set(), []
    for i, j, a, b in pairs:
        if not (within and symmetric and (b, a) in seen):
            seen.add((a, b))
            places.append((i, j))
    return [i for i, _ in places], [j for _, j in places]


def _of_layers(found: xarray.Dataset) -> dict[str, Any]:
    names = ("best_b", "value_b", "mutual_a", "supported_b", "assigned_b", "path_b")
    return {"layer_a": found.layer_a.values} | {name: found[name].values for name in names if name in found}
