"""Whether models that are alike on one data set are alike on another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy

from homolog.analysis.arrangements import arrangements
from homolog.analysis.model_labels import labels_of
from homolog.analysis.model_pairs import ModelPairs, model_pairs
from homolog.arrays import described
from homolog.diagnostics import Caution, FewModelsWarning, UndefinedValueWarning, give, listed
from homolog.inference.checks import check_count
from homolog.inference.permutations import random_of
from homolog.names import quoted
from homolog.result_kinds import CONSISTENCY

if TYPE_CHECKING:
    import xarray

Correlation = Literal["pearson", "spearman"]
COMMON_ALPHA = 0.05
FORMULAS = {
    "pearson": "Pearson correlation of the similarities of models on two data sets, over pairs of models",
    "spearman": "Spearman correlation of the similarities of models on two data sets, over pairs of models",
}
ABOUT = {
    "measure": "correlation",
    "kind": "similarity",
    "range": "[-1.0, 1.0]",
    "symmetric": np.int32(1),
    "unchanged_by": "another scale or offset of the similarities on one data set",
    "reference": "Ciernik et al. 2025, arXiv:2411.05561",
}


def consistency(
    similarities: Mapping[str, Any],
    *,
    method: Correlation = "pearson",
    groups: Any = None,
    pairs: str | tuple[str, str] = "all",
    measure: str | None = None,
    calibrated: bool = False,
    n_permutations: int = 999,
    rng: int | np.random.Generator = 0,
) -> xarray.Dataset:
    """Say how consistent similarities of models are over data sets: their correlation over pairs of models.

    For data sets D and D' and pairs of models (i, j): r = corr(s_ij on D, s_ij on D').

    Parameters
    ----------
    similarities
        name of a data set → similarities of the same models on it, each as for `embed`; models may stand in any order.
    method
        "pearson", or "spearman" for ranks.
    groups
        mapping of models to labels, or one label for each model in the order of the first data set.
    pairs
        which pairs of models count: "all"; "within" or "between" groups; or two labels, as ("cnn", "vit") for all pairs of one
        with the other, or ("cnn", "cnn").
    measure, calibrated
        as for `embed`, for all data sets.
    n_permutations
        random orders of the models where there are more.
    rng
        seed or NumPy generator.

    Returns
    -------
    xarray.Dataset
        Over (dataset_a, dataset_b): `correlation`, from −1 to 1; `correlation_se`, a jackknife standard error over models;
        `correlation_p`, one-sided, that models are alike on both data sets together (a Mantel test). Over (dataset, pair):
        `similarity`, what was correlated, with the coordinates `model` and `other_model` of each pair. `homolog.summary`,
        `homolog.report` and `homolog.plot.consistency` take it.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `embed`; for fewer than two data sets, different models, similarities beside distances, fewer than three models or
        pairs, or pairs of groups without groups.

    Warns
    -----
    FewModelsWarning
        Where no p-value can be 0.05 or less (three models), or there is no standard error.
    UndefinedValueWarning
        Where all pairs are equally alike, so that there is no correlation.

    Notes
    -----
    Pairs that share a model are not independent, so that neither error nor p counts pairs: the error leaves out one model at a
    time, se² = (n − 1)/n Σ (r_(i) − r̄)², and p reorders the models of one data set, within groups where pairs are chosen by
    groups. The error is for other models of the same kind; it does not say what other data sets would give. A correlation is
    high already if a few models are unlike all others on both data sets: look at the map.

    Cost: per pair of data sets, n² times the number of orders.

    References
    ----------
    Ciernik, Linhardt, Morik, Dippel, Kornblith & Muttenthaler, ICML 2025, arXiv 2411.05561; Mantel, Cancer Research 1967.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> def similar(x):
    ...     return np.corrcoef(x + 0.1 * rng.normal(size=x.shape))
    >>> models = rng.normal(size=(8, 5))
    >>> found = hl.consistency({"photographs": similar(models), "drawings": similar(models)})
    >>> round(found.correlation.sel(dataset_a="photographs", dataset_b="drawings").item(), 2)
    0.98
    """
    check_count(n_permutations)
    if method not in ("pearson", "spearman"):
        raise ValueError(f"method must be 'pearson' or 'spearman', got {method!r}.")
    given = _of_data_sets(similarities, measure, calibrated)
    first = next(iter(given.values()))
    labels = None if groups is None else np.array(labels_of(groups, first.names, "groups"))
    chosen = _chosen(pairs, labels, len(first.names))
    used = (chosen | chosen.T).any(axis=1)
    given = {name: _ordered(each, [first.names[k] for k in np.flatnonzero(used)]) for name, each in given.items()}
    chosen, labels = chosen[np.ix_(used, used)], None if labels is None else labels[used]
    cautions = [caution for each in given.values() for caution in each.cautions]
    found, more = _table(given, chosen, labels, method, int(n_permutations), random_of(rng))
    cautions += more
    found.attrs["warnings"] = json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False)
    give(cautions)
    return found


def _of_data_sets(similarities: Any, measure: str | None, calibrated: bool) -> dict[str, ModelPairs]:
    """Return the similarities on each data set, models in the order of the first."""
    if not isinstance(similarities, Mapping) or type(similarities).__name__ == "Dataset":
        raise TypeError(
            f"similarities must be a mapping of data sets to similarities of models, got {described(similarities)}: give "
            f"{{'data set': similarities, ...}}."
        )
    given = {
        str(name): model_pairs(each, measure=measure, calibrated=calibrated, fewest=3)
        for name, each in similarities.items()
    }
    if len(given) < 2:
        raise ValueError(f"consistency needs at least two data sets, got {len(given)}.")
    first_name, first = next(iter(given.items()))
    for name, each in given.items():
        odd = sorted(set(each.names) ^ set(first.names))
        if odd:
            raise ValueError(
                f"all data sets must have the same models, got {listed(map(quoted, odd))} on one of {quoted(first_name)} and "
                f"{quoted(name)} alone: select those that all have, .sel(model_a=names, model_b=names)."
            )
        if each.kind != first.kind:
            raise ValueError(
                f"all data sets must have similarities, or all distances, got a {first.kind} on {quoted(first_name)} and a "
                f"{each.kind} on {quoted(name)}."
            )
    return {name: _ordered(each, first.names) for name, each in given.items()}


def _ordered(pairs: ModelPairs, names: Sequence[str]) -> ModelPairs:
    order = [pairs.names.index(name) for name in names]
    return replace(pairs, names=tuple(names), values=pairs.values[np.ix_(order, order)])


def _chosen(pairs: Any, labels: np.ndarray | None, count: int) -> np.ndarray:
    """Return which pairs of models count, (n, n), each once."""
    above = np.triu(np.ones((count, count), dtype=bool), 1)
    two = isinstance(pairs, tuple | list | np.ndarray) and len(pairs) == 2
    pairs = tuple(map(str, pairs)) if two else pairs
    if (not two and not isinstance(pairs, str)) or (
        isinstance(pairs, str) and pairs not in ("all", "within", "between")
    ):
        raise ValueError(f"pairs must be 'all', 'within', 'between' or two labels of groups, got {pairs!r}.")
    if pairs == "all":
        return above
    if labels is None:
        raise ValueError(f"pairs={pairs!r} needs groups, got none: pass groups= as well.")
    if two:
        unknown = [label for label in map(str, pairs) if label not in labels]
        if unknown:
            known = listed(map(quoted, dict.fromkeys(map(str, labels))))
            raise ValueError(
                f"pairs must be of groups, got {listed(map(quoted, unknown))}, which is not among {known}."
            )
        one, other = (labels == str(label) for label in pairs)
        kept = above & (np.outer(one, other) | np.outer(other, one))
    else:
        kept = above & ((labels[:, None] == labels) == (pairs == "within"))
    if kept.sum() < 3:
        raise ValueError(f"a correlation needs at least three pairs of models, got {kept.sum()}: add models, or pairs.")
    return kept


def _table(
    given: dict[str, ModelPairs],
    chosen: np.ndarray,
    labels: np.ndarray | None,
    method: str,
    n_permutations: int,
    random: np.random.Generator,
) -> tuple[xarray.Dataset, list[Caution]]:
    import xarray

    names, count = list(given), len(chosen)
    # Chosen by groups, pairs stay what they are only where models change places within their group.
    blocks = np.zeros(count) if labels is None or chosen.sum() == count * (count - 1) // 2 else labels
    orders, exact = arrangements(np.arange(count), blocks, n_permutations, random)
    values, errors, tails = (np.full((len(names), len(names)), np.nan) for _ in range(3))
    for i in range(len(names)):
        for j in range(i, len(names)):
            a, b = given[names[i]].values, given[names[j]].values
            values[i, j] = values[j, i] = correlation(a, b, chosen, method)
            errors[i, j] = errors[j, i] = 0.0 if i == j else _jackknife(a, b, chosen, method)
            if i != j and not np.isnan(values[i, j]):
                tails[i, j] = tails[j, i] = _mantel(a, b, chosen, method, orders)
    dimensions = ("dataset_a", "dataset_b")
    first = next(iter(given.values()))
    one, other = ([first.names[k] for k in places] for places in np.nonzero(chosen))
    about = {
        "title": CONSISTENCY,
        "homolog_version": version("homolog"),
        "measures": json.dumps(["correlation"]),
        "method": method,
        "n_models": np.int32(count),
        "n_pairs": np.int32(chosen.sum()),
    }
    about |= {"n_orders": np.int32(len(orders)), "exact": np.int32(exact), "measure": first.label, "kind": first.kind}
    found = xarray.Dataset(
        {
            "correlation": (dimensions, values, ABOUT | {"formula": FORMULAS[method]}),
            "correlation_se": (dimensions, errors, {"companion_of": "correlation", "method": "jackknife over models"}),
            "correlation_p": (dimensions, tails, {"companion_of": "correlation", "method": "permutation"}),
            "similarity": (("dataset", "pair"), np.array([each.values[chosen] for each in given.values()])),
        },
        dict.fromkeys((*dimensions, "dataset"), names) | {"model": ("pair", one), "other_model": ("pair", other)},
        about,
    )
    return found, _cautions(found, len(orders))


def _cautions(found: xarray.Dataset, n_orders: int) -> list[Caution]:
    cautions = []
    undefined = np.isnan(np.diagonal(found.correlation.values))
    if undefined.any():
        names = listed(quoted(str(name)) for name in found.dataset_a.values[undefined])
        message = (
            f"all pairs of models are equally alike on {names}, so that there is no correlation (NaN): leave it out."
        )
        cautions.append(Caution(UndefinedValueWarning, message))
    if 1 / n_orders > COMMON_ALPHA:
        message = (
            f"{n_orders} orders of so few models allow no p-value below {1 / n_orders:.2g}: add models or permutations."
        )
        cautions.append(Caution(FewModelsWarning, message))
    if (np.isnan(found.correlation_se.values) & ~np.isnan(found.correlation.values)).any():
        message = (
            "a standard error needs three pairs of models whichever model is left out, so that it is NaN: add models."
        )
        cautions.append(Caution(FewModelsWarning, message))
    return cautions


def correlation(a: np.ndarray, b: np.ndarray, chosen: np.ndarray, method: str) -> float:
    """Return the correlation of two matrices over chosen entries; NaN for fewer than three, or where one does not vary."""
    pairs = np.stack([a[chosen], b[chosen]])
    if pairs.shape[1] < 3 or (np.ptp(pairs, axis=1) <= 1e-9 * np.abs(pairs).max()).any():
        return float("nan")
    if method == "spearman":
        pairs = scipy.stats.rankdata(pairs, axis=1)
    return float(np.corrcoef(pairs)[0, 1])


def _jackknife(a: np.ndarray, b: np.ndarray, chosen: np.ndarray, method: str) -> float:
    """Return the standard error over the models."""
    left = []
    for model in range(len(chosen)):
        kept = chosen.copy()
        kept[model], kept[:, model] = False, False
        left.append(correlation(a, b, kept, method))
    return float(np.sqrt((len(left) - 1) * np.var(left)))


def _mantel(a: np.ndarray, b: np.ndarray, chosen: np.ndarray, method: str, orders: np.ndarray) -> float:
    """Return the share of orders of the models under which the correlation is at least as high."""
    first, second = np.nonzero(chosen)
    fixed = a[chosen]
    moved = np.array([b[order[first], order[second]] for order in orders])
    if method == "spearman":
        fixed, moved = scipy.stats.rankdata(fixed), scipy.stats.rankdata(moved, axis=1)
    fixed = fixed - fixed.mean()
    moved = moved - moved.mean(axis=1)[:, None]
    # Every order has the same values, so that their spread is the same.
    products = moved @ fixed
    return float(np.mean(products >= products[0] - 1e-9 * np.linalg.norm(fixed) * np.linalg.norm(moved[0])))
