"""The sanity check of Kornblith et al. (2019): how often the right layer is found, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtr

from homolog.analysis.jackknife import leave_one_out, standard_error
from homolog.analysis.reading import chosen_measure, measure_names, symmetrised, tied, two_by_two, two_models
from homolog.arrays import described

if TYPE_CHECKING:
    import xarray


def layer_identification(
    results: xarray.Dataset | Sequence[xarray.Dataset],
    measures: Iterable[str] | None = None,
    *,
    against: str | None = None,
) -> xarray.Dataset:
    """Measure how often the most alike layer of the other network is the one in the same place.

    The sanity check of Kornblith et al. (2019), Table 2: for two networks of one architecture trained from different seeds, the
    most alike layer should be the one of the same name. Both directions count; an asymmetric measure is symmetrised by adding
    the value with the roles exchanged (S + S^T). A layer decides where its namesake and at least one other were compared with it:
    a constant layer, which has no value, does not. Where k layers are equally alike, as dropout and its input, finding the right
    one among them counts 1/k.

    Parameters
    ----------
    results
        one result of `homolog.compare`, or several whose decisions are pooled; of many models all pairs count.
    measures
        which measures; those that all results share by default.
    against
        measure that the others are tested against; by default the one that finds most.

    Returns
    -------
    xarray.Dataset
        Over `measure`:

        - `accuracy` in [0, 1], `chance` (one over the number of candidates) and `decisions`, their number;
        - `accuracy_se`, the jackknife standard error over networks: pairs that share a network are not independent, so networks
          are left out, not decisions;
        - `z` and `p`: accuracy less that of the measure tested against, over the jackknife standard error of this difference,
          and its two-sided normal probability. That measure itself, and one that misses and finds the same layers, have z = 0
          and p = 1; NaN where leaving out a network never changes the difference.

        The last three are NaN with fewer than three networks, or where several results do not tell which networks they compare
        (models of one name).

    Raises
    ------
    ValueError
        If the layers of the two sides share no name, a model was compared with itself, or `against` is not among the measures.

    References
    ----------
    Kornblith et al. (2019), section 6.1 and Table 2.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> layers = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> networks = {
    ...     seed: {name: x + 0.1 * rng.normal(size=x.shape) for name, x in layers.items()} for seed in ("0", "1", "2")
    ... }
    >>> found = hl.layer_identification(hl.compare(networks, measures=("cka", "cca")))
    >>> found.accuracy.values, found.accuracy_se.values
    (array([1., 1.]), array([0., 0.]))
    """
    import xarray

    if not isinstance(results, xarray.Dataset | Sequence):
        raise TypeError(f"results must be a result of homolog.compare or a list of them, got {described(results)}.")
    pooled = list(two_by_two([results] if isinstance(results, xarray.Dataset) else results))
    if not pooled:
        raise ValueError("layer identification needs at least one result of homolog.compare, got none.")
    for result in pooled:
        _check_identifiable(result)
    shared = [name for name in measure_names(pooled[0]) if all(name in measure_names(r) for r in pooled)]
    if isinstance(measures, str):
        measures = [measures]
    names = shared if measures is None else [chosen_measure(pooled[0], measure) for measure in measures]
    tallies = [[_tally(result, name) for result in pooled] for name in names]
    for name, per_pair in zip(names, tallies, strict=True):
        if not sum(tally.decisions for tally in per_pair):
            raise ValueError(
                f"layer identification needs layers compared with their namesake and another, got none for {name}: compare "
                f"with pairs='all'."
            )
    right, chances, decisions = np.array(tallies).transpose(2, 0, 1)
    total = decisions.sum(axis=1)
    accuracy = right.sum(axis=1) / total
    reference = int(np.argmax(accuracy)) if against is None else _place(chosen_measure(pooled[0], against), names)
    columns = {"accuracy": accuracy, **_sureness(pooled, right, decisions, reference)}
    columns |= {"chance": chances.sum(axis=1) / total, "decisions": total.astype(np.int32)}
    attributes = {"title": "layer identification", "comparisons": np.int32(len(pooled)), "against": names[reference]}
    return xarray.Dataset({key: ("measure", column) for key, column in columns.items()}, {"measure": names}, attributes)


def _place(measure: str, names: Sequence[str]) -> int:
    if measure not in names:
        raise ValueError(f"against must be one of the measures, {', '.join(names)}, got {measure}.")
    return names.index(measure)


def _check_identifiable(result: xarray.Dataset) -> None:
    two_models(result)
    if int(result.attrs.get("same_model", 0)):
        raise ValueError(
            "layer identification needs two networks, got a model compared with itself, which finds every layer: compare "
            "networks trained from different seeds."
        )
    if not set(result.layer_a.values) & set(result.layer_b.values):
        raise ValueError(
            "layer identification needs layers of the same name on both sides, got none in common: rename corresponding "
            "layers with Activations.rename."
        )


class Tally(NamedTuple):
    """The decisions of one pair of networks."""

    right: float
    chances: float
    """Sum of the probabilities to be right by chance."""
    decisions: int


def _tally(result: xarray.Dataset, measure: str) -> Tally:
    right = chances = 0.0
    decisions = 0
    matrix = symmetrised(result, measure)
    layers_a, layers_b = result.layer_a.values.astype(str), result.layer_b.values.astype(str)
    for rows, columns, values in ((layers_a, layers_b, matrix), (layers_b, layers_a, matrix.T)):
        candidates = (~np.isnan(values)).sum(axis=1)
        for name, line, equal, among in zip(rows, values, tied(values), candidates, strict=True):
            if among < 2 or name not in columns or np.isnan(line[columns == name]).all():
                continue
            found = bool(equal[columns == name].any())
            right += found / int(equal.sum()) if found else 0.0
            chances += 1 / int(among)
            decisions += 1
    return Tally(right, chances, decisions)


def _sureness(
    pooled: Sequence[xarray.Dataset], right: np.ndarray, decisions: np.ndarray, reference: int
) -> dict[str, np.ndarray]:
    """Return standard errors and the test against a measure; right and decisions are (measures, pairs)."""
    unknown = np.full(len(right), np.nan)
    pairs = [(str(result.attrs["model_a"]), str(result.attrs["model_b"])) for result in pooled]
    models = sorted({model for pair in pairs for model in pair})
    told_apart = len({frozenset(pair) for pair in pairs}) == len(pairs) and all(a != b for a, b in pairs)
    left = leave_one_out(models, lambda kept: decisions[:, kept].sum(axis=1), pairs)
    if len(models) < 3 or not told_apart or (left == 0).any():
        return {"accuracy_se": unknown, "z": unknown, "p": unknown}
    estimates = leave_one_out(models, lambda kept: right[:, kept].sum(axis=1) / decisions[:, kept].sum(axis=1), pairs)
    accuracy = right.sum(axis=1) / decisions.sum(axis=1)
    ahead = accuracy - accuracy[reference]
    error = standard_error(estimates - estimates[:, [reference]])
    # Without spread nobody knows how sure a difference is; no difference needs no spread.
    unsure = np.where(ahead == 0, 0.0, np.nan)
    z = np.divide(ahead, error, out=unsure, where=error > 0)
    return {"accuracy_se": standard_error(estimates), "z": z, "p": 2 * ndtr(-np.abs(z))}
